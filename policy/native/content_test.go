package native_test

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/native"
	"github.com/testudo-sec/testudo/rules"
)

func edgeSet(t testing.TB) *policy.Set {
	t.Helper()
	l := &policy.Loader{Dialects: []policy.Dialect{native.New(native.Actions()...)}}
	set, err := l.Load(context.Background(), policy.Embedded("rules/edge", rules.Edge()))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// TestShippedRules runs the tests of the rules that ship, and holds each rule to
// what a user may expect of one.
func TestShippedRules(t *testing.T) {
	set := edgeSet(t)
	if set.Len() < 12 {
		t.Errorf("%d rules, want at least 12", set.Len())
	}
	for _, r := range set.Rules() {
		if r.Fix == "" || r.Why == r.Title || len(r.References) == 0 {
			t.Errorf("%s: fix, why and references are needed", r.ID)
		}
		if !strings.HasPrefix(r.ID, "edge-") {
			t.Errorf("%s: the id of an edge rule begins with edge-", r.ID)
		}
		mapped := false
		for _, tag := range r.Tags {
			mapped = mapped || strings.HasPrefix(tag, "attack.t1")
		}
		if !mapped {
			t.Errorf("%s: no ATT&CK technique among its tags", r.ID)
		}
		positive, negative := 0, 0
		for _, test := range r.Tests {
			for _, s := range test.Steps {
				if s.Fires {
					positive++
				} else {
					negative++
				}
			}
		}
		if positive < 2 || negative < 2 {
			t.Errorf("%s: %d positive and %d negative tests, want two of each", r.ID, positive, negative)
		}
		// A request of a blocked client, or a response, must not count towards a block.
		if !strings.Contains(r.When, "request()") && !strings.Contains(r.When, "response()") {
			t.Errorf("%s: its condition says neither request() nor response()", r.ID)
		}
		if c, err := native.New(native.Actions()...).Condition(r.When); err != nil || c.CELParts() != 0 {
			t.Errorf("%s: some parts of its condition run on CEL's evaluator (%v)", r.ID, err)
		}
	}
	report, err := policy.RunTests(context.Background(), set)
	if err != nil {
		t.Fatal(err)
	}
	if !report.OK() || len(report.Untested) > 0 {
		var b bytes.Buffer
		_ = report.Print(&b)
		t.Errorf("\n%s", b.String())
	}
}
