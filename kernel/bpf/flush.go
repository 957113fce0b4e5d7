//go:build linux

package bpf

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel"
)

// ErrBehind is that of what was seen something is not handed on: it is late, or was lost.
var ErrBehind = errors.New("what was seen is late, or was lost")

// distrust is for how long after a loss nobody is told that all is handed on.
const distrust = 10 * time.Second

// flushes are questions of who waits until all is handed on that the ring holds. The zero flushes takes none.
type flushes struct {
	mu      sync.Mutex
	open    bool
	wake    func()
	waiting []flush
}

// flush is answered once what was written up to a position is handed on. The reader sets that when it takes the question, which is not before it was asked.
type flush struct {
	till uint64
	done chan error
}

// Flush has all that was seen until now handed on before it returns. The error is ErrBehind where that is not certain, as ctx ended before or records were lost lately, and
// kernel.ErrUnable while nobody reads.
func (l *Loader) Flush(ctx context.Context) error {
	q := &l.flushes
	done := make(chan error, 1)
	q.mu.Lock()
	if !q.open {
		q.mu.Unlock()
		return kernel.ErrUnable
	}
	q.waiting = append(q.waiting, flush{done: done})
	if len(q.waiting) == 1 { // else it is awake
		q.wake()
	}
	q.mu.Unlock()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ErrBehind
	}
}

// begin takes questions from now on; wake has the reader look for them.
func (q *flushes) begin(wake func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.open, q.wake = true, wake
}

// end takes no more, and answers those that wait.
func (q *flushes) end() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, f := range q.waiting {
		f.done <- kernel.ErrUnable
	}
	q.open, q.wake, q.waiting = false, nil, nil
}

// take moves the questions that came to those that the reader has, behind the position up to which the ring is written: now, so that what was there when they were asked is before it.
func (q *flushes) take(to []flush, written func() uint64) []flush {
	q.mu.Lock()
	defer q.mu.Unlock()
	till := written()
	for _, f := range q.waiting {
		to = append(to, flush{till, f.done})
	}
	clear(q.waiting)
	q.waiting = q.waiting[:0]
	return to
}

// answer answers those whose position is read.
func (r *reader) answer() {
	at := *position(r.ring.consumer)
	var err error
	if time.Since(r.lostAt) <= distrust {
		err = ErrBehind
	}
	r.flushes = slices.DeleteFunc(r.flushes, func(f flush) bool {
		if f.till > at {
			return false
		}
		f.done <- err
		return true
	})
}

// giveUp answers the others when nobody reads any more.
func (r *reader) giveUp() {
	for _, f := range r.flushes {
		f.done <- kernel.ErrUnable
	}
	r.flushes = nil
}

// soon is how long a record takes at most that a program of the kernel is just writing.
const soon = 20 * time.Microsecond

// nudge ends a wait, and no other.
func (w *waiter) nudge() { _, _ = unix.Write(w.nudged, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }
