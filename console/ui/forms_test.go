package ui_test

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/console/consoletest"
	"github.com/testudo-sec/testudo/signal"
)

// TestForms sends each form by its role, and looks at what it did.
func TestForms(t *testing.T) {
	w := consoletest.New()
	s := serve(t, w, false)
	viewer, operator, admin := signedIn(t, w, s, consoletest.ViewerName), signedIn(t, w, s, consoletest.OperatorName), signedIn(t, w, s, consoletest.AdminName)
	active := w.Actions[len(w.Actions)-1]
	finding := w.Findings[1]
	for _, c := range []struct {
		name   string
		who    *person
		path   string
		form   []string
		status int
		to     string // where it leads, or
		shows  string // what its answer shows
	}{
		{"a viewer blocks nobody", viewer, "/actions", []string{"target", "198.51.100.9"}, 403, "", "operator"},
		{"a block", operator, "/actions", []string{"target", "198.51.100.9", "for", "1h", "reason", "test", "back", "/traffic?q=x"}, 303, "/traffic?q=x", ""},
		{"a block that leads elsewhere", operator, "/actions", []string{"target", "198.51.100.10", "back", "//evil.example/"}, 303, "/", ""},
		{"a block of nothing", operator, "/actions", []string{"target", " "}, 422, "", "give an address"},
		{"a block without end", operator, "/actions", []string{"target", "198.51.100.9", "for", "-1h"}, 422, "", "choose how long"},
		{"undo by a viewer", viewer, "/actions/" + active.ID + "/undo", nil, 403, "", "operator"},
		{"undo", operator, "/actions/" + active.ID + "/undo", nil, 303, "/actions", ""},
		{"undo again", operator, "/actions/" + active.ID + "/undo", nil, 409, "", ""},
		{"undo of nothing", operator, "/actions/nothing/undo", nil, 404, "", ""},
		{"mute", operator, "/findings/" + finding.ID + "/state", []string{"state", "muted", "note", "known"}, 303, "/findings/" + finding.ID, ""},
		{"mute to nonsense", operator, "/findings/" + finding.ID + "/state", []string{"state", "gone"}, 422, "", "not open, resolved or muted"},
		{"tests of a rule", operator, "/rules/edge.scanner/test", nil, 200, "", "an attack fires"},
		{"all tests", operator, "/rules/-/test", nil, 200, "", `id="report"`},
		{"reload by an operator", operator, "/rules/-/reload", nil, 403, "", "admin"},
		{"reload", admin, "/rules/-/reload", nil, 303, "/rules", ""},
		{"check", operator, "/rules/-/check", []string{"text", "id: mine.new\r\ntitle: <b>\r\n"}, 200, "", "&lt;b&gt;"},
		{"doctor", operator, "/system/doctor", nil, 303, "/system", ""},
		{"verify", operator, "/system/ledger/verify", nil, 200, "", "The ledger is whole"},
		{"invite by an operator", operator, "/system/people", []string{"name", "new", "role", "viewer"}, 403, "", "admin"},
		{"invite", admin, "/system/people", []string{"name", "new", "role", "viewer"}, 200, "", "/welcome?link="},
		{"invite with a bad name", admin, "/system/people", []string{"name", "a b", "role", "viewer"}, 422, "", "1 to 64 letters"},
		{"invite as king", admin, "/system/people", []string{"name", "new", "role", "king"}, 422, "", "unknown role"},
		{"a role", admin, "/system/people/" + consoletest.ViewerName + "/role", []string{"role", "operator"}, 303, "/system/people", ""},
		{"the last admin stays", admin, "/system/people/" + consoletest.AdminName + "/remove", nil, 409, "", "last admin"},
		{"a token", admin, "/system/tokens", []string{"name", "ci", "role", "viewer", "life", "24h"}, 200, "", "tst_"},
		{"a token of builds", admin, "/system/tokens", []string{"name", "build", "role", "scanner", "life", "24h"}, 200, "", "tst_"},
		{"nobody is a scanner", admin, "/system/people", []string{"name", "new", "role", "scanner"}, 422, "", "choose viewer, operator or admin"},
		{"nobody becomes one", admin, "/system/people/" + consoletest.ViewerName + "/role", []string{"role", "scanner"}, 422, "", "choose viewer, operator or admin"},
		{"a token for ever", admin, "/system/tokens", []string{"name", "ci", "role", "viewer", "life", "99999h"}, 422, "", "to live"},
		{"passwords that differ", operator, "/system/password", []string{"current", consoletest.OperatorPassword, "password", "one sentence of mine", "again", "another one of mine"}, 422, "", "differ"},
		{"the wrong password", operator, "/system/password", []string{"current", "wrong", "password", "one sentence of mine", "again", "one sentence of mine"}, 422, "", "not your password"},
		{"remove", admin, "/system/people/" + consoletest.OperatorName + "/remove", nil, 303, "/system/people", ""},
	} {
		status, header, body := c.who.post(c.path, c.form...)
		if status != c.status {
			t.Errorf("%s: %d, want %d\n%.200s", c.name, status, c.status, body)
			continue
		}
		if got := header.Get("Location"); got != c.to {
			t.Errorf("%s: leads to %q, want %q", c.name, got, c.to)
		}
		if !bytes.Contains(body, []byte(c.shows)) {
			t.Errorf("%s: does not show %q", c.name, c.shows)
		}
		if status != http.StatusSeeOther {
			checkMarkup(t, c.name, body, false)
		}
	}
	w.Lock.Lock()
	defer w.Lock.Unlock()
	for _, a := range w.Actions {
		if a.ID == active.ID && (a.State != signal.ActionUndone || a.UndoneBy != "person:ola") {
			t.Errorf("the action is %s by %s", a.State, a.UndoneBy)
		}
	}
	if f := w.Findings[1]; f.State != signal.FindingMuted {
		t.Errorf("the finding is %s", f.State)
	}
	var blocked bool
	for _, a := range w.Actions {
		blocked = blocked || a.Target == "198.51.100.9" && a.Reason == "test" && a.Until.Sub(a.Start).Hours() == 1
	}
	if !blocked {
		t.Error("the block is not there, or not as asked for")
	}
}

// TestTokenIsDemanded: a form without the session's token changes nothing.
func TestTokenIsDemanded(t *testing.T) {
	w := consoletest.New()
	s := serve(t, w, false)
	p := signedIn(t, w, s, consoletest.AdminName)
	other := signedIn(t, w, s, consoletest.OperatorName)
	for _, token := range []string{"", "x", other.csrf()} {
		status, _, _ := p.do(http.MethodPost, "/actions", map[string][]string{"csrf": {token}, "target": {"198.51.100.9"}})
		if status != http.StatusForbidden {
			t.Errorf("with the token %q: %d", token, status)
		}
	}
}

func TestSignIn(t *testing.T) {
	w := consoletest.New()
	s := serve(t, w, false)
	p := signedIn(t, w, s, "")
	status, header, _ := p.do(http.MethodGet, "/findings?severity=high", nil)
	if status != http.StatusSeeOther || header.Get("Location") != "/sign-in?next=%2Ffindings%3Fseverity%3Dhigh" {
		t.Errorf("without a session: %d to %s", status, header.Get("Location"))
	}
	form := func(name, password, next string) map[string][]string {
		return map[string][]string{"name": {name}, "password": {password}, "next": {next}}
	}
	status, _, body := p.do(http.MethodPost, "/sign-in", form(consoletest.ViewerName, "wrong", "/findings"))
	if status != http.StatusUnauthorized || !bytes.Contains(body, []byte("do not go together")) || !bytes.Contains(body, []byte(`value="/findings"`)) {
		t.Errorf("a wrong password: %d\n%s", status, body)
	}
	if bytes.Contains(body, []byte("wrong\"")) {
		t.Error("the password comes back in the page")
	}
	for next, want := range map[string]string{"/findings?severity=high": "/findings?severity=high", "https://evil.example/": "/", "//evil.example": "/", `/\evil.example`: "/"} {
		status, header, _ = p.do(http.MethodPost, "/sign-in", form(consoletest.ViewerName, consoletest.ViewerPassword, next))
		if status != http.StatusSeeOther || header.Get("Location") != want {
			t.Errorf("next=%s: %d to %s, want %s", next, status, header.Get("Location"), want)
		}
	}
	if c := header.Get("Set-Cookie"); !strings.Contains(c, "HttpOnly") || !strings.Contains(c, "Secure") {
		t.Errorf("cookie: %s", c)
	}
}

// TestLink: looking at a link any number of times uses nothing up; the password is set by a POST.
func TestLink(t *testing.T) {
	w := consoletest.New()
	s := serve(t, w, false)
	p := signedIn(t, w, s, "")
	at := "/welcome?link=" + consoletest.LinkSecret
	for range 3 {
		status, body := p.get(at)
		if status != http.StatusOK || !bytes.Contains(body, []byte("Welcome, max")) || !bytes.Contains(body, []byte(`autocomplete="new-password"`)) {
			t.Fatalf("link page: %d\n%s", status, body)
		}
	}
	form := func(password, again string) map[string][]string {
		return map[string][]string{"link": {consoletest.LinkSecret}, "password": {password}, "again": {again}}
	}
	if status, _, body := p.do(http.MethodPost, "/welcome", form("one sentence of mine", "another")); status != 422 || !bytes.Contains(body, []byte("differ")) {
		t.Errorf("passwords that differ: %d", status)
	}
	if status, _, body := p.do(http.MethodPost, "/welcome", form("short", "short")); status != 422 || !bytes.Contains(body, []byte("12")) {
		t.Errorf("a weak password: %d\n%s", status, body)
	}
	status, header, _ := p.do(http.MethodPost, "/welcome", form("one sentence of mine", "one sentence of mine"))
	if status != http.StatusSeeOther || header.Get("Location") != "/" || header.Get("Set-Cookie") == "" {
		t.Errorf("redeem: %d to %s", status, header.Get("Location"))
	}
	if status, body := p.get(at); status != http.StatusUnauthorized || !bytes.Contains(body, []byte("testudo console link")) {
		t.Errorf("a used link: %d", status)
	}
}

// TestFiltersSayWhatIsWrong: a filter that cannot be used is no error page, and says which field.
func TestFiltersSayWhatIsWrong(t *testing.T) {
	w := consoletest.New()
	s := serve(t, w, false)
	p := signedIn(t, w, s, consoletest.ViewerName)
	for at, want := range map[string]string{
		"/traffic?client=here":                    "203.0.113.0/24",
		"/traffic?verdict=maybe":                  "unknown verdict",
		"/traffic?plane=sky":                      "unknown plane",
		"/traffic?cursor=x":                       "cursor",
		"/findings?severity=awful":                "unknown severity",
		"/findings?state=lost":                    "choose open",
		"/traffic?q=" + strings.Repeat("x", 3000): "too long",
	} {
		status, body := p.get(at)
		if status != http.StatusUnprocessableEntity || !bytes.Contains(body, []byte(want)) || !bytes.Contains(body, []byte(`class="filter"`)) {
			t.Errorf("%.60s: %d, want the form and %q", at, status, want)
		}
	}
	for at, want := range map[string]int{"/traffic?method=post": 6, "/traffic?verdict=deny&client=203.0.113.0/24": 10, "/traffic?rule=edge.scanner": 5, "/traffic?q=PASSWD": 5, "/traffic?plane=testudo": 1} {
		_, body := p.get(at)
		if got := bytes.Count(body, []byte("<tr id=\"e-")); got != want {
			t.Errorf("%s: %d lines, want %d", at, got, want)
		}
	}
}
