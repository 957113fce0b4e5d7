package falco

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/rulefile"
)

// exceptions reads what a rule lets pass: named groups of fields, comparisons and values.
func (s *file) exceptions(r *rule, p rulefile.Pair, appending bool) {
	if _, empty := p.Value.(*ast.NullNode); empty {
		return
	}
	seq, ok := p.Value.(*ast.SequenceNode)
	if !ok {
		s.Problem(p.At, "begin each exception with a dash", "exceptions must be a list, not %s", rulefile.KindOf(p.Value))
		return
	}
	if !appending {
		r.exceptions = nil
	}
	seen := make(map[string]bool)
	for _, n := range seq.Values {
		x, given, ok := s.exception(n)
		if !ok {
			return
		}
		if seen[x.name] {
			s.Problem(rulefile.TokenOf(n), "", "two exceptions of the rule are called %q", policy.Printable(x.name, 60))
			return
		}
		seen[x.name] = true
		at := slices.IndexFunc(r.exceptions, func(e *exception) bool { return e.name == x.name })
		switch {
		case at >= 0 && (given["fields"] || given["comps"]):
			s.Problem(rulefile.TokenOf(n), "write its name and values only", "exception %q is there already: only values can be added to it", policy.Printable(x.name, 60))
			return
		case at >= 0:
			old := *r.exceptions[at]
			old.values = slices.Concat(old.values, x.values)
			r.exceptions[at] = &old
		case !given["fields"]:
			s.Problem(rulefile.TokenOf(n), "as in fields: [proc.name, fd.name]", "exception %q has no fields", policy.Printable(x.name, 60))
			return
		case len(r.exceptions) == maxExceptions:
			s.Problem(rulefile.TokenOf(n), "", "the rule has more than %d exceptions", maxExceptions)
			return
		default:
			r.exceptions = append(r.exceptions, x)
		}
	}
}

func (s *file) exception(n ast.Node) (x *exception, given map[string]bool, ok bool) {
	pairs, ok := s.Pairs(n, "an exception")
	if !ok || !s.Known(pairs, "an exception", "name", "fields", "comps", "values") {
		return nil, nil, false
	}
	x = &exception{at: s.place(rulefile.TokenOf(n)), single: true}
	given = make(map[string]bool)
	for _, p := range pairs {
		given[p.Key] = true
		_, isList := p.Value.(*ast.SequenceNode)
		switch p.Key {
		case "name":
			if x.name, ok = s.name(p); !ok {
				return nil, nil, false
			}
		case "fields":
			x.single = !isList
			if x.fields, ok = s.textList(p.Value, "fields"); !ok {
				return nil, nil, false
			}
		case "comps":
			comps, ok := s.Scalars(p.Value, "comps")
			if !ok {
				return nil, nil, false
			}
			for _, v := range comps {
				op := strings.TrimSpace(v.Text)
				if !slices.Contains(operators(), op) || op == "exists" {
					s.Problem(v.At, oneOf(op, operators()), "unknown operator %q", policy.Printable(op, 40))
					return nil, nil, false
				}
				x.comps = append(x.comps, op)
			}
		case "values":
			seq, isList := p.Value.(*ast.SequenceNode)
			if !isList {
				s.Problem(p.At, "begin each value with a dash", "values must be a list, not %s", rulefile.KindOf(p.Value))
				return nil, nil, false
			}
			for _, item := range seq.Values {
				v, ok := s.exceptionValue(item)
				if !ok {
					return nil, nil, false
				}
				x.values = append(x.values, v)
			}
		}
	}
	if x.name == "" {
		s.Problem(rulefile.TokenOf(n), "", "an exception has no name")
		return nil, nil, false
	}
	if given["fields"] {
		if !s.comps(n, x) {
			return nil, nil, false
		}
	}
	return x, given, true
}

// comps fills in the comparisons that an exception leaves out, and checks the others.
func (s *file) comps(n ast.Node, x *exception) bool {
	if x.single {
		if x.comps == nil {
			x.comps = []string{"in"}
		}
		if len(x.comps) != 1 || !slices.Contains(listOps, x.comps[0]) {
			s.Problem(rulefile.TokenOf(n), "write fields as a list for other operators", "an exception with one field compares by in, intersects or pmatch")
			return false
		}
		return true
	}
	if x.comps == nil {
		x.comps = slices.Repeat([]string{"="}, len(x.fields))
	}
	if len(x.comps) != len(x.fields) {
		s.Problem(rulefile.TokenOf(n), "write one operator for each field", "exception %q has %d fields and %d comps", policy.Printable(x.name, 60), len(x.fields), len(x.comps))
		return false
	}
	return true
}

func (s *file) textList(n ast.Node, what string) ([]text, bool) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		t, ok := s.text(n, what)
		return []text{t}, ok
	}
	var all []text
	for _, item := range seq.Values {
		t, ok := s.text(item, "an entry of "+what)
		if !ok {
			return nil, false
		}
		all = append(all, t)
	}
	if len(all) == 0 {
		s.Problem(rulefile.TokenOf(n), "", "%s is an empty list", what)
		return nil, false
	}
	return all, true
}

func (s *file) exceptionValue(n ast.Node) (exceptionValue, bool) {
	v := exceptionValue{at: s.place(rulefile.TokenOf(n))}
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		t, ok := s.text(n, "a value")
		v.parts = []exceptionPart{{texts: []text{t}}}
		return v, ok
	}
	for _, item := range seq.Values {
		if inner, isList := item.(*ast.SequenceNode); isList && len(inner.Values) == 0 {
			v.parts = append(v.parts, exceptionPart{list: true})
			continue
		}
		texts, ok := s.textList(item, "a value")
		if !ok {
			return v, false
		}
		_, isList := item.(*ast.SequenceNode)
		v.parts = append(v.parts, exceptionPart{texts, isList})
	}
	return v, true
}

// except returns the condition that none of a rule's exceptions holds, nil where it has none.
func (r *reader) except(all []*exception) ([]node, *mistake, *policy.Problem) {
	var out []node
	for _, x := range all {
		var any orNode
		if x.single {
			c, m := x.check(0)
			if m != nil {
				return nil, m, nil
			}
			for _, v := range x.values {
				if len(v.parts) != 1 || v.parts[0].list {
					p := v.at
					p.Message, p.Hint = "a value of an exception with one field is a text", "write fields as a list for combinations"
					return nil, nil, &p
				}
				values, m := x.words(v.parts[0], c.op)
				if m != nil {
					return nil, m, nil
				}
				c.values = append(c.values, values...)
			}
			if len(c.values) > 0 {
				any = orNode{c}
			}
		}
		for _, v := range x.values {
			if x.single {
				break
			}
			if len(v.parts) != len(x.fields) {
				p := v.at
				p.Message, p.Hint = fmt.Sprintf("a value has %d parts, and the exception %d fields", len(v.parts), len(x.fields)), "write one for each field"
				return nil, nil, &p
			}
			var every andNode
			for i, part := range v.parts {
				c, m := x.check(i)
				if m != nil {
					return nil, m, nil
				}
				if part.list && !slices.Contains(listOps, c.op) {
					p := v.at
					p.Message, p.Hint = fmt.Sprintf("%s is compared by %s with a list", c.left.String(), c.op), "write in as the operator"
					return nil, nil, &p
				}
				if c.values, m = x.words(part, c.op); m != nil {
					return nil, m, nil
				}
				every = append(every, c)
			}
			any = append(any, every)
		}
		if len(any) > 0 {
			out = append(out, notNode{any})
		}
	}
	return out, nil, nil
}

// check returns the comparison of an exception's field, without values.
func (x *exception) check(i int) (*checkNode, *mistake) {
	l := &lexer{src: &x.fields[i]}
	l.blank()
	o, m := l.operand()
	if m != nil {
		return nil, m
	}
	if l.blank(); !l.done() {
		return nil, l.wrong(l.pos, fmt.Sprintf("unexpected %q behind a field", policy.Printable(l.next(), 40)), "")
	}
	op := x.comps[i]
	if op == "==" {
		op = "="
	}
	return &checkNode{left: *o, op: op, src: o.src, offset: o.offset}, nil
}

// words returns the constants of a value: several for the operators over lists, where a name of a list stands for its
// items, and one for the others.
func (x *exception) words(part exceptionPart, op string) ([]value, *mistake) {
	var all []value
	for i := range part.texts {
		t := &part.texts[i]
		if !slices.Contains(listOps, op) {
			if l := (&lexer{src: t}); strings.HasPrefix(t.value, `"`) || strings.HasPrefix(t.value, "'") {
				v, m := l.value()
				if m != nil {
					return nil, m
				}
				if l.done() {
					return []value{v}, nil
				}
			}
			return []value{{text: t.value, quoted: true, src: t}}, nil
		}
		if trimmed := strings.TrimSpace(t.value); strings.HasPrefix(trimmed, "(") && strings.HasSuffix(trimmed, ")") {
			values, m := (&lexer{src: t, pos: strings.IndexByte(t.value, '(')}).list(op)
			if m != nil {
				return nil, m
			}
			all = append(all, values...)
			continue
		}
		values, m := words(t)
		if m != nil {
			return nil, m
		}
		all = append(all, values...)
	}
	return all, nil
}
