package sigma

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/window"
)

// correlate compiles the correlation rules of the load, and makes the rules silent that they refer to.
func (l *load) correlate() {
	silent, loud := make(map[*document]bool), make(map[*document]bool)
	for _, doc := range l.documents {
		if doc.kind != correlationDocument || doc.bad {
			continue
		}
		doc.s.rule = doc.rule.ID
		before := len(doc.s.problems)
		generate := l.correlation(doc)
		if doc.bad = len(doc.s.problems) > before; doc.bad {
			continue
		}
		for _, ref := range doc.rule.Correlation.Of {
			for _, to := range l.find(ref.Rule) {
				silent[to] = true
				loud[to] = loud[to] || generate
			}
		}
	}
	for l.disableChains() {
	}
	for doc := range silent {
		doc.rule.Silent = !loud[doc]
	}
}

// disableChains switches off the correlations that refer to a rule that is off, and reports whether there were any.
func (l *load) disableChains() bool {
	found := false
	for _, doc := range l.documents {
		if doc.kind != correlationDocument || doc.bad || doc.rule.Disabled {
			continue
		}
		for _, ref := range doc.rule.Correlation.Of {
			if to := l.find(ref.Rule); len(to) > 0 && to[0].rule.Disabled {
				doc.disable(fmt.Sprintf("rule %q, which it refers to, is disabled", ref.Rule))
				found = true
				break
			}
		}
	}
	return found
}

var correlationKeys = []string{"type", "rules", "group-by", "timespan", "condition", "aliases", "generate"}

// correlation reads the correlation part of a document, and returns whether the rules that it refers to fire too.
func (l *load) correlation(doc *document) (generate bool) {
	s := doc.s
	pairs, ok := s.pairs(doc.body, "correlation")
	if !ok {
		return false
	}
	s.known(pairs, "correlation", correlationKeys...)
	c := &policy.Correlation{Line: doc.body.Line, Column: doc.body.Column}
	doc.rule.Correlation = c
	if n := find(pairs, "generate"); n != nil {
		kind, yes, _ := readScalar(n)
		if kind != truth {
			s.problem(n, "write true or false", "generate is %s", kindOf(n))
		}
		generate = yes != 0
	}
	if n := find(pairs, "type"); n == nil {
		s.problem(doc.body, "one of "+strings.Join(append(window.Kinds(), "value_median"), ", "), "the correlation has no type")
	} else if !s.correlationKind(c, n) {
		return
	}
	if n := find(pairs, "rules"); n != nil {
		refs, at := s.texts(n, "rules")
		for i, ref := range refs {
			if s.refer(c, ref, at[i]); len(c.Of) > window.MaxSlots {
				return // it is said
			}
		}
	}
	if n := find(pairs, "timespan"); n == nil {
		s.problem(doc.body, "as in timespan: 10m", "the correlation has no timespan")
	} else {
		s.timespan(c, n)
	}
	aliases := s.aliases(find(pairs, "aliases"))
	var fields []string
	if n := find(pairs, "condition"); n != nil {
		fields = s.correlationCondition(c, n)
	} else if !c.Kind.HasSlots() && c.Kind != 0 {
		s.problem(doc.body, "as in condition: {gte: 10}", "%v has no condition", c.Kind)
	}
	if len(c.Of) == 0 {
		s.problem(doc.body, "list ids or names of rules", "the correlation refers to no rules")
		return
	}
	groups, _ := s.texts(find(pairs, "group-by"), "group-by")
	if len(groups) > maxReadings || len(fields) > maxReadings {
		s.problem(doc.body, "name fewer", "the correlation groups by, or counts values of, more than %d fields", maxReadings)
		return
	}
	for _, name := range groups {
		c.GroupBy = append(c.GroupBy, l.reading(doc, aliases, name))
	}
	for _, name := range fields {
		c.Value = append(c.Value, l.reading(doc, aliases, name))
	}
	for name, a := range aliases {
		for ref := range a.fields {
			if !slices.ContainsFunc(c.Of, func(r policy.Ref) bool { return l.same(r.Rule, ref) }) {
				s.problem(a.at, "name a rule of rules", "alias %q says what it is in events of %q, which the correlation does not refer to", shown(name), shown(ref))
			}
		}
	}
	return generate
}

// maxReadings is how many fields a correlation may group by, and count the values of together.
const maxReadings = 32

func (s *source) refer(c *policy.Correlation, ref string, at *yaml.Node) {
	if slices.ContainsFunc(c.Of, func(r policy.Ref) bool { return r.Rule == ref }) {
		s.problem(at, "name each rule once", "rule %q is named twice", shown(ref))
		return
	}
	if uuidForm.MatchString(ref) {
		ref = strings.ToLower(ref)
	}
	if c.Of = append(c.Of, policy.Ref{Rule: ref, Line: at.Line, Column: at.Column}); len(c.Of) == window.MaxSlots+1 {
		s.problem(at, "chain correlations", "a correlation of more than %d rules", window.MaxSlots)
	}
}

func (s *source) correlationKind(c *policy.Correlation, n *yaml.Node) bool {
	text, at, ok := s.scalarText(n, "type")
	if !ok {
		return false
	}
	switch text {
	case "value_median":
		c.Kind, c.Percent = window.Percentile, 50
		return true
	case "temporal_extended", "temporal_ordered_extended": // conditions over rules need no type of their own
		text = strings.TrimSuffix(text, "_extended")
	}
	kind, err := window.ParseKind(text)
	if err != nil {
		s.problem(at, oneOf(text, append(window.Kinds(), "value_median")), "unknown type of correlation %q", shown(text))
		return false
	}
	c.Kind = kind
	return true
}

// The units of a timespan; months and years are as long as they are on average.
var timeUnits = map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour,
	'M': 2_629_746 * time.Second, 'y': 31_556_952 * time.Second}

func (s *source) timespan(c *policy.Correlation, n *yaml.Node) {
	text, at, ok := s.scalarText(n, "timespan")
	if !ok {
		return
	}
	text = strings.TrimSpace(text)
	if text == "" {
		text = " "
	}
	unit, known := timeUnits[text[len(text)-1]]
	count, err := strconv.ParseInt(text[:len(text)-1], 10, 32)
	switch {
	case !known || err != nil || count <= 0:
		s.problem(at, "a number and s, m, h, d, w, M or y, as in 15m", "%q is no timespan", shown(text))
	case count > int64(window.MaxSpan/unit):
		s.problem(at, fmt.Sprintf("up to %d days", window.MaxSpan/(24*time.Hour)), "the timespan %s is too long to be watched", shown(text))
	default:
		c.Within = time.Duration(count) * unit
	}
}

// alias is a name for fields that events of different rules have.
type alias struct {
	at     *yaml.Node
	fields map[string]string // by rule
}

func (s *source) aliases(n *yaml.Node) map[string]alias {
	all := make(map[string]alias)
	if n == nil {
		return all
	}
	pairs, _ := s.pairs(n, "aliases")
	for _, p := range pairs {
		of, _ := s.pairs(p.value, fmt.Sprintf("alias %q", shown(p.key)))
		a := alias{at: p.at, fields: make(map[string]string, len(of))}
		for _, f := range of {
			if field, _, ok := s.scalarText(f.value, "a field"); ok {
				a.fields[f.key] = field
			}
		}
		all[p.key] = a
	}
	return all
}

// same reports whether two references name one rule.
func (l *load) same(a, b string) bool {
	if a == b {
		return true
	}
	x, y := l.find(a), l.find(b)
	return len(x) == 1 && len(y) == 1 && x[0] == y[0]
}

// reading returns where a field, or what an alias stands for, is in the events of each rule.
func (l *load) reading(doc *document, aliases map[string]alias, name string) policy.Reading {
	c := doc.rule.Correlation
	r := policy.Reading{Name: name, Per: make([]policy.Operand, len(c.Of))}
	alike := true
	for i, ref := range c.Of {
		field := name
		if a, ok := aliases[name]; ok {
			for rule, f := range a.fields {
				if l.same(rule, ref.Rule) {
					field = f
				}
			}
			if field == name {
				doc.s.problem(a.at, "say which field it is there", "alias %q says nothing of events of %q", shown(name), shown(ref.Rule))
			}
		}
		r.Per[i] = l.fitOf(ref.Rule).reading(field)
		alike = alike && r.Per[i] == r.Per[0]
	}
	if r.From = r.Per[0]; alike {
		r.Per = nil
	}
	return r
}

// fitOf returns the log source that the events of a rule are of; of a correlation rule it is that of the first rule that
// it refers to.
func (l *load) fitOf(ref string) *fitted {
	for _, to := range l.find(ref) {
		if to.fit != nil {
			return to.fit
		}
		if to.visited || to.rule == nil || to.body == nil || to.kind != correlationDocument {
			continue
		}
		to.visited = true
		pairs, _ := to.s.again().pairs(to.body, "correlation")
		refs, _ := to.s.again().texts(find(pairs, "rules"), "rules")
		var fit *fitted
		if len(refs) > 0 {
			fit = l.fitOf(refs[0])
		}
		to.visited = false
		if fit != nil {
			return fit
		}
	}
	return &fitted{}
}

// correlationCondition reads the condition: a map of comparisons, or for temporal kinds a condition over rules. It
// returns the fields whose values are counted or added up.
func (s *source) correlationCondition(c *policy.Correlation, n *yaml.Node) []string {
	n, ok := s.resolved(n)
	if !ok {
		return nil
	}
	if n.Kind == yaml.ScalarNode && c.Kind.HasSlots() {
		s.seen(c, n)
		return nil
	}
	pairs, ok := s.pairs(n, "condition")
	if !ok {
		return nil
	}
	s.known(pairs, "condition", "gt", "gte", "lt", "lte", "eq", "neq", "field", "percentile")
	var fields []string
	for _, p := range pairs {
		value, _ := s.resolved(p.value)
		kind, _, f := readScalar(value)
		switch p.key {
		case "field":
			fields, _ = s.texts(value, "field")
			if c.Kind != window.Distinct && !c.Kind.HasNumber() {
				s.problem(p.at, "leave it out", "%v reads no field", c.Kind)
				fields = nil
			}
		case "percentile":
			switch {
			case c.Kind != window.Percentile || c.Percent == 50:
				s.problem(p.at, "leave it out, or write type: value_percentile", "%v has no percentile", c.Kind)
			case kind != whole && kind != fraction || f <= 0 || f > 100:
				s.problem(value, "a number over 0 and up to 100", "%q is no percentile", shown(value.Value))
			default:
				c.Percent = f
			}
		default:
			op, known := window.ParseOp(p.key)
			switch {
			case !known:
			case kind != whole && kind != fraction:
				s.problem(value, "write a number", "%s is compared with %s", p.key, kindOf(value))
			default:
				c.Tests = append(c.Tests, window.Test{Op: op, Than: f})
			}
		}
	}
	switch {
	case c.Kind == window.Percentile && c.Percent == 0:
		s.problem(n, "as in condition: {gte: 100, field: bytes, percentile: 95}", "value_percentile has no percentile")
	case (c.Kind == window.Distinct || c.Kind.HasNumber()) && len(fields) == 0:
		s.problem(n, "as in condition: {gte: 10, field: User}", "%v names no field", c.Kind)
	case c.Kind.HasNumber() && len(fields) > 1:
		s.problem(n, "name one field", "%v reads one number", c.Kind)
	case len(c.Tests) == 0:
		s.problem(n, "as in condition: {gte: 10}", "the condition compares with nothing")
	case c.Kind == window.Ordered:
		// What is asked is the number of rules that were seen; a sequence is all of them.
		whole := len(c.Of) > 0
		for _, t := range c.Tests {
			whole = whole && (t.Op == window.AtLeast || t.Op == window.Equal) && t.Than == float64(len(c.Of))
		}
		if !whole {
			s.problem(n, "leave the condition out, name the rules that are needed (condition: a and b), or use temporal", "temporal_ordered waits for all of its rules")
		}
		c.Tests = nil
	}
	return fields
}

// seen reads a condition over the rules of a temporal correlation. Rules that only it names are added to those that
// the correlation refers to.
func (s *source) seen(c *policy.Correlation, n *yaml.Node) {
	var names []string
	for _, ref := range c.Of {
		names = append(names, ref.Rule)
	}
	if len(names) == 0 {
		for _, w := range conditionWords(n.Value) {
			lower := strings.ToLower(w.text)
			if idForm.MatchString(w.text) && !slices.Contains(reserved, lower) && lower != "all" && lower != "any" && !slices.Contains(names, w.text) {
				names = append(names, w.text)
				s.refer(c, w.text, n)
			}
		}
	}
	ast, fault := parseCondition(n.Value, names)
	if fault != nil {
		s.problemIn(n, fault.offset, fault.hint, "condition: %s", strings.Replace(fault.message, "selection", "rule", 1))
		return
	}
	need := ast.seen(names)
	c.Need = &need
}

// seen returns the tree over rules by their places among names.
func (c condition) seen(names []string) window.Seen {
	if c.op == opName {
		return window.Seen{Op: window.SeenThing, Slot: slices.Index(names, c.name)}
	}
	s := window.Seen{Op: map[conditionOp]window.SeenOp{opAnd: window.SeenAll, opOr: window.SeenAny, opNot: window.SeenNot}[c.op]}
	for i := range c.of {
		s.Of = append(s.Of, c.of[i].seen(names))
	}
	return s
}
