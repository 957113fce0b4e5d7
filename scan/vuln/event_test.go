package vuln_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/intel"
	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/scan/vuln"
	"github.com/testudo-sec/testudo/signal"
)

// TestEvent: what rules and searches ask of a vulnerability is in its event, as OCSF has it.
func TestEvent(t *testing.T) {
	day := time.Date(2024, 2, 3, 0, 0, 0, 0, time.UTC)
	advisory := func(id, fixed string, more func(*intel.Advisory)) *intel.Advisory {
		events := []intel.Event{{Introduced: "0"}}
		if fixed != "" {
			events = append(events, intel.Event{Fixed: fixed})
		}
		a := &intel.Advisory{ID: id, Summary: "Too far left", Affected: []intel.Affected{{Ecosystem: "npm", Name: "@acme/left", Ranges: []intel.Range{{Type: "SEMVER", Events: events}}}}}
		more(a)
		return a
	}
	db := advisories{
		advisory("GHSA-aaaa-bbbb-cccc", "1.2.3", func(a *intel.Advisory) {
			a.Aliases = []string{"CVE-2024-0001"}
			a.Severity = []intel.Severity{{Type: "CVSS_V3", Score: "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}}
			a.Exploited = &intel.Exploited{CVE: "CVE-2024-0001", Added: day}
			a.Probability = &intel.Probability{CVE: "CVE-2024-0001", Score: 0.97}
		}),
		advisory("GHSA-dddd-eeee-ffff", "", func(*intel.Advisory) {}),
	}
	m, err := vuln.New(vuln.Options{Database: db, Config: vuln.DefaultConfig()})
	if err != nil {
		t.Fatal(err)
	}
	inv := &scan.Inventory{Packages: []scan.Package{{PURL: "pkg:npm/%40acme/left@1.0.0", Ecosystem: "npm", Name: "@acme/left", Version: "1.0.0", Path: "package-lock.json", Line: 3}}}
	got := map[string][]string{}
	names := map[signal.Field]string{
		signal.FieldVulnerabilitiesCVEUID: "cve", signal.FieldVulnerabilitiesCVECVSSScore: "cvss", signal.FieldVulnerabilitiesCVEEpssScore: "epss", signal.FieldVulnerabilitiesIsExploitAvailable: "exploit",
		signal.FieldVulnerabilitiesIsFixAvailable: "fixable", signal.FieldVulnerabilitiesAffectedPackagesName: "name", signal.FieldVulnerabilitiesAffectedPackagesVersion: "version",
		signal.FieldVulnerabilitiesAffectedPackagesFixedInVersion: "fixed", signal.FieldVulnerabilitiesAffectedPackagesPURL: "purl", signal.FieldVulnerabilitiesSeverity: "severity",
	}
	err = m.Match(t.Context(), inv, func(f signal.Finding, _ scan.Confidence) {
		var e signal.Event
		f.Event(&e, signal.ActivityFindingCreate, day)
		for field, name := range names {
			for _, v := range e.Strings(field) {
				got[f.Rule] = append(got[f.Rule], name+"="+v)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for rule := range got {
		slices.Sort(got[rule])
	}
	want := map[string][]string{
		"CVE-2024-0001":       {"cve=CVE-2024-0001", "cvss=9.8", "epss=0.97", "exploit=true", "fixable=true", "fixed=1.2.3", "name=@acme/left", "purl=pkg:npm/%40acme/left@1.0.0", "severity=critical", "version=1.0.0"},
		"GHSA-dddd-eeee-ffff": {"fixable=false", "name=@acme/left", "purl=pkg:npm/%40acme/left@1.0.0", "severity=medium", "version=1.0.0"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestVersionsApart: one flaw in two versions of a package at one place is two findings; an upgrade of one leaves its id.
func TestVersionsApart(t *testing.T) {
	db := advisories{{ID: "CVE-2024-0001", Affected: []intel.Affected{{Ecosystem: "npm", Name: "left", Ranges: []intel.Range{{Type: "SEMVER", Events: []intel.Event{{Introduced: "0"}, {Fixed: "9.0.0"}}}}}}}}
	ids := func(versions ...string) (out []string) {
		m, err := vuln.New(vuln.Options{Database: db, Config: vuln.DefaultConfig()})
		if err != nil {
			t.Fatal(err)
		}
		inv := &scan.Inventory{}
		for _, v := range versions {
			inv.Packages = append(inv.Packages, scan.Package{PURL: "pkg:npm/left@" + v, Ecosystem: "npm", Name: "left", Version: v, Path: "package-lock.json"})
		}
		if err := m.Match(t.Context(), inv, func(f signal.Finding, _ scan.Confidence) { out = append(out, f.ID) }); err != nil {
			t.Fatal(err)
		}
		return out
	}
	one, upgraded, two := ids("1.0.0"), ids("1.0.1"), ids("1.0.0", "2.0.0")
	if len(one) != 1 || len(two) != 2 || one[0] != upgraded[0] || two[0] != one[0] || two[1] == two[0] {
		t.Errorf("%q, %q, %q", one, upgraded, two)
	}
}
