package rxset

import "regexp/syntax"

// trim takes from an expression what does not matter to whether it matches somewhere: at its ends, what may as well be missing, and all
// but one of what may be repeated. a*bc+ matches where b c does. Nothing is changed in place.
func trim(re *syntax.Regexp) *syntax.Regexp {
	return trimEnd(trimEnd(re, false), true)
}

func trimEnd(re *syntax.Regexp, left bool) *syntax.Regexp {
	switch re.Op {
	case syntax.OpCapture:
		return trimEnd(re.Sub[0], left)
	case syntax.OpStar, syntax.OpQuest:
		return empty()
	case syntax.OpPlus:
		return trimEnd(re.Sub[0], left)
	case syntax.OpRepeat:
		switch {
		case re.Min == 0:
			return empty()
		case re.Min == 1:
			return trimEnd(re.Sub[0], left)
		}
		last := trimEnd(re.Sub[0], left)
		rest := repeat(re.Sub[0], re.Min-1)
		if left {
			return concat([]*syntax.Regexp{last, rest})
		}
		return concat([]*syntax.Regexp{rest, last})
	case syntax.OpConcat:
		subs := append([]*syntax.Regexp(nil), re.Sub...)
		for len(subs) > 0 {
			at := len(subs) - 1
			if left {
				at = 0
			}
			subs[at] = trimEnd(subs[at], left)
			if subs[at].Op != syntax.OpEmptyMatch {
				break
			}
			subs = append(subs[:at], subs[at+1:]...)
		}
		return concat(subs)
	case syntax.OpAlternate:
		subs := make([]*syntax.Regexp, len(re.Sub))
		for i, sub := range re.Sub {
			if subs[i] = trimEnd(sub, left); subs[i].Op == syntax.OpEmptyMatch {
				return empty()
			}
		}
		return &syntax.Regexp{Op: syntax.OpAlternate, Flags: re.Flags, Sub: subs}
	}
	return re
}

func empty() *syntax.Regexp { return &syntax.Regexp{Op: syntax.OpEmptyMatch} }

func concat(subs []*syntax.Regexp) *syntax.Regexp {
	switch len(subs) {
	case 0:
		return empty()
	case 1:
		return subs[0]
	}
	return &syntax.Regexp{Op: syntax.OpConcat, Sub: subs}
}

// repeat returns n times the expression.
func repeat(re *syntax.Regexp, n int) *syntax.Regexp {
	if n == 1 {
		return re
	}
	return &syntax.Regexp{Op: syntax.OpRepeat, Min: n, Max: n, Sub: []*syntax.Regexp{re}}
}
