package literal

import (
	"encoding/binary"
	"math/bits"
)

const (
	gram      = 3 // bytes that a sample looks at
	maxStride = 4
	// maxOffset bounds how far into a literal its sampled grams may lie: rarer grams make fewer
	// false hits, but each hit makes the automaton start that much earlier.
	maxOffset = 5
	// foldMask lower-cases letters; it also folds some other bytes together, which a
	// filter may do as long as it does it on both sides.
	foldMask = 0x2020202020202020
	// maxProbes bounds the comparisons for one gram: a set with more literals behind
	// one gram goes to the automaton at once, so that no text makes the filter slow.
	maxProbes = 12
)

// filter says where a literal may be. It samples text[p:p+gram] for every stride-th p.
type filter struct {
	stride int // 0: switched off
	// bitmap has a bit for each hash of a gram that occurs in a literal where sampling may
	// meet it.
	bitmap [1 << 10]uint64
	slots  []slot // open addressing by gram, a power of two of them
	shift  uint
	probes []probe
	back   int // largest distance from a sample back to the start of its literal
}

// slot maps a gram to its probes.
type slot struct {
	gram     uint32 // folded; 0 in an empty slot, which no folded gram is
	from, to uint32
	always   bool // too many probes to try
}

// probe is one place in a literal: it is there if the eight bytes at the sample, folded and
// masked, equal value.
type probe struct {
	value, mask uint64
}

func hash(g uint32) uint32 { return g * 0x9E3779B1 }

func (f *filter) build(patterns []Pattern, shortest int) {
	if shortest < gram {
		return
	}
	f.stride = min(shortest-gram+1, maxStride)
	byGram := map[uint32][]probe{}
	for i := range patterns {
		text := patterns[i].Text
		best, bestCost := 0, ^uint64(0)
		for o := 0; o+f.stride-1+gram <= len(text) && o <= maxOffset; o++ {
			var cost uint64
			for k := range f.stride {
				cost += commonness(text[o+k : o+k+gram])
			}
			if cost < bestCost {
				best, bestCost = o, cost
			}
		}
		for k := range f.stride {
			back := best + k
			var window, mask [8]byte
			for j := 0; j < 8 && back+j < len(text); j++ {
				window[j], mask[j] = text[back+j], 0xff
			}
			m := binary.LittleEndian.Uint64(mask[:])
			p := probe{(binary.LittleEndian.Uint64(window[:]) | foldMask) & m, m}
			g := uint32(p.value) & 0xffffff
			byGram[g] = append(byGram[g], p)
			f.back = max(f.back, back)
		}
	}
	size := 1 << bits.Len(uint(2*len(byGram)))
	f.slots = make([]slot, size)
	f.shift = uint(32 - bits.TrailingZeros(uint(size)))
	for g, probes := range byGram {
		h := hash(g)
		f.bitmap[h>>22] |= 1 << (h >> 16 & 63)
		i := h >> f.shift
		for f.slots[i].gram != 0 {
			i = (i + 1) & uint32(size-1)
		}
		s := slot{gram: g, from: uint32(len(f.probes)), always: len(probes) > maxProbes}
		f.probes = append(f.probes, probes...)
		s.to = uint32(len(f.probes))
		f.slots[i] = s
	}
}

func (f *filter) size() int { return 8*len(f.bitmap) + 16*len(f.slots) + 16*len(f.probes) }

// next returns the first sample at or after p where a literal may be: it then begins
// at most f.back bytes before. It returns len(text) where there is none. The last bytes of a
// text are always taken for a hit, so that no load reaches beyond it.
func (f *filter) next(text []byte, p int) int {
	stride := f.stride
	for ; p+8 <= len(text); p += stride {
		w := binary.LittleEndian.Uint64(text[p : p+8])
		g := (uint32(w) | foldMask&0xffffff) & 0xffffff
		h := hash(g)
		if f.bitmap[h>>22]&(1<<(h>>16&63)) != 0 && f.probe(w|foldMask, g, h) {
			return p
		}
	}
	return min(p, len(text))
}

// probe is the second look at a sample whose hash is in the bitmap.
func (f *filter) probe(w uint64, g, h uint32) bool {
	for i := h >> f.shift; ; i = (i + 1) & uint32(len(f.slots)-1) {
		s := &f.slots[i]
		if s.gram != g {
			if s.gram == 0 {
				return false
			}
			continue
		}
		if s.always {
			return true
		}
		for _, p := range f.probes[s.from:s.to] {
			if w&p.mask == p.value {
				return true
			}
		}
		return false
	}
}

// commonness estimates how often a gram occurs in source text: the product of its
// bytes' ranks.
func commonness(g string) uint64 {
	cost := uint64(1)
	for i := range len(g) {
		cost *= rank(fold(g[i]))
	}
	return cost
}

// rank is a rough frequency of a byte in source code and configuration.
func rank(b byte) uint64 {
	const rising = "zqjxkvwbygphmfducl0nrsoai1te"
	for i := range len(rising) {
		if rising[i] == b {
			return uint64(i + 3)
		}
	}
	switch {
	case b == ' ' || b == '\n' || b == '\t':
		return 40
	case b == '.' || b == '"' || b == '(' || b == ')' || b == '_' || b == '/' || b == ',' || b == '-' || b == '=':
		return 14
	case b < 0x80:
		return 6
	}
	return 1
}
