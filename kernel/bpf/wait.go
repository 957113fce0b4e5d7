//go:build linux

package bpf

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// waiter waits for records: for any, and for a wake-up while some are known to wait.
type waiter struct {
	level, edge int // epoll descriptors
	event       int // eventfd, readable once we are to stop
	nudged      int // eventfd, written to end one wait
}

func newWaiter(ring int) (w *waiter, err error) {
	w = &waiter{level: -1, edge: -1, event: -1, nudged: -1}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if w.event, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	if w.nudged, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	for _, e := range []struct {
		fd    *int
		flags uint32
	}{{&w.level, unix.EPOLLIN}, {&w.edge, unix.EPOLLIN | unix.EPOLLET}} {
		if *e.fd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
			return nil, fmt.Errorf("epoll: %w", err)
		}
		if err = unix.EpollCtl(*e.fd, unix.EPOLL_CTL_ADD, ring, &unix.EpollEvent{Events: e.flags, Fd: int32(ring)}); err != nil {
			return nil, fmt.Errorf("waiting for the ring: %w", err)
		}
		if err = unix.EpollCtl(*e.fd, unix.EPOLL_CTL_ADD, w.event, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(w.event)}); err != nil {
			return nil, fmt.Errorf("waiting for the end: %w", err)
		}
		// Each write to it is an edge: it need not be read.
		if err = unix.EpollCtl(*e.fd, unix.EPOLL_CTL_ADD, w.nudged, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(w.nudged)}); err != nil {
			return nil, fmt.Errorf("waiting for who waits: %w", err)
		}
	}
	return w, nil
}

func (w *waiter) close() {
	for _, fd := range []int{w.level, w.edge, w.event, w.nudged} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

// until has waits end with ctx. What it returns is called before close: after it nothing is written to descriptors that may be others' by then.
func (w *waiter) until(ctx context.Context) (release func()) {
	stopped := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(stopped)
		w.stop()
	})
	return func() {
		if !cancel() {
			<-stopped
		}
	}
}

// stop ends a wait, and all that follow.
func (w *waiter) stop() { _, _ = unix.Write(w.event, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

// any waits until a record is in the ring.
func (w *waiter) any(limit time.Duration) error { return epollWait(w.level, limit) }

// more waits until the kernel wakes us, which it does when much waits or something urgent.
func (w *waiter) more(limit time.Duration) error { return epollWait(w.edge, limit) }

func epollWait(fd int, limit time.Duration) error {
	var events [3]unix.EpollEvent
	_, err := unix.EpollWait(fd, events[:], int(limit/time.Millisecond))
	if err != nil && err != unix.EINTR {
		return fmt.Errorf("waiting for records: %w", err)
	}
	return nil
}
