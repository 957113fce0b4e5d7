package owner

import (
	"math"
	"math/bits"
	"sync"
)

// histogram counts numbers in steps of half an octave. Old ones fade: all are halved when there are many.
type histogram struct {
	counts [64]uint32
	all    uint32
}

const fadeAt = 1 << 16

func (h *histogram) add(n uint64) {
	h.counts[step(n)]++
	if h.all++; h.all < fadeAt {
		return
	}
	h.all = 0
	for i := range h.counts {
		h.counts[i] /= 2
		h.all += h.counts[i]
	}
}

func step(n uint64) int {
	if n == 0 {
		return 0
	}
	top := bits.Len64(n) - 1
	half := 0
	if top > 0 && n>>(top-1)&1 == 1 {
		half = 1
	}
	return min(1+2*top+half, 63)
}

// above is a number that at most that share of all was above.
func (h *histogram) above(share float64) uint64 {
	allowed := uint32(share * float64(h.all))
	var sum uint32
	for i := len(h.counts) - 1; i > 0; i-- {
		if sum += h.counts[i]; sum > allowed {
			return limit(i)
		}
	}
	return 0
}

// limit is the largest number of a step.
func limit(i int) uint64 {
	top := (i - 1) / 2
	if (i-1)%2 == 1 {
		return 1<<(top+1) - 1
	}
	if top == 0 {
		return 1
	}
	return 1<<top + 1<<(top-1) - 1
}

// endpoint is what is usual for one method of one template.
type endpoint struct {
	mu       sync.Mutex
	resource *resource

	// Of answers with success.
	opened, handed uint32 // accesses to objects by known subjects, and how many of those objects were given to them
	subjects       crowd
	secured        uint32 // with credentials
	bare           uint32 // without
	bytes, records histogram

	// Of windows of one subject each.
	walked, points, refused histogram
	windowBytes             histogram
	windowRecords           histogram
}

// crowd counts distinct subjects up to a hundred or so, by linear counting (Whang et al., 1990).
type crowd [2]uint64

func (c *crowd) add(subject uint64) {
	h := mix(subject)
	c[h>>6&1] |= 1 << (h & 63)
}

func (c *crowd) count() int {
	empty := 128 - bits.OnesCount64(c[0]) - bits.OnesCount64(c[1])
	if empty == 0 {
		return 600
	}
	return int(128*math.Log(128/float64(empty)) + 0.5)
}

// subjectsWarm and windowsWarm are how much an endpoint needs to be known before it says what is unusual.
const (
	openedWarm   = 300
	subjectsWarm = 15
	windowsWarm  = 100
	securedWarm  = 200
	answersWarm  = 500
)

// handsOut says that objects opened here are usually those that were given.
func (e *endpoint) handsOut() bool {
	return e.opened >= openedWarm && e.subjects.count() >= subjectsWarm && float64(e.handed) >= 0.7*float64(e.opened)
}

func (e *endpoint) open(handed bool, subject uint64) {
	e.subjects.add(subject)
	e.opened++
	if handed {
		e.handed++
	}
	if e.opened >= fadeAt {
		e.opened /= 2
		e.handed /= 2
	}
}

// usual is what a window of one subject may have: four times what one in a hundred is above, or the floor. As long as little is known, it is
// three times the floor.
func usual(h *histogram, floor int) uint64 {
	if h.all < windowsWarm {
		return 3 * uint64(floor)
	}
	return max(uint64(floor), 4*h.above(0.01))
}
