package rulefile

import (
	"unicode/utf8"
)

// Place is where a character stands in a file, both from 1, the column in characters.
type Place struct{ Line, Column int }

// Alignment says where in the file each character of a scalar's value stands.
type Alignment []Place

// At returns the place of the character at that offset, the last one's behind the end.
func (a Alignment) At(offset int) Place {
	if len(a) == 0 {
		return Place{1, 1}
	}
	return a[max(0, min(offset, len(a)-1))]
}

// AlignText aligns a text that is a file of its own.
func AlignText(text string) Alignment {
	a := make(Alignment, 0, len(text)+1)
	at := Place{1, 1}
	for _, c := range text {
		a = append(a, at)
		if at.Column++; c == '\n' {
			at = Place{at.Line + 1, 1}
		}
	}
	return append(a, at)
}

// style is how a scalar is written.
type style uint8

const (
	plainScalar style = iota
	singleQuoted
	doubleQuoted
	block // literal or folded: the text begins in the line below
)

// align finds where each character of a scalar's value stands. YAML folds lines, strips
// indentation and knows escapes, so it walks value and source together: spaces and
// line ends on either side match any run of them on the other, all else must be the same.
// Where they do not agree, the rest of the value is said to stand where they parted.
func align(lines []string, start Place, how style, value string) Alignment {
	s := &cursor{lines: lines, line: start.Line, rest: ""}
	switch how {
	case block:
		s.seek(Place{start.Line + 1, 1})
	case singleQuoted, doubleQuoted:
		s.seek(Place{start.Line, start.Column + 1})
	default:
		s.seek(start)
	}
	a := make(Alignment, 0, len(value)+1)
	for _, c := range value {
		if isSpace(c) && !(how == doubleQuoted && s.peek() == '\\') {
			a = append(a, s.place())
			if isSpace(s.peek()) {
				s.next()
			}
			continue
		}
		s.skipSpace(how)
		a = append(a, s.place())
		switch {
		case how == doubleQuoted && s.peek() == '\\':
			s.escape()
		case how == singleQuoted && c == '\'':
			s.next()
			s.next()
		case s.peek() == c:
			s.next()
		}
	}
	return append(a, s.place())
}

func isSpace(c rune) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// cursor walks over the characters of the lines; a line's end is '\n', the file's end -1.
type cursor struct {
	lines  []string
	line   int // from 1
	column int
	rest   string // of the line
}

func (s *cursor) seek(p Place) {
	s.line, s.column, s.rest = p.Line, 1, ""
	if p.Line > len(s.lines) {
		return
	}
	s.rest = s.lines[p.Line-1]
	for s.column < p.Column && s.rest != "" {
		s.next()
	}
}

func (s *cursor) place() Place { return Place{s.line, s.column} }

func (s *cursor) peek() rune {
	if s.rest == "" {
		if s.line >= len(s.lines) {
			return -1
		}
		return '\n'
	}
	c, _ := utf8.DecodeRuneInString(s.rest)
	return c
}

func (s *cursor) next() {
	if s.rest == "" {
		if s.line < len(s.lines) {
			s.line, s.column, s.rest = s.line+1, 1, s.lines[s.line]
		}
		return
	}
	_, size := utf8.DecodeRuneInString(s.rest)
	s.rest, s.column = s.rest[size:], s.column+1
}

func (s *cursor) skipSpace(how style) {
	for isSpace(s.peek()) {
		s.next()
	}
	// A backslash at the end of a line in double quotes joins the next one to it.
	if how == doubleQuoted && s.rest == "\\" {
		s.next()
		s.skipSpace(how)
	}
}

// escape passes over an escape sequence of a double-quoted scalar.
func (s *cursor) escape() {
	s.next()
	length := map[rune]int{'x': 2, 'u': 4, 'U': 8}[s.peek()]
	for range 1 + length {
		s.next()
	}
}
