package match

import (
	"net/netip"
	"slices"

	"github.com/testudo-sec/testudo/internal/textset"
)

// atom is an atom as the index answers it.
type atom struct {
	of      *Atom
	column  int32   // of its values; -1 where it is answered by its definition
	tokens  []int32 // where it holds the event has one of them; nil where they are not looked up
	scanned int32   // the column whose scan finds them
	exact   bool    // and where the event has one, it holds
	fold    bool
	set     interface {
		Find(string, *textset.Marks)
	} // its constants, where they are many
	empty bool // one of them is the empty text
}

// manyTexts is from how many constants on an atom has a set of its own.
const manyTexts = 8

// atoms makes the atoms of the normalizer's.
func (b *builder) atoms() {
	b.x.atoms = make([]atom, len(b.n.atoms))
	for i, a := range b.n.atoms {
		at := atom{of: a, column: -1, fold: a.Fold}
		switch {
		case a.On.Elem || a.Other != nil || a.Op == OpCompare:
		case a.Op == OpExists:
			at.column = b.column(a.On, textValues)
			if !slices.Contains(a.On.Steps, StepBase64) {
				at.column = b.column(a.On, presence)
			}
		case a.Op == OpInt:
			at.column = b.column(a.On, intValues)
		case a.Op == OpNumber:
			at.column = b.column(a.On, numberValues)
		case a.Op == OpCIDR:
			at.column = b.column(a.On, addrValues)
		default:
			at.column = b.column(a.On, textValues)
			at.many()
		}
		b.x.atoms[i] = at
	}
}

// many makes the set of an atom with many constants.
func (at *atom) many() {
	if len(at.of.Texts) < manyTexts {
		return
	}
	var constants []textset.Constant
	for _, t := range at.of.Texts {
		if t == "" {
			at.empty = true
			continue
		}
		constants = append(constants, textset.Constant{Text: t, ID: int32(len(constants))})
	}
	switch at.of.Op {
	case OpEqual:
		at.set = textset.NewEqual(constants)
	case OpPrefix:
		at.set = textset.NewPrefix(constants)
	case OpSuffix:
		at.set = textset.NewSuffix(constants)
	case OpContains:
		at.set = textset.NewContains(constants)
	}
}

// answer returns what a node answers for the event.
func (s *scratch) answer(r ref) Answer {
	n := &s.x.nodes[r.number()]
	switch n.kind {
	case nodeConst:
		return Of(!r.turned())
	case nodeAtom:
		return Of(s.holds(n.atom) != r.turned())
	}
	if n.shared {
		if st := &s.nodes[r.number()]; st.stamp == s.now {
			return st.answer.turn(r)
		}
	}
	var answer Answer
	switch n.kind {
	case nodeAnd:
		answer = Yes
		for _, kid := range n.kids {
			if a := s.answer(kid); a == No {
				answer = No
				break
			} else if a == Fault {
				answer = Fault
			}
		}
	case nodeOr:
		answer = No
		for _, kid := range n.kids {
			if a := s.answer(kid); a == Yes {
				answer = Yes
				break
			} else if a == Fault {
				answer = Fault
			}
		}
	default:
		answer = eval(n.leaf, &s.scope)
	}
	if n.shared {
		s.nodes[r.number()] = nodeState{s.now, answer}
	}
	return answer.turn(r)
}

func (a Answer) turn(r ref) Answer {
	if r.turned() {
		return a.not()
	}
	return a
}

// holds reports whether an atom holds for the event. It is worked out once.
func (s *scratch) holds(i int32) bool {
	st := &s.atoms[i]
	if st.stamp != s.now {
		*st = atomState{s.now, s.work(&s.x.atoms[i])}
	}
	return st.yes
}

func (s *scratch) work(at *atom) bool {
	if at.tokens != nil && s.columns[at.scanned].scanned == s.now {
		if !s.lit.HasAny(at.tokens) {
			return false
		}
		if at.exact {
			return true
		}
	}
	a := at.of
	if at.column < 0 {
		return a.holds(&s.scope)
	}
	col := &s.x.columns[at.column]
	switch a.Op {
	case OpExists:
		if col.kind == presence {
			return s.present(col)
		}
		return s.gather(at.column) >= 0
	case OpInt:
		return s.eachInt(col, func(n int64) bool {
			for _, r := range a.Ints {
				if r.Min <= n && n <= r.Max {
					return true
				}
			}
			return false
		})
	case OpNumber:
		return s.eachNumber(col, func(n float64) bool {
			return slices.ContainsFunc(a.Numbers, func(r NumberRange) bool { return r.Has(n) })
		})
	case OpCIDR:
		return s.eachAddr(col, func(addr netip.Addr) bool {
			return slices.ContainsFunc(a.Prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
		})
	}
	for v := s.gather(at.column); v >= 0; v = s.values[v].next {
		text := s.values[v].raw
		if at.fold {
			text = s.folded(v)
		}
		if s.textHolds(at, text) {
			return true
		}
	}
	return false
}

// textHolds reports whether an atom holds for one text.
func (s *scratch) textHolds(at *atom, text string) bool {
	a := at.of
	switch {
	case a.Op == OpRegex:
		return a.Regex.MatchString(text)
	case at.set != nil:
		if text == "" {
			return at.empty
		}
		s.local.Clear(len(a.Texts))
		at.set.Find(text, &s.local)
		return len(s.local.Found) > 0
	}
	for _, c := range a.Texts {
		if textOp(a.Op, text, c) {
			return true
		}
	}
	return false
}
