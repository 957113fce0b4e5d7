package signal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unsafe"
)

// The binary frame carries events on the bus and through restarts. A batch is
// any number of records after one another. A record is
//
//	length   uvarint, bytes of what follows
//	version  1 byte, frameVersion
//	id       16 bytes
//	time     varint, nanoseconds since the Unix epoch
//	seq      uvarint
//	class    uvarint
//	activity, severity, plane   1 byte each
//	parent   1 byte, 0 or 1, and if 1, 16 bytes
//	fields   uvarint, number of fields; for each:
//	    tag    uvarint, field number << 4 | kind << 1 | masked
//	    value  string, strings: uvarint lengths before the bytes; strings: a
//	           uvarint count first; int, time: varint; bool: 1 byte; float: 8 bytes,
//	           little endian; ip: 1 byte, 4 or 16, and as many bytes
//	unmapped uvarint, number of attributes; for each name and value as strings
//
// Varints are those of encoding/binary. Because the tag names the kind, a reader skips
// fields that are newer than itself. Masked fields appear in their recorded form.
const frameVersion = 1

// Bounds of a record, so that hostile input cannot make a reader allocate much.
const (
	maxRecord     = 16 << 20
	maxListValues = 1 << 16
)

// AppendFrame appends the event as one record of the binary frame, in its recorded
// form. It allocates only to grow b.
func (e *Event) AppendFrame(b []byte) []byte {
	start := len(b)
	b = append(b, 0, 0, 0) // room for a length below 2 MiB; moved if it is not
	b = append(b, frameVersion)
	b = append(b, e.ID[:]...)
	b = binary.AppendVarint(b, e.Time)
	b = binary.AppendUvarint(b, e.Seq)
	b = binary.AppendUvarint(b, uint64(e.Class))
	b = append(b, e.Activity, byte(e.Severity), byte(e.Plane))
	if e.Parent.IsZero() {
		b = append(b, 0)
	} else {
		b = append(b, 1)
		b = append(b, e.Parent[:]...)
	}
	b = binary.AppendUvarint(b, uint64(len(e.slots)))
	for i := range e.slots {
		b = e.appendSlot(b, &e.slots[i])
	}
	b = binary.AppendUvarint(b, uint64(len(e.unmapped)))
	for _, a := range e.unmapped {
		b = appendString(appendString(b, a.Name), a.Value)
	}
	length := len(b) - start - 3
	if length < 1<<21 {
		// A uvarint padded to three bytes keeps the record in place.
		b[start], b[start+1], b[start+2] = byte(length)|0x80, byte(length>>7)|0x80, byte(length>>14)
		return b
	}
	var head [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(head[:], uint64(length))
	b = append(b, head[:n-3]...)
	copy(b[start+n:], b[start+3:start+3+length])
	copy(b[start:], head[:n])
	return b
}

func (e *Event) appendSlot(b []byte, s *slot) []byte {
	tag := uint64(s.field)<<4 | uint64(s.kind)<<1
	if s.masked {
		tag |= 1
	}
	b = binary.AppendUvarint(b, tag)
	switch s.kind {
	case KindString:
		return appendString(b, e.recordedOf(s))
	case KindInt, KindTime:
		return binary.AppendVarint(b, int64(s.num))
	case KindBool:
		return append(b, byte(s.num))
	case KindFloat:
		return binary.LittleEndian.AppendUint64(b, s.num)
	case KindIP:
		if s.is4 {
			return binary.BigEndian.AppendUint32(append(b, 4), uint32(s.num))
		}
		return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(append(b, 16), s.hi), s.num)
	case KindStrings:
		list := e.lists[s.num]
		b = binary.AppendUvarint(b, uint64(len(list)))
		for _, v := range list {
			b = appendString(b, v)
		}
	}
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

var (
	errFrameShort = errors.New("the record ends in the middle of a value")
	errFrameSize  = errors.New("the record is larger than it may be")
)

// Frames walks the records of a batch.
//
//	for f := signal.ReadFrames(batch); f.Next(&e); {
//		...
//	}
//	if f.Err() != nil ...
type Frames struct {
	batch  string
	offset int // of the next record
	lists  []string
	err    error
}

// ReadFrames returns a reader of the batch's records. The events it fills share the memory
// of one copy of the batch.
func ReadFrames(batch []byte) *Frames { return &Frames{batch: string(batch)} }

// Next fills e with the next record and reports whether there was one.
func (f *Frames) Next(e *Event) bool {
	if f.err != nil || f.offset == len(f.batch) {
		return false
	}
	r := reader{s: f.batch, at: f.offset, lists: f.lists}
	length := r.uvarint()
	switch {
	case r.err == nil && length > maxRecord:
		r.fail(errFrameSize)
	case r.err == nil && length > uint64(len(r.s)-r.at):
		r.fail(errFrameShort)
	}
	if r.err != nil {
		f.err = fmt.Errorf("event batch, byte %d: %w", f.offset, r.err)
		return false
	}
	end := r.at + int(length)
	r.s = r.s[:end]
	e.Reset()
	if e.readFrame(&r); r.err != nil {
		f.err = fmt.Errorf("event batch, record at byte %d: %w", f.offset, r.err)
		e.Reset()
		return false
	}
	f.offset, f.lists = end, r.lists
	return true
}

// Err returns what stopped the walk before the batch's end, or nil.
func (f *Frames) Err() error { return f.err }

func (e *Event) readFrame(r *reader) {
	if v := r.byte(); r.err == nil && v != frameVersion {
		r.fail(fmt.Errorf("frame version %d, this program reads %d", v, frameVersion))
		return
	}
	copy(e.ID[:], r.bytes(16))
	e.Time = r.varint()
	e.Seq = r.uvarint()
	class := r.uvarint()
	if class > math.MaxUint16 {
		r.failed("class out of range")
	}
	e.Class = Class(class)
	e.Activity, e.Severity, e.Plane = r.byte(), Severity(r.byte()), Plane(r.byte())
	if r.byte() == 1 {
		copy(e.Parent[:], r.bytes(16))
	}
	for n := r.uvarint(); n > 0 && r.err == nil; n-- {
		e.readSlot(r)
	}
	for n := r.uvarint(); n > 0 && r.err == nil; n-- {
		name, value := r.string(), r.string()
		if r.err == nil && !e.SetUnmapped(name, value) {
			r.failed("too many unmapped attributes")
		}
	}
	if r.err == nil && r.at != len(r.s) {
		r.failed("bytes after the last attribute")
	}
}

func (e *Event) readSlot(r *reader) {
	tag := r.uvarint()
	kind, number := Kind(tag>>1&7), tag>>4
	f := Field(number)
	if number > fieldCount || f.Kind() != kind || f.IsHeader() {
		var skipped slot
		r.value(&skipped, kind)
		return
	}
	switch {
	case r.err != nil:
		return
	case e.index[f] != 0:
		r.failed("a field stands twice")
		return
	case len(e.slots) >= MaxFields:
		r.failed("too many fields")
		return
	}
	at := len(e.slots)
	if at < cap(e.slots) {
		e.slots = e.slots[:at+1]
	} else {
		e.slots = append(e.slots, slot{})
	}
	v := &e.slots[at]
	v.field, v.kind, v.masked = f, kind, tag&1 == 1
	v.str, v.num, v.hi, v.is4 = "", 0, 0, false
	list := r.value(v, kind)
	if r.err != nil || kind == KindStrings && len(list) == 0 {
		*v = slot{}
		e.slots = e.slots[:at]
		return
	}
	if kind == KindStrings {
		v.num = uint64(len(e.lists))
		e.lists = append(e.lists, list)
	}
	e.index[f] = uint8(at + 1)
}

// value reads a value into the slot; that of a list it returns.
func (r *reader) value(v *slot, kind Kind) (list []string) {
	switch kind {
	case KindString:
		v.str = r.string()
	case KindInt, KindTime:
		v.num = uint64(r.varint())
	case KindBool:
		v.num = uint64(r.byte() & 1)
	case KindFloat:
		v.num = binary.LittleEndian.Uint64(r.octets(8))
	case KindIP:
		switch r.byte() {
		case 4:
			v.is4, v.num = true, uint64(binary.BigEndian.Uint32(r.octets(4)))|0xffff<<32
		case 16:
			b := r.octets(16)
			v.hi, v.num = be64(b[:8]), be64(b[8:])
			v.is4 = v.hi == 0 && v.num>>32 == 0xffff
		default:
			r.failed("an address is 4 or 16 bytes long")
		}
	case KindStrings:
		return r.strings()
	default:
		r.failed("unknown kind of value")
	}
	return nil
}

// reader consumes a record, which ends where s does; after an error it returns zero values.
type reader struct {
	s     string
	at    int
	err   error
	lists []string // room that lists are cut from
}

// listRoom is how many strings of lists are allocated at a time, at the most, where a list is not longer.
const listRoom = 512

// fail notes the first error, and leaves nothing to be read.
func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.s, r.at = "", 0
}

func (r *reader) failed(msg string) { r.fail(errors.New(msg)) }

func (r *reader) bytes(n int) string {
	if n > len(r.s)-r.at {
		r.fail(errFrameShort)
		return ""
	}
	v := r.s[r.at : r.at+n]
	r.at += n
	return v
}

// octets is like bytes, but always returns n bytes, which must not be changed.
func (r *reader) octets(n int) []byte {
	if v := r.bytes(n); v != "" {
		return unsafe.Slice(unsafe.StringData(v), n)
	}
	return make([]byte, n)
}

func (r *reader) byte() byte {
	if r.at >= len(r.s) {
		r.fail(errFrameShort)
		return 0
	}
	v := r.s[r.at]
	r.at++
	return v
}

// uvarint has a short way for one and two bytes, which most numbers of a record are.
func (r *reader) uvarint() uint64 {
	if at := r.at; at < len(r.s)-1 {
		low, high := r.s[at], r.s[at+1]
		if low < 0x80 {
			r.at = at + 1
			return uint64(low)
		}
		if high < 0x80 {
			r.at = at + 2
			return uint64(low&0x7f) | uint64(high)<<7
		}
	}
	return r.longUvarint()
}

func (r *reader) longUvarint() uint64 {
	var v uint64
	for i := 0; i < binary.MaxVarintLen64; i++ {
		if r.at >= len(r.s) {
			r.fail(errFrameShort)
			return 0
		}
		c := r.s[r.at]
		r.at++
		if i == 9 && c > 1 {
			break
		}
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			return v
		}
	}
	r.failed("a number is longer than 64 bits")
	return 0
}

func (r *reader) varint() int64 {
	u := r.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

func (r *reader) string() string {
	n := r.uvarint()
	if n > uint64(len(r.s)-r.at) {
		r.fail(errFrameShort)
		return ""
	}
	v := r.s[r.at : r.at+int(n)]
	r.at += int(n)
	return v
}

// strings reads a list. Lists of several events share one allocation.
func (r *reader) strings() []string {
	n := r.uvarint()
	if n > maxListValues || n > uint64(len(r.s)-r.at) { // each value takes a byte at the least
		r.fail(errFrameShort)
		return nil
	}
	if uint64(cap(r.lists)-len(r.lists)) < n {
		r.lists = make([]string, 0, max(int(n), min(2*cap(r.lists), listRoom)))
	}
	from := len(r.lists)
	for range n {
		r.lists = append(r.lists, r.string())
	}
	return r.lists[from:len(r.lists):len(r.lists)]
}
