// Package scan looks at code and artefacts. A [Source] gives the files of a target once: a [Tree],
// the history of a repository, the layers of an image. An [Opener] makes a source of a file, as of an
// archive. Each file is read once and offered to all: a [Scanner] judges one file, an
// [Extractor] says which packages it names, and when the files are through a [Matcher] judges
// the whole [Inventory]. The folders beside this file are such parts; scan/report writes what they
// found.
//
// [Run] promises: nothing outside the target is read, links are not followed, special files not
// opened; memory is bounded by the workers times the largest file size; whatever is left out is
// counted in [Stats]; names and snippets are safe to print. What it does not promise is
// an order of findings: files are read in parallel.
package scan

import (
	"context"
	"time"

	"github.com/testudo-sec/testudo/signal"
)

// A Scanner looks at one file at a time.
//
// Scan calls report for each finding before it returns, and keeps neither f nor its data. It
// must be safe for concurrent use with different files. An error says that this file could
// not be judged; the run goes on and counts it. The scanner sets ID, Rule, Title, Severity, Location's line and
// column, Evidence, Fix and what else it knows; the frame fills in the rest. Nothing of a finding may
// hold a secret in clear.
type Scanner interface {
	Name() string
	Scan(ctx context.Context, f *File, report Report) error
}

// A RuleLister is a scanner that can list its rules, for formats that carry them.
type RuleLister interface {
	Rules() []Rule
}

// Report takes a finding and how sure the scanner is.
type Report func(f signal.Finding, c Confidence)

// Rule describes what a scanner can find.
type Rule struct {
	ID         string
	Title      string
	Why        string // what is at stake
	Fix        string
	Severity   signal.Severity
	References []string
	Tags       []string
}

// Confidence is how sure a scanner is that a finding matters.
type Confidence uint8

// The levels of confidence.
const (
	Low Confidence = iota + 1
	Medium
	High
)

// String returns the lower-case name.
func (c Confidence) String() string {
	switch c {
	case Low:
		return "low"
	case Medium:
		return "medium"
	case High:
		return "high"
	}
	return "unknown"
}

// Options is what a run is about. There must be a scanner or an extractor.
type Options struct {
	Root   string // folder or file; may itself be a link. Read as a [Tree] where Source is nil
	Source Source
	// IgnoreFiles, if not nil, count in place of the tree's own: see Tree. So does Tracked.
	IgnoreFiles map[string][]byte
	Tracked     map[string]bool
	Scanners    []Scanner // each file is offered to all
	Openers     []Opener  // the first that opens a file does
	// Extractors make the inventory, Matchers judge it, in their order. Inventory, if not nil, gets it,
	// sorted, before they do.
	Extractors []Extractor
	Matchers   []Matcher
	Inventory  func(*Inventory)

	Config   Config
	Asset    string   // id of the asset that findings are about, as in "repository:shop"; may be empty
	Baseline Baseline // findings that are known
	// Progress, if not nil, is called ten times a second and at the end, never concurrently.
	Progress func(Progress)
}

// Progress is how far a run has come.
type Progress struct {
	Files, Bytes uint64 // read so far
	Total        uint64 // files found so far
	Complete     bool   // Total will not grow
	Packages     uint64
	Findings     uint64
	Elapsed      time.Duration
}

// Stats is what a run did and what it left out.
type Stats struct {
	Files   uint64        `json:"files"` // read and offered to the scanners
	Bytes   uint64        `json:"bytes"`
	Elapsed time.Duration `json:"elapsed_ns"`

	Packages uint64 `json:"packages"` // in the inventory

	Findings uint64 `json:"findings"` // reported
	Quiet    uint64 `json:"quiet"`    // below the least confidence
	Known    uint64 `json:"known"`    // in the baseline
	Allowed  uint64 `json:"allowed"`  // by a comment beside them
	Dropped  uint64 `json:"dropped"`  // above MaxFindings

	Binary     uint64 `json:"binary"`      // among Files
	Opened     uint64 `json:"opened"`      // archives and the like, among Files
	Ignored    uint64 `json:"ignored"`     // files and folders left out by ignore files
	TooLarge   uint64 `json:"too_large"`   // files above the size limit
	Special    uint64 `json:"special"`     // links, devices, sockets, pipes
	TooDeep    uint64 `json:"too_deep"`    // folders below the depth limit
	Unreadable uint64 `json:"unreadable"`  // files and folders that could not be read
	Failed     uint64 `json:"scan_failed"` // files that a part could not judge
	NoRoom     uint64 `json:"no_room"`     // packages above MaxPackages

	// Skipped names the first of what was too large, too deep, unreadable or failed.
	Skipped []Skip `json:"skipped,omitempty"`
}

// Incomplete reports whether something was left out that the user did not ask to leave out.
func (s *Stats) Incomplete() bool {
	return s.TooLarge+s.TooDeep+s.Unreadable+s.Failed+s.Dropped+s.NoRoom > 0
}

// Skip is a path that was left out, and why.
type Skip struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

// The process exit codes of `testudo scan`.
const (
	ExitClean    = 0
	ExitFindings = 1
	ExitError    = 2
)

// ExitCode says how a scan ends: with ExitError if err is not nil, with ExitFindings if a finding is
// at least as severe as failOn, else clean.
func ExitCode(findings []signal.Finding, failOn signal.Severity, err error) int {
	if err != nil {
		return ExitError
	}
	for i := range findings {
		if findings[i].Severity >= failOn {
			return ExitFindings
		}
	}
	return ExitClean
}
