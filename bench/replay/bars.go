// Package replay measures questions to the past: searches and replays over a lake.
package replay

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/replay"
	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
	"github.com/testudo-sec/testudo/store/lake"
	"github.com/testudo-sec/testudo/store/storetest"

	"github.com/testudo-sec/testudo/bench/bar"
	"github.com/testudo-sec/testudo/bench/proc"
)

// Bars lists the bars of this part.
func Bars() []bar.Bar {
	return []bar.Bar{{
		Name: "replay-hunt-events-per-core", Part: "replay", Unit: "events/s", Bound: bar.AtLeast(2_000_000), Limit: 10 * time.Minute,
		What: "events that `testudo hunt` looks at in a second of CPU, for a condition on path and status that chooses one in 4,500 of the requests in a lake, which are read whole and counted, median",
		Run:  runHunt,
	}, {
		Name: "replay-whatif-events-per-core", Part: "replay", Unit: "events/s", Bound: bar.AtLeast(300_000), Limit: 10 * time.Minute,
		What: "events that `testudo whatif` goes through in a second of CPU with 200 rules, the least of: one rule changed, all of them changed, and every recorded verdict judged again; the differences are counted, medians",
		Run:  runWhatIf,
	}}
}

// requests is a lake with a day of requests to a shop.
type requests struct {
	history *store.History
	n       int
	rare    int // requests for one of the paths of the hunt that were refused
}

const (
	paths   = 5000
	perHour = 100_000
)

// emptyLog is a bus on which nothing waits.
type emptyLog struct{}

func (emptyLog) Bounds(context.Context) (first, last uint64, err error) { return 1, 0, nil }
func (emptyLog) Trim(context.Context, uint64) error                     { return nil }
func (emptyLog) Read(context.Context, uint64, func(uint64, []byte) bool) error {
	return nil
}

// path and status of the i-th request of an hour.
func path(i int) string { return fmt.Sprintf("/shop/item/%d", i*7919%paths) }
func status(i int) int64 {
	return []int64{200, 200, 304, 200, 200, 404, 200, 302, 200, 403}[i/paths%10]
}

func makeRequests(ctx context.Context, env *bar.Env, digest string) (*requests, error) {
	l, err := lake.Open(env.Dir, lake.DefaultConfig(), slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	hours := 20
	if env.Short {
		hours = 5
	}
	r := &requests{history: store.ReadOnly(emptyLog{}, l)}
	first := time.Now().Add(-time.Duration(hours) * time.Hour).Truncate(time.Hour)
	allowed, _ := signal.Allow.Disposition()
	var e signal.Event
	for h := range hours {
		p := store.Partition{Class: signal.ClassHTTPActivity, Hour: store.HourOf(first.UnixNano()) + int64(h)}
		part, err := l.Create(p)
		if err != nil {
			return nil, err
		}
		for i := range perHour {
			if i%4096 == 0 && ctx.Err() != nil {
				return nil, ctx.Err()
			}
			r.n++
			storetest.HTTPEvent(&e, p.Start().Add(time.Duration(i)*time.Hour/perHour), uint64(r.n))
			e.SetString(signal.FieldHTTPRequestURLPath, path(i))
			e.SetInt(signal.FieldHTTPResponseCode, status(i))
			e.SetString(signal.FieldPolicyUID, digest)
			e.SetInt(signal.FieldDispositionID, allowed)
			if hunted(path(i)) && status(i) == 403 {
				r.rare++
			}
			if err := part.Append(&e); err != nil {
				return nil, err
			}
		}
		if err := part.Commit(uint64(h+1), uint64(h+1)); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func hunted(path string) bool { return len(path) >= 13 && path[:13] == "/shop/item/77" }

// rate measures the events a second of CPU that a way through n events takes, the median of the runs.
func rate(env *bar.Env, n int, way func() error) (float64, error) {
	var rates []float64
	for range max(env.Runs, 3) {
		before, err := proc.CPU(os.Getpid())
		if err != nil {
			return 0, err
		}
		spent, times := time.Duration(0), 0
		for spent < time.Second/2 { // the clock of /proc ticks a hundred times a second
			if err := way(); err != nil {
				return 0, err
			}
			after, err := proc.CPU(os.Getpid())
			if err != nil {
				return 0, err
			}
			spent, times = after-before, times+1
		}
		rates = append(rates, float64(times)*float64(n)/spent.Seconds())
	}
	return bar.Median(rates), nil
}

func runHunt(ctx context.Context, env *bar.Env) (m bar.Measure, err error) {
	r, err := makeRequests(ctx, env, "")
	if err != nil {
		return m, err
	}
	c := match.NewCondition(match.And{
		match.Text(match.Operand{Field: signal.FieldHTTPRequestURLPath}, match.OpPrefix, false, "/shop/item/77"),
		match.Int(match.Operand{Field: signal.FieldHTTPResponseCode}, match.IntIs(403)),
	})
	m.Value, err = rate(env, r.n, func() error {
		found := 0
		stats, err := replay.Hunt(ctx, r.history, c, replay.Query{Limit: replay.MaxLimit}, func(*signal.Event) bool { found++; return true })
		if err == nil && (found != min(r.rare, replay.MaxLimit) || stats.Inexact != nil) {
			err = fmt.Errorf("%d of %d requests found, stats %+v", found, r.rare, stats)
		}
		return err
	})
	m.Detail = fmt.Sprintf("%d events in %d hours, %d found", r.n, r.n/perHour, r.rare)
	return m, err
}

// rules are as people write them for an edge: texts in paths, agents and header names, and numbers. Some fire.
func rules(n int, salt string) []*policy.Rule {
	field := func(f signal.Field) match.Operand { return match.Operand{Field: f} }
	url, agent := field(signal.FieldHTTPRequestURLPath), field(signal.FieldHTTPRequestUserAgent)
	var out []*policy.Rule
	for i := range n {
		word := fmt.Sprintf("%s-%d", salt, i)
		var x match.Expr
		switch i % 5 {
		case 0:
			x = match.And{match.Text(url, match.OpPrefix, false, "/"+word), match.Int(field(signal.FieldHTTPResponseCode), match.IntOrder(match.GreaterEqual, 400)...)}
		case 1:
			x = match.Text(agent, match.OpContains, true, word, word+"bot")
		case 2:
			x = match.And{match.Text(url, match.OpContains, true, word, "/."+word), match.Not{Part: match.Text(agent, match.OpPrefix, false, "Mozilla")}}
		case 3:
			x = match.And{match.Text(field(signal.FieldHTTPRequestHTTPMethod), match.OpEqual, false, "POST", "PUT"), match.Text(url, match.OpSuffix, false, word+".php")}
		default:
			x = match.Or{match.Text(field(signal.FieldHTTPRequestHeaderNames), match.OpEqual, false, "x-"+word),
				match.And{match.Text(url, match.OpEqual, false, path(i)), match.Text(agent, match.OpPrefix, false, salt)}}
		}
		out = append(out, &policy.Rule{ID: fmt.Sprintf("rule-%d", i), Title: word, Then: signal.Deny, Severity: signal.SeverityHigh,
			On: []signal.Class{signal.ClassHTTPActivity}, When: match.String(x), Condition: x})
	}
	return out
}

func runWhatIf(ctx context.Context, env *bar.Env) (m bar.Measure, err error) {
	live, err := policy.NewSet(rules(200, "word"))
	if err != nil {
		return m, err
	}
	r, err := makeRequests(ctx, env, live.Digest())
	if err != nil {
		return m, err
	}
	all, err := policy.NewSet(rules(200, "curl"))
	if err != nil {
		return m, err
	}
	some := slices.Clone(live.Rules())
	some[slices.IndexFunc(some, func(r *policy.Rule) bool { return r.ID == "rule-4" })] = all.Rule("rule-4")
	one, err := policy.NewSet(some)
	if err != nil {
		return m, err
	}
	whatIf := func(changed *policy.Set, least int64) func() error {
		return func() error {
			report, err := replay.WhatIf(ctx, r.history, live, changed, replay.WhatIfQuery{})
			if err == nil && (report.Counts[replay.NewlyBlocked] < least || report.Counts.Total() != report.Counts[replay.NewlyBlocked] || report.Events != int64(r.n)) {
				err = fmt.Errorf("%d events, differences %+v", report.Events, report.Counts)
			}
			return err
		}
	}
	var figures [3]float64
	for i, way := range []func() error{whatIf(one, 1), whatIf(all, 10), func() error {
		v, err := replay.Verify(ctx, r.history, []*policy.Set{live}, replay.VerifyQuery{})
		if err == nil && v.Same != int64(r.n) {
			err = fmt.Errorf("of %d recorded verdicts %d came out the same: %+v", r.n, v.Same, v)
		}
		return err
	}} {
		if figures[i], err = rate(env, r.n, way); err != nil {
			return m, err
		}
		env.Progress("%.0f events/s", figures[i])
	}
	m.Value = min(figures[0], figures[1], figures[2])
	m.Detail = fmt.Sprintf("%d events: one rule changed %.1f million a second, all changed %.2f, every verdict judged again %.2f", r.n, figures[0]/1e6, figures[1]/1e6, figures[2]/1e6)
	return m, nil
}
