package coverage

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Shape is what values of a parameter look like. Its zero value is none.
type Shape struct {
	// Name is for people, as in "a number".
	Name string
	// Pattern is an expression (RE2) that a whole value fits.
	Pattern string
}

// Expression returns the pattern bound to both ends of a value. SecLang reads ^ and $ as those of a line: an attack in a second line
// would pass with them.
func (s *Shape) Expression() string { return `\A(?:` + s.Pattern + `)\z` }

const (
	word = `[\pL\pN]+(?:['’-][\pL\pN]+)*`
	part = `[\pL\pN_][\pL\pN_.-]*` // of a path: not ".."
)

// shapes are those that have a name, the narrowest first.
func shapes() []Shape {
	return []Shape{
		{"a number", `[+-]?[0-9]{1,20}(?:[.,][0-9]{1,20})?`},
		{"a UUID", `[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}`},
		{"hexadecimal", `[0-9a-fA-F]{8,}`},
		{"a time", `[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?)?`},
		{"a name", `[\pL_][\pL\pN_.-]*`},
		{"a mail address", `[A-Za-z0-9._+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+`},
		{"a path", `/?` + part + `(?:/` + part + `)*/?`},
		{"base64", `[A-Za-z0-9+/_-]{16,}={0,2}`},
		{"an address", `https?://[A-Za-z0-9.-]+(?::[0-9]+)?(?:/` + part + `)*/?(?:\?[\pL\pN_.=&%+-]*)?`},
		{"words", word + `(?:[.,;:!?]? ` + word + `)*[.!?]?`},
		{"prose", `[(\x22]?` + word + `(?:[.,;:!?)\x22]*\s+[\x22(]?` + word + `)*[.,;:!?)\x22]*\s*`},
	}
}

// maxSample bounds the values that a shape is made of, in bytes.
const maxSample = 64 << 10

// ShapeOf returns the narrowest shape of all the values: one that has a name, or else what characters they consist of and about how long
// they are. It reports false where there is none: no value, one that is no text, or too many characters to name.
func ShapeOf(list ...string) (Shape, bool) {
	if len(list) == 0 || slices.ContainsFunc(list, func(v string) bool { return v == "" || len(v) > maxSample || !utf8.ValidString(v) }) {
		return Shape{}, false
	}
	for _, s := range shapes() {
		rx := regexp.MustCompile(s.Expression())
		if !slices.ContainsFunc(list, func(v string) bool { return !rx.MatchString(v) }) {
			return s, true
		}
	}
	return alphabet(list)
}

// alphabet is the characters that values consist of: letters and digits as such, others one by one.
func alphabet(list []string) (Shape, bool) {
	var letters, digits, space bool
	var others []rune
	longest, shortest := 0, maxSample
	for _, v := range list {
		n := utf8.RuneCountInString(v)
		longest, shortest = max(longest, n), min(shortest, n)
		for _, c := range v {
			switch {
			case unicode.IsLetter(c) || unicode.IsMark(c):
				letters = true
			case unicode.IsNumber(c):
				digits = true
			case c == ' ' || c == '\n' || c == '\r' || c == '\t':
				space = true
			case !slices.Contains(others, c):
				others = append(others, c)
			}
		}
	}
	if len(others) > 40 {
		return Shape{}, false
	}
	slices.Sort(others)
	var names []string
	var class strings.Builder
	for _, k := range []struct {
		has         bool
		name, class string
	}{{letters, "letters", `\pL\pM`}, {digits, "digits", `\pN`}, {space, "blanks", `\s`}} {
		if k.has {
			names = append(names, k.name)
			class.WriteString(k.class)
		}
	}
	if len(others) > 0 {
		names = append(names, string(others))
	}
	for _, c := range others {
		class.WriteString(literal(c))
	}
	// Attacks are short and texts are long, or the other way round: bounds of the length tell some apart. They are rough, so that
	// they fit others of the kind, and small, since a counter costs an automaton a state for each.
	least, most := 1, 0
	for least*2 <= min(shortest, 32) {
		least *= 2
	}
	for _, n := range []int{16, 32, 64} {
		if longest <= n {
			most = n
			break
		}
	}
	s := Shape{Name: "of " + strings.Join(names, ", ") + " alone", Pattern: "[" + class.String() + "]"}
	switch {
	case most > 0:
		s.Name += fmt.Sprintf(", %d to %d characters", least, most)
		s.Pattern += fmt.Sprintf("{%d,%d}", least, most)
	case least > 1:
		s.Name += fmt.Sprintf(", %d characters and more", least)
		s.Pattern += fmt.Sprintf("{%d,}", least)
	default:
		s.Pattern += "+"
	}
	return s, true
}

// literal writes a character for an expression that stands in quotes in a directive, within a class or outside.
func literal(c rune) string {
	switch {
	case unicode.IsLetter(c) || unicode.IsDigit(c) || strings.ContainsRune(" /_.,:;=@!#&<>~-", c) && c != '-' && c != '.':
		return string(c)
	case c > 0x7f:
		return fmt.Sprintf(`\x{%x}`, c)
	}
	return fmt.Sprintf(`\x%02x`, c)
}

// quote writes a text for such an expression.
func quote(text string) string {
	var b strings.Builder
	for _, c := range text {
		b.WriteString(literal(c))
	}
	return b.String()
}
