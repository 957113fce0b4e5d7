package lake

import "math/bits"

// rowset is a set of the rows of a row group.
type rowset []uint64

func newRowset(rows int) rowset { return make(rowset, (rows+63)/64) }

// fill adds the rows before n.
func (s rowset) fill(n int) {
	for i := range s {
		s[i] = ^uint64(0)
	}
	if over := n & 63; over != 0 && len(s) > 0 {
		s[len(s)-1] = 1<<over - 1
	}
}

func (s rowset) add(row int)      { s[row>>6] |= 1 << (row & 63) }
func (s rowset) has(row int) bool { return s[row>>6]&(1<<(row&63)) != 0 }

func (s rowset) empty() bool {
	for _, w := range s {
		if w != 0 {
			return false
		}
	}
	return true
}

func (s rowset) count() int {
	n := 0
	for _, w := range s {
		n += bits.OnesCount64(w)
	}
	return n
}

func (s rowset) union(t rowset) {
	for i := range s {
		s[i] |= t[i]
	}
}

func (s rowset) intersect(t rowset) {
	for i := range s {
		s[i] &= t[i]
	}
}

func (s rowset) subtract(t rowset) {
	for i := range s {
		s[i] &^= t[i]
	}
}

// anyIn reports whether a row from first up to but not including end is in the set.
func (s rowset) anyIn(first, end int) bool {
	for row := first; row < end; {
		w := s[row>>6] >> (row & 63)
		width := min(64-row&63, end-row)
		if width < 64 {
			w &= 1<<width - 1
		}
		if w != 0 {
			return true
		}
		row += width
	}
	return false
}

// each calls yield for the rows in rising order until it returns false.
func (s rowset) each(yield func(row int) bool) {
	for i, w := range s {
		for ; w != 0; w &= w - 1 {
			if !yield(i<<6 + bits.TrailingZeros64(w)) {
				return
			}
		}
	}
}
