package ui

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/signal"
)

type rulesView struct {
	Filter   filter
	Set      console.RuleSet
	Rows     []console.Rule
	Total    int // that the filter chooses
	Next     string
	Failing  int // rules with a test that does not pass
	Report   *console.RuleReport
	Verdicts []signal.Decision
}

// Failing counts the tests of a rule that do not pass.
func failing(r console.Rule) (n int) {
	for _, t := range r.Tests {
		if !t.Passed {
			n++
		}
	}
	return n
}

func (p *Pages) rules(w http.ResponseWriter, r *http.Request) error { return p.rulesPage(w, r, nil) }

// rulesPage shows the rules, with the report of a test run where there is one.
func (p *Pages) rulesPage(w http.ResponseWriter, r *http.Request, report *console.RuleReport) error {
	src := p.srv.Sources().Rules
	if src == nil {
		return missing("rules")
	}
	set, err := src.RuleSet(r.Context())
	if err != nil {
		return err
	}
	all, err := src.Rules(r.Context())
	if err != nil {
		return err
	}
	v := p.view(w, r, "Rules", "rules")
	m := &rulesView{Filter: filter{query: newQuery(r.URL.Query())}, Set: set, Report: report,
		Verdicts: []signal.Decision{signal.Deny, signal.Challenge, signal.Limit, signal.Alert, signal.Allow}}
	text, verdict, from := strings.ToLower(m.Filter.Get("q")), m.Filter.Get("verdict"), m.Filter.Get("from")
	rows := slices.DeleteFunc(slices.Clone(all), func(x console.Rule) bool {
		return text != "" && !strings.Contains(strings.ToLower(x.ID+"\n"+x.Title+"\n"+strings.Join(x.Tags, "\n")+"\n"+x.When), text) ||
			verdict != "" && x.Decision.String() != verdict ||
			from == "own" && x.Builtin || from == "shipped" && !x.Builtin ||
			from == "failing" && failing(x) == 0
	})
	if m.Filter.Get("sort") == "hits" {
		slices.SortStableFunc(rows, func(a, b console.Rule) int { return int(min(1, max(-1, int64(b.Hits)-int64(a.Hits)))) })
	}
	for _, x := range all {
		if failing(x) > 0 {
			m.Failing++
		}
	}
	m.Total = len(rows)
	at, _ := strconv.Atoi(r.URL.Query().Get("cursor"))
	at = min(max(at, 0), len(rows))
	m.Rows = rows[at:min(at+pageSize, len(rows))]
	if end := at + pageSize; end < len(rows) {
		m.Next = m.Filter.With("cursor", strconv.Itoa(end)).At("/rules")
	}
	v.Main = m
	if fragment(r) {
		return p.part(w, "rules", "rules-list", v)
	}
	return p.page(w, "rules", v)
}

type ruleView struct {
	console.Rule
	Report *console.RuleReport
}

func (p *Pages) rule(w http.ResponseWriter, r *http.Request) error { return p.rulePage(w, r, nil) }

func (p *Pages) rulePage(w http.ResponseWriter, r *http.Request, report *console.RuleReport) error {
	src := p.srv.Sources().Rules
	if src == nil {
		return missing("rules")
	}
	rule, err := src.Rule(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	if report != nil {
		rule.Tests = report.Tests
	}
	v := p.view(w, r, visText(clip(80, rule.Title)), "rules")
	v.Here = "/rules/" + ref(rule.ID)
	v.Main = &ruleView{rule, report}
	return p.page(w, "rule", v)
}

func (p *Pages) testRule(w http.ResponseWriter, r *http.Request) error {
	report, err := p.srv.Desk().TestRules(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return p.rulePage(w, r, &report)
}

func (p *Pages) testRules(w http.ResponseWriter, r *http.Request) error {
	report, err := p.srv.Desk().TestRules(r.Context(), "")
	if err != nil {
		return err
	}
	return p.rulesPage(w, r, &report)
}

func (p *Pages) reloadRules(w http.ResponseWriter, r *http.Request) error {
	set, err := p.srv.Desk().ReloadRules(r.Context())
	if err != nil {
		return err
	}
	if len(set.Errors) > 0 {
		return p.done(w, r, "/rules", plural(len(set.Errors), "error", "errors")+" in the rules folder: the set before stays in force.")
	}
	return p.done(w, r, "/rules", plural(set.Count, "rule", "rules")+" in force.")
}

type checkView struct {
	Text    string
	From    string // id of the rule that the text is a copy of
	Off     string // id of the rule that is switched off in the place of a text
	Since   string // how far back a what-if looks
	Report  *console.RuleReport
	WhatIf  *whatIfView
	Problem string
	Hidden  []hiddenLine
	Replays bool // whether what is recorded can be replayed
}

// hiddenLine is a line of a text that does not look like what it is.
type hiddenLine struct {
	Number int
	Text   string
}

// maxHidden bounds the lines that are shown.
const maxHidden = 5

// hiddenLines returns the lines that hold what cannot be seen or turns the direction of writing: a field of a form shows
// text as it is.
func hiddenLines(text string) (lines []hiddenLine) {
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimRight(line, "\n")
		if visText(strings.ReplaceAll(line, "\t", "  ")) != strings.ReplaceAll(line, "\t", "  ") {
			if lines = append(lines, hiddenLine{n, line}); len(lines) == maxHidden {
				break
			}
		}
	}
	return lines
}

// exampleRule is what the form begins with.
const exampleRule = `id: mine.admin-from-outside
title: Admin pages asked for from outside
severity: medium
on: [http_activity]
when: http_request.url.path.startsWith("/admin")
then: [alert]
why: Nobody outside needs these pages.
tests:
  - name: the admin page fires
    event: {http_request.url.path: /admin/users}
    fires: true
  - name: the shop does not
    event: {http_request.url.path: /search}
    fires: false
`

// checkPage is the form with an example, or with the file of a rule to begin with.
func (p *Pages) checkPage(w http.ResponseWriter, r *http.Request) error {
	m := &checkView{Text: exampleRule}
	if id := r.URL.Query().Get("rule"); id != "" {
		src := p.srv.Sources().Rules
		if src == nil {
			return missing("rules")
		}
		rule, err := src.Rule(r.Context(), id)
		if err != nil {
			return err
		}
		m.Text, m.From = rule.Source, rule.ID
		if m.Text == "" {
			m.Problem = "The file of this rule cannot be read any more."
		}
	}
	return p.checked(w, r, m)
}

func (p *Pages) check(w http.ResponseWriter, r *http.Request) error {
	m := &checkView{Text: strings.ReplaceAll(r.PostFormValue("text"), "\r\n", "\n"), From: r.PostFormValue("from"), Since: r.PostFormValue("since")}
	if r.PostFormValue("do") == "whatif" {
		if err := p.whatIf(r, m); err != nil {
			return err
		}
		return p.checked(w, r, m)
	}
	report, err := p.srv.Desk().CheckRule(r.Context(), m.Text)
	var input *console.InputError
	switch {
	case errors.As(err, &input):
		m.Problem = input.Reason
	case err != nil:
		return err
	default:
		m.Report = &report
	}
	return p.checked(w, r, m)
}

func (p *Pages) checked(w http.ResponseWriter, r *http.Request, m *checkView) error {
	m.Replays, m.Hidden = p.srv.Sources().Replay != nil, hiddenLines(m.Text)
	v := p.view(w, r, "Try a rule", "rules")
	v.Main = m
	return p.page(w, "check", v)
}
