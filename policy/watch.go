package policy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"
	"time"
)

// Watcher keeps an engine's set in step with its sources. The old set stays
// while the new one has an error.
type Watcher struct {
	engine   *Engine
	loader   *Loader
	sources  []Source
	interval time.Duration
	onSwap   func(Change)

	loading sync.Mutex // one load at a time
	mu      sync.Mutex // guards what follows
	status  Status
	content string // digest of the file texts last tried
	stamp   string // digest of names, sizes and times last seen
	polls   int
}

// Status is how the last load went.
type Status struct {
	Digest   string    `json:"digest"` // of the set that judges
	Rules    int       `json:"rules"`
	Loaded   time.Time `json:"loaded"`            // when that set began to judge
	Tried    time.Time `json:"tried"`             // when a load was last tried
	Reloads  uint64    `json:"reloads"`           // swaps since the start
	Failures uint64    `json:"failures"`          // loads that found problems
	Problems Problems  `json:"problems,omitzero"` // why the last load failed; nil where it did not
}

// OK reports whether the set that judges is the one on disk.
func (s Status) OK() bool { return len(s.Problems) == 0 }

// Watch loads the sources and returns an engine that judges by them and the watcher that
// keeps it in step, or the [Problems] of the first load. It starts nothing: see
// [Watcher.Run]. onSwap, which may be nil, is called after each swap, one call at a time;
// what judges from then on is the new set.
func Watch(ctx context.Context, l *Loader, sources []Source, interval time.Duration, onSwap func(Change)) (*Engine, *Watcher, error) {
	w := &Watcher{loader: l, sources: sources, interval: interval, onSwap: onSwap}
	w.stamp = w.look(ctx)
	files, problems, err := read(ctx, sources, l.maxFile())
	if err != nil {
		return nil, nil, err
	}
	w.content = contentDigest(files, problems)
	set, err := l.compile(files, problems)
	if err != nil {
		return nil, nil, err
	}
	w.engine = NewEngine(set)
	now := time.Now()
	w.status = Status{Digest: set.Digest(), Rules: set.Len(), Loaded: now, Tried: now}
	return w.engine, w, nil
}

// Status returns how the last load went.
func (w *Watcher) Status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.status
}

// Run looks for changes until ctx ends, and returns its error. With an interval of 0 it
// waits only: then [Watcher.Reload] is the way.
func (w *Watcher) Run(ctx context.Context) error {
	if w.interval <= 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	tick := time.NewTicker(w.interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			w.poll(ctx)
		}
	}
}

// readEvery is after how many looks at names, sizes and times the texts are read all
// the same: a change may leave these as they were.
const readEvery = 30

func (w *Watcher) poll(ctx context.Context) {
	stamp := w.look(ctx)
	w.mu.Lock()
	w.polls++
	changed := stamp != w.stamp || w.polls%readEvery == 0
	w.stamp = stamp
	w.mu.Unlock()
	if changed {
		_ = w.load(ctx, false) // what went wrong is in Status
	}
}

// Reload loads the sources now. Where they have a problem it returns it, and the old
// set stays.
func (w *Watcher) Reload(ctx context.Context) error { return w.load(ctx, true) }

func (w *Watcher) load(ctx context.Context, force bool) error {
	w.loading.Lock()
	defer w.loading.Unlock()
	files, problems, err := read(ctx, w.sources, w.loader.maxFile())
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return w.failed(Problems{{Message: err.Error()}})
	}
	content := contentDigest(files, problems)
	w.mu.Lock()
	same := content == w.content
	w.content = content
	w.mu.Unlock()
	if same && !force {
		return nil
	}
	set, err := w.loader.compile(files, problems)
	if err != nil {
		ps, ok := err.(Problems)
		if !ok {
			ps = Problems{{Message: err.Error()}}
		}
		return w.failed(ps)
	}
	change := w.engine.Swap(set)
	now := time.Now()
	w.mu.Lock()
	w.status.Tried, w.status.Problems = now, nil
	swapped := change.Old != change.New
	if swapped {
		w.status.Digest, w.status.Rules, w.status.Loaded = set.Digest(), set.Len(), now
		w.status.Reloads++
	}
	w.mu.Unlock()
	if swapped && w.onSwap != nil {
		w.onSwap(change)
	}
	return nil
}

func (w *Watcher) failed(ps Problems) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status.Tried, w.status.Problems = time.Now(), ps
	w.status.Failures++
	return ps
}

// look digests the names, sizes and times of the files on disk.
func (w *Watcher) look(ctx context.Context) string {
	h := sha256.New()
	note := func(tree fs.FS, p string) {
		info, err := fs.Stat(tree, p)
		if err != nil {
			fmt.Fprintf(h, "%q %q\n", p, plain(err))
			return
		}
		fmt.Fprintf(h, "%q %d %d %v\n", p, info.Size(), info.ModTime().UnixNano(), info.Mode())
	}
	for _, s := range w.sources {
		if s.FS != nil {
			continue // part of the program
		}
		tree, close, only, err := s.open()
		if err != nil {
			fmt.Fprintf(h, "%q %q\n", s.Path, err)
			continue
		}
		if only != "" {
			note(tree, only)
			_ = close()
			continue
		}
		count := 0
		_ = fs.WalkDir(tree, ".", func(p string, d fs.DirEntry, err error) error {
			switch {
			case ctx.Err() != nil || count > MaxFiles:
				return fs.SkipAll
			case err != nil || p == ".":
				return nil
			case strings.HasPrefix(path.Base(p), "."):
				if d.IsDir() {
					return fs.SkipDir
				}
				return nil
			case !d.IsDir() && isRuleFile(p):
				count++
				note(tree, p)
			}
			return nil
		})
		_ = close()
	}
	return hex.EncodeToString(h.Sum(nil))
}

func contentDigest(files []File, problems Problems) string {
	h := sha256.New()
	for _, f := range files {
		fmt.Fprintf(h, "%q %d\n", f.Name, len(f.Text))
		h.Write(f.Text)
	}
	for _, p := range problems {
		fmt.Fprintf(h, "%q\n", p.Error())
	}
	return hex.EncodeToString(h.Sum(nil))
}
