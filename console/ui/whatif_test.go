package ui_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/console/consoletest"
	"github.com/testudo-sec/testudo/signal"
)

// changes is a report with differences of each kind.
func changes(w *consoletest.World) *console.WhatIfReport {
	counts := func(blocked, let, alerted, missed int64) map[string]int64 {
		return map[string]int64{"newly_blocked": blocked, "no_longer_blocked": let, "newly_alerted": alerted, "no_longer_caught": missed}
	}
	r := &console.WhatIfReport{Live: "live", Changed: "changed", Events: 1_204_331, Judged: 8120, Counts: counts(12, 1, 40, 2), ElapsedMS: 3120, PerSecond: 386_000,
		Files: 14, Skipped: 301, Rules: console.WhatIfRules{Changed: []string{"mine.admin-from-outside"}, Added: []string{"mine.new"}},
		ByRule: []console.WhatIfRow{
			{Name: "mine.admin-from-outside", Title: "Admin pages asked for from outside", Counts: counts(12, 1, 0, 2), Before: 3, After: 12, OrdersAfter: 4},
			{Name: "mine.new", Title: "Scanner", Counts: counts(0, 0, 40, 0), After: 40}},
		ByRoute:  []console.WhatIfRow{{Name: "shop", Counts: counts(12, 1, 0, 2)}},
		ByClient: []console.WhatIfRow{{Name: "203.0.113.66", Counts: counts(7, 0, 0, 0)}, {Name: "198.51.100.23", Counts: counts(4, 1, 0, 2)}, {Name: "2001:db8:bad::9", Counts: counts(1, 0, 40, 0)}},
		ByAsset:  []console.WhatIfRow{{Name: "application:shop", Counts: counts(12, 1, 0, 2)}, {Name: "host:web-1", Counts: counts(0, 0, 40, 0)}},
		Inexact:  []console.ReplayReason{{Reason: "http_request.url.query_string was masked when it was recorded", Events: 310}, {Reason: "windows begin empty at the start of the time"}},
	}
	for _, e := range w.Log {
		if console.DecisionOf(e) != signal.Deny || len(r.Examples) == 5 {
			continue
		}
		r.Examples = append(r.Examples, console.WhatIfExample{Kind: "newly_blocked", Event: e.ID.String(), Time: time.Unix(0, e.Time), Rule: "mine.admin-from-outside",
			Before: signal.Allow, After: signal.Deny, Sentence: "203.0.113.66 asked for GET /admin/users on shop"})
	}
	return r
}

func TestWhatIf(t *testing.T) {
	w := consoletest.New()
	w.Report = changes(w)
	s := serve(t, w, false)
	operator, viewer := signedIn(t, w, s, consoletest.OperatorName), signedIn(t, w, s, consoletest.ViewerName)
	text := "id: mine.new\r\nwhen: true\r\n"

	if status, _, _ := viewer.post("/rules/-/check", "do", "whatif", "text", text); status != http.StatusForbidden {
		t.Errorf("a viewer: %d", status)
	}
	status, _, body := operator.post("/rules/-/check", "do", "whatif", "text", text, "since", "7d")
	if status != http.StatusOK {
		t.Fatalf("%d\n%s", status, body)
	}
	for _, want := range []string{
		"Would have refused 12 more requests or answers of 3 clients, let 1 request or answer of 1 client through that was refused and alerted on 40 more events; no longer catches 2.",
		"1,204,331 events of the last 7 days looked at, 8,120 of them judged by both sets",
		`href="/rules/mine.admin-from-outside"`, "3 → 12", `href="/traffic?client=203.0.113.66"`, `href="/traffic?route=shop"`, "host:web-1",
		"/traffic/" + w.Report.Examples[0].Event, "asked for GET /admin/users", "allow → deny", "was masked when it was recorded", "310 events", "mine.new",
		`<option value="7d" selected>`, "when: true",
	} {
		if !bytes.Contains(body, []byte(want)) {
			t.Errorf("without %q", want)
		}
	}
	checkMarkup(t, "whatif", body, false)
	w.Lock.Lock()
	asked := w.Asked
	w.Lock.Unlock()
	if len(asked.Files) != 1 || asked.Files[0] != (console.RuleText{Name: "rule.yaml", Text: "id: mine.new\nwhen: true\n"}) {
		t.Errorf("asked with the files %q", asked.Files)
	}
	if ago := w.Now().Sub(asked.Since); ago < 7*24*time.Hour || ago > 7*24*time.Hour+time.Minute {
		t.Errorf("asked for %v", ago)
	}

	// A rule that is off, a text that does not compile, one of another dialect, a time that is not offered.
	for _, c := range []struct {
		form  []string
		shows string
		asked func(q console.WhatIfQuery) bool
	}{
		{[]string{"off", "edge.waf-attack"}, "Without a rule", func(q console.WhatIfQuery) bool {
			return len(q.Files) == 0 && len(q.Disable) == 1 && q.Disable[0] == "edge.waf-attack"
		}},
		{[]string{"text", "an error"}, "mend it", nil},
		{[]string{"text", "package main\n\ndeny contains msg if { false }\n"}, "h-whatif", func(q console.WhatIfQuery) bool { return q.Files[0].Name == "rule.rego" }},
		{[]string{"text", text, "since", "99y"}, "choose one of the times", nil},
		{[]string{"text", strings.Repeat("x", 600<<10)}, "at most", nil},
	} {
		status, _, body := operator.post("/rules/-/check", append(c.form, "do", "whatif")...)
		if status != http.StatusOK || !bytes.Contains(body, []byte(c.shows)) {
			t.Errorf("%.40q: %d, without %q\n%.400s", c.form, status, c.shows, body[bytes.Index(body, []byte("<main")):])
		}
		w.Lock.Lock()
		if c.asked != nil && !c.asked(w.Asked) {
			t.Errorf("%.40q: asked %+v", c.form, w.Asked)
		}
		w.Lock.Unlock()
	}
}

// TestWhatIfHeadlines: one sentence, right for one and for many, for nothing and for what no route saw.
func TestWhatIfHeadlines(t *testing.T) {
	w := consoletest.New()
	s := serve(t, w, false)
	p := signedIn(t, w, s, consoletest.OperatorName)
	for want, r := range map[string]console.WhatIfReport{
		"Nothing is recorded of the last hour":                      {},
		"Nothing would have been otherwise in the last hour.":       {Events: 3, Rules: console.WhatIfRules{Changed: []string{"x"}}},
		"The rules are those in force: nothing changes.":            {Events: 3},
		"Would have alerted on 1 more event.":                       {Events: 3, Counts: map[string]int64{"newly_alerted": 1}},
		"No longer catches 2 events.":                               {Events: 3, Counts: map[string]int64{"no_longer_caught": 2}},
		"Would have refused 500 more events of more than 1 client.": {Events: 3, Counts: map[string]int64{"newly_blocked": 500}, ByClient: []console.WhatIfRow{{Name: "10.0.0.1", Counts: map[string]int64{"newly_blocked": 1}}, {Name: "(others)", Counts: map[string]int64{"newly_blocked": 499}}}},
		"Would have decided the same by other rules about 1 event.": {Events: 3, Counts: map[string]int64{"rules_changed": 1}},
		"Would have decided otherwise about 4 requests or answers.": {Events: 9, Counts: map[string]int64{"decision_changed": 4}, ByRoute: []console.WhatIfRow{{Name: "a", Counts: map[string]int64{"decision_changed": 4}}}},
	} {
		w.Lock.Lock()
		w.Report = &r
		w.Lock.Unlock()
		if _, _, body := p.post("/rules/-/check", "do", "whatif", "text", "x", "since", "1h"); !bytes.Contains(body, []byte("<b>"+want)) {
			i := max(0, bytes.Index(body, []byte("h-whatif")))
			t.Errorf("want %q, got %.200s", want, body[i:])
		}
	}
}

// TestWhatIfIsBounded: a report with much in it makes a page that can be read, and what an attacker wrote is shown as such.
func TestWhatIfIsBounded(t *testing.T) {
	w := consoletest.New()
	r := changes(w)
	r.ByRule, r.ByClient, r.Examples = nil, nil, nil
	for i := range 100 {
		row := console.WhatIfRow{Name: fmt.Sprintf("%s-%d", evil, i), Title: evil, Counts: map[string]int64{"newly_blocked": 1}}
		r.ByRule, r.ByClient, r.ByRoute, r.ByAsset = append(r.ByRule, row), append(r.ByClient, row), append(r.ByRoute, row), append(r.ByAsset, row)
		r.Rules.Added = append(r.Rules.Added, row.Name)
		r.Examples = append(r.Examples, console.WhatIfExample{Kind: evil, Event: signal.NewID(w.Start).String(), Rule: evil, Sentence: strings.Repeat(evil, 20)})
	}
	r.Inexact = []console.ReplayReason{{Reason: evil}}
	w.Report = r
	s := serve(t, w, false)
	p := signedIn(t, w, s, consoletest.OperatorName)
	status, _, body := p.post("/rules/-/check", "do", "whatif", "text", "line\nx\u202ey\n")
	if status != http.StatusOK || len(body) > 300<<10 {
		t.Errorf("%d, %d bytes", status, len(body))
	}
	checkMarkup(t, "whatif", body, false)
	checkEscaped(t, "whatif", body)
	for _, want := range []string{"and 88 more", "and 80 more examples", "and 71 more", "characters that do not show", `2: <bdi>x<span class="esc">\u202e</span>y`} {
		if !bytes.Contains(body, []byte(want)) {
			t.Errorf("without %q", want)
		}
	}
}

// TestEditACopy: the text of a rule's file is where a change begins.
func TestEditACopy(t *testing.T) {
	w := consoletest.New()
	s := serve(t, w, false)
	operator, viewer := signedIn(t, w, s, consoletest.OperatorName), signedIn(t, w, s, consoletest.ViewerName)
	at := "/rules/-/check?" + url.Values{"rule": {"edge.waf-attack"}}.Encode()
	if _, body := operator.get("/rules/edge.waf-attack"); !bytes.Contains(body, []byte(`href="`+at+`"`)) || !bytes.Contains(body, []byte("What if it were off?")) {
		t.Error("the rule's page does not lead to a copy")
	}
	if _, body := viewer.get("/rules/edge.waf-attack"); bytes.Contains(body, []byte("Edit a copy")) {
		t.Error("a viewer is shown what is refused to them")
	}
	if status, body := operator.get(at); status != http.StatusOK || !bytes.Contains(body, []byte("waf.score &gt;= waf.threshold")) {
		t.Errorf("%s: %d", at, status)
	}
	if status, _ := operator.get("/rules/-/check?rule=none"); status != http.StatusNotFound {
		t.Errorf("of no rule: %d", status)
	}
}
