package signal

import (
	"math"
	"net/netip"
	"slices"
	"time"
)

// MaxFields bounds the fields that one event holds.
const MaxFields = 250

// MaxUnmapped bounds the attributes that one event holds outside of the field table.
const MaxUnmapped = 256

// Event is something that happened: a header, and typed fields under compiled
// ids. Its fields are a sparse set: setting, reading and resetting cost a few
// nanoseconds and do not allocate once the event has been used before.
//
// An Event is not safe for concurrent use, and must not be copied by value: use
// [Event.CopyTo] or [Event.Recorded].
type Event struct {
	ID       ID
	Time     int64 // nanoseconds since the Unix epoch
	Class    Class
	Activity uint8 // activity_id of the class
	Severity Severity
	Plane    Plane
	Parent   ID     // the event that caused this one
	Seq      uint64 // number in the judge's recorded sequence, from 1; 0 until judged

	index    [fieldCount + 1]uint8 // position in slots + 1
	slots    []slot
	lists    [][]string // values of list fields, by slot.num
	recorded []string   // recorded forms of masked fields, by slot.hi
	unmapped []Attr
}

type slot struct {
	str    string
	num    uint64 // number, bits of a float, low half of an address, index of a list
	hi     uint64 // high half of an address; index in Event.recorded of a masked string + 1, 0 where only that form is known
	field  Field
	kind   Kind
	masked bool
	is4    bool
}

// Attr is an attribute that the field table has no field for.
type Attr struct{ Name, Value string }

// Reset empties the event and keeps its memory.
func (e *Event) Reset() {
	for i := range e.slots {
		e.index[e.slots[i].field] = 0
		e.slots[i].str = ""
	}
	clear(e.lists)
	clear(e.recorded)
	clear(e.unmapped)
	e.slots, e.lists, e.recorded, e.unmapped = e.slots[:0], e.lists[:0], e.recorded[:0], e.unmapped[:0]
	e.ID, e.Time, e.Class, e.Activity, e.Severity = ID{}, 0, 0, 0, 0
	e.Plane, e.Parent, e.Seq = 0, ID{}, 0
}

// put returns the slot of a field, a new one where it was not set. It panics on a
// field of another kind or of the header: that is a mistake in the program, not in its
// input. Where the event is full it returns a slot that is thrown away.
func (e *Event) put(f Field, k Kind) *slot {
	if f.Kind() != k || f.IsHeader() {
		panic("signal: field " + f.Name() + " is set as " + k.String())
	}
	if i := e.index[f]; i != 0 {
		return &e.slots[i-1]
	}
	if len(e.slots) >= MaxFields {
		return &slot{}
	}
	e.slots = append(e.slots, slot{field: f, kind: k})
	e.index[f] = uint8(len(e.slots))
	return &e.slots[len(e.slots)-1]
}

// SetString sets a string field. The event keeps the string itself.
func (e *Event) SetString(f Field, v string) {
	s := e.put(f, KindString)
	s.str, s.masked, s.hi = v, false, 0
}

// SetMasked sets a string field that has two forms: raw, which only the judge
// sees, and recorded, which everything that keeps or shows the event gets.
func (e *Event) SetMasked(f Field, raw, recorded string) {
	s := e.put(f, KindString)
	s.str = raw
	if s.masked && s.hi > 0 {
		e.recorded[s.hi-1] = recorded
		return
	}
	e.recorded = append(e.recorded, recorded)
	s.masked, s.hi = true, uint64(len(e.recorded))
}

// SetInt sets an integer field.
func (e *Event) SetInt(f Field, v int64) { e.put(f, KindInt).num = uint64(v) }

// SetBool sets a boolean field.
func (e *Event) SetBool(f Field, v bool) {
	s := e.put(f, KindBool)
	s.num = 0
	if v {
		s.num = 1
	}
}

// SetFloat sets a float field.
func (e *Event) SetFloat(f Field, v float64) { e.put(f, KindFloat).num = math.Float64bits(v) }

// SetTime sets a time field.
func (e *Event) SetTime(f Field, v time.Time) { e.put(f, KindTime).num = uint64(v.UnixNano()) }

// SetIP sets an address field. An IPv4-mapped address is stored as IPv4, a zone
// is dropped; an invalid address leaves the field unset.
func (e *Event) SetIP(f Field, v netip.Addr) {
	if !v.IsValid() {
		return
	}
	v = v.Unmap()
	s := e.put(f, KindIP)
	b := v.As16()
	s.hi, s.num, s.is4 = be64(b[:8]), be64(b[8:]), v.Is4()
}

// SetStrings sets a list field. The event keeps the slice itself. An empty list is no
// value: it leaves the field unset.
func (e *Event) SetStrings(f Field, v []string) {
	had := e.Has(f)
	if len(v) == 0 {
		if had && f.Kind() == KindStrings {
			e.remove(f)
		}
		return
	}
	s := e.put(f, KindStrings)
	if had {
		e.lists[s.num] = v
		return
	}
	if s.field == 0 {
		return
	}
	s.num = uint64(len(e.lists))
	e.lists = append(e.lists, v)
}

// Unset makes the field one that was not set. Header fields always are set.
func (e *Event) Unset(f Field) {
	if f.valid() && e.index[f] != 0 {
		e.remove(f)
	}
}

// remove unsets a field; the last field that was set takes its place.
func (e *Event) remove(f Field) {
	at, last := int(e.index[f])-1, len(e.slots)-1
	e.slots[at] = e.slots[last]
	e.index[e.slots[at].field] = uint8(at + 1)
	e.index[f] = 0
	e.slots[last] = slot{}
	e.slots = e.slots[:last]
}

// SetUnmapped adds an attribute that the field table has no field for, or
// replaces it. It reports whether there was room. The name testudo_ns is reserved by the
// JSON form and is passed over.
func (e *Event) SetUnmapped(name, value string) bool {
	if name == exactTimes {
		return true
	}
	for i := range e.unmapped {
		if e.unmapped[i].Name == name {
			e.unmapped[i].Value = value
			return true
		}
	}
	if len(e.unmapped) >= MaxUnmapped {
		return false
	}
	e.unmapped = append(e.unmapped, Attr{name, value})
	return true
}

// AddUnmapped adds an attribute as [Event.SetUnmapped] does, in a time that does not depend on
// how many there are. The caller knows that the event has none of that name.
func (e *Event) AddUnmapped(name, value string) bool {
	if name == exactTimes {
		return true
	}
	if len(e.unmapped) >= MaxUnmapped {
		return false
	}
	e.unmapped = append(e.unmapped, Attr{name, value})
	return true
}

// Unmapped returns an attribute that the field table has no field for.
func (e *Event) Unmapped(name string) (string, bool) {
	for i := range e.unmapped {
		if e.unmapped[i].Name == name {
			return e.unmapped[i].Value, true
		}
	}
	return "", false
}

// UnmappedAttrs returns the attributes outside of the field table in the order they
// were set. The slice is the event's own.
func (e *Event) UnmappedAttrs() []Attr { return e.unmapped }

// Has reports whether the field is set. Header fields always are.
func (e *Event) Has(f Field) bool { return f.valid() && (e.index[f] != 0 || f <= lastHeader) }

// IsMasked reports whether the recorded form of the field differs from what
// was seen: it was set by SetMasked, or read back from a record so marked.
func (e *Event) IsMasked(f Field) bool {
	return f.valid() && e.index[f] != 0 && e.slots[e.index[f]-1].masked
}

// Str returns a string field as seen, "" where it is not set.
func (e *Event) Str(f Field) string {
	if !f.valid() {
		return ""
	}
	if i := e.index[f]; i != 0 {
		return e.slots[i-1].str
	}
	switch f {
	case FieldMetadataUID:
		return e.ID.String()
	case FieldMetadataCorrelationUID:
		return e.Parent.String()
	case FieldMetadataLogProvider:
		return e.Plane.String()
	}
	return ""
}

// RecordedStr returns a string field as it is recorded: the masked form where
// the field has one. Whatever shows or keeps a value uses this.
func (e *Event) RecordedStr(f Field) string {
	if f.valid() {
		if i := e.index[f]; i != 0 {
			return e.recordedOf(&e.slots[i-1])
		}
	}
	return e.Str(f)
}

func (e *Event) recordedOf(s *slot) string {
	if s.masked && s.hi > 0 {
		return e.recorded[s.hi-1]
	}
	return s.str
}

// Int returns an integer field, 0 where it is not set; a time field in
// nanoseconds since the Unix epoch; a boolean field as 0 or 1; 0 for other kinds.
func (e *Event) Int(f Field) int64 {
	if !f.valid() {
		return 0
	}
	if i := e.index[f]; i != 0 {
		switch s := &e.slots[i-1]; s.kind {
		case KindInt, KindTime, KindBool:
			return int64(s.num)
		}
		return 0
	}
	switch f {
	case FieldClassUID:
		return int64(e.Class)
	case FieldActivityID:
		return int64(e.Activity)
	case FieldSeverityID:
		return int64(e.Severity)
	case FieldTime:
		return e.Time
	case FieldMetadataSequence:
		return int64(e.Seq)
	}
	return 0
}

// Bool returns a boolean field, false where it is not set.
func (e *Event) Bool(f Field) bool { return e.Int(f) != 0 }

// Float returns a float field, 0 where it is not set.
func (e *Event) Float(f Field) float64 {
	if f.Kind() != KindFloat || e.index[f] == 0 {
		return 0
	}
	return math.Float64frombits(e.slots[e.index[f]-1].num)
}

// Timestamp returns a time field in UTC, the zero time where it is not set.
func (e *Event) Timestamp(f Field) time.Time {
	if !e.Has(f) {
		return time.Time{}
	}
	return time.Unix(0, e.Int(f)).UTC()
}

// IP returns an address field, the zero Addr where it is not set.
func (e *Event) IP(f Field) netip.Addr {
	if f.Kind() != KindIP || e.index[f] == 0 {
		return netip.Addr{}
	}
	return e.slots[e.index[f]-1].addr()
}

func (s *slot) addr() netip.Addr {
	var b [16]byte
	putBE64(b[:8], s.hi)
	putBE64(b[8:], s.num)
	a := netip.AddrFrom16(b)
	if s.is4 {
		a = a.Unmap()
	}
	return a
}

// Strings returns a list field, nil where it is not set. The slice is the
// event's own.
func (e *Event) Strings(f Field) []string {
	if f.Kind() != KindStrings || e.index[f] == 0 {
		return nil
	}
	return e.lists[e.slots[e.index[f]-1].num]
}

// Each calls yield for every field that is set, header fields not included, in the
// order they were set, until yield returns false.
func (e *Event) Each(yield func(Field) bool) {
	for i := range e.slots {
		if !yield(e.slots[i].field) {
			return
		}
	}
}

// NumFields returns how many fields are set, header fields not included.
func (e *Event) NumFields() int { return len(e.slots) }

// FieldAt returns the i-th field that was set, counted from 0.
func (e *Event) FieldAt(i int) Field { return e.slots[i].field }

// CopyTo makes dst an equal event with memory of its own for everything but
// strings, raw forms of masked fields included.
func (e *Event) CopyTo(dst *Event) {
	dst.Reset()
	dst.ID, dst.Time, dst.Class, dst.Activity, dst.Severity = e.ID, e.Time, e.Class, e.Activity, e.Severity
	dst.Plane, dst.Parent, dst.Seq = e.Plane, e.Parent, e.Seq
	dst.index = e.index
	dst.slots = append(dst.slots, e.slots...)
	for _, l := range e.lists {
		dst.lists = append(dst.lists, slices.Clone(l))
	}
	dst.recorded = append(dst.recorded, e.recorded...)
	dst.unmapped = append(dst.unmapped, e.unmapped...)
}

// Recorded returns a copy that holds recorded forms only, fit to be kept and shown.
func (e *Event) Recorded() *Event {
	dst := new(Event)
	e.CopyTo(dst)
	for i := range dst.slots {
		s := &dst.slots[i]
		if s.masked {
			s.str, s.hi = dst.recordedOf(s), 0
		}
	}
	dst.recorded = nil
	return dst
}

func be64(b []byte) uint64 {
	_ = b[7]
	return uint64(b[7]) | uint64(b[6])<<8 | uint64(b[5])<<16 | uint64(b[4])<<24 |
		uint64(b[3])<<32 | uint64(b[2])<<40 | uint64(b[1])<<48 | uint64(b[0])<<56
}

func putBE64(b []byte, v uint64) {
	for i := range 8 {
		b[i] = byte(v >> (56 - 8*i))
	}
}
