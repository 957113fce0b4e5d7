package narrow

import (
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

// Known is what is known of every event of some kind. An operand is known where its field and its attribute are listed; its
// values are those of the examples, none where they have none. What the examples answer differently stays open, so that
// several of them stand for a field of which not all is known.
type Known struct {
	Examples []*signal.Event // at least one
	Fields   map[signal.Field]bool
	Attrs    map[string]bool
	// AttrKnown says of further attributes whether they are known; may be nil.
	AttrKnown func(name string) bool
}

// Assume returns what a condition comes to for events of which that is known: it answers alike for each such event.
func Assume(x match.Expr, k *Known) match.Expr { return match.Simplify(assume(x, k)) }

func assume(x match.Expr, k *Known) match.Expr {
	switch x := x.(type) {
	case match.And:
		all := make(match.And, len(x))
		for i, part := range x {
			all[i] = assume(part, k)
		}
		return all
	case match.Or:
		all := make(match.Or, len(x))
		for i, part := range x {
			all[i] = assume(part, k)
		}
		return all
	case match.Not:
		return match.Not{Part: assume(x.Part, k)}
	case *match.Atom:
		if k.operand(&x.On) && (x.Other == nil || k.operand(x.Other)) {
			return k.agreed(x)
		}
	case *match.Loop:
		if k.operand(&x.List) && k.body(x.Body) {
			return k.agreed(x)
		}
	case *match.Func:
		if (!x.Attrs || x.Attr != "" && k.attr(x.Attr)) && k.fields(x.Fields) {
			return k.agreed(x)
		}
	}
	return x
}

// agreed returns the one answer of all examples, or the condition itself.
func (k *Known) agreed(x match.Expr) match.Expr {
	first := match.Eval(x, k.Examples[0])
	if first == match.Fault {
		return x
	}
	for _, e := range k.Examples[1:] {
		if match.Eval(x, e) != first {
			return x
		}
	}
	return match.Const(first == match.Yes)
}

func (k *Known) fields(all []signal.Field) bool {
	for _, f := range all {
		if !k.Fields[f] {
			return false
		}
	}
	return true
}

func (k *Known) operand(o *match.Operand) bool {
	if o.Any || o.Elem || o.Field != 0 && !k.Fields[o.Field] {
		return false
	}
	return o.Attr == "" || k.attr(o.Attr)
}

func (k *Known) attr(name string) bool {
	return k.Attrs[name] || k.AttrKnown != nil && k.AttrKnown(name)
}

// body reports whether a loop's body asks about what is known and about the loop's value only.
func (k *Known) body(x match.Expr) bool {
	known := true
	match.Walk(x, func(x match.Expr) bool {
		switch x := x.(type) {
		case *match.Atom:
			elem := func(o *match.Operand) bool { return o.Elem && o.Field == 0 && o.Attr == "" || k.operand(o) }
			known = known && elem(&x.On) && (x.Other == nil || elem(x.Other))
		case *match.Loop, *match.Func:
			known = false
		}
		return known
	})
	return known
}
