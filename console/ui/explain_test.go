package ui_test

import (
	"bytes"
	"net/http"
	"testing"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/console/consoletest"
	"github.com/testudo-sec/testudo/signal"
)

// TestExplain: an event's page shows what made its rules fire, and asks for those that did not.
func TestExplain(t *testing.T) {
	w := consoletest.New()
	s := serve(t, w, false)
	p := signedIn(t, w, s, consoletest.ViewerName)
	var denied *signal.Event
	for _, e := range w.Log {
		if console.DecisionOf(e) == signal.Deny && len(e.Strings(signal.FieldVerdictRules)) > 0 {
			denied = e
		}
	}
	at := "/traffic/" + denied.ID.String()
	for path, want := range map[string]string{
		at:                                    "What made it fire",
		at + "/explain":                       "http_request.url.path contains &#39;search&#39;",
		at + "/explain?rule=" + w.Rules[1].ID: `class="in-1 is-`,
	} {
		status, body := p.get(path)
		if status != http.StatusOK || !bytes.Contains(body, []byte(want)) {
			t.Errorf("%s: %d, without %q", path, status, want)
		}
		checkMarkup(t, path, body, false)
	}
	for _, path := range []string{at + "/explain?rule=none", "/traffic/nonsense/explain"} {
		if status, _ := p.get(path); status != http.StatusNotFound {
			t.Errorf("%s: %d", path, status)
		}
	}
}
