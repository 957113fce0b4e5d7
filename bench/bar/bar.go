// Package bar says what a bar is: something measured, with a bound that it has to keep. It
// knows how a bar is printed and kept in a table, and nothing of what is measured.
package bar

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Bar is something measured with a bound.
type Bar struct {
	Name  string // part, dash, what: "edge-judge-cpu"
	Part  string // as `-bar` takes it: "edge"
	Unit  string // one word: "ratio", "MB"
	Bound Bound
	What  string        // what is measured, one sentence
	Limit time.Duration // longest that Run may take

	// Run measures. An error says why it could not; a value that misses the bound is none.
	Run func(ctx context.Context, env *Env) (Measure, error)
}

// A Measure is what came out.
type Measure struct {
	Value  float64
	Detail string // the figures behind the value, for people; one line
}

// Env is what a measurement may use.
type Env struct {
	Self    string // this program, to be run in a role
	Testudo string // the binary under test
	Module  string // folder of testudo's module
	Corpora string // folder of the corpora
	Profile string // folder that CPU profiles go to; empty for none
	Short   bool   // the short form: a fraction of the time, the same bound
	Runs    int    // repetitions behind a median
	Dir     string // an empty folder of this bar, removed after it

	// Progress says what is going on.
	Progress func(format string, args ...any)
}

// Bound is what a value has to keep.
type Bound struct {
	least bool
	value float64
}

// AtMost is the bound of values that are good when they are small.
func AtMost(v float64) Bound { return Bound{value: v} }

// AtLeast is the bound of values that are good when they are large.
func AtLeast(v float64) Bound { return Bound{least: true, value: v} }

// Keeps reports whether v keeps the bound. NaN keeps none.
func (b Bound) Keeps(v float64) bool {
	if b.least {
		return v >= b.value
	}
	return v <= b.value
}

// String returns "<=1.30" or ">=97": no blank, so that a line of columns can be cut.
func (b Bound) String() string {
	if b.least {
		return ">=" + Number(b.value)
	}
	return "<=" + Number(b.value)
}

// Number writes a value with as many digits as a reader can use: two behind the point below
// ten, one below a thousand, none above, and no trailing zeros of whole numbers.
func Number(v float64) string {
	switch {
	case v == float64(int64(v)):
		return strconv.FormatInt(int64(v), 10)
	case v > -10 && v < 10:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case v > -1000 && v < 1000:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 0, 64)
}

// write writes a value beside its bound: one that misses it never looks as if it did not.
func (b Bound) write(v float64) string {
	if s := Number(v); b.Keeps(v) || s != Number(b.value) {
		return s
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

// Outcome is how a bar came out.
type Outcome string

// The outcomes.
const (
	OK         Outcome = "ok"
	Short      Outcome = "short"
	Unmeasured Outcome = "unmeasured"
)

// Result is one bar after its run.
type Result struct {
	Bar *Bar
	Measure
	Err error
}

// Outcome says how it came out.
func (r *Result) Outcome() Outcome {
	switch {
	case r.Err != nil:
		return Unmeasured
	case r.Bar.Bound.Keeps(r.Value):
		return OK
	}
	return Short
}

// Exit returns the exit status of a run with these results: 2 where one could not be
// measured, 1 where one is short, else 0.
func Exit(results []Result) int {
	status := 0
	for i := range results {
		switch results[i].Outcome() {
		case Unmeasured:
			return 2
		case Short:
			status = 1
		}
	}
	return status
}

// Measure runs a bar within its limit.
func (b *Bar) Measure(ctx context.Context, env *Env) Result {
	ctx, cancel := context.WithTimeoutCause(ctx, b.Limit, fmt.Errorf("not done within %s", b.Limit))
	defer cancel()
	m, err := b.Run(ctx, env)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return Result{Bar: b, Measure: m, Err: err}
}

// Select returns the bars that a selection means: empty all, else those of a part, or the one
// of that name.
func Select(bars []Bar, selection string) ([]Bar, error) {
	if selection == "" {
		return bars, nil
	}
	chosen := slices.DeleteFunc(slices.Clone(bars), func(b Bar) bool { return b.Part != selection && b.Name != selection })
	if len(chosen) > 0 {
		return chosen, nil
	}
	var known []string
	for _, b := range bars {
		if !slices.Contains(known, b.Part) {
			known = append(known, b.Part)
		}
	}
	return nil, fmt.Errorf("no bar and no part is called %q: parts are %s; -list names the bars", selection, strings.Join(known, ", "))
}

// Median returns the middle of values, or the mean of the two in the middle. It must be given
// at least one.
func Median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}
