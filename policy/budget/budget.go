// Package budget counts on how much of known-good traffic each rule fires, and says which rules are to be demoted: to alert only, at one route of the edge.
//
// Traffic is known to be good because a person named where it comes from: an office, a synthetic test. Nobody else's requests are counted, so that an
// attacker cannot have a rule demoted. Nor can one client that is known to be good: as many as Config.Clients must have met the rule.
//
// Counts are kept in 24 parts of the window and begin anew with the process. What was demoted stays so until a person restores it, or the rule is another.
package budget

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Config is what testudo.yaml says of budgets.
type Config struct {
	// KnownGood are the networks whose requests are known to be good: offices, synthetic tests. Without one nothing is counted.
	KnownGood []netip.Prefix `yaml:"known_good"`
	// Share is the part of the known-good requests of a route that a rule may fire on.
	Share float64 `yaml:"share"`
	// Least is how many known-good requests a route must have had in the window before a rule is demoted there.
	Least int `yaml:"least"`
	// Clients is how many known-good clients must have met the rule.
	Clients int `yaml:"clients"`
	// Window is the time that is counted over.
	Window time.Duration `yaml:"window"`
}

// Default is one request in a thousand, of a thousand at least, met by three clients within a day.
func Default() Config {
	return Config{Share: 0.001, Least: 1000, Clients: 3, Window: 24 * time.Hour}
}

// Validate says what is out of range.
func (c Config) Validate() error {
	for _, p := range c.KnownGood {
		if p.Bits() < leastBits {
			return fmt.Errorf("budget.known_good: %v is much of the internet: whoever is in there could have rules demoted", p)
		}
	}
	switch {
	case !(c.Share >= 0 && c.Share < 1):
		return fmt.Errorf("budget.share: %v is not a part of 1: 0.001 is one request in a thousand", c.Share)
	case c.Least < 1:
		return fmt.Errorf("budget.least: %d: want 1 or more", c.Least)
	case c.Clients < 1 || c.Clients > maxClients:
		return fmt.Errorf("budget.clients: %d is not between 1 and %d", c.Clients, maxClients)
	case c.Window < time.Minute || c.Window > 31*24*time.Hour:
		return fmt.Errorf("budget.window: %v is not between 1m and 31 days", c.Window)
	}
	return nil
}

// Kind says what a rule is a rule of.
type Kind string

// The kinds of rules that have budgets.
const (
	Rule     Kind = "rule"     // of policy
	Firewall Kind = "firewall" // of the web application firewall
)

// Key names a budget.
type Key struct {
	Kind  Kind   `json:"kind"`
	Rule  string `json:"rule"`
	Route string `json:"route"`
}

// Demotion is a rule that only alerts at a route, and the counts that made it so.
type Demotion struct {
	Key
	At       time.Time `json:"at"`
	Requests int       `json:"requests"`
	Fired    int       `json:"fired"`
	Clients  int       `json:"clients"`
	Version  string    `json:"version"` // of the rule: another one is not demoted
}

// Entry is a budget as it stands.
type Entry struct {
	Key
	Requests, Fired, Clients int
	Demotion                 *Demotion // nil where it is not demoted
}

// Bounds.
const (
	parts      = 24
	maxKeys    = 8192
	maxRoutes  = 1024
	maxClients = 64
	leastBits  = 8 // of a network that is known to be good
)

// Book keeps the counts. It is safe for concurrent use.
type Book struct {
	cfg  Config
	seed maphash.Seed

	mu      sync.Mutex
	routes  map[string]*counts
	keys    map[Key]*counts
	demoted map[Key]Demotion
	dropped uint64
	forgot  int64 // the part in which old budgets were dropped last
}

// counts are the events of the last window.
type counts struct {
	of      [parts]int
	at      int64            // number of the part that is filled
	clients map[uint64]int64 // who met the rule, and in which part last
}

// New returns a Book with what was demoted before.
func New(c Config, before []Demotion) *Book {
	b := &Book{cfg: c, seed: maphash.MakeSeed(), routes: map[string]*counts{}, keys: map[Key]*counts{}, demoted: map[Key]Demotion{}}
	for _, d := range before {
		if len(b.demoted) < maxKeys {
			b.demoted[d.Key] = d
		}
	}
	return b
}

// Good reports whether a client's requests are known to be good.
func (b *Book) Good(client netip.Addr) bool {
	client = client.Unmap().WithZone("")
	return slices.ContainsFunc(b.cfg.KnownGood, func(p netip.Prefix) bool { return p.Contains(client) })
}

// Saw counts a known-good request of a route.
func (b *Book) Saw(now time.Time, route string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.routes[route]
	if c == nil {
		if len(b.routes) == maxRoutes {
			b.dropped++
			return
		}
		c = &counts{}
		b.routes[route] = c
	}
	c.add(b.part(now))
}

// Fired counts that a rule fired on a known-good request, which has been counted, and returns its demotion if that is too much now.
func (b *Book) Fired(now time.Time, key Key, client netip.Addr, version string) (Demotion, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.demoted[key]; ok {
		return Demotion{}, false
	}
	part := b.part(now)
	c := b.keys[key]
	if c == nil {
		if len(b.keys) == maxKeys {
			b.forget(part)
		}
		if len(b.keys) == maxKeys {
			b.dropped++
			return Demotion{}, false
		}
		c = &counts{clients: map[uint64]int64{}}
		b.keys[key] = c
	}
	c.add(part)
	if id := b.client(client); len(c.clients) < maxClients || c.clients[id] != 0 {
		c.clients[id] = part
	}
	e := b.entry(key, part)
	if e.Requests < b.cfg.Least || e.Clients < b.cfg.Clients || float64(e.Fired) <= b.cfg.Share*float64(e.Requests) {
		return Demotion{}, false
	}
	d := Demotion{Key: key, At: now, Requests: e.Requests, Fired: e.Fired, Clients: e.Clients, Version: version}
	b.demoted[key] = d
	return d, true
}

// Lift ends a demotion. What was counted until then is forgotten: the rule has its whole budget again.
func (b *Book) Lift(key Key) (Demotion, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	d, ok := b.demoted[key]
	delete(b.demoted, key)
	delete(b.keys, key)
	return d, ok
}

// Demoted returns what is demoted, by kind, rule and route.
func (b *Book) Demoted() []Demotion {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]Demotion, 0, len(b.demoted))
	for _, d := range b.demoted {
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b Demotion) int { return compare(a.Key, b.Key) })
	return all
}

// Entries returns all budgets that something was counted of, and those that are demoted, by kind, rule and route.
func (b *Book) Entries(now time.Time) []Entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	part := b.part(now)
	var all []Entry
	for key := range b.keys {
		if e := b.entry(key, part); e.Fired > 0 || e.Demotion != nil {
			all = append(all, e)
		}
	}
	for key := range b.demoted {
		if b.keys[key] == nil {
			all = append(all, b.entry(key, part))
		}
	}
	slices.SortFunc(all, func(a, b Entry) int { return compare(a.Key, b.Key) })
	return all
}

// Dropped returns how often something was not counted because there was no room.
func (b *Book) Dropped() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.dropped
}

func compare(a, b Key) int {
	return cmp.Or(strings.Compare(string(a.Kind), string(b.Kind)), strings.Compare(a.Rule, b.Rule), strings.Compare(a.Route, b.Route))
}

func (b *Book) entry(key Key, part int64) Entry {
	e := Entry{Key: key}
	if d, ok := b.demoted[key]; ok {
		e.Demotion = &d
	}
	if r := b.routes[key.Route]; r != nil {
		e.Requests = r.sum(part)
	}
	if c := b.keys[key]; c != nil {
		e.Fired = c.sum(part)
		for _, last := range c.clients {
			if last > part-parts {
				e.Clients++
			}
		}
	}
	return e
}

// forget drops budgets of which nothing was counted in the window.
func (b *Book) forget(part int64) {
	if b.forgot == part {
		return
	}
	b.forgot = part
	for key, c := range b.keys {
		if c.sum(part) == 0 {
			delete(b.keys, key)
		}
	}
}

// part is the number of the part of a window that a time falls into.
func (b *Book) part(now time.Time) int64 { return now.UnixNano()/int64(b.cfg.Window/parts) + 1 }

// client is what stands for a client: one address, or the network of one of IPv6.
func (b *Book) client(a netip.Addr) uint64 {
	if a = a.Unmap().WithZone(""); a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			a = p.Addr()
		}
	}
	return maphash.Comparable(b.seed, a)
}

// move brings the counts to a part; one that is over is not gone back to.
func (c *counts) move(part int64) {
	for n := 0; c.at < part && n < parts; n++ {
		c.at++
		if part-c.at >= parts {
			c.at = part - parts + 1
		}
		c.of[c.at%parts] = 0
	}
	for id, last := range c.clients {
		if last <= c.at-parts {
			delete(c.clients, id)
		}
	}
}

func (c *counts) add(part int64) {
	if part > c.at {
		c.move(part)
	}
	c.of[c.at%parts]++
}

func (c *counts) sum(part int64) (n int) {
	for i := range int64(parts) {
		if at := c.at - i; at > part-parts && at > 0 {
			n += c.of[at%parts]
		}
	}
	return n
}
