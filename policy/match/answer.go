package match

import (
	"net/netip"
	"slices"

	"github.com/testudo-sec/testudo/internal/textset"
)

// code is a node as it is evaluated: small, since thousands of them must stay near the processor.
type code struct {
	kind   nodeKind
	shared bool
	// from is the atom, or the place in Index.leaves, or the first of the kids in Index.kids, which end before to.
	from, to int32
}

// atom is an atom as the index answers it.
type atom struct {
	of      *Atom
	more    *preparation // nil where there is none
	columns part         // of its values
	tokens  part         // where it holds the event has one of them; empty where they are not looked up
	scanned part         // the columns whose scans find them
	exact   bool         // and where the event has one, it holds
	plain   bool         // it is answered by its definition
	fold    bool
}

// part is a part of Index.numbers.
type part struct{ from, to int32 }

func (x *Index) of(p part) []int32 { return x.numbers[p.from:p.to] }

func (x *Index) keep(numbers []int32) part {
	from := int32(len(x.numbers))
	x.numbers = append(x.numbers, numbers...)
	return part{from, int32(len(x.numbers))}
}

// preparation is what helps to answer an atom for one text.
type preparation struct {
	set    finder   // its constants, where they are many
	empty  bool     // one of them is the empty text
	guards []*guard // of its regular expression, or of each of its patterns
	other  []int32  // columns of Other
}

// finder is a set of constants.
type finder interface {
	Find(string, *textset.Marks)
}

// manyTexts is from how many constants on an atom has a set of its own.
const manyTexts = 8

// atoms makes the atoms of the normalizer's.
func (b *builder) atoms() {
	b.x.atoms = make([]atom, len(b.n.atoms))
	for i, a := range b.n.atoms {
		at := atom{of: a, fold: a.Fold}
		kind := textValues
		switch a.Op {
		case OpExists:
			if !slices.Contains(a.On.Steps, StepBase64) {
				kind = presence
			}
		case OpInt:
			kind = intValues
		case OpNumber:
			kind = numberValues
		case OpCIDR:
			kind = addrValues
		}
		switch {
		case a.On.Elem || a.Op == OpCompare || a.Other != nil && a.Other.Elem:
			at.plain = true
		case a.On.Measure != MeasureNone && (kind == intValues || kind == numberValues):
			at.columns = b.x.keep([]int32{b.column(a.On, kind)})
		default:
			var columns []int32
			for _, o := range a.On.sources() {
				columns = append(columns, b.column(o, kind))
			}
			at.columns = b.x.keep(columns)
			if a.Other != nil {
				at.more = &preparation{}
				for _, o := range a.Other.sources() {
					at.more.other = append(at.more.other, b.column(o, textValues))
				}
			}
		}
		b.x.atoms[i] = at
	}
}

// prepare helps the atoms that their tokens leave open.
func (b *builder) prepare() {
	for i := range b.x.atoms {
		if at := &b.x.atoms[i]; !at.plain && at.of.Other == nil && !(at.exact && at.tokens.to > at.tokens.from) {
			at.more = preparationOf(at.of)
		}
	}
}

func preparationOf(a *Atom) *preparation {
	p := &preparation{}
	switch a.Op {
	case OpRegex:
		g := guardOf(a.Regex.String())
		if g == nil {
			return nil
		}
		p.guards = []*guard{g}
	case OpGlob:
		for _, pattern := range a.Texts {
			g := &guard{}
			if _, piece := longestPiece(pattern); piece != "" {
				g.needs = []required{{piece, a.Fold}}
			}
			p.guards = append(p.guards, g)
		}
	case OpEqual, OpPrefix, OpSuffix, OpContains:
		if len(a.Texts) < manyTexts {
			return nil
		}
		p.many(a)
	default:
		return nil
	}
	return p
}

// many makes the set of an atom with many constants.
func (p *preparation) many(a *Atom) {
	var constants []textset.Constant
	for _, t := range a.Texts {
		if t == "" {
			p.empty = true
			continue
		}
		constants = append(constants, textset.Constant{Text: t, ID: int32(len(constants))})
	}
	switch a.Op {
	case OpEqual:
		p.set = textset.NewEqual(constants)
	case OpPrefix:
		p.set = textset.NewPrefix(constants)
	case OpSuffix:
		p.set = textset.NewSuffix(constants)
	case OpContains:
		p.set = textset.NewContains(constants)
	}
}

// answer returns what a node answers for the event.
func (s *scratch) answer(r ref) Answer {
	n := &s.x.codes[r.number()]
	if n.kind == nodeAtom {
		return Of(s.holds(n.from) != r.turned())
	}
	if n.shared {
		if st := &s.nodes[r.number()]; st.stamp == s.now {
			return st.answer.turn(r)
		}
	}
	var answer Answer
	switch n.kind {
	case nodeConst:
		answer = Yes
	case nodeAnd:
		answer = s.kids(n, Yes, No)
	case nodeOr:
		answer = s.kids(n, No, Yes)
	default:
		answer = eval(s.x.leaves[n.from], &s.scope)
	}
	if n.shared {
		s.nodes[r.number()] = nodeState{s.now, answer}
	}
	return answer.turn(r)
}

// kids returns what the kids of an and or an or answer together: what decides, where one of them answers so.
func (s *scratch) kids(n *code, answer, decides Answer) Answer {
	for _, kid := range s.x.kids[n.from:n.to] {
		var a Answer
		if k := &s.x.codes[kid.number()]; k.kind == nodeAtom { // most are
			st := &s.atoms[k.from]
			if st.stamp != s.now {
				*st = atomState{s.now, s.work(&s.x.atoms[k.from])}
			}
			a = Of(st.yes != kid.turned())
		} else {
			a = s.answer(kid)
		}
		if a == decides {
			return decides
		}
		if a == Fault {
			answer = Fault
		}
	}
	return answer
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
	if at.tokens.from < at.tokens.to && s.isScanned(at) {
		if !s.lit.HasAny(s.x.of(at.tokens)) {
			return false
		}
		if at.exact {
			return true
		}
	}
	if at.plain {
		return at.of.holds(&s.scope)
	}
	for _, c := range s.x.of(at.columns) {
		if s.holdsIn(at, c) {
			return true
		}
	}
	return false
}

func (s *scratch) isScanned(at *atom) bool {
	for _, c := range s.x.of(at.scanned) {
		if s.columns[c].scanned != s.now {
			return false
		}
	}
	return true
}

// holdsIn reports whether an atom holds for a value of one of its columns.
func (s *scratch) holdsIn(at *atom, c int32) bool {
	a, col := at.of, &s.x.columns[c]
	switch a.Op {
	case OpExists:
		if col.kind == presence {
			return s.present(col)
		}
		return s.gather(c) >= 0
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
	for v := s.gather(c); v >= 0; v = s.values[v].next {
		if s.textHolds(at, v) {
			return true
		}
	}
	return false
}

// textHolds reports whether an atom holds for one text.
func (s *scratch) textHolds(at *atom, v int32) bool {
	a := at.of
	if a.Op == OpRegex {
		return (at.more == nil || at.more.guards[0].passes(s, v)) && a.Regex.MatchString(s.values[v].raw)
	}
	text, more := s.form(at, v), at.more
	switch {
	case more == nil:
		for _, c := range a.Texts {
			if textOp(a.Op, text, c) {
				return true
			}
		}
	case a.Other != nil:
		for _, c := range more.other {
			for w := s.gather(c); w >= 0; w = s.values[w].next {
				if textOp(a.Op, text, s.form(at, w)) {
					return true
				}
			}
		}
	case more.set != nil:
		if text == "" {
			return more.empty
		}
		s.local.Clear(len(a.Texts))
		more.set.Find(text, &s.local)
		return len(s.local.Found) > 0
	case a.Op == OpGlob:
		for i, pattern := range a.Texts {
			if more.guards[i].passes(s, v) && GlobMatch(pattern, text) {
				return true
			}
		}
	}
	return false
}

// form returns a value as an atom compares it.
func (s *scratch) form(at *atom, v int32) string {
	if at.fold {
		return s.folded(v)
	}
	return s.values[v].raw
}
