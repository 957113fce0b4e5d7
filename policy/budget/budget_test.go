package budget

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var (
	start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	key   = Key{Firewall, "942100", "shop"}
)

func client(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}) }

func newBook(change func(*Config)) *Book {
	c := Default()
	c.KnownGood = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}
	if change != nil {
		change(&c)
	}
	return New(c, nil)
}

func TestDemotes(t *testing.T) {
	for _, c := range []struct {
		name                     string
		requests, fired, clients int
		want                     bool
	}{
		{"more than the share", 2000, 3, 3, true},
		{"just the share", 3000, 3, 3, false},
		{"too few requests", 999, 3, 3, false},
		{"enough requests", 1000, 3, 3, true},
		{"too few clients", 2000, 100, 2, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBook(nil)
			for range c.requests {
				b.Saw(start, "shop")
				b.Saw(start, "other")
			}
			var got Demotion
			demoted := 0
			for i := range c.fired {
				if d, ok := b.Fired(start, key, client(i%c.clients), "v1"); ok {
					got = d
					demoted++
				}
			}
			if (demoted == 1) != c.want {
				t.Fatalf("demoted %d times", demoted)
			}
			if c.want && (got.Requests != c.requests || got.Fired != c.fired || got.Clients != 3 || got.Version != "v1" || len(b.Demoted()) != 1) {
				t.Errorf("%+v", got)
			}
			if _, again := b.Fired(start, key, client(9), "v1"); again && c.want {
				t.Error("demoted again")
			}
		})
	}
}

func TestWindow(t *testing.T) {
	b := newBook(func(c *Config) { c.Least = 10 })
	for range 10 {
		b.Saw(start, "shop")
	}
	b.Fired(start, key, client(1), "")
	b.Fired(start, key, client(2), "")
	later := start.Add(25 * time.Hour)
	for range 10 {
		b.Saw(later, "shop")
	}
	if _, ok := b.Fired(later, key, client(3), ""); ok {
		t.Error("clients of yesterday count")
	}
	if e := b.Entries(later); len(e) != 1 || e[0].Requests != 10 || e[0].Fired != 1 || e[0].Clients != 1 {
		t.Errorf("%+v", e)
	}
	if e := b.Entries(later.Add(48 * time.Hour)); len(e) != 0 {
		t.Errorf("%+v", e)
	}
}

func TestLift(t *testing.T) {
	b := newBook(func(c *Config) { c.Least, c.Clients = 1, 1 })
	b.Saw(start, "shop")
	d, ok := b.Fired(start, key, client(1), "v1")
	if !ok {
		t.Fatal("not demoted")
	}
	again := New(b.cfg, b.Demoted())
	if got := again.Demoted(); len(got) != 1 || got[0] != d {
		t.Errorf("after a restart %+v", got)
	}
	if _, ok := again.Lift(key); !ok {
		t.Error("it was not demoted")
	}
	if _, ok := again.Lift(key); ok {
		t.Error("lifted twice")
	}
	if len(again.Demoted()) != 0 || len(again.Entries(start)) != 0 {
		t.Error("something is left of it")
	}
}

func TestGood(t *testing.T) {
	b := newBook(nil)
	for a, want := range map[string]bool{"10.1.2.3": true, "::ffff:10.1.2.3": true, "203.0.113.9": false, "2001:db8::1": true, "fe80::1%eth0": false} {
		if got := b.Good(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s: %v", a, got)
		}
	}
	if (&Book{}).Good(client(1)) {
		t.Error("without networks somebody is known")
	}
}

// TestBounded: keys that are made up take bounded memory, and make room when they are old.
func TestBounded(t *testing.T) {
	b := newBook(nil)
	for i := range 2 * maxKeys {
		b.Fired(start, Key{Rule, fmt.Sprint(i), "shop"}, client(i), "")
		b.Fired(start, key, client(i), "")
		b.Saw(start, fmt.Sprint(i))
	}
	if len(b.keys) != maxKeys || len(b.routes) != maxRoutes || len(b.keys[key].clients) != maxClients || b.Dropped() == 0 {
		t.Errorf("%d keys, %d routes, %d clients, %d dropped", len(b.keys), len(b.routes), len(b.keys[key].clients), b.Dropped())
	}
	b.Fired(start.Add(72*time.Hour), Key{Rule, "new", "shop"}, client(1), "")
	if len(b.keys) != 1 {
		t.Errorf("%d keys after three days", len(b.keys))
	}
}

// TestCounts holds the parts of a window to a list of all that was counted.
func TestCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c counts
		var all []int64
		now := int64(100)
		for range rapid.IntRange(1, 60).Draw(t, "adds") {
			now += rapid.Int64Range(0, 40).Draw(t, "step")
			c.add(now)
			all = append(all, now)
		}
		at := now + rapid.Int64Range(0, 60).Draw(t, "later")
		want := 0
		for _, p := range all {
			if p > at-parts {
				want++
			}
		}
		if got := c.sum(at); got != want {
			t.Fatalf("%d, want %d of %v at %d", got, want, all, at)
		}
	})
}

func TestValidate(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"share": func(c *Config) { c.Share = 1 }, "least": func(c *Config) { c.Least = 0 }, "clients": func(c *Config) { c.Clients = 0 }, "window": func(c *Config) { c.Window = time.Second },
		"known_good": func(c *Config) { c.KnownGood = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")} },
	} {
		c := Default()
		if c.Validate() != nil {
			t.Fatal("the default is wrong")
		}
		if change(&c); c.Validate() == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
