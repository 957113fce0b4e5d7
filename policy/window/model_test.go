package window

import (
	"bytes"
	"math/bits"
	"slices"
	"sort"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/testudo-sec/testudo/signal"
)

// model does by the letter of the package comment what Window does, and forgets nothing that it need not.
type model struct {
	spec   Spec
	groups map[string]*modelGroup
	order  []string // of groups, the one not added to for longest first
	late   uint64
	out    uint64
}

type modelGroup struct {
	events  []Event // in the order of adding
	newest  int64
	holding bool
}

// standing returns the events by time, each value or set of things at its newest time only where it counts once.
func (m *model) standing(events []Event) []Event {
	var out []Event
	for i, e := range events {
		if m.spec.Kind == Distinct || m.spec.Kind == Temporal {
			newer := false
			for k, o := range events {
				if o.Value == e.Value && o.Slots == e.Slots && (o.Time > e.Time || o.Time == e.Time && k > i) {
					newer = true
				}
			}
			if newer {
				continue
			}
		}
		out = append(out, e)
	}
	sort.SliceStable(out, func(i, k int) bool { return out[i].Time < out[k].Time })
	return out
}

// in returns the events of the window that ends at end.
func (m *model) in(events []Event, end int64) []Event {
	var out []Event
	for _, e := range events {
		if e.Time >= end-int64(m.spec.Within) && e.Time <= end {
			out = append(out, e)
		}
	}
	return out
}

func (m *model) met(in []Event) bool {
	number, mask, sum := float64(len(in)), uint64(0), 0.0
	var sorted []float64
	for _, e := range in {
		mask |= e.Slots
		sum += e.Number
		sorted = append(sorted, e.Number)
	}
	slices.Sort(sorted)
	switch m.spec.Kind {
	case Sum:
		number = sum
	case Average:
		number = sum / number
	case Percentile:
		for _, v := range sorted {
			upTo := 0
			for _, o := range sorted {
				if o <= v {
					upTo++
				}
			}
			if number = v; float64(upTo)*100 >= m.spec.Percent*float64(len(sorted)) {
				break
			}
		}
	case Temporal:
		if m.spec.Need != nil {
			return m.spec.Need.holds(mask)
		}
		if number = float64(bits.OnesCount64(mask)); len(m.spec.Tests) == 0 {
			return int(number) == m.spec.Slots
		}
	}
	for _, t := range m.spec.Tests {
		if !t.holds(number) {
			return false
		}
	}
	return true
}

// sequence reports whether events stand in the order of things from thing k on, the last of them at
// index end.
func sequence(in []Event, from, k, slots, end int) bool {
	for i := from; i <= end; i++ {
		if in[i].Slots>>k&1 == 0 {
			continue
		}
		if k == slots-1 {
			if i == end {
				return true
			}
			continue
		}
		if sequence(in, i+1, k+1, slots, end) {
			return true
		}
	}
	return false
}

func (m *model) add(e Event) bool {
	// An event of long before the group's newest is one of the group's past; a past of long after it is given up.
	before := func(g *modelGroup) bool {
		return g != nil && e.Time < g.newest-int64(min(m.spec.Tolerance, m.spec.Within))-int64(m.spec.Within)
	}
	past := m.groups["past of "+e.Key]
	follows := m.groups[e.Key] == nil && past != nil && e.Time <= past.newest+int64(m.spec.Within)
	if follows || before(m.groups[e.Key]) {
		e.Key = "past of " + e.Key
		if before(m.groups[e.Key]) {
			delete(m.groups, e.Key)
			m.order = slices.DeleteFunc(m.order, func(key string) bool { return key == e.Key })
			m.out++
		}
	}
	g := m.groups[e.Key]
	if i := slices.Index(m.order, e.Key); i >= 0 {
		m.order = slices.Delete(m.order, i, i+1)
	}
	if g == nil {
		if len(m.order) >= m.spec.Keys {
			old := m.groups[m.order[0]]
			if old.newest >= e.Time-int64(m.spec.Within)-int64(min(m.spec.Tolerance, m.spec.Within)) {
				m.out++
			}
			delete(m.groups, m.order[0])
			m.order = m.order[1:]
		}
		g = &modelGroup{newest: e.Time}
		m.groups[e.Key] = g
	}
	m.order = append(m.order, e.Key)
	if e.Time < g.newest-int64(min(m.spec.Tolerance, m.spec.Within)) {
		m.late++
		return false
	}
	if g.newest < e.Time-int64(m.spec.Within) {
		g.holding = false
	}
	g.newest = max(g.newest, e.Time)
	g.events = append(g.events, e)
	events := m.standing(g.events)
	if !slices.ContainsFunc(events, func(o Event) bool { return o.ID == e.ID }) {
		return false // its value stands at a newer time
	}
	starts := m.spec.Kind != Average && m.spec.Kind != Percentile
	for _, t := range m.spec.Tests {
		starts = starts && (t.Op == AtLeast || t.Op == Above)
	}
	if !starts {
		met := m.met(m.in(events, g.newest))
		was := g.holding
		g.holding = met
		return met && !was
	}
	for end, o := range events {
		if o.Time < e.Time || o.Time > e.Time+int64(m.spec.Within) {
			continue
		}
		in := m.in(events, o.Time)
		ok := false
		if m.spec.Kind == Ordered {
			// The events before the one that ends it, in the window.
			before := events[:end+1]
			first := 0
			for before[first].Time < o.Time-int64(m.spec.Within) {
				first++
			}
			at := slices.IndexFunc(events, func(o Event) bool { return o.ID == e.ID })
			ok = end >= at && sequence(before, first, 0, m.spec.Slots, end)
		} else {
			ok = m.met(in)
		}
		if ok {
			delete(m.groups, e.Key)
			m.order = m.order[:len(m.order)-1]
			return true
		}
	}
	return false
}

func drawSpec(t *rapid.T, kind Kind) Spec {
	s := Spec{
		Kind:      kind,
		Within:    time.Duration(rapid.IntRange(1, 30).Draw(t, "within")),
		Tolerance: time.Duration(rapid.IntRange(1, 40).Draw(t, "tolerance")),
		Keys:      rapid.IntRange(1, 4).Draw(t, "keys"),
	}
	tests := func(least, most float64) {
		for range rapid.IntRange(1, 2).Draw(t, "tests") {
			s.Tests = append(s.Tests, Test{Op(rapid.IntRange(int(AtLeast), int(Unequal)).Draw(t, "op")),
				float64(rapid.IntRange(int(least), int(most)).Draw(t, "than"))})
		}
	}
	switch s.Kind {
	case Count, Distinct:
		tests(1, 5)
	case Sum, Average, Percentile:
		tests(-3, 12)
		if s.Kind == Percentile {
			s.Percent = float64(rapid.IntRange(1, 100).Draw(t, "percent"))
		}
	case Temporal:
		s.Slots = rapid.IntRange(1, 4).Draw(t, "slots")
		switch rapid.IntRange(0, 2).Draw(t, "how") {
		case 1:
			tests(1, float64(s.Slots))
		case 2:
			s.Need = &Seen{Op: SeenAll, Of: []Seen{{Op: SeenThing}, {Op: SeenNot, Of: []Seen{{Op: SeenThing, Slot: s.Slots - 1}}}}}
			if s.Slots == 1 {
				s.Need = &Seen{Op: SeenAny, Of: []Seen{{Op: SeenThing}}}
			}
		}
	case Ordered:
		s.Slots = rapid.IntRange(1, 4).Draw(t, "slots")
	}
	return s
}

func drawEvents(t *rapid.T, s Spec, n int) []Event {
	now := int64(0)
	all := make([]Event, n)
	for i := range all {
		now += rapid.Int64Range(0, 12).Draw(t, "step")
		e := Event{
			Key:  rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(t, "key"),
			Time: now - rapid.Int64Range(0, 25).Draw(t, "late"),
			ID:   id(i + 1),
		}
		if rapid.IntRange(0, 9).Draw(t, "astray") == 0 {
			e.Time += rapid.Int64Range(-200, 200).Draw(t, "far")
		}
		switch {
		case s.Kind == Distinct:
			e.Value = rapid.SampledFrom([]string{"u", "v", "w", "x", "y", "z"}).Draw(t, "value")
		case s.Kind.HasNumber():
			e.Number = float64(rapid.IntRange(-3, 9).Draw(t, "number"))
		case s.Kind.HasSlots():
			e.Slots = 1 << rapid.IntRange(0, s.Slots-1).Draw(t, "slot")
			if rapid.IntRange(0, 5).Draw(t, "two") == 0 {
				e.Slots |= 1 << rapid.IntRange(0, s.Slots-1).Draw(t, "slot")
			}
		}
		all[i] = e
	}
	return all
}

// TestWindowAgreesWithModel compares windows with the model, with the state saved and loaded at
// random moments.
func TestWindowAgreesWithModel(t *testing.T) {
	for k := Count; k <= Ordered; k++ {
		t.Run(k.String(), func(t *testing.T) {
			fired := 0
			rapid.Check(t, func(t *rapid.T) { agrees(t, k, &fired) })
			if fired == 0 {
				t.Error("no window ever completed: the test shows nothing")
			}
		})
	}
}

func agrees(t *rapid.T, kind Kind, fired *int) {
	spec := drawSpec(t, kind)
	w, err := NewWindow(spec)
	if err != nil {
		t.Fatal(err)
	}
	m := &model{spec: spec, groups: map[string]*modelGroup{}}
	for i, e := range drawEvents(t, spec, rapid.IntRange(1, 100).Draw(t, "events")) {
		if rapid.IntRange(0, 19).Draw(t, "restart") == 0 {
			state := w.AppendState(nil)
			if w, err = NewWindow(spec); err != nil {
				t.Fatal(err)
			}
			if err := w.LoadState(state); err != nil {
				t.Fatal(err)
			}
			if again := w.AppendState(nil); !bytes.Equal(state, again) {
				t.Fatalf("the state that was loaded is another one:\n%x\n%x", state, again)
			}
		}
		want := m.add(e)
		c, got := w.Add(&e)
		if got != want {
			t.Fatalf("%+v: event %d %+v completes %v, want %v", spec, i, e, got, want)
		}
		if got {
			*fired++
			if c.Last-c.First > int64(spec.Within) || len(c.IDs) == 0 || c.Last < e.Time && spec.startsOver() {
				t.Fatalf("%+v: event %d %+v completes with %+v", spec, i, e, c)
			}
			if spec.startsOver() && spec.Kind != Ordered && !slices.Contains(c.IDs, e.ID) {
				t.Fatalf("%+v: event %d %+v is not among %v", spec, i, e, c.IDs)
			}
		}
	}
	if s := w.Stats(); s.Late != m.late || s.Evicted != m.out || s.Keys != len(m.groups) {
		t.Fatalf("%+v: figures %+v, want %d late, %d evicted, %d groups", spec, s, m.late, m.out, len(m.groups))
	}
}

func seeds(f *testing.F) {
	for k := Count; k <= Ordered; k++ {
		s := fuzzSpec(k)
		w, err := NewWindow(s)
		if err != nil {
			f.Fatal(err)
		}
		for i := range 5 {
			w.Add(&Event{Key: "key", Time: int64(i * i), Value: string(rune('a' + i)), Number: float64(i), Slots: 1 << (i % 2 * 2), ID: id(i), Behind: []signal.ID{id(9)}})
		}
		w.Add(&Event{Key: "other", Time: -5, Value: "v", Slots: 1})
		f.Add(uint8(k), w.AppendState(nil))
	}
	c, _ := New(fuzzConfig())
	c.Add("key", 7)
	c.Add("key", 3)
	f.Add(uint8(0), c.AppendState(nil))
}

func fuzzSpec(k Kind) Spec {
	s := Spec{Kind: k, Within: time.Minute, Keys: 8}
	switch {
	case k == Percentile:
		s.Percent = 90
		fallthrough
	case !k.HasSlots():
		s.Tests = []Test{{AtLeast, 1000}}
	default:
		s.Slots = 5
	}
	return s
}

func fuzzConfig() Config { return Config{Count: 5, Within: time.Minute, Keys: 8} }

// FuzzLoadState: a state that is taken is one that is written again byte for byte; one that is not leaves the
// window as it was.
func FuzzLoadState(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, kind uint8, state []byte) {
		var w interface {
			LoadState([]byte) error
			AppendState([]byte) []byte
			Stats() Stats
		}
		limit := 8 * 9
		if k := Kind(kind % (uint8(Ordered) + 1)); k == 0 {
			c, err := New(fuzzConfig())
			if err != nil {
				t.Fatal(err)
			}
			w = c
		} else {
			win, err := NewWindow(fuzzSpec(k))
			if err != nil {
				t.Fatal(err)
			}
			w, limit = win, 8*win.limit
		}
		empty := w.AppendState(nil)
		if err := w.LoadState(state); err != nil {
			if !bytes.Equal(empty, w.AppendState(nil)) {
				t.Fatalf("a refused state (%v) left something", err)
			}
			return
		}
		if s := w.Stats(); s.Keys > 8 || s.Events > limit {
			t.Fatalf("a state of too much was taken: %+v", s)
		}
		again := w.AppendState(nil)
		if err := w.LoadState(again); err != nil {
			t.Fatalf("the state that was written is refused: %v", err)
		}
		if !bytes.Equal(again, w.AppendState(nil)) {
			t.Fatal("the state changes when it is loaded")
		}
		// It goes on from there.
		for i, at := range []int64{0, 1 << 50, -1 << 50} {
			switch w := w.(type) {
			case *Counter:
				w.Add("key", at)
			case *Window:
				w.Add(&Event{Key: "key", Time: at, Slots: 1, ID: id(i)})
			}
		}
	})
}

func TestLoadStateRefuses(t *testing.T) {
	a := window(t, fuzzSpec(Count))
	a.Add(&Event{Key: "k", Time: 5})
	state := a.AppendState(nil)
	other := fuzzSpec(Count)
	other.Tests = []Test{{AtLeast, 999}}
	for name, try := range map[string]func() error{
		"another specification": func() error { return window(t, other).LoadState(state) },
		"another kind":          func() error { return window(t, fuzzSpec(Distinct)).LoadState(state) },
		"another version":       func() error { return a.LoadState(append([]byte{9}, state[1:]...)) },
		"too short":             func() error { return a.LoadState(state[:len(state)-1]) },
		"too long":              func() error { return a.LoadState(append(slices.Clone(state), 0)) },
		"nothing":               func() error { return a.LoadState(nil) },
		"a counter's":           func() error { return counter(t, fuzzConfig()).LoadState(state) },
	} {
		if err := try(); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
