// Package intel measures the database of advisories.
package intel

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/bench/bar"
	"github.com/testudo-sec/testudo/bench/proc"
)

// what says what all bars of this part are measured on.
const what = " a generated database of 300,000 advisories in 40 ecosystems (shapes of the Go vulnerability database's, two thirds of them " +
	"malicious npm packages, a Debian of 45,000), by a process of its own"

// Bars lists the bars of this part.
func Bars() []bar.Bar {
	return []bar.Bar{
		{Name: "intel-open-ms", Part: "intel", Unit: "ms", Bound: bar.AtMost(50), Limit: 15 * time.Minute,
			What: "time to open" + what + ", median", Run: measure(0)},
		{Name: "intel-match-1000", Part: "intel", Unit: "s", Bound: bar.AtMost(1), Limit: 15 * time.Minute,
			What: "CPU of judging 1,000 packages, the largest of Debian among them, by" + what + ", opening and start included, median", Run: measure(1)},
		{Name: "intel-memory", Part: "intel", Unit: "MB", Bound: bar.AtMost(300), Limit: 15 * time.Minute,
			What: "greatest resident memory of judging 1,000 packages by" + what + ", median", Run: measure(2)},
	}
}

// Roles lists the processes of these measurements.
func Roles() []proc.Role { return []proc.Role{{Name: matchRole, Run: match}} }

// measure returns what runs the role and takes one of its figures: open ms, CPU s, peak MB.
func measure(which int) func(context.Context, *bar.Env) (bar.Measure, error) {
	return func(ctx context.Context, env *bar.Env) (m bar.Measure, err error) {
		path := filepath.Join(env.Dir, "advisories.db")
		made, err := generate(ctx, filepath.Join(env.Corpora, "osv", "go"), path)
		if err != nil {
			return m, err
		}
		env.Progress("%s", made)
		var values [3][]float64
		var last string
		for range max(env.Runs, 3) {
			child, first, err := proc.StartRole(ctx, nil, env.Self, matchRole, path)
			if err != nil {
				return m, err
			}
			var v [3]float64
			if _, err := fmt.Sscan(first, &v[0], &v[1], &v[2]); err != nil {
				return m, fmt.Errorf("%q: %w", first, err)
			}
			if _, last, _ = strings.Cut(first, "; "); last == "" {
				return m, fmt.Errorf("%q says nothing of what was found", first)
			}
			if _, err := child.Close(); err != nil {
				return m, err
			}
			for i := range v {
				values[i] = append(values[i], v[i])
			}
		}
		m.Value = bar.Median(values[which])
		m.Detail = fmt.Sprintf("%s; %s; open %.2f ms, CPU %.2f s, at the most %.0f MB", made, last, bar.Median(values[0]), bar.Median(values[1]), bar.Median(values[2]))
		return m, nil
	}
}
