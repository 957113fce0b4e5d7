package transform

import (
	"strings"
	"unicode/utf8"
)

// hexValue returns the value of a hexadecimal digit, -1 for another byte.
func hexValue(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// hexDigits returns how many hexadecimal digits s begins with, at most limit, and their value.
func hexDigits(s string, limit int) (n, value int) {
	for n < limit && n < len(s) && hexValue(s[n]) >= 0 {
		value = value<<4 | hexValue(s[n])
		n++
	}
	return n, value
}

func octalDigits(s string, limit int) (n, value int) {
	for n < limit && n < len(s) && s[n] >= '0' && s[n] <= '7' {
		value = value<<3 | int(s[n]-'0')
		n++
	}
	return n, value
}

// isFullWidth reports whether the code point is an ASCII character in full width.
func isFullWidth(code int) bool { return code >= 0xff01 && code <= 0xff5e }

// indexCoded returns where the first % or + stands, -1 for nowhere. Most values are too short for a search of two passes.
func indexCoded(s string) int {
	for i := 0; i < len(s); i++ {
		if s[i] == '%' || s[i] == '+' {
			return i
		}
	}
	return -1
}

func urlDecode(a *Arena, s string) (string, bool) {
	at := indexCoded(s)
	if at < 0 {
		return s, false
	}
	out := append(a.Room(len(s)), s[:at]...)
	for i := at; i < len(s); i++ {
		c := s[i]
		if c == '+' {
			c = ' '
		} else if c == '%' {
			if n, v := hexDigits(s[i+1:], 2); n == 2 {
				c = byte(v)
				i += 2
			}
		}
		out = append(out, c)
	}
	return a.Keep(out), true
}

// urlDecodeUni knows %uHHHH as well, as IIS does, by the best fit in ASCII where there is one.
func urlDecodeUni(a *Arena, s string) (string, bool) {
	at := indexCoded(s)
	if at < 0 {
		return s, false
	}
	out := append(a.Room(len(s)), s[:at]...)
	changed := false
	for i := at; i < len(s); {
		c := s[i]
		switch {
		case c == '+':
			out, changed = append(out, ' '), true
			i++
		case c != '%':
			out = append(out, c)
			i++
		case i+1 < len(s) && (s[i+1] == 'u' || s[i+1] == 'U'):
			n, code := hexDigits(s[i+2:], 4)
			if n < 4 {
				out = append(out, s[i], s[i+1])
				i += 2
				continue
			}
			fit, ok := bestFit(code)
			if !ok {
				fit = byte(code)
				if code>>8 == 0xff && fit > 0 && fit < 0x5f {
					fit += 0x20
				}
			}
			out, changed = append(out, fit), true
			i += 6
		default:
			if n, v := hexDigits(s[i+1:], 2); n == 2 {
				out, changed = append(out, byte(v)), true
				i += 3
			} else {
				out = append(out, c)
				i++
			}
		}
	}
	return a.Keep(out), changed
}

func urlEncode(_ *Arena, s string) (string, bool) {
	const digits = "0123456789abcdef"
	var out strings.Builder
	changed := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == ' ':
			out.WriteByte('+')
			changed = true
		case c == '*' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z':
			out.WriteByte(c)
		default:
			out.Write([]byte{'%', digits[c>>4], digits[c&15]})
			changed = true
		}
	}
	return out.String(), changed
}

// cssDecode resolves the escapes of style sheets: up to six digits, and a blank that ends them.
func cssDecode(a *Arena, s string) (string, bool) {
	at := strings.IndexByte(s, '\\')
	if at < 0 {
		return s, false
	}
	out := append(a.Room(len(s)), s[:at]...)
	for i := at; i < len(s); {
		if s[i] != '\\' {
			out = append(out, s[i])
			i++
			continue
		}
		if i++; i == len(s) {
			break
		}
		n, code := hexDigits(s[i:], 6)
		switch {
		case n > 0:
			if code == 0 {
				code = utf8.RuneError
			}
			if isFullWidth(code) {
				code -= 0xfee0
			}
			out = utf8.AppendRune(out, rune(code))
			if i += n; i < len(s) && strings.IndexByte(blank, s[i]) >= 0 {
				i++
			}
		case s[i] == '\n':
			i++
		default:
			out = append(out, s[i])
			i++
		}
	}
	return a.Keep(out), true
}

// jsDecode resolves the escapes of JavaScript. Of a code point the low byte stays.
func jsDecode(a *Arena, s string) (string, bool) {
	at := strings.IndexByte(s, '\\')
	if at < 0 || at == len(s)-1 {
		return s, false
	}
	out := append(a.Room(len(s)), s[:at]...)
	for i := at; i < len(s); {
		if s[i] != '\\' {
			out = append(out, s[i])
			i++
			continue
		}
		if i+1 == len(s) {
			out = append(out, '\\')
			break
		}
		c, width := jsEscape(s[i+1:])
		out = append(out, c)
		i += 1 + width
	}
	return a.Keep(out), true
}

// jsEscape returns what stands for the escape at the beginning of s, behind its backslash, and how long it is.
func jsEscape(s string) (byte, int) {
	if s[0] == 'u' && len(s) > 1 && s[1] == '{' {
		if n, code := hexDigits(s[2:], 6); n > 0 && 2+n < len(s) && s[2+n] == '}' {
			c := byte(code)
			if isFullWidth(code) {
				c += 0x20
			}
			return c, n + 3
		}
	}
	if s[0] == 'u' {
		if n, code := hexDigits(s[1:], 4); n == 4 {
			c := byte(code)
			if isFullWidth(code) {
				c += 0x20
			}
			return c, 5
		}
	}
	if s[0] == 'x' {
		if n, code := hexDigits(s[1:], 2); n == 2 {
			return byte(code), 3
		}
	}
	if n, code := octalDigits(s, 3); n > 0 {
		if code > 0xff {
			n, code = octalDigits(s, 2)
		}
		return byte(code), n
	}
	return control(s[0]), 1
}

// control returns the control character that a letter stands for, and other bytes as they are.
func control(c byte) byte {
	if at := strings.IndexByte("abtnvfr", c); at >= 0 {
		return 7 + byte(at)
	}
	return c
}

// escapeSeqDecode resolves the escapes of C.
func escapeSeqDecode(a *Arena, s string) (string, bool) {
	at := strings.IndexByte(s, '\\')
	if at < 0 {
		return s, false
	}
	out := append(a.Room(len(s)), s[:at]...)
	changed := false
	for i := at; i < len(s); {
		if s[i] != '\\' || i+1 == len(s) {
			out = append(out, s[i])
			i++
			continue
		}
		changed = true
		rest := s[i+1:]
		if rest[0] == 'x' || rest[0] == 'X' {
			if n, code := hexDigits(rest[1:], 2); n == 2 {
				out = append(out, byte(code))
				i += 4
				continue
			}
		}
		if n, code := octalDigits(rest, 3); n > 0 {
			out = append(out, byte(code))
			i += 1 + n
			continue
		}
		out = append(out, control(rest[0]))
		i += 2
	}
	return a.Keep(out), changed
}

// utf8ToUnicode writes what is not ASCII as %uHHHH.
func utf8ToUnicode(a *Arena, s string) (string, bool) {
	at := strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf })
	if at < 0 {
		return s, false
	}
	out := append(a.Room(2*len(s)), s[:at]...)
	for _, r := range s[at:] {
		if r < utf8.RuneSelf {
			out = append(out, byte(r))
			continue
		}
		out = append(out, '%', 'u')
		for shift := max(12, hexWidth(r)); shift >= 0; shift -= 4 {
			out = append(out, "0123456789abcdef"[r>>shift&15])
		}
	}
	return a.Keep(out), true
}

// hexWidth returns how far the first hexadecimal digit of r is shifted.
func hexWidth(r rune) int {
	shift := 0
	for r>>(shift+4) > 0 {
		shift += 4
	}
	return shift
}

func decodeBase64(a *Arena, s string, forgiving bool) string {
	out := a.Room(len(s)*3/4 + 3)
	n, x := 0, 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '\r' || c == '\n' {
			continue
		}
		if forgiving {
			switch c {
			case '\t', '\v', '\f', ' ', 0x85, 0xa0, '.':
				continue
			case '-':
				c = '+'
			case '_':
				c = '/'
			}
		}
		if c == '=' || c == ' ' {
			break
		}
		v := base64Value(c)
		if v < 0 {
			if forgiving {
				continue
			}
			break
		}
		x = x<<6 | v&0x3f
		if n++; n == 4 {
			out = append(out, byte(x>>16), byte(x>>8), byte(x))
			n, x = 0, 0
		}
	}
	switch n {
	case 2:
		out = append(out, byte(x>>4))
	case 3:
		out = append(out, byte(x>>10), byte(x>>2))
	}
	return a.Keep(out)
}

func base64Value(c byte) int {
	switch {
	case c >= 'A' && c <= 'Z':
		return int(c - 'A')
	case c >= 'a' && c <= 'z':
		return int(c-'a') + 26
	case c >= '0' && c <= '9':
		return int(c-'0') + 52
	case c == '+':
		return 62
	case c == '/':
		return 63
	}
	return -1
}
