package replay_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/policy/window"
	"github.com/testudo-sec/testudo/replay"
	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
)

// TestExcept: an order's page that looks like an attack to a rule. The narrowest exception is about that
// page; one by its shape frees the other orders too, and says so; one that also frees a real attack stands last.
func TestExcept(t *testing.T) {
	start := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	events := shop(start, "/order/1042/select 203.0.113.1", "/order/77/select 203.0.113.2", "/order/9/select 203.0.113.3", "/etc/passwd/select 203.0.113.66", "/a 203.0.113.1")
	events[3].SetString(signal.FieldHTTPRequestUserAgent, "curl/8")
	events[0].SetString(signal.FieldHTTPRequestUserAgent, "curl/8")
	other := shop(start.Add(time.Minute), "/order/1042/select 203.0.113.9")[0]
	other.SetString(signal.FieldEdgeRoute, "blog")
	other.Seq = 50
	h := lakeOf(t, append(events, other), 1000)
	sqli, passwd := ruleOf("sqli", signal.Deny, pathHas("select")), ruleOf("passwd", signal.Deny, pathHas("/etc/passwd"))
	set := setOf(t, sqli, passwd)
	x, err := replay.Except(t.Context(), h, set, replay.ExceptionQuery{Event: events[0].ID})
	if err != nil {
		t.Fatal(err)
	}
	if x.Rule.ID != "sqli" || x.For != nil || x.Fired != 5 || x.Inexact != nil {
		t.Errorf("%+v", x)
	}
	first := x.Best[0]
	if first.String() != `edge.route is "shop", and http_request.url.path is "/order/1042/select"` || first.Freed != 0 {
		t.Errorf("narrowest: %s frees %d others", first.String(), first.Freed)
	}
	shape := x.Best[slices.IndexFunc(x.Best, func(x replay.Exception) bool { return x.Freed == 2 })]
	if shape.String() != `edge.route is "shop", and http_request.url.path fits ^/order/[0-9]+/select$` || shape.Suspect != 0 || len(shape.Examples) != 2 {
		t.Errorf("by shape: %s frees %d others: %+v", shape.String(), shape.Freed, shape.Examples)
	}
	last := x.Best[len(x.Best)-1]
	if last.Suspect != 1 || !slices.Equal(last.Suspects, []string{"passwd"}) || last.Examples[0].Event != events[3].ID.String() {
		t.Errorf("last: %s frees %d others, %d suspect: %+v", last.String(), last.Freed, last.Suspect, last.Examples)
	}
	holds(t, h, set, x)

	for _, c := range []struct {
		q    replay.ExceptionQuery
		want error
	}{
		{replay.ExceptionQuery{Event: events[4].ID}, replay.ErrNothingToExcept},
		{replay.ExceptionQuery{Event: events[0].ID, Rule: "passwd"}, replay.ErrNothingToExcept},
		{replay.ExceptionQuery{Event: events[0].ID, Rule: "nobody"}, replay.ErrNothingToExcept},
		{replay.ExceptionQuery{Event: signal.NewID(start)}, store.ErrNotFound},
	} {
		if _, err := replay.Except(t.Context(), h, set, c.q); !errors.Is(err, c.want) {
			t.Errorf("%+v: error %v, want %v", c.q, err, c.want)
		}
	}
}

// holds checks what proposals say of themselves: put into the rule they free the event, and exactly as many others as
// they say.
func holds(t *testing.T, h *store.History, set *policy.Set, x *replay.Exceptions) {
	t.Helper()
	for _, e := range x.Best {
		rules := slices.Clone(set.Rules())
		rules[slices.IndexFunc(rules, func(r *policy.Rule) bool { return r.ID == x.Rule.ID })] = e.Apply(x.Rule)
		changed := setOf(t, rules...)
		if changed.Digest() == set.Digest() {
			t.Errorf("%s: the rule is the same as before", e.String())
		}
		judged := x.Event.Recorded()
		for _, hit := range slices.Clone(policy.NewEngine(changed).Judge(judged).Hits) {
			if hit.Rule == x.Rule.ID {
				t.Errorf("%s: the rule still fires on the event", e.String())
			}
		}
		r, err := replay.WhatIf(t.Context(), h, set, changed, replay.WhatIfQuery{})
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(r.ByRule, func(o replay.ByOne) bool { return o.Name == x.Rule.ID })
		if i < 0 || r.ByRule[i].Before != x.Fired || r.ByRule[i].Before-r.ByRule[i].After != e.Freed+1 {
			t.Errorf("%s says that it frees %d others of %d; replayed %+v", e.String(), e.Freed, x.Fired, r.ByRule)
		}
	}
}

// TestExceptHolds does so over random rules and events.
func TestExceptHolds(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	w := world{r: rand.New(rand.NewPCG(seed, 3)), rules: true}
	start := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	var events []*signal.Event
	for i := range 600 {
		e := w.event(i, start)
		e.Seq = uint64(i + 1)
		e.SetString(signal.FieldEdgeRoute, pick(w, []string{"shop", "blog"}))
		events = append(events, e)
	}
	h := lakeOf(t, events, 400)
	proposed, want := 0, 20*thorough()
	for try := 0; proposed < want && try < 100*want; try++ {
		r := ruleOf("r", signal.Deny, match.And{w.expr(1), w.expr(2)})
		r.Silent = false
		set := setOf(t, r, ruleOf("s", signal.Alert, w.expr(1)))
		x, err := replay.Except(t.Context(), h, set, replay.ExceptionQuery{Event: pick(w, events).ID, Rule: "r", Limit: 3})
		if errors.Is(err, replay.ErrNothingToExcept) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		proposed += len(x.Best)
		holds(t, h, set, x)
	}
	if proposed < want {
		t.Errorf("of %d rules none fired on an event that it could be excepted from", 100*want)
	}
}

// TestExceptFromCorrelation: what feeds the correlation is what an event can be excepted from.
func TestExceptFromCorrelation(t *testing.T) {
	start := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	events := shop(start, "/login 203.0.113.1", "/login 203.0.113.1", "/login 203.0.113.1")
	events[2].SetStrings(signal.FieldVerdictRules, []string{"brute"})
	login := ruleOf("login", signal.Alert, pathHas("/login"))
	login.Silent = true
	brute := counting("brute", 3, "login")
	brute.Correlation.Kind = window.Count
	x, err := replay.Except(t.Context(), lakeOf(t, events, 10), setOf(t, login, brute), replay.ExceptionQuery{Event: events[2].ID})
	if err != nil || x.Rule.ID != "login" || x.For == nil || x.For.ID != "brute" || !strings.Contains(x.Best[0].String(), "shop") {
		t.Errorf("%+v, error %v", x, err)
	}
}

// TestExceptOfAPI: what the guard of APIs found is excepted by the operation, what it found and where, not by the sum of it nor by what the firewall noticed beside.
func TestExceptOfAPI(t *testing.T) {
	start := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	events := shop(start, "/api/cart 203.0.113.1", "/api/cart 203.0.113.2", "/api/cart 203.0.113.3")
	for i, violation := range []string{"body/additionalProperties /colour", "body/additionalProperties /colour", "body/additionalProperties /price"} {
		code, target, _ := strings.Cut(violation, " ")
		e := events[i]
		e.SetString(signal.FieldAPIOperation, "POST /api/cart")
		e.SetStrings(signal.FieldAPIViolations, []string{code})
		e.SetStrings(signal.FieldAPITargets, []string{target})
		e.SetStrings(signal.FieldAPIMessages, []string{"is not described"})
		e.SetBool(signal.FieldAPIBlock, true)
		e.SetStrings(signal.FieldWAFRules, []string{"920350"})
		e.SetStrings(signal.FieldWAFTargets, []string{"REQUEST_HEADERS:Host"})
	}
	h := lakeOf(t, events, 1000)
	set := setOf(t, ruleOf("api", signal.Deny, match.Int(match.Operand{Field: signal.FieldAPIBlock}, match.IntIs(1))))
	x, err := replay.Except(t.Context(), h, set, replay.ExceptionQuery{Event: events[0].ID})
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(x.Best, func(b replay.Exception) bool { return strings.Contains(b.String(), "api.violations") })
	if i < 0 {
		t.Fatalf("%v", x.Best)
	}
	first := x.Best[i]
	if got := first.String(); got != `edge.route is "shop", and api.operation is "POST /api/cart", and api.violations has none but ["body/additionalProperties"], and api.targets has none but ["/colour"]` || first.Freed != 1 {
		t.Errorf("%s frees %d others", got, first.Freed)
	}
	for _, b := range x.Best {
		if strings.Contains(b.String(), "waf.") || strings.Contains(b.String(), "api.block") {
			t.Errorf("%s", b.String())
		}
	}
	holds(t, h, set, x)
}
