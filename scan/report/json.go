package report

import (
	"encoding/json"
	"io"
	"slices"

	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/signal"
)

// document is the JSON form. Version changes when a reader would have to.
type document struct {
	Version  int              `json:"version"`
	Tool     string           `json:"tool"`
	Root     string           `json:"root"`
	Findings []signal.Finding `json:"findings"`
	Stats    scan.Stats       `json:"stats"`
	Notes    []string         `json:"notes,omitempty"`
	Verdict  *Verdict         `json:"verdict,omitempty"`
}

func writeJSON(w io.Writer, r Result) error {
	d := document{Version: 1, Tool: "testudo " + r.Version, Root: scan.Printable(r.Root), Findings: r.Findings, Stats: r.Stats, Notes: r.Notes, Verdict: r.Verdict}
	if d.Findings == nil {
		d.Findings = []signal.Finding{}
	}
	for i := range d.Findings {
		d.Findings[i] = printable(d.Findings[i])
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(d)
}

// printable returns a finding whose strings from files are safe for terminals.
func printable(f signal.Finding) signal.Finding {
	f.Location.Path, f.Location.Snippet = scan.Printable(f.Location.Path), scan.Printable(f.Location.Snippet)
	f.Evidence = slices.Clone(f.Evidence)
	for i := range f.Evidence {
		f.Evidence[i].Value = scan.Printable(f.Evidence[i].Value)
	}
	return f
}
