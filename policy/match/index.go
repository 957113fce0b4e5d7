package match

import (
	"slices"
	"sync"

	"github.com/testudo-sec/testudo/internal/textset"
	"github.com/testudo-sec/testudo/signal"
)

// Rule is a condition in an index.
type Rule struct {
	Expr    Expr
	Classes []signal.Class // classes of the events that it reads; nil for all
}

// Index finds which of many conditions an event matches, as [Eval] defines it, in a time that hardly depends
// on how many there are. It is immutable and safe for concurrent use.
//
// All conditions are compiled together. Equal atoms become one, whichever rule and dialect they come from. For
// each rule a set of tokens is chosen of which an event must have one for the rule to be anything but
// No: "the path ends with \hh.exe", "the command line contains stdregprov". The tokens of one operand
// stand in its [column]: hash tables, tries and one filter for literals, through which each value of an
// event goes once. The tokens that an event has light the rules that wait for them, and only those are
// evaluated, what is cheap and decides most first, each atom at most once an event. A rule without such
// a set is evaluated for every event of its classes: [Index.Plan] names it.
type Index struct {
	rules   []compiledRule // those after the first count are gates
	count   int
	codes   []code
	kids    []ref
	leaves  []Expr // loops and functions
	atoms   []atom
	numbers []int32 // of tokens and columns, by atom
	columns []column

	tokens   []token
	postings []int32 // of all tokens, one after another: rules that wait for it

	byField  [][]int32        // columns with tokens by field
	always   []int32          // columns with tokens that are there whatever fields are set
	names    *textset.Equal   // of attributes
	byName   [][]int32        // columns with tokens by the number of the attribute's name
	nameAny  bool             // some column reads an attribute
	classes  []signal.Class   // a bit each; the last bit is for all others
	residual [64][]int32      // rules that wait for no token, by class
	live     uint64           // classes with rules
	exact    [][]signal.Class // by rule, as they were given; nil where every class has a bit of its own

	why    map[int32]string // for plans: why a rule has no access, or what its gate asks
	shared int              // atoms that several conditions ask

	memory sync.Pool // *scratch
}

// Matches holds the answers for an event, by the rules' places in what [NewIndex] was given. Its
// memory is used again by every call.
type Matches struct {
	Fired   []int32 // rules that match, in rising order
	Faulted []int32 // rules that could not be worked out, in rising order
}

type compiledRule struct {
	root    ref
	classes uint64
	opens   int32 // of a gate: the column that is scanned where it does not answer No
	access  *access
	cost    float64 // of an evaluation, in nanoseconds, roughly
}

// token is something that a value of an event may have: equal to a text, in a range.
type token struct {
	spec     spec
	from, to int32 // in Index.postings
}

// otherClass is the bit of the classes that no rule names.
const otherClass = 63

// NewIndex returns the index of these rules.
func NewIndex(rules []Rule) *Index {
	b := newBuilder(rules)
	return b.build()
}

// classBit returns the place of a class among the bits.
func (x *Index) classBit(c signal.Class) uint {
	for i, known := range x.classes {
		if known == c {
			return uint(min(i, otherClass-1))
		}
	}
	return otherClass
}

// Match writes into m which rules the event matches. It allocates nothing but to grow m.
func (x *Index) Match(e *signal.Event, m *Matches) {
	m.Fired, m.Faulted = m.Fired[:0], m.Faulted[:0]
	class := x.classBit(e.Class)
	if x.live>>class&1 == 0 {
		return
	}
	s, ok := x.memory.Get().(*scratch)
	if !ok {
		s = newScratch(x)
	}
	s.begin(e, 1<<class)
	s.light()
	for _, r := range x.residual[class] {
		s.candidate(r, m)
	}
	// What a gate opens adds to Found.
	for i := 0; i < len(s.lit.Found); i++ {
		t := &x.tokens[s.lit.Found[i]]
		for _, r := range x.postings[t.from:t.to] {
			s.candidate(r, m)
		}
	}
	s.end()
	x.memory.Put(s)
	if len(m.Fired) > 1 {
		slices.Sort(m.Fired)
	}
	if len(m.Faulted) > 1 {
		slices.Sort(m.Faulted)
	}
}

// candidate evaluates a rule, once an event.
func (s *scratch) candidate(r int32, m *Matches) {
	rule := &s.x.rules[r]
	if rule.classes&s.class == 0 || s.seen[r] == s.now {
		return
	}
	s.seen[r] = s.now
	answer := s.answer(rule.root)
	if answer == No {
		return
	}
	if rule.opens >= 0 {
		if s.columns[rule.opens].scanned != s.now {
			s.scan(rule.opens)
		}
		return
	}
	if len(s.x.classes) >= otherClass && s.x.exact[r] != nil && !slices.Contains(s.x.exact[r], s.e.Class) {
		return // a class that shares its bit with others
	}
	if answer == Yes {
		m.Fired = append(m.Fired, r)
	} else {
		m.Faulted = append(m.Faulted, r)
	}
}
