package window

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"
	"sort"
	"sync"

	"github.com/testudo-sec/testudo/signal"
)

// What a group may hold of kinds that have no count to go by.
const (
	maxNumbers = 5000 // Sum, Average, Percentile
	maxThings  = 500  // Temporal, Ordered
	maxNumber  = 1e18 // magnitude of a number that is added up
)

// MaxIDs bounds the events that a completion names.
const MaxIDs = signal.MaxFindingEvents

// Window folds events into groups and says which one completes its group's window: see the package
// comment. It is safe for concurrent use.
type Window struct {
	spec      Spec
	within    int64
	tolerance int64
	over      bool // it starts over
	limit     int  // events of a group
	exact     bool // what the limit pushes out could change nothing
	// Of Ordered: the things in order, and those that must not be seen.
	order   []int
	without uint64

	mu      sync.Mutex
	groups  table[events]
	held    int // events of all groups
	evicted uint64
	dropped uint64
	late    uint64
	skipped uint64
	changes uint64
}

// Event is what a window is given of an event.
type Event struct {
	Key    string      // of its group
	Time   int64       // nanoseconds since the Unix epoch
	Value  string      // of Distinct: what is counted
	Number float64     // of Sum, Average, Percentile
	Slots  uint64      // of Temporal and Ordered: the things that the event is, a bit each
	ID     signal.ID   //
	Behind []signal.ID // events behind this one, where it completed another window
}

// Completion is what completed a window.
type Completion struct {
	Number      float64     // what the tests were asked of; of Temporal and Ordered, the number of things
	First, Last int64       // times of the oldest and the newest event of the window
	IDs         []signal.ID // the newest of its events, oldest first, at most MaxIDs
}

// events are what a window holds of a group, in the order of time.
type events struct {
	items   []item
	head    int // items before it are gone
	holding bool
}

type item struct {
	time   int64
	value  uint64 // digest of a value, bits of a number, things
	id     signal.ID
	behind []signal.ID
}

func (h *events) live() []item { return h.items[h.head:] }

// shed forgets the oldest n.
func (h *events) shed(n int) {
	clear(h.items[h.head : h.head+n]) // their ids
	h.head += n
	if h.head > 32 && h.head > len(h.items)/2 {
		kept := copy(h.items, h.items[h.head:])
		clear(h.items[kept:])
		h.items, h.head = h.items[:kept], 0
	}
}

func (h *events) insert(at int, it item) { h.items = slices.Insert(h.items, h.head+at, it) }

func (h *events) remove(at int) { h.items = slices.Delete(h.items, h.head+at, h.head+at+1) }

// NewWindow returns an empty window, or what is wrong with the specification.
func NewWindow(s Spec) (*Window, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if s.Tolerance == 0 {
		s.Tolerance = DefaultTolerance
	}
	s.Tolerance = min(s.Tolerance, s.Within)
	if s.Keys == 0 {
		s.Keys = DefaultKeys
	}
	w := &Window{spec: s, within: int64(s.Within), tolerance: int64(s.Tolerance), over: s.startsOver(), groups: newTable[events]()}
	switch {
	case s.Kind.HasNumber():
		w.limit = maxNumbers
	case s.Kind.HasSlots():
		w.limit = maxThings
	default:
		than := 0.0
		for _, t := range s.Tests {
			than = max(than, t.Than)
		}
		w.limit, w.exact = int(than)+2, true
		if w.over {
			// Fewer than twice the count are ever held: they span no more than within + tolerance,
			// and no window of them is complete.
			w.limit *= 2
		}
		// Otherwise the window that ends at the newest event is asked only whether it has so many
		// or more.
	}
	if s.Kind == Ordered {
		want := uint64(1)<<s.Slots - 1
		if s.Need != nil {
			want, w.without, _ = s.Need.sequence()
		}
		for k := range s.Slots {
			if want>>k&1 != 0 {
				w.order = append(w.order, k)
			}
		}
	}
	return w, nil
}

// Skip counts an event that has no group, or not the value that is counted.
func (w *Window) Skip() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.skipped++
	w.changes++
}

// Add adds an event and reports whether it completes its group's window, and with what.
func (w *Window) Add(e *Event) (Completion, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changes++
	it := item{time: e.Time, id: e.ID}
	switch w.spec.Kind {
	case Distinct:
		sum := sha256.Sum256([]byte(e.Value))
		it.value = binary.LittleEndian.Uint64(sum[:])
	case Sum, Average, Percentile:
		if math.IsNaN(e.Number) || math.Abs(e.Number) > maxNumber {
			w.skipped++
			return Completion{}, false
		}
		it.value = math.Float64bits(e.Number)
	case Temporal, Ordered:
		if it.value = e.Slots & (1<<w.spec.Slots - 1); it.value == 0 {
			return Completion{}, false
		}
	}
	key, g := w.group(bounded(e.Key), e.Time)
	if g == nil {
		w.makeRoom(e.Time)
		g = w.groups.add(key)
	} else {
		w.groups.touch(g)
	}
	h := &g.held
	if live := h.live(); len(live) > 0 {
		last := live[len(live)-1].time
		if e.Time < minus(last, w.tolerance) {
			w.late++
			return Completion{}, false
		}
		if last < minus(e.Time, w.within) {
			h.holding = false // it had become empty
		}
		// Events before this can meet none that is still to come.
		old := firstFrom(live, minus(minus(max(last, e.Time), w.tolerance), w.within))
		h.shed(old)
		w.held -= old
	}
	if w.spec.Kind == Distinct || w.spec.Kind == Temporal {
		live := h.live()
		if was := slices.IndexFunc(live, func(o item) bool { return o.value == it.value }); was >= 0 {
			if live[was].time > it.time {
				return Completion{}, false // it stands at a newer time already
			}
			h.remove(was)
			w.held--
		}
	}
	if len(e.Behind) > 0 {
		it.behind = slices.Clone(e.Behind[max(0, len(e.Behind)-MaxIDs):])
	}
	at := firstAfter(h.live(), it.time)
	h.insert(at, it)
	w.held++
	at -= w.bound(h, at)
	w.shrink(g)

	live := h.live()
	found, ok := span{}, false
	switch {
	case at < 0: // it was the oldest of too many
	case w.over:
		found, ok = w.completed(live, at)
	default:
		found, ok = w.level(live)
		was := h.holding
		h.holding = ok
		ok = ok && !was
	}
	if !ok {
		return Completion{}, false
	}
	c := w.completion(live, found)
	if w.over {
		w.forget(g)
	}
	return c, true
}

// group returns the key under which an event of that time is held, and the group if there is one.
func (w *Window) group(key string, t int64) (string, *group[events]) {
	newest := func(g *group[events]) int64 {
		live := g.held.live()
		return live[len(live)-1].time
	}
	g := w.groups.byKey[key]
	if g != nil && !longBefore(t, newest(g), w.within, w.tolerance) {
		return key, g
	}
	before := past(key)
	old := w.groups.byKey[before]
	switch {
	case g == nil && (old == nil || t > plus(newest(old), w.within)):
		return key, nil
	case old != nil && longBefore(t, newest(old), w.within, w.tolerance):
		w.evict(old, t)
		old = nil
	}
	return before, old
}

// bound pushes out what a group holds too much of, and returns by how many places the one at index at
// moved towards the beginning; at + 1 where it is gone itself.
func (w *Window) bound(h *events, at int) int {
	live := h.live()
	if len(live) <= w.limit {
		return 0
	}
	out := 0
	if w.spec.Kind == Ordered {
		// Of several of the same things in a row the last one is enough.
		for i := 1; i < len(live); i++ {
			if live[i].value == live[i-1].value {
				out = i - 1
				break
			}
		}
		if out == 0 && live[0].value != live[1].value {
			w.dropped++
		}
	} else if !w.exact {
		w.dropped++
	}
	if out == 0 {
		h.shed(1)
	} else {
		h.remove(out)
	}
	w.held--
	switch {
	case out < at:
		return 1
	case out == at:
		return at + 1
	}
	return 0
}

// makeRoom pushes out the group that was not added to for longest where there are too many.
func (w *Window) makeRoom(t int64) {
	if len(w.groups.byKey) >= w.spec.Keys {
		w.evict(w.groups.oldest, t)
	}
}

// shrink pushes out groups other than g where all together hold too much.
func (w *Window) shrink(g *group[events]) {
	for w.held > MaxHeld && w.groups.oldest != g {
		live := g.held.live()
		w.evict(w.groups.oldest, live[len(live)-1].time)
	}
}

func (w *Window) evict(g *group[events], now int64) {
	live := g.held.live()
	if n := len(live); n > 0 && live[n-1].time >= minus(minus(now, w.within), w.tolerance) {
		w.evicted++
	}
	w.forget(g)
}

func (w *Window) forget(g *group[events]) {
	w.held -= len(g.held.live())
	w.groups.remove(g)
}

// Stats returns the window's figures.
func (w *Window) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return Stats{Keys: len(w.groups.byKey), Events: w.held, Evicted: w.evicted, Dropped: w.dropped, Late: w.late, Skipped: w.skipped}
}

// firstFrom returns the index of the first item at t or later.
func firstFrom(items []item, t int64) int {
	return sort.Search(len(items), func(i int) bool { return items[i].time >= t })
}

// firstAfter returns the index of the first item later than t.
func firstAfter(items []item, t int64) int {
	if n := len(items); n == 0 || items[n-1].time <= t {
		return n
	}
	return sort.Search(len(items), func(i int) bool { return items[i].time > t })
}
