package window

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const second = int64(time.Second)

func counter(t testing.TB, c Config) *Counter {
	t.Helper()
	w, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestAdd(t *testing.T) {
	type add struct {
		key  string
		at   int64 // seconds
		full bool
	}
	base := Config{Count: 3, Within: 10 * time.Minute, Tolerance: time.Minute}
	tests := []struct {
		name string
		conf Config
		adds []add
		late uint64
	}{
		{"the third completes", base, []add{{"a", 0, false}, {"a", 1, false}, {"a", 2, true}}, 0},
		{"the span is closed at both ends", base, []add{{"a", 0, false}, {"a", 1, false}, {"a", 600, true}}, 0},
		{"a second over the span", base, []add{{"a", 0, false}, {"a", 1, false}, {"a", 602, false}, {"a", 603, false}, {"a", 604, true}}, 0},
		{"older ones fall out", base, []add{{"a", 0, false}, {"a", 300, false}, {"a", 700, false}, {"a", 900, true}}, 0},
		{"keys count apart", base, []add{{"a", 0, false}, {"b", 1, false}, {"a", 2, false}, {"b", 3, false}, {"c", 4, false}, {"a", 5, true}, {"b", 6, true}}, 0},
		{"a completed count starts over", base, []add{{"a", 0, false}, {"a", 1, false}, {"a", 2, true}, {"a", 3, false}, {"a", 4, false}, {"a", 5, true}}, 0},
		{"late within the tolerance counts", base, []add{{"a", 100, false}, {"a", 50, false}, {"a", 40, true}}, 0},
		{"late at the tolerance's edge counts", base, []add{{"a", 100, false}, {"a", 101, false}, {"a", 41, true}}, 0},
		{"late beyond the tolerance does not", base, []add{{"a", 100, false}, {"a", 101, false}, {"a", 40, false}, {"a", 102, true}}, 1},
		{"late completes with the ones before it", base, []add{{"a", 0, false}, {"a", 1, false}, {"a", 650, false}, {"a", 599, true}}, 0},
		{"one of one", Config{Count: 1, Within: time.Second}, []add{{"a", 0, true}, {"a", 0, true}}, 0},
		{"same instant", base, []add{{"a", 7, false}, {"a", 7, false}, {"a", 7, true}}, 0},
		{"before the epoch", base, []add{{"a", -900, false}, {"a", -890, false}, {"a", -880, true}}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := counter(t, tt.conf)
			for i, a := range tt.adds {
				if full := w.Add(a.key, a.at*second); full != a.full {
					t.Errorf("add %d (%s at %ds): completes is %v, want %v", i, a.key, a.at, full, a.full)
				}
			}
			if got := w.Stats().Late; got != tt.late {
				t.Errorf("late is %d, want %d", got, tt.late)
			}
		})
	}
}

func TestBounded(t *testing.T) {
	w := counter(t, Config{Count: 3, Within: time.Minute, Keys: 100})
	for i := range 1000 {
		w.Add(fmt.Sprintf("key %d", i), int64(i)*1e6)
	}
	if s := w.Stats(); s.Keys != 100 || s.Evicted != 900 {
		t.Errorf("stats %+v, want 100 keys and 900 evicted", s)
	}
	// The ones pushed out are those not touched for longest.
	w.Add("key 950", second)
	if !w.Add("key 950", second) {
		t.Error("a recent key was pushed out")
	}
	w.Add("key 10", second)
	if w.Add("key 10", second) {
		t.Error("an old key was kept")
	}
	// What is over makes room uncounted.
	before := w.Stats().Evicted
	for i := range 50 {
		w.Add(fmt.Sprintf("later %d", i), 3600*second)
	}
	if s := w.Stats(); s.Keys != 100 || s.Evicted != before {
		t.Errorf("stats %+v after an hour, want 100 keys and %d evicted", s, before)
	}
}

func TestKeepsKeyAlone(t *testing.T) {
	big := strings.Repeat("x", 1<<20)
	w := counter(t, Config{Count: 2, Within: time.Minute})
	w.Add(big[:5], 0)
	if en := w.keys.byKey["xxxxx"]; en == nil || len(en.key) != 5 {
		t.Fatalf("entry %+v", en)
	}
}

// TestCounterLongKeys: a long key is counted under its digest.
func TestCounterLongKeys(t *testing.T) {
	w := counter(t, Config{Count: 2, Within: time.Minute})
	long := strings.Repeat("x", 1000)
	if w.Add(long, 0) || w.Add(long+"x", 0) || !w.Add(long, 0) {
		t.Error("long keys are not told apart")
	}
	for key := range w.keys.byKey {
		if len(key) != 32 {
			t.Errorf("a key of %d bytes is kept", len(key))
		}
	}
}

// TestCounterHoldsSoManyTimes: what all keys together hold is bounded, also where no key is new.
func TestCounterHoldsSoManyTimes(t *testing.T) {
	w := counter(t, Config{Count: 100, Within: time.Minute})
	w.most = 1000
	for round := range int64(50) {
		for key := range 100 {
			w.Add(fmt.Sprint(key), round)
		}
	}
	if s := w.Stats(); s.Events > 1000 || s.Evicted == 0 {
		t.Errorf("figures %+v, want 1000 times at most", s)
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []Config{
		{Count: 0, Within: time.Second},
		{Count: MaxCount + 1, Within: time.Second},
		{Count: 2},
		{Count: 2, Within: MaxWithin + 1},
		{Count: 2, Within: time.Second, Tolerance: -1},
		{Count: 2, Within: time.Second, Keys: MaxKeys + 1},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
}

// TestAgreesWithModel compares the counter with one that keeps everything.
func TestAgreesWithModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		conf := Config{
			Count:     rapid.IntRange(1, 5).Draw(t, "count"),
			Within:    time.Duration(rapid.IntRange(1, 30).Draw(t, "within")),
			Tolerance: time.Duration(rapid.IntRange(1, 40).Draw(t, "tolerance")),
		}
		w, err := New(conf)
		if err != nil {
			t.Fatal(err)
		}
		model := map[string][]int64{}
		out := uint64(0)
		now := int64(0)
		for range rapid.IntRange(1, 120).Draw(t, "events") {
			now += rapid.Int64Range(0, 12).Draw(t, "step")
			at := now - rapid.Int64Range(0, 25).Draw(t, "late")
			key := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key")

			if rapid.IntRange(0, 9).Draw(t, "astray") == 0 {
				at += rapid.Int64Range(-200, 200).Draw(t, "far")
			}
			before := func(key string) bool {
				times := model[key]
				return len(times) > 0 && at < slices.Max(times)-int64(min(conf.Tolerance, conf.Within))-int64(conf.Within)
			}
			added := key
			old := model[past(key)]
			if before(key) || len(model[key]) == 0 && len(old) > 0 && at <= slices.Max(old)+int64(conf.Within) {
				key = past(key)
				if before(key) {
					delete(model, key)
					out++
				}
			}

			want := false
			times := model[key]
			if len(times) > 0 && at < slices.Max(times)-int64(min(conf.Tolerance, conf.Within)) {
				// too late
			} else {
				times = append(times, at)
				slices.Sort(times)
				for i := 0; i+conf.Count <= len(times); i++ {
					span := times[i : i+conf.Count]
					if span[len(span)-1]-span[0] <= int64(conf.Within) {
						want = true
					}
				}
				if want {
					times = nil
				}
				model[key] = times
			}
			if got := w.Add(added, at); got != want {
				t.Fatalf("%+v: %s at %d completes %v, want %v; times %v", conf, key, at, got, want, times)
			}
			if en := w.keys.byKey[key]; en != nil && len(en.held) >= 2*conf.Count {
				t.Fatalf("%d times held for a count of %d", len(en.held), conf.Count)
			}
		}
		if got := w.Stats().Evicted; conf.Count > 1 && got != out {
			t.Fatalf("%+v: %d evicted, want %d", conf, got, out)
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	w := counter(b, Config{Count: 3, Within: time.Minute})
	keys := make([]string, 1024)
	for i := range keys {
		keys[i] = fmt.Sprintf("198.51.100.%d", i)
	}
	b.ReportAllocs()
	for i := range b.N {
		w.Add(keys[i%len(keys)], int64(i)*1000)
	}
}
