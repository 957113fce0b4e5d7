package sigma

import (
	"slices"

	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

// simplify returns a condition that answers alike with fewer parts: nested And and Or are joined, and atoms of an Or
// that ask the same operand with the same operator become one, so that a list of a thousand values, or a thousand maps
// with one value each, is one look-up.
func simplify(x match.Expr) match.Expr {
	switch x := x.(type) {
	case match.And:
		var all match.And
		for _, part := range x {
			switch part := simplify(part).(type) {
			case match.And:
				all = append(all, part...)
			case match.Const:
				if !part {
					return match.Const(false)
				}
			default:
				all = append(all, part)
			}
		}
		return single(all, match.Const(true))
	case match.Or:
		var all match.Or
		for _, part := range x {
			switch part := simplify(part).(type) {
			case match.Or:
				all = append(all, part...)
			case match.Const:
				if part {
					return match.Const(true)
				}
			default:
				all = append(all, part)
			}
		}
		return single(merge(all), match.Const(false))
	case match.Not:
		switch part := simplify(x.Part).(type) {
		case match.Const:
			return !part
		case match.Not:
			return part.Part
		default:
			return match.Not{Part: part}
		}
	}
	return x
}

// single returns the one part of an And or an Or, and none for an empty one.
func single[T ~[]match.Expr](parts T, none match.Const) match.Expr {
	switch len(parts) {
	case 0:
		return none
	case 1:
		return parts[0]
	}
	return any(parts).(match.Expr)
}

// mergeKey is what atoms must have in common to be one.
type mergeKey struct {
	field signal.Field
	attr  string
	every bool
	op    match.Op
	fold  bool
}

// merge joins the atoms of an Or that may be one.
func merge(parts match.Or) match.Or {
	if len(parts) < 2 {
		return parts
	}
	out := make(match.Or, 0, len(parts))
	at := make(map[mergeKey]int)
	own := make(map[int]bool) // atoms of out that were copied: others may stand elsewhere too
	for _, part := range parts {
		a, ok := part.(*match.Atom)
		if !ok || a.Other != nil || a.Regex != nil || len(a.On.Steps) > 0 {
			out = append(out, part)
			continue
		}
		key := mergeKey{a.On.Field, a.On.Attr, a.On.Any, a.Op, a.Fold}
		i, seen := at[key]
		if !seen {
			at[key] = len(out)
			out = append(out, part)
			continue
		}
		if !own[i] {
			own[i] = true
			b := *out[i].(*match.Atom)
			b.Texts, b.Ints = slices.Clone(b.Texts), slices.Clone(b.Ints)
			b.Numbers, b.Prefixes = slices.Clone(b.Numbers), slices.Clone(b.Prefixes)
			out[i] = &b
		}
		b := out[i].(*match.Atom)
		b.Texts, b.Ints = append(b.Texts, a.Texts...), append(b.Ints, a.Ints...)
		b.Numbers, b.Prefixes = append(b.Numbers, a.Numbers...), append(b.Prefixes, a.Prefixes...)
	}
	return out
}
