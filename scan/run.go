package scan

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/testudo-sec/testudo/signal"
)

// maxSkips bounds the paths that Stats names.
const maxSkips = 100

// Run reads the source and calls found for every finding that counts, never concurrently. It returns
// when all its goroutines are gone. An error means that the target cannot be scanned at all or that ctx ended;
// what cannot be read of it is in the stats.
func Run(ctx context.Context, o Options, found func(signal.Finding)) (Stats, error) {
	if err := o.Config.Validate(); err != nil {
		return Stats{}, err
	}
	if len(o.Scanners)+len(o.Extractors) == 0 {
		return Stats{}, errors.New("nothing to scan with: no scanner is given")
	}
	r := &run{Options: o, found: found, started: time.Now()}
	r.inventory = Inventory{Target: o.Root, Asset: o.Asset}
	r.least, _ = parseConfidence(o.Config.Confidence)
	if r.Source == nil {
		r.Source = &Tree{Root: o.Root, Config: o.Config, IgnoreFiles: o.IgnoreFiles, Tracked: o.Tracked}
	}

	stopProgress := r.startProgress()
	err := r.Source.Files(ctx, r)
	r.settle()
	if err == nil {
		r.match(ctx)
		err = ctx.Err()
	}
	stopProgress()

	r.mu.Lock()
	defer r.mu.Unlock()
	r.stats.Files, r.stats.Bytes = r.files.Load(), r.bytes.Load()
	r.stats.Binary, r.stats.Opened = r.binary.Load(), r.opened.Load()
	r.stats.Elapsed = time.Since(r.started)
	return r.stats, err
}

// run is the state of one Run: the visitor of its source.
type run struct {
	Options
	least   Confidence
	found   func(signal.Finding)
	started time.Time

	files, bytes, binary, opened, findings, packaged, total atomic.Uint64
	complete                                                atomic.Bool

	mu        sync.Mutex // guards what follows, and serialises found
	stats     Stats
	inventory Inventory
	past      past
}

// startProgress calls Progress until the returned function is called, and once in there.
func (r *run) startProgress() (stop func()) {
	if r.Progress == nil {
		return func() {}
	}
	done, gone := make(chan struct{}), make(chan struct{})
	tell := func() {
		r.Progress(Progress{Files: r.files.Load(), Bytes: r.bytes.Load(), Total: r.total.Load(), Complete: r.complete.Load(),
			Packages: r.packaged.Load(), Findings: r.findings.Load(), Elapsed: time.Since(r.started)})
	}
	go func() {
		defer close(gone)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				tell()
			case <-done:
				return
			}
		}
	}()
	return func() {
		close(done)
		<-gone
		tell()
	}
}

// Found implements Visitor.
func (r *run) Found(files int, complete bool) {
	r.total.Add(uint64(files))
	if complete {
		r.complete.Store(true)
	}
}

// Wants implements Visitor.
func (r *run) Wants(path string, info fs.FileInfo) bool {
	for _, e := range r.Extractors {
		if e.Wants(path, info) {
			return true
		}
	}
	for _, o := range r.Openers {
		if w, ok := o.(wanter); ok && w.Wants(path, info) {
			return true
		}
	}
	return false
}

// wanter is an opener that opens files which are too large to be held.
type wanter interface {
	Wants(path string, info fs.FileInfo) bool
}

// Selective implements Chooser.
func (r *run) Selective() bool { return len(r.Scanners)+len(r.Openers) == 0 }

// Passes implements Chooser.
func (r *run) Passes(path string, info fs.FileInfo) bool {
	// Openers look at how a file begins, unless it is too large.
	if len(r.Scanners) > 0 || len(r.Openers) > 0 && info.Size() <= int64(r.Config.MaxFileSize) || r.Wants(path, info) {
		return false
	}
	r.files.Add(1)
	return true
}

// counter returns what counts a reason.
func (s *Stats) counter(why Skipped) *uint64 {
	switch why {
	case Ignored:
		return &s.Ignored
	case TooLarge:
		return &s.TooLarge
	case Special:
		return &s.Special
	case TooDeep:
		return &s.TooDeep
	case Unreadable:
		return &s.Unreadable
	case NoRoom:
		return &s.NoRoom
	}
	return &s.Failed
}

// Count implements Visitor.
func (r *run) Count(why Skipped, n uint64) {
	if n == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	*r.stats.counter(why) += n
}

// Skip implements Visitor.
func (r *run) Skip(why Skipped, path, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*r.stats.counter(why)++
	if len(r.stats.Skipped) < maxSkips {
		r.stats.Skipped = append(r.stats.Skipped, Skip{Path: Printable(path), Reason: Printable(reason)})
	}
}

// reason returns an error without the path that the caller knows.
func reason(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// File implements Visitor: it offers the file to every part.
func (r *run) File(ctx context.Context, f *File) {
	switch {
	case f.Given != nil:
		r.give(f)
	case f.Take != nil:
		t := &taking{run: r, only: f.Only}
		r.offer(ctx, f, t)
		f.Take(t.result)
	default:
		r.offer(ctx, f, r)
	}
}

// offer offers the file to the parts that it is for.
func (r *run) offer(ctx context.Context, f *File, to outcome) {
	at := f.Path
	f.Path = Printable(at)
	c := Counts{Files: 1}
	defer func() { to.count(c) }()
	if f.Only != ScannersOnly {
		r.extract(ctx, at, f, to)
	}
	if o := r.open(f); o != nil {
		c.Opened++
		if err := o.Files(ctx, to); err != nil && ctx.Err() == nil {
			to.failed(false, at, err.Error())
		}
	}
	if f.Data == nil {
		return
	}
	c.Bytes += uint64(len(f.Data))
	f.text()
	if f.Binary {
		c.Binary++
	}
	if f.Only == ExtractorsOnly {
		return
	}
	var comments consents
	for _, s := range r.Scanners {
		err := s.Scan(ctx, f, func(finding signal.Finding, c Confidence) {
			finding.Location.Path = f.Path
			says := comments.allowed(f.Data, finding.Location.Line, finding.Rule)
			if says == unexplained {
				finding.Evidence = append(finding.Evidence, signal.Evidence{Name: "comment", Value: "it does not count without a reason: " + allowMark + " " + finding.Rule + " why it is fine"})
			}
			to.judged(f, Judged{Finding: finding, Confidence: c, By: s.Name(), Allowed: says == isAllowed})
		})
		if err != nil && ctx.Err() == nil {
			to.failed(false, at, s.Name()+": "+err.Error())
		}
	}
}

// open returns what is in the file, if it is an archive or the like.
func (r *run) open(f *File) Source {
	for _, o := range r.Openers {
		if s := o.Open(f); s != nil {
			return s
		}
	}
	return nil
}

// extract gives on the packages that the file names.
func (r *run) extract(ctx context.Context, at string, f *File, to outcome) {
	for _, e := range r.Extractors {
		if !e.Wants(at, f.Info) {
			continue
		}
		packages, err := e.Extract(ctx, f)
		if err != nil && ctx.Err() == nil {
			to.failed(true, at, e.Name()+": "+err.Error())
		}
		to.packages(f, packages)
	}
}

// match has the inventory judged.
func (r *run) match(ctx context.Context) {
	if len(r.Extractors) == 0 {
		return
	}
	r.mu.Lock()
	r.inventory.Sort()
	for _, e := range r.Extractors {
		if s, ok := e.(Settler); ok {
			s.Settle(&r.inventory)
		}
	}
	r.stats.Packages = uint64(len(r.inventory.Packages))
	r.mu.Unlock()
	if r.Inventory != nil {
		r.Inventory(&r.inventory)
	}
	for _, m := range r.Matchers {
		if err := m.Match(ctx, &r.inventory, func(f signal.Finding, c Confidence) { r.report(Judged{Finding: f, Confidence: c}) }); err != nil && ctx.Err() == nil {
			r.Skip(Failed, m.Name(), err.Error())
		}
	}
}

// report takes a finding.
func (r *run) report(j Judged) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reportLocked(j)
}

// reportLocked is report with the lock held.
func (r *run) reportLocked(j Judged) {
	finding, c := j.Finding, j.Confidence
	switch {
	case c < r.least:
		r.stats.Quiet++
		return
	case j.Allowed:
		r.stats.Allowed++
		return
	case r.Baseline[finding.ID]:
		r.stats.Known++
		return
	case r.stats.Findings >= uint64(r.Config.MaxFindings):
		r.stats.Dropped++
		return
	}
	r.stats.Findings++
	r.findings.Add(1)
	if finding.Kind == "" {
		finding.Kind = signal.FindingPosture
	}
	finding.State, finding.Plane = signal.FindingOpen, signal.PlaneScan
	if finding.Asset == "" {
		finding.Asset = r.Asset
	}
	if finding.Count == 0 {
		finding.Count = 1
	}
	finding.First, finding.Last = r.started, r.started
	finding.Evidence = append(finding.Evidence, signal.Evidence{Name: "confidence", Value: c.String()})
	r.found(finding)
}
