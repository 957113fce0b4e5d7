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
	// Class is for sets of which [Set.MatchWanted] is asked for a part each time: patterns that are wanted together have one class. Only
	// patterns of one class share an automaton, which is run if one of them is wanted. It does not change what is found.
	Class int
	// Plain answers where the automata give up. Nil stands for the regexp package, where the expression is compiled
	// when it is first needed.
	Plain Matcher
}

// Matcher reports whether an expression matches somewhere in a text. *regexp.Regexp is one.
type Matcher interface {
	MatchString(text string) bool
}

// defaultMemory is what the automata of a set may take where nobody says.
const defaultMemory = 64 << 20

// Options bound a set.
type Options struct {
	// Memory bounds the bytes of the automata's states together; 0 stands for 64 MiB, and each automaton has 64 KiB at
	// least. A table that is replaced by a larger or an empty one lives until the texts that are being read with it are over.
	Memory int
	// Small makes many small automata instead of few large ones: more reads a byte, and far fewer states for texts that are new.
	Small bool
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
	often          int         // the first of the groups, that look at every text as well
	always         Bits        // candidates for every text
	unasked        Bits        // those that one factor makes candidates
	dictionary     *dictionary // nil: no pattern has words
	grouped        Bits        // those that a group is for
	steppers       sync.Pool
	fuelBase       int

	fallbacks, plains atomic.Int64
	// failures grows with each text that try gave up though it computed states, skip is how many texts from then on are given up where they miss one: computing
	// states for what is new gains nothing.
	failures, skip atomic.Int32
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
		o.Memory = defaultMemory
	}
	s := &Set{fuelBase: fuelBase, patterns: make([]pattern, len(patterns)), always: NewBits(len(patterns)), unasked: NewBits(len(patterns))}
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
	pl := newPlanner(s, trees, o)
	pl.plan()
	var err error
	if s.dictionary, err = newDictionary(pl.words); err != nil {
		return nil, err
	}
	s.grouped = NewBits(len(patterns))
	for i := range s.patterns {
		if s.patterns[i].group >= 0 {
			s.grouped.Add(i)
		}
	}
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
	cursors    [2]cursor
	hits       [3][]uint64 // of each cursor, and one to spare
	fuel       int
	result     Bits
	candidates Bits     // by their first factor, or always
	asked      Bits     // by their second factor, or without one
	ran        []bool   // by group
	groups     []*group // to run
	strict     bool     // give the text up where an automaton does
}

// NewScratch returns a scratch for this set.
func (s *Set) NewScratch() *Scratch {
	widest := 0
	for _, g := range append(s.fronts[:len(s.fronts):len(s.fronts)], s.groups...) {
		widest = max(widest, len(g.members))
	}
	m := &Scratch{result: NewBits(len(s.patterns)), candidates: NewBits(len(s.patterns)), asked: NewBits(len(s.patterns)), ran: make([]bool, len(s.groups))}
	for i := range m.hits {
		m.hits[i] = NewBits(widest)
	}
	m.groups = make([]*group, 0, len(s.fronts)+len(s.groups))
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
	m.fuel = s.fuel(len(text))
	s.match(text, wanted, m)
	return m.result
}

// try is MatchWanted with less work, and false where that does not suffice: then nothing is left to the plain matchers, and what was found is not all.
func (s *Set) try(text string, wanted Bits, m *Scratch) bool {
	learn := s.skip.Load() <= 0 || s.skip.Add(-1) < 0
	m.fuel, m.strict = 0, true
	if learn {
		m.fuel = tryBase + tryPerByte*len(text)
	}
	before := m.fuel
	ok := s.match(text, wanted, m)
	m.strict = false
	switch {
	case !ok && learn:
		n := min(2*s.failures.Load()+1, maxTrySkip)
		s.failures.Store(n)
		s.skip.Store(n)
	case ok && m.fuel < before:
		if n := s.failures.Load(); n > 0 {
			s.failures.Store(n / 2)
		}
	}
	return ok
}

// match fills the scratch's result. It reports false where the text was given up, which a strict scratch asks for.
func (s *Set) match(text string, wanted Bits, m *Scratch) bool {
	m.view.set(text)
	defer m.release()
	clear(m.result)
	clear(m.ran)
	copy(m.candidates, s.always)
	copy(m.asked, s.unasked)
	m.groups = m.groups[:0]
	for _, g := range s.fronts {
		if wanted == nil || g.has(wanted) {
			m.groups = append(m.groups, g)
		}
	}
	for i, g := range s.groups[:s.often] {
		if wanted == nil || g.has(wanted) {
			m.groups = append(m.groups, g)
		}
		m.ran[i] = true
	}
	few := s.few(wanted, m)
	if !s.run(m) {
		return false
	}
	if s.dictionary != nil && !few {
		s.dictionary.find(&m.view, m.candidates)
	}
	m.groups = m.groups[:0]
	for i := range m.candidates {
		w := m.candidates[i] & m.asked[i] &^ m.result[i]
		if wanted != nil {
			w &= wanted[i]
		}
		for m.candidates[i] = w; w != 0; w &= w - 1 {
			s.confirm(i<<6+bits.TrailingZeros64(w), m)
		}
	}
	return s.run(m)
}

// few reports whether the wanted patterns that have words are in so few groups that asking these is less work than looking for words. Then it
// adds them to those that are to run.
func (s *Set) few(wanted Bits, m *Scratch) bool {
	if wanted == nil || s.dictionary == nil {
		return false
	}
	for i, w := range s.dictionary.all {
		if w&wanted[i]&^s.grouped[i] != 0 {
			return false // no group would tell
		}
	}
	before := len(m.groups)
	for i, g := range s.groups[s.often:] {
		if !g.worded || !g.has(wanted) {
			continue
		}
		if len(m.groups)-before == fewGroups {
			for _, g := range m.groups[before:] {
				m.ran[s.patterns[g.members[0].pattern].group] = false
			}
			m.groups = m.groups[:before]
			return false
		}
		m.groups = append(m.groups, g)
		m.ran[s.often+i] = true
	}
	for _, g := range m.groups[before:] {
		for i, w := range g.patterns {
			m.candidates[i] |= w & wanted[i] // for the plain matcher, where the automaton gives up
		}
	}
	return true
}

// release lets go of the text.
func (m *Scratch) release() {
	m.view.release()
	for i := range m.cursors {
		m.cursors[i] = cursor{} // a table that was replaced meanwhile is not held
	}
}

// fuel is the work that may be spent on computing transitions for a text.
func (s *Set) fuel(bytes int) int {
	return s.fuelBase + len(s.patterns)*(fuelPerPattern+fuelPerByte*bytes)
}

// confirm sees to it that a candidate is looked for.
func (s *Set) confirm(i int, m *Scratch) {
	switch g := s.patterns[i].group; {
	case g < 0:
		s.plain(i, m)
	case !m.ran[g]:
		m.ran[g] = true
		m.groups = append(m.groups, s.groups[g])
	}
}

// run makes the scratch's groups look at the text, two at a time.
func (s *Set) run(m *Scratch) bool {
	for i := 0; i < len(m.groups); i += 2 {
		a, b := m.groups[i], (*group)(nil)
		if i+1 < len(m.groups) {
			b = m.groups[i+1]
		}
		m.look(a, b)
		if m.strict && (m.cursors[0].failed || b != nil && m.cursors[1].failed) {
			return false
		}
		s.take(a, &m.cursors[0], m)
		if b != nil {
			s.take(b, &m.cursors[1], m)
		}
	}
	return true
}

// take reads what a group found. What it did not find out is left to the plain matchers, or to another group.
func (s *Set) take(g *group, c *cursor, m *Scratch) {
	for i, w := range c.hits {
		for ; w != 0; w &= w - 1 {
			g.members[i<<6+bits.TrailingZeros64(w)].hit(m)
		}
	}
	if !c.failed {
		return
	}
	s.fallbacks.Add(1)
	for i, member := range g.members {
		switch {
		case Bits(c.hits).Has(i):
		case !member.exact:
			member.hit(m)
		case g.front || m.candidates.Has(int(member.pattern)):
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
