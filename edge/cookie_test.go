package edge

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/signal"
)

// TestOwnCookies sends what a browser does that is signed in to a console on the same
// address: the application must not see the session, and everything else as it came.
func TestOwnCookies(t *testing.T) {
	seen := make(chan []string, 1)
	up := backend(t, func(w http.ResponseWriter, r *http.Request) { seen <- r.Header["Cookie"] })
	ed := start(t, []string{up})
	for _, c := range []struct {
		name        string
		lines, want []string
	}{
		{"session alone", []string{"__Host-testudo-7443=S"}, nil},
		{"among others", []string{"a=1; __Host-testudo-7443=S; b=2"}, []string{"a=1; b=2"}},
		{"session and flash, no spaces", []string{"__Host-testudo-7443=S;a=1;__Host-testudo-7443-flash=F"}, []string{"a=1"}},
		{"within quotes", []string{`a="x; __Host-testudo-7443=S; y"`}, []string{`a="x; y"`}},
		{"several lines", []string{"a=1", "__Host-testudo-1=S", "b=2;c=3"}, []string{"a=1", "b=2;c=3"}},
		{"odd ones untouched", []string{`a=1;;  b="x y" ;c; =d;`}, []string{`a=1;;  b="x y" ;c; =d;`}},
		{"only mentioned", []string{"a=__Host-testudo;b=2", "x__Host-testudo=1;y=2"}, []string{"a=__Host-testudo;b=2", "x__Host-testudo=1;y=2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := raw(t, ed.addr, "GET /"+strings.ReplaceAll(c.name, " ", "-")+" HTTP/1.1\r\nHost: shop\r\nCookie: "+strings.Join(c.lines, "\r\nCookie: ")+"\r\nConnection: close\r\n\r\n")
			if !strings.HasPrefix(got, "HTTP/1.1 200 ") {
				t.Fatal(first(got))
			}
			if d := cmp.Diff(c.want, <-seen); d != "" {
				t.Error(d)
			}
		})
	}
	e := ed.sink.wait(t, "request", func(e *signal.Event) bool {
		return isRequest(e) && e.Str(signal.FieldHTTPRequestURLPath) == "/among-others"
	})
	if names := e.Strings(signal.FieldHTTPRequestCookieNames); !slices.Contains(names, "__Host-testudo-7443") {
		t.Errorf("recorded names: %v", names)
	}
}

// TestConsoleCookieName holds the name that the edge takes out against the console's own.
func TestConsoleCookieName(t *testing.T) {
	srv, err := console.New(console.Default(), console.Sources{}, console.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	if name := srv.CookieName(); !strings.HasPrefix(name, ownCookies) {
		t.Errorf("the console's cookie is called %q, the edge takes out %q", name, ownCookies)
	}
}

func TestOwnCookiesCannotBeSet(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Set-Cookie", "a=1; Path=/")
		w.Header().Add("Set-Cookie", " __Host-testudo-7443=fixed; Path=/; Secure")
		w.Header().Add("Set-Cookie", "b=__Host-testudo")
	})
	ed := start(t, []string{up})
	resp, _ := get(t, client1(t), ed.url+"/")
	if d := cmp.Diff([]string{"a=1; Path=/", "b=__Host-testudo"}, resp.Header["Set-Cookie"]); d != "" {
		t.Error(d)
	}
}
