package match

import (
	"cmp"
	"math"
	"net/netip"
	"slices"

	"github.com/testudo-sec/testudo/internal/textset"
)

// intervals finds which of many ranges a number lies in: the line is cut at the ends of all ranges, and
// each piece knows those over it.
type intervals[T cmp.Ordered] struct {
	starts []T // of the pieces, in rising order; a piece ends before the next begins
	ids    [][]int32
}

type span[T cmp.Ordered] struct {
	min, max T // both included
	id       int32
}

// newIntervals returns the table of these ranges. after returns the next larger number, and
// false where there is none.
func newIntervals[T cmp.Ordered](spans []span[T], after func(T) (T, bool)) *intervals[T] {
	iv := &intervals[T]{}
	var ends []T // the first number behind each range
	for _, s := range spans {
		iv.starts = append(iv.starts, s.min)
		if next, ok := after(s.max); ok {
			ends = append(ends, next)
		}
	}
	iv.starts = append(iv.starts, ends...)
	slices.Sort(iv.starts)
	iv.starts = slices.Compact(iv.starts)
	iv.ids = make([][]int32, len(iv.starts))
	for _, s := range spans {
		i, _ := slices.BinarySearch(iv.starts, s.min)
		for ; i < len(iv.starts) && iv.starts[i] <= s.max; i++ {
			iv.ids[i] = append(iv.ids[i], s.id)
		}
	}
	return iv
}

// find returns the ranges that hold v. No range holds a value that is not a number.
func (iv *intervals[T]) find(v T) []int32 {
	low, high := 0, len(iv.starts)
	for low < high {
		if mid := int(uint(low+high) >> 1); iv.starts[mid] <= v {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low == 0 {
		return nil
	}
	return iv.ids[low-1]
}

func afterInt(v int64) (int64, bool) { return v + 1, v < math.MaxInt64 }

func afterFloat(v float64) (float64, bool) {
	return math.Nextafter(v, math.Inf(1)), !math.IsInf(v, 1)
}

// closed returns the range with both ends included, and whether it holds any number.
func (r NumberRange) closed() (low, high float64, ok bool) {
	low, high = r.Min, r.Max
	if r.MinOpen {
		low = math.Nextafter(low, math.Inf(1))
		if math.IsInf(r.Min, 1) {
			return 0, 0, false
		}
	}
	if r.MaxOpen {
		high = math.Nextafter(high, math.Inf(-1))
		if math.IsInf(r.Max, -1) {
			return 0, 0, false
		}
	}
	return low, high, low <= high // false for what is not a number
}

// prefixes finds which of many address prefixes hold an address: one look-up for each length that occurs.
type prefixes struct {
	lengths4, lengths6 []int
	ids                map[netip.Prefix]int32
}

func newPrefixes() *prefixes { return &prefixes{ids: make(map[netip.Prefix]int32)} }

func (p *prefixes) add(prefix netip.Prefix, id int32) {
	p.ids[prefix] = id
	lengths := &p.lengths6
	if prefix.Addr().Is4() {
		lengths = &p.lengths4
	}
	if !slices.Contains(*lengths, prefix.Bits()) {
		*lengths = append(*lengths, prefix.Bits())
	}
}

func (p *prefixes) find(a netip.Addr, m *textset.Marks) {
	lengths := p.lengths6
	if a.Is4() {
		lengths = p.lengths4
	}
	for _, bits := range lengths {
		prefix, err := a.Prefix(bits)
		if err != nil {
			return
		}
		if id, ok := p.ids[prefix]; ok {
			m.Add(id)
		}
	}
}
