package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Open opens the ledger in dir, creating it (and dir, mode 0700) if there is
// none, and takes it for this process.
//
// Open recomputes the whole tree and compares it with every head, but checks
// only the last head's signature; [Verify] checks all. After a stop without
// Close it mends what a write under way left behind, see [Recovery]; anything
// else that does not fit is a [*Damage] and nothing is touched. Then keep the
// directory as evidence and begin with another.
func Open(dir string, opts Options) (*Log, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if err := prepare(dir); err != nil {
		return nil, err
	}
	unlock, err := lock(filepath.Join(dir, lockFile))
	if err != nil {
		return nil, err
	}
	l := &Log{opts: opts, dir: dir, unlock: unlock, commitSem: make(chan struct{}, 1)}
	if err := l.open(); err != nil {
		for _, f := range []file{l.entries, l.heads} {
			if f != nil {
				f.Close()
			}
		}
		unlock()
		return nil, err
	}
	return l, nil
}

// prepare makes the directory or checks it.
func prepare(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("ledger: %s is not a directory", dir)
	}
	return errors.Join(owned(dir, info), private(dir))
}

func (l *Log) open() error {
	entries, err := l.openFile(entriesFile)
	if err != nil {
		return err
	}
	heads, err := l.openFile(headsFile)
	if err != nil {
		return err
	}
	entriesSize, err := size(entries)
	if err != nil {
		return err
	}
	headsSize, err := size(heads)
	if err != nil {
		return err
	}
	// No head was ever finished: a creation that was cut short at most.
	fresh := entriesSize == 0 && headsSize == 0
	k, err := loadKeys(l.dir, l.opts.Origin, fresh)
	if err != nil {
		return err
	}
	l.signer, l.verifier, l.public, l.sealKey = k.signer, k.verifier, k.public, k.seal

	w := newWalk(io.NewSectionReader(entries, 0, entriesSize), io.NewSectionReader(heads, 0, headsSize), k.signer.Name(), nil)
	if err := w.run(); err != nil {
		return err
	}
	if w.lastFrame != nil {
		if _, err := openFrame(w.lastFrame, k.signer.Name(), k.verifier); err != nil {
			return &Damage{File: headsFile, Line: w.lastFrameLine, What: err.Error()}
		}
	}
	if err := l.recover(w); err != nil {
		return err
	}
	l.state = w.state
	l.state.entries = l.entries
	l.metrics, err = newMetrics(l.opts.Metrics, func() float64 { return float64(l.Head().Size) })
	if err != nil {
		return fmt.Errorf("ledger: metrics: %w", err)
	}
	if err := l.begin(); err != nil {
		l.metrics.unregister()
		return err
	}
	return nil
}

// begin signs what no head covers yet: the empty tree of a new ledger, or what
// recover kept, with an entry that says so.
func (l *Log) begin() error {
	if l.state.heads == 0 {
		next := l.state.clone()
		if err := l.signHead(&next); err != nil {
			return err
		}
		l.state = next
		if err := syncDir(l.dir); err != nil {
			return fmt.Errorf("ledger: %w", err)
		}
	}
	r := l.recovery
	if !r.Any() {
		return nil
	}
	detail := map[string]string{"adopted": strconv.Itoa(r.Adopted)}
	if len(r.CutEntry) > 0 {
		detail["cut_entry_bytes"] = strconv.Itoa(len(r.CutEntry))
		detail["cut_entry"] = string(bytes.TrimRight(r.CutEntry, "\x00"))
	}
	if len(r.CutHead) > 0 {
		detail["cut_head_bytes"] = strconv.Itoa(len(r.CutHead))
	}
	l.opts.Logger.Warn("the ledger was not closed; its last write was mended", "dir", l.dir,
		"adopted", r.Adopted, "cut_entry_bytes", len(r.CutEntry), "cut_head_bytes", len(r.CutHead))
	_, err := l.Append(context.Background(), Entry{Actor: "system", Verb: "ledger.recover", Subject: "ledger:" + l.signer.Name(), Detail: detail})
	return err
}

// recover looks at what stands behind the last head. Whole entries with this
// ledger's seal are kept: their caller may have acted on them. One incomplete
// entry at the very end is cut, and so is an incomplete head if it is a
// beginning of the very head that would come next. Everything else was not
// written by a ledger that was interrupted.
func (l *Log) recover(w *walk) error {
	signed := w.size
	const limit = (maxBatch + 64) * MaxLine // one write, and its recoveries that were killed too
	tail, err := io.ReadAll(io.LimitReader(w.lines, limit+1))
	if err != nil {
		return fmt.Errorf("ledger: reading entries: %w", err)
	}
	for len(tail) > 0 {
		line, rest, whole := cutLine(tail)
		// A line with a zero byte was lost with the power before its block
		// reached the disk; the ledger itself never writes one.
		if len(tail) <= limit && (!whole || bytes.IndexByte(line, 0) >= 0) {
			break
		}
		if err := l.adopt(w, line); err != nil {
			return &Damage{File: entriesFile, Line: int(w.size) + 1, Entries: true, From: uint64(w.size), To: uint64(w.size), What: err.Error()}
		}
		tail = rest
	}
	cut := tail
	if w.heads == 0 && (w.size > 0 || len(cut) > 0) {
		return &Damage{File: headsFile, What: "it holds no whole head, though there are entries"}
	}
	l.recovery = Recovery{Adopted: int(w.size - signed), CutEntry: cut, CutHead: w.tornHead}
	if len(w.tornHead) > 0 {
		root, err := w.root()
		if err != nil {
			return err
		}
		_, frame, err := sign(l.signer, w.size, root, w.heads)
		if err != nil {
			return err
		}
		fits := (w.size > signed && len(cut) == 0 || w.heads == 0) &&
			bytes.HasPrefix(frame, bytes.TrimRight(w.tornHead, "\x00"))
		if !fits {
			return &Damage{File: headsFile, Line: w.frames.line, What: "an incomplete head that this ledger did not begin to write"}
		}
	}
	if !l.recovery.Any() {
		return nil
	}
	if err := errors.Join(l.heads.Truncate(w.headBytes), l.heads.Sync()); err != nil {
		return fmt.Errorf("ledger: cutting an incomplete head: %w", err)
	}
	if err := errors.Join(l.entries.Truncate(w.bytes), l.entries.Sync()); err != nil {
		return fmt.Errorf("ledger: cutting an incomplete entry: %w", err)
	}
	return nil
}

// adopt takes a whole entry that no head covers yet.
func (l *Log) adopt(w *walk, line []byte) error {
	rec, mark, err := parse(line)
	if err != nil {
		return err
	}
	if rec.Index != uint64(w.size) {
		return fmt.Errorf("it says that it is entry %d", rec.Index)
	}
	unsealed := line[:len(line)-len(mark)-len(sealPrefix)-len(`"}`)]
	if seal(l.sealKey, w.last, unsealed) != mark {
		return errors.New("its seal is not this ledger's: it was edited before a head could sign it")
	}
	return w.add(rec.Hash, len(line)+1)
}

func (l *Log) openFile(name string) (*os.File, error) {
	path := filepath.Join(l.dir, name)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|noFollow, 0o600)
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	var held file = f
	if l.opts.wrap != nil {
		held = l.opts.wrap(name, f)
	}
	if name == entriesFile {
		l.entries = held
	} else {
		l.heads = held
	}
	if err := private(path); err != nil {
		return nil, err
	}
	return f, nil
}

func size(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, fmt.Errorf("ledger: %w", err)
	}
	if !info.Mode().IsRegular() {
		return 0, fmt.Errorf("ledger: %s is not a regular file", f.Name())
	}
	return info.Size(), nil
}
