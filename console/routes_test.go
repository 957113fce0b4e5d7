package console_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/console/consoletest"
)

// pages is a UI of one row per role, to hold pages to the same table.
type pages struct{}

func (pages) Problem(w http.ResponseWriter, _ *http.Request, p console.Problem) {
	w.WriteHeader(p.Status)
	_, _ = fmt.Fprintf(w, "<p>%d</p>", p.Status)
}

func (pages) Routes(s *console.Server) []console.Route {
	ok := func(w http.ResponseWriter, r *http.Request) error { _, err := w.Write([]byte("a page")); return err }
	return []console.Route{
		{Method: "GET", Path: "/{$}", Role: console.RoleViewer, Handler: ok},
		{Method: "GET", Path: "/sign-in", Handler: ok},
		{Method: "POST", Path: "/sign-in", Handler: func(w http.ResponseWriter, r *http.Request) error {
			if _, err := s.SignIn(w, r, r.PostFormValue("name"), r.PostFormValue("password")); err != nil {
				return err
			}
			s.SetFlash(w, "Welcome")
			http.Redirect(w, r, console.LocalPath(r.PostFormValue("next")), http.StatusSeeOther)
			return nil
		}},
		{Method: "POST", Path: "/act", Role: console.RoleOperator, Handler: ok},
		{Method: "GET", Path: "/boom", Role: console.RoleViewer, Handler: func(http.ResponseWriter, *http.Request) error { panic("a secret in a panic") }},
		{Method: "GET", Path: "/half", Role: console.RoleViewer, Handler: func(w http.ResponseWriter, _ *http.Request) error {
			_, _ = w.Write([]byte("half"))
			panic("late")
		}},
		{Method: "GET", Path: "/flash", Handler: func(w http.ResponseWriter, r *http.Request) error {
			_, err := w.Write([]byte(s.TakeFlash(w, r)))
			return err
		}},
	}
}

func safe(method string) bool { return method == "GET" || method == "HEAD" }

var people = map[string]console.Role{
	consoletest.ViewerName: console.RoleViewer, consoletest.OperatorName: console.RoleOperator, consoletest.AdminName: console.RoleAdmin,
}

var tokens = map[string]console.Role{
	consoletest.ViewerToken: console.RoleViewer, consoletest.OperatorToken: console.RoleOperator, consoletest.AdminToken: console.RoleAdmin,
	consoletest.ScannerToken: console.RoleScanner,
}

// may says which roles include which, row by row.
func may(role, need console.Role) bool {
	const viewer, operator, admin, scanner = console.RoleViewer, console.RoleOperator, console.RoleAdmin, console.RoleScanner
	return slices.Contains(map[console.Role][]console.Role{
		viewer: {console.RoleNone, viewer}, operator: {console.RoleNone, viewer, operator, scanner}, admin: {console.RoleNone, viewer, operator, admin, scanner}, scanner: {console.RoleNone, scanner},
	}[role], need)
}

// TestEveryRoute holds each route of the API to its row: who may, and what else a request
// must be to reach the handler.
func TestEveryRoute(t *testing.T) {
	shared := newBench(t, pages{}) // for requests that change nothing
	for _, rt := range shared.Table() {
		if rt.Op() == "" {
			continue
		}
		t.Run(rt.Op(), func(t *testing.T) {
			ex := shared.example(rt.Op())
			check := func(name string, b *bench, r *http.Request, want int) {
				t.Helper()
				send := b.send
				if rt.Media() == "text/event-stream" {
					send = b.sendStream
				}
				w := send(r)
				if w.Code != want {
					t.Errorf("%s: %s %s answered %d, want %d: %.300s", name, rt.Method, ex.path, w.Code, want, w.Body)
				}
				if w.Code >= 400 && w.Header().Get("Content-Type") != "application/problem+json" {
					t.Errorf("%s: a %d is %s, not a problem", name, w.Code, w.Header().Get("Content-Type"))
				}
			}
			admin := func() *http.Request {
				return shared.request(rt.Method, ex.path, ex.body, consoletest.AdminName)
			}

			r := admin()
			r.Host = "attacker.example"
			check("foreign host", shared, r, http.StatusMisdirectedRequest)
			r = shared.request("PATCH", ex.path, ex.body, consoletest.AdminName)
			check("method not answered", shared, r, http.StatusMethodNotAllowed)

			if rt.Role != console.RoleNone {
				r = shared.request(rt.Method, ex.path, ex.body, "")
				check("no session", shared, r, http.StatusUnauthorized)
				r.Header.Set("Authorization", "Bearer tst_unknown")
				check("unknown token", shared, r, http.StatusUnauthorized)
				r = admin()
				r.Header.Set("Authorization", "Basic YTpi")
				check("cookie beside another scheme", shared, r, http.StatusUnauthorized)
				r = shared.request(rt.Method, ex.path, ex.body, "")
				r.AddCookie(&http.Cookie{Name: shared.CookieName(), Value: "forged"})
				check("forged cookie", shared, r, http.StatusUnauthorized)
			}
			if !safe(rt.Method) {
				r = admin()
				r.Header.Set("Sec-Fetch-Site", "cross-site")
				check("cross-site", shared, r, http.StatusForbidden)
				r = admin()
				r.Header.Set("Sec-Fetch-Site", "same-site") // another port or subdomain
				check("same-site", shared, r, http.StatusForbidden)
				r = admin()
				r.Header.Del("Sec-Fetch-Site")
				r.Header.Set("Origin", "https://attacker.example")
				check("foreign origin", shared, r, http.StatusForbidden)
				if rt.Role != console.RoleNone {
					r = admin()
					r.Header.Set(console.CSRFHeader, shared.csrf[consoletest.ViewerName])
					check("CSRF token of another session", shared, r, http.StatusForbidden)
					r = admin()
					r.Header.Del(console.CSRFHeader)
					check("no CSRF token", shared, r, http.StatusForbidden)
				}
				if ex.body != "" {
					for _, c := range []struct {
						name, kind, body string
						want             int
					}{
						{"form content type", "application/x-www-form-urlencoded", ex.body, http.StatusUnsupportedMediaType},
						{"text content type", "text/plain", ex.body, http.StatusUnsupportedMediaType},
						{"unknown key", "application/json", `{"surprise":1,` + ex.body[1:], http.StatusUnprocessableEntity},
						{"two values", "application/json", ex.body + "{}", http.StatusBadRequest},
						{"cut off", "application/json", ex.body[:len(ex.body)-1], http.StatusBadRequest},
						{"too large", "application/json", `{"x":"` + strings.Repeat("a", int(max(1<<20, rt.Body))) + `"}`, http.StatusRequestEntityTooLarge},
					} {
						r = shared.request(rt.Method, ex.path, c.body, consoletest.AdminName)
						r.Header.Set("Content-Type", c.kind)
						check(c.name, shared, r, c.want)
					}
				} else {
					check("a body where none is read", shared, shared.request(rt.Method, ex.path, `{}`, consoletest.AdminName), http.StatusBadRequest)
				}
			} else {
				sep := "?"
				if strings.Contains(ex.path, "?") {
					sep = "&"
				}
				check("unknown parameter", shared, shared.request(rt.Method, ex.path+sep+"surprise=1", "", consoletest.AdminName), http.StatusUnprocessableEntity)
			}

			for name, role := range people {
				want := rt.Status()
				if !may(role, rt.Role) {
					want = http.StatusForbidden
				}
				b := newBench(t, nil)
				ex := b.example(rt.Op())
				ex.path = strings.Replace(ex.path, "SESSION", sessionID(b, name), 1)
				if rt.Op() == "changePassword" {
					ex.body = strings.Replace(ex.body, consoletest.AdminPassword, passwords[name], 1)
				}
				before := len(b.world.Ledger)
				check("person "+name, b, b.request(rt.Method, ex.path, ex.body, name), want)
				if told := len(b.world.Ledger) > before; told != (ex.change && want < 400) {
					t.Errorf("person %s: the ledger has %d new entries", name, len(b.world.Ledger)-before)
				} else if told {
					if e := b.world.Ledger[len(b.world.Ledger)-1]; rt.Role != console.RoleNone && e.Actor != "person:"+name {
						t.Errorf("the ledger says %s did it, not %s", e.Actor, name)
					}
				}
			}
			for token, role := range tokens {
				want := rt.Status()
				if !may(role, rt.Role) {
					want = http.StatusForbidden
				}
				switch rt.Op() {
				case "changePassword": // a token has none
					want = http.StatusForbidden
				case "endSession":
					if role != console.RoleAdmin {
						want = http.StatusForbidden // it has no session of its own
					}
				}
				b := newBench(t, nil)
				ex := b.example(rt.Op())
				ex.path = strings.Replace(ex.path, "SESSION", sessionID(b, consoletest.ViewerName), 1)
				r := b.request(rt.Method, ex.path, ex.body, "")
				r.Header.Set("Authorization", "Bearer "+token)
				check("token "+role.String(), b, r, want)
			}
		})
	}
}

var passwords = map[string]string{
	consoletest.AdminName: consoletest.AdminPassword, consoletest.OperatorName: consoletest.OperatorPassword, consoletest.ViewerName: consoletest.ViewerPassword,
}

func sessionID(b *bench, person string) string {
	b.t.Helper()
	w := b.send(b.request("GET", "/api/v1/me", "", person))
	return decode[struct{ Session string }](b.t, w).Session
}

// TestOwnSessions checks that somebody without a role over others ends what they left open
// elsewhere, and nobody else's.
func TestOwnSessions(t *testing.T) {
	b := newBench(t, nil)
	b.world.Session(consoletest.ViewerName) // on another machine
	var elsewhere string
	for _, s := range decode[console.Page[console.SessionView]](t, b.send(b.request("GET", "/api/v1/sessions", "", consoletest.ViewerName))).Items {
		if s.Name != consoletest.ViewerName {
			t.Errorf("a viewer sees a session of %s", s.Name)
		}
		if !s.Current {
			elsewhere = s.ID
		}
	}
	end := func(person, id string) int {
		return b.send(b.request("DELETE", "/api/v1/sessions/"+id, "", person)).Code
	}
	if got := end(consoletest.OperatorName, elsewhere); got != http.StatusForbidden {
		t.Errorf("an operator ends a viewer's session: %d", got)
	}
	if got := end(consoletest.ViewerName, elsewhere); got != http.StatusNoContent {
		t.Errorf("a viewer ends their own session elsewhere: %d", got)
	}
	if e := b.world.Ledger[len(b.world.Ledger)-1]; e.Verb != "session.revoke" || e.Actor != "person:"+consoletest.ViewerName {
		t.Errorf("the ledger says %+v", e)
	}
}

// TestPagesAreHeld checks that rows of the UI are under the same guard.
func TestPagesAreHeld(t *testing.T) {
	b := newBench(t, pages{})
	form := func(person, body string) *http.Request {
		r := b.request("POST", "/act", body, person)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Del(console.CSRFHeader)
		return r
	}
	for _, c := range []struct {
		name     string
		r        *http.Request
		want     int
		location string
	}{
		{"page without session", b.request("GET", "/", "", ""), http.StatusSeeOther, "/sign-in"},
		{"part of a page without session", htmx(b.request("GET", "/act", "", "")), http.StatusMethodNotAllowed, ""},
		{"page", b.request("GET", "/", "", consoletest.ViewerName), http.StatusOK, ""},
		{"head", b.request("HEAD", "/", "", consoletest.ViewerName), http.StatusOK, ""},
		{"form with its token", form(consoletest.OperatorName, "csrf="+b.csrf[consoletest.OperatorName]), http.StatusOK, ""},
		{"form without", form(consoletest.OperatorName, "x=1"), http.StatusForbidden, ""},
		{"token in the query", func() *http.Request {
			r := form(consoletest.OperatorName, "x=1")
			r.URL.RawQuery = "csrf=" + b.csrf[consoletest.OperatorName]
			return r
		}(), http.StatusForbidden, ""},
		{"form of a viewer", form(consoletest.ViewerName, "csrf="+b.csrf[consoletest.ViewerName]), http.StatusForbidden, ""},
		{"form without session", form("", "x=1"), http.StatusSeeOther, "/sign-in"},
		{"unknown page", b.request("GET", "/nowhere", "", consoletest.ViewerName), http.StatusNotFound, ""},
		{"path that climbs", b.request("GET", "/static/../../etc/passwd", "", ""), http.StatusTemporaryRedirect, "/etc/passwd"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := b.send(c.r)
			if w.Code != c.want || w.Header().Get("Location") != c.location {
				t.Errorf("answered %d to %q, want %d to %q: %s", w.Code, w.Header().Get("Location"), c.want, c.location, w.Body)
			}
		})
	}
	r := htmx(b.request("GET", "/", "", ""))
	if w := b.send(r); w.Code != http.StatusUnauthorized || w.Header().Get("HX-Redirect") != "/sign-in?next=%2Ffindings%3Fstate%3Dopen" {
		t.Errorf("htmx is sent to %q with %d", w.Header().Get("HX-Redirect"), w.Code)
	}
}

func htmx(r *http.Request) *http.Request {
	r.Header.Set("HX-Request", "true")
	r.Header.Set("HX-Current-URL", "https://127.0.0.1:7443/findings?state=open")
	return r
}

func TestPanicIsAnsweredAndKeptFromTheCaller(t *testing.T) {
	b := newBench(t, pages{})
	w := b.send(b.request("GET", "/boom", "", consoletest.ViewerName))
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "secret") {
		t.Errorf("a panic answers %d %q", w.Code, w.Body)
	}
	func() {
		defer func() {
			if p := recover(); p != http.ErrAbortHandler {
				t.Errorf("half an answer ends with %v, want the connection cut", p)
			}
		}()
		b.send(b.request("GET", "/half", "", consoletest.ViewerName))
	}()
}

// TestNothingWithoutLedger breaks the ledger: what it cannot record must not happen.
func TestNothingWithoutLedger(t *testing.T) {
	for _, cut := range []func(*console.Sources){
		func(s *console.Sources) { s.Recorder = nil },
		func(s *console.Sources) { s.Recorder = brokenRecorder{} },
	} {
		b := newBench(t, nil, cut)
		for _, op := range []string{"setFindingState", "reloadRules"} {
			ex := b.example(op)
			method := "PUT"
			if op == "reloadRules" {
				method = "POST"
			}
			before := b.world.Findings[0].State
			if w := b.send(b.request(method, ex.path, ex.body, consoletest.AdminName)); w.Code < 500 {
				t.Errorf("%s without a ledger answered %d", op, w.Code)
			}
			if b.world.Findings[0].State != before || len(b.world.RuleSet.Errors) == 0 {
				t.Errorf("%s happened without a ledger entry", op)
			}
		}
	}
}

// TestMissingSources checks that a node without a part says so.
func TestMissingSources(t *testing.T) {
	b := newBench(t, nil, func(s *console.Sources) {
		keep := *s
		*s = console.Sources{Sessions: keep.Sessions}
	})
	full := newBench(t, nil)
	for _, rt := range full.Table() {
		switch op := rt.Op(); op {
		case "", "me", "signInState", "signOut", "streamChanges":
		default:
			ex := full.example(op)
			w := b.sendStream(b.request(rt.Method, ex.path, ex.body, consoletest.AdminName))
			if w.Code != http.StatusServiceUnavailable {
				t.Errorf("%s without its source answered %d: %s", op, w.Code, w.Body)
			}
		}
	}
}

// TestFaultsStayInside checks that an error of a source shows in the status alone.
func TestFaultsStayInside(t *testing.T) {
	b := newBench(t, nil)
	b.world.Fail = fmt.Errorf("open /var/lib/testudo/secret.db: disk on fire")
	for _, rt := range b.Table() {
		if rt.Op() == "" || rt.Stream || !safe(rt.Method) || rt.Role == console.RoleNone {
			continue
		}
		w := b.send(b.request(rt.Method, b.example(rt.Op()).path, "", consoletest.AdminName))
		if strings.Contains(w.Body.String(), "secret.db") {
			t.Errorf("%s tells the caller %s", rt.Op(), w.Body)
		}
		if rt.Op() != "me" && w.Code != http.StatusInternalServerError {
			t.Errorf("%s answered %d", rt.Op(), w.Code)
		}
	}
}
