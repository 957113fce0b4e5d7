//go:build linux

package enforce

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
)

// settling is who waits until the decisions that were made before are handed on. It has a lock of its own: that of the Enforcer is held while rules are compiled and put in force.
type settling struct {
	deciding atomic.Bool // there are rules, or soon will be

	mu      sync.Mutex
	wake    func() error // has the reader look; nil while nobody reads
	waiting []chan struct{}
	some    atomic.Bool // somebody waits
}

// settled is one whose turn it is once the reader is past a position.
type settled struct {
	till uint64 // bytes since it began to read
	done chan struct{}
}

// Settle returns when the decisions that were made until now are handed on, or ctx has ended. It takes no time where there is nothing to decide.
func (e *Enforcer) Settle(ctx context.Context) {
	if done := e.settling.ask(); done != nil {
		select {
		case <-done:
		case <-ctx.Done():
		}
	}
}

// ask puts one in the queue, and returns what is closed when it has its answer; nil where there is nothing to wait for.
func (s *settling) ask() <-chan struct{} {
	if !s.deciding.Load() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wake == nil {
		return nil
	}
	done := make(chan struct{})
	s.waiting = append(s.waiting, done)
	s.some.Store(true)
	if s.wake() != nil {
		return nil
	}
	return done
}

// begin takes questions from now on.
func (s *settling) begin(wake func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wake = wake
}

// end takes no more, and answers those that wait.
func (s *settling) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, done := range s.waiting {
		close(done)
	}
	s.waiting, s.wake = nil, nil
	s.some.Store(false)
}

// take moves those that wait to those that the reader has, behind what was written when it looked: so what was there when they asked is before it, however much follows.
func (s *settling) take(to []settled, written func() uint64) []settled {
	if !s.some.Load() {
		return to
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	till := written()
	for _, done := range s.waiting {
		to = append(to, settled{till, done})
	}
	s.waiting = s.waiting[:0]
	s.some.Store(false)
	return to
}

// answer answers those whose position is read.
func answer(all []settled, read uint64) []settled {
	return slices.DeleteFunc(all, func(s settled) bool {
		if s.till > read {
			return false
		}
		close(s.done)
		return true
	})
}
