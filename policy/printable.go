package policy

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Printable returns s fit for a terminal, a log line or a page: control characters,
// invalid UTF-8 and characters that change the direction or width of what stands around
// them are escaped as Go writes them, and what is longer than limit characters is cut,
// with an ellipsis.
func Printable(s string, limit int) string {
	clean := len(s) <= limit
	for i := 0; clean && i < len(s); i++ {
		clean = s[i] >= 0x20 && s[i] < 0x7f
	}
	if clean {
		return s
	}
	var b strings.Builder
	n := 0
	for i, r := range s {
		if n == limit {
			b.WriteString("…")
			break
		}
		n++
		switch {
		case r == utf8.RuneError:
			if _, size := utf8.DecodeRuneInString(s[i:]); size == 1 {
				b.WriteString(`\x`)
				b.WriteByte("0123456789abcdef"[s[i]>>4])
				b.WriteByte("0123456789abcdef"[s[i]&15])
				continue
			}
			b.WriteRune(r)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
	}
	return b.String()
}
