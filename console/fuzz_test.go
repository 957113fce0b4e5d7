package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/console/consoletest"
)

// FuzzBody sends bodies to every route that reads one. None is a fault of ours, whatever
// it holds, and what is refused is refused with a problem.
func FuzzBody(f *testing.F) {
	b := newBench(f, nil)
	all := examples(b.world)
	var routes []console.Route
	for _, rt := range b.Table() {
		if rt.Op() == "" {
			continue
		}
		if ex := all[rt.Op()]; ex.body != "" {
			f.Add(uint8(len(routes)), ex.body)
			routes = append(routes, rt)
		}
	}
	for _, s := range []string{`null`, `[]`, `{"kind":null}`, `{"for":-1}`, `{"for":"-10m","kind":"block","target":"::1"}`, "{\"target\":\"\u202e\"}", `{"event":"x"}`, `{"role":"none"}`,
		`{"role":7}`, `{"ttl":"9999999h","name":"a","role":"admin"}`, strings.Repeat(`{"a":`, 20000), "\xff", `{"target":"\u0000","kind":"block"}`, `{"KIND":"block","kind":"x"}`} {
		for i := range routes {
			f.Add(uint8(i), s)
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, body string) {
		rt := routes[int(which)%len(routes)]
		if body == "" {
			body = " "
		}
		// Signing out by a change of password would let the others fail for that alone.
		person := consoletest.AdminName
		if rt.Op() == "changePassword" {
			person = consoletest.ViewerName
		}
		w := b.send(b.request(rt.Method, all[rt.Op()].path, body, person))
		if w.Code >= 500 {
			t.Errorf("%s answers %d to %q: %s", rt.Op(), w.Code, body, w.Body)
		}
		if w.Code >= 400 && w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s refuses %q without a problem", rt.Op(), body)
		}
	})
}

// FuzzQuery sends queries to every route that answers lists.
func FuzzQuery(f *testing.F) {
	b := newBench(f, nil)
	all := examples(b.world)
	var routes []console.Route
	for _, rt := range b.Table() {
		if rt.Op() != "" && safe(rt.Method) && !rt.Stream {
			_, query, _ := strings.Cut(all[rt.Op()].path, "?")
			f.Add(uint8(len(routes)), query)
			routes = append(routes, rt)
		}
	}
	for _, q := range []string{"limit=0", "limit=501", "limit=1&limit=2", "limit=x", "cursor=-1", "cursor=99999999999999999999", "since=yesterday", "client=1.2.3", "client=fe80::1%25eth0",
		"client=::ffff:1.2.3.4/96", "plane=", "plane=moon", "class=x", "decision=maybe", "text=%00", "text=%ff", "condition=(", "%zz", "a;b", "severity=unknown"} {
		for i := range routes {
			f.Add(uint8(i), q)
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, query string) {
		rt := routes[int(which)%len(routes)]
		path, _, _ := strings.Cut(all[rt.Op()].path, "?")
		r := b.request("GET", path, "", consoletest.AdminName)
		r.URL.RawQuery = query
		if w := b.send(r); w.Code >= 500 {
			t.Errorf("%s answers %d to %q: %s", rt.Op(), w.Code, query, w.Body)
		}
	})
}

// FuzzLocalPath checks that no spelling leads to another host.
func FuzzLocalPath(f *testing.F) {
	for _, s := range []string{"/", "//x", "/\\x", "/%2f/x", "/x?y#z", "/\r\n", "http:/x", "/./x//y", "/x:y@z"} {
		f.Add(s)
	}
	base, _ := url.Parse("https://console.example/sign-in")
	f.Fuzz(func(t *testing.T, next string) {
		got := console.LocalPath(next)
		// Browsers take a backslash for a slash and pass over tabs and line breaks.
		seen := strings.NewReplacer("\\", "/", "\t", "", "\n", "", "\r", "").Replace(got)
		u, err := base.Parse(seen)
		if err != nil || u.Host != "console.example" || u.Scheme != "https" {
			t.Errorf("LocalPath(%q) is %q, which leads to %v (%v)", next, got, u, err)
		}
		w := http.Header{}
		w.Set("Location", got)
		if strings.ContainsAny(got, "\r\n\x00") {
			t.Errorf("LocalPath(%q) holds a line break", next)
		}
	})
}
