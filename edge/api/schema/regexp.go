package schema

import (
	"errors"
	"math"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// How much of a pattern is enforced.
type enforced int

const (
	entirely enforced = iota
	most              // but for how often what repeats more than 1000 times does so
	none
)

// compileRegexp reads a pattern of ECMA-262 as far as it is regular; where it is not, as with a look-ahead or a
// back-reference, it returns one that matches every text. Go's matching takes time in proportion
// to the text: a pattern cannot be made slow by what is sent. Go counts to 1000: beyond that, only the length of a text
// that is one repetition as a whole is looked at.
func compileRegexp(pattern string) (jsonschema.Regexp, enforced) {
	p := translate(pattern)
	re, err := regexp.Compile(p)
	if err == nil {
		return re, entirely
	}
	if e, ok := errors.AsType[*syntax.Error](err); ok && e.Code == syntax.ErrInvalidRepeatSize {
		if loose, err := regexp.Compile(repeats.ReplaceAllStringFunc(p, loosen)); err == nil {
			if m := oneRepeat.FindStringSubmatch(p); m != nil {
				from, _ := strconv.Atoi(m[2])
				to, err := strconv.Atoi(m[3])
				if err != nil {
					to = from
				}
				if m[4] != "" && m[3] == "" {
					to = math.MaxInt
				}
				return &counted{loose, from, to}, entirely
			}
			return loose, most
		}
	}
	return everything(pattern), none
}

var (
	repeats   = regexp.MustCompile(`\{(\d+)(,?)(\d*)\}`)
	oneRepeat = regexp.MustCompile(`^\^(\[[^\]\\]*\]|\\[dwsDWS]|\.)\{(\d+)(?:,(\d+))?(,?)\}\$$`)
)

// loosen makes of a repetition that Go does not count one without an upper bound.
func loosen(repeat string) string {
	from, rest, ranged := strings.Cut(strings.Trim(repeat, "{}"), ",")
	low, err := strconv.Atoi(from)
	high, err2 := strconv.Atoi(rest)
	if !ranged {
		high, err2 = low, nil
	}
	if err == nil && low <= 1000 && err2 == nil && high <= 1000 {
		return repeat
	}
	return "{" + strconv.Itoa(min(low, 1000)) + ",}"
}

// counted is a pattern of one repetition whose number is the length of the text.
type counted struct {
	*regexp.Regexp
	from, to int
}

func (c *counted) MatchString(s string) bool {
	n := utf8.RuneCountInString(s)
	return n >= c.from && n <= c.to && c.Regexp.MatchString(s)
}

type everything string

func (everything) MatchString(string) bool { return true }
func (e everything) String() string        { return string(e) }

// translate says in Go's notation what only ECMA-262 writes so.
func translate(p string) string {
	if !strings.ContainsAny(p, `\[`) {
		return p
	}
	var b strings.Builder
	class := false
	for i := 0; i < len(p); i++ {
		c := p[i]
		switch {
		case c == '[' && !class:
			switch {
			case strings.HasPrefix(p[i:], "[^]"):
				b.WriteString(`(?s:.)`)
				i += 2
			case strings.HasPrefix(p[i:], "[]"):
				b.WriteString(`[^\x{0}-\x{10FFFF}]`)
				i++
			default:
				class = true
				b.WriteByte(c)
				if i+1 < len(p) && p[i+1] == '^' {
					b.WriteByte('^')
					i++
				}
			}
		case c == '[': // within a class it is a bracket like others
			b.WriteString(`\[`)
		case c == ']':
			class = false
			b.WriteByte(c)
		case c != '\\' || i+1 >= len(p):
			b.WriteByte(c)
		default:
			i++
			i += escape(&b, p[i:], class)
		}
	}
	return b.String()
}

// escape writes what follows a backslash, and returns how much more than one byte that was.
func escape(b *strings.Builder, rest string, class bool) int {
	digits := func(n int) bool {
		if len(rest) < n+1 {
			return false
		}
		for _, c := range []byte(rest[1 : n+1]) {
			if !strings.ContainsRune("0123456789abcdefABCDEF", rune(c)) {
				return false
			}
		}
		return true
	}
	switch c := rest[0]; {
	case c == 'u' && strings.HasPrefix(rest, "u{"):
		if end := strings.IndexByte(rest, '}'); end > 0 {
			b.WriteString(`\x` + rest[1:end+1])
			return end
		}
	case c == 'u' && digits(4):
		b.WriteString(`\x{` + rest[1:5] + `}`)
		return 4
	case c == 'c' && len(rest) > 1:
		b.WriteString(`\x0` + string("0123456789abcdef"[rest[1]&15]))
		return 1
	case c == 's':
		// ECMA-262's white space is more than ASCII's.
		inner := `\t\n\v\f\r \x{a0}\x{feff}\p{Zs}\x{2028}\x{2029}`
		if class {
			b.WriteString(inner)
		} else {
			b.WriteString("[" + inner + "]")
		}
		return 0
	case c == 'S' && !class:
		b.WriteString(`[^\t\n\v\f\r \x{a0}\x{feff}\p{Zs}\x{2028}\x{2029}]`)
		return 0
	case c == 'b' && class:
		b.WriteString(`\x08`)
		return 0
	case c == '0':
		b.WriteString(`\x00`)
		return 0
	case c >= 0x80 || strings.IndexByte("/-#&~<>=!:;,%@\"'`_ ", c) >= 0:
		// An escape that needs none.
		if c == '-' {
			b.WriteString(`\-`)
		} else {
			b.WriteByte(c)
		}
		return 0
	}
	b.WriteByte('\\')
	b.WriteByte(rest[0])
	return 0
}
