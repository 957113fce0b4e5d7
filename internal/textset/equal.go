package textset

import (
	"cmp"
	"math/bits"
	"slices"
)

// Equal finds which constant a text is.
type Equal struct {
	slots             []equalSlot // open addressing, a power of two of them
	shift             uint
	shortest, longest int
	whole             bool // the hash reads every byte, because constants differ in the middle only
}

type equalSlot struct {
	text string // "" for an empty slot
	hash uint32
	id   int32
}

// maxChain bounds the slots that one look-up may pass before the hash reads whole texts.
const maxChain = 16

// NewEqual returns the set of these constants.
func NewEqual(constants []Constant) *Equal {
	e := &Equal{}
	if len(constants) == 0 {
		return e
	}
	size := max(2, 1<<bits.Len(uint(2*len(constants)-1)))
	e.shift = uint(64 - bits.TrailingZeros(uint(size)))
	e.shortest = len(slices.MinFunc(constants, byLength).Text)
	e.longest = len(slices.MaxFunc(constants, byLength).Text)
	if e.fill(constants, size) > maxChain {
		e.whole = true
		e.fill(constants, size)
	}
	return e
}

func byLength(a, b Constant) int { return cmp.Compare(len(a.Text), len(b.Text)) }

// fill puts the constants into new slots and returns the longest way to one of them.
func (e *Equal) fill(constants []Constant, size int) int {
	e.slots = make([]equalSlot, size)
	longest := 0
	for _, c := range constants {
		h := e.hash(c.Text)
		i, way := h>>e.shift, 1
		for ; e.slots[i].text != ""; way++ {
			i = (i + 1) & uint64(size-1)
		}
		e.slots[i] = equalSlot{c.Text, uint32(h), c.ID}
		longest = max(longest, way)
	}
	return longest
}

// hash reads the ends of a text and its middle, or all of it.
func (e *Equal) hash(s string) uint64 {
	n := len(s)
	if n < 8 {
		return mix(head(s) + uint64(n)<<56)
	}
	if e.whole {
		h := uint64(n)
		for i := 0; i+8 <= n; i += 8 {
			h = bits.RotateLeft64(h, 5) ^ mix(load8(s, i)+h)
		}
		return mix(h ^ bits.RotateLeft64(load8(s, n-8), 32))
	}
	return mix(load8(s, 0) ^ bits.RotateLeft64(mix(load8(s, n-8)), 17) ^ bits.RotateLeft64(load8(s, n/2-4), 41) + uint64(n))
}

// Lookup returns the number of the constant that the text is, or -1.
func (e *Equal) Lookup(text string) int32 {
	if len(text) < e.shortest || len(text) > e.longest || text == "" {
		return -1
	}
	h := e.hash(text)
	for i := h >> e.shift; ; i = (i + 1) & uint64(len(e.slots)-1) {
		s := &e.slots[i]
		if s.hash == uint32(h) && s.text == text {
			return s.id
		}
		if s.text == "" {
			return -1
		}
	}
}

// Find marks the constant that the text is.
func (e *Equal) Find(text string, m *Marks) {
	if id := e.Lookup(text); id >= 0 {
		m.Add(id)
	}
}

// Size returns the bytes that the tables take, texts not included; nil takes none.
func (e *Equal) Size() int {
	if e == nil {
		return 0
	}
	return 24 * len(e.slots)
}
