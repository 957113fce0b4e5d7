//go:build linux

package enforce

import (
	"context"
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/kernel"
)

// TestSettleInAFlood: who asks waits for what was decided before, and not until nothing more is decided.
func TestSettleInAFlood(t *testing.T) {
	inside, id := cgroup(t, "settle")
	e, s := begin(t, Options{})
	program := victim(t, realDir(t)+"/program")
	guard(t, e, kernel.GuardRule{Rule: "network", Hook: kernel.HookConnect, Enforce: true, Cgroups: []uint64{id}, Remote: []netip.Prefix{netip.MustParsePrefix("127.7.0.0/16")}})
	over, slow := make(chan struct{}), make(chan struct{})
	go func() { // whoever is told takes his time: there is always something left in the ring
		defer close(slow)
		for {
			select {
			case <-over:
				return
			default:
				s.mu.Lock()
				time.Sleep(20 * time.Microsecond)
				s.mu.Unlock()
			}
		}
	}()
	flood := within(t, inside, actor(program, "flood", "127.7.1.2", "9"))
	if err := flood.Start(); err != nil {
		t.Fatal(err)
	}
	untold := func() uint64 {
		n, err := e.Counts()
		if err != nil {
			t.Fatal(err)
		}
		return n.Untold
	}
	for untold() == 0 { // until the ring is full
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	e.Settle(ctx)
	if ctx.Err() != nil {
		t.Error("nobody is answered while there is a flood")
	}
	for before := untold(); untold() == before && ctx.Err() == nil; { // it goes on
		time.Sleep(time.Millisecond)
	}
	close(over)
	<-slow
	_ = flood.Process.Kill()
	_ = flood.Wait()
}

func TestSettling(t *testing.T) {
	var s settling
	ask := func() <-chan struct{} { return s.ask() }
	if ask() != nil {
		t.Error("it waits where nothing is decided")
	}
	s.deciding.Store(true)
	if ask() != nil {
		t.Error("it waits where nobody reads")
	}
	woken := 0
	s.begin(func() error { woken++; return nil })
	answered := func(done <-chan struct{}) bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
	first := ask()
	all := s.take(nil, func() uint64 { return 100 })
	second := ask()
	all = s.take(all, func() uint64 { return 300 })
	if all = answer(all, 99); woken != 2 || len(all) != 2 || answered(first) {
		t.Errorf("%d woken, %d wait", woken, len(all))
	}
	if all = answer(all, 100); !answered(first) || answered(second) {
		t.Error("not answered at its position")
	}
	if all = answer(all, math.MaxUint64); !answered(second) || len(all) > 0 {
		t.Error("not answered at the end")
	}
	third := ask()
	if s.end(); !answered(third) || ask() != nil {
		t.Error("it waits for nobody")
	}
}
