package ui

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/signal"
)

type rulesView struct {
	Filter     filter
	Set        console.RuleSet
	Rows       []console.Rule
	Total      int // that the filter chooses
	All        int
	From, To   int // numbers of the first and last line
	Prev, Next string
	Failing    int // rules with a test that does not pass
	Dialects   []dialectCount
	Report     *console.RuleReport
	Verdicts   []signal.Decision
	Severities []signal.Severity
	More       bool // whether one of the rarer filters is in use
	Budgets    *budgetView
}

// dialectCount is how many rules are in a dialect, and the list of them.
type dialectCount struct {
	Name, Link string
	Count      int
	Chosen     bool
}

// failing counts the tests of a rule that do not pass.
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
	m := &rulesView{Filter: filter{query: newQuery(r.URL.Query())}, Set: set, Report: report, All: len(all),
		Verdicts:   []signal.Decision{signal.Deny, signal.Challenge, signal.Limit, signal.Alert, signal.Allow},
		Severities: []signal.Severity{signal.SeverityCritical, signal.SeverityHigh, signal.SeverityMedium, signal.SeverityLow}}
	for _, key := range []string{"verdict", "from", "state", "fired", "tag", "sort"} {
		m.More = m.More || m.Filter.Get(key) != ""
	}
	m.Dialects = m.dialects(all)
	choose := ruleFilter(m.Filter)
	var rows []console.Rule
	for i := range all {
		if failing(all[i]) > 0 {
			m.Failing++
		}
		if choose(&all[i]) {
			rows = append(rows, all[i])
		}
	}
	sortRules(rows, m.Filter.Get("sort"))
	m.Total = len(rows)
	at, _ := strconv.Atoi(r.URL.Query().Get("cursor"))
	at = min(max(at, 0), max(0, len(rows)-1)/pageSize*pageSize)
	end := min(at+pageSize, len(rows))
	m.Rows, m.From, m.To = rows[at:end], at+1, end
	if end < len(rows) {
		m.Next = m.Filter.With("cursor", strconv.Itoa(end)).At("/rules")
	}
	if at > 0 {
		m.Prev = m.Filter.At("/rules")
		if at > pageSize {
			m.Prev = m.Filter.With("cursor", strconv.Itoa(at-pageSize)).At("/rules")
		}
	}
	if m.Prev == "" && !m.Filter.Any() {
		m.Budgets = p.budgetsOf(r.Context(), maxBudgets)
	}
	v.Main = m
	if fragment(r) {
		return p.part(w, "rules", "rules-list", v)
	}
	return p.page(w, "rules", v)
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
