// Package jsonflat reads JSON records of a log as flat attributes: {"a":{"b":1},"c":["x"]} is a.b = 1, c[0] = x.
//
// It is made for streams of records that look alike. One [Flattener] learns the names that it sees and the order in
// which they come, so that the next record costs one pass over its bytes, no look-up for most names, and one allocation,
// the string of which all values are parts. Names have small numbers, so that a caller keeps what it knows of a name in a
// slice; see [Flattener.Generation].
//
// What a hostile record can cost is bounded: its depth, the number of its attributes, the length of a name, and
// how many names are remembered. What goes beyond is dropped and counted, deeper values are kept as their JSON text.
// The notation is that of RFC 8259, checked as encoding/json does it; bytes that are not UTF-8 are kept.
package jsonflat

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Bounds of one record, and of what is remembered of earlier ones.
const (
	MaxDepth = 32   // objects and arrays within each other; deeper ones are kept as text
	MaxItems = 8192 // attributes of a record
	MaxName  = 512  // bytes of a flattened name
	maxNodes = 8192 // names remembered; beyond it all are forgotten and learnt anew
	maxNew   = 8192 // names that one record may add
)

// Kind is what an attribute's value was in JSON.
type Kind uint8

// The kinds. A null is no attribute.
const (
	String Kind = iota
	Number      // Value is the number as written
	Bool        // Value is true or false
	Text        // Value is the JSON text of an object or array
)

// Item is one attribute of a record.
type Item struct {
	Value string
	ID    int32 // number of its name: Name, Attr, Depth
	Kind  Kind
}

// SyntaxError is a record that is no JSON object.
type SyntaxError struct {
	Offset int    // in bytes
	Reason string // without text of the record
}

// Error says what is wrong, without text of the record.
func (e *SyntaxError) Error() string { return fmt.Sprintf("byte %d: %s", e.Offset, e.Reason) }

// ErrNotObject says that the record is JSON, or begins like it, but is no object.
var ErrNotObject = errors.New("not a JSON object")

// Flattener reads records. Its zero value is ready; it is not safe for concurrent use.
type Flattener struct {
	// KeepText says of which objects and arrays the JSON text is kept beside their attributes. It is asked once for each
	// name, with Attr's form of it. nil keeps none.
	KeepText func(attr string) bool

	nodes      []node
	children   map[childKey]int32
	ids        map[string]int32
	generation uint32
	epoch      uint32
	limit      int // nodes that this record may come to

	data    []byte
	pos     int
	buf     []byte
	out     int // bytes of buf in use
	spans   []span
	items   []Item
	dropped int
}

// node is a name: a path of keys and indexes.
type node struct {
	key   string // last key
	name  string // flattened, with indexes
	attr  string // flattened, without
	depth int32
	same  int32    // the first node of that name
	first int32    // child that came first, the last time
	next  [2]int32 // siblings that came next, the last times
	elems []int32
	seen  uint32 // record that had the attribute
	at    int32  // where, in spans
	text  bool
	plain bool // the key is written in JSON as it reads
}

type childKey struct {
	key    string
	parent int32
}

type span struct {
	start, end uint32
	id         int32
	kind       Kind
}

const root int32 = 0

// Generation changes when the numbers of names are given out anew: whoever keeps something by them forgets it then.
func (f *Flattener) Generation() uint32 { return f.generation }

// Names returns how many names have numbers: they are below it.
func (f *Flattener) Names() int { return len(f.nodes) }

// Name returns a flattened name: a.items[0].cidr.
func (f *Flattener) Name(id int32) string { return f.nodes[id].name }

// Attr returns a flattened name without the indexes of arrays: a.items.cidr.
func (f *Flattener) Attr(id int32) string { return f.nodes[id].attr }

// Depth returns how many keys and indexes a name has.
func (f *Flattener) Depth(id int32) int { return int(f.nodes[id].depth) }

// Dropped returns how many attributes of the last record were dropped.
func (f *Flattener) Dropped() int { return f.dropped }

// Flatten reads one record. The items are valid until the next call, their strings for ever; they are in the order of
// the record. Of attributes of the same name the last value counts, in the place of the first. The error is a
// *[SyntaxError] or [ErrNotObject].
func (f *Flattener) Flatten(record []byte) ([]Item, error) {
	if f.nodes == nil || len(f.nodes) > maxNodes {
		f.forget()
	}
	f.data, f.pos, f.out, f.dropped = record, 0, 0, 0
	f.spans = f.spans[:0]
	f.limit = len(f.nodes) + maxNew
	if need := len(record) + 8; cap(f.buf) < need {
		f.buf = make([]byte, need+need/4)
	}
	f.buf = f.buf[:cap(f.buf)]
	if f.epoch++; f.epoch == 0 {
		f.forget()
		f.epoch = 1
	}
	f.space()
	if f.pos >= len(record) || record[f.pos] != '{' {
		f.data = nil
		return nil, ErrNotObject
	}
	err := f.object(root, 1)
	if err == nil {
		if f.space(); f.pos != len(record) {
			err = f.fail("text behind the object")
		}
	}
	f.data = nil
	if err != nil {
		return nil, err
	}
	values := string(f.buf[:f.out])
	if cap(f.buf) > 4<<20 {
		f.buf = nil // one record was huge
	}
	if cap(f.items) < len(f.spans) {
		f.items = make([]Item, len(f.spans)+len(f.spans)/4)
	}
	items := f.items[:0]
	for _, s := range f.spans {
		if s.id >= 0 {
			items = append(items, Item{Value: values[s.start:s.end], ID: s.id, Kind: s.kind})
		}
	}
	return items, nil
}

func (f *Flattener) forget() {
	f.generation++
	f.children = make(map[childKey]int32)
	f.ids = make(map[string]int32)
	f.nodes = append(f.nodes[:0], node{first: -1, next: [2]int32{-1, -1}})
	f.ids[""] = root
}

func (f *Flattener) fail(reason string) error { return &SyntaxError{Offset: f.pos, Reason: reason} }

func (f *Flattener) space() {
	for f.pos < len(f.data) {
		switch f.data[f.pos] {
		case ' ', '\t', '\r', '\n':
			f.pos++
		default:
			return
		}
	}
}

// object reads the object at pos; parent is -1 where its attributes are dropped.
func (f *Flattener) object(parent int32, depth int) error {
	f.pos++
	f.space()
	if f.pos < len(f.data) && f.data[f.pos] == '}' {
		f.pos++
		return nil
	}
	prev := int32(-1)
	for {
		id, err := f.key(parent, prev)
		if err != nil {
			return err
		}
		if id >= 0 {
			prev = id
		}
		if err := f.value(id, depth); err != nil {
			return err
		}
		if f.pos < len(f.data) && f.data[f.pos] <= ' ' {
			f.space()
		}
		if f.pos >= len(f.data) {
			return f.fail("the object is not closed")
		}
		switch f.data[f.pos] {
		case ',':
			f.pos++
			if f.pos < len(f.data) && f.data[f.pos] <= ' ' {
				f.space()
			}
		case '}':
			f.pos++
			return nil
		default:
			return f.fail("a comma or the end of the object is wanted")
		}
	}
}

// key reads a key and its colon, and returns the number of the name; -1 where the attribute is dropped.
func (f *Flattener) key(parent, prev int32) (int32, error) {
	if f.pos >= len(f.data) || f.data[f.pos] != '"' {
		return 0, f.fail("a key in quotes is wanted")
	}
	id := int32(-1)
	if parent >= 0 {
		// The names mostly come in the same order as the last time.
		guess := [2]int32{-1, -1}
		if prev >= 0 {
			guess = f.nodes[prev].next
		} else {
			guess[0] = f.nodes[parent].first
		}
		rest := f.data[f.pos+1:]
		for _, g := range guess {
			if g < 0 {
				break
			}
			k := f.nodes[g].key
			if len(rest) > len(k) && rest[len(k)] == '"' && string(rest[:len(k)]) == k && f.nodes[g].plain {
				id = g
				f.pos += len(k) + 2
				if g != guess[0] {
					f.nodes[prev].next = [2]int32{g, guess[0]}
				}
				break
			}
		}
	}
	if id < 0 {
		start := f.out
		if err := f.text(); err != nil {
			return 0, err
		}
		key := f.buf[start:f.out]
		f.out = start
		if parent >= 0 {
			id = f.child(parent, key)
			if id >= 0 {
				if prev >= 0 {
					n := &f.nodes[prev]
					n.next = [2]int32{id, n.next[0]}
				} else {
					f.nodes[parent].first = id
				}
			}
		}
	}
	if f.pos < len(f.data) && f.data[f.pos] <= ' ' {
		f.space()
	}
	if f.pos >= len(f.data) || f.data[f.pos] != ':' {
		return 0, f.fail("a colon is wanted")
	}
	f.pos++
	if f.pos < len(f.data) && f.data[f.pos] <= ' ' {
		f.space()
	}
	return id, nil
}

// child returns the number of a name below parent, which it may give out.
func (f *Flattener) child(parent int32, key []byte) int32 {
	if id, ok := f.children[childKey{string(key), parent}]; ok {
		return id
	}
	p := &f.nodes[parent]
	if len(f.nodes) >= f.limit || len(p.name)+1+len(key) > MaxName {
		return -1
	}
	k := string(key)
	name, attr := k, k
	if parent != root {
		name = p.name + "." + k
		if attr = name; p.name != p.attr {
			attr = p.attr + "." + k
		}
	}
	id := f.add(parent, k, name, attr)
	f.children[childKey{k, parent}] = id
	return id
}

// elem returns the number of the i-th element of an array.
func (f *Flattener) elem(parent int32, i int) int32 {
	p := &f.nodes[parent]
	if i < len(p.elems) {
		return p.elems[i]
	}
	if i > len(p.elems) || len(f.nodes) >= f.limit || len(p.name)+8 > MaxName {
		return -1
	}
	id := f.add(parent, "", p.name+"["+strconv.Itoa(i)+"]", p.attr)
	p = &f.nodes[parent]
	p.elems = append(p.elems, id)
	return id
}

func (f *Flattener) add(parent int32, key, name, attr string) int32 {
	id := int32(len(f.nodes))
	n := node{key: key, name: name, attr: attr, depth: f.nodes[parent].depth + 1, same: id, first: -1, next: [2]int32{-1, -1}}
	if same, ok := f.ids[name]; ok {
		n.same = same
	} else {
		f.ids[name] = id
	}
	n.plain = strings.IndexFunc(key, func(r rune) bool { return r < ' ' || r == '"' || r == '\\' }) < 0
	n.text = f.KeepText != nil && f.KeepText(attr)
	f.nodes = append(f.nodes, n)
	return id
}

// put records that a name has the value buf[start:out].
func (f *Flattener) put(id int32, start int, kind Kind) {
	if id < 0 {
		f.dropped++
		f.out = start
		return
	}
	n := &f.nodes[id]
	if n.same != id {
		id = n.same
		n = &f.nodes[id]
	}
	s := span{uint32(start), uint32(f.out), id, kind}
	if n.seen == f.epoch {
		f.spans[n.at] = s
		return
	}
	if len(f.spans) >= MaxItems {
		f.dropped++
		f.out = start
		return
	}
	n.seen, n.at = f.epoch, int32(len(f.spans))
	f.spans = append(f.spans, s)
}
