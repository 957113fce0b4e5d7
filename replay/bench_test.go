package replay_test

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/replay"
	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
	"github.com/testudo-sec/testudo/store/lake"
	"github.com/testudo-sec/testudo/store/storetest"
)

// requests returns a lake with n requests to an edge over two hours.
func requests(b *testing.B, n int) *store.History {
	b.Helper()
	l, err := lake.Open(b.TempDir(), lake.DefaultConfig(), slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	start := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	var e signal.Event
	for hour := range 2 {
		p := store.Partition{Class: signal.ClassHTTPActivity, Hour: store.HourOf(start.UnixNano()) + int64(hour)}
		part, err := l.Create(p)
		if err != nil {
			b.Fatal(err)
		}
		for i := range n / 2 {
			storetest.HTTPEvent(&e, p.Start().Add(time.Duration(i)*time.Hour/time.Duration(n)), uint64(hour*n/2+i+1))
			e.SetString(signal.FieldHTTPRequestURLPath, fmt.Sprintf("/shop/item/%d", i*7919%5000))
			e.SetInt(signal.FieldHTTPResponseCode, []int64{200, 200, 200, 200, 304, 404, 200, 403, 200, 500}[i%10])
			if err := part.Append(&e); err != nil {
				b.Fatal(err)
			}
		}
		if err := part.Commit(uint64(hour+1), uint64(hour+1)); err != nil {
			b.Fatal(err)
		}
	}
	return store.ReadOnly(emptyLog{}, l)
}

// BenchmarkHunt searches by a selective condition on two columns. ns/event is what an event costs.
func BenchmarkHunt(b *testing.B) {
	const n = 400_000
	h := requests(b, n)
	x := match.And{match.Text(match.Operand{Field: signal.FieldHTTPRequestURLPath}, match.OpPrefix, false, "/shop/item/490"),
		match.Int(match.Operand{Field: signal.FieldHTTPResponseCode}, match.IntIs(403))}
	c := match.NewCondition(x)
	for name, c := range map[string]replay.Condition{"columns": c, "events": plain{c}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				stats, err := replay.Hunt(b.Context(), h, c, replay.Query{Limit: replay.MaxLimit}, func(*signal.Event) bool { return true })
				if err != nil || stats.Events != n || stats.Returned == 0 || stats.More {
					b.Fatal(stats, err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/event")
		})
	}
}

// ruleSet returns rules as people write them for an edge: texts in paths, agents and headers, and numbers.
func ruleSet(b *testing.B, n int, salt string) *policy.Set {
	b.Helper()
	var rules []*policy.Rule
	path, agent := match.Operand{Field: signal.FieldHTTPRequestURLPath}, match.Operand{Field: signal.FieldHTTPRequestUserAgent}
	for i := range n {
		var x match.Expr
		word := fmt.Sprintf("%s-%d", salt, i)
		switch i % 5 {
		case 0:
			x = match.And{match.Text(path, match.OpPrefix, false, "/"+word), match.Int(match.Operand{Field: signal.FieldHTTPResponseCode}, match.IntOrder(match.GreaterEqual, 400)...)}
		case 1:
			x = match.Text(agent, match.OpContains, true, word, word+"bot")
		case 2:
			x = match.And{match.Text(path, match.OpContains, true, word, "/."+word), match.Not{Part: match.Text(agent, match.OpPrefix, false, "Mozilla")}}
		case 3:
			x = match.And{match.Text(match.Operand{Field: signal.FieldHTTPRequestHTTPMethod}, match.OpEqual, false, "POST", "PUT"), match.Text(path, match.OpSuffix, false, word+".php")}
		default:
			x = match.Or{match.Text(match.Operand{Field: signal.FieldHTTPRequestHeaderNames}, match.OpEqual, false, "x-"+word),
				match.And{match.Text(path, match.OpEqual, false, "/shop/item/"+fmt.Sprint(i)), match.Int(match.Operand{Field: signal.FieldHTTPResponseCode}, match.IntIs(403))}}
		}
		rules = append(rules, &policy.Rule{ID: fmt.Sprintf("rule-%d", i), Title: word, Then: signal.Deny, When: match.String(x), Condition: x, On: []signal.Class{signal.ClassHTTPActivity}})
	}
	set, err := policy.NewSet(rules)
	if err != nil {
		b.Fatal(err)
	}
	return set
}

// BenchmarkWhatIf replays by 200 rules of which some, or all, have changed; and judges every event again.
func BenchmarkWhatIf(b *testing.B) {
	const n = 400_000
	h := requests(b, n)
	live, other := ruleSet(b, 200, "word"), ruleSet(b, 200, "other")
	one := slices.Clone(live.Rules())
	one[7] = other.Rules()[7]
	few, err := policy.NewSet(one)
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		changed *policy.Set
	}{{"one changed", few}, {"all changed", other}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				r, err := replay.WhatIf(b.Context(), h, live, c.changed, replay.WhatIfQuery{})
				if err != nil || r.Events != n {
					b.Fatal(r, err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/event")
		})
	}
	b.Run("verify", func(b *testing.B) {
		for b.Loop() {
			if _, err := replay.Verify(b.Context(), h, []*policy.Set{live}, replay.VerifyQuery{}); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/event")
	})
}

// BenchmarkVerifyInOrder judges every event again in the order of their numbers, because a rule counts.
func BenchmarkVerifyInOrder(b *testing.B) {
	const n = 400_000
	h := requests(b, n)
	rules := slices.Clone(ruleSet(b, 200, "word").Rules())
	rules[0] = ruleOf("item", signal.Alert, match.Text(match.Operand{Field: signal.FieldHTTPRequestURLPath}, match.OpPrefix, false, "/shop/item/490"))
	rules[0].Silent = true
	set := setOf(b, append(rules, counting("many", 5, "item"))...)
	for b.Loop() {
		if _, err := replay.Verify(b.Context(), h, []*policy.Set{set}, replay.VerifyQuery{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/event")
}
