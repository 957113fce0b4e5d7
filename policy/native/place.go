package native

import (
	"strings"
	"unicode/utf8"
)

// place is where a character stands in a file, both from 1, the column in characters.
type place struct{ line, column int }

// alignment says where in the file each character of a scalar's value stands.
type alignment []place

// at returns the place of the character at that offset, the last one's behind the end.
func (a alignment) at(offset int) place {
	if len(a) == 0 {
		return place{1, 1}
	}
	return a[max(0, min(offset, len(a)-1))]
}

// alignText aligns a text that is a file of its own.
func alignText(text string) alignment {
	a := make(alignment, 0, len(text)+1)
	at := place{1, 1}
	for _, c := range text {
		a = append(a, at)
		if at.column++; c == '\n' {
			at = place{at.line + 1, 1}
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
func align(lines []string, start place, how style, value string) alignment {
	s := &cursor{lines: lines, line: start.line, rest: ""}
	switch how {
	case block:
		s.seek(place{start.line + 1, 1})
	case singleQuoted, doubleQuoted:
		s.seek(place{start.line, start.column + 1})
	default:
		s.seek(start)
	}
	a := make(alignment, 0, len(value)+1)
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

func (s *cursor) seek(p place) {
	s.line, s.column, s.rest = p.line, 1, ""
	if p.line > len(s.lines) {
		return
	}
	s.rest = s.lines[p.line-1]
	for s.column < p.column && s.rest != "" {
		s.next()
	}
}

func (s *cursor) place() place { return place{s.line, s.column} }

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

func splitLines(text string) []string { return strings.Split(text, "\n") }
