//go:build linux

package bpf

import (
	"context"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/internal/require"
)

// However the end of a wait and of who waits fall together, nothing is written to a descriptor that is another's by then.
func TestTheEndOfAWaitWritesToNobodyElse(t *testing.T) {
	ring, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ring)
	for range 2000 {
		w, err := newWaiter(ring)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		release := w.until(ctx)
		cancel()
		release()
		event := w.event
		w.close()
		// The number is used again at once.
		again, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		if err != nil {
			t.Fatal(err)
		}
		var b [8]byte
		if n, err := unix.Read(again, b[:]); again <= event && err != unix.EAGAIN {
			t.Fatalf("%d bytes were written to a descriptor that was made after the end", n)
		}
		_ = unix.Close(again)
	}
}

// Looking at programs ends whenever it is told to.
func TestLookingAtProgramsEnds(t *testing.T) {
	require.Root(t)
	require.Part(t, "bpf", kernelTypes() == nil, "a kernel with BTF and the permission to load eBPF programs")
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: 1 << 16})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	l := New(Options{})
	l.maps["chain_unknowns"] = m
	for range 200 {
		ctx, cancel := context.WithCancel(t.Context())
		var wait sync.WaitGroup
		wait.Go(cancel)
		if err := l.lookAtPrograms(ctx); err != nil {
			t.Fatal(err)
		}
		wait.Wait()
	}
}
