// Package follow reads files that grow: from their beginning or from where it left off, across rotation by
// renaming, by copying and truncating, across deletion, and files that appear later.
//
// It knows bytes only. For each file it hands a [Stream] to a [Consumer], which reads records from it and
// says with [Stream.Commit] up to where they have been taken. What was committed is kept in a file, so
// that a restart goes on from there:
//
//   - after a stop in good order, no record is lost and none comes twice;
//   - after a crash, none is lost, and those that were read in its last two seconds may come twice.
//
// A file is known by its device and inode number and by a digest over its first bytes. So a file that was
// renamed is finished under its new name, a number that was given to another file is noticed, a copy of a
// file that was followed is not read again, and a file that was truncated and filled anew is read anew.
//
// Files are polled. The kernel's notifications would save a fraction of a second and cost nothing less: they
// are silent on network file systems, overflow under load, and need a poll behind them anyway.
package follow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A Consumer reads files. Consume reads the stream until Read returns an error other than ErrQuiet; it is called
// once for each file at a time, from a goroutine of its own. It returns nil after io.EOF. Any other error
// makes it be called again later with a stream that begins where the last one was committed.
type Consumer interface {
	Consume(ctx context.Context, s *Stream) error
}

// Input is a group of files and who reads them.
type Input struct {
	Files    Files
	Consumer Consumer
}

// Deps is what a Follower is made of.
type Deps struct {
	Positions  string // file that keeps the positions; empty: none are kept
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: none
}

// Follower follows files. It is safe for concurrent use.
type Follower struct {
	cfg    Config
	inputs []Input
	deps   Deps
	log    *slog.Logger

	mu       sync.Mutex
	known    map[identity]position // of all files, as of when they were last not being read
	tails    map[identity]*tail
	byPath   map[string]*tail
	patterns map[string]bool      // that were looked through before
	remnants []position           // of what files held before they were truncated
	gone     map[string]time.Time // when the file that was rotated away from a path was last written to
	refused  map[string]string
	wait     sync.WaitGroup

	stats struct {
		bytes, rotated, truncated, lost, waiting atomic.Uint64
		unreadable                               atomic.Int64
	}
}

// maxRemnants bounds how many files are remembered that have been truncated.
const maxRemnants = 256

// beingCopied is how long a file may not have been written to that is shorter than the one it is a copy of.
const beingCopied = 10 * time.Second

// maxMatches bounds the files that patterns may find.
const maxMatches = 20_000

var errNotRegular = errors.New("not a regular file")

// New reads the positions. It opens nothing to follow.
func New(cfg Config, inputs []Input, deps Deps) (*Follower, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	for i := range inputs {
		if err := inputs[i].Files.Validate(); err != nil {
			return nil, err
		}
	}
	k, err := readKept(deps.Positions)
	if err != nil {
		return nil, err
	}
	f := &Follower{cfg: cfg, inputs: inputs, deps: deps, log: deps.Logger, known: map[identity]position{}, tails: map[identity]*tail{},
		byPath: map[string]*tail{}, patterns: map[string]bool{}, refused: map[string]string{},
		gone: map[string]time.Time{}}
	for _, p := range k.Paths {
		f.patterns[p] = true
	}
	for _, p := range k.Files {
		f.known[p.identity] = p
	}
	if deps.Registerer != nil {
		return f, f.register(deps.Registerer)
	}
	return f, nil
}

// Run follows the files until ctx ends, and returns when nobody reads them any more and the positions are
// kept.
func (f *Follower) Run(ctx context.Context) error {
	f.scan(ctx, true)
	rescan := time.NewTicker(f.cfg.Rescan)
	defer rescan.Stop()
	save := time.NewTicker(time.Second)
	defer save.Stop()
	var before []byte // what was written last
	last := f.snapshot()
	for {
		select {
		case <-rescan.C:
			f.scan(ctx, false)
		case <-save.C:
			// What was taken a moment ago has reached the disk by now; what is taken just now has
			// perhaps not. After a crash it is rather read twice.
			f.save(last, &before)
			last = f.snapshot()
		case <-ctx.Done():
			f.wait.Wait()
			f.save(f.snapshot(), &before)
			return nil
		}
	}
}

// snapshot returns what would have to be kept now.
func (f *Follower) snapshot() kept {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now().UTC().Truncate(time.Hour) // so that a quiet hour writes nothing
	k := kept{Version: 1, Files: make([]position, 0, len(f.known)+len(f.tails))}
	for p := range f.patterns {
		k.Paths = append(k.Paths, p)
	}
	slices.Sort(k.Paths)
	for id, p := range f.known {
		if f.tails[id] == nil && now.Sub(p.Seen) < forgetAfter {
			k.Files = append(k.Files, p)
		}
	}
	for _, t := range f.tails {
		k.Files = append(k.Files, t.position(now))
	}
	// The newest first, so that the bound forgets the oldest.
	slices.SortFunc(k.Files, func(a, b position) int {
		return cmp.Or(b.Seen.Compare(a.Seen), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Ino, b.Ino))
	})
	k.Files = k.Files[:min(len(k.Files), maxPositions)]
	return k
}

func (f *Follower) save(k kept, before *[]byte) {
	text := fmt.Append(nil, k)
	if f.deps.Positions == "" {
		return
	}
	if slices.Equal(text, *before) {
		return
	}
	if err := k.write(f.deps.Positions); err != nil {
		f.log.Error("how far files were read could not be kept: a restart would read them again", "error", err)
		return
	}
	*before = text
}

// match is a file that a pattern found.
type match struct {
	path    string
	input   *Input
	id      identity
	size    int64
	changed time.Time
}

// scan looks for files that are new, and for those that are gone from where they were.
func (f *Follower) scan(ctx context.Context, starting bool) {
	matches, there := f.matches()
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now().UTC().Truncate(time.Hour)
	for _, t := range f.tails {
		if at, ok := there[t.path]; !t.remnant && (!ok || at != t.id) && !t.moved.Load() {
			f.stats.rotated.Add(1)
			f.log.Debug("a file was rotated away and is read to its end", "path", t.path)
			if info, err := t.f.Stat(); err == nil { // before it is told, for it closes the file then
				if len(f.gone) >= maxRemnants {
					clear(f.gone)
				}
				f.gone[t.path] = info.ModTime()
			}
			t.moved.Store(true)
			t.nudge()
		}
	}
	if starting {
		f.finish(ctx, matches)
	}
	waiting := 0
	for i := range matches {
		m := &matches[i]
		if t := f.tails[m.id]; t != nil || m.size == 0 {
			continue // an empty file may be about to become a copy: its beginning will tell
		}
		if p, ok := f.known[m.id]; ok {
			p.Seen = now
			f.known[m.id] = p
			if p.Offset == m.size && p.changed.Equal(m.changed) && !starting {
				continue // at rest
			}
		}
		if len(f.tails) >= f.cfg.MaxFiles {
			waiting++
			continue
		}
		f.follow(ctx, m, starting)
	}
	f.stats.waiting.Store(uint64(waiting))
	if waiting > 0 {
		f.makeRoom(waiting)
	}
	for i := range f.inputs {
		for _, p := range f.inputs[i].Files.Paths {
			f.patterns[p] = true
		}
	}
}

// matches returns the files that the patterns find, each once, and which file is at which path.
func (f *Follower) matches() ([]match, map[string]identity) {
	var found []match
	seen := map[identity]bool{}
	there := map[string]identity{}
	unreadable := int64(0)
	for i := range f.inputs {
		in := &f.inputs[i]
		for _, pattern := range in.Files.Paths {
			paths, _ := filepath.Glob(pattern) // Validate has seen the pattern
			for _, path := range paths {
				if in.Files.excludes(path) || len(found) >= maxMatches {
					continue
				}
				info, err := os.Stat(path)
				if err == nil && info.IsDir() {
					continue
				}
				if err == nil && !info.Mode().IsRegular() {
					err = errNotRegular
				}
				if err != nil {
					if !os.IsNotExist(err) {
						unreadable++
						f.refuse(path, err)
					}
					continue
				}
				id, ok := identify(info)
				if !ok {
					continue
				}
				there[path] = id
				if !seen[id] {
					seen[id] = true
					found = append(found, match{path, in, id, info.Size(), info.ModTime()})
				}
			}
		}
	}
	f.stats.unreadable.Store(unreadable)
	return found, there
}

// refuse says once for each reason why a file is not read.
func (f *Follower) refuse(path string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuseLocked(path, err)
}

func (f *Follower) refuseLocked(path string, err error) {
	if len(f.refused) > 1000 {
		clear(f.refused)
	}
	if text := err.Error(); f.refused[path] != text {
		f.refused[path] = text
		f.log.Warn("a log file cannot be read", "path", path, "error", err)
	}
}

// follow begins to read a file. Callers hold mu.
func (f *Follower) follow(ctx context.Context, m *match, starting bool) {
	o, err := open(m.path)
	if err != nil {
		if !os.IsNotExist(err) {
			f.refuseLocked(m.path, err)
		}
		return
	}
	delete(f.refused, m.path)
	if f.tails[o.id] != nil { // renamed between the look and the opening
		_ = o.f.Close()
		return
	}
	at, lines, from := int64(0), int64(0), "its beginning"
	p, known := f.known[o.id]
	switch {
	case known && p.begins(o.first) && p.Offset <= o.size:
		at, lines, from = p.Offset, p.Lines, "where it was left"
		if !starting && p.Offset == o.size && p.Offset > 0 {
			p.changed = o.changed
			f.known[o.id] = p
			_ = o.f.Close()
			return
		}
	case known && p.Len > 0:
		f.begunAnew(ctx, p, m.input)
	case o.size == 0:
		_ = o.f.Close()
		return
	default:
		twin, live := f.twin(o)
		if live {
			_ = o.f.Close()
			return // a copy of what is being followed: perhaps the original is about to be truncated
		}
		if twin != nil && twin.Offset > o.size && time.Since(o.changed) < beingCopied {
			_ = o.f.Close()
			return
		}
		if twin != nil && twin.Offset <= o.size {
			at, lines, from = twin.Offset, twin.Lines, "where the file was left that it is a copy of"
		} else if starting && m.input.Files.From == End && !f.seenBefore(m.input) {
			at, from = lineBefore(o.f, o.size), "its end"
		}
	}
	if since, ok := f.gone[m.path]; ok {
		delete(f.gone, m.path)
		f.between(ctx, m.path, since, m.input)
	}
	f.log.Info("following a file", "path", m.path, "from", from, "offset", at)
	t := f.newTail(m.path, o, m.input, at, lines)
	f.start(ctx, t, f.byPath[m.path])
	f.byPath[m.path] = t
}

// seenBefore reports whether the files of the input have been followed before, so that one which is unknown is
// new. Callers hold mu.
func (f *Follower) seenBefore(in *Input) bool {
	return slices.ContainsFunc(in.Files.Paths, func(p string) bool { return f.patterns[p] })
}

func (f *Follower) newTail(path string, o *opened, in *Input, at, lines int64) *tail {
	t := &tail{cfg: &f.cfg, path: path, id: o.id, f: o.f, consumer: in.Consumer, wake: make(chan struct{}, 1), done: make(chan struct{}),
		bytes: &f.stats.bytes, startLines: lines, committed: at, lines: lines, first: o.first}
	t.at.Store(at)
	t.quietSince.Store(time.Now().UnixNano())
	return t
}

// start reads the file once the one before it is finished. Callers hold mu.
func (f *Follower) start(ctx context.Context, t, before *tail) {
	f.tails[t.id] = t
	f.wait.Go(func() {
		defer close(t.done)
		if before != nil {
			patience := time.NewTimer(f.cfg.Quiet + 30*time.Second) // somebody still writes to the old one
			select {
			case <-before.done:
			case <-patience.C:
			case <-ctx.Done():
			}
			patience.Stop()
		}
		f.read(ctx, t)
		var changed time.Time
		if info, err := t.f.Stat(); err == nil {
			changed = info.ModTime()
		}
		_ = t.f.Close()
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.tails, t.id)
		p := t.position(time.Now().UTC().Truncate(time.Hour))
		p.Done = t.moved.Load() && ctx.Err() == nil
		p.changed = changed
		f.known[t.id] = p
		if f.byPath[t.path] == t {
			delete(f.byPath, t.path)
		}
		if len(f.known) > maxPositions {
			f.forget()
		}
	})
}

// forget drops what was seen the longest ago. Callers hold mu.
func (f *Follower) forget() {
	var oldest identity
	at := time.Now().Add(time.Hour)
	for id, p := range f.known {
		if f.tails[id] == nil && p.Seen.Before(at) {
			oldest, at = id, p.Seen
		}
	}
	delete(f.known, oldest)
}

// The pauses between tries after a consumer's error.
const (
	firstPause = 500 * time.Millisecond
	longPause  = 30 * time.Second
)

// read has the file consumed to its end.
func (f *Follower) read(ctx context.Context, t *tail) {
	pause := firstPause
	for ctx.Err() == nil {
		s := &Stream{ctx: ctx, t: t, base: t.at.Load(), fresh: t.at.Load() == 0}
		was := s.base
		err := t.consumer.Consume(ctx, s)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && s.truncated:
			f.stats.truncated.Add(1)
			f.log.Info("a file begins anew", "path", t.path, "read", t.at.Load())
			f.truncated(ctx, t)
			t.begin()
			continue
		case err == nil && (t.moved.Load() || t.release.Load()):
			return
		case err == nil:
			err = io.ErrUnexpectedEOF // the consumer ended by itself
		}
		t.resume()
		if t.at.Load() > was {
			pause = firstPause
		}
		f.log.Error("records of a file could not be handed on: it is read again from there", "path", t.path, "offset", t.at.Load(),
			"again in", pause, "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, longPause)
	}
}

// makeRoom has those files closed that have been quiet the longest. Callers hold mu.
func (f *Follower) makeRoom(wanted int) {
	quiet := make([]*tail, 0, len(f.tails))
	for _, t := range f.tails {
		if time.Since(time.Unix(0, t.quietSince.Load())) > 2*f.cfg.Quiet+f.cfg.Rescan && !t.moved.Load() {
			quiet = append(quiet, t)
		}
	}
	slices.SortFunc(quiet, func(a, b *tail) int { return cmp.Compare(a.quietSince.Load(), b.quietSince.Load()) })
	for _, t := range quiet[:min(wanted, len(quiet))] {
		t.release.Store(true)
		t.nudge()
	}
}
