package match

import (
	"encoding/base64"
	"strings"
	"unicode"
	"unicode/utf8"
	"unsafe"
)

// Fold returns the text as a comparison with Fold sees it: each character in Unicode's simple
// lower case. Bytes that are no UTF-8 stay as they are.
func Fold(s string) string {
	if !needsFold(s) {
		return s
	}
	return string(appendFold(make([]byte, 0, len(s)+4), s))
}

// needsFold reports whether Fold may change the text.
func needsFold(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c >= utf8.RuneSelf || 'A' <= c && c <= 'Z' {
			return true
		}
	}
	return false
}

func appendFold(b []byte, s string) []byte {
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if 'A' <= c && c <= 'Z' {
				c |= 0x20
			}
			b = append(b, c)
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			b = append(b, c)
		} else {
			b = utf8.AppendRune(b, unicode.ToLower(r))
		}
		i += size
	}
	return b
}

// needed reports whether the step may change the text.
func (s Step) needed(v string) bool {
	switch s {
	case StepLower:
		return hasByteIn(v, 'A', 'Z')
	case StepUpper:
		return hasByteIn(v, 'a', 'z')
	case StepURLDecode:
		return strings.IndexByte(v, '%') >= 0
	case StepBasename:
		return strings.IndexByte(v, '/') >= 0
	case StepCommand:
		return strings.IndexByte(firstWord(v), '/') >= 0
	}
	return true
}

// append appends what the step makes of the text, and reports whether that is anything.
func (s Step) append(b []byte, v string) ([]byte, bool) {
	switch s {
	case StepLower:
		for i := 0; i < len(v); i++ {
			c := v[i]
			if 'A' <= c && c <= 'Z' {
				c |= 0x20
			}
			b = append(b, c)
		}
	case StepUpper:
		for i := 0; i < len(v); i++ {
			c := v[i]
			if 'a' <= c && c <= 'z' {
				c &^= 0x20
			}
			b = append(b, c)
		}
	case StepURLDecode:
		b = appendURLDecoded(b, v)
	case StepBase64:
		return appendBase64Decoded(b, v)
	case StepBasename:
		b = append(b, v[strings.LastIndexByte(v, '/')+1:]...)
	case StepFolder:
		if cut := strings.LastIndexByte(v, '/'); cut > 0 {
			b = append(b, v[:cut]...)
		} else {
			b = append(b, '/')
		}
	case StepProgram:
		b = append(b, firstWord(v)...)
	case StepArgs:
		b = append(b, strings.TrimPrefix(v[len(firstWord(v)):], " ")...)
	case StepCommand:
		b = append(b, v[strings.LastIndexByte(firstWord(v), '/')+1:]...)
	}
	return b, true
}

// firstWord returns the text up to the first space.
func firstWord(v string) string {
	if cut := strings.IndexByte(v, ' '); cut >= 0 {
		return v[:cut]
	}
	return v
}

func hasByteIn(s string, low, high byte) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; low <= c && c <= high {
			return true
		}
	}
	return false
}

func appendURLDecoded(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			hi, lo := hexDigit(s[i+1]), hexDigit(s[i+2])
			if hi >= 0 && lo >= 0 {
				b = append(b, byte(hi<<4|lo))
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	return b
}

func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

func appendBase64Decoded(b []byte, v string) ([]byte, bool) {
	v = strings.TrimRight(v, "=")
	was := len(b)
	out, err := base64.RawStdEncoding.AppendDecode(b, unsafe.Slice(unsafe.StringData(v), len(v)))
	if err != nil {
		return b[:was], false
	}
	return out, true
}

// ApplySteps takes v through the steps, innermost first. ok is false where one of them cannot be done to it.
func ApplySteps(steps []Step, v string) (text string, ok bool) { return applySteps(steps, v) }

// applySteps takes v through the steps, in memory of its own where they change it.
func applySteps(steps []Step, v string) (string, bool) {
	for _, s := range steps {
		if !s.needed(v) {
			continue
		}
		b, ok := s.append(nil, v)
		if !ok {
			return "", false
		}
		v = view(b)
	}
	return v, true
}

// view is b as a string for as long as b does not change.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// BelowPath reports whether the path is dir or lies below it. dir has no slash at its
// end, so that "" is the root: every path that begins with a slash lies below it.
func BelowPath(path, dir string) bool {
	return strings.HasPrefix(path, dir) && (len(path) == len(dir) || path[len(dir)] == '/')
}

// GlobMatch reports whether the pattern fits all of the text: a star stands for any number
// of characters, a question mark for one, and a backslash takes the meaning from the character
// behind it. Its time is bounded by the product of both lengths, and for most patterns close
// to the text's.
func GlobMatch(pattern, text string) bool {
	p, t := 0, 0
	star, from := -1, 0 // the last star, and where in the text what follows it was tried
	for t < len(text) {
		c, next := globByte(pattern, p)
		switch {
		case c == globStar:
			star, from = next, t
			p = next
			continue
		case c == globAny:
			_, size := utf8.DecodeRuneInString(text[t:])
			p, t = next, t+size
			continue
		case c == int(text[t]):
			p, t = next, t+1
			continue
		}
		if star < 0 {
			return false
		}
		_, size := utf8.DecodeRuneInString(text[from:])
		from += size
		p, t = star, from
	}
	for p < len(pattern) {
		c, next := globByte(pattern, p)
		if c != globStar {
			return false
		}
		p = next
	}
	return true
}

const (
	globEnd  = -1
	globStar = -2
	globAny  = -3
)

// globByte reads one element of a pattern: a byte, or one of the constants above.
func globByte(pattern string, p int) (c, next int) {
	if p >= len(pattern) {
		return globEnd, p
	}
	switch pattern[p] {
	case '*':
		return globStar, p + 1
	case '?':
		return globAny, p + 1
	case '\\':
		if p+1 < len(pattern) {
			return int(pattern[p+1]), p + 2
		}
	}
	return int(pattern[p]), p + 1
}

// GlobEscape returns the pattern that fits the text alone.
func GlobEscape(text string) string {
	if !strings.ContainsAny(text, `*?\`) {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if c := text[i]; c == '*' || c == '?' || c == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(text[i])
	}
	return b.String()
}
