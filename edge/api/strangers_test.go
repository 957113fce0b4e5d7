package api

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/edge"
	"github.com/testudo-sec/testudo/edge/api/inventory"
	"github.com/testudo-sec/testudo/edge/api/owner"
)

// warm has forty users open what they were given, until it is known that this is how orders are reached.
func (r *rig) warm(t testing.TB) (id func(user, n int) int) {
	t.Helper()
	id = func(user, n int) int { return 100_000 + (user*7919+n*104_729)%800_000 }
	for day := range 3 {
		for user := range 40 {
			who := fmt.Sprintf("Cookie: session=u%d", user)
			var list []string
			for n := range 4 {
				list = append(list, fmt.Sprintf(`{"id": %d}`, id(user, n)))
			}
			r.do(t, "GET", "/orders", who, "", 200, jsonType, "["+strings.Join(list, ",")+"]")
			for n := range 4 {
				r.do(t, "GET", fmt.Sprintf("/orders/%d", id(user, n)), who, "", 200, jsonType, fmt.Sprintf(`{"id": %d}`, id(user, n)))
			}
			r.now = r.now.Add(time.Minute)
		}
		r.g.Inventory().Refresh()
		r.now = r.now.Add(time.Duration(day+1) * 8 * time.Hour)
	}
	return id
}

func tellsOfObjects(codes []string) bool {
	return slices.ContainsFunc(codes, func(c string) bool { return strings.HasPrefix(c, "object/") })
}

// TestWalkInDisguise: who walks through the objects of others is noticed whatever he adds to his requests.
func TestWalkInDisguise(t *testing.T) {
	for name, header := range map[string]func(i int) string{
		"as he is":               func(int) string { return "Cookie: session=thief" },
		"another cookie before":  func(i int) string { return fmt.Sprintf("Cookie: auth_x=%d; session=thief", i) },
		"the cookie twice":       func(i int) string { return fmt.Sprintf("Cookie: session=%d; session=thief", i) },
		"another token":          func(i int) string { return fmt.Sprintf("Authorization: Bearer %d\nCookie: session=thief", i) },
		"a key as well":          func(i int) string { return fmt.Sprintf("X-Api-Key: %d\nCookie: session=thief", i) },
		"a cookie of odd name":   func(i int) string { return fmt.Sprintf("Cookie: <auth>%d=1; session=thief", i) },
		"hangs up before an end": func(int) string { return "Cookie: session=thief" },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "      objects: block\n      leaks: {mode: off}\n", nil)
			id := r.warm(t)
			for user := range 40 {
				path := fmt.Sprintf("/orders/%d", id(user, 1))
				if strings.HasPrefix(name, "hangs up") {
					c := r.begin(t, "GET", path, header(user))
					c.Request()
					c.Response(200, headers(jsonType))
					c.Pass([]byte(`{"id": 1`), false)
					found := tellsOfObjects((&exchanged{Found: *c.Found()}).codes())
					c.Close(edge.End{Status: 200, Sent: 8})
					if found {
						return
					}
					continue
				}
				if x := r.do(t, "GET", path, header(user), "", 200, jsonType, `{"id": 1}`); tellsOfObjects(x.codes()) {
					return
				}
			}
			t.Error("nobody notices")
		})
	}
	t.Run("an honest one with two cookies", func(t *testing.T) {
		r := newRig(t, "      objects: block\n      leaks: {mode: off}\n", nil)
		id := r.warm(t)
		for day := range 3 {
			for user := range 40 {
				who := fmt.Sprintf("Cookie: session=u%d; remember_token=r%d; access_token=a%d.%d", user, user, user, day)
				r.do(t, "GET", "/orders", who, "", 200, jsonType, fmt.Sprintf(`[{"id": %d}]`, id(user, 0)))
				if x := r.do(t, "GET", fmt.Sprintf("/orders/%d", id(user, 0)), who, "", 200, jsonType, `{}`); len(x.codes()) > 0 {
					t.Fatal(x.codes())
				}
			}
			r.now = r.now.Add(8 * time.Hour)
		}
	})
}

// begin starts an exchange that the test leads itself.
func (r *rig) begin(t testing.TB, method, target, header string) edge.Check {
	t.Helper()
	req, err := http.NewRequest(method, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = headers(header)
	r.set(r.now)
	return r.g.Begin(t.Context(), edge.Exchange{Request: req, Client: r.from, Time: r.now, Route: "shop", Host: "shop.test", Path: req.URL.EscapedPath(), Blocks: true})
}

// TestMadeUpCredentials: who shows other credentials with each request, which nobody takes, has nobody else forgotten.
func TestMadeUpCredentials(t *testing.T) {
	r := newRig(t, "      leaks: {mode: off}\n", nil)
	id := r.warm(t)
	before := r.g.owner.Stats().Subjects
	for i := range 3000 {
		r.do(t, "GET", fmt.Sprintf("/orders/%d", id(i%40, 0)), fmt.Sprintf("Authorization: Bearer %d", i), "", 401, "", "")
	}
	for i := range 100 { // refused here
		c := r.begin(t, "GET", fmt.Sprintf("/orders/%d", id(i%40, 0)), fmt.Sprintf("Authorization: Bearer x%d", i))
		c.Request()
		c.Close(edge.End{Status: 403})
	}
	if n := r.g.owner.Stats().Subjects - before; n > 1 {
		t.Errorf("%d subjects more are remembered", n)
	}
}

// TestCrowdOfOnesOwn: who makes up a crowd that is answered, too, is not forgotten himself for want of room.
func TestCrowdOfOnesOwn(t *testing.T) {
	r := newRig(t, "      objects: block\n      leaks: {mode: off}\n", nil)
	r.g.owner = owner.New(owner.Config{Subjects: 16 * 8})
	id := r.warm(t)
	for user := range 40 {
		if x := r.do(t, "GET", fmt.Sprintf("/orders/%d", id(user, 1)), "Cookie: session=thief", "", 200, jsonType, `{"id": 1}`); tellsOfObjects(x.codes()) {
			return
		}
		for i := range 400 {
			r.do(t, "GET", "/orders", fmt.Sprintf("Cookie: session=crowd-%d-%d", user, i), "", 200, jsonType, `[]`)
		}
	}
	t.Error("nobody notices")
}

// TestAttacksAtTheEdge: the same through a real edge, over HTTP/1 and HTTP/2: each is refused, and honest users are not.
func TestAttacksAtTheEdge(t *testing.T) {
	r := newRig(t, "      objects: block\n      leaks: {mode: off}\n      assignment: block\n      graphql: {mode: block, depth: 3}\n      bypass: block\n", nil)
	id := r.warm(t)
	st := r.serve(t, func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"id": 1}`)
	}, func(o *stageOptions) { o.deps.Now = func() time.Time { return time.Unix(0, r.clock.Load()) } })
	for _, client := range []*http.Client{st.client, http2(t)} {
		ask := func(method, target, header, body string) int {
			req, err := http.NewRequest(method, st.url+target, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header = headers(header)
			resp, _ := st.send(t, client, req)
			return resp.StatusCode
		}
		refused := 0
		for user := range 40 {
			if ask("GET", fmt.Sprintf("/orders/%d?n=%d", id(user, 1), user), fmt.Sprintf("Cookie: token=%d; session=thief", user), "") == 403 {
				refused++
			}
		}
		if refused == 0 {
			t.Error("nobody notices")
		}
		if got := ask("GET", fmt.Sprintf("/orders/%d", id(3, 1)), "Cookie: session=u3", ""); got != 200 {
			t.Errorf("an honest user: %d", got)
		}
		if got := ask("POST", "/graphql/", jsonType, `{"query": "{a{b{c{d}}}}"}`); got != 403 {
			t.Errorf("depth: %d", got)
		}
		if got := ask("POST", "/graphql", jsonType, `{"query": "{a{b}}"}`); got != 200 {
			t.Errorf("an honest question: %d", got)
		}
		if got := ask("GET", "/orders", "X-Override-Url: /admin", ""); got != 403 {
			t.Errorf("an override: %d", got)
		}
	}
	if text := st.sink.all(); strings.Contains(text, "thief") || strings.Contains(text, fmt.Sprint(id(7, 1))) && strings.Contains(text, `"targets":["`+fmt.Sprint(id(7, 1))) {
		t.Error("a value is recorded")
	}
}

// TestMadeUpNames: methods, cookies and addresses that a stranger makes up fill no table.
func TestMadeUpNames(t *testing.T) {
	r := newRig(t, "      leaks: {mode: off}\n", nil)
	id := r.warm(t)
	endpoints := r.g.owner.Stats().Endpoints
	for i := range 300 {
		r.do(t, fmt.Sprintf("M%d", i), fmt.Sprintf("/orders/%d", id(0, 0)), "", "", 200, jsonType, `{}`)
		r.do(t, "GET", fmt.Sprintf("/orders/%d", id(0, 0)), fmt.Sprintf("Cookie: <script>auth%d</script>=1; %sauth=1", i, strings.Repeat("a", 100)), "", 200, jsonType, `{}`)
	}
	if n := r.g.owner.Stats().Endpoints; n != endpoints {
		t.Errorf("%d endpoints, there were %d", n, endpoints)
	}
	for _, e := range r.g.Inventory().Endpoints(inventory.Filter{}) {
		if text := fmt.Sprintf("%+v", e); strings.Contains(text, "script") || strings.Contains(text, "aauth") || strings.Contains(text, "M1") {
			t.Errorf("a stranger's words: %s", text)
		}
	}
	// One stranger has all addresses of his network.
	a := r.g.Begin(t.Context(), edge.Exchange{Request: &http.Request{}, Client: netip.MustParseAddrPort("[2001:db8::1]:1"), Route: "shop"}).(*check).client()
	b := r.g.Begin(t.Context(), edge.Exchange{Request: &http.Request{}, Client: netip.MustParseAddrPort("[2001:db8::ffff:1]:2"), Route: "shop"}).(*check).client()
	c := r.g.Begin(t.Context(), edge.Exchange{Request: &http.Request{}, Client: netip.MustParseAddrPort("[2001:db8:0:1::1]:1"), Route: "shop"}).(*check).client()
	if a != b || a == c {
		t.Errorf("networks: %x %x %x", a, b, c)
	}
}

// TestOneStrangerIsOneWitness: who shows other credentials with each request does not vouch for his own inventions.
func TestOneStrangerIsOneWitness(t *testing.T) {
	alone := regexp.MustCompile(`"w":\[[1-9]\d*,0,0\]`)
	for _, several := range []bool{false, true} {
		r := newRig(t, "      leaks: {mode: off}\n", nil)
		for n := range 5 {
			if several {
				r.from = netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(n)}), 1)
			}
			r.do(t, "GET", "/made-up", fmt.Sprintf("Authorization: Bearer %d", n), "", 200, jsonType, `{}`)
		}
		b, err := r.g.Inventory().Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		if alone.Match(b) == several {
			t.Errorf("several %v: %s", several, b)
		}
		if all := r.g.Inventory().Endpoints(inventory.Filter{}); len(all) != 1 || all[0].Callers != 5 {
			t.Errorf("%+v", all)
		}
	}
}

// TestInventedEndpoints: a server that answers to any path has strangers fill no list of findings, and show nobody text that turns what is around it.
func TestInventedEndpoints(t *testing.T) {
	r := newRig(t, "      document: orders.yaml\n      leaks: {mode: off}\n", map[string]string{"orders.yaml": document})
	for i := range 40 {
		for n := range 12 {
			for who := range 3 {
				r.from = netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(who)}), 1)
				r.do(t, "GET", fmt.Sprintf("/%s/%s", strings.Repeat("abcdefg", i+1)[i:i+7+i/7], strings.Repeat("tuvwxyz", n+1)[n:n+7]), "", "", 200, "Content-Type: text/html", "<p>")
			}
		}
	}
	r.now = r.now.Add(30 * 24 * time.Hour)
	r.set(r.now)
	shadows, more := 0, 0
	for _, d := range r.g.Compare() {
		switch {
		case d.Kind != inventory.Shadow:
		case d.Template == "":
			more++
		default:
			shadows++
		}
	}
	if shadows > maxDrift || more > 1 || (shadows == maxDrift) != (more == 1) {
		t.Errorf("%d shadows, %d times more", shadows, more)
	}
	r = newRig(t, "", nil)
	for _, path := range []string{"/a%e2%80%aetxt.exe", "/gr\u00f6\u00dfe", "/a%ff", "/b%00", "/fine"} {
		r.do(t, "GET", path, "", "", 200, "Content-Type: text/html", "<p>")
	}
	var names []string
	for _, e := range r.g.Inventory().Endpoints(inventory.Filter{}) {
		names = append(names, e.Template)
	}
	if slices.Sort(names); !slices.Equal(names, []string{"/fine", "/gr%C3%B6%C3%9Fe"}) {
		t.Errorf("learned %+q", names)
	}
	list := make([]inventory.Drift, 1000)
	for i := range list {
		list[i].Kind = inventory.Shadow
	}
	list[999].Kind = inventory.Zombie
	if got := some("shop", list); len(got) != maxDrift+2 || got[maxDrift].Kind != inventory.Zombie || !strings.HasPrefix(got[maxDrift+1].Message, "799 more") {
		t.Errorf("%d: %+v", len(got), got[len(got)-2:])
	}
}

// TestCrowdedOut: what is only told of does not keep what is refused from being told of.
func TestCrowdedOut(t *testing.T) {
	r := newRig(t, "      document: orders.yaml\n      requests: report\n      graphql: {mode: block, depth: 2, path: /orders}\n", map[string]string{"orders.yaml": document})
	var query []string
	for i := range 200 {
		query = append(query, fmt.Sprintf("a%d=1", i))
	}
	x := r.do(t, "POST", "/orders?"+strings.Join(query, "&"), jsonType, `{"query": "{a{b{c{d}}}}"}`, 200, "", "")
	if !slices.Contains(x.codes(), "graphql/depth!") {
		t.Errorf("%q", x.codes())
	}
	if len(x.Violations) > 2*maxFound {
		t.Errorf("%d violations", len(x.Violations))
	}
}

// TestLaxPaths: a request that only testudo does not know is held to the operation that a laxer server takes it for.
func TestLaxPaths(t *testing.T) {
	r := newRig(t, "      document: orders.yaml\n      bypass: off\n", map[string]string{"orders.yaml": document})
	for _, path := range []string{"/orders/", "/Orders", "/ORDERS//", "/%6frders", "/orders;v=1", "//orders", "/x/../orders", "/orders%2f", "/./orders", "/%2e/orders/."} {
		x := r.do(t, "POST", path, jsonType, `{"item": "rope of gold"}`, 201, "", "")
		if !slices.Contains(x.codes(), "body/maxLength!") {
			t.Errorf("%s: %q", path, x.codes())
		}
	}
	if x := r.do(t, "GET", "/Orders/7/", "", "", 200, jsonType, `{"id": 7}`); !cmp.Equal(x.codes(), []string{"path/undocumented"}) || x.Operation != "GET /orders/{id}" {
		t.Errorf("%q %q", x.codes(), x.Operation)
	}
	if x := r.do(t, "POST", "/bestellungen/", jsonType, `{"item": "rope of gold"}`, 201, "", ""); !cmp.Equal(x.codes(), []string{"path/undocumented"}) || x.Operation != "" {
		t.Errorf("%q %q", x.codes(), x.Operation)
	}
}

// TestOverrides: method overrides are found behind a long query too.
func TestOverrides(t *testing.T) {
	r := newRig(t, "      bypass: block\n", nil)
	for target, want := range map[string][]string{
		"/a?" + strings.Repeat("a=1&", 4000) + "_method=DELETE": {"bypass/method-override"},
		"/a?%5fmethod=DELETE": {"bypass/method-override"},
		"/a?_method=get":      nil,
	} {
		if x := r.do(t, "GET", target, "", "", 200, "", ""); !slices.Equal(x.codes(), want) {
			t.Errorf("%.40s: %q", target, x.codes())
		}
	}
	if x := r.do(t, "GET", "/a", "X-Override-Url: https://shop.test/admin?x=secret", "", 200, "", ""); !slices.Equal(x.codes(), []string{"bypass/address-override!"}) || strings.Contains(fmt.Sprint(x.Violations), "secret") {
		t.Errorf("%+v", x.Violations)
	}
}

// TestBare: an endpoint that answers without credentials, against its custom.
func TestBare(t *testing.T) {
	r := newRig(t, "      leaks: {mode: off}\n      authentication: block\n", nil)
	for i := range 400 {
		r.from = netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(i%20 + 1)}), 1000)
		r.do(t, "GET", "/account", fmt.Sprintf("Authorization: Bearer %d", i%20), "", 200, jsonType, `{"name": "n"}`)
		if i == 100 {
			r.g.Inventory().Refresh()
		}
	}
	if x := r.do(t, "GET", "/account", "", "", 401, jsonType, `{}`); len(x.codes()) > 0 {
		t.Errorf("refused: %q", x.codes())
	}
	if x := r.do(t, "GET", "/account", "", "", 200, jsonType, `{"name": "n"}`); !slices.Equal(x.codes(), []string{"authentication/no-credentials!"}) {
		t.Errorf("%q", x.codes())
	}
}

// TestAssignment: fields that grant something are found without any document, and not where users send them.
func TestAssignment(t *testing.T) {
	r := newRig(t, "      leaks: {mode: off}\n      assignment: block\n", nil)
	for i := range 400 {
		r.do(t, "POST", "/profile", fmt.Sprintf("Authorization: Bearer %d\n%s", i%20, jsonType), `{"name": "n", "mail": "m"}`, 200, jsonType, `{"name": "n", "mail": "m", "role": "user"}`)
		if i == 50 {
			r.g.Inventory().Refresh()
		}
	}
	for body, want := range map[string][]string{
		`{"name": "x", "mail": "y"}`:             nil,
		`{"name": "x", "role": "admin"}`:         {"assignment/privileged-field!"},
		`{"name": "x", "is_admin": true}`:        {"assignment/privileged-field!"},
		`{"name": "x", "address": {"zip": "1"}}`: {"assignment/unknown-field", "assignment/unknown-field"},
	} {
		var x *exchanged
		for _, kind := range []string{jsonType, "Content-Type: text/plain", "", jsonType + "\n" + jsonType} {
			if x = r.do(t, "POST", "/profile", "Authorization: Bearer 1\n"+kind, body, 400, "", ""); !slices.Equal(x.codes(), want) {
				t.Errorf("%s as %q: %q", body, kind, x.codes())
			}
		}
		if strings.Contains(fmt.Sprint(x.Violations), "admin\"") {
			t.Errorf("a value is told: %v", x.Violations)
		}
	}
}

// TestExposure: what gives more than its document says is refused before it goes out, where that is asked for.
func TestExposure(t *testing.T) {
	r := newRig(t, "      document: orders.yaml\n      exposure: block\n      responses: off\n", map[string]string{"orders.yaml": document})
	st := r.serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"id": 7, "margin": 3}`)
	})
	resp, body := st.do(t, "GET", "/orders/7", "", "")
	x := r.do(t, "GET", "/orders/7", "", "", 200, jsonType, `{"id": 7, "margin": 3}`)
	if !slices.Equal(x.codes(), []string{"exposure/undocumented-field"}) || resp.StatusCode != 200 || !strings.Contains(body, "margin") {
		t.Errorf("a guess does not refuse: %q, %d %q", x.codes(), resp.StatusCode, body)
	}
}

// TestAmounts: an answer that is far larger than answers are is refused before it goes out, and so is who asked for it for a while.
func TestAmounts(t *testing.T) {
	r := newRig(t, "      exposure: block\n      leaks: {mode: off}\n", nil)
	list := func(n int) string { return "[" + strings.Repeat(`{"id": 1},`, n) + `{"id": 2}]` }
	for i := range 600 {
		r.do(t, "GET", "/orders", fmt.Sprintf("Authorization: Bearer %d", i%30), "", 200, jsonType, list(i%7))
		if i == 50 {
			r.g.Inventory().Refresh()
		}
	}
	st := r.serve(t, func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		var n int
		fmt.Sscan(q.Header.Get("X-N"), &n)
		fmt.Fprint(w, list(n))
	})
	for _, c := range []struct{ who, n, status int }{{1, 5, 200}, {2, 2000, 502}, {2, 5, 403}, {3, 5, 200}, {4, 20_000, 502}} {
		if resp, body := st.do(t, "GET", "/orders", fmt.Sprintf("Authorization: Bearer %d\nX-N: %d", c.who, c.n), ""); resp.StatusCode != c.status || c.status != 200 && strings.Contains(body, `"id"`) {
			t.Errorf("%+v: %d %.100q", c, resp.StatusCode, body)
		}
	}
}

// TestSubjects: the configured cookie says who asks, before whatever else there is, however often it stands there.
func TestSubjects(t *testing.T) {
	for _, c := range []struct {
		session, header string
		want            []string
	}{
		{"", "", nil},
		{"", "Authorization: Bearer a\nCookie: lang=en; session=b", []string{"Bearer a", "b"}},
		{"sid", "Authorization: Bearer a\nCookie: session=b; sid=c", []string{"c", "Bearer a"}},
		{"sid", "Cookie: sid=c; sid=d\nCookie: sid=c", []string{"c", "d"}},
		{"", "Cookie: csrf_token=a; sid=; session=\"b\"", []string{`"b"`}},
		{"", "X-Api-Key: a\nX-Api-Key: b\nApi-Key: c\nX-Auth-Token: d\nCookie: sid=e", []string{"a", "b", "c", "d"}},
	} {
		if got := subjects(headers(c.header), c.session, nil); !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.header, got, c.want)
		}
	}
}

// TestLongQuery: 5,000 parameters cost what is in proportion, and are not all kept.
func TestLongQuery(t *testing.T) {
	r := newRig(t, "", nil)
	r.warm(t)
	var query strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&query, "a%d=&", rand.IntN(1<<30))
		_ = i
		if query.Len() > 16_000 {
			break
		}
	}
	c := r.begin(t, "GET", "/orders/123456?"+query.String()+"order_id=7", "").(*check)
	c.Request()
	if len(c.pairs()) > maxQuery || len(c.objects) > 2*maxObjects {
		t.Errorf("%d pairs, %d objects", len(c.pairs()), len(c.objects))
	}
	if last := c.objects[len(c.objects)-1]; last.Value != "123456" {
		t.Errorf("the request is about %+v", last)
	}
	c = r.begin(t, "GET", "/orders/123456?zid=1&aid=2&order_id=7&id=3&Id=4&xid=5&y_id=6&z_id=8", "").(*check)
	c.Request()
	if last := c.objects[len(c.objects)-1]; last.Value != "123456" || len(c.objects) != maxObjects+1 {
		t.Errorf("the request is about %+v of %+v", last, c.objects)
	}
}
