package main

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/scan/vuln"
	"github.com/testudo-sec/testudo/signal"
)

// TestNotGone: what a decision about the change alone left out is not said to be gone; what nobody finds any more is.
func TestNotGone(t *testing.T) {
	finding := func(id, rule, purl string) signal.Finding {
		return signal.Finding{ID: id, Rule: rule, Kind: signal.FindingVulnerability, Location: signal.Location{Path: "go.mod"},
			Evidence: []signal.Evidence{{Name: signal.EvidencePackage, Value: purl}}}
	}
	flaw := func(id, purl, path string) *vuln.Flaw {
		return &vuln.Flaw{ID: id, Packages: []*scan.Package{{PURL: purl, Path: path}}}
	}
	base := []signal.Finding{finding("kept", "CVE-1", "pkg:golang/a@1"), finding("not built", "CVE-2", "pkg:golang/stdlib@1.13"), finding("gone", "CVE-3", "pkg:golang/a@1"),
		finding("elsewhere", "CVE-4", "pkg:golang/a@1"), {ID: "a secret", Rule: "aws"}}
	known := map[string]bool{}
	for _, f := range base {
		known[f.ID] = true
	}
	notGone(known, base, base[:1], []*vuln.Flaw{flaw("CVE-1", "pkg:golang/a@1", "go.mod"), flaw("CVE-2", "pkg:golang/stdlib@1.14", "go.mod"), flaw("CVE-4", "pkg:golang/a@1", "b/go.mod")})
	if got := strings.Join(slices.Sorted(maps.Keys(known)), ", "); got != "a secret, elsewhere, gone, kept" {
		t.Errorf("known: %s", got)
	}
}

func TestBasesOfEnvironment(t *testing.T) {
	for want, env := range map[string]map[string]string{
		"":                   {},
		"origin/main":        {"GITHUB_BASE_REF": "main", "GITHUB_REF": "refs/pull/1/merge"},
		"origin/main abcd":   {"CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main", "CI_MERGE_REQUEST_DIFF_BASE_SHA": "abcd", "CI_PROJECT_ID": "1", "CI_MERGE_REQUEST_PROJECT_ID": "1"},
		"abcd":               {"CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main", "CI_MERGE_REQUEST_DIFF_BASE_SHA": "abcd", "CI_PROJECT_ID": "2", "CI_MERGE_REQUEST_PROJECT_ID": "1"},
		"origin/release/1.x": {"CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "release/1.x"},
	} {
		if got := strings.Join(basesOfEnvironment(func(name string) string { return env[name] }), " "); got != want {
			t.Errorf("%v: %q, want %q", env, got, want)
		}
	}
}
