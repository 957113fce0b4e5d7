package procwatch

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel/record"
)

// The process connector, linux/cn_proc.h and linux/connector.h: a netlink message, a connector message, an event.
const (
	idxProc    = 1 // CN_IDX_PROC, CN_VAL_PROC
	opListen   = 1 // PROC_CN_MCAST_LISTEN
	cnSize     = 20
	eventHead  = 16 // what, cpu, timestamp
	eventFork  = 0x00000001
	eventExec  = 0x00000002
	eventExit  = 0x80000000
	eventNone  = 0x00000000
	ackWithin  = time.Second
	bufferSize = 4 << 20
)

// listen opens the process connector, and waits for the kernel to say that it will tell.
func listen() (fd int, err error) {
	fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_CONNECTOR)
	if err != nil {
		return -1, fmt.Errorf("the process connector: %w", err)
	}
	fail := func(err error) (int, error) {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("the process connector: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: idxProc}); err != nil {
		return fail(err)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bufferSize)
	var m []byte
	m = binary.NativeEndian.AppendUint32(m, unix.NLMSG_HDRLEN+cnSize+4)
	m = binary.NativeEndian.AppendUint16(m, unix.NLMSG_DONE)
	m = append(m, make([]byte, 10)...) // flags, sequence, port
	m = binary.NativeEndian.AppendUint32(m, idxProc)
	m = binary.NativeEndian.AppendUint32(m, idxProc)
	m = append(m, make([]byte, 8)...) // sequence, acknowledge
	m = binary.NativeEndian.AppendUint16(m, 4)
	m = append(m, 0, 0)
	m = binary.NativeEndian.AppendUint32(m, opListen)
	if err := unix.Sendto(fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fail(err)
	}
	buf := make([]byte, 4096)
	for end := time.Now().Add(ackWithin); ; {
		ready, err := wait(fd, time.Until(end))
		if err != nil {
			return fail(err)
		}
		if !ready {
			return fail(errors.New("the kernel does not answer: it may have no CONFIG_PROC_EVENTS, or this is a container's network"))
		}
		n, from, err := unix.Recvfrom(fd, buf, 0)
		if err != nil {
			return fail(err)
		}
		if what, body, ok := parse(buf[:n], from); ok {
			if what == eventNone && len(body) >= 4 {
				if code := binary.NativeEndian.Uint32(body); code != 0 {
					return fail(unix.Errno(code))
				}
			}
			return fd, nil // an event is an answer too: others listen already
		}
	}
}

func wait(fd int, within time.Duration) (bool, error) {
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(poll, int(max(within.Milliseconds(), 0)))
	if errors.Is(err, unix.EINTR) {
		return false, nil
	}
	return n > 0, err
}

// parse returns the event in a message. What does not come from the kernel is none.
func parse(b []byte, from unix.Sockaddr) (what uint32, body []byte, ok bool) {
	if sa, is := from.(*unix.SockaddrNetlink); !is || sa.Pid != 0 {
		return 0, nil, false
	}
	if len(b) < unix.NLMSG_HDRLEN+cnSize+eventHead {
		return 0, nil, false
	}
	cn := b[unix.NLMSG_HDRLEN:]
	if binary.NativeEndian.Uint32(cn) != idxProc || binary.NativeEndian.Uint32(cn[4:]) != idxProc {
		return 0, nil, false
	}
	event := cn[cnSize:]
	return binary.NativeEndian.Uint32(event), event[eventHead:], true
}

// each is how often who waits looks whether it is to end.
const each = 200 * time.Millisecond

// connected tells of what the connector tells until ctx ends.
func (w *Watcher) connected(ctx context.Context, fd int, receive func([]byte)) {
	buf := make([]byte, 64<<10)
	for ctx.Err() == nil {
		ready, err := wait(fd, each)
		if err != nil {
			w.log.Error("processes are not seen any more as they start", "error", err)
			w.poll(ctx, receive)
			return
		}
		if !ready {
			continue
		}
		n, from, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.ENOBUFS):
			w.overrun.Add(1)
			w.look(ctx, receive) // what was missed and still runs
			continue
		case err != nil:
			continue
		}
		if what, body, ok := parse(buf[:n], from); ok {
			w.event(what, body, receive)
		}
	}
}

// event tells of one event. Threads are not told of.
func (w *Watcher) event(what uint32, body []byte, receive func([]byte)) {
	num := func(i int) uint32 {
		if len(body) < 4*i+4 {
			return 0
		}
		return binary.NativeEndian.Uint32(body[4*i:])
	}
	w.telling.Lock()
	defer w.telling.Unlock()
	switch what {
	case eventFork: // parent's thread and process, child's
		if pid := num(3); pid != 0 && num(2) == pid && pid != uint32(os.Getpid()) {
			w.ran(pid, record.KindFork, receive)
		}
	case eventExec: // thread and process
		if pid := num(1); pid != 0 {
			w.ran(pid, record.KindExec, receive)
		}
	case eventExit: // thread, process, status
		if pid := num(1); pid != 0 && num(0) == pid {
			w.ended(pid, int64(num(2)), receive)
		}
	}
	w.flush(receive)
}
