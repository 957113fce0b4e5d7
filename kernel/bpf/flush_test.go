//go:build linux

package bpf

import (
	"context"
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

// TestFlush: what a process has done is handed on when Flush returns, also where nothing wakes the reader, and many at once get their answer.
func TestFlush(t *testing.T) {
	require.Root(t)
	l := New(Options{})
	if err := l.Load(); err != nil {
		require.Part(t, "bpf", false, "a kernel that takes eBPF programs: "+err.Error())
	}
	defer l.Close()
	if err := l.Attach(); err != nil {
		t.Fatal(err)
	}
	if l.Flush(t.Context()) == nil {
		t.Error("nobody reads, and all is handed on")
	}
	var mu sync.Mutex
	forks := map[uint32]bool{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- l.Run(ctx, func(batch []byte) {
			mu.Lock()
			defer mu.Unlock()
			each(batch, func(one []byte) {
				var r record.Record
				if _, err := record.Decode(one, &r); err == nil && r.Kind == record.KindFork {
					forks[r.PID] = true
				}
			})
		})
	}()
	for l.Flush(t.Context()) != nil { // until it reads
		time.Sleep(time.Millisecond)
	}
	for i := range 50 {
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if l.Flush(t.Context()) != nil {
					t.Error("not all is handed on")
				}
				mu.Lock()
				defer mu.Unlock()
				if !forks[uint32(cmd.Process.Pid)] {
					t.Errorf("%d: a process that was started before is not known", i)
				}
			})
		}
		all.Wait()
		_ = cmd.Wait()
	}
	gone, stop := context.WithCancel(t.Context())
	stop()
	if !errors.Is(l.Flush(gone), ErrBehind) {
		t.Log("it was answered before it looked whether anybody waits")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := l.Flush(t.Context()); !errors.Is(err, kernel.ErrUnable) {
		t.Errorf("nobody reads any more: %v", err)
	}
}
