package rxset

import "unicode/utf8"

// byteRange is the bytes from lo to hi.
type byteRange struct{ lo, hi byte }

// sequence is one way to write characters of a range: a byte of each byteRange in turn.
type sequence []byteRange

const (
	firstSurrogate = 0xD800
	lastSurrogate  = 0xDFFF
)

// sequences calls yield with ranges of bytes that together are the UTF-8 of the characters from lo to hi. Texts are valid UTF-8, so
// ranges that cover every character of one length are written without their exceptions (overlong forms, surrogates):
// fewer sequences, and fewer classes of bytes.
func sequences(lo, hi rune, yield func(sequence)) {
	if lo > hi {
		return
	}
	for _, length := range [...]struct {
		first, last rune
		lead        byteRange
		more        int
	}{
		{0, 0x7F, byteRange{0, 0x7F}, 0},
		{0x80, 0x7FF, byteRange{0xC0, 0xDF}, 1},
		{0x800, 0xFFFF, byteRange{0xE0, 0xEF}, 2},
		{0x10000, utf8.MaxRune, byteRange{0xF0, 0xF7}, 3},
	} {
		from, to := max(lo, length.first), min(hi, length.last)
		switch {
		case from > to:
		case length.more == 0:
			yield(sequence{{byte(from), byte(to)}})
		case from == length.first && to == length.last:
			s := sequence{length.lead}
			for range length.more {
				s = append(s, byteRange{0x80, 0xBF})
			}
			yield(s)
		case length.more == 2 && from <= lastSurrogate && to >= firstSurrogate:
			split(from, min(to, firstSurrogate-1), yield)
			split(max(from, lastSurrogate+1), to, yield)
		default:
			split(from, to, yield)
		}
	}
}

// split divides a range of characters of one length until all continuation bytes range over everything behind the first byte that
// differs, as in R. Cox, "Regular Expression Matching in the Wild".
func split(lo, hi rune, yield func(sequence)) {
	if lo > hi {
		return
	}
	for shift := 6; shift <= 18; shift += 6 {
		mask := rune(1)<<shift - 1
		if lo&^mask == hi&^mask {
			break
		}
		if lo&mask != 0 {
			split(lo, lo|mask, yield)
			split((lo|mask)+1, hi, yield)
			return
		}
		if hi&mask != mask {
			split(lo, hi&^mask-1, yield)
			split(hi&^mask, hi, yield)
			return
		}
	}
	var first, last [utf8.UTFMax]byte
	n := utf8.EncodeRune(first[:], lo)
	utf8.EncodeRune(last[:], hi)
	s := make(sequence, n)
	for i := range s {
		s[i] = byteRange{first[i], last[i]}
	}
	yield(s)
}
