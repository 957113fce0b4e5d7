package match

import (
	"strings"

	"github.com/testudo-sec/testudo/internal/textset"
	"github.com/testudo-sec/testudo/signal"
)

// scratch is the memory of judging one event. What it holds is valid where its stamp is
// that of the event, so that nothing is cleared between events.
type scratch struct {
	x     *Index
	e     *signal.Event
	scope scope
	class uint64 // the bit of the event's class
	now   uint32 // stamp of this event

	lit     textset.Marks // tokens that the event has
	local   textset.Marks // for the sets of single atoms
	columns []columnState
	values  []value
	text    []byte // texts that the event has in another form: folded, stepped, numbers
	joined  [2]joinedState
	atoms   []atomState
	nodes   []nodeState
	seen    []uint32 // rules that were evaluated

	attrs []attrState // by number of the name
	next  []int32     // the attribute of the same name behind an attribute of the event, -1 for none
	name  []byte
	due   []int32 // columns to scan
}

type columnState struct {
	gathered, scanned, due uint32 // stamps
	first, last            int32  // in values, -1 for none
}

// value is one text of a column.
type value struct {
	raw, folded string
	next        int32 // of the same column, -1 for none
	isFolded    bool
}

// joinedState is every text of the event as one, as it is and folded.
type joinedState struct {
	stamp uint32
	text  string
}

type atomState struct {
	stamp uint32
	yes   bool
}

type nodeState struct {
	stamp  uint32
	answer Answer
}

type attrState struct {
	stamp       uint32
	first, last int32 // attributes of the event
}

// The memory that is kept from one event to the next.
const (
	keptText   = 64 << 10
	keptValues = 1 << 10
)

func newScratch(x *Index) *scratch {
	return &scratch{
		x: x, columns: make([]columnState, len(x.columns)), atoms: make([]atomState, len(x.atoms)),
		nodes: make([]nodeState, len(x.codes)), seen: make([]uint32, len(x.rules)), attrs: make([]attrState, len(x.byName)),
	}
}

func (s *scratch) begin(e *signal.Event, class uint64) {
	s.e, s.scope.e, s.class = e, e, class
	if s.now++; s.now == 0 { // stamps of four thousand million events ago would look fresh
		clear(s.columns)
		clear(s.atoms)
		clear(s.nodes)
		clear(s.seen)
		clear(s.attrs)
		s.joined = [2]joinedState{}
		s.now = 1
	}
	s.lit.Clear(len(s.x.tokens))
}

// end lets go of the event.
func (s *scratch) end() {
	s.e, s.scope.e = nil, nil
	s.joined[0].text, s.joined[1].text = "", ""
	clear(s.values)
	s.values, s.text, s.next = s.values[:0], s.text[:0], s.next[:0]
	if cap(s.text) > keptText {
		s.text = nil
	}
	if cap(s.values) > keptValues {
		s.values = nil
	}
}

// light finds the tokens that the event has, but those of columns behind a gate.
func (s *scratch) light() {
	x := s.x
	if x.nameAny {
		s.attributes()
	}
	for i := range s.e.NumFields() {
		for _, c := range x.byField[s.e.FieldAt(i)] {
			if st := &s.columns[c]; x.columns[c].classes&s.class != 0 && st.scanned != s.now {
				s.scan(c)
			}
		}
	}
	for _, c := range x.always {
		if st := &s.columns[c]; x.columns[c].classes&s.class != 0 && st.scanned != s.now {
			s.scan(c)
		}
	}
	for _, c := range s.due {
		if s.columns[c].scanned != s.now {
			s.scan(c)
		}
	}
	s.due = s.due[:0]
}

// attributes files the event's attributes under the names that conditions ask for, in one pass.
func (s *scratch) attributes() {
	x, attrs := s.x, s.e.UnmappedAttrs()
	for i := range attrs {
		s.next = append(s.next, -1)
		id := x.names.Lookup(attrs[i].Name)
		if id < 0 {
			if id = s.indexed(attrs[i].Name); id < 0 {
				continue
			}
		}
		st := &s.attrs[id]
		if st.stamp == s.now {
			s.next[st.last], st.last = int32(i), int32(i)
			continue
		}
		*st = attrState{s.now, int32(i), int32(i)}
		for _, c := range x.byName[id] {
			if x.columns[c].classes&s.class != 0 && s.columns[c].due != s.now {
				s.columns[c].due = s.now
				s.due = append(s.due, c)
			}
		}
	}
}

// indexed returns the number of an attribute's name without its indexes, -1 for none.
func (s *scratch) indexed(name string) int32 {
	if strings.IndexByte(name, '[') < 0 {
		return -1
	}
	short, plain := appendAttrName(s.name[:0], name)
	if s.name = short; plain {
		return -1
	}
	return s.x.names.Lookup(view(short))
}

// gather returns the first of a column's values, -1 for none. The others follow by next. They are
// those of the operand, in its order.
func (s *scratch) gather(c int32) int32 {
	st := &s.columns[c]
	if st.gathered == s.now {
		return st.first
	}
	st.gathered, st.first, st.last = s.now, -1, -1
	col := &s.x.columns[c]
	o := &col.on
	if col.parent >= 0 {
		for at := s.gather(col.parent); at >= 0; at = s.values[at].next {
			s.add(c, s.values[at].raw)
		}
		return st.first
	}
	if o.Field != 0 {
		s.gatherField(c, o.Field, o.At)
	}
	switch {
	case o.Any:
		for i := range s.e.UnmappedAttrs() {
			s.add(c, s.e.UnmappedAttrs()[i].Value)
		}
		for i := range s.e.NumFields() {
			f := s.e.FieldAt(i)
			if (f.Kind() == signal.KindString || f.Kind() == signal.KindStrings) && !Added(f) {
				s.gatherField(c, f, 0)
			}
		}
	case col.name >= 0:
		if at := &s.attrs[col.name]; at.stamp == s.now {
			for i := at.first; i >= 0; i = s.next[i] {
				s.add(c, s.e.UnmappedAttrs()[i].Value)
			}
		}
	}
	return st.first
}

func (s *scratch) gatherField(c int32, f signal.Field, at int) {
	if !s.e.Has(f) {
		return
	}
	switch f.Kind() {
	case signal.KindString:
		if at <= 1 {
			s.add(c, s.e.Str(f))
		}
	case signal.KindStrings:
		list := s.e.Strings(f)
		if at > 0 {
			if at <= len(list) {
				s.add(c, list[at-1])
			}
			return
		}
		for _, v := range list {
			s.add(c, v)
		}
	default:
		if at > 1 {
			return
		}
		from := len(s.text)
		text, ok := s.e.AppendText(s.text, f)
		if s.text = text; ok {
			s.add(c, view(text[from:]))
		}
	}
}

// add takes a value through the column's steps, as far as its parent has not, and appends it.
func (s *scratch) add(c int32, v string) {
	for _, step := range s.x.columns[c].steps {
		if !step.needed(v) {
			continue
		}
		from := len(s.text)
		text, ok := step.append(s.text, v)
		if s.text = text; !ok {
			return
		}
		v = view(text[from:])
	}
	st, at := &s.columns[c], int32(len(s.values))
	s.values = append(s.values, value{raw: v, next: -1})
	if st.last >= 0 {
		s.values[st.last].next = at
	} else {
		st.first = at
	}
	st.last = at
}

// folded returns a value in folded form, made once.
func (s *scratch) folded(at int32) string {
	v := &s.values[at]
	if !v.isFolded {
		s.text, v.folded = foldInto(s.text, v.raw)
		v.isFolded = true
	}
	return v.folded
}
