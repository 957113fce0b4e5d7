package personal

import (
	"strings"
	"unsafe"
)

const nearby = 96 // bytes before a number in which a word counts

// near is what stands before a number: lower case, a single space between words.
type near struct {
	text  [2*nearby + 1]byte
	n     int
	known bool
	// first has a bit for each letter that a word of it begins with.
	first uint32
}

// find returns the first of the words that stands before text[at:], "" if none does.
func (b *near) find(text []byte, at int, words []string) string {
	if len(words) == 0 {
		return ""
	}
	if !b.known {
		b.read(text, at)
		b.known = true
	}
	said := unsafe.String(&b.text[0], b.n)
	for _, w := range words {
		if isLower(w[0]) && b.first&(1<<(w[0]-'a')) == 0 {
			continue
		}
		for from := 0; ; {
			i := strings.Index(said[from:], w)
			if i < 0 {
				break
			}
			i += from
			end := i + len(w)
			if w[0] >= 0x80 || (i == 0 || said[i-1] == ' ') && (end == len(said) || said[end] == ' ' || isDigit(said[end])) {
				return w
			}
			from = i + 1
		}
	}
	return ""
}

// read normalises what stands before text[at:]: of JSON, forms and lists not what is said of another member, which ends with a comma or the like and has a
// name of its own.
func (b *near) read(text []byte, at int) {
	from := max(0, at-nearby)
	if from > 0 {
		// Not half a word.
		for from < at && isWord(text[from]) && isWord(text[from-1]) {
			from++
		}
	}
	named := false
cut:
	for i := at - 1; i >= from; i-- {
		switch text[i] {
		case ':', '=':
			named = true
		case ',', '{', '}', '&', ';', '\n', '|':
			if named && !(text[i] == '{' && i > from && text[i-1] == ':') { // an object's name is said of its first member, too
				from = i + 1
				break cut
			}
		}
	}
	b.n, b.first = 0, 0
	put := func(c byte) {
		if c == ' ' && (b.n == 0 || b.text[b.n-1] == ' ') || b.n == len(b.text) {
			return
		}
		if isLower(c) && (b.n == 0 || b.text[b.n-1] == ' ') {
			b.first |= 1 << (c - 'a')
		}
		b.text[b.n] = c
		b.n++
	}
	for i := from; i < at; i++ {
		switch c := text[i]; {
		case isUpper(c):
			if i > from && isLower(text[i-1]) {
				put(' ')
			}
			put(c | 0x20)
		case c == '_':
			put(' ')
		case isWord(c), c >= 0x80:
			put(c)
		default:
			put(' ')
		}
	}
}
