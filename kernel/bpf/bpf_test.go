//go:build linux

package bpf

import (
	"context"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

// seen collects what a loader tells of.
type seen struct {
	mu   sync.Mutex
	all  []record.Record
	wake chan struct{}
	bad  error
}

// start loads, attaches and runs a loader until the test ends.
func start(t testing.TB, o Options, want kernel.Interest) (*Loader, *seen) {
	t.Helper()
	return startRaw(t, o, want, false)
}

func startRaw(t testing.TB, o Options, want kernel.Interest, raw bool) (*Loader, *seen) {
	t.Helper()
	require.Root(t)
	require.Part(t, "bpf", kernelTypes() == nil, "a kernel with BTF and the permission to load eBPF programs")
	l := New(o)
	l.raw = raw
	if err := l.Load(); err != nil {
		t.Fatal(err)
	}
	if err := l.Watch(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	if err := l.Attach(); err != nil {
		t.Fatal(err)
	}
	s := &seen{wake: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx, s.receive) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if s.bad != nil {
			t.Error(s.bad)
		}
	})
	return l, s
}

func (s *seen) receive(batch []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	batch = append([]byte(nil), batch...)
	for len(batch) > 0 {
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
	limit := time.After(10 * time.Second)
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
			t.Fatalf("no record of %s among %d", what, len(all))
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
