package match

import (
	"encoding/binary"
	"slices"
)

const (
	lanes = 0x0101010101010101 // a one in each of eight bytes
	high  = 0x80 * lanes
)

// foldInto returns the text as [Fold] makes it, in memory that is appended to b. It takes eight bytes at a time
// while they are ASCII.
func foldInto(b []byte, s string) ([]byte, string) {
	from, n := len(b), len(s)
	b = slices.Grow(b, n)
	out := b[from : from+n]
	i := 0
	for ; i+8 <= n; i += 8 {
		w := load8(s[i : i+8])
		if w&high != 0 {
			break
		}
		binary.LittleEndian.PutUint64(out[i:], w|upper(w))
	}
	if i+8 > n {
		for ; i < n && s[i] < 0x80; i++ {
			c := s[i]
			if 'A' <= c && c <= 'Z' {
				c |= 0x20
			}
			out[i] = c
		}
	}
	b = b[:from+i]
	if i < n {
		b = appendFold(b, s[i:])
	}
	return b, view(b[from:])
}

func load8(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// upper returns 0x20 in the place of each byte that is an upper-case letter. All bytes are ASCII.
func upper(w uint64) uint64 {
	atLeastA := w + (0x80-'A')*lanes // the high bit is set where the byte is at least 'A'
	aboveZ := w + (0x80-'Z'-1)*lanes // and here where it is above 'Z'
	return (atLeastA &^ aboveZ & high) >> 2
}
