package console_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/console/consoletest"
)

// TestHeaders checks what is on every answer, whatever it is.
func TestHeaders(t *testing.T) {
	b := newBench(t, pages{})
	foreign := b.request("GET", "/", "", "")
	foreign.Host = "attacker.example"
	for name, r := range map[string]*http.Request{
		"page": b.request("GET", "/", "", consoletest.ViewerName), "redirect": b.request("GET", "/", "", ""), "not found": b.request("GET", "/x", "", ""),
		"api": b.request("GET", "/api/v1/me", "", consoletest.ViewerName), "api error": b.request("GET", "/api/v1/me", "", ""),
		"ready": b.request("GET", "/readyz", "", ""), "foreign host": foreign, "panic": b.request("GET", "/boom", "", consoletest.ViewerName),
		"method": b.request("PUT", "/", "", ""),
	} {
		h := b.send(r).Header()
		for key, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin",
			"Cross-Origin-Resource-Policy": "same-origin", "X-Frame-Options": "DENY", "Cache-Control": "no-store", "Strict-Transport-Security": "",
		} {
			if got := h.Get(key); got != want {
				t.Errorf("%s: %s is %q, want %q", name, key, got, want)
			}
		}
		csp := h.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self';", "style-src 'self';", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'"} {
			if !strings.Contains(csp, want) {
				t.Errorf("%s: the policy %q lacks %q", name, csp, want)
			}
		}
		if strings.Contains(csp, "unsafe") || strings.Contains(csp, "http") || strings.Contains(csp, "*") {
			t.Errorf("%s: the policy %q lets something in", name, csp)
		}
		if h.Get("Permissions-Policy") == "" {
			t.Errorf("%s: no Permissions-Policy", name)
		}
	}
}

func TestHosts(t *testing.T) {
	w := consoletest.New()
	cfg := console.Default()
	cfg.Listen, cfg.Names = "console.internal:7443", []string{"Testudo.Example"}
	s, err := console.New(cfg, w.Sources(), console.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]int{
		"console.internal:7443": 200, "CONSOLE.internal": 200, "testudo.example.": 200, "testudo.example:99": 200, "localhost:7443": 200, "127.0.0.1": 200,
		"[::1]:7443": 200, "127.8.8.8:7443": 200,
		"attacker.example": 421, "localhost.attacker.example": 421, "192.0.2.1": 421, "testudo.example.attacker.example": 421, "127.0.0.1.attacker.example": 421,
		"": 421, "0.0.0.0": 421, "2130706433": 421, "testudo.example@attacker.example": 421,
	} {
		r := httptest.NewRequest("GET", "https://x/livez", nil)
		r.Host = host
		rec := httptest.NewRecorder()
		s.Handler().ServeHTTP(rec, r)
		if rec.Code != want {
			t.Errorf("host %q answered %d, want %d", host, rec.Code, want)
		}
	}
}

func TestHealthAndMetrics(t *testing.T) {
	b := newBench(t, nil)
	for _, c := range []struct {
		state console.HealthState
		want  int
	}{{console.HealthOK, 200}, {console.HealthDegraded, 503}, {console.HealthStarting, 503}, {console.HealthStopping, 503}} {
		b.world.Health = console.Health{State: c.state, Reasons: []string{"the disk of /secret/path is full"}}
		w := b.send(b.request("GET", "/readyz", "", ""))
		if w.Code != c.want || w.Body.String() != string(c.state)+"\n" {
			t.Errorf("%s answers %d %q", c.state, w.Code, w.Body)
		}
		if w := b.send(b.request("GET", "/livez", "", "")); w.Code != 200 || w.Body.String() != "ok\n" {
			t.Errorf("livez answers %d %q while %s", w.Code, w.Body, c.state)
		}
	}
	for _, c := range []struct {
		name   string
		from   string
		header [2]string
		want   int
	}{
		{"this machine", "127.0.0.1:999", [2]string{}, 200},
		{"this machine, IPv6", "[::1]:999", [2]string{}, 200},
		{"another", "192.0.2.1:999", [2]string{}, 401},
		{"a proxy on this machine", "127.0.0.1:999", [2]string{"X-Forwarded-For", "192.0.2.1"}, 401},
		{"another with a token", "192.0.2.1:999", [2]string{"Authorization", "Bearer " + consoletest.ViewerToken}, 200},
		{"another with a wrong token", "192.0.2.1:999", [2]string{"Authorization", "Bearer x"}, 401},
	} {
		r := b.request("GET", "/metrics", "", "")
		r.RemoteAddr = c.from
		if c.header[0] != "" {
			r.Header.Set(c.header[0], c.header[1])
		}
		w := b.send(r)
		if w.Code != c.want || (w.Code == 200) != strings.Contains(w.Body.String(), "testudo_console_requests_total") {
			t.Errorf("%s: metrics answer %d: %.100s", c.name, w.Code, w.Body)
		}
	}
}

func TestSignInCookieAndAttempts(t *testing.T) {
	b := newBench(t, pages{})
	form := func(body string) *http.Request {
		r := b.request("POST", "/sign-in", body, "")
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		r.Header.Set("Origin", "null") // what browsers send under Referrer-Policy: no-referrer
		return r
	}
	w := b.send(form("name=ann&password=" + strings.ReplaceAll(consoletest.AdminPassword, " ", "+") + "&next=%2Ffindings%3Fa%3Db"))
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/findings?a=b" {
		t.Fatalf("sign-in answers %d to %q: %s", w.Code, w.Header().Get("Location"), w.Body)
	}
	var session, flash *http.Cookie
	for _, c := range w.Result().Cookies() {
		switch c.Name {
		case b.CookieName():
			session = c
		case b.CookieName() + "-flash":
			flash = c
		}
	}
	if session == nil || flash == nil {
		t.Fatalf("cookies %v", w.Result().Cookies())
	}
	for _, c := range []*http.Cookie{session, flash} {
		if !strings.HasPrefix(c.Name, "__Host-") || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" || c.MaxAge <= 0 {
			t.Errorf("cookie %s is %s", c.Name, c.Raw)
		}
	}
	r := b.request("GET", "/flash", "", "")
	r.AddCookie(flash)
	w = b.send(r)
	if w.Body.String() != "Welcome" || w.Result().Cookies()[0].MaxAge >= 0 {
		t.Errorf("flash is %q, then %v", w.Body, w.Result().Cookies())
	}

	// A second sign-in in the same browser ends the first session.
	r = form("name=vic&password=" + strings.ReplaceAll(consoletest.ViewerPassword, " ", "+"))
	r.AddCookie(session)
	b.send(r)
	r = b.request("GET", "/api/v1/me", "", "")
	r.AddCookie(session)
	if w := b.send(r); w.Code != http.StatusUnauthorized {
		t.Errorf("the session before answers %d", w.Code)
	}

	for i := range 7 {
		r := b.request("POST", "/api/v1/session", `{"name":"ola","password":"wrong"}`, "")
		w := b.send(r)
		want, wait := http.StatusUnauthorized, ""
		if i >= 5 {
			want, wait = http.StatusTooManyRequests, "30"
		}
		if w.Code != want || w.Header().Get("Retry-After") != wait {
			t.Errorf("attempt %d answers %d, Retry-After %q", i+1, w.Code, w.Header().Get("Retry-After"))
		}
		if len(w.Result().Cookies()) > 0 {
			t.Errorf("a refused attempt sets %v", w.Result().Cookies())
		}
	}
	// From another site nobody can be signed in to an account of the attacker's.
	r = form("name=ann&password=x")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	if w := b.send(r); w.Code != http.StatusForbidden {
		t.Errorf("sign-in from another site answers %d", w.Code)
	}
}

func TestLinkIsUsedUpByPostAlone(t *testing.T) {
	b := newBench(t, nil)
	for range 3 {
		r := b.request("GET", console.LinkPath+"?link="+consoletest.LinkSecret, "", "")
		b.send(r)
		if l, err := b.Link(r, consoletest.LinkSecret); err != nil || l.Name != "max" || !l.Setup {
			t.Fatalf("looking at the link gives %+v, %v", l, err)
		}
	}
	redeem := func(password string) int {
		return b.send(b.request("POST", "/api/v1/session/link", `{"link":"`+consoletest.LinkSecret+`","password":"`+password+`"}`, "")).Code
	}
	if got := redeem("short"); got != http.StatusUnprocessableEntity {
		t.Errorf("a weak password answers %d", got)
	}
	if got := redeem("long enough for this"); got != http.StatusOK {
		t.Errorf("redeeming answers %d", got)
	}
	if got := redeem("long enough for this"); got != http.StatusUnauthorized {
		t.Errorf("redeeming again answers %d", got)
	}
}

func TestLocalPath(t *testing.T) {
	for in, want := range map[string]string{
		"/findings?state=open": "/findings?state=open", "/": "/", "": "/", "findings": "/", "//evil.example": "/", "/\\evil.example": "/", "https://evil.example": "/",
		"/\t/evil.example": "/", "\\\\evil.example": "/", "/sign-in": "/", "/welcome?link=x": "/", "javascript:alert(1)": "/", "/" + strings.Repeat("a", 3000): "/",
	} {
		if got := console.LocalPath(in); got != want {
			t.Errorf("LocalPath(%q) is %q, want %q", in, got, want)
		}
	}
}

func TestStatic(t *testing.T) {
	files := fstest.MapFS{
		"app.js": {Data: []byte("let a")}, "app.js.gz": {Data: []byte("gz")}, "css/a.css": {Data: []byte("a{}"), ModTime: time.Unix(1, 0)},
	}
	st, err := console.NewStatic("/static/", files)
	if err != nil {
		t.Fatal(err)
	}
	s, err := console.New(console.Default(), console.Sources{}, console.Deps{UI: oneRoute{st.Route()}})
	if err != nil {
		t.Fatal(err)
	}
	get := func(path, encoding string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", "https://localhost"+path, nil)
		r.Header.Set("Accept-Encoding", encoding)
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		return w
	}
	url := st.URL("app.js")
	if !strings.HasPrefix(url, "/static/app-") || !strings.HasSuffix(url, ".js") {
		t.Fatalf("address %q", url)
	}
	w := get(url, "")
	if w.Code != 200 || w.Body.String() != "let a" || w.Header().Get("Cache-Control") != "public, max-age=31536000, immutable" || w.Header().Get("Content-Type") != "text/javascript; charset=utf-8" {
		t.Errorf("answers %d %q %v", w.Code, w.Body, w.Header())
	}
	if w := get(url, "br, gzip"); w.Body.String() != "gz" || w.Header().Get("Content-Encoding") != "gzip" || w.Header().Get("Vary") != "Accept-Encoding" {
		t.Errorf("compressed: %q %v", w.Body, w.Header())
	}
	if w := get(url, "gzip;q=0"); w.Body.String() != "let a" {
		t.Errorf("gzip refused: %q", w.Body)
	}
	if w := get(st.URL("css/a.css"), ""); w.Body.String() != "a{}" {
		t.Errorf("in a folder: %d %q", w.Code, w.Body)
	}
	for _, path := range []string{"/static/app.js", "/static/", "/static/app.js.gz", "/static/%2e%2e/x"} {
		if w := get(path, ""); w.Code == 200 {
			t.Errorf("%s answers %d", path, w.Code)
		}
	}
	if st.URL("missing.js") != "" {
		t.Error("a missing file has an address")
	}
	files["app.js"].Data = []byte("let b")
	if again, _ := console.NewStatic("/static/", files); again.URL("app.js") == url {
		t.Error("other content has the same address")
	}
	if _, err := console.NewStatic("/static/", fstest.MapFS{"a.exe": {}}); err == nil {
		t.Error("a file of unknown type is taken")
	}
}

type oneRoute struct{ rt console.Route }

func (o oneRoute) Routes(*console.Server) []console.Route { return []console.Route{o.rt} }
func (o oneRoute) Problem(w http.ResponseWriter, _ *http.Request, p console.Problem) {
	w.WriteHeader(p.Status)
}
