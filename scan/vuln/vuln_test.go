package vuln_test

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/intel"
	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/scan/vuln"
	"github.com/testudo-sec/testudo/signal"
)

// advisories is a database in memory.
type advisories []*intel.Advisory

func (all advisories) Affecting(ecosystem, name string) iter.Seq2[*intel.Advisory, error] {
	return func(yield func(*intel.Advisory, error) bool) {
		for _, a := range all {
			for _, e := range a.Affected {
				if strings.EqualFold(e.Name, name) && strings.Split(e.Ecosystem, ":")[0] == strings.Split(ecosystem, ":")[0] {
					if !yield(a, nil) {
						return
					}
					break
				}
			}
		}
	}
}

type broken struct{}

func (broken) Affecting(string, string) iter.Seq2[*intel.Advisory, error] {
	return func(yield func(*intel.Advisory, error) bool) { yield(nil, fmt.Errorf("block 7 is damaged")) }
}

func span(introduced, fixed string) []intel.Range {
	r := intel.Range{Type: "ECOSYSTEM", Events: []intel.Event{{Introduced: introduced}}}
	if fixed != "" {
		r.Events = append(r.Events, intel.Event{Fixed: fixed})
	}
	return []intel.Range{r}
}

func advisory(id, ecosystem, name string, ranges []intel.Range, aliases ...string) *intel.Advisory {
	return &intel.Advisory{ID: id, Aliases: aliases, Summary: "flaw of " + name, Affected: []intel.Affected{{Ecosystem: ecosystem, Name: name, Ranges: ranges}}}
}

func npm(name, version string) scan.Package {
	return scan.Package{PURL: "pkg:npm/" + name + "@" + version, Ecosystem: "npm", Name: name, Version: version, Path: "package-lock.json", Line: 3, Relation: scan.Direct}
}

func run(t *testing.T, o vuln.Options, packages ...scan.Package) ([]signal.Finding, *vuln.Matcher) {
	t.Helper()
	m, err := vuln.New(o)
	if err != nil {
		t.Fatal(err)
	}
	inv := &scan.Inventory{Packages: packages}
	inv.Sort()
	var out []signal.Finding
	if err := m.Match(t.Context(), inv, func(f signal.Finding, _ scan.Confidence) { out = append(out, f) }); err != nil {
		t.Fatal(err)
	}
	return out, m
}

func evidence(f signal.Finding, name string) string {
	for _, e := range f.Evidence {
		if e.Name == name {
			return e.Value
		}
	}
	return ""
}

// TestFix: what to do names what is to be had where: in a package of one's own, of a base image, of a source with versions of its own.
func TestFix(t *testing.T) {
	db := advisories{advisory("DEBIAN-CVE-2024-1", "Debian:12", "openssl", span("0", "3.0.13-1~deb12u1")), advisory("DEBIAN-CVE-2024-2", "Debian:12", "lvm2", span("0", "2.03.16-3")),
		advisory("CVE-2024-3", "npm", "x", span("0", "2.0.0")), advisory("CVE-2024-4", "npm", "y", span("0", ""))}
	ssl := scan.Package{PURL: "pkg:deb/debian/libssl3@3.0.11-1", Ecosystem: "Debian:12", Name: "libssl3", Version: "3.0.11-1", Source: "openssl", SourceVersion: "3.0.11-1", Path: "var/lib/dpkg/status", BaseImage: "debian:12"}
	dm := scan.Package{PURL: "pkg:deb/debian/dmsetup@2:1.02.185-2", Ecosystem: "Debian:12", Name: "dmsetup", Version: "2:1.02.185-2", Source: "lvm2", SourceVersion: "2.03.16-2", Path: "var/lib/dpkg/status", BaseImage: "debian:12"}
	own := dm
	own.BaseImage = ""
	brought := npm("x", "1.0.0")
	brought.Relation = scan.Transitive
	for want, p := range map[string]scan.Package{
		"Fixed in libssl3 3.0.13-1~deb12u1: build on a newer debian:12 that has it, or upgrade libssl3 in a layer of your own.":              ssl,
		"Fixed in lvm2 2.03.16-3, the source of dmsetup: build on a newer debian:12 that has it, or upgrade dmsetup in a layer of your own.": dm,
		"Upgrade dmsetup: fixed in lvm2 2.03.16-3, the source of dmsetup.":                                                                   own,
		"Upgrade x to 2.0.0 or later.":                                                              npm("x", "1.0.0"),
		"Upgrade what brings it, or pin x to 2.0.0 or later.":                                       brought,
		"There is no fixed version. Look whether the flawed part is used, and for another package.": npm("y", "1.0.0"),
	} {
		found, _ := run(t, vuln.Options{Config: vuln.DefaultConfig(), Database: db}, p)
		if len(found) != 1 || found[0].Fix != want || !slices.Contains(found[0].Tags, "unrated") {
			t.Errorf("%+v, want %q", found, want)
		}
	}
}

// TestVersions: the ranges of an advisory in the order of each ecosystem.
func TestVersions(t *testing.T) {
	events := func(kind string, pairs ...string) []intel.Range {
		r := intel.Range{Type: kind}
		for _, p := range pairs {
			what, v, _ := strings.Cut(p, " ")
			e := intel.Event{}
			switch what {
			case "from":
				e.Introduced = v
			case "fixed":
				e.Fixed = v
			case "last":
				e.LastAffected = v
			case "limit":
				e.Limit = v
			}
			r.Events = append(r.Events, e)
		}
		return []intel.Range{r}
	}
	for _, tc := range []struct {
		ecosystem string
		ranges    []intel.Range
		listed    []string
		version   string
		want      bool
		fixed     string
	}{
		{"npm", events("SEMVER", "from 0", "fixed 4.17.21"), nil, "4.17.20", true, "4.17.21"},
		{"npm", events("SEMVER", "from 0", "fixed 4.17.21"), nil, "4.17.21", false, ""},
		{"npm", events("SEMVER", "from 0", "fixed 4.17.21"), nil, "4.9.0", true, "4.17.21"},
		{"npm", events("SEMVER", "from 1.0.0", "fixed 1.2.3"), nil, "1.2.3-beta.1", true, "1.2.3"},
		{"npm", events("SEMVER", "from 1.0.0", "fixed 1.2.3"), nil, "0.9.9", false, ""},
		{"npm", events("SEMVER", "from 0", "fixed 1.5.0", "from 2.0.0", "fixed 2.1.0"), nil, "1.7.0", false, ""},
		{"npm", events("SEMVER", "from 0", "fixed 1.5.0", "from 2.0.0", "fixed 2.1.0"), nil, "2.0.5", true, "2.1.0"},
		{"npm", events("SEMVER", "fixed 2.1.0", "from 2.0.0", "fixed 1.5.0", "from 0"), nil, "2.0.5", true, "2.1.0"}, // any order
		{"npm", events("SEMVER", "from 0", "last 3.0.0"), nil, "3.0.0", true, ""},
		{"npm", events("SEMVER", "from 0", "last 3.0.0"), nil, "3.0.1", false, ""},
		{"npm", events("SEMVER", "from 0"), nil, "99.0.0", true, ""},
		{"npm", events("GIT", "from 0"), nil, "1.0.0", false, ""},
		{"npm", events("SEMVER", "from 0", "limit 2.0.0"), nil, "2.0.0", false, ""},
		{"npm", nil, []string{"1.0.0", "1.0.1"}, "1.0.1", true, ""},
		{"npm", nil, []string{"1.0.0", "1.0.1"}, "1.0.2", false, ""},
		{"npm", events("SEMVER", "from 0", "fixed 1.0.0"), nil, "not a version", true, "1.0.0"},
		{"PyPI", events("ECOSYSTEM", "from 0", "fixed 2.5.3"), nil, "2.5.3rc1", true, "2.5.3"},
		{"PyPI", events("ECOSYSTEM", "from 0", "fixed 2.5.3"), nil, "2.5.3.post1", false, ""},
		{"PyPI", nil, []string{"1.0"}, "1.0.0", true, ""},
		{"PyPI", events("ECOSYSTEM", "from 0", "fixed 1!1.0"), nil, "2024.1", true, "1!1.0"},
		{"Maven", events("ECOSYSTEM", "from 2.0-beta9", "fixed 2.15.0"), nil, "2.14.1", true, "2.15.0"},
		{"Maven", events("ECOSYSTEM", "from 2.0-beta9", "fixed 2.15.0"), nil, "2.0-alpha1", false, ""},
		{"Go", events("SEMVER", "from 0", "fixed 0.0.0-20220315160706-3147a52a75dd"), nil, "0.0.0-20210921155107-089bfa567519", true, "0.0.0-20220315160706-3147a52a75dd"},
		{"Go", events("SEMVER", "from 1.21.0-0", "fixed 1.21.8"), nil, "1.21.8", false, ""},
		{"Debian:12", events("ECOSYSTEM", "from 0", "fixed 3.0.11-1~deb12u2"), nil, "3.0.11-1~deb12u1", true, "3.0.11-1~deb12u2"},
		{"Debian:12", events("ECOSYSTEM", "from 0", "fixed 3.0.11-1~deb12u2"), nil, "1:0.1", false, ""},
		{"Alpine:v3.18", events("ECOSYSTEM", "from 0", "fixed 1.36.1-r1"), nil, "1.36.1-r0", true, "1.36.1-r1"},
		{"Rocky Linux:9", events("ECOSYSTEM", "from 0", "fixed 0:8.7p1-38.el9_4.1"), nil, "8.7p1-38.el9", true, "0:8.7p1-38.el9_4.1"},
		{"RubyGems", events("ECOSYSTEM", "from 0", "fixed 6.1.7.1"), nil, "6.1.7", true, "6.1.7.1"},
		{"NuGet", events("ECOSYSTEM", "from 0", "fixed 13.0.1"), nil, "12.0.3", true, "13.0.1"},
		{"crates.io", events("SEMVER", "from 0.0.0-0", "fixed 1.8.4"), nil, "1.8.3", true, "1.8.4"},
		{"Packagist", events("ECOSYSTEM", "from 0", "fixed 5.4.20"), nil, "v5.4.19", true, "5.4.20"},
		{"Nowhere", events("ECOSYSTEM", "from 0", "fixed 2"), nil, "1", false, ""},
		{"Nowhere", nil, []string{"1"}, "1", true, ""},
	} {
		name := fmt.Sprintf("%s %s %v", tc.ecosystem, tc.version, tc.ranges)
		a := &intel.Advisory{ID: "CVE-2024-1", Affected: []intel.Affected{{Ecosystem: tc.ecosystem, Name: "x", Ranges: tc.ranges, Versions: tc.listed}}}
		found, m := run(t, vuln.Options{Database: advisories{a}, Config: vuln.DefaultConfig()},
			scan.Package{PURL: "pkg:generic/x@1", Ecosystem: tc.ecosystem, Name: "x", Version: tc.version})
		if (len(found) == 1) != tc.want {
			t.Errorf("%s: %d findings, want one: %t", name, len(found), tc.want)
			continue
		}
		if tc.want && m.Flaws()[0].Fixed != tc.fixed {
			t.Errorf("%s: fixed in %q, want %q", name, m.Flaws()[0].Fixed, tc.fixed)
		}
	}
}

// TestOneFlawOneFinding: databases that say the same, places that hold the same.
func TestOneFlawOneFinding(t *testing.T) {
	db := advisories{
		advisory("GHSA-35jh-r3h4-6jhm", "npm", "lodash", span("0", "4.17.21"), "CVE-2021-23337"),
		advisory("SNYK-1", "npm", "lodash", span("0", "4.17.20"), "CVE-2021-23337"),
		advisory("GHSA-29mw-wpgm-hmr9", "npm", "lodash", span("0", "4.17.21"), "CVE-2020-28500"),
		advisory("OLD-1", "npm", "lodash", span("0", "")),
	}
	db[3].Withdrawn = time.Unix(1, 0)
	direct, nested := npm("lodash", "4.17.15"), npm("lodash", "4.17.15")
	nested.Path, nested.Line, nested.Relation = "node_modules/a/package.json", 0, ""
	nested.PURL = direct.PURL
	found, m := run(t, vuln.Options{Database: db, Config: vuln.DefaultConfig()}, nested, direct, npm("lodash", "4.17.21"))
	if len(found) != 2 || found[0].Rule != "CVE-2020-28500" || found[1].Rule != "CVE-2021-23337" {
		t.Fatalf("%+v", found)
	}
	f := found[1]
	if f.Location.Path != "package-lock.json" || f.Location.Line != 3 || evidence(f, "also at") != "node_modules/a/package.json" {
		t.Errorf("placed at %+v, also at %q", f.Location, evidence(f, "also at"))
	}
	if evidence(f, "fixed in") != "4.17.21" || evidence(f, "also known as") != "GHSA-35jh-r3h4-6jhm, SNYK-1" {
		t.Errorf("%+v", f.Evidence)
	}
	if f.Kind != signal.FindingVulnerability || !strings.Contains(f.Fix, "Upgrade lodash to 4.17.21") || !strings.Contains(f.Title, "CVE-2021-23337 in lodash 4.17.15") {
		t.Errorf("%+v", f)
	}
	if s := m.Summary(); s.Packages != 2 || s.Withdrawn != 2 || s.Flaws != 2 {
		t.Errorf("%+v", s)
	}
	upgraded, _ := run(t, vuln.Options{Database: db, Config: vuln.DefaultConfig()}, npm("lodash", "4.17.16"))
	if upgraded[1].ID != f.ID {
		t.Error("the same flaw in the same place has another id in another version")
	}
}

// TestSources: distributions name the source package.
func TestSources(t *testing.T) {
	db := advisories{advisory("DEBIAN-CVE-2023-1", "Debian:12", "openssl", span("0", "3.0.11-1"), "CVE-2023-1"),
		advisory("DEBIAN-CVE-2023-2", "Debian:11", "openssl", span("0", ""))}
	p := scan.Package{PURL: "pkg:deb/debian/libssl3@3.0.9-1", Ecosystem: "Debian:12", Name: "libssl3", Version: "3.0.9-1", Source: "openssl", Path: "var/lib/dpkg/status"}
	if found, _ := run(t, vuln.Options{Database: db, Config: vuln.DefaultConfig()}, p); len(found) != 1 || found[0].Rule != "CVE-2023-1" {
		t.Errorf("%+v", found)
	}
	p.SourceVersion = "3.0.11-1"
	if found, _ := run(t, vuln.Options{Database: db, Config: vuln.DefaultConfig()}, p); len(found) != 0 {
		t.Errorf("the source is fixed: %+v", found)
	}
}

func TestPriorities(t *testing.T) {
	kev := func(a *intel.Advisory) {
		a.Exploited = &intel.Exploited{CVE: "CVE-2021-44228", Added: time.Date(2021, 12, 10, 0, 0, 0, 0, time.UTC), Ransomware: true}
	}
	cvss := func(v string) func(*intel.Advisory) {
		return func(a *intel.Advisory) { a.Severity = []intel.Severity{{Type: "CVSS_V3", Score: v}} }
	}
	const ten = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H"
	const low = "CVSS:3.1/AV:L/AC:H/PR:H/UI:R/S:U/C:L/I:N/A:N"
	epss := func(s float64) func(*intel.Advisory) {
		return func(a *intel.Advisory) { a.Probability = &intel.Probability{Score: s} }
	}
	for _, tc := range []struct {
		name     string
		is       []func(*intel.Advisory)
		change   func(*vuln.Options, *scan.Package)
		severity signal.Severity
		says     []string
	}{
		{"as rated", []func(*intel.Advisory){cvss(ten)}, nil, signal.SeverityCritical, []string{"CVSS 10.0 (" + ten + ") (+90)"}},
		{"low", []func(*intel.Advisory){cvss(low)}, nil, signal.SeverityLow, []string{"CVSS 1.8"}},
		{"low and exploited", []func(*intel.Advisory){cvss(low), kev}, nil, signal.SeverityCritical, []string{"known to be exploited, by ransomware too, since 2021-12-10 (CISA KEV) (at least 90)"}},
		{"not rated", nil, nil, signal.SeverityMedium, []string{"not rated"}},
		{"a word", []func(*intel.Advisory){func(a *intel.Advisory) { a.Severity = []intel.Severity{{Type: "WORD", Score: "HIGH"}} }}, nil, signal.SeverityHigh, []string{"the advisory says high"}},
		{"version 2", []func(*intel.Advisory){func(a *intel.Advisory) {
			a.Severity = []intel.Severity{{Type: "CVSS_V2", Score: "AV:N/AC:L/Au:N/C:P/I:P/A:P"}}
		}}, nil, signal.SeverityHigh, []string{"CVSS 7.5"}},
		{"version 4", []func(*intel.Advisory){func(a *intel.Advisory) {
			a.Severity = []intel.Severity{{Type: "CVSS_V4", Score: "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N"}}
		}}, nil, signal.SeverityCritical, []string{"CVSS 9.3"}},
		{"a broken vector", []func(*intel.Advisory){cvss("CVSS:3.1/AV:X")}, nil, signal.SeverityMedium, []string{"not rated"}},
		{"probable", []func(*intel.Advisory){cvss("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N"), epss(0.94)}, nil, signal.SeverityCritical, []string{"94% (EPSS) (+15)"}},
		{"improbable", []func(*intel.Advisory){cvss("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N"), epss(0.0004)}, nil, signal.SeverityMedium, []string{"0.04% (EPSS) (-8)"}},
		{"development", []func(*intel.Advisory){cvss(ten)}, func(_ *vuln.Options, p *scan.Package) { p.Dev = true }, signal.SeverityHigh, []string{"development only (-20)"}},
		{"inside", []func(*intel.Advisory){cvss(ten)}, func(o *vuln.Options, _ *scan.Package) { o.Config.Exposure = vuln.ExposureNone }, signal.SeverityHigh, []string{"nothing can connect"}},
		{"seen in use", []func(*intel.Advisory){cvss("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:N")}, func(o *vuln.Options, _ *scan.Package) {
			o.Use = func(*scan.Package) vuln.Use { return vuln.Used }
		}, signal.SeverityCritical, []string{"seen in use at run time (+10)"}},
		{"not called", []func(*intel.Advisory){cvss(ten)}, reaches(vuln.NotReached), signal.SeverityLow, []string{"nothing calls the flawed symbols (at most 35)"}},
		{"called", []func(*intel.Advisory){cvss(ten)}, reaches(vuln.Reached), signal.SeverityCritical, []string{"calls lead to the flaw (+10)"}},
		{"malicious", []func(*intel.Advisory){func(a *intel.Advisory) { a.Malicious = true }}, func(_ *vuln.Options, p *scan.Package) { p.Dev = true }, signal.SeverityCritical, []string{"the package itself is an attack"}},
	} {
		a := advisory("CVE-2021-44228", "npm", "x", span("0", "2.0.0"))
		for _, change := range tc.is {
			change(a)
		}
		o, p := vuln.Options{Database: advisories{a}, Config: vuln.DefaultConfig()}, npm("x", "1.0.0")
		if tc.change != nil {
			tc.change(&o, &p)
		}
		found, _ := run(t, o, p)
		if len(found) != 1 || found[0].Severity != tc.severity {
			t.Errorf("%s: %+v, want severity %v", tc.name, found, tc.severity)
			continue
		}
		for _, want := range tc.says {
			if got := evidence(found[0], "priority"); !strings.Contains(got, want) {
				t.Errorf("%s: %q does not say %q", tc.name, got, want)
			}
		}
	}
}

type reacher struct{ says vuln.Reachability }

func (r reacher) Reach(_ context.Context, flaws []*vuln.Flaw) error {
	for _, f := range flaws {
		f.Reach = r.says
	}
	return nil
}

func reaches(r vuln.Reachability) func(*vuln.Options, *scan.Package) {
	return func(o *vuln.Options, _ *scan.Package) { o.Reacher = reacher{r} }
}

// TestLeastGo: what go.mod asks of the toolchain says little of the one that builds.
func TestLeastGo(t *testing.T) {
	a := advisory("GO-2023-2102", "Go", "stdlib", span("0", "1.21.3"), "CVE-2023-39325")
	a.Severity = []intel.Severity{{Type: "CVSS_V3", Score: "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H"}}
	a.Exploited = &intel.Exploited{CVE: "CVE-2023-39325"}
	p := scan.Package{PURL: "pkg:golang/stdlib@1.21", Ecosystem: "Go", Name: "stdlib", Version: "1.21", Path: "go.mod", Line: 3}
	binary := p
	binary.Path, binary.Line = "bin/shop", 0
	o := vuln.Options{Database: advisories{a}, Config: vuln.DefaultConfig()}
	if found, _ := run(t, o, p); len(found) != 1 || found[0].Severity >= signal.SeverityHigh || !strings.Contains(evidence(found[0], "priority"), "the least Go") {
		t.Errorf("%+v", found)
	}
	if found, _ := run(t, o, p, binary); found[0].Severity != signal.SeverityCritical {
		t.Errorf("a program that was built with it: %+v", found)
	}
}

func TestIgnore(t *testing.T) {
	db := advisories{advisory("GHSA-1", "npm", "x", span("0", ""), "CVE-2024-5")}
	inTests := npm("x", "1.0.0")
	inTests.Path = "test/package-lock.json"
	for _, tc := range []struct {
		name     string
		ig       vuln.Ignore
		findings int
		expired  int
	}{
		{"by id", vuln.Ignore{ID: "GHSA-1", Reason: "r", Until: "2026-12-31"}, 0, 0},
		{"by alias", vuln.Ignore{ID: "CVE-2024-5", Reason: "r", Until: "2026-12-31"}, 0, 0},
		{"on its last day", vuln.Ignore{ID: "GHSA-1", Reason: "r", Until: "2026-11-22"}, 0, 0},
		{"ended", vuln.Ignore{ID: "GHSA-1", Reason: "r", Until: "2026-11-21"}, 1, 1},
		{"another package", vuln.Ignore{ID: "GHSA-1", Package: "pkg:npm/y", Reason: "r", Until: "2026-12-31"}, 1, 0},
		{"the package", vuln.Ignore{ID: "GHSA-1", Package: "pkg:npm/x", Reason: "r", Until: "2026-12-31"}, 0, 0},
		{"another version", vuln.Ignore{ID: "GHSA-1", Package: "pkg:npm/x@2.0.0", Reason: "r", Until: "2026-12-31"}, 1, 0},
		{"one place of two", vuln.Ignore{ID: "GHSA-1", Path: "/package-lock.json", Reason: "r", Until: "2026-12-31"}, 1, 0},
		{"both places", vuln.Ignore{ID: "GHSA-1", Path: "package-lock.json", Reason: "r", Until: "2026-12-31"}, 0, 0},
	} {
		c := vuln.DefaultConfig()
		c.Ignore = []vuln.Ignore{tc.ig}
		found, m := run(t, vuln.Options{Database: db, Config: c, Now: time.Date(2026, 11, 22, 19, 0, 0, 0, time.UTC)}, npm("x", "1.0.0"), inTests)
		if len(found) != tc.findings || m.Summary().Expired != tc.expired {
			t.Errorf("%s: %d findings, %+v", tc.name, len(found), m.Summary())
		}
		if tc.name == "one place of two" && found[0].Location.Path != "test/package-lock.json" {
			t.Errorf("the place that is ignored is reported: %+v", found[0].Location)
		}
	}
	for _, bad := range []vuln.Ignore{{ID: "GHSA-1", Until: "2026-12-31"}, {ID: "GHSA-1", Reason: "r"}, {ID: "GHSA-1", Reason: "r", Until: "soon"}, {ID: "*", Reason: "r", Until: "2026-12-31"}} {
		if err := (&vuln.Config{Ignore: []vuln.Ignore{bad}}).Validate(); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

func TestPathOfTransitive(t *testing.T) {
	app, mid, deep := npm("express", "4.17.1"), npm("qs", "6.7.0"), npm("side-channel", "1.0.0")
	mid.Relation, deep.Relation = scan.Transitive, scan.Transitive
	app.DependsOn, mid.DependsOn, deep.DependsOn = []string{mid.PURL}, []string{deep.PURL}, []string{mid.PURL} // a circle
	found, _ := run(t, vuln.Options{Database: advisories{advisory("CVE-2024-9", "npm", "side-channel", span("0", "1.0.1"))}, Config: vuln.DefaultConfig()}, app, mid, deep)
	if got := evidence(found[0], "brought by"); got != "express 4.17.1 → qs 6.7.0 → side-channel 1.0.0" {
		t.Errorf("brought by %q", got)
	}
	if !strings.Contains(found[0].Fix, "pin side-channel to 1.0.1") {
		t.Errorf("%q", found[0].Fix)
	}
}

func TestVEX(t *testing.T) {
	p := npm("x", "1.0.0")
	db := advisories{advisory("GHSA-1", "npm", "x", span("0", ""), "CVE-2024-5")}
	openvex := func(status, extra, product string) string {
		return fmt.Sprintf(`{"@context":"https://openvex.dev/ns/v0.2.0","@id":"https://example.org/1","author":"a","timestamp":"2024-01-01T00:00:00Z","version":1,
			"statements":[{"vulnerability":{"name":"CVE-2024-5"},"products":[%s],"status":%q%s}]}`, product, status, extra)
	}
	csaf := func(group string) string {
		return fmt.Sprintf(`{"document":{"tracking":{"current_release_date":"2024-01-01T00:00:00Z"}},"product_tree":{"branches":[{"branches":[{"product":
			{"product_id":"A","product_identification_helper":{"purl":"pkg:npm/x"}}}]}],"relationships":[{"product_reference":"A","relates_to_product_reference":"OS","full_product_name":{"product_id":"A-in-OS"}}]},
			"vulnerabilities":[{"cve":"CVE-2024-5","product_status":{%q:["A-in-OS"]}}]}`, group)
	}
	for _, tc := range []struct {
		name, doc string
		findings  int
	}{
		{"not affected", openvex("not_affected", `,"justification":"vulnerable_code_not_present"`, `{"@id":"pkg:npm/x@1.0.0"}`), 0},
		{"any version", openvex("not_affected", ``, `{"@id":"pkg:npm/x"}`), 0},
		{"another version", openvex("not_affected", ``, `{"@id":"pkg:npm/x@2.0.0"}`), 1},
		{"a component", openvex("not_affected", ``, `{"@id":"pkg:oci/app","subcomponents":[{"@id":"pkg:npm/x"}]}`), 0},
		{"another component", openvex("not_affected", ``, `{"@id":"pkg:npm/x","subcomponents":[{"@id":"pkg:npm/y"}]}`), 1},
		{"affected", openvex("affected", ``, `{"@id":"pkg:npm/x"}`), 1},
		{"CSAF not affected", csaf("known_not_affected"), 0},
		{"CSAF affected", csaf("known_affected"), 1},
	} {
		statements, err := vuln.ReadVEX(strings.NewReader(tc.doc))
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if found, m := run(t, vuln.Options{Database: db, Config: vuln.DefaultConfig(), Statements: statements}, p); len(found) != tc.findings || m.Summary().NotAffected != 1-tc.findings {
			t.Errorf("%s: %d findings", tc.name, len(found))
		}
	}
	for _, bad := range []string{"", "[]", "{}", `{"@context":"https://openvex.dev/ns","statements":[{"status":"maybe"}]}`, `{"document":{"tracking":1}}`,
		`{"document":{},"product_tree":` + strings.Repeat(`{"branches":[`, 200) + strings.Repeat(`]}`, 200) + `}`} {
		if _, err := vuln.ReadVEX(strings.NewReader(bad)); err == nil {
			t.Errorf("%.60q is taken", bad)
		}
	}
}

// TestWriteVEX: what is written is read back, and is the same each time.
func TestWriteVEX(t *testing.T) {
	a := advisory("GHSA-1", "npm", "x", span("0", "2.0.0"), "CVE-2024-5")
	o := vuln.Options{Database: advisories{a}, Config: vuln.DefaultConfig(), Reacher: reacher{vuln.NotReached}}
	_, m := run(t, o, npm("x", "1.0.0"))
	var first, second strings.Builder
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, b := range []*strings.Builder{&first, &second} {
		if err := vuln.WriteVEX(b, m.Flaws(), "shop team", at); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff(first.String(), second.String()); d != "" {
		t.Error(d)
	}
	statements, err := vuln.ReadVEX(strings.NewReader(first.String()))
	if err != nil {
		t.Fatal(err)
	}
	if len(statements) != 1 || statements[0].Status != vuln.NotAffected || statements[0].Why != "vulnerable_code_not_in_execute_path" || !statements[0].Time.Equal(at) {
		t.Errorf("%+v", statements)
	}
	o.Reacher, o.Statements = nil, statements
	if found, _ := run(t, o, npm("x", "1.0.0")); len(found) != 0 {
		t.Errorf("our own statement is not taken: %+v", found)
	}
}

func TestDatabaseFails(t *testing.T) {
	m, err := vuln.New(vuln.Options{Database: broken{}})
	if err != nil {
		t.Fatal(err)
	}
	err = m.Match(t.Context(), &scan.Inventory{Packages: []scan.Package{npm("x", "1")}}, func(signal.Finding, scan.Confidence) {})
	if err == nil || !strings.Contains(err.Error(), "advisories of x: block 7 is damaged") {
		t.Error(err)
	}
	if _, err := vuln.New(vuln.Options{}); err == nil {
		t.Error("a matcher without a database")
	}
}

// TestHostile: nothing of an inventory or an advisory reaches a terminal as it is.
func TestHostile(t *testing.T) {
	a := advisory("CVE-2024-1\x1b[2J", "npm", "x\x1b[31m", span("0", "2\x07"))
	a.Summary, a.References = "owned\x1b]0;title\x07", []intel.Reference{{URL: "javascript:alert(1)"}, {URL: "https://ok.example/\x1b"}}
	p := npm("x\x1b[31m", "1.0.0\x1b")
	p.Path = "a\nb\x1b"
	found, _ := run(t, vuln.Options{Database: advisories{a}, Config: vuln.DefaultConfig()}, p)
	if len(found) != 1 {
		t.Fatal(found)
	}
	f := found[0]
	for _, s := range append([]string{f.Rule, f.Title, f.Fix, f.Location.Path}, f.References...) {
		if strings.ContainsAny(s, "\x1b\x07\n") || strings.HasPrefix(s, "javascript") {
			t.Errorf("%q", s)
		}
	}
}

func FuzzReadVEX(f *testing.F) {
	f.Add([]byte(`{"@context":"https://openvex.dev/ns/v0.2.0","statements":[{"vulnerability":{"name":"CVE-1"},"products":[{"@id":"pkg:npm/x"}],"status":"fixed"}]}`))
	f.Add([]byte(`{"document":{},"product_tree":{"full_product_names":[{"product_id":"1"}]},"vulnerabilities":[{"product_status":{"fixed":["1"]}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		statements, err := vuln.ReadVEX(strings.NewReader(string(data)))
		if err != nil && statements != nil {
			t.Error("statements beside an error")
		}
		db := advisories{advisory("CVE-1", "npm", "x", span("0", ""))}
		m, _ := vuln.New(vuln.Options{Database: db, Statements: statements})
		_ = m.Match(context.Background(), &scan.Inventory{Packages: []scan.Package{npm("x", "1")}}, func(signal.Finding, scan.Confidence) {})
	})
}
