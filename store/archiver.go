package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/testudo-sec/testudo/signal"
)

const (
	maxOpenParts     = 24 // lake files that are written at the same time
	archivePoll      = time.Second
	archiveBackoff   = time.Second
	maintainInterval = time.Minute
)

// Archiver moves batches from the bus into the lake. A file that it commits names the
// batches it holds, and the bus forgets a batch only when all files that hold its events are
// committed, so it may be killed at any moment: it then reads the batch again and leaves out
// what the files already hold.
type Archiver struct {
	cfg     Config
	bus     Log
	lake    Lake
	letters *deadLetters
	forget  func(ctx context.Context, through uint64) (bool, error) // trims the bus unless a search reads it
	log     *slog.Logger

	// Of run's goroutine.
	parts   map[Partition]*openPart
	done    uint64 // last batch whose events are all in parts or in the lake
	gaps    []Gap  // of batches up to done that the lake does not keep yet
	gapsTo  uint64 // last batch that had gaps
	raw     []byte
	event   signal.Event
	trimmed uint64
	started bool
	newest  int64 // greatest time of the last batch

	mu      sync.Mutex
	failure error
	stats   ArchiverStats
}

type openPart struct {
	Part
	first  uint64 // first batch that has events in it
	held   uint64 // last batch that the partition's committed files hold
	opened time.Time
}

// ArchiverStats counts since the start.
type ArchiverStats struct {
	Batches     uint64 // batches read
	Events      uint64 // events put into lake files, committed or not
	Repeated    uint64 // events left out because the lake had them already
	Commits     uint64 // lake files committed
	DeadLetters uint64 // batches that could not be read
	Lost        uint64 // batches that were missing from the bus
	Gaps        uint64 // events that are known to be missing: dropped before the bus, or in dead letters
	Done        uint64 // last batch read
	Trimmed     uint64 // last batch that the bus was told to forget
	Retries     uint64 // times that the work had to be taken up again
	Open        int    // lake files being written
}

func newArchiver(cfg Config, bus Log, lake Lake, letters *deadLetters, forget func(context.Context, uint64) (bool, error), log *slog.Logger) *Archiver {
	return &Archiver{cfg: cfg, bus: bus, lake: lake, letters: letters, forget: forget, log: log, parts: make(map[Partition]*openPart)}
}

// run archives until ctx is done, and then commits what was read. More wakes it.
func (a *Archiver) run(ctx context.Context, more <-chan struct{}) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	defer a.discard()
	for {
		select {
		case <-ctx.Done():
			final, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
			defer cancel()
			if err := a.round(final, true); err != nil {
				a.log.Error("the lake was not brought up to date at the stop; the bus keeps the events", "error", err)
			}
			return
		case <-more:
		case <-timer.C:
		}
		wait := archivePoll
		if err := a.round(ctx, false); err != nil && ctx.Err() == nil {
			a.fail(err)
			wait = archiveBackoff
			pause(ctx, wait)
		} else if err == nil {
			a.recover()
		}
		timer.Reset(wait)
	}
}

// pause waits out a backoff, so that a busy recorder does not hurry a broken disk.
func pause(ctx context.Context, wait time.Duration) {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// round reads what is new, commits what is due, or everything, and trims the bus.
func (a *Archiver) round(ctx context.Context, everything bool) error {
	if !a.started {
		first, _, err := a.bus.Bounds(ctx)
		if err != nil {
			return err
		}
		a.started, a.done, a.trimmed = true, first-1, first-1
		a.count(func(s *ArchiverStats) { s.Done, s.Trimmed = a.done, a.trimmed })
	}
	var failed error
	err := a.bus.Read(ctx, a.done+1, func(seq uint64, payload []byte) bool {
		if failed = a.batch(seq, payload); failed != nil {
			return false
		}
		a.done = seq
		failed = a.commitDue(false)
		return failed == nil && (ctx.Err() == nil || everything)
	})
	if err := cmp.Or(failed, err); err != nil {
		return err
	}
	if err := a.commitDue(everything); err != nil {
		return err
	}
	return a.trim(ctx)
}

// batch puts the events of a batch into parts. An unreadable one becomes a dead letter.
func (a *Archiver) batch(seq uint64, payload []byte) error {
	a.count(func(s *ArchiverStats) { s.Batches++; s.Done = seq })
	head, body, err := parseBatch(payload)
	until := head.firstTime
	if err != nil {
		until = max(a.newest, time.Now().UnixNano()) // what an unreadable batch holds is not older than the one before it
	}
	unknown := Gap{FirstTime: min(a.newest, until), LastTime: until}
	if seq != a.done+1 {
		a.log.Error("batches are missing from the bus", "first", a.done+1, "last", seq-1)
		a.count(func(s *ArchiverStats) { s.Lost += seq - 1 - a.done })
		head.gaps = append(head.gaps, unknown)
	}
	if err != nil {
		a.gap(seq, append(head.gaps, unknown))
		return a.deadLetter(seq, payload, err)
	}
	a.newest = head.lastTime
	a.gap(seq, head.gaps)
	if a.raw, err = head.frames(a.raw, body); err != nil {
		a.gap(seq, []Gap{head.lost(head.count)})
		return a.deadLetter(seq, payload, err)
	}
	frames := signal.ReadFrames(a.raw)
	var last *openPart
	var lastOf Partition
	added, repeated := uint64(0), uint64(0)
	for frames.Next(&a.event) {
		if p := PartitionOf(&a.event); last == nil || p != lastOf {
			if last, err = a.part(p, seq); err != nil {
				return err
			}
			lastOf = p
		}
		if seq <= last.held {
			repeated++
			continue
		}
		if err := last.Append(&a.event); err != nil {
			return err
		}
		added++
	}
	a.count(func(s *ArchiverStats) { s.Events += added; s.Repeated += repeated })
	if err := frames.Err(); err != nil {
		a.gap(seq, []Gap{head.lost(head.count - int(added+repeated))})
		return a.deadLetter(seq, payload, err)
	}
	return nil
}

// gap notes that records are missing, unless the lake keeps it already.
func (a *Archiver) gap(seq uint64, gaps []Gap) {
	if len(gaps) == 0 || seq <= a.lake.GapsHeld() {
		return
	}
	a.gaps, a.gapsTo = append(a.gaps, gaps...), seq
	a.count(func(s *ArchiverStats) {
		for _, g := range gaps {
			s.Gaps += g.Count
		}
	})
}

func (a *Archiver) deadLetter(seq uint64, payload []byte, reason error) error {
	a.log.Error("a batch of the bus cannot be read in whole; it is kept as a dead letter", "sequence", seq, "error", reason)
	if err := a.letters.keep(seq, payload); err != nil {
		return err
	}
	a.count(func(s *ArchiverStats) { s.DeadLetters++ })
	return nil
}

// part returns the open part of a partition, beginning with the batch seq where there is none.
func (a *Archiver) part(p Partition, seq uint64) (*openPart, error) {
	if open := a.parts[p]; open != nil {
		return open, nil
	}
	made, err := a.lake.Create(p)
	if err != nil {
		return nil, err
	}
	held := a.lake.Held(p)
	open := &openPart{Part: made, first: max(seq, held+1), held: held, opened: time.Now()}
	a.parts[p] = open
	return open, nil
}

// commitDue commits the parts that are large or old enough, or all of them, and the oldest
// where too many are open. It is called between batches: a file holds whole batches only.
func (a *Archiver) commitDue(all bool) error {
	for p, open := range a.parts {
		switch {
		case all, open.Rows() >= a.cfg.ArchiveRows, open.Size() >= int64(a.cfg.ArchiveSize), time.Since(open.opened) >= a.cfg.ArchiveAge:
			if err := a.commit(p, open); err != nil {
				return err
			}
		}
	}
	for len(a.parts) > maxOpenParts {
		var oldest Partition
		for p, open := range a.parts {
			if known := a.parts[oldest]; known == nil || open.first < known.first {
				oldest = p
			}
		}
		if err := a.commit(oldest, a.parts[oldest]); err != nil {
			return err
		}
	}
	a.count(func(s *ArchiverStats) { s.Open = len(a.parts) })
	return nil
}

func (a *Archiver) commit(p Partition, open *openPart) error {
	defer open.Discard()
	delete(a.parts, p)
	if open.Rows() == 0 {
		return nil
	}
	if err := open.Commit(open.first, a.done); err != nil {
		return err
	}
	a.count(func(s *ArchiverStats) { s.Commits++ })
	return nil
}

// trim keeps the gaps, and lets the bus forget what is in committed files.
func (a *Archiver) trim(ctx context.Context) error {
	through := a.done
	for _, open := range a.parts {
		if open.Rows() > 0 {
			through = min(through, open.first-1)
		}
	}
	if through <= a.trimmed {
		return nil
	}
	if len(a.gaps) > 0 {
		if err := a.lake.RecordGaps(a.gapsTo, mergeGaps(a.gaps)); err != nil {
			return err
		}
		a.gaps = nil
	}
	if ok, err := a.forget(ctx, through); err != nil || !ok {
		return err
	}
	a.trimmed = through
	a.count(func(s *ArchiverStats) { s.Trimmed = through })
	return nil
}

// mergeGaps joins the gaps of each plane that overlap or touch.
func mergeGaps(gaps []Gap) []Gap {
	slices.SortStableFunc(gaps, func(a, b Gap) int {
		return cmp.Or(cmp.Compare(a.Plane, b.Plane), cmp.Compare(a.FirstTime, b.FirstTime))
	})
	var out []Gap
	for _, g := range gaps {
		if n := len(out); n > 0 && out[n-1].Plane == g.Plane && g.FirstTime <= out[n-1].LastTime+int64(time.Second) {
			o := &out[n-1]
			o.Count += g.Count
			o.FirstSeq, o.LastSeq = min(o.FirstSeq, g.FirstSeq), max(o.LastSeq, g.LastSeq)
			o.LastTime = max(o.LastTime, g.LastTime)
			continue
		}
		out = append(out, g)
	}
	return out
}

// fail forgets the work since the last trim: the bus has it still.
func (a *Archiver) fail(err error) {
	a.discard()
	a.done, a.gaps = a.trimmed, nil
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.failure == nil {
		a.log.Error("events cannot be moved into the lake; the bus keeps them", "error", err)
	}
	a.failure = err
	a.stats.Retries++
}

func (a *Archiver) recover() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.failure != nil {
		a.log.Info("events are moved into the lake again")
	}
	a.failure = nil
}

func (a *Archiver) discard() {
	for p, open := range a.parts {
		open.Discard()
		delete(a.parts, p)
	}
}

func (a *Archiver) count(change func(*ArchiverStats)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(&a.stats)
}

// maintain compacts and expires lake files from time to time until ctx is done, in moments
// when the archiver is not behind.
func (a *Archiver) maintain(ctx context.Context) {
	tick := time.NewTicker(maintainInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if err := a.lake.Maintain(ctx, now, a.Stats().Trimmed); err != nil && !errors.Is(err, context.Canceled) {
				a.log.Error("the lake could not be tidied up", "error", err)
			}
		}
	}
}

// Health returns nil, or why events are not reaching the lake.
func (a *Archiver) Health() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.failure == nil {
		return nil
	}
	return fmt.Errorf("events cannot be moved into the lake (the bus keeps them): %w", a.failure)
}

// Stats returns the counters.
func (a *Archiver) Stats() ArchiverStats {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stats
}
