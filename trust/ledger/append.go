package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// maxBatch bounds the entries under one head, and so how far off Verify's
// "entries 5 to 8" can be.
const maxBatch = 256

type pending struct {
	rest []byte // what encode made
	verb string
	done chan outcome
}

type outcome struct {
	receipt Receipt
	err     error
}

// Append adds an entry. When it returns without error the entry is on disk and
// under a signed head; concurrent callers share the two fsyncs of a commit.
//
// Errors: [ErrEntry] for an entry that can never be recorded, [ErrBusy],
// [ErrClosed], ctx's error if it ended before the entry's turn came, or the
// disk's error. After a disk error the entry is taken back and a later Append
// works once the disk does; only if the process is killed in that very moment
// may the entry be found in the ledger all the same.
func (l *Log) Append(ctx context.Context, e Entry) (Receipt, error) {
	if err := ctx.Err(); err != nil {
		return Receipt{}, err
	}
	if e.Time.IsZero() {
		e.Time = l.opts.Now()
	}
	rest, err := encode(e)
	if err != nil {
		return Receipt{}, err
	}
	p := &pending{rest: rest, verb: e.Verb, done: make(chan outcome, 1)}
	l.mu.Lock()
	switch {
	case l.closed:
		err = ErrClosed
	case len(l.queue) >= MaxWaiting:
		err = ErrBusy
	default:
		l.queue = append(l.queue, p)
	}
	l.mu.Unlock()
	if err != nil {
		return Receipt{}, err
	}

	for {
		select {
		case o := <-p.done:
			return o.receipt, o.err
		default:
		}
		select {
		case o := <-p.done:
			return o.receipt, o.err
		case l.commitSem <- struct{}{}:
			// This caller writes for everyone who waits, itself among them
			// unless somebody has just done it.
			l.commitWaiting()
			<-l.commitSem
		case <-ctx.Done():
			if l.withdraw(p) {
				return Receipt{}, ctx.Err()
			}
			o := <-p.done // already being written
			return o.receipt, o.err
		}
	}
}

func (l *Log) withdraw(p *pending) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.queue, p)
	if i < 0 {
		return false
	}
	l.queue = slices.Delete(l.queue, i, i+1)
	return true
}

// commitWaiting writes one batch. The caller holds commitSem.
func (l *Log) commitWaiting() {
	l.mu.Lock()
	n := min(len(l.queue), maxBatch)
	batch := slices.Clone(l.queue[:n])
	l.queue = slices.Delete(l.queue, 0, n)
	l.mu.Unlock()
	if n == 0 {
		return
	}
	receipts, err := l.commit(batch)
	if err != nil {
		l.opts.Logger.Error("the ledger could not be written", "dir", l.dir, "entries", n, "error", err)
	}
	for i, p := range batch {
		if err != nil {
			p.done <- outcome{err: err}
			continue
		}
		p.done <- outcome{receipt: receipts[i]}
	}
}

// commit writes a batch, syncs it, then writes and syncs the head over it. The
// order matters: a head on disk means that its entries are. The caller holds
// commitSem.
func (l *Log) commit(batch []*pending) (receipts []Receipt, err error) {
	start := time.Now()
	defer func() { l.metrics.commit(len(batch), err, time.Since(start)) }()
	if l.dirty {
		if err := l.repair(); err != nil {
			return nil, err
		}
	}
	l.mu.Lock()
	next := l.state.clone()
	l.mu.Unlock()

	at := next.bytes
	var buf []byte
	receipts = make([]Receipt, len(batch))
	for i, p := range batch {
		b := body(uint64(next.size), p.rest)
		b = appendSeal(b, seal(l.sealKey, next.last, b))
		leaf := leafHash(b)
		receipts[i] = Receipt{Index: uint64(next.size), Hash: leaf}
		if err := next.add(leaf, len(b)+1); err != nil {
			return nil, err
		}
		buf = append(append(buf, b...), '\n')
	}
	// Entries that Open adopted are below at, without a head: sign them too.
	l.dirty = true
	if err := l.write(l.entries, entriesFile, buf, at); err != nil {
		return nil, errors.Join(err, l.repair())
	}
	if err := l.signHead(&next); err != nil {
		return nil, errors.Join(err, l.repair())
	}
	l.dirty = false
	l.mu.Lock()
	l.state = next
	l.mu.Unlock()
	return receipts, nil
}

// signHead writes and syncs the head over s and enters it there.
func (l *Log) signHead(s *state) error {
	root, err := s.root()
	if err != nil {
		return err
	}
	head, frame, err := sign(l.signer, s.size, root, s.heads)
	if err != nil {
		return err
	}
	if err := l.write(l.heads, headsFile, frame, s.headBytes); err != nil {
		return err
	}
	s.head = head
	s.heads++
	s.headBytes += int64(len(frame))
	return nil
}

func (l *Log) write(f file, name string, data []byte, at int64) error {
	// WriteAt returns an error whenever it writes less.
	if _, err := f.WriteAt(data, at); err != nil {
		return fmt.Errorf("ledger: writing %s: %w", name, err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("ledger: syncing %s: %w", name, err)
	}
	return nil
}

// repair takes back what a failed commit wrote, the head first: a head must
// never be on disk without its entries.
func (l *Log) repair() error {
	for _, f := range []struct {
		file
		name string
		size int64
	}{{l.heads, headsFile, l.state.headBytes}, {l.entries, entriesFile, l.state.bytes}} {
		if err := errors.Join(f.Truncate(f.size), f.Sync()); err != nil {
			return fmt.Errorf("ledger: taking back an unfinished write of %s: %w", f.name, err)
		}
	}
	l.dirty = false
	return nil
}
