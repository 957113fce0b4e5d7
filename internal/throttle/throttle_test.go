package throttle

import (
	"net/netip"
	"testing"
	"time"
)

func TestThrottle(t *testing.T) {
	th := New(2, 5)
	now := time.Unix(1000, 0)
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}) }
	given := 0
	for range 10 {
		if _, ok := th.Allow(addr(1), now); ok {
			given++
		}
	}
	if given != 2 {
		t.Errorf("%d records of one address in a second", given)
	}
	if n, ok := th.Allow(addr(1), now.Add(time.Second)); !ok || n != 9 {
		t.Errorf("the next stands for %d, %v", n, ok)
	}
	given = 0
	for i := range 1000 {
		if _, ok := th.Allow(addr(i), now.Add(2*time.Second)); ok {
			given++
		}
	}
	if given != 5 {
		t.Errorf("%d records of all in a second", given)
	}
}
