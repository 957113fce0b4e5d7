package owner

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/internal/require"
)

func parse(t testing.TB, s string) (v any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestFound says which ids an answer hands out, and of which kind they are.
func TestFound(t *testing.T) {
	const uuid = "123e4567-e89b-12d3-a456-426614174000"
	for _, c := range []struct {
		template, answer string
		is, isNot        []string // "kind id"
	}{
		{"/orders", `{"items": [{"id": 17, "count": 3}, {"id": 18}], "page": 2}`, []string{"order 17", "orders 18"}, []string{"order 3", "order 2", "item 17", "user 17"}},
		{"/orders", `[{"id": 17, "customer": {"id": 5}, "userId": 6, "tag_ids": [8, 9], "buyer_id": "7"}]`,
			[]string{"order 17", "customer 5", "user 6", "tag 8", "tags 9", "buyer 7"}, []string{"order 5", "order 6", "order 8"}},
		{"/orders", `[{"invoice": "` + uuid + `"}]`, []string{"invoice " + uuid, "whatever " + uuid}, nil},
		{"/users/{id}", `{"categories": [{"slug": "blue-things"}], "href": "https://example.org/api/carts/99?x=1", "note": "text"}`,
			[]string{"category blue-things", "cart 99"}, []string{"user text"}},
		{"/users/{id}/keys", `{"4711": {"name": "x"}}`, []string{"key 4711"}, nil},
		{"/", `{"id": 1e400, "x": {"id": null}, "id2": [[[["a"]]]]}`, nil, []string{" 1"}},
	} {
		found := map[uint64]bool{}
		f := finder{left: maxValues, found: func(o uint64) { found[o] = true }}
		f.walk(parse(t, c.answer), kindOf(lastName(c.template)), 0)
		for i, list := range [][]string{c.is, c.isNot} {
			for _, s := range list {
				kind, id, _ := strings.Cut(s, " ")
				if found[objectKey(kindOf(kind), id)] != (i == 0) {
					t.Errorf("%s: %s: %v", c.answer, s, i != 0)
				}
			}
		}
	}
	if kindIn("/users/{id}/orders/{order_id}", "order_id") != kindOf("order") || kindIn("/users/{id}/orders/{order_id}", "id") != kindOf("users") ||
		kindIn("/search", "customer_id") != kindOf("customers") {
		t.Error("kinds of parameters")
	}
}

// TestGiven holds the filter to its promise: what was given is known for as long as that, and little else is.
func TestGiven(t *testing.T) {
	g := newGiven(1<<20, 3600)
	g.turn(1000)
	const n = 100_000
	for i := range uint64(n) {
		g.add(mix(i))
	}
	wrong := 0
	for i := range uint64(n) {
		if !g.has(mix(i)) {
			t.Fatalf("%d was given", i)
		}
		if g.has(mix(i + 1<<40)) {
			wrong++
		}
	}
	if wrong > n/50 {
		t.Errorf("%d of %d were never given", wrong, n)
	}
	g.turn(1000 + 3600 - 1)
	if !g.has(mix(1)) {
		t.Error("forgotten too early")
	}
	for i := range int64(5) {
		g.turn(1000 + 3600 + i*1200)
	}
	if g.has(mix(1)) {
		t.Error("remembered for too long")
	}
	// A flood takes turns instead of memory, and is counted.
	for i := range uint64(3 * n) {
		g.add(mix(i + 1<<50))
		g.turn(8000)
	}
	if g.early.Load() == 0 || !g.has(mix(3*n-1+1<<50)) {
		t.Errorf("%d early turns", g.early.Load())
	}
}

func TestOwners(t *testing.T) {
	o := newOwners(0)
	const thing = 0xabcdef0123456789
	if got := o.of(thing, 1); got != unknown {
		t.Errorf("nobody's: %v", got)
	}
	o.claim(thing, 1)
	o.claim(thing, 1)
	if o.of(thing, 1) != mine || o.of(thing, 2) != others {
		t.Error("one owner")
	}
	o.claim(thing, 2)
	if o.of(thing, 1) != mine || o.of(thing, 2) != mine || o.of(thing, 3) != others {
		t.Error("two owners")
	}
	o.claim(thing, 3)
	if o.of(thing, 4) != shared {
		t.Error("three owners")
	}
}

func TestHistogram(t *testing.T) {
	for n := range uint64(100_000) {
		if i := step(n); n > limit(i) && n > 0 || i > 1 && n <= limit(i-1) {
			t.Fatalf("%d is in step %d, up to %d", n, i, limit(i))
		}
	}
	var h histogram
	for range 10_000 {
		h.add(10)
	}
	for range 50 {
		h.add(1000)
	}
	if h.above(0.01) != 11 || h.above(0.001) != 1023 || step(1<<63) != 63 {
		t.Errorf("%d %d", h.above(0.01), h.above(0.001))
	}
	for range fadeAt {
		h.add(1)
	}
	if h.all >= fadeAt {
		t.Errorf("%d never fade", h.all)
	}
}

// document knows the fields that it holds.
type document map[string]bool

func (d document) RequestField(p string) bool  { return d[p] }
func (d document) ResponseField(p string) bool { return d[p] }

func TestDocument(t *testing.T) {
	tr := New(Config{})
	doc := document{"/name": true, "/lines": true, "/lines/*/sku": true}
	got := tr.Seen(Access{Time: start, Route: "r", Method: "POST", Template: "/orders", Subject: 1, Status: 400, Document: doc,
		Request: parse(t, `{"name": "x", "lines": [{"sku": "a", "price": 0}], "zip~/": 1, "isAdmin": true}`)})
	if got != nil {
		t.Errorf("nothing is known of an endpoint that never answered: %v", got)
	}
	access := Access{Time: start, Route: "r", Method: "POST", Template: "/orders", Subject: 1, Status: 201, Document: doc,
		Request:  parse(t, `{"name": "x", "lines": [{"sku": "a", "price": 0}], "zip~/": 1, "isAdmin": true}`),
		Response: parse(t, `{"name": "x", "secret": {"hash": "SECRET-VALUE"}}`)}
	var lines []string
	for _, v := range tr.Seen(access) {
		lines = append(lines, fmt.Sprintf("%s %s %s %d", v.Check, v.Code, v.Where, v.Confidence))
		if strings.Contains(fmt.Sprint(v), "SECRET") {
			t.Errorf("%+v tells a value", v)
		}
	}
	want := []string{"assignment privileged-field /isAdmin 95", "assignment privileged-field /lines/*/price 95", "assignment unknown-field /zip~0~1 60",
		"exposure undocumented-field /secret 50", "exposure undocumented-field /secret/hash 50"}
	if d := cmp.Diff(want, lines); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	// What is hidden among many others is told of, too.
	many := map[string]any{"isAdmin": true}
	for i := range 5000 {
		many[fmt.Sprint("f", i)] = 1.0
	}
	access.Request = many
	if v := tr.Seen(access); len(v) == 0 || v[0].Check != CheckAssignment {
		t.Errorf("five thousand fields: %+v", v)
	}
	access.Request = []any{map[string]any{"name": "x"}, map[string]any{"name": []any{[]any{[]any{[]any{[]any{[]any{map[string]any{"role": 1.0}}}}}}}}}
	access.Document = document{"/*/name": true}
	if v := tr.Seen(access); len(v) == 0 || v[0].Check != CheckAssignment {
		t.Errorf("deep below: %+v", v)
	}
}

func TestTricks(t *testing.T) {
	known := map[string]bool{"/admin/users": true, "/users/me": true, "/files/report": true, "/": true}
	resolve := func(method, path string) (string, bool) {
		if len(path) > 1 {
			path = strings.TrimSuffix(path, "/")
		}
		if known[path] {
			return method + " " + path, true
		}
		if rest, ok := strings.CutPrefix(path, "/users/"); ok && !strings.Contains(rest, "/") {
			return method + " /users/{id}", true
		}
		return "", false
	}
	header := func(pairs ...string) func(string) []string {
		return func(name string) []string {
			for i := 0; i < len(pairs); i += 2 {
				if pairs[i] == name {
					return pairs[i+1 : i+2]
				}
			}
			return nil
		}
	}
	for _, c := range []struct {
		head       Head
		with, bare string // codes, with and without a resolver
	}{
		{Head{Method: "GET", Path: "/users/me"}, "", ""},
		{Head{Method: "GET", Path: "/users/j%C3%A4ger%20x"}, "", ""},
		{Head{Method: "GET", Path: "/users/a%2fb"}, "", CodePath},
		{Head{Method: "GET", Path: "/"}, "", ""},
		{Head{Method: "GET", Path: "/nowhere;x=1"}, "", CodePath},
		{Head{Method: "GET", Path: "/users/..;/admin/users"}, CodePath, CodePath},
		{Head{Method: "GET", Path: "/public/%2e%2e/admin/users"}, CodePath, CodePath},
		{Head{Method: "GET", Path: "/public/%252e%252e/admin/users"}, CodePath, CodePath},
		{Head{Method: "GET", Path: "/admin%2fusers"}, CodePath, CodePath},
		{Head{Method: "GET", Path: "/admin;a=b/users"}, CodePath, CodePath},
		{Head{Method: "GET", Path: "//admin//users"}, CodePath, CodePath},
		{Head{Method: "GET", Path: "/./admin/users"}, CodePath, CodePath},
		{Head{Method: "GET", Path: "/admin\\users"}, CodePath, CodePath},
		{Head{Method: "GET", Path: "/%61dmin/users"}, CodePath, CodePath},
		{Head{Method: "GET", Path: "/admin/users%00.png"}, CodePath, CodePath},
		{Head{Method: "GET", Path: "/admin/users%20"}, CodePath, ""},
		{Head{Method: "GET", Path: "/Admin/Users"}, CodePath, ""},
		{Head{Method: "GET", Path: "/files/report.json"}, CodePath, ""},
		{Head{Method: "POST", Path: "/users/me", Header: header("X-Http-Method-Override", "DELETE")}, CodeMethod, CodeMethod},
		{Head{Method: "POST", Path: "/users/me", Header: header("X-Http-Method-Override", "post")}, "", ""},
		{Head{Method: "POST", Path: "/users/me", Query: "a=b&%5fmethod=PUT"}, CodeMethod, CodeMethod},
		{Head{Method: "GET", Path: "/users/me", Header: header("X-Original-Url", "/admin/users")}, CodeAddress, CodeAddress},
		{Head{Method: "GET", Path: "/users/me", Header: header("X-Rewrite-Url", "https://x/users/me?y")}, "", ""},
		{Head{Method: "GET", Path: strings.Repeat("/%2e%2e", 100_000)}, "", ""},
		{Head{Method: "GET", Path: "%"}, "", CodePath},
		{Head{}, "", ""},
	} {
		for _, way := range []struct {
			resolve Resolve
			want    string
		}{{resolve, c.with}, {nil, c.bare}} {
			got := ""
			if v := Tricks(c.head, way.resolve); len(v) == 1 {
				got = v[0].Code
			} else if len(v) > 1 {
				got = fmt.Sprint(v)
			}
			if got != way.want {
				t.Errorf("%s %.60s %s: %q, want %q (resolver: %v)", c.head.Method, c.head.Path, c.head.Query, got, way.want, way.resolve != nil)
			}
		}
	}
}

func FuzzTricks(f *testing.F) {
	f.Add("/a/..;/b%2f%252e", "_method=x&%")
	f.Fuzz(func(t *testing.T, path, query string) {
		for _, v := range Tricks(Head{Method: "GET", Path: path, Query: query}, nil) {
			if v.Code == "" || v.Confidence == 0 {
				t.Errorf("%+v", v)
			}
		}
		for _, reading := range Readings(path) {
			if reading == path {
				t.Errorf("%q is read as it is", path)
			}
		}
	})
}

// TestBefore holds that who blocks can ask until the window is over.
func TestBefore(t *testing.T) {
	w := newWorld(3, 300)
	w.day(10)
	const attacker = 5
	found := false
	for i := range 40 {
		found = found || len(w.openOrder(attacker, 10_100+i, 200)) > 0
	}
	if !found {
		t.Fatal("not found")
	}
	ask := Access{Time: w.now, Route: "shop", Method: "GET", Template: "/orders/{id}", Subject: attacker}
	if v := w.t.Before(ask); len(v) == 0 || v[0].Check != CheckObject {
		t.Errorf("%+v", v)
	}
	ask.Subject = 6
	if v := w.t.Before(ask); v != nil {
		t.Errorf("somebody else: %+v", v)
	}
	ask.Method, ask.Subject, ask.Request = "PATCH", 6, map[string]any{"note": "x", "role": "admin"}
	for range 3 {
		if v := w.t.Before(ask); len(v) != 1 || v[0].Code != CodePrivate {
			t.Errorf("a field: %+v", v)
		}
	}
	ask.Method, ask.Request = "GET", nil
	ask.Subject, ask.Time = attacker, w.now.Add(2*time.Hour)
	if v := w.t.Before(ask); v != nil {
		t.Errorf("two hours later: %+v", v)
	}
}

// TestSame holds that the same accesses give the same violations.
func TestSame(t *testing.T) {
	run := func() []Violation {
		w := newWorld(11, 200)
		w.day(10)
		for i := range 200 {
			w.openOrder(5, 10_100+i, []int{200, 404}[i%2])
		}
		return w.alarms
	}
	first := run()
	if d := cmp.Diff(first, run()); d != "" || len(first) == 0 {
		t.Errorf("%d violations, then (-first +second):\n%s", len(first), d)
	}
}

func TestHostile(t *testing.T) {
	tr := New(Config{Subjects: 64, Endpoints: 50, Memory: 1 << 20})
	values := []string{"", "\xff\xfe", "größe", strings.Repeat("9", 1<<20), strings.Repeat("ü", 1<<19), "-1", "9223372036854775808", "\x00", "../..", "{id}"}
	deep := any("x")
	for range 5000 {
		deep = []any{map[string]any{"id": deep}}
	}
	wide := make([]any, 100_000)
	for i := range wide {
		wide[i] = map[string]any{"id": json.Number(fmt.Sprint(i))}
	}
	now := start
	for i, v := range values {
		for status := range 600 {
			now = now.Add(time.Second)
			if status%7 != 0 {
				continue
			}
			tr.Seen(Access{Time: now, Route: v[:min(len(v), 10)], Method: "GET", Template: "/x/{id}", Subject: uint64(i), Client: uint64(i), Status: status,
				Objects: []Object{{"id", v}, {v, v}, {"id", v}, {"id", v}, {"id", v}, {"id", v}}, Location: v, Bytes: -1})
		}
		tr.Seen(Access{Time: now, Route: "r", Method: "POST", Template: "/y", Subject: 1, Status: 200, Request: deep, Response: deep})
		tr.Seen(Access{Time: now, Route: "r", Method: "POST", Template: v, Subject: 1, Status: 200, Request: map[string]any{v: v}, Response: map[string]any{v: v}})
	}
	tr.Seen(Access{Time: now, Route: "r", Method: "GET", Template: "/wide", Subject: 1, Status: 200, Response: wide, Bytes: 1 << 40})
	tr.Seen(Access{})
	for i := range 10_000 {
		tr.Seen(Access{Time: now, Route: "r", Method: "GET", Template: fmt.Sprintf("/e%d/{id}", i), Subject: uint64(i), Status: 200, Objects: []Object{{"id", fmt.Sprint(i)}}})
		tr.Seen(Access{Time: now, Route: "r", Method: "GET", Template: "/wide", Subject: uint64(i), Status: 200})
	}
	s := tr.Stats()
	if s.Subjects > 64 || s.Endpoints > 50 || s.Evicted == 0 || s.Full == 0 || s.Cut == 0 {
		t.Errorf("%+v", s)
	}
}

// TestFlood holds the memory to what the Config says, whatever comes.
func TestFlood(t *testing.T) {
	if require.Race {
		return // the detector's own memory would be measured
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	tr := New(Config{Subjects: 20_000, Memory: 8 << 20})
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 400_000 {
		tr.Seen(Access{Time: start.Add(time.Duration(i) * time.Millisecond), Route: "r", Method: "GET", Template: fmt.Sprintf("/e%d/{id}", i%40), Subject: r.Uint64N(60_000) + 1,
			Status: 200, Objects: []Object{{"id", fmt.Sprint(r.Uint64())}}, Response: map[string]any{"id": fmt.Sprint(r.Uint64())}, Bytes: 100})
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	used := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) >> 20
	t.Logf("%d MiB; %+v", used, tr.Stats())
	if s := tr.Stats(); s.Subjects > 20_000 || used > 80 {
		t.Errorf("%d MiB, %+v", used, s)
	}
	runtime.KeepAlive(tr)
}

func TestConcurrent(t *testing.T) {
	tr := New(Config{Subjects: 100})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 1))
			for i := range 3000 {
				a := Access{Time: start.Add(time.Duration(i) * time.Second), Route: "r", Method: "PATCH", Template: "/x/{id}", Subject: r.Uint64N(300), Status: 200,
					Objects: []Object{{"id", fmt.Sprint(r.IntN(1000))}}, Request: map[string]any{fmt.Sprint("f", r.IntN(900)): 1.0}, Response: map[string]any{"id": 7.0}}
				tr.Seen(a)
				tr.Before(a)
				tr.Stats()
			}
		})
	}
	wg.Wait()
	if s := tr.Stats(); s.Accesses != 24_000 {
		t.Errorf("%+v", s)
	}
}

// TestAdministrators holds that a few who are allowed to grant rights are told of once each at most, and not where it is usual.
func TestAdministrators(t *testing.T) {
	tr := New(Config{})
	told := map[uint64]int{}
	for i := range 4000 {
		subject, field := uint64(i%500)+10, "note"
		if i%100 == 0 {
			subject, field = uint64(i/100%2)+1, "role"
		}
		for range tr.Seen(Access{Time: start.Add(time.Duration(i) * time.Second), Route: "r", Method: "PATCH", Template: "/users/{id}", Subject: subject, Status: 200,
			Objects: []Object{{"id", "1"}}, Request: map[string]any{field: "x"}, Response: map[string]any{"note": "x", "role": "x"}}) {
			told[subject]++
		}
	}
	if len(told) > 2 || told[1] > 1 || told[2] > 1 {
		t.Errorf("told %v", told)
	}
}

// TestRoom holds that a server with ever new fields takes no more memory than is meant for them.
func TestRoom(t *testing.T) {
	tr := New(Config{})
	for i := range 300 {
		body := map[string]any{}
		for k := range 200 {
			body[fmt.Sprint(i, "-", k)] = 1.0
		}
		tr.Seen(Access{Time: start, Route: "r", Method: "POST", Template: fmt.Sprint("/x", i%20), Subject: uint64(i) + 1, Status: 200, Request: body, Response: body})
	}
	kept := 0
	for _, r := range tr.resources {
		kept += len(r.told) + len(r.asked)
		if len(r.told) > maxTold || len(r.asked) > maxAsked {
			t.Errorf("%d and %d fields", len(r.told), len(r.asked))
		}
	}
	if left := tr.fields.Load(); left != int64(maxKept-kept) {
		t.Errorf("%d fields are kept, %d may still be", kept, left)
	}
}

func BenchmarkTricks(b *testing.B) {
	resolve := func(string, string) (string, bool) { return "x", true }
	none := func(string) []string { return nil }
	b.ReportAllocs()
	for b.Loop() {
		Tricks(Head{Method: "GET", Path: "/api/v1/users/4711/orders", Query: "page=1&sort=name", Header: none}, resolve)
	}
}

func TestConfig(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
	for _, c := range []Config{{Subjects: -1}, {Memory: 1 << 40}, {Window: -1}, {Warm: 1000 * time.Hour}} {
		if err := c.Validate(); err == nil {
			t.Errorf("%+v is valid", c)
		}
	}
}

func BenchmarkSeen(b *testing.B) {
	for _, c := range []struct {
		name string
		of   func(i int) Access
	}{
		{"open", func(i int) Access {
			return Access{Method: "GET", Template: "/orders/{id}", Objects: []Object{{"id", fmt.Sprint(10_000 + i%500)}},
				Response: map[string]any{"id": float64(i), "state": "sent", "total": 1.5, "lines": []any{map[string]any{"sku": "a", "count": 1.0}}}}
		}},
		{"list of 50", func(int) Access {
			items := make([]any, 50)
			for i := range items {
				items[i] = map[string]any{"id": float64(i), "state": "sent", "total": 1.5}
			}
			return Access{Method: "GET", Template: "/orders", Response: map[string]any{"items": items}}
		}},
		{"change", func(i int) Access {
			return Access{Method: "PATCH", Template: "/orders/{id}", Objects: []Object{{"id", "17"}},
				Request: map[string]any{"note": "x", "address": map[string]any{"street": "y", "city": "z"}, "count": 2.0}}
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			tr := New(Config{})
			all := make([]Access, 1024)
			for i := range all {
				all[i] = c.of(i)
				all[i].Route, all[i].Subject, all[i].Credentials, all[i].Status, all[i].Time, all[i].Bytes = "shop", uint64(i%200)+1, true, 200, start, 500
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				tr.Seen(all[i%len(all)])
			}
		})
	}
}
