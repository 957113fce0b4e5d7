package console_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/console/consoletest"
	"github.com/testudo-sec/testudo/signal"
)

func scanBody(t *testing.T, change func(*console.ScanReport)) string {
	s := console.ScanReport{Asset: console.ScanAsset{Kind: "repository", Name: "acme/shop"}, Complete: true,
		Findings: []signal.Finding{{ID: "one", Kind: signal.FindingVulnerability, Rule: "CVE-1", Title: "a flaw", Severity: signal.SeverityHigh, Plane: signal.PlaneScan, State: signal.FindingOpen}},
		Packages: []console.ScanPackage{{PURL: "pkg:npm/a@1", Name: "a", Version: "1"}}}
	change(&s)
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestPutScanHostile: what a scan brings cannot speak for another asset, nor lie in a terminal or a page.
func TestPutScanHostile(t *testing.T) {
	b := newBench(t, nil)
	body := scanBody(t, func(s *console.ScanReport) {
		f := &s.Findings[0]
		f.ID, f.Asset, f.State, f.Plane, f.Count = b.world.Findings[0].ID, "application:shop", signal.FindingMuted, signal.PlaneEdge, 1e6
		f.Title, f.Desc = "red \x1b[31m\u202e", strings.Repeat("x", 1<<20)
		f.References = []string{"javascript:alert(1)", "https://example.com/a", "file:///etc/passwd"}
		f.Events = []signal.ID{b.world.Log[0].ID}
		f.Tags = make([]string, 1000)
		f.Location.Line = -5
		s.Packages[0].Name, s.Packages[0].Licenses = "a\x00b\x1b", make([]string, 1000)
	})
	w := b.send(b.request("POST", "/api/v1/scans", body, consoletest.OperatorName))
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if len(b.world.Scans) != 1 {
		t.Fatal("the scan was not handed on")
	}
	got := b.world.Scans[0]
	f := got.Findings[0]
	switch {
	case f.ID == b.world.Findings[0].ID || f.ID == "one":
		t.Error("a finding of another asset can be named")
	case f.Asset != "pushed:repository:acme/shop" || f.State != signal.FindingOpen || f.Plane != signal.PlaneScan || f.Count != 1 || len(f.Events) != 0:
		t.Errorf("what is the server's to say was taken: %+v", f)
	case strings.ContainsAny(f.Title+got.Packages[0].Name, "\x1b\x00\u202e"):
		t.Errorf("not printable: %q %q", f.Title, got.Packages[0].Name)
	case len(f.Desc) > 4096 || len(f.Tags) > 64 || len(got.Packages[0].Licenses) > 64 || f.Location.Line != 0:
		t.Error("not bounded")
	case len(f.References) != 1 || f.References[0] != "https://example.com/a":
		t.Errorf("references %q", f.References)
	}
	// The same finding of another asset is another one.
	b.send(b.request("POST", "/api/v1/scans", scanBody(t, func(s *console.ScanReport) { s.Asset.Name = "acme/site"; s.Findings[0].ID = b.world.Findings[0].ID }), consoletest.OperatorName))
	if other := b.world.Scans[1].Findings[0].ID; other == f.ID {
		t.Error("two assets share a finding")
	}
}

func TestPutScanRefuses(t *testing.T) {
	b := newBench(t, nil)
	for name, c := range map[string]struct {
		change func(*console.ScanReport)
		status int
		field  string
	}{
		"kind":       {func(s *console.ScanReport) { s.Asset.Kind = "application" }, 422, "asset.kind"},
		"no name":    {func(s *console.ScanReport) { s.Asset.Name = " " }, 422, "asset.name"},
		"long name":  {func(s *console.ScanReport) { s.Asset.Name = strings.Repeat("x", 300) }, 422, "asset.name"},
		"lines":      {func(s *console.ScanReport) { s.Asset.Name = "a\nb" }, 422, "asset.name"},
		"revision":   {func(s *console.ScanReport) { s.Asset.Revision = "\x1b[2J" }, 422, "asset.revision"},
		"detection":  {func(s *console.ScanReport) { s.Findings[0].Kind = signal.FindingDetection }, 422, "findings[0].kind"},
		"no id":      {func(s *console.ScanReport) { s.Findings[0].ID = "" }, 422, "findings[0]"},
		"no package": {func(s *console.ScanReport) { s.Packages[0].Name = "" }, 422, "packages[0]"},
		"findings":   {func(s *console.ScanReport) { s.Findings = make([]signal.Finding, console.MaxScanFindings+1) }, 422, "findings"},
		"packages":   {func(s *console.ScanReport) { s.Packages = make([]console.ScanPackage, console.MaxScanPackages+1) }, 422, "packages"},
		"body":       {func(s *console.ScanReport) { s.Findings[0].Desc = strings.Repeat("x", console.MaxScanBody) }, 413, ""},
	} {
		body := scanBody(t, c.change)
		w := b.send(b.request("POST", "/api/v1/scans", body, consoletest.OperatorName))
		if p := decode[console.Problem](t, w); p.Status != c.status || p.Field != c.field {
			t.Errorf("%s: %+v, want %d of %q", name, p, c.status, c.field)
		}
	}
	w := b.send(b.request("POST", "/api/v1/scans", scanBody(t, func(*console.ScanReport) {}), consoletest.ViewerName))
	if w.Code != http.StatusForbidden {
		t.Errorf("a viewer stores scans: %d", w.Code)
	}
	w = b.send(b.request("POST", "/api/v1/scans", scanBody(t, func(*console.ScanReport) {}), ""))
	if w.Code != http.StatusUnauthorized {
		t.Errorf("nobody stores scans: %d", w.Code)
	}
	r := b.request("GET", "/api/v1/packages", "", "")
	r.Header.Set("Authorization", "Bearer "+consoletest.ScannerToken)
	if w = b.send(r); w.Code != http.StatusForbidden {
		t.Errorf("a scanner reads packages: %d", w.Code)
	}
	if len(b.world.Scans) != 0 {
		t.Error("something of it was taken")
	}
	// Elsewhere bodies are as small as they were.
	w = b.send(b.request("POST", "/api/v1/actions", `{"kind":"`+strings.Repeat("x", 2<<20)+`"}`, consoletest.OperatorName))
	if w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("a large order: %d", w.Code)
	}
}
