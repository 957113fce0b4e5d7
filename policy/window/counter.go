package window

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// The bounds of a configuration.
const (
	MaxCount  = 1000
	MaxWithin = 24 * time.Hour
	MaxKeys   = 1 << 20
)

// DefaultTolerance is how much older than the newest event of its key an event may be
// and still be counted at its place.
const DefaultTolerance = time.Minute

// DefaultKeys is how many keys a counter or window holds where nothing else is said.
const DefaultKeys = 1 << 16

// maxTimes bounds the times that a counter holds in all.
const maxTimes = 1 << 21

// Config says what completes a count.
type Config struct {
	Count     int           // events that complete it, 1 to MaxCount
	Within    time.Duration // span of event time they must fall into, over 0 and up to MaxWithin
	Tolerance time.Duration // how late an event may be; 0 for DefaultTolerance; never more than Within
	Keys      int           // keys held at once; 0 for DefaultKeys
}

// Validate says what is wrong with the configuration.
func (c Config) Validate() error {
	switch {
	case c.Count < 1 || c.Count > MaxCount:
		return fmt.Errorf("count %d is not between 1 and %d", c.Count, MaxCount)
	case c.Within <= 0 || c.Within > MaxWithin:
		return fmt.Errorf("span %v is not between 1ns and %v", c.Within, MaxWithin)
	case c.Tolerance < 0:
		return fmt.Errorf("tolerance %v is negative", c.Tolerance)
	case c.Keys < 0 || c.Keys > MaxKeys:
		return fmt.Errorf("%d keys is not between 1 and %d", c.Keys, MaxKeys)
	}
	return nil
}

// Counter counts events by key. It is a Window of kind Count that starts over, and keeps nothing but
// times. It is safe for concurrent use.
type Counter struct {
	count     int
	within    int64
	tolerance int64
	capacity  int // keys
	most      int // times of all keys

	mu      sync.Mutex
	keys    table[[]int64] // times of a key, ascending
	times   int            // held of all keys
	evicted uint64
	late    uint64
	changes uint64
}

// New returns an empty counter, or what is wrong with the configuration.
func New(c Config) (*Counter, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.Tolerance == 0 {
		c.Tolerance = DefaultTolerance
	}
	if c.Keys == 0 {
		c.Keys = DefaultKeys
	}
	return &Counter{
		count:     c.Count,
		within:    int64(c.Within),
		tolerance: int64(min(c.Tolerance, c.Within)),
		capacity:  c.Keys,
		most:      maxTimes,
		keys:      newTable[[]int64](),
	}, nil
}

// Add counts an event of that key at t, in nanoseconds since the Unix epoch. It reports
// whether the event completes the count: Config.Count events of the key, this one among
// them, lie within Config.Within of each other. A completed count starts over.
//
// An event older than the key's newest by more than Tolerance is not counted but for
// [Stats.Late]; one that is older than that by more than Within counts apart: see the package comment.
func (w *Counter) Add(key string, t int64) bool {
	if w.count == 1 {
		return true // nothing to keep
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changes++
	key, g := w.group(bounded(key), t)
	if g == nil {
		if len(w.keys.byKey) >= w.capacity {
			w.evict(w.keys.oldest, t)
		}
		g = w.keys.add(key)
		g.held = make([]int64, 0, 4)
	} else {
		w.keys.touch(g)
	}
	times := g.held
	if n := len(times); n > 0 {
		last := times[n-1]
		if t < minus(last, w.tolerance) {
			w.late++
			return false
		}
		// Times before this can meet no event that is still to come.
		horizon := minus(minus(max(last, t), w.tolerance), w.within)
		keep, _ := slices.BinarySearch(times, horizon)
		times = append(times[:0], times[keep:]...)
		w.times -= keep
	}
	at, _ := slices.BinarySearch(times, t)
	g.held = slices.Insert(times, at, t)
	w.times++
	if !w.complete(g.held, at) {
		for w.times > w.most && w.keys.oldest != g {
			w.evict(w.keys.oldest, t)
		}
		return false
	}
	w.remove(g)
	return true
}

// complete reports whether count consecutive times, the one at index at among them, lie
// within the span. Because none did before, fewer than 2 * count are ever held: they
// span no more than within + tolerance, which is at most 2 * within.
func (w *Counter) complete(times []int64, at int) bool {
	for first := max(0, at-w.count+1); first <= at; first++ {
		last := first + w.count - 1
		if last >= len(times) {
			return false
		}
		if minus(times[last], w.within) <= times[first] {
			return true
		}
	}
	return false
}

// group returns the key under which an event of that time is counted, and what is held under it: as Window.group.
func (w *Counter) group(key string, t int64) (string, *group[[]int64]) {
	g := w.keys.byKey[key]
	if g != nil && !longBefore(t, g.held[len(g.held)-1], w.within, w.tolerance) {
		return key, g
	}
	before := past(key)
	old := w.keys.byKey[before]
	switch {
	case g == nil && (old == nil || t > plus(old.held[len(old.held)-1], w.within)):
		return key, nil
	case old != nil && longBefore(t, old.held[len(old.held)-1], w.within, w.tolerance):
		w.evict(old, t)
		old = nil
	}
	return before, old
}

// evict pushes out a key. Those that were not added to for longest go where the table is full, and only then: a key
// that is over by the time of another key's event may still meet late events of its own.
func (w *Counter) evict(g *group[[]int64], now int64) {
	if n := len(g.held); n > 0 && g.held[n-1] >= minus(minus(now, w.within), w.tolerance) {
		w.evicted++
	}
	w.remove(g)
}

func (w *Counter) remove(g *group[[]int64]) {
	w.times -= len(g.held)
	w.keys.remove(g)
}

// Stats is what a counter or window holds and what it had to give up.
type Stats struct {
	Keys    int    `json:"keys"`              // groups held now
	Events  int    `json:"events,omitempty"`  // events held now, of all groups
	Evicted uint64 `json:"evicted"`           // groups pushed out by others before their time
	Dropped uint64 `json:"dropped,omitempty"` // events pushed out of groups that had too many
	Late    uint64 `json:"late"`              // events too old to count
	Skipped uint64 `json:"skipped,omitempty"` // events without the value that names their group or is counted
}

// Add adds the figures of another one.
func (s *Stats) Add(o Stats) {
	s.Keys += o.Keys
	s.Events += o.Events
	s.Evicted += o.Evicted
	s.Dropped += o.Dropped
	s.Late += o.Late
	s.Skipped += o.Skipped
}

// Stats returns the counter's figures.
func (w *Counter) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return Stats{Keys: len(w.keys.byKey), Events: w.times, Evicted: w.evicted, Late: w.late}
}
