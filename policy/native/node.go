package native

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"

	"github.com/testudo-sec/testudo/signal"
)

// answer is what a node makes of an event. CEL's && and || work with three values: a side
// that decides makes the other's fault not matter, in either order.
type answer uint8

const (
	no answer = iota
	yes
	fault
)

func answerOf(b bool) answer {
	if b {
		return yes
	}
	return no
}

// node is a part of a planned condition. elem is the value of the variable of the
// exists or all around it. Nodes are immutable and do not allocate, but for leaf.
type node interface {
	eval(e *signal.Event, elem string) answer
	// cost is a rough order of what eval takes, to ask the cheap parts first.
	cost() int
}

type constant bool

func (n constant) eval(*signal.Event, string) answer { return answerOf(bool(n)) }
func (n constant) cost() int                         { return 0 }

type and []node

func (n and) eval(e *signal.Event, elem string) answer {
	result := yes
	for _, part := range n {
		switch part.eval(e, elem) {
		case no:
			return no
		case fault:
			result = fault
		}
	}
	return result
}

type or []node

func (n or) eval(e *signal.Event, elem string) answer {
	result := no
	for _, part := range n {
		switch part.eval(e, elem) {
		case yes:
			return yes
		case fault:
			result = fault
		}
	}
	return result
}

func (n and) cost() int { return sumCost(n) }
func (n or) cost() int  { return sumCost(n) }

func sumCost(parts []node) int {
	sum := 0
	for _, part := range parts {
		sum += part.cost()
	}
	return sum
}

type not struct{ part node }

func (n not) eval(e *signal.Event, elem string) answer {
	switch n.part.eval(e, elem) {
	case yes:
		return no
	case no:
		return yes
	}
	return fault
}

func (n not) cost() int { return n.part.cost() }

// boolField is a boolean field.
type boolField signal.Field

func (n boolField) eval(e *signal.Event, _ string) answer { return answerOf(e.Bool(signal.Field(n))) }
func (n boolField) cost() int                             { return 1 }

// present is has(field).
type present signal.Field

func (n present) eval(e *signal.Event, _ string) answer { return answerOf(e.Has(signal.Field(n))) }
func (n present) cost() int                             { return 1 }

// first is metadata.correlation_uid == "", without making the id's text.
type first struct{}

func (first) eval(e *signal.Event, _ string) answer { return answerOf(e.Parent.IsZero()) }
func (first) cost() int                             { return 1 }

// order is an operator that compares.
type order uint8

const (
	equal order = iota
	unequal
	less
	lessEqual
	greater
	greaterEqual
)

func (o order) holds(c int) answer {
	switch o {
	case equal:
		return answerOf(c == 0)
	case unequal:
		return answerOf(c != 0)
	case less:
		return answerOf(c < 0)
	case lessEqual:
		return answerOf(c <= 0)
	case greater:
		return answerOf(c > 0)
	}
	return answerOf(c >= 0)
}

// number is an integer operand: a literal, a field, or the size of a list or text.
type number struct {
	literal int64
	field   signal.Field // where it is set
	list    bool         // size of the field's list
	text    *text        // size of a text in characters
}

func (n *number) value(e *signal.Event, elem string) int64 {
	switch {
	case n.text != nil:
		return int64(utf8.RuneCountInString(n.text.raw(e, elem)))
	case n.list:
		return int64(len(e.Strings(n.field)))
	case n.field != 0:
		return e.Int(n.field)
	}
	return n.literal
}

type compareNumbers struct {
	a, b number
	op   order
}

func (n *compareNumbers) eval(e *signal.Event, elem string) answer {
	a, b := n.a.value(e, elem), n.b.value(e, elem)
	switch {
	case a < b:
		return n.op.holds(-1)
	case a > b:
		return n.op.holds(1)
	}
	return n.op.holds(0)
}

func (n *compareNumbers) cost() int { return 1 }

type numberIn struct {
	a   number
	set []int64 // sorted
}

func (n *numberIn) eval(e *signal.Event, elem string) answer {
	_, found := slices.BinarySearch(n.set, n.a.value(e, elem))
	return answerOf(found)
}

func (n *numberIn) cost() int { return 2 }

// step is a change that a text goes through before it is looked at.
type step uint8

const (
	stepLower step = iota
	stepDecode
)

func (s step) needed(v string) bool {
	if s == stepLower {
		return hasUpper(v)
	}
	return strings.IndexByte(v, '%') >= 0
}

func (s step) append(b []byte, v string) []byte {
	if s == stepLower {
		return appendLower(b, v)
	}
	return appendDecoded(b, v)
}

// text is a string operand: a literal, a field, or the element of the loop around it.
type text struct {
	literal string
	field   signal.Field // where it is set
	elem    bool
	steps   []step // innermost first; a literal has none
}

func (t *text) raw(e *signal.Event, elem string) string {
	switch {
	case t.elem:
		return elem
	case t.field != 0:
		return e.Str(t.field)
	}
	return t.literal
}

// scratch is memory for texts that go through steps.
type scratch struct{ a, b []byte }

// keep bounds what a scratch holds on to between events.
const keep = 64 << 10

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// apply takes v through the steps. What it returns lives until the scratch is used again.
func (s *scratch) apply(steps []step, v string) string {
	for _, st := range steps {
		if !st.needed(v) {
			continue
		}
		// v may lie in a: write into b, then swap.
		s.b = st.append(s.b[:0], v)
		s.a, s.b = s.b, s.a
		v = view(s.a)
	}
	return v
}

func (s *scratch) free() {
	if cap(s.a) <= keep && cap(s.b) <= keep {
		scratches.Put(s)
	}
}

// textOp is what is asked about a text.
type textOp uint8

const (
	opEqual textOp = iota
	opUnequal
	opLess
	opLessEqual
	opGreater
	opGreaterEqual
	opContains
	opPrefix
	opSuffix
	opIn
	opMatches
)

type testText struct {
	val text
	op  textOp
	arg text                // without steps; unused by opIn and opMatches
	set map[string]struct{} // opIn
	re  *regexp.Regexp      // opMatches
}

func (n *testText) eval(e *signal.Event, elem string) answer {
	v := n.val.raw(e, elem)
	for _, st := range n.val.steps {
		if st.needed(v) {
			return n.evalChanged(e, elem, v)
		}
		// A later step may only be needed for what an earlier one makes: none of them is, if
		// none is needed for the text as it is.
	}
	return n.test(v, e, elem)
}

func (n *testText) evalChanged(e *signal.Event, elem, v string) answer {
	s := scratches.Get().(*scratch)
	result := n.test(s.apply(n.val.steps, v), e, elem)
	s.free()
	return result
}

func (n *testText) test(v string, e *signal.Event, elem string) answer {
	switch n.op {
	case opIn:
		_, found := n.set[v]
		return answerOf(found)
	case opMatches:
		return answerOf(n.re.MatchString(v))
	}
	arg := n.arg.raw(e, elem)
	switch n.op {
	case opEqual:
		return answerOf(v == arg)
	case opUnequal:
		return answerOf(v != arg)
	case opContains:
		return answerOf(strings.Contains(v, arg))
	case opPrefix:
		return answerOf(strings.HasPrefix(v, arg))
	case opSuffix:
		return answerOf(strings.HasSuffix(v, arg))
	}
	return order(n.op).holds(strings.Compare(v, arg)) // opLess to opGreaterEqual are order's
}

func (n *testText) cost() int {
	c := 2
	switch n.op {
	case opContains:
		c = 6
	case opMatches:
		c = 30
	}
	return c + 6*len(n.val.steps)
}

// listHas is text in list.
type listHas struct {
	list signal.Field
	val  text
}

func (n *listHas) eval(e *signal.Event, elem string) answer {
	list := e.Strings(n.list)
	if len(list) == 0 {
		return no
	}
	return answerOf(slices.Contains(list, n.val.raw(e, elem)))
}

func (n *listHas) cost() int { return 4 }

// loop is list.exists(x, body), or list.all(x, body) where every is set.
type loop struct {
	field signal.Field // a list field; 0 for items
	items []text       // a list that is written out, of literals and text fields
	every bool
	body  node
}

func (n *loop) eval(e *signal.Event, _ string) answer {
	decides, result := yes, no
	if n.every {
		decides, result = no, yes
	}
	for _, item := range e.Strings(n.field) {
		switch a := n.body.eval(e, item); a {
		case decides:
			return decides
		case fault:
			result = fault
		}
	}
	for i := range n.items {
		switch a := n.body.eval(e, n.items[i].raw(e, "")); a {
		case decides:
			return decides
		case fault:
			result = fault
		}
	}
	return result
}

func (n *loop) cost() int { return n.body.cost() * max(4, len(n.items)) }

// textAny asks a text about each of some literals: one of them must hold, or all where
// every is set. The text goes through its steps once.
type textAny struct {
	val   text
	op    textOp // opEqual, opContains, opPrefix or opSuffix
	items []string
	every bool
}

func (n *textAny) eval(e *signal.Event, elem string) answer {
	v := n.val.raw(e, elem)
	for _, st := range n.val.steps {
		if st.needed(v) {
			s := scratches.Get().(*scratch)
			result := n.test(s.apply(n.val.steps, v))
			s.free()
			return result
		}
	}
	return n.test(v)
}

func (n *textAny) test(v string) answer {
	for _, item := range n.items {
		var holds bool
		switch n.op {
		case opEqual:
			holds = v == item
		case opContains:
			holds = strings.Contains(v, item)
		case opPrefix:
			holds = strings.HasPrefix(v, item)
		case opSuffix:
			holds = strings.HasSuffix(v, item)
		}
		if holds != n.every {
			return answerOf(holds)
		}
	}
	return answerOf(n.every)
}

func (n *textAny) cost() int {
	each := 1
	if n.op == opContains {
		each = 4
	}
	return 2 + 6*len(n.val.steps) + each*len(n.items)
}

// addressIn is an address field compared with addresses and prefixes.
type addressIn struct {
	field    signal.Field
	set      []netip.Addr
	prefixes []netip.Prefix
	private  bool
}

func (n *addressIn) eval(e *signal.Event, _ string) answer {
	a := e.IP(n.field)
	if !a.IsValid() {
		return no
	}
	if n.private {
		return answerOf(private(a))
	}
	for _, p := range n.prefixes {
		if p.Contains(a) {
			return yes
		}
	}
	return answerOf(slices.Contains(n.set, a))
}

func (n *addressIn) cost() int { return 2 + len(n.prefixes)/4 + len(n.set)/4 }

// leaf is what runs on CEL's evaluator.
type leaf struct{ program cel.Program }

var activations = sync.Pool{New: func() any { return new(activation) }}

func (n *leaf) eval(e *signal.Event, _ string) answer {
	a := activations.Get().(*activation)
	a.e = e
	v, _, err := n.program.Eval(a) // it recovers from panics
	a.e = nil
	activations.Put(a)
	if b, ok := v.(types.Bool); ok && err == nil {
		return answerOf(bool(b))
	}
	return fault
}

func (n *leaf) cost() int { return 1000 }
