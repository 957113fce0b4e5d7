package report

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"io"

	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/signal"
)

// maxShown bounds the findings of a page, so that a browser can open it.
const maxShown = 5000

//go:embed page.html.tmpl
var pageTemplate string

//go:embed page.css
var pageStyle string

//go:embed page.js
var pageScript string

// page is what the template reads.
type page struct {
	Result
	Style    template.CSS
	Script   template.JS
	Policy   string // of the content: this page loads nothing, and runs nothing but its own script
	Now      string
	Bars     []bar
	Tiles    []tile
	Upgrades []upgrade
	Others   []signal.Finding
	Hidden   int
	LeftOut  []string
}

// tile is a number at the top.
type tile struct {
	Name  string
	Count string
	Class string
}

// bar is one line of the picture of what was found: its parts are shares of the widest in percent.
type bar struct {
	Name  string
	Total int
	Parts []part
}

type part struct {
	Class string
	Count int
	Width float64
}

// writeHTML writes one file that needs no other.
func writeHTML(w io.Writer, r Result) error {
	t, err := template.New("page").Funcs(template.FuncMap{
		"where":    func(f signal.Finding) string { return where(&f) },
		"origin":   func(f signal.Finding) string { return origin(&f) },
		"text":     scan.Printable,
		"what":     func(f signal.Finding) string { return what(&f) },
		"class":    severityClass,
		"stops":    func(f signal.Finding) bool { return r.Verdict != nil && r.Verdict.Stops[f.ID] },
		"fresh":    func(f signal.Finding) bool { return r.Verdict != nil && r.Verdict.New[f.ID] },
		"evidence": func(f signal.Finding, name string) string { return evidence(&f, name) },
	}).Parse(pageTemplate)
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(pageScript))
	p := page{Result: r, Style: template.CSS(pageStyle), Script: template.JS(pageScript), Now: r.Time.UTC().Format("2006-01-02 15:04 UTC"), LeftOut: leftOut(&r.Stats)}
	p.Policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	if n := len(p.Findings); n > maxShown {
		p.Findings, p.Hidden = p.Findings[:maxShown], n-maxShown
	}
	p.Upgrades, p.Others = upgrades(p.Findings, p.Verdict)
	p.Tiles = tiles(r)
	p.Bars = bars(r.Findings)
	return t.Execute(w, p)
}

// severities are the classes that the page knows, the worst first.
func severities() []string { return []string{"critical", "high", "medium", "low"} }

// Compared reports whether it is known what is new.
func (p page) Compared() bool { return p.Verdict != nil && p.Verdict.New != nil }

// Severities are those that can be chosen on the page.
func (p page) Severities() []string { return severities() }

func severityClass(s signal.Severity) string {
	switch {
	case s >= signal.SeverityCritical:
		return "critical"
	case s < signal.SeverityMedium:
		return "low"
	}
	return s.String()
}

func tiles(r Result) []tile {
	counts := map[string]uint64{}
	for i := range r.Findings {
		counts[severityClass(r.Findings[i].Severity)]++
	}
	var out []tile
	for _, c := range severities() {
		out = append(out, tile{c, group3(counts[c]), c})
	}
	out = append(out, tile{"files", group3(r.Stats.Files), ""})
	if r.Stats.Packages > 0 {
		out = append(out, tile{"packages", group3(r.Stats.Packages), ""})
	}
	return append(out, tile{"read in " + duration(r.Stats.Elapsed), size(r.Stats.Bytes), ""})
}

// bars counts by what the findings are about.
func bars(findings []signal.Finding) []bar {
	var out []bar
	widest := 0
	for _, kind := range []struct {
		name string
		is   func(*signal.Finding) bool
	}{
		{"Vulnerabilities", func(f *signal.Finding) bool { return f.Kind == signal.FindingVulnerability }},
		{"Secrets and configuration", func(f *signal.Finding) bool { return f.Kind == signal.FindingPosture }},
		{"Compliance", func(f *signal.Finding) bool { return f.Kind == signal.FindingCompliance }},
	} {
		counts := map[string]int{}
		b := bar{Name: kind.name}
		for i := range findings {
			if kind.is(&findings[i]) {
				counts[severityClass(findings[i].Severity)]++
				b.Total++
			}
		}
		for _, c := range severities() {
			if counts[c] > 0 {
				b.Parts = append(b.Parts, part{Class: c, Count: counts[c]})
			}
		}
		if widest = max(widest, b.Total); b.Total > 0 {
			out = append(out, b)
		}
	}
	for i := range out {
		for j := range out[i].Parts {
			out[i].Parts[j].Width = float64(out[i].Parts[j].Count) * 100 / float64(widest)
		}
	}
	return out
}
