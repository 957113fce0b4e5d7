package ui_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/console/consoletest"
	"github.com/testudo-sec/testudo/console/ui/browsertest"
	"github.com/testudo-sec/testudo/signal"
)

// attackOf is the newest request that the firewall refused.
func attackOf(w *consoletest.World) *signal.Event {
	for i := len(w.Log) - 1; i >= 0; i-- {
		if e := w.Log[i]; e.Has(signal.FieldWAFRules) && console.DecisionOf(e) == signal.Deny {
			return e
		}
	}
	return nil
}

// TestExceptions: from an event to proposals with their price, to a decision, to the list of what was decided.
func TestExceptions(t *testing.T) {
	w := consoletest.New()
	s := serve(t, w, false)
	operator, viewer := signedIn(t, w, s, consoletest.OperatorName), signedIn(t, w, s, consoletest.ViewerName)
	id := attackOf(w).ID.String()
	at := "/traffic/" + id + "/exceptions"
	if _, body := operator.get("/traffic/" + id); !bytes.Contains(body, []byte(`href="`+at+`"`)) {
		t.Error("the event does not lead to its exceptions")
	}
	if _, body := viewer.get("/traffic/" + id); bytes.Contains(body, []byte(at)) {
		t.Error("a viewer is shown what is refused to them")
	}
	for _, c := range []struct {
		who    *person
		path   string
		form   []string
		status int
		shows  string
	}{
		{viewer, at, nil, http.StatusForbidden, "operator"},
		{viewer, at + "/decision", []string{"decision", "accept"}, http.StatusForbidden, "operator"},
		{operator, "/traffic/nonsense/exceptions", nil, http.StatusNotFound, "no id of an event"},
		{operator, "/traffic/019a8f3c-5b1e-7c44-9d07-2f6f5b7c1a10/exceptions", nil, http.StatusNotFound, ""},
		{operator, at, []string{"since", "99y"}, http.StatusOK, "choose one of the times"},
		{operator, at, []string{"rule", "nobody"}, http.StatusOK, "there is no such rule"},
		{operator, at + "/decision", []string{"decision", "refuse", "rule", "edge.waf-attack", "text", "x"}, http.StatusUnprocessableEntity, "say why it is refused"},
		{operator, at + "/decision", []string{"decision", "perhaps", "rule", "edge.waf-attack", "text", "x"}, http.StatusUnprocessableEntity, "accept or refuse"},
	} {
		if status, _, body := c.who.post(c.path, c.form...); status != c.status || !bytes.Contains(body, []byte(c.shows)) {
			t.Errorf("%s %v: %d, want %d with %q", c.path, c.form, status, c.status, c.shows)
		}
	}
	status, _, body := operator.post(at, "since", "7d")
	if status != http.StatusOK {
		t.Fatalf("%d\n%s", status, body)
	}
	for _, want := range []string{
		"rules 942100 and 942190 in ARGS:q of /search, where the value is words", "0.41%", "Loses in that place", "5 of 1,222 attacks", "0 of 2,582 attacks, as the tests send them", "at most 14", "942190-37",
		"2.8%", "73 of 2,582", "SecRuleRemoveById 942190", "waf.after in testudo.yaml; it takes effect at the next start", "ctl:ruleRemoveTargetById=942100;ARGS:q",
		"where <bdi>edge.route is &#34;shop&#34;", "of these look like attacks to", "edge.scanner", "in rules/edge/waf-attack.yaml", `name="decision" value="refuse"`, `<option value="7d" selected>`,
	} {
		if !bytes.Contains(body, []byte(want)) {
			t.Errorf("without %q", want)
		}
	}
	checkMarkup(t, at, body, false)

	// Accepted as the page sends it: forms end lines otherwise.
	x := console.ExceptionChoice{Rule: "edge.waf-attack", Text: "rules 942100 and 942190 of all paths", Change: "SecRuleRemoveById 942100\nSecRuleRemoveById 942190\n", Where: "waf.after"}
	status, header, _ := operator.post(at+"/decision", "decision", "accept", "rule", x.Rule, "text", x.Text, "change", strings.ReplaceAll(x.Change, "\n", "\r\n"), "where", x.Where, "back", at)
	if status != http.StatusSeeOther || header.Get("Location") != at {
		t.Fatalf("accept: %d to %q", status, header.Get("Location"))
	}
	status, _, _ = operator.post(at+"/decision", "decision", "refuse", "rule", x.Rule, "text", `edge.route is "shop"`, "reason", "too wide", "back", at)
	if status != http.StatusSeeOther {
		t.Fatalf("refuse: %d", status)
	}
	w.Lock.Lock()
	last := w.Ledger[len(w.Ledger)-2]
	w.Lock.Unlock()
	if last.Verb != "exception.accept" || last.Subject != x.Rule || last.Detail["change.0"] != x.Change {
		t.Errorf("the ledger has %+v", last)
	}
	_, body = operator.get(at)
	for _, want := range []string{"Decided about this event", ">accepted<", "SecRuleRemoveById 942100\nSecRuleRemoveById 942190", "too wide", "nothing changes before somebody makes the change"} {
		if !bytes.Contains(body, []byte(want)) {
			t.Errorf("the event's page is without %q", want)
		}
	}
	if _, _, body := operator.post(at, "since", "7d"); bytes.Count(body, []byte(">accepted<")) != 2 || bytes.Count(body, []byte(">refused<")) != 2 {
		t.Error("the proposals do not say what was decided about them")
	}
	for path, want := range map[string]string{"/rules/-/exceptions": x.Text, "/rules/-/exceptions?rule=edge.waf-attack": "too wide", "/rules/-/exceptions?rule=edge.scanner": "Nothing was decided yet"} {
		status, body := viewer.get(path)
		if status != http.StatusOK || !bytes.Contains(body, []byte(want)) {
			t.Errorf("%s: %d, without %q", path, status, want)
		}
		checkMarkup(t, path, body, false)
	}
	// The last decision counts.
	if status, _, _ = operator.post(at+"/decision", "decision", "refuse", "rule", x.Rule, "text", x.Text, "reason", "seen an attack"); status != http.StatusSeeOther {
		t.Fatalf("refused after all: %d", status)
	}
	if _, body := viewer.get("/rules/-/exceptions"); bytes.Contains(body, []byte(">accepted<")) || !bytes.Contains(body, []byte("seen an attack")) {
		t.Error("what was decided before still stands")
	}
}

// TestExceptionsAreBounded: however much is proposed and decided, and whoever wrote it, it is a page.
func TestExceptionsAreBounded(t *testing.T) {
	w := consoletest.New()
	long := strings.Repeat(evil, 40)
	r := console.ExceptionReport{Rule: "edge.waf-attack", Title: long, For: evil, NoExclusion: evil, Inexact: []console.ReplayReason{{Reason: evil}}}
	e := attackOf(w)
	r.Event = e.ID.String()
	for range 100 {
		r.Exclusions = append(r.Exclusions, console.Exclusion{Text: long, Before: long, After: long, Attacks: 2582, Lost: 2582, Freed: 1 << 40, Examples: strings.Split(strings.Repeat(evil+"|", 40), "|")})
		r.Proposals = append(r.Proposals, console.Exception{Text: long, Change: long, How: long, Firewall: long, Freed: 9, Suspect: 9, Suspects: []string{evil},
			Examples: []console.FreedEvent{{Event: r.Event, Summary: long, Rules: []string{evil}}}})
	}
	w.Exceptions = &r
	for i := range 250 {
		w.Ledger = append(w.Ledger, console.LedgerEntry{Index: uint64(1000 + i), Time: w.Start, Actor: evil, Verb: "exception.accept", Subject: evil,
			Detail: map[string]string{"event": evil, "proposal": fmt.Sprint(i), "text": long, "change.0": long, "where": long, "reason": long}})
	}
	s := serve(t, w, false)
	p := signedIn(t, w, s, consoletest.OperatorName)
	for _, do := range []func() (int, []byte){
		func() (int, []byte) {
			status, _, body := p.post("/traffic/" + r.Event + "/exceptions")
			return status, body
		},
		func() (int, []byte) { return p.get("/rules/-/exceptions") },
	} {
		status, body := do()
		if status != http.StatusOK || len(body) > 1<<20 {
			t.Errorf("%d, %d bytes", status, len(body))
		}
		checkMarkup(t, "exceptions", body, false)
		checkEscaped(t, "exceptions", body)
	}
}

// TestTryTheFirewall: another level, threshold or text is tried on what is recorded, and the page says what it can know.
func TestTryTheFirewall(t *testing.T) {
	w := consoletest.New()
	w.Report = firewallReport(w)
	s := serve(t, w, false)
	operator, viewer := signedIn(t, w, s, consoletest.OperatorName), signedIn(t, w, s, consoletest.ViewerName)
	const at = "/rules/-/firewall"
	if status, _ := viewer.get(at); status != http.StatusForbidden {
		t.Errorf("a viewer: %d", status)
	}
	if status, body := operator.get(at + "?route=elsewhere"); status != http.StatusOK || !bytes.Contains(body, []byte(`<option value="elsewhere" selected>`)) || !bytes.Contains(body, []byte(`<option value="shop">`)) {
		t.Errorf("the form: %d\n%s", status, body)
	}
	status, _, body := operator.post(at, "directives", "SecRuleRemoveById 942100\r\n", "paranoia", "2", "threshold", "10", "route", "shop", "since", "7d", "do", "whatif")
	if status != http.StatusOK {
		t.Fatalf("%d\n%s", status, body)
	}
	for _, want := range []string{"Would have refused 6 more requests or answers", "The firewall was tried on 604 requests, 200 of them as they were received; of 404 something is not certain.", "By rule of the firewall", "942260",
		"0 → 8", "SecRuleRemoveById 942100\n</textarea>", `<option value="2" selected>`, `value="10"`, `<option value="shop" selected>`} {
		if !bytes.Contains(body, []byte(want)) {
			t.Errorf("without %q", want)
		}
	}
	checkMarkup(t, at, body, false)
	w.Lock.Lock()
	asked := w.Asked
	w.Lock.Unlock()
	if f := asked.Firewall; f == nil || f.Directives != "SecRuleRemoveById 942100\n" || f.Paranoia != 2 || f.Threshold != 10 || len(f.Routes) != 1 || f.Routes[0] != "shop" || len(asked.Files) != 0 {
		t.Errorf("asked %+v", asked)
	}
	if ago := w.Now().Sub(asked.Since); ago < 7*24*time.Hour || ago > 8*24*time.Hour {
		t.Errorf("asked for %v", ago)
	}
	for want, form := range map[string][]string{
		"at most":                      {"directives", strings.Repeat("x", 600<<10)},
		"say what to try":              {"directives", " \r\n"},
		"a number from 1 to 4":         {"paranoia", "5"},
		"the threshold is a number":    {"threshold", "-1"},
		"choose one of the times":      {"threshold", "9", "since", "1y"},
		"SecRule ARGS &#34;@rx a&#34;": {"directives", "SecRule ARGS \"@rx a\"", "do", "show"},
	} {
		if status, _, body := operator.post(at, append([]string{"do", "whatif"}, form...)...); status != http.StatusOK || !bytes.Contains(body, []byte(want)) {
			t.Errorf("%.60q: %d, without %q", form, status, want)
		}
	}
	w.Lock.Lock()
	w.Report = &console.WhatIfReport{Errors: []console.RuleError{{File: "firewall", Message: "line 1: SecAuditLog is refused"}}}
	w.Lock.Unlock()
	if _, _, body := operator.post(at, "directives", "SecAuditLog x", "do", "whatif"); !bytes.Contains(body, []byte("SecAuditLog is refused")) {
		t.Error("the page does not say why it cannot be tried")
	}
}

// firewallReport is what another setting of the firewall would have done.
func firewallReport(w *consoletest.World) *console.WhatIfReport {
	counts := map[string]int64{"newly_blocked": 6, "no_longer_blocked": 2}
	r := &console.WhatIfReport{Live: "live", Changed: "live", Events: 1204, Judged: 604, Counts: counts, ElapsedMS: 640, Files: 3,
		ByRule:   []console.WhatIfRow{{Name: "edge.waf-attack", Title: "The WAF's score is over the threshold", Counts: counts, Before: 37, After: 41}},
		ByRoute:  []console.WhatIfRow{{Name: "shop", Counts: counts}},
		ByClient: []console.WhatIfRow{{Name: "192.0.2.14", Counts: counts}},
		Firewall: &console.WhatIfFirewall{Requests: 604, Kept: 200, Uncertain: 404, ByRule: []console.WhatIfRow{
			{Name: "942200", Counts: map[string]int64{"newly_blocked": 6}, After: 10}, {Name: "942260", Counts: map[string]int64{"newly_blocked": 6}, After: 8},
			{Name: "942100", Counts: map[string]int64{"no_longer_blocked": 2}, Before: 5, After: 5}}},
		Inexact: []console.ReplayReason{{Reason: "values that the changed firewall looks at were masked when they were recorded: what it would find in them is not known", Events: 404}},
	}
	for _, e := range w.Log {
		if e.Has(signal.FieldWAFRules) && len(r.Examples) < 3 {
			r.Examples = append(r.Examples, console.WhatIfExample{Kind: "no_longer_blocked", Event: e.ID.String(), Time: time.Unix(0, e.Time), Rule: "edge.waf-attack", Before: signal.Deny,
				Sentence: "GET /search?q=*** of 192.0.2.14: deny before, allow after: scored 5 of 5, would score 5 of 10"})
		}
	}
	return r
}

// TestExceptionInBrowser: somebody finds a false alarm, looks at the prices, accepts the narrowest and copies the change; at each width.
func TestExceptionInBrowser(t *testing.T) {
	w := consoletest.New()
	busy(w)
	w.Report = firewallReport(w)
	s := serve(t, w, true)
	p := browsertest.Start(t).Open(s.URL(), 1440, 900)
	p.SetCookie(s.CookieName(), w.Session(consoletest.OperatorName))
	e := attackOf(w)
	for _, size := range []struct {
		name          string
		width, height int
		dark          bool
	}{{"wide", 1440, 900, false}, {"laptop", 860, 720, true}, {"phone", 360, 740, true}, {"phone-light", 360, 740, false}} {
		p.Size(size.width, size.height)
		p.Dark(size.dark)
		fits := func(what string) {
			t.Helper()
			if wide := p.Wide(); wide != "0" {
				t.Errorf("%s is %s pixels wider than a window of %d: %s", what, wide, size.width, p.Widest())
			}
			p.ShotAll(what + "-" + size.name)
		}
		p.Go("/traffic")
		p.Wait(fmt.Sprintf("getComputedStyle(document.querySelector('#e-%s .c-why')).display !== 'none'", e.ID)) // why is there however narrow it is
		p.Shot("traffic-why-" + size.name)
		p.Go("/traffic/" + e.ID.String() + "/exceptions")
		p.Eval(`document.querySelector('form.ask-exception button').click(), ""`)
		p.WaitText("#walls", "0.41%")
		fits("exception")
		p.Eval(`document.querySelector('#offer-a form.decide button[value=accept]').click(), ""`)
		p.WaitText("#flash", "Nothing is in force yet")
		p.WaitText("#decided", "ctl:ruleRemoveTargetById=942100;ARGS:q")
		fits("decided")
		p.Go("/rules/-/exceptions")
		fits("exceptions")
		p.Go("/rules/-/firewall")
		p.Eval(`document.querySelector('input[name=threshold]').value = '10', ""`)
		p.Eval(`document.querySelector('button[value=whatif]').click(), ""`)
		p.WaitText("#whatif", "Would have refused 6 more")
		fits("firewall")
	}
	// A button copies the change, or says that it may not.
	p.Go("/rules/-/exceptions")
	p.Eval(`document.querySelector('.taken summary').click(), ""`)
	p.Eval(`document.querySelector('.taken [data-do=copy]').click(), ""`)
	p.Wait(`/Copied|Not allowed/.test(document.querySelector('.taken [data-do=copy]').textContent)`)
	p.Clean()
}
