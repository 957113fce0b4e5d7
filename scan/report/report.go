// Package report writes what a scan found: as a table for people, as JSON, and as SARIF 2.1.0
// for code hosts and editors. It also draws the progress bar.
//
// Everything written is safe for a terminal: the strings of findings pass [scan.Printable], so
// that a file's name cannot move the cursor. The order is the same for the same
// findings, whatever order the parallel scan reported them in.
package report

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"

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
}

// Options is how a table looks; JSON and SARIF do not depend on it.
type Options struct {
	Color bool
	Width int // columns of the terminal; 0 stands for 100
}

// Formats lists the names that Write knows.
func Formats() []string { return []string{"table", "json", "sarif"} }

// Write writes the result in a format: table, json or sarif.
func Write(w io.Writer, format string, r Result, o Options) error {
	r.Findings = slices.Clone(r.Findings)
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
	}
	return fmt.Errorf("unknown format %q: want table, json or sarif", format)
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
