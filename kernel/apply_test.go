package kernel

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// eventually waits for what happens in another goroutine.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if is() {
			return
		}
	}
	t.Fatalf("waited in vain for %s", what)
}

// TestGuardIsTriedAgain: a sensor that cannot enforce the rules now is asked again without anybody changing a rule, and who asks for the
// health is told until it can.
func TestGuardIsTriedAgain(t *testing.T) {
	for name, why := range map[string]error{"busy": errors.New("too many questions"), "no sensor for a while": fmt.Errorf("it is started: %w", ErrUnable)} {
		t.Run(name, func(t *testing.T) {
			h := run(t, DefaultConfig(), nil)
			fails, asked := 3, 0
			hold := make(chan struct{})
			h.sensor.mu.Lock()
			h.sensor.guard = func(Guard) error {
				asked++
				if asked <= fails {
					return why
				}
				<-hold
				return nil
			}
			h.sensor.mu.Unlock()
			if err := h.SetGuard(t.Context(), Guard{Closed: true}); !errors.Is(err, why) {
				t.Errorf("the caller is not told: %v", err)
			}
			if err := h.Health(); err == nil || !strings.Contains(err.Error(), "not enforced") || !errors.Is(err, why) {
				t.Errorf("health: %v", err)
			}
			close(hold)
			eventually(t, "the guard", func() bool {
				h.sensor.mu.Lock()
				defer h.sensor.mu.Unlock()
				return len(h.sensor.guards) > 0 && h.sensor.guards[0].Closed
			})
			eventually(t, "health", func() bool { return h.Health() == nil })
		})
	}
}

func TestInterestThatIsRefusedIsToldByHealth(t *testing.T) {
	var watching atomic.Int64
	h := run(t, DefaultConfig(), func(d *Deps) { d.Watching = func() { watching.Add(1) } })
	h.sensor.mu.Lock()
	h.sensor.watchFails = 2
	h.sensor.mu.Unlock()
	if err := h.SetInterest(t.Context(), Interest{DNS: true}); err == nil || watching.Load() != 0 {
		t.Error("the caller is not told")
	}
	defer func() {
		if n := watching.Load(); n != 1 {
			t.Errorf("it was said %d times that all is seen", n)
		}
	}()
	if err := h.Health(); err == nil || !strings.Contains(err.Error(), "not all that the rules need is seen") {
		t.Errorf("health: %v", err)
	}
	eventually(t, "health", func() bool { return h.Health() == nil })
}

// TestOldGuardDoesNotOvertakeTheNew: what is tried again is what is wanted then, not what was refused.
func TestOldGuardDoesNotOvertakeTheNew(t *testing.T) {
	h := run(t, DefaultConfig(), nil)
	refuse := true
	h.sensor.mu.Lock()
	h.sensor.guard = func(Guard) error {
		if refuse {
			return errors.New("not now")
		}
		return nil
	}
	h.sensor.mu.Unlock()
	_ = h.SetGuard(t.Context(), Guard{Rules: []GuardRule{{Rule: "old"}}})
	h.sensor.mu.Lock()
	refuse = false
	h.sensor.mu.Unlock()
	if err := h.SetGuard(t.Context(), Guard{Rules: []GuardRule{{Rule: "new"}}}); err != nil {
		t.Fatal(err)
	}
	if err := h.Health(); err != nil {
		t.Errorf("health after a guard that holds: %v", err)
	}
	time.Sleep(3 * applyFirst) // an attempt that was waiting would have come by now
	h.sensor.mu.Lock()
	defer h.sensor.mu.Unlock()
	// The old one may have been tried again before the new one came.
	fresh := false
	for i, g := range h.sensor.guards {
		isNew := len(g.Rules) == 1 && g.Rules[0].Rule == "new"
		if fresh && !isNew {
			t.Errorf("guard %d of %d: %+v", i, len(h.sensor.guards), g)
		}
		fresh = fresh || isNew
	}
	if !fresh {
		t.Error("the new guard was never given")
	}
}

// TestReapply: a sensor that took another's place and did not take over what holds is told again.
func TestReapply(t *testing.T) {
	h := run(t, DefaultConfig(), nil)
	if err := errors.Join(h.SetGuard(t.Context(), Guard{Closed: true}), h.SetInterest(t.Context(), Interest{DNS: true})); err != nil {
		t.Fatal(err)
	}
	h.Unheld(errors.New("the new sensor is slow"))
	eventually(t, "both", func() bool {
		h.sensor.mu.Lock()
		defer h.sensor.mu.Unlock()
		return len(h.sensor.guards) > 1 && len(h.sensor.watched) > 1
	})
	eventually(t, "health", func() bool { return h.Health() == nil })
}
