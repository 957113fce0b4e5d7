package policy_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

// TestMonitor: at the routes that it is monitored at a rule fires, alerts at most and asks for nothing; elsewhere it decides. The digest tells.
func TestMonitor(t *testing.T) {
	rule := func(monitor ...string) *policy.Rule {
		return &policy.Rule{ID: "r", Title: "a rule", Then: signal.Deny, Condition: match.Const(true), Monitor: monitor, Actions: []policy.Action{{Kind: "block", Target: signal.FieldSrcEndpointIP}}}
	}
	set := func(r *policy.Rule) *policy.Set {
		s, err := policy.NewSet([]*policy.Rule{r})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	plain, demoted := set(rule()), set(rule("shop"))
	if plain.Digest() == demoted.Digest() || rule().Version() != rule("shop").Version() {
		t.Error("the set's digest must tell, and the rule's version must not")
	}
	for route, want := range map[string]signal.Decision{"shop": signal.Alert, "other": signal.Deny, "": signal.Deny} {
		e := &signal.Event{Class: signal.ClassHTTPActivity}
		if route != "" {
			e.SetString(signal.FieldEdgeRoute, route)
		}
		e.SetIP(signal.FieldSrcEndpointIP, netip.MustParseAddr("203.0.113.9"))
		v := policy.NewEngine(demoted).Judge(e)
		if v.Decision != want || len(v.Hits) != 1 || (len(v.Hits[0].Orders) > 0) != (want == signal.Deny) {
			t.Errorf("route %q: %+v", route, v)
		}
		x, _ := demoted.Explain(e, "r")
		said := slices.ContainsFunc(x.Because, func(s string) bool { return strings.Contains(s, "only alerts") })
		if x.Decision != want || !x.Fires || said != (want == signal.Alert) {
			t.Errorf("route %q: %+v", route, x)
		}
	}
}
