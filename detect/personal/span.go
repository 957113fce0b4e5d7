package personal

import "bytes"

// A span is how a match goes on that has no bounded length: what it is made of tells its end, byte by byte, so that nothing has to be
// held back.
type span struct {
	mode   spanMode
	quoted bool // it stands in a string: a quote ends it
	begun  bool // the first bytes of the line were looked at
	line   int  // lines since the beginning
	length int
}

type spanMode uint8

const (
	spanNone   spanMode = iota // ends where the beginning does
	spanLine                   // to the line's end
	spanPanic                  // to the end of the next line
	spanToken                  // letters, digits, '.', '-', '_'
	spanPEM                    // to "--"
	spanGo                     // a function, its file, and so on
	spanPython                 // indented lines and one more
	spanHash                   // lines that begin with '#'
	spanIndent                 // indented lines
)

// maxSpan bounds a span, in bytes: a trace of thousands of frames goes on as text.
const maxSpan = 256 << 10

func newSpan(mode spanMode, text []byte, at, end int) span {
	s := span{mode: mode, quoted: quoted(text, at), length: end - at}
	if mode >= spanGo {
		s.line = 1 // the beginning went over the first line's end
	}
	if mode == spanHash || mode == spanIndent {
		s.begun = true
	}
	return s
}

// quoted reports whether text[at:] stands in a string, as of JSON: the nearest quote before it, in its line, follows what a string follows. Where there is
// neither a quote nor a line's end, it does: better a mask that ends early than a document that is none.
func quoted(text []byte, at int) bool {
	for i := at - 1; i >= max(0, at-maxQuoted); i-- {
		switch text[i] {
		case '\n':
			return false
		case '"':
			if escaped(text, i) {
				continue
			}
			for i--; i > max(0, at-maxQuoted-16) && text[i] == ' '; i-- {
			}
			return i < 0 || bytes.IndexByte([]byte(":,[{=(\n"), text[i]) >= 0
		}
	}
	return at > maxQuoted
}

const maxQuoted = 320

// run returns how far the span goes on from text[at:]. over says that it ends there; else it takes more text.
func (s *span) run(text []byte, at int, whole bool) (end int, over bool) {
	if s.mode == spanNone {
		return at, true
	}
	for i := at; i < len(text); {
		if s.length >= maxSpan {
			return i, true
		}
		size := unit(text[i:], whole)
		if size == 0 {
			return i, false
		}
		c, newline := text[i], false
		switch {
		case c == '\n', c == '\\' && size == 2 && text[i+1] == 'n':
			newline = true
		case c == '"' && s.quoted:
			return i, true
		case c == '<' && (size > 1 && text[i+1] == '/' || bytes.HasPrefix(text[i:i+size], []byte("<br"))):
			return i, true
		}
		switch s.mode {
		case spanToken:
			if !isWord(c) && c != '.' && c != '-' {
				return i, true
			}
		case spanPEM:
			if c == '-' {
				if i+1 == len(text) && !whole {
					return i, false
				}
				if i+1 < len(text) && text[i+1] == '-' {
					return i, true
				}
			}
			if c == '"' || c == '<' || c == '{' || c == '}' {
				return i, true
			}
		default:
			if newline && (s.mode == spanLine || s.mode == spanPanic && s.line == 1 || s.mode == spanPython && s.line < 0) {
				return i, true
			}
			if !newline && !s.begun && !s.belongs(c, c == '\\' && size == 2 && text[i+1] == 't') {
				return i, true
			}
			if newline && !s.begun && s.mode >= spanGo {
				return i, true // an empty line
			}
			s.begun = true
			if newline {
				s.begun = false
				s.line++
			}
		}
		i += size
		s.length += size
	}
	return len(text), whole
}

// belongs reports whether a line goes on with the span that begins with c, or with an escaped tab.
func (s *span) belongs(c byte, tab bool) bool {
	indented := tab || c == ' ' || c == '\t'
	switch s.mode {
	case spanGo:
		if s.line%2 == 0 {
			return indented
		}
		return isLower(c) || isUpper(c) || c == '.' || c == '_'
	case spanPython:
		if !indented {
			s.line = -maxSpan // the exception: the last line
		}
	case spanHash:
		return c == '#'
	case spanIndent:
		return indented
	}
	return true
}

// unit returns how many bytes belong together: an escape, an HTML tag without attributes, else one. 0 if text, which is not whole, ends before
// that can be said.
func unit(text []byte, whole bool) int {
	n, open := 1, false
	switch text[0] {
	case '\\':
		n, open = backslash(text)
	case '%':
		switch {
		case len(text) >= 3 && hexPair(text[1], text[2]) >= 0:
			n = 3
		case len(text) == 1, len(text) == 2 && hexDigit(text[1]) >= 0:
			open = true
		}
	case '&': // &lt; and the like
		n, open = closedBy(text, ';', '#', 8)
	case '<':
		n, open = closedBy(text, '>', '/', 8)
	}
	if open && !whole {
		return 0
	}
	return n
}

func backslash(text []byte) (n int, open bool) {
	switch {
	case len(text) == 1:
		return 1, true
	case text[1] != 'u':
		return 2, false
	}
	for i := 2; i < 6; i++ {
		if i == len(text) {
			return 2, true
		}
		if hexDigit(text[i]) < 0 {
			return 2, false
		}
	}
	return 6, false
}

// closedBy returns the length of a word between text's first byte and end, behind mark perhaps.
func closedBy(text []byte, end, mark byte, limit int) (n int, open bool) {
	for i := 1; i < limit; i++ {
		if i == len(text) {
			return 1, true
		}
		switch c := text[i]; {
		case c == end && i > 1:
			return i + 1, false
		case !isWord(c) && (c != mark || i > 1):
			return 1, false
		}
	}
	return 1, false
}
