package console

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/testudo-sec/testudo/signal"
)

// PackageSource knows which packages the assets have that were scanned.
type PackageSource interface {
	// Packages come by name. An InputError says what is wrong with PURL.
	Packages(ctx context.Context, q PackageQuery) (Page[Package], error)
}

// ScanTaker takes scans that were made elsewhere.
type ScanTaker interface {
	// PutScan stores what a scan found as what the asset has now. What is in s is bounded and printable, and its asset's id
	// can be no asset's of this machine. ErrConflict where the asset is another one's.
	PutScan(ctx context.Context, s ScanReport, by Identity) (ScanReceipt, error)
}

// PackageQuery says which packages to list. PURL and Text may both be empty.
type PackageQuery struct {
	PURL   string // a package URL whose version may be a comparison, as in pkg:npm/lodash@<4.17.21
	Text   string // a part of the name
	Asset  string
	Cursor string
	Limit  int
}

// Package is a package of an asset, at one place.
type Package struct {
	Asset     string        `json:"asset"` // id
	PURL      string        `json:"purl"`
	Ecosystem string        `json:"ecosystem,omitempty"`
	Name      string        `json:"name"`
	Version   string        `json:"version"`
	Path      string        `json:"path,omitempty" doc:"file that names it"`
	Line      int           `json:"line,omitempty"`
	Relation  string        `json:"relation,omitempty" doc:"direct, transitive or root"`
	Dev       bool          `json:"dev,omitempty" doc:"serves development or tests only"`
	Licenses  []string      `json:"licenses"`
	Layer     string        `json:"layer,omitempty"`
	Scanned   time.Time     `json:"scanned"`
	Flaws     []PackageFlaw `json:"flaws" doc:"its known vulnerabilities that are open, 20 at most"`
}

// PackageFlaw is an open vulnerability of a package.
type PackageFlaw struct {
	Finding  string          `json:"finding" doc:"id of the finding"`
	ID       string          `json:"id" doc:"as in CVE-2021-23337"`
	Severity signal.Severity `json:"severity"`
	Fixed    string          `json:"fixed,omitempty" doc:"first version without it"`
}

// ScanReport is what a scan found, elsewhere.
type ScanReport struct {
	Asset ScanAsset `json:"asset"`
	// Complete scans resolve the asset's findings that they do not hold, and replace its packages.
	Complete bool             `json:"complete" doc:"all was looked at that is looked for: findings that are not here are gone"`
	Findings []signal.Finding `json:"findings"`
	Packages []ScanPackage    `json:"packages"`
}

// ScanAsset is what was scanned.
type ScanAsset struct {
	Kind     string `json:"kind" doc:"repository or image"`
	Name     string `json:"name" doc:"what people call it, as in acme/shop"`
	Revision string `json:"revision,omitempty" doc:"commit or digest"`
}

// ID is the asset's id. Machines give none that begins so to what they scan by themselves.
func (a ScanAsset) ID() string { return signal.AssetID("pushed", a.Kind+":"+a.Name) }

// ScanPackage is a package that a scan found.
type ScanPackage struct {
	PURL      string   `json:"purl"`
	Ecosystem string   `json:"ecosystem,omitempty"`
	Name      string   `json:"name"`
	Version   string   `json:"version"`
	Path      string   `json:"path,omitempty"`
	Line      int      `json:"line,omitempty"`
	Relation  string   `json:"relation,omitempty"`
	Dev       bool     `json:"dev,omitempty"`
	Licenses  []string `json:"licenses,omitempty"`
	Layer     string   `json:"layer,omitempty"`
}

// ScanReceipt says what became of a scan.
type ScanReceipt struct {
	Asset    string `json:"asset"` // id
	Findings int    `json:"findings"`
	Packages int    `json:"packages"`
	Resolved int    `json:"resolved" doc:"findings that are gone"`
}

// Bounds of a scan that is taken.
const (
	MaxScanBody     = 32 << 20
	MaxScanFindings = 20_000
	MaxScanPackages = 100_000
	maxScans        = 2 // taken at a time
	maxScanName     = 200
	maxScanText     = 4 << 10
	maxScanList     = 64
)

// PutScan stores a scan that was made elsewhere. Scanners may, and operators.
func (d *Desk) PutScan(ctx context.Context, s ScanReport) (ScanReceipt, error) {
	c, err := d.caller(ctx, RoleScanner)
	if err != nil {
		return ScanReceipt{}, err
	}
	if d.sources.Scans == nil {
		return ScanReceipt{}, unavailable("a store of scans")
	}
	if err := s.check(); err != nil {
		return ScanReceipt{}, err
	}
	done, err := d.record(ctx, c, "scan.push", s.Asset.ID(), map[string]string{
		"revision": s.Asset.Revision, "findings": fmt.Sprint(len(s.Findings)), "packages": fmt.Sprint(len(s.Packages)), "complete": fmt.Sprint(s.Complete)})
	if err != nil {
		return ScanReceipt{}, err
	}
	receipt, err := d.sources.Scans.PutScan(ctx, s, c.Identity)
	if err := done(err); err != nil {
		return ScanReceipt{}, err
	}
	d.changed(TopicFindings)
	return receipt, nil
}

// check refuses what cannot be stored, and makes the rest fit to be: text printable, ids the asset's own, times and states the server's.
func (s *ScanReport) check() error {
	if s.Asset.Kind != "repository" && s.Asset.Kind != "image" {
		return &InputError{Field: "asset.kind", Reason: "want repository or image"}
	}
	if strings.TrimSpace(s.Asset.Name) == "" {
		return &InputError{Field: "asset.name", Reason: "name what was scanned, as in acme/shop"}
	}
	for field, v := range map[string]string{"asset.name": s.Asset.Name, "asset.revision": s.Asset.Revision} {
		if err := checkText(field, v, maxScanName); err != nil {
			return err
		}
		if strings.ContainsAny(v, "\n\t") {
			return &InputError{Field: field, Reason: "holds more than one line"}
		}
	}
	if n := len(s.Findings); n > MaxScanFindings {
		return &InputError{Field: "findings", Reason: fmt.Sprintf("%d findings, at most %d are taken of one scan", n, MaxScanFindings)}
	}
	if n := len(s.Packages); n > MaxScanPackages {
		return &InputError{Field: "packages", Reason: fmt.Sprintf("%d packages, at most %d are taken of one scan", n, MaxScanPackages)}
	}
	asset := s.Asset.ID()
	for i := range s.Findings {
		f := &s.Findings[i]
		field := fmt.Sprintf("findings[%d]", i)
		if f.ID == "" || f.Rule == "" || f.Title == "" {
			return &InputError{Field: field, Reason: "want an id, a rule and a title"}
		}
		if f.Kind != signal.FindingVulnerability && f.Kind != signal.FindingPosture && f.Kind != signal.FindingCompliance {
			return &InputError{Field: field + ".kind", Reason: "want vulnerability, posture or compliance"}
		}
		// No scan can name another asset's finding.
		clean := signal.Finding{ID: signal.Fingerprint("pushed", asset, f.ID), Kind: f.Kind, Rule: printable(f.Rule, maxScanName), Title: printable(f.Title, 500),
			Desc: printable(f.Desc, maxScanText), Severity: f.Severity, State: signal.FindingOpen, Plane: signal.PlaneScan, Asset: asset, Fix: printable(f.Fix, maxScanText),
			Location: signal.Location{Path: printable(f.Location.Path, maxScanText), Line: max(f.Location.Line, 0), EndLine: max(f.Location.EndLine, 0), Column: max(f.Location.Column, 0),
				Snippet: printable(f.Location.Snippet, maxScanText), Commit: printable(f.Location.Commit, maxScanName)},
			Tags: printables(f.Tags, maxScanName), Count: 1}
		for _, e := range f.Evidence[:min(len(f.Evidence), maxScanList)] {
			clean.Evidence = append(clean.Evidence, signal.Evidence{Name: printable(e.Name, maxScanName), Value: printable(e.Value, maxScanText)})
		}
		for _, ref := range f.References[:min(len(f.References), maxScanList)] {
			if u, err := url.Parse(ref); err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && len(ref) <= 2000 {
				clean.References = append(clean.References, printable(ref, 2000))
			}
		}
		*f = clean
	}
	for i := range s.Packages {
		p := &s.Packages[i]
		if p.Name == "" || len(p.PURL) > maxScanText {
			return &InputError{Field: fmt.Sprintf("packages[%d]", i), Reason: "want a name, and a package URL of 4096 bytes at most"}
		}
		*p = ScanPackage{PURL: printable(p.PURL, maxScanText), Ecosystem: printable(p.Ecosystem, maxScanName), Name: printable(p.Name, 400), Version: printable(p.Version, maxScanName),
			Path: printable(p.Path, maxScanText), Line: max(p.Line, 0), Relation: printable(p.Relation, 20), Dev: p.Dev, Licenses: printables(p.Licenses, maxScanName), Layer: printable(p.Layer, maxScanName)}
	}
	return nil
}

// printable takes out what would lie in a terminal or a table, and cuts.
func printable(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' || unicode.Is(unicode.Bidi_Control, r) {
			return unicode.ReplacementChar
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit-len("…")], "") + "…"
	}
	return s
}

func printables(list []string, limit int) []string {
	var out []string
	for _, s := range list[:min(len(list), maxScanList)] {
		out = append(out, printable(s, limit))
	}
	return out
}

type packagesIn struct {
	PURL   string `query:"purl" doc:"a package URL whose version may be a comparison, as in pkg:npm/lodash@<4.17.21, or >=4 <4.17.21"`
	Text   string `query:"text" doc:"a part of the name, any case"`
	Asset  string `query:"asset" doc:"id of the asset"`
	Cursor string `query:"cursor" doc:"next of the page before"`
	Limit  int    `query:"limit" default:"50" min:"1" max:"500" doc:"items of a page; one may hold fewer and yet have a next"`
}

type scanIn struct {
	Body ScanReport `body:"json"`
}

func (s *Server) packageRoutes() []Route {
	put := call(post, v1+"/scans", RoleScanner, says{id: "putScan", summary: "Store what a scan found elsewhere: its findings and packages become those of the asset", tag: "scans"},
		func(r *http.Request, _ http.ResponseWriter, in scanIn) (ScanReceipt, error) {
			return s.desk.PutScan(r.Context(), in.Body)
		})
	put.Body = MaxScanBody
	take := put.Handler
	// Before the body is read: it is what costs.
	put.Handler = func(w http.ResponseWriter, r *http.Request) error {
		select {
		case s.scans <- struct{}{}:
			defer func() { <-s.scans }()
		default:
			return &LimitedError{RetryAfter: 5 * time.Second}
		}
		return take(w, r)
	}
	return []Route{put,
		call(get, v1+"/packages", RoleViewer, says{id: "listPackages", summary: "Packages of what was scanned, by name", tag: "scans"},
			func(r *http.Request, _ http.ResponseWriter, in packagesIn) (Page[Package], error) {
				if s.sources.Packages == nil {
					return Page[Package]{}, unavailable("a store of packages")
				}
				return s.sources.Packages.Packages(r.Context(), PackageQuery(in))
			}),
	}
}
