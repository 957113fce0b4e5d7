//go:build linux

package bpf

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

// kinds is how many kinds the counters have room for.
const kinds = 32

// count is struct count of common.h.
type count struct{ Sent, Lost, Bytes uint64 }

func (l *Loader) counts() ([kinds]count, error) {
	var all [kinds]count
	m := l.maps["counts"]
	if m == nil {
		return all, nil
	}
	var each []count
	for k := range uint32(kinds) {
		if err := m.Lookup(k, &each); err != nil {
			return all, fmt.Errorf("the counters: %w", err)
		}
		for _, c := range each {
			all[k].Sent += c.Sent
			all[k].Lost += c.Lost
			all[k].Bytes += c.Bytes
		}
	}
	return all, nil
}

// Lost returns how many records of each kind the kernel had to drop since Load, because the ring was full.
func (l *Loader) Lost() (map[record.Kind]uint64, error) {
	all, err := l.counts()
	if err != nil {
		return nil, err
	}
	lost := map[record.Kind]uint64{}
	for k, c := range all {
		if c.Lost > 0 {
			lost[record.Kind(k)] = c.Lost
		}
	}
	if m := l.maps["chain_lost"]; m != nil {
		// Processes that the tables of followed requests had no room for: what they serve is not told of.
		var each []uint64
		if err := m.Lookup(uint32(0), &each); err != nil {
			return nil, fmt.Errorf("the counters of requests: %w", err)
		}
		for _, n := range each {
			if n > 0 {
				lost[record.KindServe] += n
			}
		}
	}
	if n := l.forgotten.Load(); n > 0 {
		lost[record.KindFlow] += n
	}
	return lost, nil
}

// Status says what works and counts. Gates are others' to name.
func (l *Loader) Status() (kernel.Status, error) {
	lost, err := l.Lost()
	if err != nil {
		return kernel.Status{}, err
	}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return kernel.Status{}, fmt.Errorf("uname: %w", err)
	}
	release := uts.Release[:]
	if end := slices.Index(release, 0); end >= 0 {
		release = release[:end]
	}
	return kernel.Status{Kernel: string(release), Mode: "ebpf", Features: append(l.Features(), l.names.feature()), Records: l.records.Load(), Bytes: l.bytes.Load(), Lost: lost}, nil
}

// feature says what came of names that programs passed.
func (c *nameCounts) feature() kernel.Feature {
	return kernel.Feature{Name: "names followed", OK: true,
		Detail: fmt.Sprintf("%d looked at, %d handed on, of %d it was not certain where they led", c.seen.Load(), c.kept.Load(), c.unsure.Load())}
}
