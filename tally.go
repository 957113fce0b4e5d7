package testudo

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/testudo-sec/testudo/signal"
)

// Tally counts the events of the last hour, by the events' own time, for people who
// look. Adding an event that no rule fired on takes a few atomic additions.
type Tally struct {
	minutes [64]bucket // by minute
	seconds [64]bucket // by second

	mu  sync.Mutex
	top [topSlices]*topSlice // by ten minutes
}

const planes = int(signal.PlaneTestudo) + 1

// bucket counts one step of time. A bucket is used again for a later step.
type bucket struct {
	mu      sync.Mutex
	at      atomic.Int64 // number of the step since the Unix epoch
	byPlane [planes]atomic.Uint64
	denied  atomic.Uint64
}

// The most frequent are counted by ten minutes, and shown for an hour.
const (
	topSlices   = 7
	topStep     = int64(10 * time.Minute)
	maxTopNames = 2000 // names counted in one step; further ones are left out
)

type topSlice struct {
	at                     int64
	rules, clients, routes map[string]uint64
}

// NewTally returns an empty tally.
func NewTally() *Tally { return new(Tally) }

// take returns the bucket of the step, emptied if it held an earlier one, or nil where
// it holds a later one.
func take(ring []bucket, step int64) *bucket {
	s := &ring[uint64(step)%uint64(len(ring))]
	if s.at.Load() == step {
		return s
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch at := s.at.Load(); {
	case at > step:
		return nil
	case at < step:
		for i := range s.byPlane {
			s.byPlane[i].Store(0)
		}
		s.denied.Store(0)
		s.at.Store(step)
	}
	return s
}

// Add counts an event and its verdict.
func (t *Tally) Add(e *signal.Event, v *signal.Verdict) {
	if e.Time < 0 || int(e.Plane) >= planes {
		return
	}
	denied, n := refused(e, v), times(e)
	for _, s := range [...]*bucket{take(t.minutes[:], e.Time/int64(time.Minute)), take(t.seconds[:], e.Time/int64(time.Second))} {
		if s == nil {
			continue
		}
		s.byPlane[e.Plane].Add(n)
		if denied {
			s.denied.Add(n)
		}
	}
	if len(v.Hits) > 0 {
		t.addTop(e, v)
	}
}

func (t *Tally) addTop(e *signal.Event, v *signal.Verdict) {
	t.mu.Lock()
	defer t.mu.Unlock()
	step := e.Time / topStep
	at := &t.top[uint64(step)%topSlices]
	if *at == nil || (*at).at < step {
		*at = &topSlice{at: step, rules: map[string]uint64{}, clients: map[string]uint64{}, routes: map[string]uint64{}}
	}
	s := *at
	if s.at != step {
		return
	}
	add := func(m map[string]uint64, name string) {
		if _, known := m[name]; name != "" && (known || len(m) < maxTopNames) {
			m[name]++
		}
	}
	for i := range v.Hits {
		add(s.rules, v.Hits[i].Rule)
	}
	if a := e.IP(signal.FieldSrcEndpointIP); a.IsValid() {
		add(s.clients, a.String())
	}
	add(s.routes, e.Str(signal.FieldEdgeRoute))
}

// Frequent is a name and how often it came.
type Frequent struct {
	Name  string
	Count uint64
}

// Top returns the n most frequent rules, clients and routes of events that rules fired on, in
// the hour before now.
func (t *Tally) Top(now time.Time, n int) (rules, clients, routes []Frequent) {
	t.mu.Lock()
	defer t.mu.Unlock()
	since := now.Add(-time.Hour).UnixNano() / topStep
	sums := [3]map[string]uint64{{}, {}, {}}
	for _, s := range t.top {
		if s == nil || s.at < since {
			continue
		}
		for i, m := range []map[string]uint64{s.rules, s.clients, s.routes} {
			for name, c := range m {
				sums[i][name] += c
			}
		}
	}
	return most(sums[0], n), most(sums[1], n), most(sums[2], n)
}

func most(m map[string]uint64, n int) []Frequent {
	all := make([]Frequent, 0, len(m))
	for name, c := range m {
		all = append(all, Frequent{name, c})
	}
	slices.SortFunc(all, func(a, b Frequent) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Name, b.Name)) })
	return all[:min(n, len(all))]
}

// Hour returns the events of a plane by minute for the 60 minutes that end with now's,
// oldest first, and the denied ones for all planes.
func (t *Tally) Hour(now time.Time, plane signal.Plane) (events, denied []uint64) {
	last := now.UnixNano() / int64(time.Minute)
	events, denied = make([]uint64, 60), make([]uint64, 60)
	for i := range 60 {
		s := &t.minutes[uint64(last-59+int64(i))%uint64(len(t.minutes))]
		if s.at.Load() == last-59+int64(i) {
			events[i], denied[i] = s.byPlane[plane].Load(), s.denied.Load()
		}
	}
	return events, denied
}

// Rate returns the events of a plane per second, over the ten seconds before now's.
func (t *Tally) Rate(now time.Time, plane signal.Plane) float64 {
	last, sum := now.Unix(), uint64(0)
	for step := last - 10; step < last; step++ {
		if s := &t.seconds[uint64(step)%uint64(len(t.seconds))]; s.at.Load() == step {
			sum += s.byPlane[plane].Load()
		}
	}
	return float64(sum) / 10
}
