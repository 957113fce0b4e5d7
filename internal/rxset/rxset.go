package rxset

import (
	"fmt"
	"math/bits"
	"regexp"
	"regexp/syntax"
	"sync"
	"sync/atomic"
	"unsafe"
)

// Pattern is one expression to look for.
type Pattern struct {
	// Expr is in the syntax of the regexp package, flags included.
	Expr string
	// Binary makes each byte of a text the character of that number, up to U+00FF, as rsc.io/binaryregexp does. Otherwise texts
	// are UTF-8.
	Binary bool
	// Plain answers where the automata give up. Nil stands for the regexp package, where the expression is compiled
	// when it is first needed.
	Plain Matcher
}

// Matcher reports whether an expression matches somewhere in a text. *regexp.Regexp is one.
type Matcher interface {
	MatchString(text string) bool
}

// Options bound a set.
type Options struct {
	// Memory bounds the bytes of the automata's states together; 0 stands for 64 MiB. While a table is replaced by the
	// next, those who still read the old one keep it.
	Memory int
	// Samples are texts such as the set will see, in addition to its own, by which New measures how expressions get along in
	// one automaton.
	Samples []string
}

// Bits is a set of numbers of patterns.
type Bits []uint64

// Has reports whether a number is in the set.
func (b Bits) Has(i int) bool { return b[i>>6]>>(i&63)&1 != 0 }

// Add puts a number in.
func (b Bits) Add(i int) { b[i>>6] |= 1 << (i & 63) }

// Any reports whether the set is not empty.
func (b Bits) Any() bool {
	for _, w := range b {
		if w != 0 {
			return true
		}
	}
	return false
}

// NewBits returns an empty set for numbers below n.
func NewBits(n int) Bits { return make(Bits, (n+63)/64) }

// Set is compiled patterns. It is safe for concurrent use, each goroutine with a [Scratch] of its own.
type Set struct {
	patterns []pattern
	// fronts look at every text. groups only at those which they are candidates for.
	fronts, groups []*group
	always         Bits // candidates for every text
	unasked        Bits // those that one factor makes candidates
	steppers       sync.Pool

	fallbacks, plains atomic.Int64
}

// pattern is what becomes of a Pattern.
type pattern struct {
	Pattern
	group int32 // that tells whether it matches; -1: a front does, or the plain matcher
	exact bool  // a front does

	once     sync.Once
	compiled *regexp.Regexp
}

// matchPlain asks the regexp package.
func (p *pattern) matchPlain(v *view) bool {
	if p.Plain != nil {
		return p.Plain.MatchString(v.raw)
	}
	p.once.Do(func() { p.compiled = regexp.MustCompile(p.Expr) }) // New parsed it
	if p.Binary {
		return p.compiled.MatchString(v.bytes())
	}
	return p.compiled.MatchString(v.raw)
}

// New compiles patterns. An expression that is wrong is an error.
func New(patterns []Pattern, o Options) (*Set, error) {
	if o.Memory <= 0 {
		o.Memory = 64 << 20
	}
	s := &Set{patterns: make([]pattern, len(patterns)), always: NewBits(len(patterns)), unasked: NewBits(len(patterns))}
	s.steppers.New = func() any { return new(stepper) }
	trees := make([]*syntax.Regexp, len(patterns))
	for i, p := range patterns {
		re, err := parse(p.Expr)
		if err != nil {
			return nil, fmt.Errorf("pattern %d: %w", i, err)
		}
		s.patterns[i].Pattern, s.patterns[i].group = p, -1
		trees[i] = re
	}
	newPlanner(s, trees, o).plan()
	return s, nil
}

// parse returns what of an expression matters.
func parse(expr string) (*syntax.Regexp, error) {
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil, err
	}
	return trim(re), nil
}

// Len returns the number of patterns.
func (s *Set) Len() int { return len(s.patterns) }

// Scratch is what a goroutine needs to match, and has the answer. Making one is dear, and it grows to what texts need.
type Scratch struct {
	view       view
	run        run
	result     Bits
	candidates Bits   // by their first factor, or always
	asked      Bits   // by their second factor, or without one
	ran        []bool // by group
	saved      []uint64
}

// NewScratch returns a scratch for this set.
func (s *Set) NewScratch() *Scratch {
	widest := 0
	for _, g := range append(s.fronts[:len(s.fronts):len(s.fronts)], s.groups...) {
		widest = max(widest, len(g.members))
	}
	m := &Scratch{result: NewBits(len(s.patterns)), candidates: NewBits(len(s.patterns)), asked: NewBits(len(s.patterns)), ran: make([]bool, len(s.groups))}
	m.run.hits, m.saved = NewBits(widest), NewBits(widest)
	return m
}

// MatchBytes is Match over bytes, which must not change meanwhile.
func (s *Set) MatchBytes(text []byte, m *Scratch) Bits {
	return s.Match(unsafe.String(unsafe.SliceData(text), len(text)), m)
}

// Match returns the patterns that match somewhere in the text. The answer is the scratch's, until it is used again.
func (s *Set) Match(text string, m *Scratch) Bits {
	return s.MatchWanted(text, nil, m)
}

// MatchWanted is Match for those patterns alone that are wanted; nil stands for all. Others may be left out of the answer.
func (s *Set) MatchWanted(text string, wanted Bits, m *Scratch) Bits {
	v := &m.view
	v.set(text)
	clear(m.result)
	copy(m.candidates, s.always)
	copy(m.asked, s.unasked)
	m.run.fuel = len(s.patterns) * (fuelPerPattern + len(text))
	for _, f := range s.fronts {
		s.front(f, m)
	}
	any := uint64(0)
	for i := range m.candidates {
		m.candidates[i] &= m.asked[i]
		if wanted != nil {
			m.candidates[i] &= wanted[i]
		}
		m.candidates[i] &^= m.result[i]
		any |= m.candidates[i]
	}
	if any != 0 {
		clear(m.ran)
		for i, w := range m.candidates {
			for ; w != 0; w &= w - 1 {
				s.confirm(i<<6+bits.TrailingZeros64(w), m)
			}
		}
	}
	v.release()
	return m.result
}

// front runs an automaton that every text is shown to.
func (s *Set) front(g *group, m *Scratch) {
	ok := g.scan(m)
	for i, w := range m.run.hits[:g.words] {
		for ; w != 0; w &= w - 1 {
			g.members[i<<6+bits.TrailingZeros64(w)].hit(m)
		}
	}
	if ok {
		return
	}
	s.fallbacks.Add(1)
	for i, member := range g.members {
		switch {
		case Bits(m.run.hits).Has(i):
		case member.exact:
			s.plain(int(member.pattern), m)
		default:
			member.hit(m)
		}
	}
}

// confirm finds out whether a candidate matches.
func (s *Set) confirm(i int, m *Scratch) {
	p := &s.patterns[i]
	if p.group < 0 {
		s.plain(i, m)
		return
	}
	if m.ran[p.group] {
		return
	}
	m.ran[p.group] = true
	g := s.groups[p.group]
	ok := g.scan(m)
	for j, w := range m.run.hits[:g.words] {
		for ; w != 0; w &= w - 1 {
			m.result.Add(int(g.members[j<<6+bits.TrailingZeros64(w)].pattern))
		}
	}
	if ok {
		return
	}
	s.fallbacks.Add(1)
	for _, member := range g.members {
		if m.candidates.Has(int(member.pattern)) && !m.result.Has(int(member.pattern)) {
			s.plain(int(member.pattern), m)
		}
	}
}

func (s *Set) plain(i int, m *Scratch) {
	s.plains.Add(1)
	if s.patterns[i].matchPlain(&m.view) {
		m.result.Add(i)
	}
}
