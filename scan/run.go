package scan

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/testudo-sec/testudo/signal"
)

// maxSkips bounds the paths that Stats names.
const maxSkips = 100

// Run walks the tree and calls found for every finding that counts, never concurrently. It returns
// when all its goroutines are gone. An error means that the root cannot be scanned at all or that ctx ended;
// what cannot be read below the root is in the stats.
func Run(ctx context.Context, o Options, found func(signal.Finding)) (Stats, error) {
	if err := o.Config.Validate(); err != nil {
		return Stats{}, err
	}
	if len(o.Scanners) == 0 {
		return Stats{}, errors.New("nothing to scan with: no scanner is given")
	}
	r := &run{Options: o, found: found, started: time.Now()}
	r.least, _ = parseConfidence(o.Config.Confidence)
	if err := r.open(); err != nil {
		return Stats{}, err
	}
	defer r.root.Close()

	stopProgress := r.startProgress()
	var workers sync.WaitGroup
	stop := context.AfterFunc(ctx, r.queue.close)
	for range o.Config.workers() {
		workers.Go(func() { r.work(ctx) })
	}
	workers.Wait()
	stop()
	stopProgress()

	r.mu.Lock()
	defer r.mu.Unlock()
	r.stats.Files, r.stats.Bytes = r.files.Load(), r.bytes.Load()
	r.stats.Elapsed = time.Since(r.started)
	return r.stats, ctx.Err()
}

// run is the state of one Run.
type run struct {
	Options
	least   Confidence
	root    *os.Root
	found   func(signal.Finding)
	started time.Time
	queue   queue

	files, bytes, findings atomic.Uint64

	mu    sync.Mutex // guards stats and serialises found
	stats Stats
}

// open resolves the root and queues it.
func (r *run) open() error {
	resolved, err := filepath.EvalSymlinks(r.Root)
	if err != nil {
		return fmt.Errorf("scan %s: %s", Printable(r.Root), reason(err))
	}
	info, err := os.Stat(resolved)
	if err != nil {
		return fmt.Errorf("scan %s: %s", Printable(r.Root), reason(err))
	}
	dir, file := resolved, ""
	switch {
	case info.IsDir():
	case info.Mode().IsRegular():
		dir, file = filepath.Split(resolved)
		if dir == "" {
			dir = "."
		}
	default:
		return fmt.Errorf("scan %s: neither a file nor a folder", Printable(r.Root))
	}
	if r.root, err = os.OpenRoot(dir); err != nil {
		return fmt.Errorf("scan %s: %s", Printable(r.Root), reason(err))
	}
	r.queue.init()
	if file != "" {
		r.queue.addFiles(fileJob{names: []string{file}})
		return nil
	}
	lists := ignoreLists{}
	if r.Config.Ignore {
		lists.git = aboveRoot(dir)
	}
	lists.exclude = excludeList(r.Config.Exclude)
	r.queue.addDir(dirJob{lists: lists})
	return nil
}

// startProgress calls Progress until the returned function is called, and once in there.
func (r *run) startProgress() (stop func()) {
	if r.Progress == nil {
		return func() {}
	}
	done, gone := make(chan struct{}), make(chan struct{})
	tell := func() {
		total, complete := r.queue.total()
		r.Progress(Progress{Files: r.files.Load(), Bytes: r.bytes.Load(), Total: total, Complete: complete,
			Findings: r.findings.Load(), Elapsed: time.Since(r.started)})
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

// count adds to a counter of the stats.
func (r *run) count(add func(*Stats)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	add(&r.stats)
}

// skip counts a path that is left out, and names the first of them.
func (r *run) skip(path, reason string, counter func(*Stats) *uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*counter(&r.stats)++
	if len(r.stats.Skipped) < maxSkips {
		r.stats.Skipped = append(r.stats.Skipped, Skip{Path: Printable(path), Reason: Printable(reason)})
	}
}

func unreadable(s *Stats) *uint64 { return &s.Unreadable }
func tooLarge(s *Stats) *uint64   { return &s.TooLarge }
func tooDeep(s *Stats) *uint64    { return &s.TooDeep }
func failed(s *Stats) *uint64     { return &s.Failed }

// reason returns an error without the path that the caller knows.
func reason(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// report takes a scanner's finding in f.
func (r *run) report(f *File, finding signal.Finding, c Confidence) {
	allow := allowed(f.Data, finding.Location.Line, finding.Rule)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case c < r.least:
		r.stats.Quiet++
		return
	case allow:
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
	finding.Location.Path = f.Path
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
