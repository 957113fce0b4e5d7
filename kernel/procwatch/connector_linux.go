package procwatch

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel/record"
)

// The process connector, linux/cn_proc.h and linux/connector.h: a netlink message, a connector message, an event.
const (
	idxProc      = 1 // CN_IDX_PROC, CN_VAL_PROC
	opListen     = 1 // PROC_CN_MCAST_LISTEN
	cnSize       = 20
	eventHead    = 16 // what, cpu, timestamp
	eventFork    = 0x00000001
	eventExec    = 0x00000002
	eventComm    = 0x00000200
	eventExit    = 0x80000000
	eventNone    = 0x00000000
	answerWithin = time.Second
	bufferSize   = 4 << 20
)

// listen opens the process connector, and returns when the kernel has said that it will tell, and has told of this process. Both are needed: in a
// PID or user namespace of its own nobody is answered, but hears what others asked for, for as long as they do, in numbers that are not its own.
func listen() (fd int, err error) {
	fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_CONNECTOR)
	if err == nil {
		if err = ask(fd); err == nil {
			err = hearOurselves(fd)
		}
		if err == nil {
			return fd, nil
		}
		_ = unix.Close(fd)
	}
	return -1, fmt.Errorf("the process connector: %w", err)
}

// ask has the kernel tell of processes, and waits for the answer to this very request.
func ask(fd int) error {
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: idxProc}); err != nil {
		return err
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bufferSize)
	ours := rand.Uint32() // others' answers come here too. The kernel adds one, and counts the sequence by itself
	var m []byte
	m = binary.NativeEndian.AppendUint32(m, unix.NLMSG_HDRLEN+cnSize+4)
	m = binary.NativeEndian.AppendUint16(m, unix.NLMSG_DONE)
	m = append(m, make([]byte, 10)...) // flags, sequence, port
	m = binary.NativeEndian.AppendUint32(m, idxProc)
	m = binary.NativeEndian.AppendUint32(m, idxProc)
	m = append(m, make([]byte, 4)...) // sequence
	m = binary.NativeEndian.AppendUint32(m, ours)
	m = binary.NativeEndian.AppendUint16(m, 4)
	m = append(m, 0, 0)
	m = binary.NativeEndian.AppendUint32(m, opListen)
	if err := unix.Sendto(fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	var code uint32
	answered, err := hear(fd, func(e event) bool {
		code = e.num(0)
		return e.what == eventNone && e.answers == ours+1
	})
	switch {
	case err != nil:
		return err
	case !answered:
		return errors.New("the kernel does not answer: it may have no CONFIG_PROC_EVENTS, or this is a container's network or its processes")
	case code != 0:
		return unix.Errno(code)
	}
	return nil
}

// hearOurselves has something happen that is to be told of: this thread is given the name that it has.
func hearOurselves(fd int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var name [16]byte
	if err := unix.Prctl(unix.PR_GET_NAME, uintptr(unsafe.Pointer(&name[0])), 0, 0, 0); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&name[0])), 0, 0, 0); err != nil {
		return err
	}
	thread, process := uint32(unix.Gettid()), uint32(os.Getpid())
	heard, err := hear(fd, func(e event) bool { return e.what == eventComm && e.num(0) == thread && e.num(1) == process })
	if err == nil && !heard {
		err = errors.New("the kernel answers, and does not tell of this process: this is a container's processes")
	}
	return err
}

// hear takes events until one is what is waited for, or none was in time.
func hear(fd int, is func(event) bool) (bool, error) {
	buf := make([]byte, 4096)
	for end := time.Now().Add(answerWithin); ; {
		left := time.Until(end)
		if left <= 0 {
			return false, nil
		}
		if ready, err := wait(fd, left); err != nil {
			return false, err
		} else if !ready {
			continue
		}
		n, from, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return false, err
		}
		if e, ok := parse(buf[:n], from); ok && is(e) {
			return true, nil
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

// event is what the connector tells of.
type event struct {
	what    uint32
	answers uint32 // the number of the request that it answers, and one
	body    []byte
}

// num returns the i-th number of the body.
func (e event) num(i int) uint32 {
	if len(e.body) < 4*i+4 {
		return 0
	}
	return binary.NativeEndian.Uint32(e.body[4*i:])
}

// parse returns the event in a message. What does not come from the kernel is none.
func parse(b []byte, from unix.Sockaddr) (event, bool) {
	if sa, is := from.(*unix.SockaddrNetlink); !is || sa.Pid != 0 {
		return event{}, false
	}
	if len(b) < unix.NLMSG_HDRLEN+cnSize+eventHead {
		return event{}, false
	}
	cn := b[unix.NLMSG_HDRLEN:]
	if binary.NativeEndian.Uint32(cn) != idxProc || binary.NativeEndian.Uint32(cn[4:]) != idxProc {
		return event{}, false
	}
	return event{what: binary.NativeEndian.Uint32(cn[cnSize:]), answers: binary.NativeEndian.Uint32(cn[12:]), body: cn[cnSize+eventHead:]}, true
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
		if e, ok := parse(buf[:n], from); ok {
			w.event(e, receive)
		}
	}
}

// event tells of one event. Threads are not told of.
func (w *Watcher) event(e event, receive func([]byte)) {
	w.telling.Lock()
	defer w.telling.Unlock()
	switch e.what {
	case eventFork: // parent's thread and process, child's
		if pid := e.num(3); pid != 0 && e.num(2) == pid && pid != uint32(os.Getpid()) {
			w.ran(pid, record.KindFork, receive)
		}
	case eventExec: // thread and process
		if pid := e.num(1); pid != 0 {
			w.ran(pid, record.KindExec, receive)
		}
	case eventExit: // thread, process, status
		if pid := e.num(1); pid != 0 && e.num(0) == pid {
			w.ended(pid, int64(e.num(2)), receive)
		}
	}
	w.flush(receive)
}
