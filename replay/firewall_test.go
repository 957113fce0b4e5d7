package replay_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/replay"
	"github.com/testudo-sec/testudo/signal"
)

// wall is a firewall that scores by paths: those in attacks have 5, all others nothing.
type wall struct {
	routes  []string
	clean   bool
	attacks []string
	doubt   string
	fails   int // at which question; 0: never
	asked   int
}

var errWall = errors.New("the firewall does not answer")

func (w *wall) Scope() ([]string, bool) { return w.routes, w.clean }
func (w *wall) Fields() []signal.Field {
	return []signal.Field{signal.FieldWAFScore, signal.FieldWAFThreshold, signal.FieldWAFRules, signal.FieldHTTPRequestURLPath}
}

func (w *wall) Find(_ context.Context, e *signal.Event) (replay.Finding, error) {
	if w.asked++; w.asked == w.fails {
		return replay.Finding{}, errWall
	}
	f := replay.Finding{Was: e.Strings(signal.FieldWAFRules), Doubt: w.doubt}
	score := int64(0)
	for _, path := range w.attacks {
		if strings.HasPrefix(e.Str(signal.FieldHTTPRequestURLPath), path) {
			score, f.Is = 5, []string{"99"}
		}
	}
	f.Flipped = (score >= 5) != (e.Int(signal.FieldWAFScore) >= 5)
	if f.Flipped && score == 0 {
		f.Gone = f.Was
	} else if f.Flipped {
		f.New = f.Is
	}
	e.SetInt(signal.FieldWAFScore, score)
	return f, nil
}

// kept has the queries of requests by their paths.
type kept map[string]string

func (k kept) Restore(e *signal.Event) bool {
	query, ok := k[e.Str(signal.FieldHTTPRequestURLPath)]
	if ok {
		e.SetMasked(signal.FieldHTTPRequestURLQueryString, query, e.RecordedStr(signal.FieldHTTPRequestURLQueryString))
	}
	return ok
}

// inspected are requests that the firewall looked at; /sql was an attack to it.
func inspected(start time.Time, requests ...string) []*signal.Event {
	out := shop(start, requests...)
	for _, e := range out {
		e.SetString(signal.FieldHTTPRequestVersion, "1.1")
		e.SetMasked(signal.FieldHTTPRequestURLQueryString, "q=secret", "q=*")
		e.SetInt(signal.FieldWAFThreshold, 5)
		e.SetInt(signal.FieldWAFScore, 0)
		if strings.HasPrefix(e.Str(signal.FieldHTTPRequestURLPath), "/sql") {
			e.SetInt(signal.FieldWAFScore, 5)
			e.SetStrings(signal.FieldWAFRules, []string{"42"})
		}
	}
	return out
}

func scored(least int64) match.Expr {
	return match.Int(match.Operand{Field: signal.FieldWAFScore}, match.IntRange{Min: least, Max: 1 << 40})
}

func TestWhatIfFirewall(t *testing.T) {
	start := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	events := inspected(start, "/sql 203.0.113.1", "/a 203.0.113.1", "/new 203.0.113.2", "/new 203.0.113.2", "/sql/b 203.0.113.3")
	other := inspected(start.Add(time.Minute), "/sql 203.0.113.4")[0]
	other.SetString(signal.FieldEdgeRoute, "blog")
	other.Seq = 90
	answer := inspected(start.Add(2*time.Minute), "/sql 203.0.113.1")[0] // a response has the findings of its request, and is no other one
	answer.Parent, answer.Seq = events[0].ID, 91
	uninspected := shop(start.Add(3*time.Minute), "/sql 203.0.113.5")[0]
	uninspected.Seq = 92
	h := lakeOf(t, append(events, other, answer, uninspected), 1000)
	attack := ruleOf("attack", signal.Deny, match.And{match.Exists(signal.FieldHTTPRequestVersion), scored(5)})
	live := setOf(t, attack, ruleOf("a", signal.Alert, pathHas("/a")))
	ask := func(w *wall, q replay.WhatIfQuery) *replay.Report {
		t.Helper()
		q.Firewall = w
		r, err := replay.WhatIf(t.Context(), h, live, live, q)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}

	r := ask(&wall{clean: true, attacks: []string{"/new", "/sql/b"}}, replay.WhatIfQuery{})
	if diff := cmp.Diff(replay.Counts{replay.NewlyBlocked: 2, replay.NoLongerBlocked: 2}, r.Counts); diff != "" || r.Firewall.Requests != 6 || !r.Exact {
		t.Errorf("%s%+v %+v", diff, r, r.Firewall)
	}
	want := map[string]replay.ByOne{
		"42": {Name: "42", Counts: replay.Counts{replay.NoLongerBlocked: 2}, Before: 3},
		"99": {Name: "99", Counts: replay.Counts{replay.NewlyBlocked: 2}, After: 3},
	}
	for _, one := range r.Firewall.ByRule {
		if diff := cmp.Diff(want[one.Name], one); diff != "" {
			t.Errorf("rule %s: %s", one.Name, diff)
		}
	}
	if len(r.Examples) != 4 || !strings.Contains(r.Examples[0].Sentence, "scored 0 of 5, would score 5 of 5, with 99") || strings.Contains(r.Examples[0].Sentence, "secret") {
		t.Errorf("%+v", r.Examples)
	}
	// Of one route, and of what was found alone.
	r = ask(&wall{routes: []string{"blog"}, clean: true}, replay.WhatIfQuery{})
	if r.Firewall.Requests != 1 || r.Counts[replay.NoLongerBlocked] != 1 || len(r.ByRoute) != 1 || r.ByRoute[0].Name != "blog" {
		t.Errorf("%+v %+v", r, r.Firewall)
	}
	if r = ask(&wall{attacks: []string{"/new"}}, replay.WhatIfQuery{}); r.Firewall.Requests != 3 || r.Counts[replay.NewlyBlocked] != 0 || r.Counts[replay.NoLongerBlocked] != 3 {
		t.Errorf("%+v %+v", r, r.Firewall)
	}
	// What is uncertain is counted, and so are masked values where a rule reads them and the firewall finds something else.
	live = setOf(t, attack, ruleOf("query", signal.Deny, match.And{match.Not{Part: scored(5)}, match.Text(match.Operand{Field: signal.FieldHTTPRequestURLQueryString}, match.OpContains, false, "secret")}))
	r = ask(&wall{clean: true, attacks: []string{"/sql/b"}, doubt: "values were masked"}, replay.WhatIfQuery{})
	if len(r.Inexact) != 2 || r.Inexact[0].Events != 2 || !strings.Contains(r.Inexact[0].Reason, "query_string was masked when it was recorded, and is read by query") ||
		r.Inexact[1] != (replay.Reason{Reason: "values were masked", Events: 6}) || r.Firewall.Uncertain != 6 {
		t.Errorf("%+v", r.Inexact)
	}
	// An error ends it.
	if _, err := replay.WhatIf(t.Context(), h, live, live, replay.WhatIfQuery{Firewall: &wall{clean: true, fails: 3}}); !errors.Is(err, errWall) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := replay.WhatIf(ctx, h, live, live, replay.WhatIfQuery{Firewall: &wall{clean: true}}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestWhatIfFirewallWindows: rules that count what the firewall finds count what the changed one would have found, also before the time that is asked about.
func TestWhatIfFirewallWindows(t *testing.T) {
	start := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	h := lakeOf(t, inspected(start, "/new 203.0.113.1", "/new 203.0.113.1", "/new 203.0.113.1", "/new 203.0.113.2"), 1000)
	attack := ruleOf("attack", signal.Alert, scored(5))
	live := setOf(t, attack, counting("often", 3, "attack"))
	r, err := replay.WhatIf(t.Context(), h, live, live, replay.WhatIfQuery{Since: start.Add(2 * time.Second), Firewall: &wall{clean: true, attacks: []string{"/new"}}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(replay.Counts{replay.NewlyBlocked: 1, replay.NewlyAlerted: 1}, r.Counts); diff != "" || r.Firewall.Requests != 2 || !r.Exact {
		t.Errorf("%s%+v %+v", diff, r, r.Firewall)
	}
}

// TestWhatIfKept: rules about masked fields see requests that were kept, and those alone are not masked any more.
func TestWhatIfKept(t *testing.T) {
	start := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	h := lakeOf(t, inspected(start, "/a 203.0.113.1", "/b 203.0.113.1", "/c 203.0.113.1"), 1000)
	live := setOf(t)
	changed := setOf(t, ruleOf("query", signal.Deny, match.Text(match.Operand{Field: signal.FieldHTTPRequestURLQueryString}, match.OpContains, false, "secret")))
	for _, c := range []struct {
		kept    replay.Kept
		blocked int64
		masked  int64
	}{{nil, 0, 3}, {kept{}, 0, 3}, {kept{"/a": "q=secret", "/b": "q=harmless"}, 1, 1}, {kept{"/a": "q=secret", "/b": "q=secret", "/c": "q=secret"}, 3, 0}} {
		r, err := replay.WhatIf(t.Context(), h, live, changed, replay.WhatIfQuery{Kept: c.kept})
		if err != nil {
			t.Fatal(err)
		}
		masked := int64(0)
		for _, reason := range r.Inexact {
			masked += reason.Events
		}
		if r.Counts[replay.NewlyBlocked] != c.blocked || masked != c.masked || r.Exact != (c.masked == 0) {
			t.Errorf("%v: %+v", c.kept, r)
		}
		for _, e := range r.Examples {
			if strings.Contains(e.Sentence, "secret") {
				t.Errorf("a value is told: %s", e.Sentence)
			}
		}
	}
}
