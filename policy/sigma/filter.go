package sigma

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/testudo-sec/testudo/internal/spell"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
)

// filter applies the filters of the load to the rules that they name.
func (l *load) filter() {
	touched := make(map[*document][]match.Expr)
	var order []*document
	for _, f := range l.documents {
		if f.kind != filterDocument {
			continue
		}
		f.clause = comment(f.rule.When)
		if strings.Contains(f.rule.When, "expand") {
			f.clause += l.pipes.stamp()
		}
		for _, doc := range l.filtered(f) {
			// A condition that several rules have costs each of them a little.
			if x := l.filterExpr(f, doc); x != nil && l.spend(1+weight(x)/filterShare) {
				if len(touched[doc]) == 0 {
					order = append(order, doc)
				}
				touched[doc] = append(touched[doc], x)
				doc.rule.When += fmt.Sprintf("\n# filter %q:\n", f.title) + f.clause
			}
		}
		f.rule = nil // it is no rule itself
	}
	for _, doc := range order {
		doc.rule.Condition = match.Simplify(append(match.And{doc.where, doc.when}, touched[doc]...))
	}
}

// filtered returns the rules that a filter names.
func (l *load) filtered(f *document) []*document {
	if f.bad {
		return nil
	}
	f.s.rule = f.rule.ID
	pairs, ok := f.s.pairs(f.body, "filter")
	if !ok {
		return nil
	}
	names := find(pairs, "rules")
	if names == nil {
		f.s.problem(f.body, "list ids or names of rules, or write rules: any", "the filter names no rules")
		return nil
	}
	refs, at := f.s.texts(names, "rules")
	if n, _ := f.s.resolved(names); n.Kind == yaml.ScalarNode && len(refs) == 1 && refs[0] == "any" {
		var all []*document
		for _, doc := range l.documents {
			if doc.kind == ruleDocument && !doc.bad && covers(f.source, doc.source) {
				all = append(all, doc)
			}
		}
		if len(all) == 0 {
			l.checkFilter(f)
		}
		return all
	}
	if len(refs) == 0 {
		f.s.problem(names, "list ids or names of rules, or write rules: any", "the filter names no rules")
	}
	var all []*document
	for i, ref := range refs {
		found := l.find(ref)
		switch {
		case len(found) == 0:
			f.s.problem(at[i], l.nearest(ref), "there is no rule %q", shown(ref))
		case found[0].kind == correlationDocument:
			f.s.problem(at[i], "name the rules that the correlation refers to", "%q is a correlation rule, which has no fields to filter", shown(ref))
		case len(found) > 1:
			f.s.problem(at[i], "refer to it by its id", "%q is the name of several rules", shown(ref))
		case found[0].bad:
		case !covers(f.source, found[0].source):
			f.s.problem(at[i], "name in the filter's logsource no more than the rule's does", "rule %q reads %s, and the filter %s", shown(ref), sourceText(found[0].source), sourceText(f.source))
		case slices.Contains(all, found[0]):
			f.s.problem(at[i], "", "rule %q is named twice", shown(ref))
		default:
			all = append(all, found[0])
		}
	}
	if len(all) == 0 {
		l.checkFilter(f)
	}
	return all
}

// filterShare is what part of a filter's weight counts for each rule that it is applied to.
const filterShare = 16

// maxGuesses is at how many references to no rule is guessed what they were meant to be: each is compared with all.
const maxGuesses = policy.MaxProblems

// nearest helps with a reference to no rule.
func (l *load) nearest(ref string) string {
	var names []string
	if l.guesses++; l.guesses > maxGuesses {
		return "name a rule that is loaded with it, by its id or name"
	}
	for name := range l.byName {
		names = append(names, name)
	}
	for id := range l.byID {
		names = append(names, id)
	}
	slices.Sort(names)
	if near := spell.Nearest(ref, names); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return "name a rule that is loaded with it, by its id or name"
}

// checkFilter looks for what is wrong with a filter that applies to no rule.
func (l *load) checkFilter(f *document) {
	c := &compiler{s: f.s, pipes: l.pipes, fit: l.pipes.fit(f.source, "", "")}
	c.detection(f.body, "filter", "rules")
}

// maxFilterTexts bounds what a filter's values stand for, over all log sources that it is compiled for.
const maxFilterTexts = 1_000_000

// filterExpr returns what a filter adds to a rule's condition: its fields are those of the rule's log source, and rules
// of one log source share it. What is wrong with a filter is noted once.
func (l *load) filterExpr(f, doc *document) match.Expr {
	if f.bad {
		return nil
	}
	key := doc.fit.key()
	if x, ok := f.compiled[key]; ok {
		return x
	}
	x := l.compileFilter(f, doc)
	if f.compiled == nil {
		f.compiled = make(map[string]match.Expr)
	}
	f.compiled[key] = x
	return x
}

func (l *load) compileFilter(f, doc *document) match.Expr {
	f.s.nodes = 0 // each reading counts for itself
	c := &compiler{s: f.s, pipes: l.pipes, fit: doc.fit, load: l}
	d, ok := c.detection(f.body, "filter", "rules")
	if !ok {
		f.bad = true
		return nil
	}
	if len(c.missing) > 0 {
		f.bad = true
		f.s.problem(f.body, "give them under values in a pipeline", "no pipeline gives values to %%%s%%", strings.Join(c.missing, "%, %"))
		return nil
	}
	if f.texts += c.texts; f.texts > maxFilterTexts {
		f.bad = true
		f.s.problem(f.body, "name fewer rules, or split it", "over all log sources the filter's values stand for more than %d texts", maxFilterTexts)
		return nil
	}
	when := match.Simplify(d.when)
	if d.ast.holds(func(string) bool { return false }) {
		return when // it says what is kept
	}
	return match.Not{Part: when}
}
