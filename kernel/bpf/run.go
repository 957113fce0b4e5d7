//go:build linux

package bpf

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel/record"
)

// How the reader works. Records are told in batches: waking it for each costs the task that it tells of more than the record does.
const (
	batchSize  = 256 << 10             // bytes of records handed on at once
	batchDelay = 10 * time.Millisecond // that a record waits at most, where it is not urgent
	idleDelay  = time.Second           // between looks at what was lost, while nothing happens
	wakeBytes  = 256 << 10             // that wait before the reader is woken early
	lostDelay  = time.Second
)

// Run hands on records in batches, in the order in which they were seen, until ctx ends. The slice is receive's until it returns. Records
// that the kernel had to drop are told of by records of the kind Lost. One Run at a time.
func (l *Loader) Run(ctx context.Context, receive func(batch []byte)) error {
	if !l.running.CompareAndSwap(false, true) {
		return errors.New("the ring is being read already")
	}
	defer l.running.Store(false)
	m := l.maps["records"]
	if m == nil {
		return errors.New("nothing is loaded")
	}
	r, err := openRing(m)
	if err != nil {
		return err
	}
	defer r.close()
	w, err := newWaiter(m.FD())
	if err != nil {
		return err
	}
	defer w.close()
	defer w.until(ctx)()

	rd := reader{l: l, ring: r, wait: w, receive: receive, batch: make([]byte, 0, batchSize+record.MaxSize), lost: map[record.Kind]uint64{}}
	rd.names = newNames(&l.want, &l.names)
	defer rd.names.close()
	lost, err := l.Lost()
	if err != nil {
		return err
	}
	rd.lost = lost
	l.flushes.begin(w.nudge)
	defer rd.giveUp()
	defer l.flushes.end()
	looking, stop := context.WithCancel(ctx)
	looked := make(chan error, 2)
	go func() {
		err := l.lookAtPrograms(looking)
		if err != nil {
			l.log.Error("what new servers do is not joined to requests", "error", err)
		}
		looked <- err
	}()
	go func() { l.walkFlows(looking); looked <- nil }()
	err = rd.run(ctx)
	stop()
	return errors.Join(err, <-looked, <-looked)
}

// reader is a Run.
type reader struct {
	l       *Loader
	ring    *ring
	wait    *waiter
	receive func([]byte)
	batch   []byte
	names   *names
	named   bool                   // the batch has records for it
	settled []byte                 // the batch as it leaves names
	lost    map[record.Kind]uint64 // told of
	looked  time.Time
	lostAt  time.Time // when the last loss was noticed
	flushes []flush   // who waits
	count   uint64    // of records in the batch
}

func (r *reader) run(ctx context.Context) error {
	for {
		r.flushes = r.l.flushes.take(r.flushes, r.ring.written)
		full := len(r.flushes) > 0 && r.ring.pending() > r.ring.mask/2 // something may be lost, and somebody relies on it
		seen := r.drain()
		if now := time.Now(); full || now.Sub(r.looked) >= lostDelay || ctx.Err() != nil {
			r.looked = now
			if err := r.tellLost(); err != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		if r.answer(); len(r.flushes) > 0 {
			time.Sleep(soon)
			continue
		}
		if seen {
			if err := r.wait.more(batchDelay); err != nil {
				return err
			}
			continue
		}
		if err := r.l.idle(true); err != nil {
			return err
		}
		err := r.wait.any(idleDelay)
		if err := errors.Join(err, r.l.idle(false)); err != nil {
			return err
		}
	}
}

// drain hands on all that waits now, but no more than the ring holds: whoever writes faster than we read must not keep us here.
func (r *reader) drain() bool {
	seen := false
	for budget := r.ring.pending(); ; {
		more := r.ring.read(func(sample []byte) bool {
			if len(r.batch) >= batchSize {
				return false
			}
			at := len(r.batch)
			r.batch = appendRecord(r.batch, sample)
			r.named = r.named || (len(r.batch) > at && isText(r.batch[at:]))
			r.count++
			return true
		})
		n := uint64(len(r.batch))
		if n == 0 {
			return seen
		}
		seen = true
		r.flush()
		if !more || budget <= n {
			return true
		}
		budget -= n
	}
}

func (r *reader) flush() {
	if len(r.batch) == 0 {
		return
	}
	batch := r.batch
	if r.named {
		r.settled, r.count = r.names.settle(r.settled[:0], batch, r.ring)
		batch = r.settled
	}
	r.l.bytes.Add(uint64(len(batch)))
	r.l.records.Add(r.count)
	if len(batch) > 0 {
		r.receive(batch)
	}
	r.count, r.named = 0, false
	r.batch = r.batch[:0]
}

// tellLost tells of what was dropped since it was asked last.
func (r *reader) tellLost() error {
	lost, err := r.l.Lost()
	if err != nil {
		return err
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return fmt.Errorf("the time since the boot: %w", err)
	}
	for kind, n := range lost {
		if before := r.lost[kind]; n > before {
			rec := record.Record{Kind: record.KindLost, Time: uint64(now.Nano()), Nums: [6]uint64{n - before, uint64(kind)}, NumLen: 2}
			r.batch = rec.Append(r.batch)
			r.lostAt = time.Now()
		}
	}
	r.lost = lost
	r.flush()
	return nil
}
