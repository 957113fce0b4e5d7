package window

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/signal"
)

func window(t testing.TB, s Spec) *Window {
	t.Helper()
	w, err := NewWindow(s)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func id(n int) signal.ID { return signal.ID{14: byte(n >> 8), 15: byte(n)} }

// TestWindow tells stories: each step is an event of group "a" unless it names another, with its time
// in seconds, and whether it completes the window.
func TestWindow(t *testing.T) {
	type step struct {
		at    int64
		what  string // key:value, or value; a number, a value, or things as letters
		fires bool
		ids   []int // of the completion, where the story says so: numbers of steps
	}
	tests := []struct {
		name  string
		spec  Spec
		steps []step
		stats Stats
	}{
		{"count starts over", Spec{Kind: Count, Tests: []Test{{AtLeast, 3}}}, []step{
			{0, "", false, nil}, {1, "", false, nil}, {600, "", true, []int{0, 1, 2}}, {601, "", false, nil}, {602, "", false, nil}, {603, "", true, []int{3, 4, 5}}}, Stats{}},
		{"count over", Spec{Kind: Count, Tests: []Test{{Above, 2}}}, []step{{0, "", false, nil}, {1, "", false, nil}, {2, "", true, nil}}, Stats{}},
		{"a range begins to hold", Spec{Kind: Count, Tests: []Test{{Above, 1}, {AtMost, 3}}}, []step{
			{0, "", false, nil}, {1, "", true, []int{0, 1}}, {2, "", false, nil}, {3, "", false, nil}, {4, "", false, nil},
			{603, "", true, []int{3, 4, 5}}}, Stats{Keys: 1, Events: 5}},
		{"fewer than", Spec{Kind: Count, Tests: []Test{{Below, 3}}}, []step{
			{0, "", true, nil}, {1, "", false, nil}, {2, "", false, nil}, {3, "", false, nil}, // told once, then it holds no more
			{2000, "", true, nil}, {2001, "", false, nil}}, Stats{Keys: 1, Events: 2}},
		{"exactly", Spec{Kind: Count, Tests: []Test{{Equal, 2}}}, []step{{0, "", false, nil}, {1, "", true, nil}, {2, "", false, nil}, {601, "", false, nil}, {602, "", false, nil}, {1203, "", false, nil}, {1204, "", true, nil}}, Stats{Keys: 1, Events: 4}},
		{"distinct values", Spec{Kind: Distinct, Tests: []Test{{AtLeast, 3}}}, []step{
			{0, "x", false, nil}, {1, "y", false, nil}, {2, "x", false, nil}, {3, "y", false, nil}, {4, "z", true, []int{2, 3, 4}}, {5, "x", false, nil}}, Stats{Keys: 1, Events: 1}},
		{"a value stands at its newest time", Spec{Kind: Distinct, Tests: []Test{{AtLeast, 2}}}, []step{
			{0, "x", false, nil}, {500, "x", false, nil}, {1000, "y", true, nil}}, Stats{}},
		{"groups are apart", Spec{Kind: Distinct, Tests: []Test{{AtLeast, 2}}}, []step{{0, "a:x", false, nil}, {1, "b:y", false, nil}, {2, "b:x", true, nil}, {3, "a:y", true, nil}}, Stats{}},
		{"sum", Spec{Kind: Sum, Tests: []Test{{AtLeast, 100}}}, []step{{0, "60", false, nil}, {601, "50", false, nil}, {602, "50", true, []int{1, 2}}, {603, "99", false, nil}}, Stats{Keys: 1, Events: 1}},
		{"a late number completes at its place", Spec{Kind: Sum, Tests: []Test{{AtLeast, 100}}}, []step{{0, "60", false, nil}, {630, "10", false, nil}, {590, "45", true, []int{0, 2}}}, Stats{}},
		{"average begins to hold", Spec{Kind: Average, Tests: []Test{{Above, 10}}}, []step{
			{0, "5", false, nil}, {1, "15", false, nil}, {2, "20", true, nil}, {3, "20", false, nil}, {4, "-100", false, nil}, {700, "11", true, nil}}, Stats{Keys: 1, Events: 1}},
		{"percentile", Spec{Kind: Percentile, Percent: 75, Tests: []Test{{AtLeast, 4}}}, []step{
			{0, "1", false, nil}, {1, "2", false, nil}, {2, "3", false, nil}, {3, "4", false, nil}, // the 3rd of 4 is 3
			{4, "5", true, nil}}, Stats{Keys: 1, Events: 5}}, // the 4th of 5 is 4
		{"median below", Spec{Kind: Percentile, Percent: 50, Tests: []Test{{Below, 3}}}, []step{{0, "9", false, nil}, {1, "1", true, nil}, {2, "2", false, nil}}, Stats{Keys: 1, Events: 3}},
		{"no number", Spec{Kind: Sum, Tests: []Test{{AtLeast, 1}}}, []step{{0, "NaN", false, nil}, {0, "1e300", false, nil}, {0, "1", true, nil}}, Stats{Skipped: 2}},
		{"temporal in any order", Spec{Kind: Temporal, Slots: 3}, []step{{0, "c", false, nil}, {1, "a", false, nil}, {2, "a", false, nil}, {3, "b", true, []int{0, 2, 3}}, {4, "b", false, nil}}, Stats{Keys: 1, Events: 1}},
		{"one event is two things", Spec{Kind: Temporal, Slots: 3}, []step{{0, "ab", false, nil}, {1, "bc", true, nil}}, Stats{}},
		{"two of three things", Spec{Kind: Temporal, Slots: 3, Tests: []Test{{AtLeast, 2}}}, []step{{0, "a", false, nil}, {1, "a", false, nil}, {2, "c", true, nil}}, Stats{}},
		{"a or b, and not c", Spec{Kind: Temporal, Slots: 3, Need: &Seen{Op: SeenAll, Of: []Seen{{Op: SeenAny, Of: []Seen{{Op: SeenThing}, {Op: SeenThing, Slot: 1}}},
			{Op: SeenNot, Of: []Seen{{Op: SeenThing, Slot: 2}}}}}}, []step{{0, "c", false, nil}, {1, "a", false, nil}, {601, "b", true, nil}, {602, "a", true, nil}}, Stats{}},
		{"ordered", Spec{Kind: Ordered, Slots: 3}, []step{
			{0, "b", false, nil}, {1, "a", false, nil}, {2, "c", false, nil}, {3, "b", false, nil}, {4, "a", false, nil}, {5, "c", true, []int{1, 3, 5}}}, Stats{}},
		{"an event stands for one thing of a sequence", Spec{Kind: Ordered, Slots: 2}, []step{{0, "ab", false, nil}, {1, "ab", true, []int{0, 1}}}, Stats{}},
		{"the same time in the order of adding", Spec{Kind: Ordered, Slots: 2}, []step{{0, "b", false, nil}, {0, "a", false, nil}, {0, "b", true, []int{1, 2}}}, Stats{}},
		{"a sequence over the span", Spec{Kind: Ordered, Slots: 2}, []step{{0, "a", false, nil}, {601, "b", false, nil}, {602, "a", false, nil}, {603, "b", true, []int{2, 3}}}, Stats{}},
		{"late first of a sequence", Spec{Kind: Ordered, Slots: 2}, []step{{100, "b", false, nil}, {90, "a", true, []int{1, 0}}}, Stats{}},
		{"a sequence without another thing", Spec{Kind: Ordered, Slots: 3, Need: &Seen{Op: SeenAll, Of: []Seen{{Op: SeenThing}, {Op: SeenNot, Of: []Seen{{Op: SeenThing, Slot: 1}}}, {Op: SeenThing, Slot: 2}}}},
			[]step{{0, "a", false, nil}, {1, "b", false, nil}, {2, "c", false, nil}, {602, "a", false, nil}, {603, "c", true, []int{3, 4}}}, Stats{}},
		{"an event of the future hides none", Spec{Kind: Count, Tests: []Test{{AtLeast, 3}}}, []step{
			{1 << 32, "", false, nil}, {0, "", false, nil}, {1, "", false, nil}, {2, "", true, []int{1, 2, 3}}, {1<<32 + 1, "", false, nil}, {1<<32 + 2, "", true, []int{0, 4, 5}}}, Stats{}},
		{"nor do two", Spec{Kind: Count, Tests: []Test{{AtLeast, 2}}}, []step{{1 << 33, "", false, nil}, {1 << 32, "", false, nil}, {1, "", false, nil}, {2, "", true, nil}}, Stats{Keys: 1, Events: 1, Evicted: 1}},
		{"of two days, the newer one first", Spec{Kind: Distinct, Tests: []Test{{AtLeast, 2}}}, []step{{90000, "x", false, nil}, {100, "x", false, nil}, {90001, "y", true, []int{0, 2}}, {101, "y", true, []int{1, 3}}}, Stats{}},
		{"late beyond the tolerance", Spec{Kind: Count, Tests: []Test{{AtLeast, 2}}}, []step{{100, "", false, nil}, {39, "", false, nil}, {40, "", true, nil}}, Stats{Late: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.spec.Within = 10 * time.Minute
			w := window(t, tt.spec)
			for i, s := range tt.steps {
				e := Event{Key: "a", Time: s.at * second, ID: id(i + 1), Value: s.what}
				if key, value, ok := strings.Cut(s.what, ":"); ok {
					e.Key, e.Value = key, value
				}
				if tt.spec.Kind.HasNumber() {
					if _, err := fmt.Sscan(s.what, &e.Number); err != nil {
						t.Fatal(err)
					}
				}
				if tt.spec.Kind.HasSlots() {
					for _, c := range s.what {
						e.Slots |= 1 << (c - 'a')
					}
				}
				c, fires := w.Add(&e)
				if fires != s.fires {
					t.Errorf("step %d: completes is %v, want %v", i, fires, s.fires)
				}
				if s.ids != nil {
					var want []signal.ID
					for _, n := range s.ids {
						want = append(want, id(n+1))
					}
					if diff := cmp.Diff(want, c.IDs); diff != "" {
						t.Errorf("step %d: events (-want +got):\n%s", i, diff)
					}
				}
			}
			if diff := cmp.Diff(tt.stats, w.Stats()); diff != "" {
				t.Errorf("figures (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSpecValidate(t *testing.T) {
	thing := func(n int) Seen { return Seen{Op: SeenThing, Slot: n} }
	not := func(s Seen) Seen { return Seen{Op: SeenNot, Of: []Seen{s}} }
	all := func(of ...Seen) *Seen { return &Seen{Op: SeenAll, Of: of} }
	deep := thing(0)
	for range maxSeen {
		deep = *all(deep)
	}
	one := []Test{{AtLeast, 1}}
	for i, s := range []Spec{
		{},
		{Kind: Count},
		{Kind: Count, Tests: []Test{{}}},
		{Kind: Count, Tests: []Test{{AtLeast, MaxThreshold + 1}}},
		{Kind: Count, Tests: []Test{{AtLeast, -1}}},
		{Kind: Count, Tests: one, Need: all(thing(0))},
		{Kind: Count, Tests: one, Tolerance: -1},
		{Kind: Count, Tests: one, Keys: MaxKeys + 1},
		{Kind: Count, Tests: one, Within: MaxSpan + 1},
		{Kind: Count, Tests: one, Within: -1},
		{Kind: Count, Tests: []Test{{AtLeast, 1}, {AtLeast, 1}, {AtLeast, 1}, {AtLeast, 1}, {AtLeast, 1}}},
		{Kind: Percentile, Tests: one},
		{Kind: Percentile, Tests: one, Percent: 101},
		{Kind: Temporal},
		{Kind: Temporal, Slots: MaxSlots + 1},
		{Kind: Temporal, Slots: 2, Need: all(thing(2))},
		{Kind: Temporal, Slots: 2, Need: all()},
		{Kind: Temporal, Slots: 2, Need: &Seen{}},
		{Kind: Temporal, Slots: 2, Need: all(not(thing(0)))},
		{Kind: Temporal, Slots: 2, Need: all(thing(0)), Tests: one},
		{Kind: Temporal, Slots: 2, Need: &deep},
		{Kind: Ordered, Slots: 2, Tests: one},
		{Kind: Ordered, Slots: 2, Need: &Seen{Op: SeenAny, Of: []Seen{thing(0), thing(1)}}},
		{Kind: Ordered, Slots: 2, Need: all(thing(0), not(thing(0)))},
	} {
		if s.Within == 0 {
			s.Within = time.Minute
		}
		if _, err := NewWindow(s); err == nil {
			t.Errorf("%d: %+v is accepted", i, s)
		}
	}
}

// TestEvicts: groups, and events of groups, are pushed out in an order that can be told, and counted.
func TestEvicts(t *testing.T) {
	w := window(t, Spec{Kind: Distinct, Within: time.Minute, Tests: []Test{{AtLeast, 2}}, Keys: 3})
	add := func(key, value string, at int64) bool {
		_, ok := w.Add(&Event{Key: key, Value: value, Time: at * second})
		return ok
	}
	for i, key := range []string{"a", "b", "c"} {
		add(key, "x", int64(i))
	}
	add("a", "x", 4) // so that b is the one not added to for longest
	add("d", "x", 5)
	if add("b", "y", 6) || !add("a", "y", 7) {
		t.Error("b was kept or a was pushed out")
	}
	if s := w.Stats(); s.Evicted != 2 { // b, and c for b
		t.Errorf("figures %+v", s)
	}

	// Numbers of one group: the oldest go.
	n := window(t, Spec{Kind: Sum, Within: time.Hour, Tests: []Test{{AtLeast, 2 * maxNumbers}}})
	for i := range maxNumbers + 10 {
		if _, ok := n.Add(&Event{Time: int64(i), Number: 1}); ok {
			t.Fatal("completed by numbers that are gone")
		}
	}
	if s := n.Stats(); s.Dropped != 10 || s.Events != maxNumbers {
		t.Errorf("figures %+v", s)
	}

	// A sequence is not washed away by a flood of one of its things.
	o := window(t, Spec{Kind: Ordered, Slots: 3, Within: time.Hour})
	o.Add(&Event{Time: 1, Slots: 1})
	for i := range 3 * maxThings {
		o.Add(&Event{Time: int64(i) + 2, Slots: 2})
	}
	for i := range 3 * maxThings {
		o.Add(&Event{Time: int64(i) + 5000, Slots: 1})
	}
	if _, ok := o.Add(&Event{Time: 9000, Slots: 4}); !ok {
		t.Error("the sequence is lost in a flood")
	}
	if s := o.Stats(); s.Dropped != 0 {
		t.Errorf("figures %+v", s)
	}

	// All groups together.
	m := window(t, Spec{Kind: Count, Within: time.Hour, Tests: []Test{{AtLeast, 1000}}})
	for i := range MaxHeld + 5000 {
		m.Add(&Event{Key: fmt.Sprint(i / 900), Time: int64(i)})
	}
	if s := m.Stats(); s.Events > MaxHeld || s.Evicted == 0 {
		t.Errorf("figures %+v", s)
	}
}

func TestLongKeys(t *testing.T) {
	w := window(t, Spec{Kind: Count, Within: time.Minute, Tests: []Test{{AtLeast, 3}}})
	long := strings.Repeat("k", 1<<16)
	w.Add(&Event{Key: long + "1", Time: 1})
	w.Add(&Event{Key: long + "2", Time: 1})
	if s := w.Stats(); s.Keys != 2 {
		t.Errorf("%+v: two long keys", s)
	}
	if state := w.AppendState(nil); len(state) > 400 {
		t.Errorf("a state of %d bytes holds the keys", len(state))
	}
}

func TestBehind(t *testing.T) {
	w := window(t, Spec{Kind: Temporal, Slots: 2, Within: time.Minute})
	var behind []signal.ID
	for i := range 40 {
		behind = append(behind, id(100+i))
	}
	w.Add(&Event{Time: 1, Slots: 1, ID: id(1), Behind: behind})
	c, ok := w.Add(&Event{Time: 2, Slots: 2, ID: id(2)})
	if !ok || len(c.IDs) != 11 || c.IDs[9] != id(1) || c.IDs[10] != id(2) || c.IDs[8] != id(139) {
		t.Errorf("%v %v", ok, c.IDs)
	}
}

func BenchmarkWindow(b *testing.B) {
	for _, spec := range []Spec{
		{Kind: Count, Tests: []Test{{AtLeast, 10}}},
		{Kind: Distinct, Tests: []Test{{AtLeast, 10}}},
		{Kind: Sum, Tests: []Test{{AtLeast, 1e9}}},
		{Kind: Percentile, Percent: 95, Tests: []Test{{Above, 200}}},
		{Kind: Temporal, Slots: 3},
		{Kind: Ordered, Slots: 3},
	} {
		b.Run(spec.Kind.String(), func(b *testing.B) {
			spec.Within = time.Minute
			w := window(b, spec)
			keys := make([]string, 1024)
			for i := range keys {
				keys[i] = fmt.Sprintf("198.51.100.%d", i)
			}
			values := []string{"ann", "bob", "cid", "dan"}
			b.ReportAllocs()
			for i := range b.N {
				w.Add(&Event{Key: keys[i%len(keys)], Time: int64(i) * 1e6, Value: values[i/1024%4], Number: float64(i % 100), Slots: 1 << (i / 1024 % 2)})
			}
		})
	}
}

func BenchmarkState(b *testing.B) {
	w := window(b, Spec{Kind: Count, Within: time.Hour, Tests: []Test{{AtLeast, 10}}})
	for i := range 1 << 16 {
		for range 4 {
			w.Add(&Event{Key: fmt.Sprint(i), Time: int64(i)})
		}
	}
	state := w.AppendState(nil)
	b.SetBytes(int64(len(state)))
	b.Run("append", func(b *testing.B) {
		for range b.N {
			state = w.AppendState(state[:0])
		}
	})
	b.Run("load", func(b *testing.B) {
		for range b.N {
			if err := w.LoadState(state); err != nil {
				b.Fatal(err)
			}
		}
	})
	if !bytes.Equal(state, w.AppendState(nil)) || !slices.Contains([]int{1 << 16}, w.Stats().Keys) {
		b.Fatal("the state is another one")
	}
}
