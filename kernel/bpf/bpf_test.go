//go:build linux

package bpf

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

// seen collects what a loader tells of this process and those that it started.
type seen struct {
	mu     sync.Mutex
	all    []record.Record
	ours   map[uint32]bool
	others int // records about the rest of the host
	wake   chan struct{}
	bad    error
}

// keptLoader is one loader for the tests that need none of their own: to load takes as long as all that most of them do.
type keptLoader struct {
	mu   sync.Mutex
	l    *Loader
	used bool
}

var kept keptLoader

// take returns the loader, nil where it is in use or cannot be made; what is in its ring was seen before.
func (k *keptLoader) take(t testing.TB, o Options) *Loader {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.used {
		return nil
	}
	if k.l == nil {
		l := New(Options{Ring: 32 << 20})
		if err := l.Load(); err != nil {
			t.Fatal(err)
		}
		k.l = l
		if err := l.Attach(); err != nil {
			t.Fatal(err)
		}
	}
	k.used = true
	r, err := openRing(k.l.maps["records"])
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	for r.read(func([]byte) bool { return true }) {
	}
	k.l.options.Exclude, k.l.options.FlowInterval = o.Exclude, o.FlowInterval
	return k.l
}

// give takes the loader back.
func (k *keptLoader) give() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.used = false
	return errors.Join(k.l.Watch(context.Background(), kernel.Interest{}), k.l.Urgent())
}

// close is for the end of all tests.
func (k *keptLoader) close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.l == nil {
		return nil
	}
	return k.l.Close()
}

// start has a loader run until the test ends.
func start(t testing.TB, o Options, want kernel.Interest) (*Loader, *seen) {
	t.Helper()
	require.Root(t)
	require.HostPIDs(t)
	require.Part(t, "bpf", kernelTypes() == nil, "a kernel with BTF and the permission to load eBPF programs")
	if o.Ring != 0 {
		return startOwn(t, o, want, false)
	}
	l := kept.take(t, o)
	if l == nil {
		return startOwn(t, o, want, false)
	}
	t.Cleanup(func() {
		if err := kept.give(); err != nil {
			t.Error(err)
		}
	})
	if err := l.Watch(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	return l, run(t, l)
}

// startOwn loads, attaches and runs a loader of the test's own.
func startOwn(t testing.TB, o Options, want kernel.Interest, raw bool) (*Loader, *seen) {
	t.Helper()
	require.Root(t)
	require.HostPIDs(t)
	require.Part(t, "bpf", kernelTypes() == nil, "a kernel with BTF and the permission to load eBPF programs")
	l := New(o)
	l.raw = raw
	if err := l.Load(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := l.Watch(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	if err := l.Attach(); err != nil {
		t.Fatal(err)
	}
	return l, run(t, l)
}

func run(t testing.TB, l *Loader) *seen {
	t.Helper()
	s := &seen{wake: make(chan struct{}, 1), ours: map[uint32]bool{0: true, uint32(os.Getpid()): true}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx, s.receive) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if s.bad != nil {
			t.Error(s.bad)
		}
	})
	return s
}

// isOurs reports whether a record is about this process, one that descends from it, or none.
func (s *seen) isOurs(b []byte) bool {
	const offPID, offPPID = 48, 56
	pid, parent := binary.NativeEndian.Uint32(b[offPID:]), binary.NativeEndian.Uint32(b[offPPID:])
	if !s.ours[pid] && parent != 0 && s.ours[parent] {
		s.ours[pid] = true
	}
	return s.ours[pid]
}

func (s *seen) receive(batch []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	batch = append([]byte(nil), batch...)
	for len(batch) > 0 {
		if n, ok := record.Size(batch); ok && !s.isOurs(batch) {
			s.others++
			batch = batch[n:]
			continue
		}
		var r record.Record
		n, err := record.Decode(batch, &r)
		if err != nil {
			s.bad = err
			return
		}
		s.all = append(s.all, r)
		batch = batch[n:]
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// wait returns the first record that matches.
func (s *seen) wait(t testing.TB, what string, match func(*record.Record) bool) record.Record {
	t.Helper()
	limit := time.After(time.Minute)
	for from := 0; ; {
		s.mu.Lock()
		all := s.all
		s.mu.Unlock()
		from = min(from, len(all))
		for ; from < len(all); from++ {
			if match(&all[from]) {
				return all[from]
			}
		}
		select {
		case <-s.wake:
		case <-limit:
			s.mu.Lock()
			lost := map[record.Kind]uint64{}
			for i := range s.all {
				if r := &s.all[i]; r.Kind == record.KindLost {
					lost[record.Kind(r.Nums[1])] += r.Nums[0]
				}
			}
			records, others := len(s.all), s.others
			s.mu.Unlock() // who receives waits for it, and the end of the test for who receives
			t.Fatalf("no record of %s among %d and %d of other processes; lost: %v", what, records, others, lost)
		}
	}
}

func TestProcess(t *testing.T) {
	l, s := start(t, Options{}, kernel.Interest{})
	for _, f := range l.Features() {
		t.Logf("%+v", f)
	}
	cmd := exec.Command("/bin/sh", "-c", "exit 7")
	cmd.Dir = "/usr"
	cmd.Env = []string{"SECRET=hunter2", "PATH=/bin"}
	_ = cmd.Run()
	pid := uint32(cmd.Process.Pid)
	of := func(k record.Kind) func(*record.Record) bool {
		return func(r *record.Record) bool { return r.Kind == k && r.PID == pid }
	}
	e := s.wait(t, "exec", of(record.KindExec))
	if string(e.Env) != "SECRET\x00PATH\x00" {
		t.Errorf("environment %q", e.Env)
	}
	f := s.wait(t, "fork", of(record.KindFork))
	x := s.wait(t, "exit", of(record.KindExit))
	if f.PPID != uint32(os.Getpid()) || x.Ret>>8 != 7 || f.Start != e.Start || x.Start != e.Start {
		t.Errorf("fork by %d, exit with %d", f.PPID, x.Ret)
	}
}
