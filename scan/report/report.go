// Package report writes what a scan found: as a table and as a page for people, as JSON, as SARIF 2.1.0
// for code hosts and editors, as GitLab's Code Quality, as JUnit for build servers, as Markdown for the page of a change. It also draws the
// progress bar.
//
// Everything written is safe for a terminal: the strings of findings pass [scan.Printable], so
// that a file's name cannot move the cursor, and nothing in it is a command to the build server that shows it. The order is the same for the same
// findings, whatever order the parallel scan reported them in.
package report

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/signal"
)

// A Result is a finished scan.
type Result struct {
	Root     string // as the user named it
	Findings []signal.Finding
	Stats    scan.Stats
	Scanners []scan.Scanner // those that list rules give SARIF its descriptions
	Version  string         // of testudo
	Verdict  *Verdict       // of a policy, if one decided
	Time     time.Time      // of the scan
	Notes    []string       // what was not looked for, and what else is to be said
}

// comparing reports whether there was a base.
func (r *Result) comparing() bool { return r.Verdict != nil && r.Verdict.New != nil }

// Options is how a table looks; JSON and SARIF do not depend on it.
type Options struct {
	Color bool
	Width int // columns of the terminal; 0 stands for 100
}

// Formats lists the names that Write knows.
func Formats() []string {
	return []string{"table", "json", "sarif", "junit", "codequality", "markdown", "html"}
}

// Write writes the result in one of the Formats.
func Write(w io.Writer, format string, r Result, o Options) error {
	r = safe(r)
	slices.SortFunc(r.Findings, func(a, b signal.Finding) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Location.Path, b.Location.Path),
			cmp.Compare(a.Location.Line, b.Location.Line), cmp.Compare(a.Location.Column, b.Location.Column), cmp.Compare(a.ID, b.ID))
	})
	switch format {
	case "table":
		return writeTable(w, r, o)
	case "json":
		return writeJSON(w, r)
	case "sarif":
		return writeSARIF(w, r)
	case "junit":
		return writeJUnit(w, r)
	case "codequality":
		return writeCodeQuality(w, r)
	case "markdown":
		return writeMarkdown(w, r)
	case "html":
		return writeHTML(w, r)
	}
	return fmt.Errorf("unknown format %q: want %s", format, strings.Join(Formats(), ", "))
}

// safe returns the result with everything that a target can have chosen made safe to print.
func safe(r Result) Result {
	r.Root = scan.Printable(r.Root)
	r.Findings, r.Notes, r.Stats.Skipped = slices.Clone(r.Findings), slices.Clone(r.Notes), slices.Clone(r.Stats.Skipped)
	for i := range r.Findings {
		r.Findings[i] = printable(r.Findings[i])
	}
	for i := range r.Notes {
		r.Notes[i] = scan.Printable(r.Notes[i])
	}
	for i, s := range r.Stats.Skipped {
		r.Stats.Skipped[i] = scan.Skip{Path: scan.Printable(s.Path), Reason: scan.Printable(s.Reason)}
	}
	return r
}

// Terminal reports whether f is a terminal, its width in columns, and whether colours are
// welcome there: not where NO_COLOR is set (no-color.org) or TERM is dumb.
func Terminal(f *os.File) (width int, color, ok bool) {
	if !term.IsTerminal(int(f.Fd())) {
		return 0, false, false
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 {
		width = 80
	}
	_, plain := os.LookupEnv("NO_COLOR")
	return width, !plain && os.Getenv("TERM") != "dumb", true
}
