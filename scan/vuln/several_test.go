package vuln_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/scan/vuln"
)

// TestSeveral: a distribution's advisory that stands for several flaws is none of them. Each finding has an id of its own, and a
// decision about one flaw hides no other.
func TestSeveral(t *testing.T) {
	one := advisory("DEBIAN-CVE-2024-0001", "Debian:12", "curl", span("0", ""))
	one.Upstream = []string{"CVE-2024-0001"}
	two := advisory("DEBIAN-CVE-2024-0002", "Debian:12", "curl", span("0", "7.90-2"))
	two.Upstream = []string{"CVE-2024-0002"}
	both := advisory("DSA-5000-1", "Debian:12", "curl", span("0", "7.90-1"))
	both.Upstream = []string{"CVE-2024-0001", "CVE-2024-0002"}
	curl := scan.Package{PURL: "pkg:deb/debian/curl@7.88-1", Ecosystem: "Debian:12", Name: "curl", Version: "7.88-1", Path: "var/lib/dpkg/status"}
	statement := vuln.Statement{Names: []string{"CVE-2024-0001"}, PURL: "pkg:deb/debian/curl", Status: vuln.NotAffected}
	ignored := vuln.DefaultConfig()
	ignored.Ignore = []vuln.Ignore{{ID: "CVE-2024-0001", Reason: "not built in", Until: "2999-01-01"}}
	for name, c := range map[string]struct {
		db     advisories
		config vuln.Config
		vex    []vuln.Statement
		want   []string // rule and fixed version
	}{
		"each by itself":          {advisories{one, two, both}, vuln.DefaultConfig(), nil, []string{"CVE-2024-0001 7.90-1", "CVE-2024-0002 7.90-2"}},
		"the advisory alone":      {advisories{both}, vuln.DefaultConfig(), nil, []string{"DSA-5000-1 7.90-1"}},
		"one by itself":           {advisories{one, both}, vuln.DefaultConfig(), nil, []string{"CVE-2024-0001 ", "DSA-5000-1 7.90-1"}},
		"VEX about one of two":    {advisories{both}, vuln.DefaultConfig(), []vuln.Statement{statement}, []string{"DSA-5000-1 7.90-1"}},
		"one of two is ignored":   {advisories{both}, ignored, nil, []string{"DSA-5000-1 7.90-1"}},
		"VEX about one, with all": {advisories{one, two, both}, vuln.DefaultConfig(), []vuln.Statement{statement}, []string{"CVE-2024-0002 7.90-2"}},
	} {
		found, _ := run(t, vuln.Options{Config: c.config, Database: c.db, Statements: c.vex}, curl)
		var got []string
		ids := map[string]bool{}
		for _, f := range found {
			got = append(got, f.Rule+" "+evidence(f, "fixed in"))
			if ids[f.ID] {
				t.Errorf("%s: two findings of the id %s", name, f.ID)
			}
			ids[f.ID] = true
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}
