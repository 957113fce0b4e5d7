package personal

import "strings"

// masked stands for what is not shown.
const masked = '*'

// appendMasked appends text with its letters and digits masked, as long as it was: escapes stay escapes, and
// punctuation stays, so that JSON, HTML and forms stay what they are. text ends with a whole unit.
func appendMasked(dst, text []byte) []byte {
	for i := 0; i < len(text); {
		size := unit(text[i:], true)
		c, escape := text[i], text[i:i+size]
		i += size
		switch {
		case size == 1:
			if isWord(c) || c == '+' || c == '=' || c >= 0x80 {
				c = masked
			}
			dst = append(dst, c)
		case c == '\\' && size == 6:
			if x, n := unescape(escape); n == 6 && !shown(x) {
				dst = append(dst, escape...)
			} else {
				dst = append(dst, `\u002a`...)
			}
		case c == '%':
			if x, _ := unescape(escape); !shown(x) {
				dst = append(dst, escape...)
			} else {
				dst = append(dst, "%2A"...)
			}
		case c == '\\' && shown(escape[1]) && strings.IndexByte("bfnrtu", escape[1]) < 0: // no escape, as in C:\Users
			dst = append(dst, '\\', masked)
		default:
			dst = append(dst, escape...)
		}
	}
	return dst
}

// shown reports whether a character tells something.
func shown(c byte) bool { return isWord(c) || c >= 0x80 }

// appendNumber appends a number with all but its last keep digits masked. Where it may be a bare number of JSON its digits become nines, since
// stars would be an error there.
func (s *scanner) appendNumber(dst, text []byte, m Match, keep int) []byte {
	bare := true
	for _, c := range text[m.Start:m.End] {
		bare = bare && isDigit(c)
	}
	bare = bare && isValue(text, m.Start)
	// How many there are to mask.
	rest := -keep
	for i := m.Start; i < m.End; {
		c, size := decode(text[i:m.End], true)
		if isWord(c) {
			rest++
		}
		i += size
	}
	for i := m.Start; i < m.End; {
		c, size := decode(text[i:m.End], true)
		raw := text[i : i+size]
		i += size
		if !isWord(c) {
			dst = append(dst, raw...)
			continue
		}
		rest--
		switch {
		case rest < 0:
			dst = append(dst, raw...)
		case bare:
			dst = append(dst, '9')
		case size == 1:
			dst = append(dst, masked)
		case raw[0] == '\\':
			dst = append(dst, `\u002a`...)
		case raw[0] == '%':
			dst = append(dst, "%2A"...)
		case raw[2]|0x20 == 'x': // &#x34;
			dst = append(dst, "&#x2a;"...)
		case size == 6: // &#052;
			dst = append(dst, "&#042;"...)
		default:
			dst = append(dst, "&#42;"...)
		}
	}
	return dst
}

// isValue reports whether what stands at text[at:] follows what a value follows in JSON.
func isValue(text []byte, at int) bool {
	for i := at - 1; i >= max(0, at-16); i-- {
		switch text[i] {
		case ' ', '\t', '\n', '\r':
		case ':', ',', '[', '=', '(':
			return true
		default:
			return false
		}
	}
	return at == 0
}
