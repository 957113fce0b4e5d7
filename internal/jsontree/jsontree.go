// Package jsontree reads JSON that a stranger sent into the values that Go programs expect: nil, bool,
// json.Number, string, []any and map[string]any.
//
// It differs from encoding/json in what it notices and in what it can cost. Where parsers disagree about
// a text, so that a guard and the server behind it may read two different things, there is a Note: a key
// twice in one object, a number that no float64 holds, bytes that are not UTF-8, half a surrogate pair.
// Reading goes on, as most parsers do: the last of two keys wins, U+FFFD stands for what is broken.
// Depth and number of values are bounded. The notation is that of RFC 8259 and nothing besides.
//
// The strings of a tree are parts of one copy of the text: who keeps one beyond the request clones it.
package jsontree

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Limits bound what a text may become. Zero values mean the defaults.
type Limits struct {
	Depth  int // of arrays and objects within each other; 64
	Values int // values of all kinds, names of fields included; 100,000
}

const (
	defaultDepth  = 64
	defaultValues = 100_000
	maxNotes      = 16
	maxNumber     = 64 // characters of a number that is read exactly
)

// A Note is something that parsers disagree about.
type Note struct {
	Kind  Kind
	Where string // JSON pointer (RFC 6901), with names of fields cut short
}

// Kind of a Note.
type Kind uint8

// What a Note can tell.
const (
	Duplicate Kind = iota + 1 // a name twice in one object
	Number                    // no float64 holds the number, or it has more than 64 characters
	Text                      // bytes that are not UTF-8, or half a surrogate pair
)

func (k Kind) String() string {
	switch k {
	case Duplicate:
		return "duplicate-key"
	case Number:
		return "number-range"
	case Text:
		return "invalid-text"
	}
	return "unknown"
}

// ErrDepth and ErrValues say that a text is beyond the limits: it was not read to its end.
var (
	ErrDepth  = errors.New("JSON is nested too deeply")
	ErrValues = errors.New("JSON has too many values")
)

// SyntaxError says where a text is no JSON. It quotes nothing of the text.
type SyntaxError struct {
	Offset int // in bytes
	Want   string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("no JSON: %s expected at byte %d", e.Want, e.Offset)
}

// Decode reads one text. Notes are at most sixteen. On an error the value is nil, and the notes tell
// what was noticed before it.
func Decode(text []byte, limits Limits) (any, []Note, error) {
	return DecodeString(string(text), limits)
}

// DecodeString is Decode without the copy.
func DecodeString(text string, limits Limits) (any, []Note, error) {
	d := decoder{s: text, depth: limits.Depth, values: limits.Values}
	if d.depth <= 0 {
		d.depth = defaultDepth
	}
	if d.values <= 0 {
		d.values = defaultValues
	}
	d.space()
	v, err := d.value()
	if err != nil {
		return nil, d.notes, err
	}
	d.space()
	if d.i < len(d.s) {
		return nil, d.notes, d.want("the end")
	}
	return v, d.notes, nil
}

type decoder struct {
	s      string
	i      int
	depth  int // left
	values int // left
	path   []step
	stack  []any // elements of the arrays that are not finished
	notes  []Note
}

// step is one token of the pointer to where the decoder is.
type step struct {
	name  string
	index int // of an array, or -1
}

func (d *decoder) want(what string) error { return &SyntaxError{d.i, what} }

func (d *decoder) note(k Kind) {
	if len(d.notes) >= maxNotes {
		return
	}
	var b strings.Builder
	for _, s := range d.path {
		b.WriteByte('/')
		if s.index >= 0 {
			b.WriteString(strconv.Itoa(s.index))
			continue
		}
		b.WriteString(Token(s.name))
		if b.Len() > 512 {
			break
		}
	}
	d.notes = append(d.notes, Note{k, b.String()})
}

// Token is a name as a part of a JSON pointer: escaped, cut to 64 bytes, without control characters. It is a copy.
func Token(name string) string {
	const most = 64
	cut := len(name) > most
	if cut {
		name = name[:most]
	}
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r == utf8.RuneError || r == 0x7f {
			return '?'
		}
		return r
	}, strings.Clone(name))
	if strings.ContainsAny(name, "~/") {
		name = strings.ReplaceAll(strings.ReplaceAll(name, "~", "~0"), "/", "~1")
	}
	if cut {
		name += "…"
	}
	return name
}

func (d *decoder) space() {
	for d.i < len(d.s) {
		switch d.s[d.i] {
		case ' ', '\t', '\n', '\r':
			d.i++
		default:
			return
		}
	}
}

func (d *decoder) value() (any, error) {
	if d.values--; d.values < 0 {
		return nil, ErrValues
	}
	if d.i >= len(d.s) {
		return nil, d.want("a value")
	}
	switch c := d.s[d.i]; c {
	case '{':
		return d.object()
	case '[':
		return d.array()
	case '"':
		s, err := d.text()
		if err != nil {
			return nil, err
		}
		return s, nil
	case 't':
		return true, d.word("true")
	case 'f':
		return false, d.word("false")
	case 'n':
		return nil, d.word("null")
	default:
		if c == '-' || c >= '0' && c <= '9' {
			return d.number()
		}
	}
	return nil, d.want("a value")
}

func (d *decoder) word(w string) error {
	if !strings.HasPrefix(d.s[d.i:], w) {
		return d.want("a value")
	}
	d.i += len(w)
	return nil
}

func (d *decoder) object() (any, error) {
	if d.depth--; d.depth < 0 {
		return nil, ErrDepth
	}
	d.i++
	m := make(map[string]any)
	d.space()
	if d.i < len(d.s) && d.s[d.i] == '}' {
		d.i++
		d.depth++
		return m, nil
	}
	d.path = append(d.path, step{index: -1})
	for {
		if d.i >= len(d.s) || d.s[d.i] != '"' {
			return nil, d.want("the name of a field")
		}
		if d.values--; d.values < 0 {
			return nil, ErrValues
		}
		name, err := d.text()
		if err != nil {
			return nil, err
		}
		d.path[len(d.path)-1].name = name
		if d.space(); d.i >= len(d.s) || d.s[d.i] != ':' {
			return nil, d.want("a colon")
		}
		d.i++
		d.space()
		v, err := d.value()
		if err != nil {
			return nil, err
		}
		before := len(m)
		m[name] = v
		if len(m) == before {
			d.note(Duplicate)
		}
		if d.space(); d.i >= len(d.s) {
			return nil, d.want("a comma or the end of an object")
		}
		switch d.s[d.i] {
		case ',':
			d.i++
			d.space()
		case '}':
			d.i++
			d.path = d.path[:len(d.path)-1]
			d.depth++
			return m, nil
		default:
			return nil, d.want("a comma or the end of an object")
		}
	}
}

func (d *decoder) array() (any, error) {
	if d.depth--; d.depth < 0 {
		return nil, ErrDepth
	}
	d.i++
	d.space()
	if d.i < len(d.s) && d.s[d.i] == ']' {
		d.i++
		d.depth++
		return []any{}, nil
	}
	d.path = append(d.path, step{index: 0})
	first := len(d.stack)
	for {
		v, err := d.value()
		if err != nil {
			return nil, err
		}
		d.stack = append(d.stack, v)
		d.path[len(d.path)-1].index++
		if d.space(); d.i >= len(d.s) {
			return nil, d.want("a comma or the end of an array")
		}
		switch d.s[d.i] {
		case ',':
			d.i++
			d.space()
		case ']':
			d.i++
			d.path = d.path[:len(d.path)-1]
			d.depth++
			a := make([]any, len(d.stack)-first)
			copy(a, d.stack[first:])
			clear(d.stack[first:])
			d.stack = d.stack[:first]
			return a, nil
		default:
			return nil, d.want("a comma or the end of an array")
		}
	}
}

// number reads a number; see RFC 8259, section 6.
func (d *decoder) number() (any, error) {
	from := d.i
	if d.s[d.i] == '-' {
		d.i++
	}
	switch {
	case d.i < len(d.s) && d.s[d.i] == '0':
		d.i++
	default:
		if !d.digits() {
			return nil, d.want("a digit")
		}
	}
	plain := true
	if d.i < len(d.s) && d.s[d.i] == '.' {
		d.i++
		if !d.digits() {
			return nil, d.want("a digit")
		}
	}
	if d.i < len(d.s) && (d.s[d.i] == 'e' || d.s[d.i] == 'E') {
		plain = false
		d.i++
		if d.i < len(d.s) && (d.s[d.i] == '+' || d.s[d.i] == '-') {
			d.i++
		}
		if !d.digits() {
			return nil, d.want("a digit")
		}
	}
	s := d.s[from:d.i]
	switch {
	case len(s) > maxNumber:
		d.note(Number)
	case plain: // 64 digits are within float64, before the point or after it
	default:
		if f, err := strconv.ParseFloat(s, 64); err != nil || f == 0 && strings.ContainsAny(mantissa(s), "123456789") {
			d.note(Number)
		}
	}
	return json.Number(s), nil
}

func mantissa(s string) string {
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		return s[:i]
	}
	return s
}

func (d *decoder) digits() bool {
	from := d.i
	for d.i < len(d.s) && d.s[d.i] >= '0' && d.s[d.i] <= '9' {
		d.i++
	}
	return d.i > from
}

// text reads a string; without escapes it is a part of the text.
func (d *decoder) text() (string, error) {
	d.i++
	from := d.i
	ascii := true
	for i := d.i; i < len(d.s); i++ {
		switch c := d.s[i]; {
		case c == '"':
			d.i = i + 1
			s := d.s[from:i]
			if !ascii && !utf8.ValidString(s) {
				d.note(Text)
				s = strings.ToValidUTF8(s, "\uFFFD")
			}
			return s, nil
		case c == '\\':
			return d.escaped(from, i)
		case c < ' ':
			d.i = i
			return "", d.want("no control character")
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	d.i = len(d.s)
	return "", d.want("the end of a string")
}

func (d *decoder) escaped(from, i int) (string, error) {
	var b strings.Builder
	b.WriteString(d.s[from:i])
	broken := false
	for i < len(d.s) {
		c := d.s[i]
		switch {
		case c == '"':
			d.i = i + 1
			s := b.String()
			if !utf8.ValidString(s) {
				broken = true
				s = strings.ToValidUTF8(s, "\uFFFD")
			}
			if broken {
				d.note(Text)
			}
			return s, nil
		case c < ' ':
			d.i = i
			return "", d.want("no control character")
		case c != '\\':
			b.WriteByte(c)
			i++
			continue
		}
		if i+1 >= len(d.s) {
			break
		}
		i += 2
		switch d.s[i-1] {
		case '"', '\\', '/':
			b.WriteByte(d.s[i-1])
		case 'b':
			b.WriteByte('\b')
		case 'f':
			b.WriteByte('\f')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 't':
			b.WriteByte('\t')
		case 'u':
			r, ok := d.hex(i)
			if !ok {
				d.i = i
				return "", d.want("four hexadecimal digits")
			}
			i += 4
			if utf16.IsSurrogate(r) {
				pair := utf8.RuneError
				if strings.HasPrefix(d.s[i:], `\u`) {
					if low, ok := d.hex(i + 2); ok {
						pair = utf16.DecodeRune(r, low)
					}
				}
				if pair == utf8.RuneError {
					broken = true
				} else {
					i += 6
				}
				r = pair
			}
			b.WriteRune(r)
		default:
			d.i = i - 1
			return "", d.want("a known escape")
		}
	}
	d.i = len(d.s)
	return "", d.want("the end of a string")
}

func (d *decoder) hex(i int) (rune, bool) {
	if i+4 > len(d.s) {
		return 0, false
	}
	var r rune
	for _, c := range []byte(d.s[i : i+4]) {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
