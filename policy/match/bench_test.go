package match_test

import (
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/policy/sigma"
	"github.com/testudo-sec/testudo/policy/streamtest"
	"github.com/testudo-sec/testudo/signal"
	"golang.org/x/sys/unix"
)

// sigmaRules returns the conditions of n of the public Sigma rules, evenly drawn, all of them for 0.
func sigmaRules(t testing.TB, n int) []match.Rule {
	t.Helper()
	root := filepath.Join(require.Corpora(t), "sigma")
	var files []policy.File
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, ".yml") {
			var text []byte
			text, err = os.ReadFile(path)
			files = append(files, policy.File{Name: path, Text: text})
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	compiled, problems := sigma.New(sigma.Config{}).Compile(files)
	if len(problems) > 0 {
		t.Fatal(problems[0])
	}
	var rules []match.Rule
	for _, r := range compiled {
		if r.Condition != nil && !r.Disabled {
			rules = append(rules, match.Rule{Expr: r.Condition, Classes: r.On})
		}
	}
	if n == 0 {
		return rules
	}
	drawn := make([]match.Rule, n)
	for i := range drawn {
		drawn[i] = rules[i*len(rules)/n]
	}
	return drawn
}

// quiet returns events that match none of the rules.
func quiet(t testing.TB, rules []match.Rule, n int) []*signal.Event {
	x := match.NewIndex(rules)
	var m match.Matches
	events := streamtest.Events(n)
	all := len(events)
	hits := map[int32]int{}
	events = slices.DeleteFunc(events, func(e *signal.Event) bool {
		x.Match(e, &m)
		for _, r := range m.Fired {
			hits[r]++
		}
		return len(m.Fired)+len(m.Faulted) > 0
	})
	if len(events) < all/2 {
		for r, n := range hits {
			t.Logf("%d: %s", n, match.String(rules[r].Expr))
		}
		t.Fatalf("only %d of %d events match no rule", len(events), all)
	}
	return events
}

func BenchmarkSigma(b *testing.B) {
	for _, n := range []int{30, 300, 3000} {
		rules := sigmaRules(b, n)
		events := quiet(b, sigmaRules(b, 3000), 2000)
		x := match.NewIndex(rules)
		var m match.Matches
		b.Run(fmt.Sprintf("index/%d", n), func(b *testing.B) {
			measure(b, events, func(e *signal.Event) { x.Match(e, &m) })
		})
		b.Run(fmt.Sprintf("naive/%d", n), func(b *testing.B) {
			measure(b, events, func(e *signal.Event) {
				for _, r := range rules {
					if r.Classes == nil || slices.Contains(r.Classes, e.Class) {
						match.Eval(r.Expr, e)
					}
				}
			})
		})
	}
}

// measure judges the events in turn, and reports beside the clock's time the processor's of the
// quickest pass over all of them: other programs on the machine stretch the rest.
func measure(b *testing.B, events []*signal.Event, judge func(*signal.Event)) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	b.ReportAllocs()
	best, began := math.Inf(1), threadTime(b)
	for i := 0; b.Loop(); i++ {
		if i%len(events) == 0 && i > 0 {
			now := threadTime(b)
			best, began = min(best, float64(now-began)/float64(len(events))), now
		}
		judge(events[i%len(events)])
	}
	b.ReportMetric(best, "best-cpu-ns/op")
}

func threadTime(b *testing.B) int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return t.Nano()
}

func BenchmarkBuild(b *testing.B) {
	rules := sigmaRules(b, 0)
	b.ReportAllocs()
	for b.Loop() {
		match.NewIndex(rules)
	}
}
