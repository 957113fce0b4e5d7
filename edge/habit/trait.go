package habit

import (
	"math/bits"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A trait is something that a value has or has not. A slot counts each; traits up to lengths stand in a set of bits too.
type trait uint8

// Traits: what a value looks like, then its characters, then its script or language, then how long it is.
const (
	empty trait = iota
	isInt
	isNumber
	isBool
	isDate
	isUUID
	isHex
	isEmail
	isURL
	isBase64
	isWord
	isText
	forms // how many forms there are

	lower      trait = iota - 1 // a to z
	upper                       // A to Z
	digit                       // 0 to 9
	space                       // the space alone
	lines                       // line breaks and tabs
	controls                    // other control characters
	letters                     // letters and marks beyond ASCII
	symbols                     // what else is beyond ASCII
	invalid                     // no UTF-8
	repeated                    // the parameter is there more than once
	structured                  // an object or a list, where others have a value
	null                        // JSON null
	special                     // the first of the 32 specials of ASCII

	languages = special + 32 // the first of the scripts and languages
	lengths   = languages + trait(numLanguages)
	traits    = lengths + numLengths
)

// A set holds forms and characters, 56 traits.
type set uint64

// specials are the punctuation of ASCII in the order of their traits.
const specials = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"

// ofByte is the set of one byte of ASCII.
func ofByte(c byte) set {
	switch {
	case c >= 'a' && c <= 'z':
		return 1 << lower
	case c >= 'A' && c <= 'Z':
		return 1 << upper
	case c >= '0' && c <= '9':
		return 1 << digit
	case c == ' ':
		return 1 << space
	case c == '\t' || c == '\n' || c == '\r':
		return 1 << lines
	case c < ' ' || c == 0x7f:
		return 1 << controls
	case c <= '/':
		return 1 << (special + trait(c-'!'))
	case c <= '@':
		return 1 << (special + 15 + trait(c-':'))
	case c <= '`':
		return 1 << (special + 22 + trait(c-'['))
	default:
		return 1 << (special + 28 + trait(c-'{'))
	}
}

// maxLooked is how many bytes of a value are looked at for characters; its length is known without.
const maxLooked = 4096

// seen is what one value shows.
type seen struct {
	set      set
	language language
	length   int // characters of what was looked at, and the bytes behind it
}

// look sees all that is learned of one value.
func (t *table) look(v string) seen {
	var s seen
	s.length = len(v)
	part := v[:min(len(v), maxLooked)]
	var wide bool
	for i := 0; i < len(part); i++ {
		s.set |= t[part[i]]
		wide = wide || part[i] >= utf8.RuneSelf
	}
	if wide {
		s.set |= wideOf(part, len(v) > len(part))
		s.length = utf8.RuneCountInString(part) + len(v) - len(part)
	}
	f := form(part, s.set, len(v) > len(part))
	s.set |= 1 << f
	if f == isText || wide {
		s.language = languageOf(part)
	}
	return s
}

// table is ofByte made ready.
type table [256]set

func newTable() *table {
	var t table
	for c := range utf8.RuneSelf {
		t[c] = ofByte(byte(c))
	}
	return &t
}

func wideOf(s string, cut bool) set {
	var all set
	for i, n := 0, 0; i < len(s); i += n {
		if s[i] < utf8.RuneSelf {
			n = 1
			continue
		}
		var r rune
		r, n = utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			if !cut || len(s)-i >= utf8.UTFMax {
				all |= 1 << invalid
			}
		case unicode.IsLetter(r) || unicode.IsMark(r):
			all |= 1 << letters
		default:
			all |= 1 << symbols
		}
	}
	return all
}

// Sets of characters that forms are made of.
const (
	plainSet set = 1<<lower | 1<<upper | 1<<digit
	dash     set = 1 << (special + 12)
	dot      set = 1 << (special + 13)
	slash    set = 1 << (special + 14)
	under    set = 1 << (special + 26)
	plus     set = 1 << (special + 10)
	equals   set = 1 << (special + 18)
	colon    set = 1 << (special + 15)
)

// form says what a value looks like; the narrowest form that fits.
func form(v string, s set, cut bool) trait {
	if v == "" {
		return empty
	}
	if s&^(1<<digit|dash|plus|dot|1<<lower|1<<upper|colon) == 0 && !cut {
		if n := strings.TrimLeft(v, "+-"); len(v)-len(n) <= 1 && n != "" {
			if s&^(1<<digit|dash|plus) == 0 && !strings.ContainsAny(n, "+-") {
				return isInt
			}
			if number(n) {
				return isNumber
			}
		}
		if date(v) {
			return isDate
		}
	}
	switch {
	case s&^plainSet == 0 && len(v) <= 5 && (strings.EqualFold(v, "true") || strings.EqualFold(v, "false")):
		return isBool
	case len(v) == 36 && uuid(v):
		return isUUID
	case s&^plainSet == 0 && len(v) >= 8 && s&(1<<digit) != 0 && hex(v):
		return isHex
	case s&(1<<space|1<<lines|1<<controls|1<<letters|1<<symbols|1<<invalid) == 0 && email(v):
		return isEmail
	case s&(1<<space|1<<lines|1<<controls|1<<invalid) == 0 && (strings.HasPrefix(v, "https://") || strings.HasPrefix(v, "http://")):
		return isURL
	case s&^(plainSet|dash|under|dot|1<<letters) == 0 && len(v) <= 64:
		return isWord
	case s&^(plainSet|plus|slash|equals|dash|under) == 0 && len(v) >= 16 && s&plainSet == plainSet && strings.IndexByte(strings.TrimRight(v, "="), '=') < 0:
		return isBase64
	}
	return isText
}

// wider lists, for each form, those that a parameter may have for it to be one of them.
var wider = [forms]set{
	empty:    1<<isWord | 1<<isText,
	isInt:    1<<isNumber | 1<<isHex | 1<<isWord | 1<<isBase64 | 1<<isText,
	isNumber: 1<<isWord | 1<<isText,
	isBool:   1<<isWord | 1<<isText,
	isDate:   1 << isText,
	isUUID:   1<<isWord | 1<<isText,
	isHex:    1<<isWord | 1<<isBase64 | 1<<isText,
	isEmail:  1 << isText,
	isURL:    1 << isText,
	isBase64: 1 << isText,
	isWord:   1<<isBase64 | 1<<isText,
	isText:   0,
}

func number(v string) bool {
	digits, dots, exps := 0, 0, 0
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case c >= '0' && c <= '9':
			digits++
		case c == '.':
			dots++
		case c|0x20 == 'e' && digits > 0:
			exps++
		case (c == '-' || c == '+') && i > 0 && v[i-1]|0x20 == 'e':
		default:
			return false
		}
	}
	return digits > 0 && dots <= 1 && exps <= 1
}

// date takes RFC 3339 dates and times.
func date(v string) bool {
	if len(v) < 10 || len(v) > 35 {
		return false
	}
	for i, c := range []byte(v[:10]) {
		if i == 4 || i == 7 {
			if c != '-' {
				return false
			}
		} else if c < '0' || c > '9' {
			return false
		}
	}
	return len(v) == 10 || v[10] == 'T' || v[10] == 't'
}

func uuid(v string) bool {
	for i := 0; i < len(v); i++ {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if v[i] != '-' {
				return false
			}
		} else if !hex(v[i : i+1]) {
			return false
		}
	}
	return true
}

func hex(v string) bool {
	for i := 0; i < len(v); i++ {
		if c := v[i]; (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f') {
			return false
		}
	}
	return true
}

func email(v string) bool {
	local, domain, ok := strings.Cut(v, "@")
	return ok && local != "" && strings.IndexByte(domain, '.') > 0 && strings.IndexByte(domain, '@') < 0 && !strings.ContainsAny(v, "<>()'\"\\,;:")
}

// numLengths is how many steps of length there are: two for each doubling up to 64 KB, and one above.
const numLengths = 35

// step is where a length belongs.
func step(n int) int {
	if n < 2 {
		return n
	}
	k := bits.Len(uint(n - 1)) // 2^(k-1) < n <= 2^k
	s := 2 * k
	if n <= 3<<(k-1)/2 {
		s--
	}
	return min(s, numLengths-1)
}

// upTo is the greatest length of a step.
func upTo(s int) int {
	if s < 2 {
		return s
	}
	k := (s + 1) / 2
	if s%2 == 1 {
		return max(3<<(k-1)/2, 2)
	}
	return 1 << k
}
