package store

import "github.com/testudo-sec/testudo/signal"

// Filter is a condition over events in a form that a scan can work out column by column, before
// there are events: [FilterAnd], [FilterOr] and [FilterNot] over tests of one field each. It may leave
// events open, which Where then decides; where it does not, it agrees with Where. It is immutable and
// safe for concurrent use.
type Filter struct {
	Op    FilterOp
	Parts []*Filter // FilterAnd and FilterOr; the one of FilterNot

	// Of a FilterTest: what it asks of one field. Test is called with events that have that field
	// or none at all, once for values that repeat; it does not keep the event. A list is
	// asked about one element at a time: the test holds where it holds for one of them.
	// Without a field it is about the attributes outside of the field table that Attr chooses by their names, and is asked about
	// one of them at a time too.
	// With Other, too, it is about both: neither is a list then, and it is asked about the pairs of values that occur.
	Field signal.Field
	Other signal.Field
	Attr  func(name string) bool
	Test  func(e *signal.Event) Truth
	// Ints and Texts, where one is not nil, say where the values lie for which the test does not
	// answer False, in recorded form; Test must then be False where the field is not set. They let statistics rule
	// out rows unread.
	Ints  []IntBounds
	Texts []TextBounds
}

// FilterOp is what a filter is made of.
type FilterOp uint8

// The kinds of filters.
const (
	FilterOpen FilterOp = iota // no column can tell
	FilterTest                 //
	FilterAnd                  // False where one part is, True where all are
	FilterOr                   // True where one part is, False where all are
	FilterNot                  //
)

// Truth is the answer of a test.
type Truth uint8

// The answers.
const (
	Open  Truth = iota // Where has to be asked
	True               //
	False              //
)

// IntBounds are numbers between two others, both included.
type IntBounds struct{ Min, Max int64 }

// TextBounds are the texts from Min on that are not greater than Max by bytes or begin with it.
type TextBounds struct{ Min, Max string }

// Masked counts events in which a field was masked when it was recorded.
type Masked map[MaskedField]int64

// MaskedField is a field in the events of a class.
type MaskedField struct {
	Class signal.Class
	Field signal.Field
}

// add counts the fields that are masked in the event.
func (m *Masked) add(e *signal.Event, fields []signal.Field) {
	for _, f := range fields {
		if e.IsMasked(f) {
			m.Add(MaskedField{e.Class, f}, 1)
		}
	}
}

// Add counts n events more.
func (m *Masked) Add(f MaskedField, n int64) {
	if n == 0 {
		return
	}
	if *m == nil {
		*m = make(Masked)
	}
	(*m)[f] += n
}
