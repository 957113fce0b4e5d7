package replay

import (
	"fmt"
	"slices"

	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
)

// filterOf returns the part of a condition that columns can answer. What a test of one field says about a value
// is what [match.Eval] says about an event with that value alone, so that both agree by construction.
func filterOf(x match.Expr) *store.Filter {
	c := columnar{tests: make(map[testKey]*store.Filter)}
	return c.filter(x)
}

// columnar makes filters. Equal tests become one, which a scan asks once.
type columnar struct{ tests map[testKey]*store.Filter }

type testKey struct {
	field signal.Field
	text  string
}

func (c *columnar) filter(x match.Expr) *store.Filter {
	if f := c.test(x); f != nil {
		return f
	}
	switch x := x.(type) {
	case match.Const:
		if x {
			return &store.Filter{Op: store.FilterAnd}
		}
		return &store.Filter{Op: store.FilterOr}
	case match.And:
		return &store.Filter{Op: store.FilterAnd, Parts: c.parts(x, func(same []match.Expr) match.Expr { return match.And(same) })}
	case match.Or:
		return &store.Filter{Op: store.FilterOr, Parts: c.parts(x, func(same []match.Expr) match.Expr { return match.Or(same) })}
	case match.Not:
		return &store.Filter{Op: store.FilterNot, Parts: []*store.Filter{c.filter(x.Part)}}
	case *match.Atom:
		if x.Other != nil {
			return pairTest(x)
		}
		return c.attr(x)
	}
	return &store.Filter{Op: store.FilterOpen}
}

// parts makes one test of all parts that read the same field.
func (c *columnar) parts(list []match.Expr, join func([]match.Expr) match.Expr) []*store.Filter {
	var out []*store.Filter
	bySame := make(map[signal.Field][]match.Expr)
	var order []signal.Field
	for _, part := range list {
		f := onlyField(part)
		if f == 0 || f.Kind() == signal.KindStrings {
			out = append(out, c.filter(part))
			continue
		}
		if bySame[f] == nil {
			order = append(order, f)
		}
		bySame[f] = append(bySame[f], part)
	}
	for _, f := range order {
		if same := bySame[f]; len(same) > 1 {
			out = append(out, c.filter(join(same)))
		} else {
			out = append(out, c.filter(same[0]))
		}
	}
	return out
}

// onlyField returns the field that alone decides a condition, 0 where there is more to it.
func onlyField(x match.Expr) signal.Field {
	if match.ReadsAttrs(x) || match.ReadsAll(x) {
		return 0
	}
	fields := match.Fields(x)
	if len(fields) != 1 || fields[0].Kind() == signal.KindTime || fields[0].Kind() == signal.KindNone {
		return 0
	}
	return fields[0]
}

// test returns a condition as a test of one column, nil where it is none.
func (c *columnar) test(x match.Expr) *store.Filter {
	f := onlyField(x)
	if f == 0 || f.Kind() == signal.KindStrings && !eachAlone(x) {
		return nil
	}
	key := testKey{f, identity(x)}
	if known := c.tests[key]; known != nil && key.text != "" {
		return known
	}
	t := &store.Filter{Op: store.FilterTest, Field: f, Test: test(x)}
	if match.Eval(x, new(signal.Event)) == match.No {
		t.Ints, t.Texts = bounds(x, f)
	}
	c.tests[key] = t
	return t
}

// pairTest returns a test of an atom that compares two fields.
func pairTest(a *match.Atom) *store.Filter {
	fields := match.Fields(a)
	scalar := func(f signal.Field) bool { return f.Kind() != signal.KindStrings && f.Kind() != signal.KindTime }
	if len(fields) != 2 || match.ReadsAttrs(a) || match.ReadsAll(a) || a.On.Elem || a.Other.Elem || !scalar(fields[0]) || !scalar(fields[1]) {
		return &store.Filter{Op: store.FilterOpen}
	}
	return &store.Filter{Op: store.FilterTest, Field: fields[0], Other: fields[1], Test: test(a)}
}

// attr returns a test of attributes outside of the field table, and of the field where the atom has one: it holds
// where it holds for one of its values, wherever that comes from.
func (c *columnar) attr(a *match.Atom) *store.Filter {
	if a.On.Attr == "" || a.On.Any || a.On.Elem || !eachAlone(a) {
		return &store.Filter{Op: store.FilterOpen}
	}
	name := a.On.Attr
	outside := *a
	outside.On.Field = 0
	f := &store.Filter{Op: store.FilterTest, Attr: func(n string) bool { return match.AttrIs(n, name) }, Test: test(&outside)}
	if a.On.Field == 0 {
		return f
	}
	inside := *a
	inside.On.Attr = ""
	return &store.Filter{Op: store.FilterOr, Parts: []*store.Filter{c.filter(&inside), f}}
}

// test asks a condition about an event.
func test(x match.Expr) func(e *signal.Event) store.Truth {
	return func(e *signal.Event) store.Truth {
		switch match.Eval(x, e) {
		case match.Yes:
			return store.True
		case match.No:
			return store.False
		}
		return store.Open
	}
}

// identity returns a text that atoms share only where they ask the same, "" for what is no atom.
func identity(x match.Expr) string {
	a, ok := x.(*match.Atom)
	if !ok || a.Other != nil {
		return ""
	}
	regex := ""
	if a.Regex != nil {
		regex = a.Regex.String()
	}
	return fmt.Sprintf("%+v %d %t %q %q %v %v %v", a.On, a.Op, a.Fold, a.Texts, regex, a.Ints, a.Numbers, a.Prefixes)
}

// eachAlone reports whether a condition over a list holds exactly where it holds for one of its elements.
func eachAlone(x match.Expr) bool {
	switch x := x.(type) {
	case *match.Atom:
		return x.On.At == 0 && x.On.Measure != match.MeasureCount && x.Other == nil
	case *match.Loop:
		if x.Every || x.List.At != 0 || x.List.Measure == match.MeasureCount {
			return false
		}
		alone := true
		match.Walk(x.Body, func(y match.Expr) bool {
			a, ok := y.(*match.Atom)
			alone = alone && (!ok || a.On.Elem && a.Other == nil)
			_, isFunc := y.(*match.Func)
			alone = alone && !isFunc
			return alone
		})
		return alone
	}
	return false
}

// bounds returns where the values lie for which a condition over one field does not answer no;
// nil where that is anywhere.
func bounds(x match.Expr, f signal.Field) ([]store.IntBounds, []store.TextBounds) {
	switch x := x.(type) {
	case match.And:
		for _, part := range x {
			if ints, texts := bounds(part, f); ints != nil || texts != nil {
				return ints, texts
			}
		}
	case match.Or:
		var ints []store.IntBounds
		var texts []store.TextBounds
		for _, part := range x {
			i, t := bounds(part, f)
			if i == nil && t == nil {
				return nil, nil
			}
			ints, texts = append(ints, i...), append(texts, t...)
		}
		return ints, texts
	case *match.Atom:
		return atomBounds(x, f)
	}
	return nil, nil
}

func atomBounds(a *match.Atom, f signal.Field) (ints []store.IntBounds, texts []store.TextBounds) {
	if a.Fold || a.Other != nil || a.On.At != 0 || len(a.On.Steps) > 0 || a.On.Measure != match.MeasureNone {
		return nil, nil
	}
	switch {
	case a.Op == match.OpInt && f.Kind() == signal.KindInt:
		for _, r := range a.Ints {
			ints = append(ints, store.IntBounds{Min: r.Min, Max: r.Max})
		}
	case f.Kind() == signal.KindString && slices.Contains([]match.Op{match.OpEqual, match.OpPrefix, match.OpPathPrefix}, a.Op):
		for _, t := range a.Texts {
			texts = append(texts, store.TextBounds{Min: t, Max: t})
		}
	}
	return ints, texts
}
