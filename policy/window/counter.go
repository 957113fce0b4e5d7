package window

import (
	"fmt"
	"math"
	"slices"
	"strings"
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

// DefaultKeys is how many keys a counter holds where nothing else is said.
const DefaultKeys = 1 << 16

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

// Counter counts events by key. It is safe for concurrent use; who needs the same answers
// in a replay adds events in the same order there.
type Counter struct {
	count     int
	within    int64
	tolerance int64
	capacity  int // keys

	mu      sync.Mutex
	keys    map[string]*entry
	oldest  *entry // least recently added to; the list runs by entry.newer
	newest  *entry
	evicted uint64
	late    uint64
}

// entry holds the times of one key, ascending. There are fewer than 2 * count of them:
// they span no more than within + tolerance, which is at most 2 * within, and no count of
// them lies within the span, since that would have completed and been cleared.
type entry struct {
	key          string
	times        []int64
	older, newer *entry
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
		keys:      make(map[string]*entry),
	}, nil
}

// Add counts an event of that key at t, in nanoseconds since the Unix epoch. It reports
// whether the event completes the count: Config.Count events of the key, this one among
// them, lie within Config.Within of each other. A completed count starts over.
//
// An event older than the key's newest by more than Tolerance is not counted but for
// [Stats.Late].
func (w *Counter) Add(key string, t int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	en := w.keys[key]
	if en == nil {
		if w.count == 1 {
			return true
		}
		w.makeRoom(t)
		// The key may be a slice of a large request: keep its bytes alone.
		en = &entry{key: strings.Clone(key), times: make([]int64, 0, 4)}
		w.keys[en.key] = en
	} else {
		w.unlink(en)
	}
	w.append(en)

	if n := len(en.times); n > 0 {
		last := en.times[n-1]
		if t < minus(last, w.tolerance) {
			w.late++
			return false
		}
		// Times before this can meet no event that is still to come.
		horizon := minus(minus(max(last, t), w.tolerance), w.within)
		keep, _ := slices.BinarySearch(en.times, horizon)
		en.times = append(en.times[:0], en.times[keep:]...)
	}
	at, _ := slices.BinarySearch(en.times, t)
	en.times = slices.Insert(en.times, at, t)
	if !w.complete(en.times, at) {
		return false
	}
	w.unlink(en)
	delete(w.keys, en.key)
	return true
}

// complete reports whether count consecutive times, the one at index at among them, lie
// within the span.
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

// makeRoom pushes out the key that was not added to for longest where the table is full.
// Only then: a key that is over by the time of another key's event may still meet
// late events of its own.
func (w *Counter) makeRoom(t int64) {
	if len(w.keys) < w.capacity {
		return
	}
	en := w.oldest
	horizon := minus(minus(t, w.within), w.tolerance)
	if n := len(en.times); n > 0 && en.times[n-1] >= horizon {
		w.evicted++
	}
	w.unlink(en)
	delete(w.keys, en.key)
}

func (w *Counter) append(en *entry) {
	en.older, en.newer = w.newest, nil
	if w.newest != nil {
		w.newest.newer = en
	} else {
		w.oldest = en
	}
	w.newest = en
}

func (w *Counter) unlink(en *entry) {
	if en.older != nil {
		en.older.newer = en.newer
	} else {
		w.oldest = en.newer
	}
	if en.newer != nil {
		en.newer.older = en.older
	} else {
		w.newest = en.older
	}
}

// Stats is what a counter holds and what it had to give up.
type Stats struct {
	Keys    int    `json:"keys"`    // keys held now
	Evicted uint64 `json:"evicted"` // keys pushed out by others before their time
	Late    uint64 `json:"late"`    // events too old to count
}

// Stats returns the counter's figures.
func (w *Counter) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return Stats{Keys: len(w.keys), Evicted: w.evicted, Late: w.late}
}

// minus is a - b for b >= 0, which stops at the smallest number.
func minus(a, b int64) int64 {
	if a < math.MinInt64+b {
		return math.MinInt64
	}
	return a - b
}
