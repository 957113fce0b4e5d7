package gate_test

import (
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/scan/gate"
	"github.com/testudo-sec/testudo/signal"
)

var today = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func secret(id string, s signal.Severity) signal.Finding {
	return signal.Finding{ID: id, Rule: "github-token", Kind: signal.FindingPosture, Severity: s, Location: signal.Location{Path: "src/a.go"}}
}

func flaw(id string, s signal.Severity, tags ...string) signal.Finding {
	return signal.Finding{ID: id, Rule: "CVE-2024-1", Kind: signal.FindingVulnerability, Severity: s, Tags: tags, Location: signal.Location{Path: "go.mod"}}
}

func TestDecide(t *testing.T) {
	accept := func(a gate.Accept) gate.Policy {
		p := gate.DefaultPolicy()
		p.Accept = []gate.Accept{a}
		return p
	}
	everything, strict, lax := gate.DefaultPolicy(), gate.DefaultPolicy(), gate.DefaultPolicy()
	any, brought := gate.Missed{Any: true}, gate.Missed{Any: true, New: []string{"a.bin (larger than the limit)", "b", "c", "d", "e", "f"}}
	no := gate.Missed{}
	everything.Known, strict.Incomplete, lax.Incomplete = true, gate.IncompleteAlways, gate.IncompleteNever
	never := gate.DefaultPolicy()
	never.FailOn.Severity, never.Kinds = gate.Never, nil
	for _, tc := range []struct {
		name     string
		policy   gate.Policy
		findings []signal.Finding
		base     map[string]bool
		missed   gate.Missed
		reasons  []string
		expired  int
		unused   int
	}{
		{"nothing", gate.DefaultPolicy(), nil, nil, no, nil, 0, 0},
		{"a secret", gate.DefaultPolicy(), []signal.Finding{secret("a", signal.SeverityMedium)}, nil, no, []string{"1 finding of severity medium"}, 0, 0},
		{"a flaw below", gate.DefaultPolicy(), []signal.Finding{flaw("a", signal.SeverityMedium)}, nil, no, nil, 0, 0},
		{"two flaws", gate.DefaultPolicy(), []signal.Finding{flaw("a", signal.SeverityHigh), flaw("b", signal.SeverityHigh)}, nil, no, []string{"2 findings of severity high"}, 0, 0},
		{"malicious", gate.DefaultPolicy(), []signal.Finding{flaw("a", signal.SeverityLow, "malicious")}, nil, no, []string{"1 finding of severity low"}, 0, 0},
		{"known", gate.DefaultPolicy(), []signal.Finding{flaw("a", signal.SeverityHigh)}, map[string]bool{"a": true}, no, nil, 0, 0},
		{"one known, one new", gate.DefaultPolicy(), []signal.Finding{flaw("a", signal.SeverityHigh), flaw("b", signal.SeverityCritical)}, map[string]bool{"a": true}, no, []string{"1 new finding of severity critical"}, 0, 0},
		{"known counts", everything, []signal.Finding{flaw("a", signal.SeverityHigh)}, map[string]bool{"a": true}, no, []string{"1 finding of severity high"}, 0, 0},
		{"never", never, []signal.Finding{flaw("a", signal.SeverityCritical)}, nil, no, nil, 0, 0},
		{"incomplete", gate.DefaultPolicy(), nil, nil, any, nil, 0, 0},
		{"incomplete and strict", strict, nil, nil, any, []string{"something could not be scanned"}, 0, 0},
		{"accepted", accept(gate.Accept{Rule: "CVE-2024-1", Reason: "r", Until: "2026-11-22"}), []signal.Finding{flaw("a", signal.SeverityHigh)}, nil, no, nil, 0, 0},
		{"accepted elsewhere", accept(gate.Accept{Rule: "CVE-2024-1", Path: "test/", Reason: "r", Until: "2026-12-31"}), []signal.Finding{flaw("a", signal.SeverityHigh)}, nil, no, []string{"1 finding of severity high"}, 0, 1},
		{"acceptance ended", accept(gate.Accept{ID: "a", Reason: "r", Until: "2026-11-21"}), []signal.Finding{flaw("a", signal.SeverityHigh)}, nil, no, []string{"1 finding of severity high"}, 1, 0},
		{"acceptance unused", accept(gate.Accept{ID: "z", Reason: "r", Until: "2026-12-31"}), nil, nil, no, nil, 0, 1},
		{"brought", gate.DefaultPolicy(), nil, map[string]bool{}, brought, []string{"what the change brings could not be scanned: a.bin (larger than the limit), b, c, d, e and 1 more"}, 0, 0},
		{"brought and strict", strict, nil, map[string]bool{}, brought, []string{"what the change brings could not be scanned: a.bin (larger than the limit), b, c, d, e and 1 more"}, 0, 0},
		{"brought and lax", lax, nil, map[string]bool{}, brought, nil, 0, 0},
	} {
		if err := tc.policy.Validate(); err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		d := tc.policy.Decide(tc.findings, tc.base, tc.missed, today)
		if diff := cmp.Diff(tc.reasons, d.Reasons); diff != "" || d.Stopped != (len(tc.reasons) > 0) {
			t.Errorf("%s: stopped %t: %s", tc.name, d.Stopped, diff)
		}
		if want := strings.Contains(strings.Join(tc.reasons, " "), "not be scanned"); d.Missed != want {
			t.Errorf("%s: stopped by what was missed: %t", tc.name, d.Missed)
		}
		if len(d.Expired) != tc.expired || len(d.Unused) != tc.unused {
			t.Errorf("%s: %d expired, %d unused", tc.name, len(d.Expired), len(d.Unused))
		}
	}
	d := (&everything).Decide([]signal.Finding{flaw("a", signal.SeverityHigh), flaw("b", signal.SeverityLow)}, map[string]bool{"a": true, "c": true}, no, today)
	if d.New != 1 || d.Same != 1 || d.Gone != 1 {
		t.Errorf("%+v", d)
	}
}

func TestPolicyFile(t *testing.T) {
	p := gate.DefaultPolicy()
	if err := yaml.Unmarshal([]byte("fail_on: critical\nkinds: {license: never, secret: low}\n"), &p); err != nil {
		t.Fatal(err)
	}
	if p.FailOn.Severity != signal.SeverityCritical || p.Kinds["license"].Severity != gate.Never || p.Kinds["secret"].Severity != signal.SeverityLow {
		t.Errorf("%+v", p)
	}
	for text, want := range map[string]string{
		"fail_on: often":                                "often",
		"incomplete: sometimes":                         "want never, new or always",
		"kinds: {sbom: low}":                            "sbom",
		"accept: [{rule: x}]":                           "no reason",
		"accept: [{reason: x}]":                         "neither rule nor id",
		"accept: [{id: x, reason: y}]":                  "no end",
		"accept: [{id: x, reason: y, until: tomorrow}]": "want a day",
	} {
		p := gate.DefaultPolicy()
		err := yaml.Unmarshal([]byte(text), &p)
		if err == nil {
			err = p.Validate()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestMissedBy: a change answers for what it brings, not for what could not be scanned before.
func TestMissedBy(t *testing.T) {
	skips := func(names ...string) (out []scan.Skip) {
		for _, n := range names {
			out = append(out, scan.Skip{Path: n, Reason: "larger than the limit"})
		}
		return out
	}
	for name, tc := range map[string]struct {
		change scan.Stats
		base   *scan.Stats
		want   gate.Missed
	}{
		"all read":                {scan.Stats{Files: 1}, &scan.Stats{}, gate.Missed{}},
		"no base":                 {scan.Stats{TooLarge: 1, Skipped: skips("a")}, nil, gate.Missed{Any: true}},
		"there before":            {scan.Stats{TooLarge: 1, Skipped: skips("a")}, &scan.Stats{TooLarge: 1, Skipped: skips("a")}, gate.Missed{Any: true}},
		"another in its place":    {scan.Stats{TooLarge: 1, Skipped: skips("b")}, &scan.Stats{TooLarge: 1, Skipped: skips("a")}, gate.Missed{Any: true, New: []string{"b (larger than the limit)"}}},
		"more than are named":     {scan.Stats{Failed: 7, Skipped: skips("a")}, &scan.Stats{Failed: 1, Skipped: skips("a")}, gate.Missed{Any: true, New: []string{"up to 6 more files"}}},
		"as many as before":       {scan.Stats{Failed: 7, Skipped: skips("a")}, &scan.Stats{Failed: 7, Skipped: skips("a")}, gate.Missed{Any: true}},
		"packages without a room": {scan.Stats{NoRoom: 2}, &scan.Stats{}, gate.Missed{Any: true, New: []string{"2 packages above the limit (scan.max_packages)"}}},
		"findings dropped":        {scan.Stats{Dropped: 3}, &scan.Stats{Dropped: 1}, gate.Missed{Any: true, New: []string{"3 findings above the limit (scan.max_findings)"}}},
	} {
		if d := cmp.Diff(tc.want, gate.MissedBy(&tc.change, tc.base)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestSum(t *testing.T) {
	a := scan.Stats{Skipped: []scan.Skip{{Path: "a"}}, TooLarge: 1, TooDeep: 2, Unreadable: 3, Failed: 4, Dropped: 5, NoRoom: 6}
	b := scan.Stats{Skipped: []scan.Skip{{Path: "b"}}, TooLarge: 10, TooDeep: 10, Unreadable: 10, Failed: 10, Dropped: 10, NoRoom: 10}
	want := &scan.Stats{Skipped: []scan.Skip{{Path: "a"}, {Path: "b"}}, TooLarge: 11, TooDeep: 12, Unreadable: 13, Failed: 14, Dropped: 15, NoRoom: 16}
	if d := cmp.Diff(want, gate.Sum(&a, &b)); d != "" {
		t.Error(d)
	}
}
