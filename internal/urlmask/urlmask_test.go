package urlmask

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestQuery(t *testing.T) {
	m := New([]string{"page"}, []string{"ssn"}, nil)
	for in, want := range map[string]string{
		"":                              "",
		"q=shoes&page=2":                "q=*&page=2",
		"secret":                        "*",
		"q=a=b&x":                       "q=*&*",
		"eyJhbGciOiJIUzI1NiJ9.e30=":     "*=*",
		"q=1;token=abc":                 "q=*",
		"&&a=1&":                        "&&a=*&",
		"=v":                            "*=*",
		"ssn=1":                         "*=*",
		"page=a%00b\x1b[2Jc":            "page=a%00b%1B[2Jc",
		"user[name]=x&a.b-c=1":          "user[name]=*&a.b-c=*",
		"deadbeef0123456789abcd=":       "*=*",
		"customerBillingAddressLine2=x": "customerBillingAddressLine2=*",
		"utm_source=x&id2=3":            "utm_source=*&id2=*",
		"a b=1":                         "*=*",
		strings.Repeat("n", 60) + "=1":  "*=*",
	} {
		if got := m.Query(in); got != want {
			t.Errorf("query(%q) = %q, want %q", in, got, want)
		}
	}
	if got := m.Query(strings.Repeat("a=1&", 10_000)); len(got) > MaxQuery+16 {
		t.Errorf("a long query is recorded with %d bytes", len(got))
	}
}

func TestPath(t *testing.T) {
	m := New(nil, nil, []string{"/reset/*", "/u/*/key/*"})
	for in, want := range map[string]string{
		"/":                                "/",
		"/a/b":                             "/a/b",
		"/a;jsessionid=X/b":                "/a;jsessionid=*/b",
		"/a;SECRET":                        "/a;*",
		"/a;x=1;y=2;z/b":                   "/a;x=*;y=*;*/b",
		"/a%3bjsessionid=X":                "/a;jsessionid=*",
		"/http://u:pw@host/x":              "/http://*@host/x",
		"/u%3Apw%40host/x":                 "/*%40host/x",
		"/@name/post":                      "/@name/post",
		"/reset/TOKEN":                     "/reset/*",
		"/reset/TOKEN/more":                "/reset/*/more",
		"/u/joe/key/K":                     "/u/*/key/*",
		"/a\x7fb\u202e":                    "/a%7Fb%E2%80%AE",
		"/" + strings.Repeat("a", MaxPath): "/" + strings.Repeat("a", MaxPath-1) + "…",
	} {
		if got := m.Path(in); got != want {
			t.Errorf("path(%.80q) = %.80q, want %.80q", in, got, want)
		}
	}
}

func TestReferrer(t *testing.T) {
	var m Masker
	for in, want := range map[string]string{
		"https://shop/a?q=S#S":        "https://shop/a?q=*",
		"https://u:S@shop/a":          "https://*@shop/a",
		"https://shop/a;sid=S?S":      "https://shop/a;sid=*?*",
		"/only/path?x=S":              "/only/path?x=*",
		"https://shop":                "https://shop",
		"android-app://com.example/x": "android-app://com.example/x",
	} {
		if got := m.Referrer(in); got != want {
			t.Errorf("referrer(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzMask(f *testing.F) {
	f.Add("q=CANARY&CANARY", "/a;x=CANARY/b;CANARY", "http://a:CANARY@h/p?CANARY#CANARY")
	f.Fuzz(func(t *testing.T, query, path, referrer string) {
		var m Masker
		for _, got := range []string{m.Query(query), m.Path(path), m.Referrer(referrer)} {
			if len(got) > MaxPath+MaxQuery {
				t.Fatalf("%d bytes", len(got))
			}
		}
		// A value never survives, whatever surrounds it.
		const canary = "CANARY\x01"
		if !strings.Contains(query, "CANARY") {
			if got := m.Query(query + "&x=" + canary + "&y=" + canary); strings.Contains(got, "CANARY") {
				t.Fatalf("query: %q", got)
			}
		}
		if !strings.Contains(path, "CANARY") && strings.Count(path, "/") < 50 {
			if got := m.Path(path + ";a=" + canary); strings.Contains(got, "CANARY") {
				t.Fatalf("path: %q", got)
			}
		}
		if !strings.Contains(referrer, "CANARY") {
			if got := m.Referrer("http://u:" + canary + "@h/" + referrer + "?x=" + canary + "#" + canary); strings.Contains(strings.Split(got, "?")[0], "u:CANARY") || strings.Contains(got, "x=CANARY") {
				t.Fatalf("referrer: %q", got)
			}
		}
	})
}

func TestNames(t *testing.T) {
	m := New(nil, []string{"ssn"}, nil)
	got := m.ArgNames([]string{"before"}, "a=1&b&a=2&ssn=3&eyJhbGciOiJIUzI1NiJ9.e30=&c=")
	if d := cmp.Diff([]string{"before", "a", "*", "c"}, got); d != "" {
		t.Error(d)
	}
	got = CookieNames(nil, []string{"sid=S; theme=dark;sid=T", "deadbeef0123456789abcd; x=1"})
	if d := cmp.Diff([]string{"sid", "theme", "*", "x"}, got); d != "" {
		t.Error(d)
	}
	var query, cookies strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&query, "n%d=1&", i)
		fmt.Fprintf(&cookies, "n%d=1; ", i)
	}
	if n, c := len(m.ArgNames(nil, query.String())), len(CookieNames(nil, []string{cookies.String()})); n != MaxNames || c != MaxNames {
		t.Errorf("%d and %d names", n, c)
	}
}

func TestClean(t *testing.T) {
	for _, c := range []struct {
		in, want string
		limit    int
	}{
		{"plain", "plain", 5}, {"plain", "plai…", 4}, {"", "", 0}, {"Käse €", "Käse €", 20}, {"a\nb\x00", "a%0Ab%00", 20},
		{"\x1b[31m", "%1B[31m", 20}, {"\u202etxt", "%E2%80%AEtxt", 20}, {"\xff\xfe", "%FF%FE", 20}, {"\u200b", "%E2%80%8B", 20},
	} {
		if got := Clean(c.in, c.limit); got != c.want {
			t.Errorf("%q within %d: %q, want %q", c.in, c.limit, got, c.want)
		}
	}
}
