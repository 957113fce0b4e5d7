package match

import "slices"

// Simplify returns a condition that answers alike with fewer parts: constants are worked out, nested And and Or are
// joined, and atoms of an Or that ask the same of the same operand become one, so that a list of a thousand
// values, or a thousand maps with one value each, is one look-up. x stays as it is.
func Simplify(x Expr) Expr {
	switch x := x.(type) {
	case And:
		var all And
		for _, part := range x {
			switch part := Simplify(part).(type) {
			case And:
				all = append(all, part...)
			case Const:
				if !part {
					return Const(false)
				}
			default:
				all = append(all, part)
			}
		}
		return single(all, Const(true))
	case Or:
		var all Or
		for _, part := range x {
			switch part := Simplify(part).(type) {
			case Or:
				all = append(all, part...)
			case Const:
				if part {
					return Const(true)
				}
			default:
				all = append(all, part)
			}
		}
		return single(joinAtoms(all), Const(false))
	case Not:
		switch part := Simplify(x.Part).(type) {
		case Const:
			return !part
		case Not:
			return part.Part
		default:
			return Not{Part: part}
		}
	}
	return x
}

// single returns the one part of an And or an Or, and none for an empty one.
func single[T ~[]Expr](parts T, none Const) Expr {
	switch len(parts) {
	case 0:
		return none
	case 1:
		return parts[0]
	}
	return any(parts).(Expr)
}

// joinAtoms joins the atoms of an Or that ask the same question.
func joinAtoms(parts Or) Or {
	if len(parts) < 2 {
		return parts
	}
	out := make(Or, 0, len(parts))
	at := make(map[string]int)
	own := make(map[int]bool) // atoms of out that were copied: others may stand elsewhere too
	for _, part := range parts {
		a, ok := part.(*Atom)
		if !ok || a.Other != nil || a.Regex != nil {
			out = append(out, part)
			continue
		}
		key := a.question()
		i, seen := at[key]
		if !seen {
			at[key] = len(out)
			out = append(out, part)
			continue
		}
		if !own[i] {
			own[i] = true
			b := *out[i].(*Atom)
			b.Texts, b.Ints = slices.Clone(b.Texts), slices.Clone(b.Ints)
			b.Numbers, b.Prefixes = slices.Clone(b.Numbers), slices.Clone(b.Prefixes)
			out[i] = &b
		}
		b := out[i].(*Atom)
		b.Texts, b.Ints = append(b.Texts, a.Texts...), append(b.Ints, a.Ints...)
		b.Numbers, b.Prefixes = append(b.Numbers, a.Numbers...), append(b.Prefixes, a.Prefixes...)
	}
	return out
}
