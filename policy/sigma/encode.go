package sigma

import (
	"encoding/base64"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// base64Offsets returns the three forms of a text that stands somewhere in base64 text: what of its encoding depends on
// the text alone, where 0, 1 or 2 bytes stand before it in its group of three. A text too short to have such a part at
// an offset has no form there.
func base64Offsets(s string) []string {
	var all []string
	for before := range 3 {
		encoded := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("\x00", before) + s))
		// A digit has six bits: those that share one with what stands before or behind are left out.
		first := (before*8 + 5) / 6
		last := (before + len(s)) * 8 / 6
		if first < last {
			all = append(all, encoded[first:last])
		}
	}
	return all
}

// utf16Text encodes a text as UTF-16 with the given order of bytes.
func utf16Text(s string, bigEndian bool) string {
	b := make([]byte, 0, 2*len(s))
	for _, c := range utf16.Encode([]rune(s)) {
		if bigEndian {
			b = append(b, byte(c>>8), byte(c))
		} else {
			b = append(b, byte(c), byte(c>>8))
		}
	}
	return string(b)
}

// The dashes that windash takes for one another (modifiers appendix, "windash"): hyphen, slash, en dash, em dash and
// horizontal bar.
const dashes = "-/–—―"

// maxDashes is up to how many dashes every form is written out: there are five to the power of them. With more
// of them a text becomes a regular expression.
const maxDashes = 2

// countDashes counts the dashes in the literals of a pattern.
func (p pattern) countDashes() int {
	n := 0
	for _, piece := range p {
		for _, c := range piece.text {
			if strings.ContainsRune(dashes, c) {
				n++
			}
		}
	}
	return n
}

// dashForms returns the pattern with every dash replaced by every dash.
func (p pattern) dashForms() []pattern {
	forms := []pattern{nil}
	extend := func(what wild, text string) {
		for i := range forms {
			forms[i] = forms[i].add(what, text)
		}
	}
	for _, piece := range p {
		if piece.what != literal {
			extend(piece.what, "")
			continue
		}
		rest := piece.text
		for rest != "" {
			i := strings.IndexAny(rest, dashes)
			if i < 0 {
				extend(literal, rest)
				break
			}
			extend(literal, rest[:i])
			_, size := utf8.DecodeRuneInString(rest[i:])
			rest = rest[i+size:]
			var next []pattern
			for _, f := range forms {
				for _, dash := range dashes {
					next = append(next, append(pattern(nil), f...).add(literal, string(dash)))
				}
			}
			forms = next
		}
	}
	return forms
}

// dashRegex returns the regular expression that fits what the pattern's dash forms fit.
func (p pattern) dashRegex(fold bool) string {
	var b strings.Builder
	b.WriteString(`(?s`)
	if fold {
		b.WriteByte('i')
	}
	b.WriteString(`)`)
	if p[0].what != star {
		b.WriteString(`\A`)
	}
	for i, piece := range p {
		switch {
		case piece.what == star && (i == 0 || i == len(p)-1):
		case piece.what == star:
			b.WriteString(`.*`)
		case piece.what == one:
			b.WriteByte('.')
		default:
			for _, c := range piece.text {
				if strings.ContainsRune(dashes, c) {
					b.WriteString(`[-/–—―]`)
				} else {
					b.WriteString(regexQuote(c))
				}
			}
		}
	}
	if p[len(p)-1].what != star {
		b.WriteString(`\z`)
	}
	return b.String()
}

func regexQuote(c rune) string {
	if strings.ContainsRune(`\.+*?()|[]{}^$`, c) {
		return `\` + string(c)
	}
	return string(c)
}
