package inventory

import (
	"math"
	"math/bits"
)

// hash is FNV-1a with the last mixing of SplitMix64. It must be the same in every process, for snapshots
// hold what was made of it; no table that a stranger could fill with collisions uses it.
func hash(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := 0; i < len(s); i++ {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return mix(h)
}

func mix(h uint64) uint64 {
	h ^= h >> 30
	h *= 0xbf58476d1ce4e5b9
	h ^= h >> 27
	h *= 0x94d049bb133111eb
	return h ^ h>>31
}

// witnesses are the first three distinct callers.
type witnesses [3]uint32

func (w *witnesses) add(caller uint64) {
	if w[2] != 0 || caller == 0 {
		return
	}
	c := uint32(mix(caller)) | 1
	for i := range w {
		switch w[i] {
		case c:
			return
		case 0:
			w[i] = c
			return
		}
	}
}

func (w *witnesses) merge(o *witnesses) {
	for _, c := range o {
		if c == 0 {
			return
		}
		for i := range w {
			if w[i] == c {
				break
			}
			if w[i] == 0 {
				w[i] = c
				break
			}
		}
	}
}

// several says that three callers vouch for something.
func (w *witnesses) several() bool { return w[2] != 0 }

// only is the one caller, or 0.
func (w *witnesses) only() uint32 {
	if w[1] != 0 {
		return 0
	}
	return w[0]
}

// distinct counts distinct hashes: exactly up to sixteen, then by HyperLogLog (Flajolet et al., 2007) with 256
// registers, which errs by 6.5% in the mean.
type distinct struct {
	Few  []uint32 `json:"f,omitempty"`
	Many []byte   `json:"m,omitempty"`
}

const fewMost = 16

func (d *distinct) add(h uint64) {
	if d.Many != nil {
		d.register(h)
		return
	}
	v := uint32(h >> 32)
	for _, f := range d.Few {
		if f == v {
			return
		}
	}
	d.Few = append(d.Few, v)
	if len(d.Few) > fewMost {
		d.Many = make([]byte, 256)
		for _, f := range d.Few {
			d.register(uint64(f) << 32)
		}
		d.Few = nil
	}
}

// register uses the upper half of a hash only, as the exact form keeps no more.
func (d *distinct) register(h uint64) {
	v := uint32(h >> 32)
	rank := byte(bits.LeadingZeros32(v<<8|1<<7) + 1)
	if i := v >> 24; d.Many[i] < rank {
		d.Many[i] = rank
	}
}

func (d *distinct) merge(o *distinct) {
	for _, f := range o.Few {
		d.add(uint64(f) << 32)
	}
	if o.Many == nil {
		return
	}
	if d.Many == nil {
		few := d.Few
		d.Few, d.Many = nil, make([]byte, 256)
		for _, f := range few {
			d.register(uint64(f) << 32)
		}
	}
	for i, r := range o.Many {
		d.Many[i] = max(d.Many[i], r)
	}
}

func (d *distinct) count() int {
	if d.Many == nil {
		return len(d.Few)
	}
	const m = 256
	sum, zeros := 0.0, 0
	for _, r := range d.Many {
		sum += math.Ldexp(1, -int(r))
		if r == 0 {
			zeros++
		}
	}
	e := 0.7213 / (1 + 1.079/m) * m * m / sum
	if e <= 2.5*m && zeros > 0 {
		e = m * math.Log(float64(m)/float64(zeros))
	}
	return int(e + 0.5)
}

// sizes is a histogram over powers of two.
type sizes [32]uint32

func (s *sizes) add(n int64) {
	if n < 0 {
		return
	}
	if i := min(bits.Len64(uint64(n)), len(s)-1); s[i] < math.MaxUint32 {
		s[i]++
	}
}

func (s *sizes) merge(o *sizes) {
	for i := range s {
		s[i] = uint32(min(uint64(s[i])+uint64(o[i]), math.MaxUint32))
	}
}

// quantile is the power of two below which that share of all lies.
func (s *sizes) quantile(share float64) int64 {
	var all uint64
	for _, n := range s {
		all += uint64(n)
	}
	if all == 0 {
		return 0
	}
	need := uint64(math.Ceil(share * float64(all)))
	for i, n := range s {
		if uint64(n) >= need {
			if i == 0 {
				return 0
			}
			return 1 << i
		}
		need -= uint64(n)
	}
	return 1 << (len(s) - 1)
}
