package consoletest

import (
	"context"
	"strings"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/signal"
)

// WhatIf says that whatever the change is, the newest denied request is let through. Rules whose text has "error" in it do
// not compile. World.Report, where it is set, is the answer to all else.
func (n node) WhatIf(ctx context.Context, q console.WhatIfQuery, progress func(float64)) (console.WhatIfReport, error) {
	n.w.Lock.Lock()
	defer n.w.Lock.Unlock()
	if err := n.w.fail(); err != nil {
		return console.WhatIfReport{}, err
	}
	n.w.Asked = q
	for _, f := range q.Files {
		if strings.Contains(f.Text, "error") {
			return console.WhatIfReport{Counts: map[string]int64{}, Errors: []console.RuleError{{File: f.Name, Line: 1, Column: 1, Message: "an error", Hint: "mend it"}}}, nil
		}
	}
	if progress != nil {
		progress(0.5)
	}
	if n.w.Report != nil {
		return *n.w.Report, ctx.Err()
	}
	r := console.WhatIfReport{Live: "live", Changed: "changed", Since: q.Since, Until: q.Until, Events: int64(len(n.w.Log)), Exact: true, Counts: map[string]int64{},
		Rules: console.WhatIfRules{Changed: []string{"edge.waf-attack"}}}
	if q.Verify {
		r.Verified = &console.ReplayVerification{Same: r.Events, Mismatches: []console.ReplayMismatch{}}
	}
	for i := len(n.w.Log) - 1; i >= 0; i-- {
		e := n.w.Log[i]
		if console.DecisionOf(e) != signal.Deny {
			continue
		}
		r.Judged, r.Counts = 1, map[string]int64{"no_longer_blocked": 1}
		r.ByRule = []console.WhatIfRow{{Name: "edge.waf-attack", Title: "An attack", Counts: r.Counts, Before: 1}}
		r.Examples = []console.WhatIfExample{{Kind: "no_longer_blocked", Event: e.ID.String(), Time: e.Timestamp(signal.FieldTime), Rule: "edge.waf-attack",
			Before: signal.Deny, Sentence: "GET /search: deny before, allow after"}}
		break
	}
	return r, ctx.Err()
}

// Exceptions proposes one for any event that is there.
func (n node) Exceptions(ctx context.Context, q console.ExceptionQuery, progress func(float64)) (console.ExceptionReport, error) {
	e, err := n.Event(ctx, q.Event)
	if err != nil {
		return console.ExceptionReport{}, err
	}
	if q.Rule == "nobody" {
		return console.ExceptionReport{}, &console.InputError{Field: "rule", Reason: "there is no such rule"}
	}
	if progress != nil {
		progress(0.5)
	}
	n.w.Lock.Lock()
	defer n.w.Lock.Unlock()
	if n.w.Exceptions != nil {
		return *n.w.Exceptions, ctx.Err()
	}
	return n.w.exceptionsOf(e), nil
}

// exceptionsOf is what is proposed for any event: two exclusions from the firewall, of which the second costs, and an exception from the rule.
func (w *World) exceptionsOf(e *signal.Event) console.ExceptionReport {
	return console.ExceptionReport{Event: e.ID.String(), Summary: "GET /search", Rule: "edge.waf-attack", Title: "An attack on the application", Fired: 3, Exact: true,
		Proposals: []console.Exception{{Terms: []console.ExceptionTerm{{Field: "edge.route", Shape: "is", Value: "shop"}}, Text: `edge.route is "shop"`, Freed: 2, Suspect: 1,
			Suspects: []string{"edge.scanner"}, Examples: []console.FreedEvent{{Event: e.ID.String(), Time: w.Start, Summary: "GET /search?q=***", Rules: []string{"edge.scanner"}}},
			Change: "when: |\n  waf.score >= waf.threshold\n  && !(edge.route == \"shop\")\n", How: "in rules/edge/waf-attack.yaml", Checked: true}},
		Exclusions: []console.Exclusion{
			{Text: "rules 942100 and 942190 in ARGS:q of /search, where the value is words", Freed: 14, AtMost: true, Attacks: 2582, Placed: 1222, LostPlaced: 5, Examples: []string{"942190-37", "942270-1"},
				Before: "SecRule REQUEST_FILENAME \"@streq /search\" \"id:74112,phase:2,pass,nolog,t:none,chain\"\n  SecRule &ARGS:q \"@eq 1\" \"t:none,chain\"\n  SecRule ARGS:q \"@rx \\A\\pL+\\z\" \"t:none,ctl:ruleRemoveTargetById=942100;ARGS:q,ctl:ruleRemoveTargetById=942190;ARGS:q\"\n"},
			{Text: "rules 942100 and 942190 of all paths", Freed: 31, Exact: true, Attacks: 2582, Lost: 73, Placed: 1222, LostPlaced: 50, Examples: []string{"942100-1", "942100-2"},
				After: "SecRuleRemoveById 942100\nSecRuleRemoveById 942190\n"}}}
}
