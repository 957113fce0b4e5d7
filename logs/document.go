package logs

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
)

// document is where the reader stands in a stream of JSON documents. Nothing here is kept that a reader would need
// which starts at [Reader.Offset]: between records, commas and closing brackets are passed over, so that the inside of
// an array can be read without its beginning.
type document struct {
	inside   bool  // in a record
	stray    bool  // in a line that is no document
	start    int   // of the record in buf
	depth    int   // open brackets of the record, or of the envelope's tail
	inString bool  //
	escaped  bool  //
	lines    bool  // the record has gone over a line's end
	tried    bool  // the record was looked at as an envelope
	envelope uint8 // none, open, tail
}

const (
	none uint8 = iota
	open       // in the array of an envelope
	tail       // behind it
)

// maxEnvelope bounds what may stand before the array of an envelope, in bytes.
const maxEnvelope = 4 << 10

// cutDocument returns the next record; ok is false where more must be read.
func (r *Reader) cutDocument() (record []byte, ok bool) {
	d := &r.doc
	for {
		if !d.inside && d.envelope != tail {
			if record, ok = r.wholeLine(); ok {
				return record, true
			}
			if !d.stray && !r.begin() {
				return nil, false
			}
			if d.stray {
				return r.strayLine()
			}
		}
		switch r.scan() {
		case scanMore:
			if d.envelope == tail {
				r.at = r.scanned // the tail is not kept
			}
			return nil, false
		case scanEnvelope:
			r.at = r.scanned
			d.inside, d.envelope = false, open
		case scanTail:
			r.at = r.scanned
			d.envelope, d.inside = none, false
		case scanRecord, scanBroken:
			record = r.buf[r.at:r.scanned]
			r.at = r.scanned
			d.inside = false
			if r.skipping {
				r.skipping = false
				r.stats.Skipped += uint64(len(record))
				continue
			}
			return record, true
		}
	}
}

// wholeLine is the fast way: the line is one document, which shows without reading it, because it begins and ends
// with a brace and the next line begins with one.
func (r *Reader) wholeLine() ([]byte, bool) {
	if r.doc.stray || r.doc.envelope != none {
		return nil, false
	}
	for r.at < r.end && r.buf[r.at] <= ' ' {
		r.at++
	}
	if r.at == r.end || r.buf[r.at] != '{' {
		return nil, false
	}
	i := bytes.IndexByte(r.buf[max(r.at, r.scanned):r.end], '\n')
	if i < 0 {
		return nil, false
	}
	i += max(r.at, r.scanned)
	if i+1 >= r.end || r.buf[i+1] != '{' {
		return nil, false
	}
	line := bytes.TrimRight(r.buf[r.at:i], "\r \t")
	if len(line) < 2 || line[len(line)-1] != '}' || bytes.Contains(line, []byte("}{")) {
		return nil, false
	}
	if len(r.format.Envelopes) > 0 {
		if first := bytes.IndexByte(line, '['); first > 0 && r.opensEnvelope(line[:first]) {
			return nil, false
		}
	}
	r.at, r.scanned = i+1, i+1
	return line, true
}

// begin goes to the beginning of the next record, past what stands between records. It reports whether there is
// anything: a document, the tail of an envelope, or a stray line.
func (r *Reader) begin() bool {
	d := &r.doc
	for ; r.at < r.end; r.at++ {
		switch r.buf[r.at] {
		case ' ', '\t', '\r', '\n', ',', '[', '}', 0xef, 0xbb, 0xbf, 0x1e: // byte order mark; RFC 7464's separator
		case ']':
			if d.envelope == open {
				r.at++
				*d = document{envelope: tail, depth: 1, inside: true}
				r.scanned = r.at
				return true
			}
		case '{':
			envelope := d.envelope
			*d = document{inside: true, start: r.at, envelope: envelope, depth: 1, tried: envelope != none}
			r.scanned = r.at + 1
			return true
		default:
			d.stray = true
			r.scanned = max(r.scanned, r.at)
			return true
		}
	}
	r.scanned = r.at
	return false
}

// strayLine returns a line that is no document, so that it is counted as one that does not parse.
func (r *Reader) strayLine() ([]byte, bool) {
	i := bytes.IndexByte(r.buf[r.scanned:r.end], '\n')
	if i < 0 {
		r.scanned = r.end
		return nil, false
	}
	line := bytes.TrimRight(r.buf[r.at:r.scanned+i], "\r \t")
	r.at = r.scanned + i + 1
	r.scanned = r.at
	r.doc.stray = false
	if r.skipping {
		r.skipping = false
		r.stats.Skipped += uint64(len(line))
		return nil, true
	}
	return line, true
}

type scanned uint8

const (
	scanMore     scanned = iota
	scanRecord           // r.scanned is behind the record
	scanBroken           // behind a document that broke off
	scanEnvelope         // behind the opening bracket of an envelope's array
	scanTail             // behind the envelope
)

// structural marks the bytes outside of strings at which scan stops.
var structural = [256]bool{'"': true, '{': true, '}': true, '[': true, ']': true, '\n': true}

// scan looks for the end of the record, from r.scanned on.
func (r *Reader) scan() scanned {
	d := &r.doc
	buf := r.buf[:r.end]
	for i := r.scanned; i < len(buf); i++ {
		if d.inString {
			if d.escaped {
				d.escaped = false
				continue
			}
			if i += text(buf[i:]); i == len(buf) {
				break
			}
			switch buf[i] {
			case '\\':
				d.escaped = true
			case '"':
				d.inString = false
			case '\n': // no string goes over a line's end
				return r.broken(i)
			}
			continue
		}
		c := buf[i]
		if !structural[c] {
			continue
		}
		switch c {
		case '"':
			d.inString = true
		case '{':
			d.depth++
		case '[':
			if d.depth == 1 && !d.tried && d.envelope == none && !r.skipping {
				d.tried = true
				if r.opensEnvelope(buf[d.start:i]) {
					r.scanned = i + 1
					return scanEnvelope
				}
			}
			d.depth++
		case '}', ']':
			if d.depth--; d.depth == 0 {
				r.scanned = i + 1
				if d.envelope == tail {
					return scanTail
				}
				return scanRecord
			}
		case '\n':
			// A first line that is not closed, and a line that begins a document anew: the first broke off.
			if !d.lines && d.envelope != tail && i+1 < len(buf) && buf[i+1] == '{' && (r.skipping || len(bytes.TrimSpace(buf[d.start:i])) > 1) {
				return r.broken(i)
			}
			if i+1 == len(buf) && !d.lines {
				r.scanned = i // look again when the next line is there
				return scanMore
			}
			d.lines = true
		}
	}
	r.scanned = len(buf)
	return scanMore
}

// text returns how many bytes come before a quote, a backslash or a line's end. It looks at eight bytes at once: a byte
// of a word is zero where subtracting one borrows from its highest bit; of the bits that are then set, the lowest is right.
func text(b []byte) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		quote, back, line := x^(ones*'"'), x^(ones*'\\'), x^(ones*'\n')
		if m := ((quote-ones)&^quote | (back-ones)&^back | (line-ones)&^line) & highs; m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c == '"' || c == '\\' || c == '\n' {
			break
		}
	}
	return i
}

func (r *Reader) broken(i int) scanned {
	r.scanned = i + 1
	if r.doc.envelope == tail {
		return scanTail
	}
	r.stats.Broken++
	return scanBroken
}

// opensEnvelope reports whether head, which is a document up to its first "[", ends with a key that the format
// opens. Only what lists of Kubernetes begin with may stand before it.
func (r *Reader) opensEnvelope(head []byte) bool {
	if len(r.format.Envelopes) == 0 || len(head) > maxEnvelope {
		return false
	}
	head = bytes.TrimLeft(head[1:], " \t\r\n")
	for {
		key, rest, ok := quoted(head)
		if !ok {
			return false
		}
		rest, ok = bytes.CutPrefix(bytes.TrimLeft(rest, " \t\r\n"), []byte{':'})
		if !ok {
			return false
		}
		rest = bytes.TrimLeft(rest, " \t\r\n")
		if len(rest) == 0 {
			return slices.Contains(r.format.Envelopes, string(key))
		}
		switch string(key) {
		case "kind", "apiVersion":
			_, rest, ok = quoted(rest)
		case "metadata":
			var i int
			i = bytes.IndexByte(rest, '}')
			ok = i >= 0
			rest = rest[i+1:]
		default:
			return false
		}
		rest, comma := bytes.CutPrefix(bytes.TrimLeft(rest, " \t\r\n"), []byte{','})
		if !ok || !comma {
			return false
		}
		head = bytes.TrimLeft(rest, " \t\r\n")
	}
}

// quoted returns the text of the JSON string that b begins with, without escapes, and what follows.
func quoted(b []byte) (text, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '"' {
		return nil, nil, false
	}
	i := bytes.IndexByte(b[1:], '"')
	if i < 0 || bytes.IndexByte(b[1:i+1], '\\') >= 0 {
		return nil, nil, false
	}
	return b[1 : i+1], b[i+2:], true
}
