package consoletest

import (
	"context"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/signal"
)

// fillPackages gives the world packages, one of them with a known vulnerability, one of hostile making.
func (w *World) fillPackages() {
	flaw := signal.Finding{
		Kind: signal.FindingVulnerability, Rule: "CVE-2021-23337", Title: "CVE-2021-23337 in lodash 4.17.20: Command Injection in lodash", Severity: signal.SeverityHigh,
		State: signal.FindingOpen, Plane: signal.PlaneScan, Asset: "repository:web", Location: signal.Location{Path: "package-lock.json", Line: 1204}, Count: 3,
		Fix: "Upgrade lodash to 4.17.21: npm install lodash@4.17.21.", References: []string{"https://nvd.nist.gov/vuln/detail/CVE-2021-23337"},
		First: w.Start.Add(-72 * time.Hour), Last: w.Start.Add(-40 * time.Minute),
		Evidence: []signal.Evidence{{Name: "package", Value: "pkg:npm/lodash@4.17.20"}, {Name: "installed", Value: "4.17.20"}, {Name: "fixed in", Value: "4.17.21"},
			{Name: "priority", Value: "73 of 100: CVSS 7.2 (+65); exploitation within 30 days has a probability of 46% (EPSS) (+8)"}, {Name: "also known as", Value: "GHSA-35jh-r3h4-6jhm"},
			{Name: "relation", Value: "transitive"}, {Name: "brought by", Value: "shop → async@2.6.1 → lodash@4.17.20"}},
	}
	flaw.ID = signal.Fingerprint(flaw.Rule, flaw.Title, flaw.Asset)
	w.Findings = append(w.Findings, flaw)
	add := func(asset, kind, ecosystem, name, version, path string, line int, relation string, flaws ...console.PackageFlaw) {
		w.Packages = append(w.Packages, console.Package{Asset: asset, PURL: "pkg:" + kind + "/" + name + "@" + version, Ecosystem: ecosystem, Name: name, Version: version,
			Path: path, Line: line, Relation: relation, Licenses: []string{"MIT"}, Scanned: w.Start.Add(-40 * time.Minute), Flaws: flaws})
	}
	add("repository:web", "npm", "npm", "async", "2.6.1", "package-lock.json", 88, "direct")
	add("pushed:image:acme/billing", "golang", "Go", "golang.org/x/net", "0.21.0", "usr/bin/billing", 0, "")
	add("pushed:repository:acme/site", "npm", "npm", "lodash", "4.17.21", "package-lock.json", 702, "direct")
	add("repository:web", "npm", "npm", "lodash", "4.17.20", "package-lock.json", 1204, "transitive",
		console.PackageFlaw{Finding: flaw.ID, ID: flaw.Rule, Severity: flaw.Severity, Fixed: "4.17.21"})
	add("pushed:image:acme/billing", "deb/debian", "Debian:12", "openssl", "3.0.11-1~deb12u2", "var/lib/dpkg/status", 4410, "")
	add("repository:web", "npm", "npm", "<script>alert(1)</script>", "\u202e1.0", "package-lock.json", 9, "direct")
}

func (n node) Packages(_ context.Context, q console.PackageQuery) (console.Page[console.Package], error) {
	n.w.Lock.Lock()
	defer n.w.Lock.Unlock()
	if err := n.w.fail(); err != nil {
		return console.Page[console.Package]{}, err
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(q.PURL, "pkg:"), "@")
	if q.PURL != "" && !strings.Contains(name, "/") {
		return console.Page[console.Package]{}, &console.InputError{Field: "purl", Reason: "no package URL"}
	}
	var hits []console.Package
	for _, p := range n.w.Packages {
		if (q.PURL == "" || strings.HasPrefix(p.PURL, "pkg:"+name+"@")) && has(q.Text, p.Name) && (q.Asset == "" || p.Asset == q.Asset) {
			hits = append(hits, p)
		}
	}
	return page(hits, q.Cursor, q.Limit)
}

func (n node) PutScan(_ context.Context, s console.ScanReport, _ console.Identity) (console.ScanReceipt, error) {
	n.w.Lock.Lock()
	defer n.w.Lock.Unlock()
	if err := n.w.fail(); err != nil {
		return console.ScanReceipt{}, err
	}
	n.w.Scans = append(n.w.Scans, s)
	return console.ScanReceipt{Asset: s.Asset.ID(), Findings: len(s.Findings), Packages: len(s.Packages)}, nil
}
