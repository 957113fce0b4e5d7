package people

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestLimits(t *testing.T) {
	ctx := t.Context()
	wait := func(err error) time.Duration {
		var l ErrLimited
		errors.As(err, &l)
		return l.RetryAfter
	}
	t.Run("one name from one address", func(t *testing.T) {
		w := newWorld(t)
		w.create("ann", Admin)
		const evil = "203.0.113.5:4711"
		for i := range 6 {
			if _, _, err := w.SignIn(ctx, "ann", "wrong", evil); !errors.Is(err, ErrDenied) {
				t.Fatal(i, err)
			}
		}
		want := time.Second
		for range 14 {
			_, _, err := w.SignIn(ctx, "ann", good, evil)
			if wait(err) != min(want, maxDelay) {
				t.Fatalf("%v, want to wait %v", err, want)
			}
			w.pass(wait(err))
			if _, _, err := w.SignIn(ctx, "ann", "wrong", evil); !errors.Is(err, ErrDenied) {
				t.Fatal(err)
			}
			want *= 2
		}
		// From anywhere else she gets in, and after the delay from there too.
		if _, _, err := w.SignIn(ctx, "ann", good, home); err != nil {
			t.Error(err)
		}
		w.pass(maxDelay)
		if _, _, err := w.SignIn(ctx, "ann", good, evil); err != nil {
			t.Error(err)
		}
	})
	t.Run("many at once", func(t *testing.T) {
		w := newWorld(t)
		w.create("ann", Admin)
		var wg sync.WaitGroup
		var mu sync.Mutex
		looked := 0
		for range 40 {
			wg.Go(func() {
				_, _, err := w.SignIn(ctx, "ann", "wrong", "203.0.113.5")
				if errors.Is(err, ErrDenied) {
					mu.Lock()
					looked++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if looked > freePerPair+1 {
			t.Errorf("%d guesses were looked at", looked)
		}
	})
	t.Run("many names from one address", func(t *testing.T) {
		w := newWorld(t)
		w.create("ann", Admin)
		n := 0
		for i := range 100 {
			// Ports and the host part of an IPv6 network do not help.
			_, _, err := w.SignIn(ctx, fmt.Sprintf("user%d", i), "wrong", fmt.Sprintf("[2001:db8::%x]:%d", i+1, i+1))
			if errors.Is(err, ErrDenied) {
				n++
			}
		}
		if n != freePerAddress+1 {
			t.Errorf("%d names were tried", n)
		}
		// An account of one's own does not clear the address.
		w.create("mallory", Viewer)
		w.pass(time.Hour - time.Minute)
		if _, _, err := w.SignIn(ctx, "mallory", good, "2001:db8::5"); err != nil {
			t.Fatal(err)
		}
		w.pass(2 * time.Second)
		n = 0
		for i := range 5 {
			_, _, err := w.SignIn(ctx, fmt.Sprintf("next%d", i), "wrong", "2001:db8::6")
			if errors.Is(err, ErrDenied) {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d names were tried after a sign-in", n)
		}
		// Who has signed in from there is not held back by the others.
		if _, _, err := w.SignIn(ctx, "mallory", good, "2001:db8::5"); err != nil {
			t.Error(err)
		}
	})
	t.Run("a link gets in anyway", func(t *testing.T) {
		w := newWorld(t)
		w.create("ann", Admin)
		for i := range 200 {
			w.SignIn(ctx, fmt.Sprintf("user%d", i%7), "wrong", home)
		}
		link, _, _ := w.Link(ctx, "uid:1000", "ann", "")
		if _, _, err := w.Redeem(ctx, link, good2, home); err != nil {
			t.Error(err)
		}
	})
	t.Run("the tables are bounded", func(t *testing.T) {
		l := newLimiter()
		for i := range 3 * maxLimits {
			l.begin(fmt.Sprint(i), fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), time.Unix(0, 0))
		}
		if n := len(l.pairs.items) + len(l.addresses.items) + l.pairs.order.Len(); n != 3*maxLimits {
			t.Errorf("%d entries", n)
		}
	})
}

func TestHashingIsBounded(t *testing.T) {
	h := newHasher(cheap, 1, 3)
	release, err := h.acquire(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	// Strangers queue; the fourth is sent away.
	ctx, cancel := context.WithCancel(t.Context())
	results := make(chan error, 3)
	for range 3 {
		go func() { _, err := h.acquire(ctx, false); results <- err }()
	}
	for h.waiting[0].Load() < 3 {
		time.Sleep(time.Millisecond)
	}
	var limited ErrLimited
	if _, err := h.acquire(t.Context(), false); !errors.As(err, &limited) || limited.RetryAfter <= 0 {
		t.Error("the queue has no end:", err)
	}
	// Somebody known has a slot all the same.
	known, err := h.acquire(t.Context(), true)
	if err != nil {
		t.Fatal("a flood keeps a known address out:", err)
	}
	known()
	cancel()
	for range 3 {
		if err := <-results; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	release()
	if release, err = h.acquire(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	release()
}

func TestBusyIsNoGuess(t *testing.T) {
	w := newWorld(t)
	w.create("ann", Admin)
	ctx, cancel := context.WithCancel(t.Context())
	release, _ := w.hasher.acquire(ctx, false)
	cancel()
	for range 50 {
		if _, _, err := w.SignIn(ctx, "ann", good, "192.0.2.1"); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	release()
	if _, _, err := w.SignIn(t.Context(), "ann", good, "192.0.2.1"); err != nil {
		t.Error("attempts that nobody looked at were counted:", err)
	}
}

func TestUnknownCostsTheSame(t *testing.T) {
	w := newWorld(t)
	w.create("ann", Admin)
	_, _, wrong := w.SignIn(t.Context(), "ann", "wrong", home)
	for i, name := range []string{"nobody", "", "../x", strings.Repeat("a", 999), "ANN\x00"} {
		// The dummy must be verified: with the slots taken, an unknown name waits.
		release, _ := w.hasher.acquire(t.Context(), false)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		addr := fmt.Sprintf("192.0.2.%d", i)
		if _, _, err := w.SignIn(ctx, name, "x", addr); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%.20q was answered without hashing: %v", name, err)
		}
		cancel()
		release()
		if _, _, err := w.SignIn(t.Context(), name, "x", addr); err != wrong {
			t.Errorf("%.20q: %v, a wrong password: %v", name, err, wrong)
		}
	}
	p, _, _, err := parsePHC(w.dummy)
	if err != nil || p != cheap {
		t.Error("the dummy costs something else:", p, err)
	}
}

func TestCanonicalAddress(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "192.0.2.1:99": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1",
		"2001:db8::1": "2001:db8::/64", "[2001:db8::2]:443": "2001:db8::/64", "fe80::1%eth0": "fe80::/64",
		"": "local", "@": "local", "evil header": "local",
	} {
		if got := canonical(addr); got != want {
			t.Errorf("%q: %q, want %q", addr, got, want)
		}
	}
}
