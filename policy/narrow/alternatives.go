package narrow

import "github.com/testudo-sec/testudo/policy/match"

// Alternatives returns what must hold together, in each way that a condition can hold: the condition holds where all parts of one
// alternative do. Parts are atoms, loops, functions, and nots of these. It returns false where there are more
// than limit alternatives. A condition that always holds has one alternative without parts, one that never does has none.
func Alternatives(x match.Expr, limit int) ([]match.And, bool) {
	return alternatives(match.Simplify(x), false, limit)
}

func alternatives(x match.Expr, turned bool, limit int) ([]match.And, bool) {
	switch x := x.(type) {
	case match.Const:
		if bool(x) == turned {
			return nil, true
		}
		return []match.And{{}}, true
	case match.Not:
		return alternatives(x.Part, !turned, limit)
	case match.And:
		return combine(x, !turned, turned, limit)
	case match.Or:
		return combine(x, turned, turned, limit)
	case *match.Atom:
		if never(x) {
			return alternatives(match.Const(false), turned, limit)
		}
	}
	if turned {
		return []match.And{{match.Not{Part: x}}}, true
	}
	return []match.And{{x}}, true
}

// never reports whether an atom compares with nothing, as with an empty list, and so holds for no event.
func never(a *match.Atom) bool {
	if a.Other != nil {
		return false
	}
	switch a.Op {
	case match.OpEqual, match.OpPrefix, match.OpSuffix, match.OpContains, match.OpGlob, match.OpPathPrefix:
		return len(a.Texts) == 0
	case match.OpInt:
		return len(a.Ints) == 0
	case match.OpNumber:
		return len(a.Numbers) == 0
	case match.OpCIDR:
		return len(a.Prefixes) == 0
	}
	return false
}

// combine returns the alternatives of parts that must all hold, or of which one must.
func combine(parts []match.Expr, all, turned bool, limit int) ([]match.And, bool) {
	var sum []match.And
	if all {
		sum = []match.And{{}}
	}
	for _, part := range parts {
		of, ok := alternatives(part, turned, limit)
		if !ok {
			return nil, false
		}
		if !all {
			sum = append(sum, of...)
		} else {
			if len(sum)*len(of) > limit {
				return nil, false
			}
			var longer []match.And
			for _, a := range sum {
				for _, b := range of {
					longer = append(longer, append(a[:len(a):len(a)], b...))
				}
			}
			sum = longer
		}
		if len(sum) > limit {
			return nil, false
		}
	}
	return sum, true
}
