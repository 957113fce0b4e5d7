package ui

import (
	"net/http"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/console"
)

// ruleView is one rule in full.
type ruleView struct {
	console.Rule
	Report  *console.RuleReport
	Part    excerpt
	Missing []console.RuleRead // that it reads and no recent event had
	Present []console.RuleRead
	Within  string // of a correlation
	Kind    string // of a correlation, in words
}

// excerpt is the part of a rule file that one rule is.
type excerpt struct {
	From, To int // lines
	Text     string
	Whole    bool // it is the whole file
	Cut      bool // it is longer than a page shows
}

// maxExcerpt bounds the text of a rule that is shown.
const maxExcerpt = 64 << 10

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
	m := &ruleView{Rule: rule, Report: report, Part: excerptOf(rule.Source, rule.Line)}
	for _, read := range rule.Reads {
		if read.Seen == 0 {
			m.Missing = append(m.Missing, read)
		} else {
			m.Present = append(m.Present, read)
		}
	}
	if x := rule.Waits; x != nil {
		m.Within, m.Kind = span(time.Duration(x.Within)), waitsFor(x.Kind)
	}
	v.Main = m
	return p.page(w, "rule", v)
}

// waitsFor says in words what kind of correlation a rule is.
func waitsFor(kind string) string {
	switch kind {
	case "event_count":
		return "counts the events"
	case "value_count":
		return "counts different values"
	case "value_sum":
		return "adds up values"
	case "value_avg":
		return "takes the average of values"
	case "value_percentile":
		return "takes a percentile of values"
	case "temporal":
		return "waits for all of them, in any order"
	case "temporal_ordered":
		return "waits for all of them, in this order"
	}
	return strings.ReplaceAll(kind, "_", " ")
}

// excerptOf cuts out of a file the entry that begins at a line: an item of a list up to the next item, or a document up to
// the next one. A rule whose place is not known is the whole file.
func excerptOf(source string, line int) excerpt {
	lines := strings.Split(strings.TrimSuffix(source, "\n"), "\n")
	x := excerpt{From: 1, To: len(lines), Whole: true}
	if line >= 1 && line <= len(lines) {
		first := lines[line-1]
		indent := len(first) - len(strings.TrimLeft(first, " "))
		item := strings.HasPrefix(first[indent:], "- ")
		ends := func(s string) bool {
			if strings.HasPrefix(s, "---") {
				return true
			}
			return item && len(s) > indent && len(s)-len(strings.TrimLeft(s, " ")) == indent && s[indent] == '-'
		}
		from, to := line-1, line
		if !item { // what stands before the first key is part of the document
			for from > 0 && !strings.HasPrefix(lines[from-1], "---") {
				from--
			}
		}
		for to < len(lines) && !ends(lines[to]) {
			to++
		}
		for to > line && empty(lines[to-1]) { // comments before the next entry are about that one
			to--
		}
		x.Whole = from == 0 && to == len(lines)
		x.From, x.To, lines = from+1, to, lines[from:to]
	}
	x.Text = strings.Join(lines, "\n")
	if len(x.Text) > maxExcerpt {
		x.Text, x.Cut = strings.ToValidUTF8(x.Text[:maxExcerpt], ""), true
	}
	return x
}

func empty(line string) bool {
	line = strings.TrimSpace(line)
	return line == "" || line[0] == '#'
}
