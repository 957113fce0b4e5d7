package edge

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// throttle says how often something is worth a record: a few times a second for
// one address, some more for all together. It forgets nothing: what was left out is in the
// count of the next record of that address. Its memory is fixed; two addresses that share
// a slot push each other out, which the limit for all bounds.
type throttle struct {
	perAddr, forAll int

	mu    sync.Mutex
	seed  maphash.Seed
	slots [512]throttleSlot
	all   throttleSlot
}

type throttleSlot struct {
	addr    netip.Addr
	second  int64
	given   int
	skipped uint64
}

func newThrottle(perAddr, forAll int) *throttle {
	return &throttle{perAddr: perAddr, forAll: forAll, seed: maphash.MakeSeed()}
}

// allow reports whether to record now, and for how many occurrences the record stands.
func (t *throttle) allow(a netip.Addr, now time.Time) (count uint64, ok bool) {
	second := now.Unix()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all.second != second {
		t.all.second, t.all.given = second, 0
	}
	s := &t.slots[maphash.Comparable(t.seed, a)%uint64(len(t.slots))]
	if s.addr != a {
		t.all.skipped += s.skipped
		*s = throttleSlot{addr: a, second: second}
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
