package policy

import (
	"context"
	"fmt"
	"io"
	"slices"
)

// CheckReport is what `testudo rule check` says.
type CheckReport struct {
	Files    int      `json:"files"`  // rule files found
	Loaded   int      `json:"loaded"` // of them, how many are without a problem
	Rules    int      `json:"rules"`  // in the files that are
	Problems Problems `json:"problems"`
	Notes    Problems `json:"notes,omitempty"` // what does not keep anything from being loaded
	Set      *Set     `json:"-"`               // nil where there is a problem
}

// OK reports whether everything loads.
func (r *CheckReport) OK() bool { return len(r.Problems) == 0 && r.Loaded == r.Files }

// Check loads the sources and reports on all of them. The error is for what kept it
// from looking: everything that is wrong with the rules is in the report.
func (l *Loader) Check(ctx context.Context, sources ...Source) (*CheckReport, error) {
	files, problems, err := read(ctx, sources, l.maxFile())
	if err != nil {
		return nil, err
	}
	unread := len(problems.files())
	report := &CheckReport{Files: len(files) + unread}
	rules, more := l.rules(files)
	problems = append(problems, more...)
	set, err := NewSet(rules)
	if twice, ok := err.(Problems); ok {
		problems = append(problems, twice...)
	} else if err != nil {
		return nil, err
	}
	problems, notes := problems.split()
	report.Notes = notes.sorted()
	bad := problems.files()
	for _, f := range files {
		if !bad[f.Name] {
			report.Loaded++
		}
	}
	for _, r := range rules {
		if !bad[r.File] && r.PartOf == "" {
			report.Rules++
		}
	}
	if slices.ContainsFunc(problems, func(p Problem) bool { return p.File == "" }) {
		report.Loaded, report.Rules = 0, 0 // it is wrong with all of them together
	}
	report.Problems = problems.sorted()
	if len(problems) == 0 {
		report.Set = set
	}
	return report, nil
}

// Print writes one problem or note a line, as "file:line:column: message; hint", and last
// "loaded N of M files, K rules".
func (r *CheckReport) Print(w io.Writer) error {
	for _, p := range slices.Concat(r.Problems, r.Notes) {
		if _, err := fmt.Fprintln(w, p.Error()); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "loaded %d of %d files, %d rules\n", r.Loaded, r.Files, r.Rules)
	return err
}
