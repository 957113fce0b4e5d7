package sigma

import (
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/testudo-sec/testudo/internal/logfields"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

// compiler compiles the selections of one rule, or those of a filter for one rule.
type compiler struct {
	s     *source
	pipes *pipelines
	fit   *fitted // what the pipelines make of the rule's log source
	load  *load   // that the weight counts for; nil for none

	missing []string // placeholders without values
	texts   int      // that the values stand for so far
}

// operands returns where a field stands in the events of the rule's log source; that of "" is every text of an event.
func (c *compiler) operands(name string) []match.Operand {
	if name == "" {
		return []match.Operand{{Any: true}}
	}
	return c.fit.operands(name)
}

// operands returns where a field stands in the events of a log source that the pipelines were applied to.
func (f *fitted) operands(name string) []match.Operand {
	var all []match.Operand
	for _, to := range f.names(name) {
		fields := logfields.Fields(f.source, to)
		if len(fields) == 0 {
			if _, ok := signal.Lookup(to); ok {
				fields = []string{to}
			}
		}
		if len(fields) == 0 {
			all = append(all, match.Operand{Attr: to})
		}
		for i, field := range fields {
			id, _ := signal.Lookup(field)
			o := match.Operand{Field: id}
			if i == 0 {
				o.Attr = to // a value that did not fit the field stands under its own name
			}
			all = append(all, o)
		}
	}
	return all
}

// reading returns the one place where correlations read a field.
func (f *fitted) reading(name string) policy.Operand {
	o := f.operands(name)[0]
	return policy.Operand{Field: o.Field, Attr: o.Attr}
}

// selection compiles a search identifier: a map (all of its entries), a list of maps (one of them), or keywords.
func (c *compiler) selection(name string, n *yaml.Node) match.Expr {
	n, ok := c.s.resolved(n)
	if !ok {
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		return c.entries(name, n)
	case yaml.SequenceNode:
		if len(n.Content) == 0 {
			c.s.problem(n, "write a map of fields, or a list of keywords", "selection %q is an empty list", shown(name))
			return nil
		}
		parts := make(match.Or, 0, len(n.Content))
		for _, part := range n.Content {
			part, ok := c.s.resolved(part)
			if !ok {
				return nil
			}
			var x match.Expr
			switch part.Kind {
			case yaml.MappingNode:
				x = c.entries(name, part)
			case yaml.ScalarNode:
				x = c.item(&item{at: part}, part)
			default:
				c.s.problem(part, "write maps or keywords", "an entry of selection %q is %s", shown(name), kindOf(part))
			}
			if x != nil {
				parts = append(parts, x)
			}
		}
		return parts
	}
	if isNull(n) {
		c.s.problem(n, "write a map of fields, or a list of keywords", "selection %q is empty", shown(name))
		return nil
	}
	return c.item(&item{at: n}, n)
}

func (c *compiler) entries(name string, n *yaml.Node) match.Expr {
	pairs, ok := c.s.pairs(n, fmt.Sprintf("selection %q", shown(name)))
	if !ok {
		return nil
	}
	if len(pairs) == 0 {
		c.s.problem(n, "write a field and a value", "selection %q is an empty map", shown(name))
		return nil
	}
	parts := make(match.And, 0, len(pairs))
	for _, p := range pairs {
		if x := c.entry(p.at, p.key, p.value); x != nil {
			parts = append(parts, x)
		}
	}
	return parts
}

// detection is the selections and the condition of a rule or a filter, compiled for one log source.
type detection struct {
	when match.Expr
	ast  condition
}

// detection compiles the detection part of a rule, or a filter; skip names the keys that are not selections.
func (c *compiler) detection(n *yaml.Node, what string, skip ...string) (detection, bool) {
	pairs, ok := c.s.pairs(n, what)
	if !ok {
		return detection{}, false
	}
	before := len(c.s.problems)
	var names []string
	selections := make(map[string]match.Expr)
	var when *yaml.Node
	for _, p := range pairs {
		switch {
		case p.key == "condition":
			when = p.value
		case p.key == "timeframe":
			c.s.problem(p.at, "write a correlation rule with a timespan", "timeframe belongs to the aggregations that Sigma no longer has")
		case slices.Contains(skip, p.key):
		default:
			names = append(names, p.key)
			selections[p.key] = c.selection(p.key, p.value)
		}
	}
	if when == nil {
		c.s.problem(n, "as in condition: selection", "%s has no condition", what)
		return detection{}, false
	}
	if len(names) == 0 {
		c.s.problem(n, "", "%s has no selection", what)
		return detection{}, false
	}
	d, ok := c.conditions(when, names, selections)
	return d, ok && len(c.s.problems) == before
}

// maxWeight bounds what a condition stands for: the values of every selection, as often as the condition names it.
const maxWeight = 500_000

// regexWeight is what a regular expression counts for: compiled it takes some 30 KB.
const regexWeight = 100

// weight counts the parts and constants of an expression.
func weight(x match.Expr) int {
	n := 0
	match.Walk(x, func(x match.Expr) bool {
		n++
		if a, ok := x.(*match.Atom); ok {
			n += len(a.Texts) + len(a.Ints) + len(a.Numbers) + len(a.Prefixes)
			if a.Regex != nil {
				n += regexWeight
			}
		}
		return true
	})
	return n
}

// weight adds the weights of the names up, as often as they are named.
func (c condition) weight(of map[string]int) int {
	if c.op == opName {
		return 1 + of[c.name]
	}
	n := 1
	for i := range c.of {
		n += c.of[i].weight(of)
	}
	return n
}

// conditions compiles a condition, or a list of them that are joined by or.
func (c *compiler) conditions(n *yaml.Node, names []string, selections map[string]match.Expr) (detection, bool) {
	items, ok := c.s.items(n)
	if !ok {
		return detection{}, false
	}
	all := condition{op: opOr}
	for _, item := range items {
		text, at, ok := c.s.scalarText(item, "condition")
		if !ok {
			return detection{}, false
		}
		ast, fault := parseCondition(text, names)
		if fault != nil {
			c.s.problemIn(at, fault.offset, fault.hint, "condition: %s", fault.message)
			return detection{}, false
		}
		if all.of = append(all.of, ast); len(all.of) > maxConditions {
			c.s.problem(at, "split the rule", "more than %d conditions", maxConditions)
			return detection{}, false
		}
	}
	if len(all.of) == 0 {
		c.s.problem(n, "", "condition is an empty list")
		return detection{}, false
	}
	weights := make(map[string]int)
	for name, x := range selections {
		x = match.Simplify(x)
		selections[name], weights[name] = x, weight(x)
	}
	switch heavy := all.weight(weights); {
	case heavy > maxWeight:
		c.s.problem(n, "split the rule", "the condition and its selections stand for more than %d values", maxWeight)
		return detection{}, false
	case c.load != nil && !c.load.spend(heavy):
		return detection{}, false // said of the whole load
	}
	when := all.expr(func(name string) match.Expr {
		if x := selections[name]; x != nil {
			return x
		}
		return match.Const(false) // what is wrong with it is noted
	})
	return detection{when: when, ast: all}, true
}
