// Package throttle says which of many like occurrences are worth a record, so that who causes
// them cannot fill the record, and none is lost from the count.
package throttle

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// Throttle says how often something is worth a record: a few times a second for
// one address, some more for all together. It forgets nothing: what was left out is in the
// count of the next record of that address. Its memory is fixed; two addresses that share
// a slot push each other out, which the limit for all bounds. It is safe for
// concurrent use.
type Throttle struct {
	perAddr, forAll int

	mu    sync.Mutex
	seed  maphash.Seed
	slots [512]slot
	all   slot
}

type slot struct {
	addr    netip.Addr
	second  int64
	given   int
	skipped uint64
}

// New returns a Throttle that gives that many records a second for one address, and for all.
func New(perAddr, forAll int) *Throttle {
	return &Throttle{perAddr: perAddr, forAll: forAll, seed: maphash.MakeSeed()}
}

// Allow reports whether to record now, and for how many occurrences the record stands.
func (t *Throttle) Allow(a netip.Addr, now time.Time) (count uint64, ok bool) {
	second := now.Unix()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all.second != second {
		t.all.second, t.all.given = second, 0
	}
	s := &t.slots[maphash.Comparable(t.seed, a)%uint64(len(t.slots))]
	if s.addr != a {
		t.all.skipped += s.skipped
		*s = slot{addr: a, second: second}
	}
	if s.second != second {
		s.second, s.given = second, 0
	}
	if s.given >= t.perAddr || t.all.given >= t.forAll {
		s.skipped++
		return 0, false
	}
	s.given++
	t.all.given++
	count = 1 + s.skipped
	s.skipped = 0
	return count, true
}
