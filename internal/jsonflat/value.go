package jsonflat

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// value reads the value at pos, which belongs to the name id; -1 drops it. depth counts the objects and
// arrays that are open.
func (f *Flattener) value(id int32, depth int) error {
	if f.pos >= len(f.data) {
		return f.fail("a value is wanted")
	}
	start := f.out
	switch c := f.data[f.pos]; c {
	case '"':
		if err := f.text(); err != nil {
			return err
		}
		f.put(id, start, String)
		return nil
	case '{', '[':
		return f.container(c, id, depth)
	case 't':
		return f.word("true", id, Bool)
	case 'f':
		return f.word("false", id, Bool)
	case 'n':
		return f.word("null", id, Text)
	}
	if err := f.number(); err != nil {
		return err
	}
	f.put(id, start, Number)
	return nil
}

func (f *Flattener) container(c byte, id int32, depth int) error {
	from := f.pos
	if depth >= MaxDepth {
		if err := f.pass(); err != nil {
			return err
		}
		f.keep(id, from)
		return nil
	}
	read := f.object
	if c == '[' {
		read = f.array
	}
	if err := read(id, depth+1); err != nil {
		return err
	}
	if id >= 0 && f.nodes[id].text {
		f.keep(id, from)
	}
	return nil
}

// keep records the JSON text since from. All texts of a record together are no longer than the record, so that
// what a record costs stays in proportion: the room for more is made here.
func (f *Flattener) keep(id int32, from int) {
	text := f.data[from:f.pos]
	start := f.out
	if rest := len(f.data) - f.pos; len(f.buf)-f.out < len(text)+rest+8 {
		if f.out+len(text) > 2*len(f.data) {
			f.put(-1, start, Text)
			return
		}
		grown := make([]byte, f.out+len(text)+rest+8)
		copy(grown, f.buf[:f.out])
		f.buf = grown
	}
	f.out += copy(f.buf[f.out:], text)
	f.put(id, start, Text)
}

func (f *Flattener) array(parent int32, depth int) error {
	f.pos++
	f.space()
	if f.pos < len(f.data) && f.data[f.pos] == ']' {
		f.pos++
		return nil
	}
	for i := 0; ; i++ {
		id := int32(-1)
		if parent >= 0 {
			id = f.elem(parent, i)
		}
		if err := f.value(id, depth); err != nil {
			return err
		}
		f.space()
		if f.pos >= len(f.data) {
			return f.fail("the array is not closed")
		}
		switch f.data[f.pos] {
		case ',':
			f.pos++
			f.space()
		case ']':
			f.pos++
			return nil
		default:
			return f.fail("a comma or the end of the array is wanted")
		}
	}
}

func (f *Flattener) word(w string, id int32, kind Kind) error {
	if len(f.data)-f.pos < len(w) || string(f.data[f.pos:f.pos+len(w)]) != w {
		return f.fail("a value is wanted")
	}
	f.pos += len(w)
	if w == "null" {
		f.unset(id)
		return nil
	}
	start := f.out
	f.out += copy(f.buf[f.out:], w)
	f.put(id, start, kind)
	return nil
}

// unset forgets an earlier value of a name that now is null.
func (f *Flattener) unset(id int32) {
	if id < 0 {
		return
	}
	if n := &f.nodes[f.nodes[id].same]; n.seen == f.epoch {
		f.spans[n.at] = span{id: -1}
	}
}

func (f *Flattener) number() error {
	d, i := f.data, f.pos
	digits := func() bool {
		from := i
		for i < len(d) && d[i] >= '0' && d[i] <= '9' {
			i++
		}
		return i > from
	}
	if i < len(d) && d[i] == '-' {
		i++
	}
	if i < len(d) && d[i] == '0' {
		i++
	} else if !digits() {
		return f.fail("a value is wanted")
	}
	if i < len(d) && d[i] == '.' {
		i++
		if !digits() {
			return f.fail("a digit is wanted behind the point")
		}
	}
	if i < len(d) && (d[i] == 'e' || d[i] == 'E') {
		i++
		if i < len(d) && (d[i] == '+' || d[i] == '-') {
			i++
		}
		if !digits() {
			return f.fail("a digit is wanted in the exponent")
		}
	}
	f.out += copy(f.buf[f.out:], d[f.pos:i])
	f.pos = i
	return nil
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// special returns a word whose lowest set bit marks the first of eight bytes that is a quote, a backslash or a
// control character. Bits above that one may be wrong.
func special(x uint64) uint64 {
	quote, back := x^(ones*'"'), x^(ones*'\\')
	return ((quote-ones)&^quote | (back-ones)&^back | (x-ones*' ')&^x) & highs
}

// text reads the string at pos into buf. What it writes is never longer than what it reads, and buf is as long as
// what is left of the record and eight bytes.
func (f *Flattener) text() error {
	d, b := f.data, f.buf
	i, o := f.pos+1, f.out
	for {
		for i+8 <= len(d) {
			x := binary.LittleEndian.Uint64(d[i:])
			binary.LittleEndian.PutUint64(b[o:], x)
			if m := special(x); m != 0 {
				n := bits.TrailingZeros64(m) >> 3
				i += n
				o += n
				break
			}
			i += 8
			o += 8
		}
		for i < len(d) && d[i] != '"' && d[i] != '\\' && d[i] >= ' ' {
			b[o] = d[i]
			i++
			o++
		}
		f.pos = i
		if i >= len(d) {
			return f.fail("the string is not closed")
		}
		switch d[i] {
		case '"':
			f.pos, f.out = i+1, o
			return nil
		case '\\':
			if i+1 < len(d) && d[i+1] == '\\' { // paths of Windows
				b[o] = '\\'
				i += 2
				o++
				continue
			}
			n, r := f.escape(d[i:])
			if n == 0 {
				return f.fail("the string has an escape that JSON does not know")
			}
			o += utf8.EncodeRune(b[o:o+utf8.UTFMax], r)
			i += n
		default:
			return f.fail("the string has a control character")
		}
	}
}

// escape reads the escape at the beginning of d. n is how long it is, 0 where it is none.
func (f *Flattener) escape(d []byte) (n int, r rune) {
	if len(d) < 2 {
		return 0, 0
	}
	switch d[1] {
	case '"', '\\', '/':
		return 2, rune(d[1])
	case 'b':
		return 2, '\b'
	case 'f':
		return 2, '\f'
	case 'n':
		return 2, '\n'
	case 'r':
		return 2, '\r'
	case 't':
		return 2, '\t'
	case 'u':
		r, ok := hex4(d)
		if !ok {
			return 0, 0
		}
		if utf16.IsSurrogate(r) {
			if low, ok := hex4(d[6:]); ok {
				if both := utf16.DecodeRune(r, low); both != utf8.RuneError {
					return 12, both
				}
			}
			return 6, utf8.RuneError
		}
		return 6, r
	}
	return 0, 0
}

// hex4 reads \uXXXX.
func hex4(d []byte) (rune, bool) {
	if len(d) < 6 || d[0] != '\\' || d[1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range d[2:6] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// pass goes over the object or array at pos, however deep, without reading its values: brackets must pair, strings
// must end.
func (f *Flattener) pass() error {
	var closers []byte
	for f.pos < len(f.data) {
		switch c := f.data[f.pos]; c {
		case '"':
			start := f.out
			if err := f.text(); err != nil {
				return err
			}
			f.out = start
			continue
		case '{', '[':
			closers = append(closers, c+2) // "{" and "}", "[" and "]" are two apart
		case '}', ']':
			if closers[len(closers)-1] != c {
				return f.fail("brackets that do not pair")
			}
			closers = closers[:len(closers)-1]
			if len(closers) == 0 {
				f.pos++
				return nil
			}
		}
		f.pos++
	}
	return f.fail("the object is not closed")
}
