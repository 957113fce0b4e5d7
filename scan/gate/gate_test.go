package gate_test

import (
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

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
	everything, strict := gate.DefaultPolicy(), gate.DefaultPolicy()
	everything.Known, strict.Incomplete = true, true
	never := gate.DefaultPolicy()
	never.FailOn.Severity, never.Kinds = gate.Never, nil
	for _, tc := range []struct {
		name       string
		policy     gate.Policy
		findings   []signal.Finding
		base       map[string]bool
		incomplete bool
		reasons    []string
		expired    int
		unused     int
	}{
		{"nothing", gate.DefaultPolicy(), nil, nil, false, nil, 0, 0},
		{"a secret", gate.DefaultPolicy(), []signal.Finding{secret("a", signal.SeverityMedium)}, nil, false, []string{"1 finding of severity medium"}, 0, 0},
		{"a flaw below", gate.DefaultPolicy(), []signal.Finding{flaw("a", signal.SeverityMedium)}, nil, false, nil, 0, 0},
		{"two flaws", gate.DefaultPolicy(), []signal.Finding{flaw("a", signal.SeverityHigh), flaw("b", signal.SeverityHigh)}, nil, false, []string{"2 findings of severity high"}, 0, 0},
		{"malicious", gate.DefaultPolicy(), []signal.Finding{flaw("a", signal.SeverityLow, "malicious")}, nil, false, []string{"1 finding of severity low"}, 0, 0},
		{"known", gate.DefaultPolicy(), []signal.Finding{flaw("a", signal.SeverityHigh)}, map[string]bool{"a": true}, false, nil, 0, 0},
		{"one known, one new", gate.DefaultPolicy(), []signal.Finding{flaw("a", signal.SeverityHigh), flaw("b", signal.SeverityCritical)}, map[string]bool{"a": true}, false, []string{"1 new finding of severity critical"}, 0, 0},
		{"known counts", everything, []signal.Finding{flaw("a", signal.SeverityHigh)}, map[string]bool{"a": true}, false, []string{"1 finding of severity high"}, 0, 0},
		{"never", never, []signal.Finding{flaw("a", signal.SeverityCritical)}, nil, false, nil, 0, 0},
		{"incomplete", gate.DefaultPolicy(), nil, nil, true, nil, 0, 0},
		{"incomplete and strict", strict, nil, nil, true, []string{"something could not be scanned"}, 0, 0},
		{"accepted", accept(gate.Accept{Rule: "CVE-2024-1", Reason: "r", Until: "2026-11-22"}), []signal.Finding{flaw("a", signal.SeverityHigh)}, nil, false, nil, 0, 0},
		{"accepted elsewhere", accept(gate.Accept{Rule: "CVE-2024-1", Path: "test/", Reason: "r", Until: "2026-12-31"}), []signal.Finding{flaw("a", signal.SeverityHigh)}, nil, false, []string{"1 finding of severity high"}, 0, 1},
		{"acceptance ended", accept(gate.Accept{ID: "a", Reason: "r", Until: "2026-11-21"}), []signal.Finding{flaw("a", signal.SeverityHigh)}, nil, false, []string{"1 finding of severity high"}, 1, 0},
		{"acceptance unused", accept(gate.Accept{ID: "z", Reason: "r", Until: "2026-12-31"}), nil, nil, false, nil, 0, 1},
	} {
		if err := tc.policy.Validate(); err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		d := tc.policy.Decide(tc.findings, tc.base, tc.incomplete, today)
		if diff := cmp.Diff(tc.reasons, d.Reasons); diff != "" || d.Stopped != (len(tc.reasons) > 0) {
			t.Errorf("%s: stopped %t: %s", tc.name, d.Stopped, diff)
		}
		if len(d.Expired) != tc.expired || len(d.Unused) != tc.unused {
			t.Errorf("%s: %d expired, %d unused", tc.name, len(d.Expired), len(d.Unused))
		}
	}
	d := (&everything).Decide([]signal.Finding{flaw("a", signal.SeverityHigh), flaw("b", signal.SeverityLow)}, map[string]bool{"a": true, "c": true}, false, today)
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
