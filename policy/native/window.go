package native

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/policy/rulefile"
	"github.com/testudo-sec/testudo/policy/window"
	"github.com/testudo-sec/testudo/signal"
)

// maxBy bounds the values that name a group, and those that are counted together.
const maxBy = 8

// What a window adds up, by its key.
var windowKinds = map[string]window.Kind{
	"count": window.Count, "distinct": window.Distinct, "sum": window.Sum, "average": window.Average, "percentile": window.Percentile,
}

var kindKeys = []string{"count", "distinct", "sum", "average", "percentile"}

// overTime reads what makes a rule look at several events, a window or a sequence, and returns the pieces
// that feed it. It is called when the rule's classes and condition are known:
//
//	when: status_id == 2
//	window: {count: 10, by: src_endpoint.ip, within: 10m}
//
//	sequence:
//	  by: src_endpoint.ip
//	  within: 1h
//	  steps:
//	    - rule: many-failed-logins
//	    - when: status_id == 1
func (d *Dialect) overTime(s *source, r *policy.Rule, by map[string]rulefile.Pair) []*policy.Rule {
	windowed, isWindow := by["window"]
	sequence, isSequence := by["sequence"]
	switch {
	case isWindow && isSequence:
		s.Problem(sequence.At, "give each a rule of its own; a step of a sequence may name the other rule", "a rule has a window or a sequence, not both")
	case isWindow:
		return d.window(s, r, windowed, by)
	case isSequence:
		return d.sequence(s, r, sequence, by)
	}
	return nil
}

// hasKey reports whether a map has the key.
func hasKey(n ast.Node, key string) bool {
	var entries []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		entries = n.Values
	case *ast.MappingValueNode:
		entries = []*ast.MappingValueNode{n}
	}
	return slices.ContainsFunc(entries, func(e *ast.MappingValueNode) bool {
		tk := e.Key.GetToken()
		return tk != nil && tk.Value == key
	})
}

// part returns a piece of the rule with a condition of its own.
func part(r *policy.Rule, name string, at *token.Token) *policy.Rule {
	p := &policy.Rule{
		ID: r.ID + "#" + name, Title: r.Title + ": " + name, PartOf: r.ID, Silent: true, Severity: r.Severity, On: r.On,
		Dialect: r.Dialect, File: r.File, Line: r.Line, Column: r.Column,
	}
	if at != nil && at.Position != nil {
		p.Line, p.Column = at.Position.Line, at.Position.Column
	}
	return p
}

// window reads a rule's window.
func (d *Dialect) window(s *source, r *policy.Rule, at rulefile.Pair, rule map[string]rulefile.Pair) []*policy.Rule {
	pairs, ok := s.Pairs(at.Value, "window")
	if !ok || !s.Known(pairs, "window", append(slices.Clone(kindKeys), "rank", "over", "of", "by", "within", "late")...) {
		return nil
	}
	by := keyed(pairs)
	c := &policy.Correlation{Line: at.At.Position.Line, Column: at.At.Position.Column}
	r.Correlation = c
	s.span(c, at, by, "window")
	c.GroupBy = s.readings(by, "by")
	c.Value = s.readings(by, "over")
	s.kind(c, at, by)

	var parts []*policy.Rule
	when, hasWhen := rule["when"]
	of, hasOf := by["of"]
	switch {
	case hasWhen && hasOf:
		s.Problem(of.At, "leave out one of them", "a window counts events that meet when, or those of other rules, not both")
	case hasOf:
		items, ok := s.Scalars(of.Value, "of")
		if ok && (len(items) == 0 || len(items) > window.MaxSlots) {
			s.Problem(of.At, "", "of must name 1 to %d rules", window.MaxSlots)
		}
		for _, v := range items {
			c.Of = append(c.Of, reference(v))
		}
	case hasWhen:
		p := part(r, "when", when.At)
		p.When, p.Condition, r.Condition = r.When, r.Condition, nil
		parts = append(parts, p)
		c.Of = []policy.Ref{{Rule: p.ID, Line: when.At.Position.Line, Column: when.At.Position.Column}}
	}
	return parts
}

func keyed(pairs []rulefile.Pair) map[string]rulefile.Pair {
	by := make(map[string]rulefile.Pair, len(pairs))
	for _, p := range pairs {
		by[p.Key] = p
	}
	return by
}

func reference(v rulefile.Scalar) policy.Ref {
	return policy.Ref{Rule: v.Text, Line: v.At.Position.Line, Column: v.At.Position.Column}
}

// span reads within and late.
func (s *source) span(c *policy.Correlation, at rulefile.Pair, by map[string]rulefile.Pair, what string) {
	if p, ok := by["within"]; ok {
		c.Within = s.duration(p, window.MaxSpan)
	} else {
		s.Problem(at.At, "say in which time the events fall, as in within: 10m", "%s has no within", what)
	}
	if p, ok := by["late"]; ok {
		if c.Tolerance = s.duration(p, window.MaxSpan); c.Tolerance > c.Within && c.Within > 0 {
			s.Problem(p.At, "", "late is longer than within")
		}
	}
}

// kind reads what the window adds up, and what is asked of the number.
func (s *source) kind(c *policy.Correlation, at rulefile.Pair, by map[string]rulefile.Pair) {
	for _, key := range kindKeys {
		p, ok := by[key]
		if !ok {
			continue
		}
		if c.Kind != 0 {
			s.Problem(p.At, "keep one; give the other a rule of its own", "window adds up two things")
			return
		}
		c.Kind = windowKinds[key]
		c.Tests = s.threshold(p)
	}
	if c.Kind == 0 {
		s.Problem(at.At, "add one of "+strings.Join(kindKeys, ", ")+", as in count: 10", "window does not say what it adds up")
		return
	}
	rank, ranked := by["rank"]
	switch {
	case ranked && c.Kind != window.Percentile:
		s.Problem(rank.At, "", "rank has a meaning only with percentile")
	case ranked:
		if v, ok := s.Scalar(rank.Value, "rank"); ok {
			if n, err := strconv.ParseFloat(v.Text, 64); err != nil || n <= 0 || n > 100 {
				s.Problem(v.At, "as in rank: 95", "rank must be a number over 0 and up to 100, not %q", policy.Printable(v.Text, 60))
			} else {
				c.Percent = n
			}
		}
	case c.Kind == window.Percentile:
		s.Problem(by["percentile"].At, "say which one, as in rank: 95", "percentile has no rank")
	}
	over, valued := by["over"]
	switch {
	case valued && c.Kind == window.Count:
		s.Problem(over.At, "write distinct to count different values", "over has no meaning with count")
	case !valued && c.Kind != window.Count:
		s.Problem(at.At, "name the field, as in over: user.name", "window does not say over which value")
	case c.Kind.HasNumber() && len(c.Value) > 1:
		s.Problem(over.At, "", "over must name one number")
	case c.Kind.HasNumber() && len(c.Value) == 1:
		if f := c.Value[0].From.Field; f != 0 && f.Kind() != signal.KindInt && f.Kind() != signal.KindFloat {
			s.Problem(over.At, "", "over must name a number, and %s is of kind %v", f, f.Kind())
		}
	}
	spec := window.Spec{Kind: c.Kind, Within: max(1, c.Within), Tests: c.Tests, Percent: c.Percent}
	if c.Kind == window.Percentile && c.Percent == 0 {
		spec.Percent = 50 // that it is missing was said
	}
	if err := spec.Validate(); err != nil && len(c.Tests) > 0 {
		s.Problem(at.At, "", "window: %v", err)
	}
}

var thresholdForm = regexp.MustCompile(`^(>=|>|<=|<|==|!=)?\s*(-?[0-9][0-9_]*(?:\.[0-9]+)?(?:[eE][0-9]{1,2})?)$`)

// threshold reads what is asked of a number: "10" for at least 10, "> 10", "> 10 and <= 20".
func (s *source) threshold(p rulefile.Pair) []window.Test {
	v, ok := s.Scalar(p.Value, p.Key)
	if !ok {
		return nil
	}
	var tests []window.Test
	for _, one := range strings.Split(v.Text, " and ") {
		m := thresholdForm.FindStringSubmatch(strings.TrimSpace(one))
		if m == nil {
			s.Problem(v.At, `as in 10 for at least 10, or "> 10", or "> 10 and <= 20"`, "%s must be a number or comparison, not %q", p.Key, policy.Printable(v.Text, 60))
			return nil
		}
		test := window.Test{Op: window.AtLeast}
		if m[1] != "" {
			test.Op, _ = window.ParseOp(m[1])
		}
		test.Than, _ = strconv.ParseFloat(strings.ReplaceAll(m[2], "_", ""), 64)
		tests = append(tests, test)
	}
	return tests
}

var attrForm = regexp.MustCompile(`^attr\(\s*(?:"([^"\\]{1,256})"|'([^'\\]{1,256})')\s*\)$`)

// readings reads the values that name a group or are counted: fields, or attr("name").
func (s *source) readings(by map[string]rulefile.Pair, key string) []policy.Reading {
	p, ok := by[key]
	if !ok {
		return nil
	}
	items, ok := s.Scalars(p.Value, key)
	if !ok {
		return nil
	}
	if len(items) == 0 || len(items) > maxBy {
		s.Problem(p.At, "", "%s must name 1 to %d values", key, maxBy)
		return nil
	}
	var all []policy.Reading
	for _, v := range items {
		if m := attrForm.FindStringSubmatch(v.Text); m != nil {
			all = append(all, policy.Reading{Name: m[1] + m[2], From: policy.Operand{Attr: m[1] + m[2]}})
			continue
		}
		f := s.field(v, v.Text)
		if match.Added(f) {
			s.Problem(v.At, "", "%s is written when the verdict is known; a window cannot read it", f)
		}
		all = append(all, policy.Reading{Name: v.Text, From: policy.Operand{Field: f}})
	}
	return all
}

// sequence reads a rule's sequence.
func (d *Dialect) sequence(s *source, r *policy.Rule, at rulefile.Pair, rule map[string]rulefile.Pair) []*policy.Rule {
	if p, ok := rule["when"]; ok {
		s.Problem(p.At, "move it into a step", "a rule with a sequence has its conditions in the steps")
	}
	pairs, ok := s.Pairs(at.Value, "sequence")
	if !ok || !s.Known(pairs, "sequence", "steps", "order", "by", "within", "late") {
		return nil
	}
	by := keyed(pairs)
	c := &policy.Correlation{Kind: window.Ordered, Line: at.At.Position.Line, Column: at.At.Position.Column}
	r.Correlation, r.Condition = c, nil
	s.span(c, at, by, "sequence")
	c.GroupBy = s.readings(by, "by")
	if p, ok := by["order"]; ok {
		if v, ok := s.Scalar(p.Value, "order"); ok {
			switch v.Text {
			case "strict":
			case "any":
				c.Kind = window.Temporal
			default:
				s.Problem(v.At, "strict, as they stand, or any", "unknown order %q", policy.Printable(v.Text, 60))
			}
		}
	}
	list, ok := by["steps"]
	if !ok {
		s.Problem(at.At, "add steps: with a list of conditions or rules", "sequence has no steps")
		return nil
	}
	steps, ok := list.Value.(*ast.SequenceNode)
	if !ok || len(steps.Values) < 2 || len(steps.Values) > window.MaxSlots {
		s.Problem(list.At, "", "steps must be a list of 2 to %d conditions or rules", window.MaxSlots)
		return nil
	}
	var parts []*policy.Rule
	need := &window.Seen{Op: window.SeenAll}
	absent := 0
	for i, item := range steps.Values {
		p, isAbsent := d.step(s, r, c, item, i)
		if p != nil {
			parts = append(parts, p)
		}
		one := window.Seen{Op: window.SeenThing, Slot: i}
		if isAbsent {
			absent++
			one = window.Seen{Op: window.SeenNot, Of: []window.Seen{one}}
		}
		need.Of = append(need.Of, one)
	}
	if absent == len(steps.Values) {
		s.Problem(list.At, "leave out absent from what the rule waits for", "every step must be absent")
	} else if absent > 0 {
		c.Need = need
	}
	return parts
}

// step reads a step of a sequence, a condition or the name of a rule, and returns the piece that a condition makes.
func (d *Dialect) step(s *source, r *policy.Rule, c *policy.Correlation, item ast.Node, number int) (p *policy.Rule, absent bool) {
	c.Of = append(c.Of, policy.Ref{})
	pairs, ok := s.Pairs(item, "a step")
	if !ok || !s.Known(pairs, "a step", "when", "on", "rule", "by", "absent") {
		return nil, false
	}
	by := keyed(pairs)
	begin := rulefile.TokenOf(item)
	when, hasWhen := by["when"]
	name, hasRule := by["rule"]
	on, hasOn := by["on"]
	switch {
	case hasWhen == hasRule:
		s.Problem(begin, "write when: and a condition, or rule: and a rule's id", "a step has a condition or a rule")
	case hasRule && hasOn:
		s.Problem(on.At, "the rule says which events it reads", "on has a meaning only with when")
	case hasRule:
		if v, ok := s.Scalar(name.Value, "rule"); ok {
			c.Of[number] = reference(v)
		}
	default:
		p = part(r, fmt.Sprintf("step%d", number+1), when.At)
		if hasOn {
			p.On = s.classes(on.Value)
		} else if len(r.On) == 0 {
			s.Problem(begin, "name the class of events it reads, as in on: http_activity, here or beside sequence", "a step has no on")
		}
		s.when(d, p, when.Value)
		c.Of[number] = policy.Ref{Rule: p.ID, Line: when.At.Position.Line, Column: when.At.Position.Column}
	}
	if alias, ok := by["by"]; ok {
		own := s.readings(by, "by")
		if own != nil && len(own) != len(c.GroupBy) {
			s.Problem(alias.At, "", "by of the step names %d values, and by of the sequence %d", len(own), len(c.GroupBy))
			own = nil
		}
		for i := range own {
			g := &c.GroupBy[i]
			for len(g.Per) <= number {
				g.Per = append(g.Per, policy.Operand{})
			}
			g.Per[number] = own[i].From
		}
	}
	if a, ok := by["absent"]; ok {
		absent, _ = s.truth(a.Value, "absent")
	}
	return p, absent
}
