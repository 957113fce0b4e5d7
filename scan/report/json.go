package report

import (
	"encoding/json"
	"io"
	"net/url"
	"slices"
	"strings"

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
	d := document{Version: 1, Tool: "testudo " + r.Version, Root: r.Root, Findings: r.Findings, Stats: r.Stats, Notes: r.Notes, Verdict: r.Verdict}
	if d.Findings == nil {
		d.Findings = []signal.Finding{}
	}
	return encode(w, d)
}

// encode writes JSON in which no build server finds a command to itself, should it be printed there: see inert.
func encode(w io.Writer, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(marks.ReplaceAll(b, []byte(`#\u0023$1`)), '\n'))
	return err
}

// printable returns a finding whose strings are safe for terminals, and whose references are addresses of the web.
func printable(f signal.Finding) signal.Finding {
	f.Location.Path, f.Location.Snippet, f.Location.Commit = scan.Printable(f.Location.Path), scan.Printable(f.Location.Snippet), scan.Printable(f.Location.Commit)
	f.Rule, f.Title, f.Desc, f.Fix = scan.Printable(f.Rule), lines(f.Title), lines(f.Desc), lines(f.Fix)
	f.Evidence = slices.Clone(f.Evidence)
	for i := range f.Evidence {
		f.Evidence[i].Value = scan.Printable(f.Evidence[i].Value)
	}
	f.Tags = slices.Clone(f.Tags)
	for i := range f.Tags {
		f.Tags[i] = scan.Printable(f.Tags[i])
	}
	f.References = slices.DeleteFunc(slices.Clone(f.References), func(ref string) bool {
		u, err := url.Parse(ref)
		return err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || strings.ContainsAny(ref, "<>\"`\\^{|} ") || scan.Printable(ref) != ref
	})
	return f
}

// lines is scan.Printable for a text of several lines, such as an advisory's.
func lines(s string) string {
	if !strings.Contains(s, "\n") {
		return scan.Printable(s)
	}
	parts := strings.Split(s, "\n")
	for i := range parts {
		parts[i] = scan.Printable(strings.TrimRight(parts[i], "\r"))
	}
	return strings.Join(parts, "\n")
}
