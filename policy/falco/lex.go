package falco

import (
	"strings"
	"unicode/utf8"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/rulefile"
)

// text is a condition, an output or another text of a rule file, which may have been put together from several: one
// appends to another. It knows where each of its characters stands.
type text struct {
	value  string
	pieces []piece
}

type piece struct {
	begin int // in bytes of value
	file  string
	where rulefile.Span
}

// append puts a piece behind the text, a space between them, as Falco does.
func (t text) append(more text) text {
	if t.value == "" {
		return more
	}
	out := text{value: t.value + " ", pieces: t.pieces[:len(t.pieces):len(t.pieces)]}
	for _, p := range more.pieces {
		p.begin += len(out.value)
		out.pieces = append(out.pieces, p)
	}
	out.value += more.value
	return out
}

// at returns the problem's place for a byte of the text.
func (t *text) at(offset int) policy.Problem {
	offset = max(0, min(offset, len(t.value)))
	for i := len(t.pieces) - 1; i >= 0; i-- {
		if p := t.pieces[i]; p.begin <= offset || i == 0 {
			at := p.where.Align().At(utf8.RuneCountInString(t.value[min(p.begin, offset):offset]))
			return policy.Problem{File: p.file, Line: max(1, at.Line), Column: max(1, at.Column)}
		}
	}
	return policy.Problem{}
}

// lexer reads the words of a condition. The grammar is that of the Falco libraries' filter language: a name is what may be
// one where one is wanted, and a bare word is anything up to a blank, a quote, a comma, an equals sign or a parenthesis.
type lexer struct {
	src  *text
	pos  int
	deep int
}

// mistake is what is wrong with a text, at a byte of it.
type mistake struct {
	src     *text
	offset  int
	message string
	hint    string
}

func isBlank(c byte) bool {
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\b' || c == '\v' || c == '\f'
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// blank passes over blanks, and reports whether there were any.
func (l *lexer) blank() bool {
	from := l.pos
	for l.pos < len(l.src.value) && isBlank(l.src.value[l.pos]) {
		l.pos++
	}
	return l.pos > from
}

func (l *lexer) rest() string { return l.src.value[l.pos:] }

func (l *lexer) done() bool { return l.pos >= len(l.src.value) }

// take passes over a symbol, where it stands next.
func (l *lexer) take(symbol string) bool {
	if strings.HasPrefix(l.rest(), symbol) {
		l.pos += len(symbol)
		return true
	}
	return false
}

// peekName returns the name that stands next: letters, digits and underscores in parts with dots between them, each
// beginning with a letter; "" for none.
func (l *lexer) peekName() string {
	s := l.rest()
	end := 0
	for {
		if end >= len(s) || !isLetter(s[end]) {
			break
		}
		i := end + 1
		for i < len(s) && (isLetter(s[i]) || isDigit(s[i]) || s[i] == '_') {
			i++
		}
		end = i
		if end+1 >= len(s) || s[end] != '.' || !isLetter(s[end+1]) {
			break
		}
		end++
	}
	return s[:end]
}

// word passes over a word of the language, where it stands next and ends there.
func (l *lexer) word(w string) bool {
	if l.peekName() != w {
		return false
	}
	l.pos += len(w)
	return true
}

// bare returns the bare word that stands next, "" for none.
func (l *lexer) bare() string {
	s := l.rest()
	end := strings.IndexFunc(s, func(c rune) bool {
		return c < utf8.RuneSelf && (isBlank(byte(c)) || strings.ContainsRune(`()"'=,`, c))
	})
	if end < 0 {
		end = len(s)
	}
	l.pos += end
	return s[:end]
}

// argument returns the bare word of a field's brackets.
func (l *lexer) argument() string {
	s := l.rest()
	end := strings.IndexFunc(s, func(c rune) bool {
		return c < utf8.RuneSelf && (isBlank(byte(c)) || strings.ContainsRune(`[]"'`, c))
	})
	if end < 0 {
		end = len(s)
	}
	l.pos += end
	return s[:end]
}

func (l *lexer) wrong(offset int, message, hint string) *mistake {
	return &mistake{l.src, offset, message, hint}
}

// quoted returns the text in quotes that stands next; ok is false where none does.
func (l *lexer) quoted() (value string, ok bool, m *mistake) {
	if l.done() || l.rest()[0] != '"' && l.rest()[0] != '\'' {
		return "", false, nil
	}
	begin, quote := l.pos, l.rest()[0]
	var b strings.Builder
	for l.pos++; !l.done(); l.pos++ {
		c := l.rest()[0]
		switch {
		case c == quote:
			l.pos++
			return b.String(), true, nil
		case c != '\\':
			b.WriteByte(c)
			continue
		case len(l.rest()) < 2:
			continue
		}
		at := l.pos
		l.pos++
		switch c = l.rest()[0]; c {
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
		case '\\', ' ': // rules are in use that write "\ " for a backslash: Falco reads them so
			b.WriteByte('\\')
		case '/':
			b.WriteByte('/')
		case 'x':
			hi, lo := byte(0), byte(0)
			if len(l.rest()) > 2 {
				hi, lo = l.rest()[1], l.rest()[2]
			}
			v, ok := hexByte(hi, lo)
			if !ok {
				return "", false, l.wrong(at, `\x without two hexadecimal digits`, `write \\ for a backslash`)
			}
			b.WriteByte(v)
			l.pos += 2
		default:
			if c != quote {
				return "", false, l.wrong(at, "unknown escape \\"+policy.Printable(l.rest()[:1], 4), `write \\ for a backslash`)
			}
			b.WriteByte(c)
		}
	}
	l.pos = begin
	return "", false, l.wrong(begin, "a quote that is not closed", "")
}

func hexByte(hi, lo byte) (byte, bool) {
	h, l := hexDigit(hi), hexDigit(lo)
	return byte(h<<4 | l), h >= 0 && l >= 0
}

func hexDigit(c byte) int {
	switch {
	case isDigit(c):
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}
