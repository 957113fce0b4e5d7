package inventory

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/internal/require"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var start = time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)

// shop is a REST API of forty endpoints. In a path, {kind} stands for a random value of that kind.
var shop = []string{
	"GET /api/v1/users", "POST /api/v1/users", "GET /api/v1/users/{int}", "PATCH /api/v1/users/{int}", "DELETE /api/v1/users/{int}",
	"GET /api/v1/users/me", "PUT /api/v1/users/me/avatar",
	"GET /api/v1/users/{int}/orders", "POST /api/v1/users/{int}/orders", "GET /api/v1/users/{int}/orders/{uuid}",
	"DELETE /api/v1/users/{int}/orders/{uuid}", "GET /api/v1/users/{int}/orders/{uuid}/items/{int}",
	"GET /api/v1/orders", "GET /api/v1/orders/{uuid}", "POST /api/v1/orders/{uuid}/refund", "GET /api/v1/orders/export",
	"GET /api/v2/orders/{uuid}", "GET /api/v2/orders",
	"GET /api/v1/products", "GET /api/v1/products/{slug}", "GET /api/v1/products/{slug}/reviews", "POST /api/v1/products/{slug}/reviews",
	"GET /api/v1/products/search", "GET /api/v1/products/featured",
	"GET /api/v1/search/{word}", "GET /api/v1/search/{word}/similar",
	"GET /api/v1/reports/{date}", "GET /api/v1/reports/{date}/{slug}", "GET /api/v1/files/{file}", "PUT /api/v1/files/{file}",
	"GET /api/v1/mailboxes/{email}", "GET /api/v1/sessions/{token}", "DELETE /api/v1/sessions/{token}", "GET /api/v1/objects/{hex}",
	"GET /api/v1/events/{ulid}", "POST /api/v1/login", "POST /api/v1/logout", "GET /healthz", "GET /", "POST /graphql",
}

var syllables = strings.Fields("ba be bi bo bu da de di do du fa fe fi fo ga ge go ka ke ki ko la le li lo lu ma me mi mo na ne ni no pa pe pi po ra re ri ro sa se si so ta te ti to va ve vi vo")

func randomWord(r *rand.Rand) string {
	var b strings.Builder
	for range 2 + r.IntN(3) {
		b.WriteString(syllables[r.IntN(len(syllables))])
	}
	return b.String()
}

func randomOf(r *rand.Rand, kind string) string {
	letters := func(n int, alphabet string) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = alphabet[r.IntN(len(alphabet))]
		}
		return string(b)
	}
	switch kind {
	case "int":
		return fmt.Sprint(r.IntN(1_000_000))
	case "uuid":
		return fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", r.Uint32(), r.IntN(1<<16), r.IntN(1<<12), r.IntN(1<<12), r.Uint64()>>16)
	case "slug":
		return randomWord(r) + "-" + randomWord(r) + "-" + randomWord(r)
	case "word":
		return randomWord(r)
	case "date":
		return start.AddDate(0, 0, -r.IntN(3000)).Format(time.DateOnly)
	case "file":
		return randomWord(r) + []string{".png", ".pdf", ".tar.gz"}[r.IntN(3)]
	case "email":
		return randomWord(r) + "%40example.org"
	case "token":
		return letters(22, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
	case "hex":
		return letters(24, "0123456789abcdef")
	case "ulid":
		return "01" + letters(24, "0123456789ABCDEFGHJKMNPQRSTVWXYZ")
	}
	panic(kind)
}

// fill puts random values into the places of a path.
func fill(r *rand.Rand, path string) string {
	var b strings.Builder
	for {
		before, behind, ok := strings.Cut(path, "{")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		var kind string
		kind, path, _ = strings.Cut(behind, "}")
		b.WriteString(randomOf(r, kind))
	}
}

// anonymous makes {} of every parameter.
func anonymous(template string) string {
	var b strings.Builder
	for {
		before, behind, ok := strings.Cut(template, "{")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		b.WriteString("{}")
		_, template, _ = strings.Cut(behind, "}")
	}
}

func namesOf(all []Endpoint) []string {
	var s []string
	for _, e := range all {
		s = append(s, e.Method+" "+anonymous(e.Template))
	}
	slices.Sort(s)
	return s
}

func wanted(api []string) []string {
	var s []string
	for _, line := range api {
		s = append(s, anonymous(line))
	}
	slices.Sort(s)
	return s
}

// feed sends n requests of many callers, a tenth of them scanners' and mistaken ones.
func feed(v *Inventory, r *rand.Rand, api []string, n int) {
	feedObserved(v, r, api, n, func(*Observation) {})
}

func feedObserved(v *Inventory, r *rand.Rand, api []string, n int, change func(*Observation)) {
	for i := range n {
		method, path, _ := strings.Cut(api[r.IntN(len(api))], " ")
		o := Observation{Time: start.Add(time.Duration(i) * 10 * time.Millisecond), Route: "shop", Method: method, Path: fill(r, path), Status: 200,
			Caller: uint64(r.IntN(5000)) + 1}
		switch i % 20 {
		case 0: // a scanner
			o.Path, o.Status = "/"+randomWord(r)+"/"+randomWord(r)+".php", 404
		case 1:
			o.Status = 404
		case 2: // one who wants to be known for paths: a page answers what it does not know with a redirect
			o.Path, o.Status, o.Caller = "/api/v1/"+randomWord(r), 302, 77777
		}
		change(&o)
		v.Learn(&o)
	}
}

// TestMillion is a bar of issue 6: a million requests with random ids name exactly the endpoints that there are.
func TestMillion(t *testing.T) {
	n := 1_000_000
	if require.Race {
		n = 100_000
	}
	v := New(Config{})
	feed(v, rand.New(rand.NewPCG(1, 2)), shop, n)
	if d := cmp.Diff(wanted(shop), namesOf(v.Endpoints(Filter{Confirmed: true}))); d != "" {
		t.Errorf("endpoints (-want +got):\n%s", d)
	}
	s := v.Stats()
	if s.Learned+s.Unknown+s.Odd != uint64(n) {
		t.Errorf("%+v does not add up to %d", s, n)
	}
	t.Logf("%+v", s)
}

// TestOrder holds that the templates do not depend on the order of requests, nor on chance.
func TestOrder(t *testing.T) {
	for seed := range uint64(12) {
		v := New(Config{})
		feed(v, rand.New(rand.NewPCG(seed, 9)), shop, 30_000)
		if d := cmp.Diff(wanted(shop), namesOf(v.Endpoints(Filter{Confirmed: true}))); d != "" {
			t.Errorf("seed %d (-want +got):\n%s", seed, d)
		}
	}
	// All of one endpoint, then all of the next one, in both directions.
	for _, backwards := range []bool{false, true} {
		v := New(Config{})
		r := rand.New(rand.NewPCG(3, 4))
		for i := range shop {
			line := shop[i]
			if backwards {
				line = shop[len(shop)-1-i]
			}
			feed(v, r, []string{line}, 1500)
		}
		if d := cmp.Diff(wanted(shop), namesOf(v.Endpoints(Filter{Confirmed: true}))); d != "" {
			t.Errorf("one after the other, backwards %v (-want +got):\n%s", backwards, d)
		}
	}
}

func TestShapes(t *testing.T) {
	for s, want := range map[string]shape{
		"users": word, "blue-suede-shoes": word, "payment_methods": word, "oauth2": word, "k8s": word, "i18n": word, "s3": word, "sha256": word,
		"getUserById": word, "covid-19": word, "3d-models": word, "iso-8859-1": word, "größe": word, "facade": word, "well-known": word,
		"BatchGetDocuments": word, "createOrUpdateV2": word, "mp3-to-wav": word, "x-2-y-3-z": word,
		"v1": version, "v2.1": version, "V3": version,
		"17": integer, "-4": integer, "00042": integer, "3.25": number, "-1.5": number,
		"123e4567-e89b-12d3-a456-426614174000": uuid, "507f1f77bcf86cd799439011": hex, "deadbeef01": hex, "01ARZ3NDEKTSV4RRFFQ69G5FAV": ulid,
		"2026-11-23": day, "2026-11": day, "2026-11-23T10:00:00Z": clock, "2026-11-23T10:00": clock,
		"a.b@example.org": email, "a.png": file, "swagger.json": file, "app.min.js": file,
		"dQw4w9WgXcQ": token, "cus_NffrFeUfNV2Hib": token, "V1StGXR8_Z5jdHi6B-myT": token, "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9": token,
		"red shoes": phrase, "": phrase, "a\x00b": phrase, "\xff\xfe": phrase, strings.Repeat("a", 300): phrase,
	} {
		if got := shapeOf(s); got != want {
			t.Errorf("%.40q is %v, want %v", s, got, want)
		}
	}
}

// TestOneCaller holds that somebody who walks over a catch-all makes no templates and no memory.
func TestOneCaller(t *testing.T) {
	v := New(Config{})
	r := rand.New(rand.NewPCG(5, 6))
	feed(v, r, shop, 20_000)
	want := namesOf(v.Endpoints(Filter{Confirmed: true}))
	for range 100_000 {
		v.Learn(&Observation{Time: start.Add(time.Hour), Route: "shop", Method: "GET", Path: "/api/v1/" + randomWord(r) + "/" + randomWord(r), Status: 302, Caller: 42})
	}
	got := namesOf(v.Endpoints(Filter{Confirmed: true}))
	for _, name := range want {
		if !slices.Contains(got, name) {
			t.Errorf("%s is gone", name)
		}
	}
	if len(got) > len(want)+2 {
		t.Errorf("one caller made %d endpoints: %s", len(got)-len(want), cmp.Diff(want, got))
	}
	if s := v.Stats(); s.Evicted == 0 || s.Endpoints > 20_000 {
		t.Errorf("%+v", s)
	}
}

func TestHostile(t *testing.T) {
	v := New(Config{Endpoints: 200})
	paths := []string{"", "x", "//", "/..", "/a/../b", "/%2e%2e/x", "/%", "/%zz", "/a%00b", "/a%2fb", "/a\\b", "/" + strings.Repeat("a", 1<<20),
		"/" + strings.Repeat("a/", 2000), "/\xff\xfe", "/größe", "/a;b=c", "/{id}", "/%7Bid%7D", "/a b", "/" + strings.Repeat("x", 300), "/e/", "/E"}
	for i := range 3 {
		for _, p := range paths {
			v.Learn(&Observation{Time: start, Route: "r", Method: "GET", Path: p, Status: 200, Caller: uint64(i + 1),
				Query: []Value{{p, p}, {"", ""}}, Request: map[string]any{p: p}, Response: []any{map[string]any{p: []any{p}}}, Sensitive: []string{p}})
		}
	}
	for _, m := range []string{"", "PROPFIND", "get", "G\x00"} {
		v.Learn(&Observation{Time: start, Route: "r", Method: m, Path: "/a", Status: 200})
	}
	v.Refresh()
	for _, p := range paths {
		v.Match("r", "GET", p, nil)
	}
	for _, e := range v.Endpoints(Filter{}) {
		if strings.Count(e.Template, "{") != len(e.Path) {
			t.Errorf("%q has %d parameters", e.Template, len(e.Path))
		}
	}
	for i := range 3000 {
		v.Learn(&Observation{Time: start, Route: fmt.Sprint("r", i), Method: "GET", Path: fmt.Sprintf("/a%d/b/c", i), Status: 200, Caller: uint64(i)})
	}
	if s := v.Stats(); s.Endpoints > 200 || s.Full == 0 {
		t.Errorf("%+v", s)
	}
}

func TestMatch(t *testing.T) {
	v := New(Config{})
	feed(v, rand.New(rand.NewPCG(7, 8)), shop, 30_000)
	v.Refresh()
	for _, c := range []struct {
		method, path, want string
		known              bool
		values             []Value
	}{
		{"GET", "/api/v1/users/4711", "/api/v1/users/{id}", true, []Value{{"id", "4711"}}},
		{"GET", "/api/v1/users/4711/orders/123e4567-e89b-12d3-a456-426614174000", "/api/v1/users/{id}/orders/{order_id}", true,
			[]Value{{"id", "4711"}, {"order_id", "123e4567-e89b-12d3-a456-426614174000"}}},
		{"GET", "/api/v1/users/me", "/api/v1/users/me", true, nil},
		{"POST", "/api/v1/users/me", "/api/v1/users/me", false, nil},
		{"GET", "/api/v1/products/never-seen-before", "/api/v1/products/{name}", true, []Value{{"name", "never-seen-before"}}},
		{"GET", "/api/v1/mailboxes/x%40y.org", "/api/v1/mailboxes/{email}", true, []Value{{"email", "x@y.org"}}},
		{"GET", "/api/v1/files/zz.png", "/api/v1/files/{file}", true, []Value{{"file", "zz.png"}}},
		{"GET", "/api/v1/reports/2026-01-02/", "/api/v1/reports/{date}", true, []Value{{"date", "2026-01-02"}}},
		{"GET", "/", "/", true, nil},
		{"GET", "/nowhere", "", false, nil},
		{"GET", "/api/v1", "", false, nil},
		{"GET", "/api/v1/users/..", "", false, nil},
	} {
		m, values := v.Match("shop", c.method, c.path, nil)
		if m.Template != c.want || m.Known != c.known || !slices.Equal(values, c.values) {
			t.Errorf("%s %s: %+v %v, want %s %v %v", c.method, c.path, m, values, c.want, c.known, c.values)
		}
	}
	if m, _ := v.Match("other", "GET", "/", nil); m.Template != "" {
		t.Errorf("another route knows %q", m.Template)
	}
}

// TestSmallVocabulary holds that names which answer alike are values, and names which do not are names.
func TestSmallVocabulary(t *testing.T) {
	v := New(Config{})
	r := rand.New(rand.NewPCG(1, 1))
	var categories, resources []string
	for range 15 {
		categories = append(categories, randomWord(r))
		resources = append(resources, randomWord(r))
	}
	for i := range 6000 {
		o := Observation{Time: start, Route: "r", Method: "GET", Status: 200, Caller: uint64(i%50) + 1}
		if c := r.IntN(15); i%2 == 0 {
			o.Path, o.Response = "/categories/"+categories[c], parse(t, `{"title": "x", "items": [{"sku": "a", "price": 1.5}], "next": null}`)
		} else {
			o.Path = "/v1/" + resources[c]
			o.Response = parse(t, fmt.Sprintf(`{"items": [{"id": 1, "%s_name": "x", "%s_kind": "y"}], "next": null}`, resources[c], resources[c]))
		}
		v.Learn(&o)
	}
	var want []string
	for _, name := range resources {
		want = append(want, "GET /v1/"+name)
	}
	want = append(want, "GET /categories/{}")
	slices.Sort(want)
	want = slices.Compact(want)
	if d := cmp.Diff(want, namesOf(v.Endpoints(Filter{Confirmed: true}))); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestMemory is a bar of issue 6: ten thousand endpoints in less than 100 MB.
func TestMemory(t *testing.T) {
	if require.Race {
		return // the detector's own memory is measured there
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	v := New(Config{})
	const want = 10_000
	for i := range want {
		for caller := range uint64(40) {
			var asked, told any
			if caller < 4 {
				asked, told = body(i, 8), body(i, 20)
			}
			v.Learn(&Observation{Time: start, Route: fmt.Sprint("r", i/100), Host: "api.example.org", Method: "POST",
				Path: fmt.Sprintf("/api/%s/%d/%s", nameOf(i/10%10), i, nameOf(i)), Status: 200, Caller: caller + 1, RequestType: "application/json",
				ResponseType: "application/json", RequestBytes: 200, ResponseBytes: 900, Request: asked, Response: told,
				Query: []Value{{"page", "1"}, {"sort", "name"}, {"limit", "20"}}, Auth: []Credential{{Bearer, ""}}, Sensitive: []string{"email"}})
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	used := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	s := v.Stats()
	t.Logf("%d endpoints: %d KiB, %d bytes each; %+v", s.Endpoints, used>>10, used/int64(max(s.Endpoints, 1)), s)
	if s.Endpoints < want*95/100 || used > 100<<20 {
		t.Errorf("%d endpoints in %d MiB", s.Endpoints, used>>20)
	}
	runtime.KeepAlive(v)
}

func nameOf(i int) string {
	return syllables[i%len(syllables)] + syllables[i/len(syllables)%len(syllables)] + syllables[i/len(syllables)/len(syllables)%len(syllables)]
}

func body(i, n int) any {
	m := map[string]any{}
	for k := range n {
		m[fmt.Sprintf("field_%d_%d", i%50, k)] = []any{"text", 1.0, true, "2026-11-23"}[k%4]
	}
	return map[string]any{"items": []any{m}, "next": nil}
}

func TestConcurrent(t *testing.T) {
	v := New(Config{})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() { feed(v, rand.New(rand.NewPCG(uint64(g), 1)), shop, 5000) })
		wg.Go(func() {
			for range 10 {
				v.Refresh()
				v.Match("shop", "GET", "/api/v1/users/4711", nil)
				v.Endpoints(Filter{})
				if b, err := v.Snapshot(); err != nil || New(Config{}).Restore(b) != nil {
					t.Error("a snapshot that was made meanwhile is damaged")
				}
				v.Stats()
			}
		})
	}
	wg.Wait()
	if s := v.Stats(); s.Learned+s.Unknown+s.Odd+s.Busy != 20_000 || s.Learned == 0 {
		t.Errorf("%+v", s)
	}
}

// TestNamesOfStrangers holds that hosts, parameters and fields which one client makes up take no memory for long, and are not told of.
func TestNamesOfStrangers(t *testing.T) {
	v := New(Config{})
	for i := range 20_000 {
		v.Learn(&Observation{Time: start, Route: "r", Host: fmt.Sprint("h", i), Method: "POST", Path: "/login", Status: 200, Caller: 1, RequestType: fmt.Sprint("a/", i),
			Query: []Value{{fmt.Sprint("q", i), "x"}}, Request: map[string]any{fmt.Sprint("f", i): "x"}, Response: map[string]any{"id": 1.0}})
	}
	if n := len(v.trees["r"].names.all); n > 10 {
		t.Errorf("%d names", n)
	}
	e := v.Endpoints(Filter{})[0]
	if len(e.Query) != 0 || len(e.Request.Properties) != 0 || len(e.Hosts) > maxHosts || len(e.RequestTypes) > maxTypes {
		t.Errorf("%+v", e)
	}
	if s := v.Stats(); s.Evicted < 10_000 {
		t.Errorf("%+v", s)
	}
}

func BenchmarkLearn(b *testing.B) {
	for _, c := range []struct {
		name string
		body any
	}{{"head", nil}, {"body", body(1, 15)}} {
		b.Run(c.name, func(b *testing.B) {
			v := New(Config{})
			r := rand.New(rand.NewPCG(1, 2))
			all := make([]Observation, 4096)
			for i := range all {
				method, path, _ := strings.Cut(shop[r.IntN(len(shop))], " ")
				all[i] = Observation{Time: start, Route: "shop", Host: "api.example.org", Method: method, Path: fill(r, path), Status: 200, Caller: r.Uint64(),
					Query: []Value{{"page", "1"}, {"sort", "name"}}, Auth: []Credential{{Bearer, ""}}, Response: c.body, ResponseBytes: 900}
			}
			b.ReportAllocs()
			b.RunParallel(func(p *testing.PB) {
				for i := 0; p.Next(); i++ {
					v.Learn(&all[i%len(all)])
				}
			})
		})
	}
}

func BenchmarkMatch(b *testing.B) {
	v := New(Config{})
	feed(v, rand.New(rand.NewPCG(7, 8)), shop, 30_000)
	v.Refresh()
	values := make([]Value, 0, 8)
	b.ReportAllocs()
	for b.Loop() {
		_, values = v.Match("shop", "GET", "/api/v1/users/4711/orders/123e4567-e89b-12d3-a456-426614174000", values[:0])
	}
}
