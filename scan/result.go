package scan

import (
	"context"
	"io/fs"
	"sync"

	"github.com/testudo-sec/testudo/signal"
)

// Parts are the parts that a file is for.
type Parts uint8

// The choices of parts.
const (
	AllParts Parts = iota
	ScannersOnly
	ExtractorsOnly
)

// A Result is what the parts said of a file, and of the files in it. A source that sets File.Take gets it instead of the run,
// may keep it, and gives it back as File.Given when it knows whether and where it counts. It depends on the
// file and the parts alone: not on baselines, nor on the confidence that is shown.
type Result struct {
	Findings []Judged  `json:"findings,omitempty"`
	Packages []Package `json:"packages,omitempty"`
	Skips    []LeftOut `json:"skips,omitempty"`
	// Counts of the files that were read for it. The run counts them where they are read: a source that gives the result to the
	// run that made it gives it with Counts zero.
	Counts Counts `json:"counts,omitzero"`
}

// Judged is a finding that is not reported yet.
type Judged struct {
	Finding    signal.Finding `json:"finding"`
	Confidence Confidence     `json:"confidence"`
	Allowed    bool           `json:"allowed,omitempty"` // by a comment beside it
	By         string         `json:"by"`                // name of the scanner
}

// LeftOut is something that was skipped; Path is empty where it was only counted.
type LeftOut struct {
	Why       Skipped `json:"why"`
	Path      string  `json:"path,omitempty"`
	Reason    string  `json:"reason,omitempty"`
	Count     uint64  `json:"count"`
	Extractor bool    `json:"extractor,omitempty"` // an extractor said so
}

// Counts are what was read; see [Stats].
type Counts struct {
	Files  uint64 `json:"files,omitempty"`
	Bytes  uint64 `json:"bytes,omitempty"`
	Binary uint64 `json:"binary,omitempty"`
	Opened uint64 `json:"opened,omitempty"`
}

// Add adds what was read for another file.
func (c *Counts) Add(o Counts) {
	c.Files, c.Bytes, c.Binary, c.Opened = c.Files+o.Files, c.Bytes+o.Bytes, c.Binary+o.Binary, c.Opened+o.Opened
}

// outcome takes what the parts say of a file: the run itself, or a taking.
type outcome interface {
	Visitor
	judged(f *File, j Judged)
	packages(f *File, packages []Package)
	failed(extractor bool, path, reason string)
	count(c Counts)
}

// judged implements outcome.
func (r *run) judged(f *File, j Judged) {
	if j.Finding.Location.Commit == "" {
		j.Finding.Location.Commit = f.Commit
	}
	j.Finding.Evidence = append(j.Finding.Evidence, f.Evidence...)
	if f.Commit != "" {
		r.hold(f, j)
		return
	}
	r.report(j)
}

// packages implements outcome.
func (r *run) packages(f *File, packages []Package) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range packages {
		if len(r.inventory.Packages) >= r.Config.MaxPackages {
			r.stats.NoRoom++
			continue
		}
		if p.Layer == "" {
			p.Layer = f.Layer
		}
		r.inventory.Packages = append(r.inventory.Packages, p)
	}
	r.packaged.Store(uint64(len(r.inventory.Packages)))
}

// failed implements outcome.
func (r *run) failed(_ bool, path, reason string) { r.Skip(Failed, path, reason) }

// count implements outcome.
func (r *run) count(c Counts) {
	r.files.Add(c.Files)
	r.bytes.Add(c.Bytes)
	r.binary.Add(c.Binary)
	r.opened.Add(c.Opened)
}

// give takes what the parts said of a file earlier.
func (r *run) give(f *File) {
	r.count(f.Given.Counts)
	for _, j := range f.Given.Findings {
		r.judged(f, j)
	}
	r.packages(f, f.Given.Packages)
	for _, s := range f.Given.Skips {
		if s.Path == "" {
			r.Count(s.Why, s.Count)
		} else {
			r.Skip(s.Why, s.Path, s.Reason)
		}
	}
}

// taking is a visitor that keeps what the parts say of a file, and of the files in it.
type taking struct {
	run  *run
	only Parts

	mu     sync.Mutex
	result Result
}

func (t *taking) judged(f *File, j Judged) {
	if j.Finding.Location.Commit == "" {
		j.Finding.Location.Commit = f.Commit
	}
	j.Finding.Evidence = append(j.Finding.Evidence, f.Evidence...)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.result.Findings = append(t.result.Findings, j)
}

func (t *taking) packages(_ *File, packages []Package) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.result.Packages = append(t.result.Packages, packages...)
}

func (t *taking) failed(extractor bool, path, reason string) {
	t.leaveOut(LeftOut{Why: Failed, Path: path, Reason: reason, Count: 1, Extractor: extractor})
}

func (t *taking) leaveOut(l LeftOut) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.result.Skips) >= maxSkips {
		l.Path, l.Reason = "", ""
		for i := range t.result.Skips {
			if s := &t.result.Skips[i]; s.Path == "" && s.Why == l.Why && s.Extractor == l.Extractor {
				s.Count += l.Count
				return
			}
		}
	}
	t.result.Skips = append(t.result.Skips, l)
}

func (t *taking) count(c Counts) {
	t.run.count(c)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.result.Counts.Add(c)
}

// Found implements Visitor.
func (t *taking) Found(files int, complete bool) { t.run.Found(files, complete) }

// Wants implements Visitor.
func (t *taking) Wants(path string, info fs.FileInfo) bool { return t.run.Wants(path, info) }

// Skip implements Visitor.
func (t *taking) Skip(why Skipped, path, reason string) {
	t.leaveOut(LeftOut{Why: why, Path: path, Reason: reason, Count: 1})
}

// Count implements Visitor.
func (t *taking) Count(why Skipped, n uint64) {
	if n > 0 {
		t.leaveOut(LeftOut{Why: why, Count: n})
	}
}

// File implements Visitor, for the files in the file that is taken.
func (t *taking) File(ctx context.Context, f *File) {
	f.Only = t.only
	t.run.offer(ctx, f, t)
}
