package match

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/testudo-sec/testudo/signal"
)

// Eval says by the form's definition whether the event matches. It is what [Index] is held
// against, and what evaluates a condition that stands alone.
func Eval(x Expr, e *signal.Event) Answer {
	s := scopes.Get().(*scope)
	s.e = e
	answer := eval(x, s)
	s.e = nil
	if cap(s.room) <= keptText {
		scopes.Put(s)
	}
	return answer
}

// scopes is memory for folded texts.
var scopes = sync.Pool{New: func() any { return new(scope) }}

func eval(x Expr, s *scope) Answer {
	switch x := x.(type) {
	case Const:
		return Of(bool(x))
	case And:
		result := Yes
		for _, part := range x {
			switch eval(part, s) {
			case No:
				return No
			case Fault:
				result = Fault
			}
		}
		return result
	case Or:
		result := No
		for _, part := range x {
			switch eval(part, s) {
			case Yes:
				return Yes
			case Fault:
				result = Fault
			}
		}
		return result
	case Not:
		return eval(x.Part, s).not()
	case *Atom:
		return Of(x.holds(s))
	case *Loop:
		return x.eval(s)
	case *Func:
		return x.Call(s.e)
	}
	return No
}

func (a Answer) not() Answer {
	switch a {
	case Yes:
		return No
	case No:
		return Yes
	}
	return a
}

func (l *Loop) eval(s *scope) Answer {
	decides, result := Yes, No
	if l.Every {
		decides, result = No, Yes
	}
	inner := scope{e: s.e}
	l.List.texts(s, func(v string) bool {
		inner.elem = v
		switch a := eval(l.Body, &inner); a {
		case decides:
			result = decides
			return true
		case Fault:
			result = Fault
		}
		return false
	})
	return result
}

func (a *Atom) holds(s *scope) bool {
	switch a.Op {
	case OpExists:
		return a.On.texts(s, func(string) bool { return true })
	case OpInt:
		return a.On.ints(s, func(n int64) bool {
			return slices.ContainsFunc(a.Ints, func(r IntRange) bool { return r.Min <= n && n <= r.Max })
		})
	case OpNumber:
		return a.On.numbers(s, func(n float64) bool {
			return slices.ContainsFunc(a.Numbers, func(r NumberRange) bool { return r.Has(n) })
		})
	case OpCIDR:
		return a.On.addrs(s, func(addr netip.Addr) bool {
			return slices.ContainsFunc(a.Prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
		})
	case OpCompare:
		return a.On.numbers(s, func(n float64) bool {
			return a.Other.numbers(s, func(m float64) bool { return a.Order.Holds(cmp.Compare(n, m)) })
		})
	}
	return a.On.texts(s, func(v string) bool { return a.textHolds(s, v) })
}

// textHolds reports whether a text operator holds for one value.
func (a *Atom) textHolds(s *scope, v string) bool {
	if a.Op == OpRegex {
		return a.Regex.MatchString(v)
	}
	if !a.Fold {
		return a.compares(s, v)
	}
	from := len(s.room)
	s.room, v = foldInto(s.room, v)
	holds := a.compares(s, v)
	s.room = s.room[:from]
	return holds
}

// compares reports whether a value in the form that is compared fits one of the constants.
func (a *Atom) compares(s *scope, v string) bool {
	if a.Other != nil {
		return a.Other.texts(s, func(c string) bool {
			if a.Fold {
				c = Fold(c)
			}
			return textOp(a.Op, v, c)
		})
	}
	for _, c := range a.Texts {
		if textOp(a.Op, v, c) {
			return true
		}
	}
	return false
}

func textOp(op Op, v, constant string) bool {
	switch op {
	case OpEqual:
		return v == constant
	case OpPrefix:
		return strings.HasPrefix(v, constant)
	case OpSuffix:
		return strings.HasSuffix(v, constant)
	case OpContains:
		return strings.Contains(v, constant)
	case OpGlob:
		return GlobMatch(constant, v)
	case OpPathPrefix:
		return BelowPath(v, constant)
	}
	return false
}

// HoldsText reports whether a text operator other than OpExists holds for one value. The atom's constants are texts or a regular
// expression.
func (a *Atom) HoldsText(v string) bool { return a.textHolds(nil, v) }
