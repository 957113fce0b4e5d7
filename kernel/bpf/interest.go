//go:build linux

package bpf

import (
	"context"
	"errors"
	"fmt"

	"github.com/testudo-sec/testudo/kernel"
)

// filters is what the programs were told to send.
type filters struct {
	generation uint32
	calls      bool // some are wanted
	urgent     uint32
	idle       bool // the reader sleeps
}

// config is struct config of common.h.
type config struct {
	Generation          uint32
	Exclude             [4]uint32
	Read, Write, Change uint32
	Threads             uint32
	Quiet               uint32
	Lengths             [3]uint64 // of the parts in each set, as bits
}

// wakeups is struct reader of common.h.
type wakeups struct {
	Idle, Urgent, Pending, Woken uint32
}

// Watch sets what is to be seen, at once and while records flow: what was wanted before and is wanted after is not missed.
func (l *Loader) Watch(_ context.Context, want kernel.Interest) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := config{Generation: l.filters.generation ^ 1}
	copy(c.Exclude[:], l.options.Exclude)
	if l.options.Threads {
		c.Threads = 1
	}
	if err := l.fillFilters(&c, want); err != nil {
		return err
	}
	l.want.Store(newWants(&want))
	if err := l.maps["config"].Put(uint32(0), &c); err != nil {
		return fmt.Errorf("the programs' configuration: %w", err)
	}
	l.filters.generation = c.Generation
	l.interest = want
	if err := l.tellCalls(want, c.Read|c.Write|c.Quiet != 0, c.Read|c.Write|c.Change != 0); err != nil {
		return err
	}
	if l.attached {
		l.attachCalls()
	}
	return errors.Join(l.watchNet(want), l.follow(want.Served))
}

// idle tells the programs whether the reader sleeps.
func (l *Loader) idle(sleeps bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.filters.idle = sleeps
	return l.tellReader()
}

// tellReader tells the programs what the reader wants to be woken for.
func (l *Loader) tellReader() error {
	w := wakeups{Urgent: l.filters.urgent, Pending: min(wakeBytes, l.maps["records"].MaxEntries()/4)}
	if l.filters.idle {
		w.Idle = 1
	}
	if err := l.maps["reader"].Put(uint32(0), &w); err != nil {
		return fmt.Errorf("the reader's state: %w", err)
	}
	return nil
}
