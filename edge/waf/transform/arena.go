package transform

import "unsafe"

// Arena is memory for what transformations make: many short texts in few allocations. What was made stays as it is; the memory is never used again. The zero Arena is empty. It is
// not safe for concurrent use.
type Arena struct {
	rest []byte // of the piece that is filled
	size int    // of the last piece
}

// Sizes of pieces: each is twice as large as the one before.
const (
	firstPiece = 1 << 10
	lastPiece  = 64 << 10
)

// Room returns no bytes, and room for n. What is appended counts when it is kept; before that the room is anybody's.
func (a *Arena) Room(n int) []byte {
	if n > cap(a.rest) {
		if n > lastPiece/4 {
			return make([]byte, 0, n) // by itself, so that little is left over
		}
		a.size = min(max(2*a.size, firstPiece), lastPiece)
		a.rest = make([]byte, 0, max(a.size, n))
	}
	return a.rest[:0:n]
}

// Keep returns what was appended to the last room as a string.
func (a *Arena) Keep(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if cap(a.rest) > 0 && unsafe.SliceData(b) == unsafe.SliceData(a.rest) { // else it was moved as it grew
		a.rest = a.rest[len(b):len(b):cap(a.rest)]
	}
	return unsafe.String(unsafe.SliceData(b), len(b))
}

// Copy returns bytes as a string.
func (a *Arena) Copy(b []byte) string { return a.Keep(append(a.Room(len(b)), b...)) }

// Lower is strings.ToLower.
func (a *Arena) Lower(s string) string {
	out, _ := lowercase(a, s)
	return out
}

// Join returns texts one behind the other.
func (a *Arena) Join(texts []string) string {
	n := 0
	for _, t := range texts {
		n += len(t)
	}
	out := a.Room(n)
	for _, t := range texts {
		out = append(out, t...)
	}
	return a.Keep(out)
}

// Upper returns a text with the small letters of ASCII in capitals.
func (a *Arena) Upper(s string) string {
	out := append(a.Room(len(s)), s...)
	for i, c := range out {
		if c >= 'a' && c <= 'z' {
			out[i] = c - ('a' - 'A')
		}
	}
	return a.Keep(out)
}

// kept is Keep, and returns the value itself where b holds the same.
func (a *Arena) kept(s string, b []byte) (string, bool) {
	if string(b) == s {
		return s, false
	}
	return a.Keep(b), true
}
