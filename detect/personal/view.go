package personal

// maxView is how many characters a number may have with what separates them, and two to see what follows.
const maxView = 48

// A view is what stands at a place, decoded: letters, digits and single separators between them, each of which may be written as an
// escape.
type view struct {
	c    [maxView]byte // a no-break space is ' '
	from [maxView + 1]int
	n    int
	// open says that the text, which is not whole, ends here: more could follow.
	open bool
}

// read fills the view with what stands at text[at:].
func (v *view) read(text []byte, at int, whole bool) {
	v.n, v.open = 0, false
	for v.n < maxView {
		v.from[v.n] = at
		c, size := decode(text[at:], whole)
		if size == 0 {
			v.open = !whole
			return
		}
		v.c[v.n] = c
		v.n++
		at += size
		if !isWord(c) && (!isSeparator(c) || v.n > 1 && !isWord(v.c[v.n-2])) {
			break
		}
	}
	v.from[v.n] = at
}

// decode reads one character that may be escaped. A byte that is not ASCII is itself; a no-break space is a space. size is 0 if text
// ends, or ends before that can be said.
func decode(text []byte, whole bool) (c byte, size int) {
	if len(text) == 0 {
		return 0, 0
	}
	switch c = text[0]; c {
	case '\\', '&', '%':
		if d, n := unescape(text); n > 0 {
			return d, n
		}
		if !whole && len(text) < maxEscape && mayEscape(text) {
			return 0, 0
		}
	case 0xc2:
		if len(text) > 1 && text[1] == 0xa0 {
			return ' ', 2
		}
		if len(text) == 1 && !whole {
			return 0, 0
		}
	}
	return c, 1
}

const maxEscape = 7 // bytes: &#0048; is not read, &#x0a; and \u0034 are

// unescape reads the escape that text begins with: JSON's, HTML's, or percent-encoding, if it is one of an ASCII character or a no-break
// space. size is 0 if it is none.
func unescape(text []byte) (c byte, size int) {
	switch text[0] {
	case '\\':
		if len(text) < 2 {
			return 0, 0
		}
		switch text[1] {
		case 'n':
			return '\n', 2
		case 'r':
			return '\r', 2
		case 't':
			return '\t', 2
		case '/', '"', '\\', '\'':
			return text[1], 2
		case 'u':
			if len(text) >= 6 && text[2] == '0' && text[3] == '0' {
				if x := hexPair(text[4], text[5]); x >= 0 {
					return ascii(x), 6
				}
			}
		}
	case '%':
		if len(text) >= 3 {
			if x := hexPair(text[1], text[2]); x >= 0 {
				return ascii(x), 3
			}
		}
	case '&':
		if len(text) >= 6 && string(text[:6]) == "&nbsp;" {
			return ' ', 6
		}
		if len(text) < 4 || text[1] != '#' {
			return 0, 0
		}
		x, i := 0, 2
		if text[2]|0x20 == 'x' {
			for i = 3; i < len(text) && i < 5 && hexDigit(text[i]) >= 0; i++ {
				x = x*16 + hexDigit(text[i])
			}
			if i == 3 {
				return 0, 0
			}
		} else {
			for ; i < len(text) && i < 5 && isDigit(text[i]); i++ {
				x = x*10 + val(text[i])
			}
		}
		if i > 2 && i < len(text) && text[i] == ';' && x < 256 {
			return ascii(x), i + 1
		}
	}
	return 0, 0
}

// ascii is the character of that number; those above ASCII are some letter or other, but for the no-break space.
func ascii(x int) byte {
	if x == 0xa0 {
		return ' '
	}
	return byte(min(x, 0xff))
}

// mayEscape reports whether text, which ends too early, may be the beginning of an escape.
func mayEscape(text []byte) bool {
	rest := text[1:]
	switch text[0] {
	case '\\':
		if len(rest) == 0 {
			return true
		}
		if rest[0] != 'u' || len(rest) > 4 {
			return false
		}
		for i, c := range rest[1:] {
			if i < 2 && c != '0' || hexDigit(c) < 0 {
				return false
			}
		}
		return true
	case '%':
		return len(rest) == 0 || len(rest) == 1 && hexDigit(rest[0]) >= 0
	case '&':
		if len(rest) < 5 && string(rest) == "nbsp;"[:len(rest)] {
			return true
		}
		if len(rest) == 0 || rest[0] != '#' || len(rest) > 4 {
			return len(rest) == 0
		}
		rest = rest[1:]
		hex := len(rest) > 0 && rest[0]|0x20 == 'x'
		if hex {
			rest = rest[1:]
		}
		if hex && len(rest) > 2 || len(rest) > 3 {
			return false
		}
		for _, c := range rest {
			if !hex && !isDigit(c) || hexDigit(c) < 0 {
				return false
			}
		}
		return true
	}
	return false
}

// before returns where the character begins that ends at text[:at], and which it is; size 0 at the beginning.
func before(text []byte, at int) (c byte, size int) {
	if at == 0 {
		return 0, 0
	}
	last := text[at-1]
	switch {
	case last == ';':
		for n := 4; n <= maxEscape && n <= at; n++ {
			if text[at-n] == '&' {
				if c, size := unescape(text[at-n : at]); size == n {
					return c, n
				}
			}
		}
	case hexDigit(last) >= 0:
		if at >= 6 && text[at-6] == '\\' && text[at-5] == 'u' {
			if c, size := unescape(text[at-6 : at]); size == 6 {
				return c, 6
			}
		}
		if at >= 3 && text[at-3] == '%' {
			if c, size := unescape(text[at-3 : at]); size == 3 {
				return c, 3
			}
		}
	case last == 'n' || last == 'r' || last == 't':
		if at >= 2 && text[at-2] == '\\' {
			return '\n', 2
		}
	case last == 0xa0 && at >= 2 && text[at-2] == 0xc2:
		return ' ', 2
	}
	return last, 1
}

func hexPair(a, b byte) int {
	x, y := hexDigit(a), hexDigit(b)
	if x < 0 || y < 0 {
		return -1
	}
	return x<<4 | y
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

func isDigit(c byte) bool { return c-'0' < 10 }
func isUpper(c byte) bool { return c-'A' < 26 }
func isLower(c byte) bool { return c-'a' < 26 }

// isWord reports whether c can be part of a word: letters, digits and the underscore of ASCII.
func isWord(c byte) bool { return isDigit(c) || isUpper(c) || isLower(c) || c == '_' }

// isSeparator reports whether c separates the parts of numbers.
func isSeparator(c byte) bool { return c == ' ' || c == '-' || c == '.' || c == '/' || c == '+' }
