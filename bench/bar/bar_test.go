package bar

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

func TestBound(t *testing.T) {
	for _, tt := range []struct {
		bound Bound
		value float64
		want  bool
	}{
		{AtMost(1.3), 1.29, true},
		{AtMost(1.3), 1.3, true},
		{AtMost(1.3), 1.3001, false},
		{AtMost(0), 0, true},
		{AtMost(0), 1, false},
		{AtMost(1.3), math.NaN(), false},
		{AtMost(1.3), math.Inf(1), false},
		{AtLeast(97), 97, true},
		{AtLeast(97), 96.99, false},
		{AtLeast(97), math.NaN(), false},
	} {
		if got := tt.bound.Keeps(tt.value); got != tt.want {
			t.Errorf("%s keeps %v: %v, want %v", tt.bound, tt.value, got, tt.want)
		}
	}
}

func TestNumber(t *testing.T) {
	for _, tt := range []struct {
		value float64
		want  string
	}{
		{0, "0"}, {20, "20"}, {100000, "100000"}, {1.3, "1.30"}, {0.254, "0.25"}, {53.26, "53.3"}, {-1.5, "-1.50"},
		{101999.6, "102000"}, {math.NaN(), "NaN"}, {math.Inf(1), "+Inf"},
	} {
		if got := Number(tt.value); got != tt.want {
			t.Errorf("Number(%v) = %q, want %q", tt.value, got, tt.want)
		}
	}
}

// TestNumberNeverFlatters holds that a value which misses its bound does not print as the bound.
func TestNumberNeverFlatters(t *testing.T) {
	for _, tt := range []struct {
		bound Bound
		value float64
	}{{AtMost(1.3), 1.3001}, {AtMost(20), 20.04}, {AtMost(200), 200.04}, {AtLeast(97), 96.96}, {AtLeast(100_000), 99_999.6}} {
		r := Result{Bar: &Bar{Name: "x", Unit: "u", Bound: tt.bound}, Measure: Measure{Value: tt.value}}
		line := Widths{}.Line(&r)
		if fields := strings.Fields(line); fields[1] == Number(tt.bound.value) {
			t.Errorf("%v misses %s and prints as it: %q", tt.value, tt.bound, line)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{3}, 3},
		{[]float64{9, 1}, 5},
		{[]float64{5, 100, 1}, 5},
		{[]float64{4, 1, 3, 2}, 2.5},
	} {
		before := append([]float64(nil), tt.values...)
		if got := Median(tt.values); got != tt.want {
			t.Errorf("Median(%v) = %v, want %v", before, got, tt.want)
		}
		for i := range before {
			if tt.values[i] != before[i] {
				t.Errorf("Median reordered its argument: %v, was %v", tt.values, before)
			}
		}
	}
}

func some() []Bar {
	return []Bar{
		{Name: "spine-rate", Part: "spine", Unit: "events/s", Bound: AtLeast(100_000), What: "a rate"},
		{Name: "spine-lost", Part: "spine", Unit: "events", Bound: AtMost(0), What: "a | b"},
		{Name: "edge-cpu", Part: "edge", Unit: "ratio", Bound: AtMost(1.3), What: "a ratio"},
	}
}

func TestSelect(t *testing.T) {
	for _, tt := range []struct {
		selection string
		want      []string
	}{
		{"", []string{"spine-rate", "spine-lost", "edge-cpu"}},
		{"spine", []string{"spine-rate", "spine-lost"}},
		{"spine-lost", []string{"spine-lost"}},
		{"spi", nil},
		{"kernel", nil},
	} {
		got, err := Select(some(), tt.selection)
		if (err != nil) != (tt.want == nil) {
			t.Errorf("Select(%q): error %v", tt.selection, err)
		}
		if len(got) != len(tt.want) {
			t.Errorf("Select(%q) = %d bars, want %v", tt.selection, len(got), tt.want)
			continue
		}
		for i := range got {
			if got[i].Name != tt.want[i] {
				t.Errorf("Select(%q)[%d] = %s, want %s", tt.selection, i, got[i].Name, tt.want[i])
			}
		}
	}
}

func results(bars []Bar) []Result {
	return []Result{
		{Bar: &bars[0], Measure: Measure{Value: 101234.5, Detail: "60 s"}},
		{Bar: &bars[1], Measure: Measure{Value: 2}},
		{Bar: &bars[2], Err: errors.New("no\nproxy")},
	}
}

func TestLines(t *testing.T) {
	bars := some()
	want := []string{
		"spine-rate     101234 events/s   >=100000 ok",
		"spine-lost          2 events          <=0 short",
		"edge-cpu            - -            <=1.30 unmeasured: no proxy",
	}
	for i, r := range results(bars) {
		if got := Measured(bars).Line(&r); got != want[i] {
			t.Errorf("line %d:\n%s, want\n%s", i, got, want[i])
		}
	}
}

func TestExit(t *testing.T) {
	all := results(some())
	for _, tt := range []struct {
		results []Result
		want    int
	}{{all[:1], 0}, {all[:2], 1}, {all, 2}, {[]Result{all[2], all[0]}, 2}, {nil, 0}} {
		if got := Exit(tt.results); got != tt.want {
			t.Errorf("Exit(%d results) = %d, want %d", len(tt.results), got, tt.want)
		}
	}
}

// TestPage writes a page, and then another one where one bar was measured again, one was not, and
// one is new.
func TestPage(t *testing.T) {
	bars := some()
	host := Host{Cores: 2, Go: "go1.26.0", OS: "linux/amd64", When: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)}
	first := Page("", bars[:2], results(bars)[:2], host)
	rows := func(page string) []string {
		_, table, _ := strings.Cut(page, "|---|\n")
		return strings.Split(strings.TrimSuffix(table, "\n"), "\n")
	}
	want := []string{
		"| `spine-rate` | a rate | 101234 events/s | ≥ 100000 | ok | 60 s | `make bench BAR=spine-rate` | 2026-11-22, 2 cores, go1.26.0, linux/amd64 |",
		"| `spine-lost` | a \\| b | 2 events | ≤ 0 | **short** |  | `make bench BAR=spine-lost` | 2026-11-22, 2 cores, go1.26.0, linux/amd64 |",
	}
	compare(t, rows(first), want)

	host.When = host.When.AddDate(0, 1, 0)
	second := Page(first, bars, []Result{{Bar: &bars[1]}}, host)
	compare(t, rows(second), []string{
		want[0],
		"| `spine-lost` | a \\| b | 0 events | ≤ 0 | ok |  | `make bench BAR=spine-lost` | 2026-12-22, 2 cores, go1.26.0, linux/amd64 |",
		"| `edge-cpu` | a ratio | - | ≤ 1.30 | **unmeasured** | not measured yet | `make bench BAR=edge-cpu` |  |",
	})
	if third := Page(second, bars[:1], nil, host); len(rows(third)) != 1 {
		t.Errorf("bars that are gone keep their rows:\n%s", third)
	}
}

func compare(t *testing.T, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d rows, want %d:\n%s", len(got), len(want), strings.Join(got, "\n"))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("row %d:\n%s, want\n%s", i, got[i], want[i])
		}
	}
}

func TestMeasureEndsAtItsLimit(t *testing.T) {
	b := Bar{Name: "slow", Limit: time.Millisecond, Run: func(ctx context.Context, _ *Env) (Measure, error) {
		<-ctx.Done()
		return Measure{Value: 1}, nil
	}}
	r := b.Measure(t.Context(), &Env{})
	if r.Outcome() != Unmeasured || !strings.Contains(r.Err.Error(), "not done within") {
		t.Errorf("outcome %s, error %v: want unmeasured, not done in time", r.Outcome(), r.Err)
	}
}
