package lake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/testudo-sec/testudo/store"
)

// Maintain deletes what retention no longer keeps and joins small files of past hours.
// Files that name batches after trimmed stay: the bus would hand those batches in again.
func (l *Lake) Maintain(ctx context.Context, now time.Time, trimmed uint64) error {
	l.expire(now, trimmed)
	return l.compact(ctx, now, trimmed)
}

// expire deletes files by age and size, the oldest hours first, never the current hour.
func (l *Lake) expire(now time.Time, trimmed uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var total int64
	var parts []store.Partition
	for p, files := range l.folders {
		parts = append(parts, p)
		for _, f := range files {
			total += f.size
		}
	}
	slices.SortFunc(parts, func(a, b store.Partition) int {
		return cmp.Or(cmp.Compare(a.Hour, b.Hour), cmp.Compare(a.Class, b.Class))
	})
	current := store.HourOf(now.UnixNano())
	for _, p := range parts {
		old := l.cfg.MaxAge > 0 && now.Sub(p.End()) >= l.cfg.MaxAge
		full := l.cfg.MaxSize > 0 && total > int64(l.cfg.MaxSize)
		if p.Hour >= current || !old && !full {
			break
		}
		files := l.folders[p]
		if held(files) > trimmed {
			continue
		}
		var freed int64
		for _, f := range files {
			freed += f.size
			l.remove(f)
		}
		total -= freed
		l.stats.Expired += uint64(len(files))
		l.stats.ExpiredBytes += uint64(freed)
		delete(l.folders, p)
		// Where a view still reads, the folder stays until the next Open or expiry.
		_ = os.Remove(filepath.Join(l.dir, p.String()))
		l.log.Info("an hour of the lake is past its retention", "partition", p.String(), "files", len(files), "bytes", freed)
	}
	if l.cfg.MaxAge > 0 {
		l.expireGaps(now.Add(-l.cfg.MaxAge))
	}
}

// expireGaps forgets gaps that ended before a time.
func (l *Lake) expireGaps(before time.Time) {
	var kept, dead []storedGap
	for _, g := range l.gaps {
		if g.LastTime < before.UnixNano() {
			dead = append(dead, g)
		} else {
			kept = append(kept, g)
		}
	}
	if len(dead) > 0 {
		l.forgetGaps(dead, kept)
	}
}

// compact joins runs of small files.
func (l *Lake) compact(ctx context.Context, now time.Time, trimmed uint64) error {
	if l.cfg.CompactSize == 0 {
		return nil
	}
	for ctx.Err() == nil {
		run := l.nextRun(now, trimmed)
		if run == nil {
			return nil
		}
		if err := l.join(ctx, run); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
	return nil
}

// nextRun returns neighbouring files of a past hour that together stay within the size, two or more.
func (l *Lake) nextRun(now time.Time, trimmed uint64) []*file {
	l.mu.Lock()
	defer l.mu.Unlock()
	limit := int64(l.cfg.CompactSize)
	for p, files := range l.folders {
		if now.Sub(p.End()) < l.cfg.CompactAfter || held(files) > trimmed {
			continue
		}
		var run []*file
		var size int64
		for _, f := range files {
			_, damaged := l.damaged[f.path]
			// A file of more than half the size is done, or every late event would
			// have it written again.
			if damaged || f.size > limit/2 || size+f.size > limit {
				if len(run) > 1 {
					return run
				}
				run, size = nil, 0
			}
			if !damaged && f.size <= limit/2 {
				run, size = append(run, f), size+f.size
			}
		}
		if len(run) > 1 {
			return run
		}
	}
	return nil
}

// join writes the events of a run into one file that takes its place.
func (l *Lake) join(ctx context.Context, run []*file) (err error) {
	dir := filepath.Join(l.dir, run[0].part.String())
	st := newStage(l.layout)
	var w *fileWriter
	defer func() {
		if w != nil {
			w.discard()
		}
	}()
	groups, err := l.groupsOf(run)
	if err != nil {
		return nil // the damaged file is marked; the next run goes around it
	}
	if w, err = createFile(l.layout, dir, groups); err != nil {
		return err
	}
	for _, f := range run {
		if err := l.copyFile(ctx, f, w, st); err != nil {
			if errors.Is(err, errUnreadable) {
				return nil
			}
			return err
		}
	}
	if err := w.finish(); err != nil {
		return err
	}
	info, err := w.file.Stat()
	if err != nil {
		return err
	}
	first, last := run[0].first, run[len(run)-1].last
	name := fileName(first, last)
	joined := &file{path: filepath.Join(run[0].part.String(), name), part: run[0].part, first: first, last: last, size: info.Size()}
	if err := w.rename(name); err != nil {
		return err
	}
	l.replace(run, joined)
	return nil
}

// replace swaps a run for the file that holds it.
func (l *Lake) replace(run []*file, joined *file) {
	l.mu.Lock()
	defer l.mu.Unlock()
	files := l.folders[joined.part]
	at := slices.Index(files, run[0])
	if at < 0 { // retention was faster
		l.remove(joined)
		return
	}
	l.folders[joined.part] = slices.Concat(files[:at], []*file{joined}, files[at+len(run):])
	for _, f := range run {
		l.remove(f)
	}
	l.stats.Compacted += uint64(len(run))
}

var errUnreadable = errors.New("unreadable file")

// groupsOf returns the groups that the files have, and marks those that cannot be read.
func (l *Lake) groupsOf(run []*file) (all groupSet, err error) {
	for _, f := range run {
		r, openErr := openReader(l.layout, filepath.Join(l.dir, f.path), f.part)
		if openErr != nil {
			l.markDamaged(f, openErr)
			err = errUnreadable
			continue
		}
		for i := range r.at {
			if r.at[i].leaf >= 0 {
				all.add(l.layout.columns[i].group)
			}
		}
		r.close()
	}
	return all, err
}

// copyFile appends the file's events to w. What is wrong with the file itself is
// errUnreadable, and the file is marked.
func (l *Lake) copyFile(ctx context.Context, f *file, w *fileWriter, st *stage) (err error) {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	defer func() {
		if p := recover(); p != nil {
			l.markDamaged(f, fmt.Errorf("damaged: %v", p))
			err = errUnreadable
		}
	}()
	r, err := openReader(l.layout, filepath.Join(l.dir, f.path), f.part)
	if err != nil {
		l.markDamaged(f, err)
		return errUnreadable
	}
	defer r.close()
	var writeErr error
	err = r.copyTo(st, func() error {
		writeErr = cmp.Or(ctx.Err(), w.write(st))
		return writeErr
	})
	if err != nil && writeErr == nil {
		l.markDamaged(f, err)
		return errUnreadable
	}
	return err
}
