package ui

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/console"
)

// whatIfSpans are the times that the form offers, the first one chosen.
var whatIfSpans = []struct {
	Value, Text string
	Span        time.Duration
}{{"24h", "the last 24 hours", 24 * time.Hour}, {"1h", "the last hour", time.Hour}, {"7d", "the last 7 days", 7 * 24 * time.Hour}}

// whatIfKinds are the differences between two judgements, the gravest first, by the words of a column.
var whatIfKinds = []struct{ Kind, Word, Class string }{
	{"newly_blocked", "refused anew", "is-bad"},
	{"no_longer_blocked", "let through", "is-warn"},
	{"no_longer_caught", "missed", "is-warn"},
	{"newly_alerted", "alerted anew", "is-new"},
	{"decision_changed", "decided otherwise", ""},
	{"rules_changed", "other rules", ""},
}

// The bounds of what a page shows of a report.
const (
	maxWhatIfRows     = 12
	maxWhatIfExamples = 20
	maxWhatIfIDs      = 30
)

// whatIfView is what a change of rules would have done.
type whatIfView struct {
	console.WhatIfReport
	Headline string
	Same     bool // nothing would have been otherwise
	Span     string
	Tables   []whatIfTable
	Shown    []whatIfExample
	Rest     int // examples that are not shown
	Took     string
	Tried    string // how the firewall was tried; empty where it is the same
}

// whatIfTable counts differences by rule, route, client or asset.
type whatIfTable struct {
	Name, ID string
	Rules    bool     // names are ids of rules
	Fires    bool     // how often each fires is known
	Filter   string   // key of the traffic list's filter for the name, "" for none
	Kinds    []string // words of the columns
	Rows     []whatIfRow
	Rest     int // rows that are not shown
}

type whatIfRow struct {
	console.WhatIfRow
	Cells []int64 // by column
	Link  string
}

type whatIfExample struct {
	console.WhatIfExample
	Word, Class string
}

func whatIfOf(r console.WhatIfReport, span string) *whatIfView {
	v := &whatIfView{WhatIfReport: r, Span: span, Same: true, Took: (time.Duration(r.ElapsedMS) * time.Millisecond).Round(10 * time.Millisecond).String()}
	for _, n := range r.Counts {
		v.Same = v.Same && n == 0
	}
	v.Headline, v.Tried = whatIfHeadline(&r, span), triedOf(r.Firewall)
	for _, t := range []struct {
		name, id, filter string
		rows             []console.WhatIfRow
	}{{"Firewall rule", "firewall", "", wallRows(r.Firewall)}, {"Rule", "rule", "", r.ByRule}, {"Route", "route", "route", r.ByRoute}, {"Client", "client", "client", r.ByClient}, {"Asset", "asset", "", r.ByAsset}} {
		if table := whatIfTableOf(t.name, t.id, t.filter, t.rows); len(table.Rows) > 0 {
			v.Tables = append(v.Tables, table)
		}
	}
	v.Rest = max(0, len(r.Examples)-maxWhatIfExamples)
	for _, x := range r.Examples[:len(r.Examples)-v.Rest] {
		word, class := whatIfWord(x.Kind)
		v.Shown = append(v.Shown, whatIfExample{x, word, class})
	}
	return v
}

func whatIfWord(kind string) (word, class string) {
	for _, k := range whatIfKinds {
		if k.Kind == kind {
			return k.Word, k.Class
		}
	}
	return strings.ReplaceAll(kind, "_", " "), ""
}

func whatIfTableOf(name, id, filter string, rows []console.WhatIfRow) whatIfTable {
	t := whatIfTable{Name: name, ID: id, Rules: id == "rule", Fires: id == "rule" || id == "firewall", Filter: filter}
	var kinds []string
	for _, k := range whatIfKinds {
		if slices.ContainsFunc(rows, func(r console.WhatIfRow) bool { return r.Counts[k.Kind] > 0 }) {
			kinds, t.Kinds = append(kinds, k.Kind), append(t.Kinds, k.Word)
		}
	}
	for _, r := range rows {
		row := whatIfRow{WhatIfRow: r}
		for _, k := range kinds {
			row.Cells = append(row.Cells, r.Counts[k])
		}
		if filter != "" && !strings.HasPrefix(r.Name, "(") {
			if _, err := prefixOf(r.Name); err == nil || filter != "client" {
				row.Link = newQuery(nil).With(filter, r.Name).At("/traffic")
			}
		}
		t.Rows = append(t.Rows, row)
	}
	t.Rest = max(0, len(t.Rows)-maxWhatIfRows)
	t.Rows = t.Rows[:len(t.Rows)-t.Rest]
	return t
}

// wallRows are the firewall's rules of a report.
func wallRows(f *console.WhatIfFirewall) []console.WhatIfRow {
	if f == nil {
		return nil
	}
	return f.ByRule
}

// triedOf says on what a change of the firewall was tried, and how surely.
func triedOf(f *console.WhatIfFirewall) string {
	if f == nil {
		return ""
	}
	s := "The firewall was tried on " + plural(f.Requests, "request", "requests")
	if f.Kept > 0 {
		s += ", " + num(f.Kept) + " of them as they were received"
	}
	if f.Uncertain > 0 {
		return s + "; of " + num(f.Uncertain) + " something is not certain."
	}
	if f.Requests == 0 {
		return s + "."
	}
	return s + "; the answer is exact for all."
}

// ruleIDs is a list of rules under a name, as far as a page shows it.
type ruleIDs struct {
	Name string
	IDs  []string
	Rest int
}

func rulesAs(name string, ids []string) ruleIDs {
	shown := ids[:min(len(ids), maxWhatIfIDs)]
	return ruleIDs{name, shown, len(ids) - len(shown)}
}

// whatIfHeadline says the difference in one sentence.
func whatIfHeadline(r *console.WhatIfReport, span string) string {
	of := func(kind string) string {
		n := r.Counts[kind]
		on := int64(0)
		for _, row := range r.ByRoute {
			on += row.Counts[kind]
		}
		if on == n { // every one of them came over a route of the edge, which judges a request and its answer apart
			return plural(n, "request or answer", "requests or answers")
		}
		return plural(n, "event", "events")
	}
	more := func(kind string) string {
		s := of(kind)
		number, noun, _ := strings.Cut(s, " ")
		return number + " more " + noun
	}
	var does []string
	say := func(kind string, sentence func() string) {
		if r.Counts[kind] > 0 {
			does = append(does, sentence())
		}
	}
	say("newly_blocked", func() string { return "refused " + more("newly_blocked") + clientsOf(r, "newly_blocked") })
	say("no_longer_blocked", func() string {
		return "let " + of("no_longer_blocked") + clientsOf(r, "no_longer_blocked") + " through that " + was(r.Counts["no_longer_blocked"]) + " refused"
	})
	say("newly_alerted", func() string { return "alerted on " + more("newly_alerted") })
	say("decision_changed", func() string { return "decided otherwise about " + of("decision_changed") })
	say("rules_changed", func() string {
		return "decided the same by other rules about " + of("rules_changed")
	})
	var s string
	if len(does) > 0 {
		s = "Would have " + listOf(does)
	}
	if n := r.Counts["no_longer_caught"]; n > 0 {
		if s != "" {
			s += "; no longer catches " + num(n)
		} else {
			s = "No longer catches " + of("no_longer_caught")
		}
	}
	switch {
	case s != "":
		return s + "."
	case r.Events == 0:
		return "Nothing is recorded of " + span + ", so that there is nothing to try it on."
	case r.Firewall != nil:
		return "Nothing would have been otherwise in " + span + "."
	case len(r.Rules.Added)+len(r.Rules.Removed)+len(r.Rules.Changed) == 0:
		return "The rules are those in force: nothing changes."
	}
	return "Nothing would have been otherwise in " + span + "."
}

func was(n int64) string {
	if n == 1 {
		return "was"
	}
	return "were"
}

// clientsOf says how many clients a kind of difference is about; nothing where the report does not know them.
func clientsOf(r *console.WhatIfReport, kind string) string {
	n, more := 0, ""
	for _, row := range r.ByClient {
		switch {
		case row.Counts[kind] == 0:
		case strings.HasPrefix(row.Name, "("): // the rest, counted together
			more = "more than "
		default:
			n++
		}
	}
	if n == 0 {
		return ""
	}
	return " of " + more + plural(n, "client", "clients")
}

// listOf joins parts of a sentence.
func listOf(parts []string) string {
	if len(parts) < 2 {
		return strings.Join(parts, "")
	}
	return strings.Join(parts[:len(parts)-1], ", ") + " and " + parts[len(parts)-1]
}

// whatIf runs what the form of "Try a rule" asks for, into its view.
func (p *Pages) whatIf(r *http.Request, m *checkView) error {
	span, ok := spanCalled(cmp.Or(r.PostFormValue("since"), whatIfSpans[0].Value))
	if !ok {
		m.Problem = "choose one of the times that the form offers"
		return nil
	}
	m.Since = span.Value
	q := console.WhatIfQuery{Since: p.srv.Now().Add(-span.Span)}
	if m.Off = strings.TrimSpace(r.PostFormValue("off")); m.Off != "" {
		q.Disable = []string{m.Off}
	} else {
		q.Files = []console.RuleText{{Name: console.RuleFileName(m.Text), Text: m.Text}}
	}
	report, err := p.srv.Desk().WhatIf(r.Context(), q)
	problem, ours := replayProblem(err, span.Text, "testudo whatif FILE --since "+span.Value)
	switch {
	case !ours:
		m.Problem = problem
	case err != nil:
		return err
	case len(report.Errors) > 0:
		m.Report = &console.RuleReport{Errors: report.Errors}
	default:
		m.WhatIf = whatIfOf(report, span.Text)
	}
	return nil
}
