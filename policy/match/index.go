package match

import (
	"github.com/testudo-sec/testudo/signal"
)

// Rule is a condition in an index.
type Rule struct {
	Expr    Expr
	Classes []signal.Class // classes of the events that it reads; nil for all
}

// Index finds which of many conditions an event matches. It is immutable and safe for
// concurrent use.
type Index struct {
	rules   []Rule
	byClass map[signal.Class][]int32
	all     []int32 // rules of every class
}

// Matches holds the answers for an event, by the rules' places in what [NewIndex] was given. Its
// memory is used again by every call.
type Matches struct {
	Fired   []int32 // rules that match, in rising order
	Faulted []int32 // rules that could not be worked out, in rising order
}

// NewIndex returns the index of these rules.
func NewIndex(rules []Rule) *Index {
	x := &Index{rules: rules, byClass: make(map[signal.Class][]int32)}
	for i, r := range rules {
		if r.Classes == nil {
			x.all = append(x.all, int32(i))
		}
		for _, c := range r.Classes {
			x.byClass[c] = nil
		}
	}
	for i, r := range rules {
		for c := range x.byClass {
			if r.Classes == nil || contains(r.Classes, c) {
				x.byClass[c] = append(x.byClass[c], int32(i))
			}
		}
	}
	return x
}

func contains(classes []signal.Class, c signal.Class) bool {
	for _, other := range classes {
		if other == c {
			return true
		}
	}
	return false
}

// Match writes into m which rules the event matches. It allocates nothing but to grow m.
func (x *Index) Match(e *signal.Event, m *Matches) {
	m.Fired, m.Faulted = m.Fired[:0], m.Faulted[:0]
	candidates, ok := x.byClass[e.Class]
	if !ok {
		candidates = x.all
	}
	for _, i := range candidates {
		switch Eval(x.rules[i].Expr, e) {
		case Yes:
			m.Fired = append(m.Fired, i)
		case Fault:
			m.Faulted = append(m.Faulted, i)
		}
	}
}
