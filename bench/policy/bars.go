// Package policy measures how rules are loaded and events judged by them.
package policy

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/falco"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/policy/sigma"
	"github.com/testudo-sec/testudo/signal"

	"github.com/testudo-sec/testudo/bench/bar"
	"github.com/testudo-sec/testudo/policy/streamtest"
)

// Bars lists the bars of this part.
func Bars() []bar.Bar {
	const limit = 10 * time.Minute
	return []bar.Bar{{
		Name: "policy-sigma-3000-cpu", Part: "policy", Unit: "µs", Bound: bar.AtMost(5), Limit: limit,
		What: "CPU of judging an event by 3,000 public Sigma rules, over a mixed stream of process, cloud, web and Windows events that match none, quickest pass of each run, median of the runs",
		Run: func(ctx context.Context, env *bar.Env) (bar.Measure, error) {
			return measure(ctx, env, func(c costs) float64 { return c.many / 1e3 })
		},
	}, {
		Name: "policy-sigma-30-ratio", Part: "policy", Unit: "ratio", Bound: bar.AtMost(1), Limit: limit,
		What: "that CPU over what 30 of the rules may make of it: twice theirs, or theirs and 2 µs, whichever is more, median",
		Run: func(ctx context.Context, env *bar.Env) (bar.Measure, error) {
			return measure(ctx, env, func(c costs) float64 { return c.many / max(2*c.few, c.few+2000) })
		},
	}, {
		Name: "policy-sigma-naive-ratio", Part: "policy", Unit: "ratio", Bound: bar.AtLeast(100), Limit: limit,
		What: "CPU of asking the 3,000 rules one by one, by the evaluator that defines the form and that the index is tested against, over that of the index, median",
		Run: func(ctx context.Context, env *bar.Env) (bar.Measure, error) {
			return measure(ctx, env, func(c costs) float64 { return c.naive / c.many })
		},
	}, {
		Name: "policy-sigma-allocs", Part: "policy", Unit: "allocs", Bound: bar.AtMost(0), Limit: limit,
		What: "allocations of judging an event by 3,000 Sigma rules, the mean over that stream, the least of five passes",
		Run:  runAllocs,
	}, {
		Name: "policy-load-time", Part: "policy", Unit: "s", Bound: bar.AtMost(1.5), Limit: limit,
		What: "CPU of `testudo rule check` over all the public Sigma rules, the whole process, median",
		Run:  runLoadTime,
	}, {
		Name: "policy-load-memory", Part: "policy", Unit: "MB", Bound: bar.AtMost(150), Limit: limit,
		What: "peak resident memory of that process, median",
		Run:  runLoadMemory,
	}, {
		Name: "policy-falco-open-ns", Part: "policy", Unit: "ns", Bound: bar.AtMost(600), Limit: limit,
		What: "CPU of judging an uninteresting opening of a file, 14 fields, by the 93 public Falco rules, median",
		Run:  runFalcoOpen,
	}}
}

// files reads the rule files of a folder of the corpora.
func files(env *bar.Env, folder, suffix string) ([]policy.File, error) {
	var all []policy.File
	root := filepath.Join(env.Corpora, folder)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, suffix) {
			return err
		}
		text, err := os.ReadFile(path)
		name, _ := filepath.Rel(root, path)
		all = append(all, policy.File{Name: filepath.ToSlash(name), Text: text})
		return err
	})
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("no rules in %s", root)
	}
	if err != nil {
		return nil, fmt.Errorf("the corpora are missing: %w; name their folder by -corpora", err)
	}
	return all, nil
}

// conditions compiles rules and returns what the index is made of.
func conditions(d policy.Dialect, files []policy.File) ([]match.Rule, error) {
	rules, problems := d.Compile(files)
	if len(problems) > 0 {
		return nil, problems[0]
	}
	var all []match.Rule
	for _, r := range rules {
		if r.Condition != nil && !r.Disabled {
			all = append(all, match.Rule{Expr: r.Condition, Classes: r.On})
		}
	}
	return all, nil
}

// draw chooses n of the rules, evenly.
func draw(rules []match.Rule, n int) []match.Rule {
	drawn := make([]match.Rule, n)
	for i := range drawn {
		drawn[i] = rules[i*len(rules)/n]
	}
	return drawn
}

// stream is what the Sigma bars are measured with.
type stream struct {
	many, few []match.Rule
	events    []*signal.Event // that match none of the rules
}

func newStream(env *bar.Env) (*stream, error) {
	texts, err := files(env, "sigma", ".yml")
	if err != nil {
		return nil, err
	}
	rules, err := conditions(sigma.New(sigma.Config{}), texts)
	if err != nil {
		return nil, err
	}
	if len(rules) < 3000 {
		return nil, fmt.Errorf("%d Sigma rules, want 3,000", len(rules))
	}
	s := &stream{many: draw(rules, 3000), few: draw(rules, 30)}
	x := match.NewIndex(s.many)
	var m match.Matches
	all := streamtest.Events(2000)
	for i, e := range all {
		x.Match(e, &m)
		if i%20 == 0 { // the figure counts only if the answers are right
			for k, r := range s.many {
				if (match.Eval(r.Expr, e) == match.Yes) != slices.Contains(m.Fired, int32(k)) {
					return nil, fmt.Errorf("rule %d: the index and the evaluator do not agree", k)
				}
			}
		}
		if len(m.Fired)+len(m.Faulted) == 0 {
			s.events = append(s.events, e)
		}
	}
	if len(s.events) < len(all)/2 {
		return nil, fmt.Errorf("only %d of %d events match no rule", len(s.events), len(all))
	}
	return s, nil
}

// costs are nanoseconds of CPU an event.
type costs struct{ many, few, naive float64 }

// measure takes the ways to judge in turn, and makes a value of each round.
func measure(ctx context.Context, env *bar.Env, value func(costs) float64) (m bar.Measure, err error) {
	s, err := newStream(env)
	if err != nil {
		return m, err
	}
	many, few := match.NewIndex(s.many), match.NewIndex(s.few)
	var answers match.Matches
	passes := 20
	if env.Short {
		passes = 5
	}
	var values, manyCost, fewCost, naiveCost []float64
	for range env.Runs {
		if err := ctx.Err(); err != nil {
			return m, err
		}
		var c costs
		c.many = perEvent(s.events, passes, func(e *signal.Event) { many.Match(e, &answers) })
		c.few = perEvent(s.events, passes, func(e *signal.Event) { few.Match(e, &answers) })
		c.naive = perEvent(s.events, 2, func(e *signal.Event) {
			for _, r := range s.many {
				if r.Classes == nil || slices.Contains(r.Classes, e.Class) {
					match.Eval(r.Expr, e)
				}
			}
		})
		values = append(values, value(c))
		manyCost, fewCost, naiveCost = append(manyCost, c.many), append(fewCost, c.few), append(naiveCost, c.naive)
	}
	m.Value = bar.Median(values)
	m.Detail = fmt.Sprintf("%d events: 3,000 rules %.2f µs, 30 rules %.2f µs, one by one %.0f µs an event",
		len(s.events), bar.Median(manyCost)/1e3, bar.Median(fewCost)/1e3, bar.Median(naiveCost)/1e3)
	return m, nil
}

func runAllocs(_ context.Context, env *bar.Env) (m bar.Measure, err error) {
	s, err := newStream(env)
	if err != nil {
		return m, err
	}
	x := match.NewIndex(s.many)
	var answers match.Matches
	judge := func() {
		for _, e := range s.events {
			x.Match(e, &answers)
		}
	}
	judge()
	allocs := allocations(judge) / float64(len(s.events))
	m.Value = allocs
	m.Detail = fmt.Sprintf("%d events, %.4f allocations an event", len(s.events), allocs)
	return m, nil
}

func runFalcoOpen(ctx context.Context, env *bar.Env) (m bar.Measure, err error) {
	texts, err := files(env, "falco", ".yaml")
	if err != nil {
		return m, err
	}
	rules, err := conditions(falco.New(), texts)
	if err != nil {
		return m, err
	}
	x, e := match.NewIndex(rules), streamtest.FileOpen()
	var answers match.Matches
	if x.Match(e, &answers); len(answers.Fired)+len(answers.Faulted) > 0 {
		return m, fmt.Errorf("a rule fires on what should be of no interest")
	}
	events := slices.Repeat([]*signal.Event{e}, 20_000)
	var values []float64
	for range env.Runs {
		if err := ctx.Err(); err != nil {
			return m, err
		}
		values = append(values, perEvent(events, 5, func(e *signal.Event) { x.Match(e, &answers) }))
	}
	m.Value = bar.Median(values)
	m.Detail = fmt.Sprintf("%d conditions, runs of 100,000 events: %.0f ns", len(rules), values)
	return m, nil
}

// used is what a process has used.
type used struct {
	cpu  time.Duration
	peak int64 // resident bytes
}

// check runs `testudo rule check` and returns what it used.
func check(ctx context.Context, env *bar.Env, folder, want string) (u used, err error) {
	cmd := exec.CommandContext(ctx, env.Testudo, "rule", "check", folder)
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		return u, err
	}
	ended, sampled := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(sampled)
		for {
			u.peak = max(u.peak, highWater(cmd.Process.Pid))
			select {
			case <-ended:
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
	}()
	err = cmd.Wait()
	close(ended)
	<-sampled
	if err != nil {
		return u, fmt.Errorf("rule check %s: %w", folder, err)
	}
	if !strings.Contains(out.String(), want) {
		return u, fmt.Errorf("rule check %s did not say %q", folder, want)
	}
	u.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return u, nil
}

func runLoadTime(ctx context.Context, env *bar.Env) (m bar.Measure, err error) {
	var values []float64
	for range env.Runs {
		u, err := check(ctx, env, filepath.Join(env.Corpora, "sigma"), "rules")
		if err != nil {
			return m, err
		}
		values = append(values, u.cpu.Seconds())
	}
	m.Value = bar.Median(values)
	m.Detail = fmt.Sprintf("%.2f s", values)
	return m, nil
}

func runLoadMemory(ctx context.Context, env *bar.Env) (m bar.Measure, err error) {
	one := filepath.Join(env.Dir, "one.yaml")
	text := "id: one\ntitle: One\nseverity: low\non: http_activity\nwhen: http_request.url.path == \"/one\"\nthen: alert\n"
	if err := os.WriteFile(one, []byte(text), 0o600); err != nil {
		return m, err
	}
	var values, beyond []float64
	for range env.Runs {
		alone, err := check(ctx, env, one, "1 rules")
		if err != nil {
			return m, err
		}
		all, err := check(ctx, env, filepath.Join(env.Corpora, "sigma"), "rules")
		if err != nil {
			return m, err
		}
		values = append(values, float64(all.peak)/1e6)
		beyond = append(beyond, float64(all.peak-alone.peak)/1e6)
	}
	m.Value = bar.Median(values)
	m.Detail = fmt.Sprintf("%.0f MB, %.0f MB of it beyond what one rule takes", values, beyond)
	return m, nil
}
