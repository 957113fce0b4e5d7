package replay_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/policy/window"
	"github.com/testudo-sec/testudo/replay"
	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
)

func setOf(t testing.TB, rules ...*policy.Rule) *policy.Set {
	t.Helper()
	set, err := policy.NewSet(rules)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func ruleOf(id string, then signal.Decision, x match.Expr) *policy.Rule {
	return &policy.Rule{ID: id, Title: "title of " + id, Then: then, Severity: signal.SeverityLow, When: match.String(x), Condition: x,
		Dialect: "test", File: "r.yaml", Line: 1}
}

func pathHas(text string) match.Expr {
	return match.Text(match.Operand{Field: signal.FieldHTTPRequestURLPath}, match.OpContains, false, text)
}

func counting(id string, n int, of ...string) *policy.Rule {
	c := &policy.Correlation{Kind: window.Count, Within: 10 * time.Minute, Tests: []window.Test{{Op: window.AtLeast, Than: float64(n)}},
		GroupBy: []policy.Reading{{Name: "client", From: policy.Operand{Field: signal.FieldSrcEndpointIP}}}}
	for _, name := range of {
		c.Of = append(c.Of, policy.Ref{Rule: name})
	}
	return &policy.Rule{ID: id, Title: id, Then: signal.Deny, Severity: signal.SeverityHigh, Correlation: c, When: c.String(), Dialect: "test", File: "r.yaml", Line: 9}
}

// shop are requests of which the i-th has the path, comes from the client and was judged as the i-th.
func shop(start time.Time, requests ...string) []*signal.Event {
	var out []*signal.Event
	for i, r := range requests {
		path, client, _ := strings.Cut(r, " ")
		e := new(signal.Event)
		e.Time = start.Add(time.Duration(i) * time.Second).UnixNano()
		e.ID, e.Class, e.Plane, e.Seq = signal.NewID(time.Unix(0, e.Time)), signal.ClassHTTPActivity, signal.PlaneEdge, uint64(i+1)
		e.SetString(signal.FieldHTTPRequestHTTPMethod, "GET")
		e.SetString(signal.FieldHTTPRequestURLPath, path)
		e.SetString(signal.FieldEdgeRoute, "shop")
		e.SetString(signal.FieldEdgeMode, "block")
		e.SetString(signal.FieldDstEndpointHostname, "shop.example")
		e.SetIP(signal.FieldSrcEndpointIP, netip.MustParseAddr(client))
		out = append(out, e)
	}
	return out
}

func TestWhatIf(t *testing.T) {
	start := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	events := shop(start, "/a 203.0.113.1", "/admin 203.0.113.1", "/admin 203.0.113.2", "/old 203.0.113.1", "/both 203.0.113.3", "/a 203.0.113.1")
	detect := shop(start.Add(time.Minute), "/admin 203.0.113.9")[0]
	detect.SetString(signal.FieldEdgeMode, "detect")
	detect.SetString(signal.FieldEdgeRoute, "blog")
	detect.Seq = 99
	blocked := shop(start.Add(2*time.Minute), "/admin 203.0.113.8")[0]
	blocked.SetString(signal.FieldEdgeError, "blocklist")
	blocked.SetInt(signal.FieldCount, 40)
	blocked.Seq = 100
	h := lakeOf(t, append(events, detect, blocked), 1000)

	both := ruleOf("both", signal.Alert, pathHas("/both"))
	live := setOf(t, ruleOf("old", signal.Alert, pathHas("/old")), both)
	admin := ruleOf("admin", signal.Deny, pathHas("/admin"))
	admin.Sentence = func(e *signal.Event) string {
		return "the admin pages from " + e.IP(signal.FieldSrcEndpointIP).String()
	}
	harder := *both
	harder.Then = signal.Deny
	changed := setOf(t, admin, &harder)

	r, err := replay.WhatIf(t.Context(), h, live, changed, replay.WhatIfQuery{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(replay.RuleChanges{Added: []string{"admin"}, Removed: []string{"old"}, Changed: []string{"both"}}, r.Rules); diff != "" {
		t.Error(diff)
	}
	// On the route that only detects the rule alerts; the sender that was blocked is no more blocked than before, and
	// only told of newly.
	want := replay.Counts{replay.NewlyBlocked: 3, replay.NoLongerCaught: 1, replay.NewlyAlerted: 2}
	if diff := cmp.Diff(want, r.Counts); diff != "" || r.Events != 8 || r.Judged != 6 {
		t.Errorf("events %d, judged %d (-want +got):\n%s", r.Events, r.Judged, diff)
	}
	rows := map[string]replay.Counts{}
	for _, table := range [][]replay.ByOne{r.ByRule, r.ByRoute, r.ByAsset, r.ByClient} {
		for _, one := range table {
			rows[one.Name] = one.Counts
		}
	}
	wantRows := map[string]replay.Counts{
		"admin": {replay.NewlyBlocked: 2, replay.NewlyAlerted: 2}, "both": {replay.NewlyBlocked: 1}, "old": {replay.NoLongerCaught: 1},
		"shop": {replay.NewlyBlocked: 3, replay.NoLongerCaught: 1, replay.NewlyAlerted: 1}, "blog": {replay.NewlyAlerted: 1}, "shop.example": want,
		"203.0.113.1": {replay.NewlyBlocked: 1, replay.NoLongerCaught: 1}, "203.0.113.2": {replay.NewlyBlocked: 1},
		"203.0.113.3": {replay.NewlyBlocked: 1}, "203.0.113.9": {replay.NewlyAlerted: 1}, "203.0.113.8": {replay.NewlyAlerted: 1},
	}
	if diff := cmp.Diff(wantRows, rows); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if i := slices.IndexFunc(r.ByRule, func(o replay.ByOne) bool { return o.Name == "both" }); r.ByRule[i].Before != 1 || r.ByRule[i].After != 1 || r.ByRule[i].Title != "title of both" {
		t.Errorf("rule both: %+v", r.ByRule[i])
	}
	first := r.Examples[0]
	if first.Kind != replay.NewlyBlocked || first.Rule != "admin" || first.Event != events[2].ID.String() || first.Before != signal.Allow || first.After != signal.Deny ||
		first.Sentence != "GET /admin of 203.0.113.2: allow before, deny after: the admin pages from 203.0.113.2" {
		t.Errorf("first example %+v", first)
	}
	if r.Exact || len(r.Inexact) != 1 || r.Inexact[0].Events != 40 {
		t.Errorf("inexact %+v", r.Inexact)
	}

	r, err = replay.WhatIf(t.Context(), h, live, changed, replay.WhatIfQuery{Enforce: []string{"blog"}})
	if err != nil || r.Counts[replay.NewlyBlocked] != 4 {
		t.Errorf("with the route enforced: %+v, error %v", r.Counts, err)
	}
	r, err = replay.WhatIf(t.Context(), h, live, changed, replay.WhatIfQuery{Planes: []signal.Plane{signal.PlaneKernel}})
	if err != nil || r.Counts.Total() != 0 {
		t.Errorf("of another plane: %+v, error %v", r.Counts, err)
	}
	r, err = replay.WhatIf(t.Context(), h, live, live, replay.WhatIfQuery{})
	if err != nil || r.Counts.Total() != 0 || !r.Exact || r.Examples == nil || r.Inexact == nil {
		t.Errorf("nothing changed: %+v, error %v", r, err)
	}
	if _, err = replay.WhatIf(t.Context(), h, live, changed, replay.WhatIfQuery{Since: start, Until: start}); err == nil {
		t.Error("an empty range was accepted")
	}
}

// TestWhatIfWindows: what a rule makes of several events is replayed from before the time that was asked for.
func TestWhatIfWindows(t *testing.T) {
	start := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	var requests []string
	for i := range 60 { // a client that tries every minute thirty times, and one that tries once
		requests = append(requests, []string{"/login 203.0.113.1", "/a 203.0.113.2"}[i%2])
	}
	events := shop(start, requests...)
	for i, e := range events {
		e.Time = start.Add(time.Duration(i/2) * time.Minute).UnixNano()
	}
	h := lakeOf(t, events, 20)
	login := ruleOf("login", signal.Alert, pathHas("/login"))
	login.Silent = true
	live, changed := setOf(t, login, counting("brute", 5, "login")), setOf(t, login, counting("brute", 8, "login"))
	r, err := replay.WhatIf(t.Context(), h, live, changed, replay.WhatIfQuery{})
	// Five within ten minutes complete at minutes 4, 9, ..., 29; eight at 7, 15, 23.
	if want := (replay.Counts{replay.NoLongerBlocked: 6, replay.NewlyBlocked: 3}); err != nil || !cmp.Equal(want, r.Counts) || !r.Exact {
		t.Errorf("counts %+v, inexact %+v, error %v", r.Counts, r.Inexact, err)
	}
	r, err = replay.WhatIf(t.Context(), h, live, changed, replay.WhatIfQuery{Since: start.Add(-time.Second)})
	if err != nil || r.Exact || !strings.Contains(r.Inexact[0].Reason, "windows of rule brute begin empty") {
		t.Errorf("from before the first record: inexact %+v, error %v", r.Inexact, err)
	}
	watched := ruleOf("watched", signal.Alert, pathHas("/a"))
	quiet := counting("quiet", 5, "login")
	quiet.Then = signal.Alert
	r, err = replay.WhatIf(t.Context(), h, setOf(t, login, quiet), setOf(t, login, quiet, watched), replay.WhatIfQuery{Since: start.Add(-time.Second)})
	if err != nil || !r.Exact {
		t.Errorf("beside a correlation that only alerts: inexact %+v, error %v", r.Inexact, err)
	}
	harmless := setOf(t, login, counting("brute", 5, "login"), ruleOf("a", signal.Alert, pathHas("/a")))
	r, err = replay.WhatIf(t.Context(), h, live, harmless, replay.WhatIfQuery{})
	if want := (replay.Counts{replay.NewlyAlerted: 30}); err != nil || !cmp.Equal(want, r.Counts) {
		t.Errorf("beside a correlation that stays: %+v, error %v", r.Counts, err)
	}
	fed := *login
	fed.Condition, fed.When = pathHas("/"), "everything"
	r, err = replay.WhatIf(t.Context(), h, live, setOf(t, &fed, counting("brute", 5, "login")), replay.WhatIfQuery{})
	if want := (replay.Counts{replay.NewlyBlocked: 6}); err != nil || !cmp.Equal(want, r.Counts) {
		t.Errorf("with another rule that feeds it: %+v, error %v", r.Counts, err)
	}
}

// TestWhatIfMasked: values that were masked make the answer inexact for those rules that read them.
func TestWhatIfMasked(t *testing.T) {
	start := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	events := shop(start, "/a 203.0.113.1", "/b 203.0.113.1", "/c 203.0.113.1")
	events[0].SetMasked(signal.FieldHTTPRequestURLQueryString, "q=union select", "q=***")
	events[1].SetMasked(signal.FieldHTTPRequestURLQueryString, "q=tent", "q=***")
	h := lakeOf(t, events, 1000)
	sqli := ruleOf("sqli", signal.Deny, match.Text(match.Operand{Field: signal.FieldHTTPRequestURLQueryString}, match.OpContains, false, "union"))
	for _, c := range []struct {
		name    string
		changed *policy.Set
		want    []replay.Reason
	}{
		{"reads it", setOf(t, sqli), []replay.Reason{{Reason: "http_request.url.query_string was masked when it was recorded, and is read by sqli", Events: 2}}},
		{"reads something else", setOf(t, ruleOf("b", signal.Deny, pathHas("/b"))), []replay.Reason{}},
	} {
		r, err := replay.WhatIf(t.Context(), h, setOf(t), c.changed, replay.WhatIfQuery{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, r.Inexact); diff != "" || r.Exact != (len(c.want) == 0) {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// TestWhatIfAgrees holds what a replay finds, which looks at columns and judges few events, against judging every event
// by both sets in the order of their numbers, over random rules, changes and events.
func TestWhatIfAgrees(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	w := world{r: rand.New(rand.NewPCG(seed, 2)), rules: true}
	start := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	var events []*signal.Event
	for i := range 800 {
		e := w.event(i, start)
		e.Seq = uint64(i + 1)
		e.SetString(signal.FieldEdgeMode, pick(w, []string{"block", "detect"}))
		events = append(events, e)
	}
	h := lakeOf(t, events, 400)
	differences := int64(0)
	for round := range 24 * thorough() {
		var live, changed []*policy.Rule
		for i := range 8 {
			id := fmt.Sprintf("r%d", i)
			r := ruleOf(id, signal.Decision(1+w.r.IntN(4)), match.And{w.expr(1), w.expr(2)})
			r.When = fmt.Sprint(round, i)
			if w.r.IntN(3) == 0 {
				r.On = []signal.Class{signal.ClassHTTPActivity}
			}
			if w.r.IntN(6) == 0 {
				r.Silent = true
			}
			other := *r
			switch w.r.IntN(6) {
			case 0:
				other.Condition, other.When = w.expr(2), fmt.Sprint(round, i, "changed")
			case 1:
				other.Then = signal.Decision(1 + w.r.IntN(4))
			}
			live, changed = append(live, r), append(changed, &other)
		}
		if round%3 == 0 {
			live = append(live, counting("many", 2+w.r.IntN(3), "r0", "r1"))
			changed = append(changed, counting("many", 2+w.r.IntN(3), "r0", "r1"))
		}
		a, b := setOf(t, live...), setOf(t, changed...)
		want := judgeAll(events, a, b)
		r, err := replay.WhatIf(t.Context(), h, a, b, replay.WhatIfQuery{})
		if err != nil {
			t.Fatal(err)
		}
		if got := int64(r.Counts[replay.NewlyBlocked] + r.Counts[replay.NoLongerBlocked] + r.Counts[replay.NewlyAlerted] + r.Counts[replay.NoLongerCaught]); got > 0 {
			differences += got
		}
		got := [4]int64{r.Counts[replay.NewlyBlocked], r.Counts[replay.NoLongerBlocked], r.Counts[replay.NewlyAlerted], r.Counts[replay.NoLongerCaught]}
		if got != want {
			t.Fatalf("round %d: newly blocked, no longer blocked, newly alerted, no longer caught: %v, judging all gives %v", round, got, want)
		}
	}
	if differences == 0 {
		t.Error("no change made a difference")
	}
}

// judgeAll judges every event by both sets as [replay.WhatIf] is defined.
func judgeAll(events []*signal.Event, live, changed *policy.Set) (out [4]int64) {
	a, b := policy.NewEngine(live), policy.NewEngine(changed)
	for _, recorded := range events {
		e := recorded.Recorded()
		e.Seq = 0
		was, would := a.Judge(e), b.Judge(e)
		passes := e.Plane == signal.PlaneEdge && e.Str(signal.FieldEdgeMode) == "detect"
		before, after := was.Decision > signal.Alert && !passes, would.Decision > signal.Alert && !passes
		switch {
		case after && !before:
			out[0]++
		case before && !after:
			out[1]++
		case len(was.Hits) > 0 && len(would.Hits) == 0:
			out[3]++
		case len(was.Hits) == 0 && len(would.Hits) > 0:
			out[2]++
		}
	}
	return out
}

var _ replay.History = (*store.History)(nil)
