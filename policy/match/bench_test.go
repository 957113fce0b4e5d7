package match_test

import (
	"context"
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
	"github.com/testudo-sec/testudo/policy/falco"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/policy/native"
	"github.com/testudo-sec/testudo/policy/sigma"
	"github.com/testudo-sec/testudo/policy/streamtest"
	"github.com/testudo-sec/testudo/rules"
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
	rules := conditions(compiled)
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

// BenchmarkFalco judges an uninteresting opening of a file by the public Falco rules.
func BenchmarkFalco(b *testing.B) {
	var files []policy.File
	for _, name := range []string{"falco_rules.yaml", "falco-incubating_rules.yaml", "falco-sandbox_rules.yaml"} {
		text, err := os.ReadFile(filepath.Join(require.Corpora(b), "falco", name))
		if err != nil {
			b.Fatal(err)
		}
		files = append(files, policy.File{Name: name, Text: text})
	}
	rules, problems := falco.New().Compile(files)
	if len(problems) > 0 {
		b.Fatal(problems)
	}
	judgeOne(b, conditions(rules), streamtest.FileOpen())
}

// BenchmarkRequest judges an honest request by the rules that ship.
func BenchmarkRequest(b *testing.B) {
	for name, tree := range map[string]fs.FS{"edge": rules.Edge(), "all": rules.Judging()} {
		l := &policy.Loader{Dialects: []policy.Dialect{native.New(native.Actions()...)}}
		set, err := l.Load(context.Background(), policy.Embedded("rules", tree))
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("%s/%d", name, set.Len()), func(b *testing.B) {
			judgeOne(b, conditions(set.Rules()), streamtest.Request())
		})
	}
}

func conditions(rules []*policy.Rule) []match.Rule {
	var all []match.Rule
	for _, r := range rules {
		if r.Condition != nil && !r.Disabled {
			all = append(all, match.Rule{Expr: r.Condition, Classes: r.On})
		}
	}
	return all
}

func judgeOne(b *testing.B, rules []match.Rule, e *signal.Event) {
	x := match.NewIndex(rules)
	var m match.Matches
	events := make([]*signal.Event, 1000)
	for i := range events {
		events[i] = e
	}
	measure(b, events, func(e *signal.Event) {
		if x.Match(e, &m); len(m.Fired) > 0 {
			b.Fatal("a rule fired")
		}
	})
}

func BenchmarkBuild(b *testing.B) {
	rules := sigmaRules(b, 0)
	b.ReportAllocs()
	for b.Loop() {
		match.NewIndex(rules)
	}
}
