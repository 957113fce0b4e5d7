package assembly

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/signal"
)

const lockfile = `{"name":"shop","version":"1.0.0","lockfileVersion":3,"packages":{
"":{"name":"shop","version":"1.0.0","dependencies":{"lodash":"4.17.20"}},
"node_modules/lodash":{"version":"4.17.20","license":"MIT"},
"node_modules/async":{"version":"2.6.1"}}}`

// TestScansHavePackages: what a node scans by itself can be asked for by package URL.
func TestScansHavePackages(t *testing.T) {
	repo := t.TempDir()
	if err := os.WriteFile(filepath.Join(repo, "package-lock.json"), []byte(lockfile), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, testSettings(""), dataDir(t), repo)
	eventually(t, "the scan ends", func() bool { return len(s.m.ScanResults()) == 1 })
	if r := s.m.ScanResults()[0]; r.Err != nil {
		t.Fatal(r.Err)
	}
	for query, want := range map[string]int{
		"pkg:npm/lodash@<4.17.21": 1, "pkg:npm/lodash@>=4.17.21": 0, "pkg:npm/lodash": 1, "pkg:npm/lodash@4.17.20": 1, "pkg:npm/async@>2 <3": 1, "pkg:npm/nothing": 0,
	} {
		page, err := packages{s.m}.Packages(t.Context(), console.PackageQuery{PURL: query, Limit: 10})
		if err != nil || len(page.Items) != want {
			t.Errorf("%s: %d packages, want %d: %v %v", query, len(page.Items), want, page.Items, err)
		}
	}
	var input *console.InputError
	if _, err := (packages{s.m}).Packages(t.Context(), console.PackageQuery{PURL: "lodash@<", Limit: 10}); !errors.As(err, &input) || input.Field != "purl" {
		t.Errorf("what is no package URL: %v", err)
	}
}

// TestPutScan: a scan that was made elsewhere opens and resolves findings of its own asset, and of no other.
func TestPutScan(t *testing.T) {
	s := start(t, testSettings(""), dataDir(t))
	ann := console.Identity{Name: "ann", Role: console.RoleOperator, Kind: console.KindToken}
	bob := console.Identity{Name: "bob", Role: console.RoleOperator, Kind: console.KindToken}
	admin := console.Identity{Name: "root", Role: console.RoleAdmin, Kind: console.KindPerson}
	report := func(name string, complete bool, rules ...string) console.ScanReport {
		r := console.ScanReport{Asset: console.ScanAsset{Kind: "repository", Name: name, Revision: "4f2c"}, Complete: complete}
		for i := range 30 {
			r.Packages = append(r.Packages, console.ScanPackage{PURL: fmt.Sprintf("pkg:npm/lodash@4.17.%d", i), Ecosystem: "npm", Name: "lodash", Version: fmt.Sprintf("4.17.%d", i)})
		}
		for _, rule := range rules {
			r.Findings = append(r.Findings, signal.Finding{ID: rule, Kind: signal.FindingVulnerability, Rule: rule, Title: rule + " in lodash 4.17.20", Severity: signal.SeverityHigh,
				Evidence: []signal.Evidence{{Name: "package", Value: "pkg:npm/lodash@4.17.20"}, {Name: "installed", Value: "4.17.20"}, {Name: "fixed in", Value: "4.17.21"}}})
		}
		return r
	}
	put := func(r console.ScanReport, by console.Identity) (console.ScanReceipt, error) {
		return s.m.console.Desk().PutScan(console.WithCaller(t.Context(), console.Caller{Identity: by}), r)
	}
	open := func(name string) (rules []string) {
		page, err := findings{s.m}.Findings(t.Context(), console.FindingQuery{State: signal.FindingOpen, Asset: "pushed:repository:" + name, Limit: 50})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range page.Items {
			rules = append(rules, f.Rule)
		}
		return rules
	}
	for _, name := range []string{"acme/shop", "acme/site"} {
		if got, err := put(report(name, true, "CVE-1", "CVE-2"), ann); err != nil || got.Findings != 2 || got.Packages != 30 || got.Resolved != 0 {
			t.Fatalf("%+v %v", got, err)
		}
	}
	if n := len(open("acme/shop")) + len(open("acme/site")); n != 4 {
		t.Errorf("%d findings are open, want 4: those of two projects are not the same", n)
	}
	if got, err := put(report("acme/shop", false), ann); err != nil || got.Resolved != 0 || len(open("acme/shop")) != 2 {
		t.Errorf("a scan that is not complete resolved something: %+v %v", got, err)
	}
	if got, err := put(report("acme/shop", true, "CVE-2"), ann); err != nil || got.Resolved != 1 {
		t.Errorf("%+v %v", got, err)
	}
	if shop, site := open("acme/shop"), open("acme/site"); len(shop) != 1 || shop[0] != "CVE-2" || len(site) != 2 {
		t.Errorf("open: %v and %v", shop, site)
	}
	if _, err := put(report("acme/shop", true), bob); !errors.Is(err, console.ErrConflict) || len(open("acme/shop")) != 1 {
		t.Errorf("another token speaks for the project: %v", err)
	}
	if _, err := put(report("acme/site", true), admin); err != nil || len(open("acme/site")) != 0 {
		t.Errorf("an admin cannot take over: %v", err)
	}
	if _, err := put(report("acme/site", true), ann); !errors.Is(err, console.ErrConflict) {
		t.Errorf("who was before speaks for it still: %v", err)
	}

	// Pages of what fits a range, whatever lies between.
	var versions []string
	q := console.PackageQuery{PURL: "pkg:npm/lodash@>=4.17.20 <4.17.28", Asset: "pushed:repository:acme/shop", Limit: 3}
	for {
		page, err := packages{s.m}.Packages(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range page.Items {
			versions = append(versions, p.Version)
			if p.Version == "4.17.20" && (len(p.Flaws) != 1 || p.Flaws[0].ID != "CVE-2" || p.Flaws[0].Fixed != "4.17.21") || p.Version != "4.17.20" && len(p.Flaws) != 0 {
				t.Errorf("flaws of %s: %+v", p.Version, p.Flaws)
			}
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
	}
	if got := strings.Join(versions, " "); got != "4.17.20 4.17.21 4.17.22 4.17.23 4.17.24 4.17.25 4.17.26 4.17.27" {
		t.Errorf("versions %s", got)
	}
}
