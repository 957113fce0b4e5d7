package inventory

import (
	"strings"
	"unicode/utf8"
)

// shape is what the form of a text says about its meaning.
type shape uint8

const (
	word    shape = iota // a name or a slug: only its siblings can tell
	file                 // a name with an extension
	version              // v1, v2.1
	boolean              // true, false (not in paths)
	integer
	number
	uuid
	hex   // 8 hexadecimal digits and more
	ulid  // github.com/ulid/spec
	day   // 2026-11-23
	clock // RFC 3339
	email
	token  // random letters and digits
	phrase // with blanks, or longer than any name
	shapes
)

// shapeSet is a set of shapes.
type shapeSet uint16

func (s shapeSet) has(x shape) bool { return s&(1<<x) != 0 }

// isID says that a path segment of this shape is a parameter on sight.
func (s shape) isID() bool { return s > boolean }

const maxName = 80 // bytes of a name in a path, and of a field

// shapeOf looks at one text. It takes time linear in the length, at most that of 256 bytes.
func shapeOf(s string) shape {
	if s == "" || len(s) > 256 {
		return phrase
	}
	var digits, upper, lower, hexLetters, other int
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			digits++
		case c >= 'a' && c <= 'z':
			lower++
			if c <= 'f' {
				hexLetters++
			}
		case c >= 'A' && c <= 'Z':
			upper++
			if c <= 'F' {
				hexLetters++
			}
		default:
			other++
		}
	}
	letters := upper + lower
	switch {
	case digits == len(s):
		return integer
	case letters == 0 && digits > 0 && isNumber(s):
		if s[0] == '-' && digits == len(s)-1 {
			return integer
		}
		return number
	case other == 4 && len(s) == 36 && digits+hexLetters == 32 && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-':
		return uuid
	case digits >= 6 && isDay(s):
		if len(s) > 10 {
			return clock
		}
		return day
	case other == 0 && len(s) >= 8 && digits > 0 && digits+letters == len(s) && hexLetters == letters && (upper == 0 || lower == 0):
		return hex
	case other == 0 && len(s) == 26 && digits > 0 && s[0] <= '7' && (upper == 0 || lower == 0) && !strings.ContainsAny(s, "ILOUilou"):
		return ulid
	case isVersion(s):
		return version
	}
	if other > 0 {
		if isEmail(s) {
			return email
		}
		if strings.ContainsAny(s, " +,|") || !utf8.ValidString(s) || hasControl(s) {
			return phrase
		}
		if i := strings.LastIndexByte(s, '.'); i > 0 && len(s)-i <= 6 && isExtension(s[i+1:]) {
			return file
		}
	}
	if isRandom(s, digits, upper, lower, other) {
		return token
	}
	if len(s) > maxName {
		return phrase
	}
	return word
}

func isNumber(s string) bool {
	dots := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '-' && i == 0:
		case c == '.' && i > 0 && i < len(s)-1:
			dots++
		case c < '0' || c > '9':
			return false
		}
	}
	return dots <= 1
}

func isVersion(s string) bool {
	if len(s) < 2 || len(s) > 8 || s[0]|0x20 != 'v' || s[1] < '0' || s[1] > '9' {
		return false
	}
	for i := 1; i < len(s); i++ {
		if (s[i] < '0' || s[i] > '9') && s[i] != '.' {
			return false
		}
	}
	return true
}

// isDay knows 2026-11-23, 2026-11 and what RFC 3339 puts behind the day.
func isDay(s string) bool {
	const form = "dddd-dd-ddTdd:dd"
	for i := 0; i < len(s) && i < len(form); i++ {
		c := s[i]
		switch form[i] {
		case 'd':
			if c < '0' || c > '9' {
				return false
			}
		case 'T':
			if c != 'T' && c != 't' && c != ' ' {
				return false
			}
		default:
			if c != form[i] {
				return false
			}
		}
	}
	if len(s) > len(form) {
		return len(s) <= 40 && strings.Trim(s[len(form):], "0123456789:.+-Zz") == ""
	}
	return (len(s) == 7 || len(s) == 10 || len(s) == len(form)) && s[5] <= '1'
}

func isEmail(s string) bool {
	at := strings.IndexByte(s, '@')
	return at > 0 && at == strings.LastIndexByte(s, '@') && strings.IndexByte(s[at+1:], '.') > 0 && !strings.ContainsAny(s, " ,:;<>")
}

func isExtension(s string) bool {
	letter := false
	for i := 0; i < len(s); i++ {
		c := s[i] | 0x20
		switch {
		case c >= 'a' && c <= 'z':
			letter = true
		case s[i] < '0' || s[i] > '9':
			return false
		}
	}
	return letter
}

func hasControl(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] == 0x7f {
			return true
		}
	}
	return false
}

// isRandom finds ids in letters that nobody would say aloud: changes between letters and digits, or between
// upper and lower case, that come more often than in words.
func isRandom(s string, digits, upper, lower, other int) bool {
	if len(s) < 8 {
		return false
	}
	changes, cases := 0, 0
	for i := 0; i < len(s); i++ {
		kind := kindOf(s[i])
		if i > 0 && kind != 0 {
			before := kindOf(s[i-1])
			switch {
			case before == 0:
			case (kind == 1) != (before == 1):
				changes++
			case kind == 2 && before == 3:
				cases++
			}
		}
	}
	length := len(s) - other
	switch {
	case s[0] == 'e' && s[1] == 'y' && len(s) >= 30 && upper > 2 && strings.Trim(s, base64Digits) == "":
		return true // a JWT, or what else is JSON in base64
	case other > 3 && other*4 > len(s): // a slug in short words
		return false
	case changes >= 3 && digits >= 2:
		return changes*4 >= length || len(s) >= 16 && upper > 0 && lower > 0
	case changes >= 2 && digits >= 2 && upper > 0 && lower > 0 && cases >= 1 && len(s) >= 10:
		return true
	case len(s) >= 12 && other <= 2 && cases >= 3 && upper*20 >= length*7 && lower*4 >= length:
		return true // names in camel case have fewer capitals
	}
	// Prefixed ids such as cus_NffrFeUfNV2Hib.
	if i := strings.LastIndexByte(s, '_'); i > 0 && i < 10 && len(s)-i > 10 {
		return isRandomTail(s[i+1:])
	}
	return false
}

const base64Digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+"

func isRandomTail(s string) bool {
	changes := 0
	for i := 1; i < len(s); i++ {
		a, b := kindOf(s[i-1]), kindOf(s[i])
		if a == 0 || b == 0 {
			return false
		}
		if a != b {
			changes++
		}
	}
	return changes*3 >= len(s)
}

// kindOf tells digits (1), upper (2) and lower case (3) from the rest.
func kindOf(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return 1
	case c >= 'A' && c <= 'Z':
		return 2
	case c >= 'a' && c <= 'z':
		return 3
	}
	return 0
}

var shapeNames = [shapes]string{"string", "file", "version", "boolean", "integer", "number", "uuid", "hex", "ulid", "date", "date-time",
	"email", "token", "text"}

func (s shape) String() string { return shapeNames[s] }
