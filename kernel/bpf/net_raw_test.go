//go:build linux

package bpf

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

// mmsghdr is struct mmsghdr.
type mmsghdr struct {
	header unix.Msghdr
	length uint32
	_      uint32
}

// askTwice asks two questions by one call of sendmmsg, as glibc's resolver does.
func askTwice() (actorSaid, error) {
	server, err := net.ListenPacket("udp4", "127.0.0.1:53")
	if err != nil {
		return actorSaid{}, err
	}
	defer server.Close()
	answered := make(chan error, 1)
	go func() {
		b := make([]byte, 512)
		for range 2 {
			n, from, err := server.ReadFrom(b)
			if err == nil {
				_, err = server.WriteTo(answerTo(b[:n]), from)
			}
			if err != nil {
				answered <- err
				return
			}
		}
		answered <- nil
	}()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return actorSaid{}, err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: 53, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return actorSaid{}, err
	}
	local, err := unix.Getsockname(fd)
	if err != nil {
		return actorSaid{}, err
	}
	var messages [2]mmsghdr
	var parts [2]unix.Iovec
	for i, name := range []string{"first.example.", "second.example."} {
		q := question(uint16(i), name)
		parts[i].Base = &q[0]
		parts[i].SetLen(len(q))
		messages[i].header.Iov = &parts[i]
		messages[i].header.SetIovlen(1)
	}
	if n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&messages[0])), 2, 0, 0, 0); n != 2 {
		return actorSaid{}, fmt.Errorf("%d messages sent: %w", n, errno)
	}
	for range 2 {
		if _, err := unix.Read(fd, make([]byte, 512)); err != nil {
			return actorSaid{}, err
		}
	}
	in := local.(*unix.SockaddrInet4)
	return actorSaid{Local: netip.AddrPortFrom(netip.AddrFrom4(in.Addr), uint16(in.Port)), Remote: netip.MustParseAddrPort("127.0.0.1:53"),
		NetNS: netns()}, <-answered
}

// ringParams is struct io_uring_params.
type ringParams struct {
	sqEntries, cqEntries, flags, cpu, idle, features, wq uint32
	_                                                    [3]uint32
	sq                                                   struct {
		head, tail, mask, entries, flags, dropped, array, _ uint32
		_                                                   uint64
	}
	cq struct {
		head, tail, mask, entries, overflow, cqes, flags, _ uint32
		_                                                   uint64
	}
}

// ioUring makes a ring by which calls could be made that no program here sees.
func ioUring() (actorSaid, error) {
	var params ringParams
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 4, uintptr(unsafe.Pointer(&params)), 0)
	if errno != 0 {
		return actorSaid{FD: -int(errno)}, nil // refused here: the call is told of all the same
	}
	return actorSaid{FD: int(fd)}, unix.Close(int(fd))
}

// connectByRing connects without the call connect.
func connectByRing() (actorSaid, error) {
	var params ringParams
	ring, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 4, uintptr(unsafe.Pointer(&params)), 0)
	if errno != 0 {
		return actorSaid{FD: -int(errno)}, nil
	}
	defer unix.Close(int(ring))
	const shared, protection = unix.MAP_SHARED | unix.MAP_POPULATE, unix.PROT_READ | unix.PROT_WRITE
	queues, err := unix.Mmap(int(ring), 0, int(max(params.sq.array+4*params.sqEntries, params.cq.cqes+16*params.cqEntries)), protection, shared)
	if err != nil {
		return actorSaid{}, err
	}
	defer unix.Munmap(queues)
	entries, err := unix.Mmap(int(ring), 0x10000000, int(64*params.sqEntries), protection, shared)
	if err != nil {
		return actorSaid{}, err
	}
	defer unix.Munmap(entries)

	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return actorSaid{}, err
	}
	defer l.Close()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return actorSaid{}, err
	}
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	to := &unix.RawSockaddrInet4{Family: unix.AF_INET, Port: port>>8 | port<<8, Addr: [4]byte{127, 0, 0, 1}}
	entry := (*struct {
		op, flags byte
		prio      uint16
		fd        int32
		size      uint64
		address   uint64
	})(unsafe.Pointer(&entries[0]))
	entry.op, entry.fd, entry.size, entry.address = 16, int32(fd), uint64(unsafe.Sizeof(*to)), uint64(uintptr(unsafe.Pointer(to)))
	atomic.AddUint32((*uint32)(unsafe.Pointer(&queues[params.sq.tail])), 1)
	if _, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, ring, 1, 1, 1, 0, 0); errno != 0 {
		return actorSaid{}, errno
	}
	runtime.KeepAlive(to)
	if ret := *(*int32)(unsafe.Pointer(&queues[params.cq.cqes+8])); ret != 0 {
		return actorSaid{}, fmt.Errorf("connect by io_uring: %w", unix.Errno(-ret))
	}
	s, err := l.Accept()
	if err != nil {
		return actorSaid{}, err
	}
	said := actorSaid{Local: addrOf(s.RemoteAddr()), Remote: addrOf(s.LocalAddr())}
	return said, errorsOf(unix.Close(fd), s.Close())
}

// What io_uring does is no connect, but a flow all the same: and the ring itself was told of.
func TestConnectByRing(t *testing.T) {
	in := interestIn(record.CallConnect, record.CallIoUringSetup)
	in.Flows = true
	_, s := start(t, Options{}, in)
	a := startActor(t)
	said := a.do("connect by ring")
	s.wait(t, "io_uring_setup", a.mine(record.KindCall, func(r *record.Record) bool { return r.Call == record.CallIoUringSetup }))
	require.Part(t, "io_uring", said.FD >= 0, "a kernel that lets root use io_uring")
	f := s.wait(t, "the flow", a.mine(record.KindFlow, func(r *record.Record) bool { return r.Net.Local == said.Local }))
	if f.Net.Remote != said.Remote || f.Flags&record.FlagInbound != 0 {
		t.Errorf("the flow %+v", f)
	}
	if n := s.count(a.mine(record.KindConnect, nil)); n != 0 {
		t.Errorf("%d connects: say so in the documentation", n)
	}
}

// askByLibc has a program of its own ask a server within the actor, by whichever calls the C library has for it.
func askByLibc() (actorSaid, error) {
	server, err := net.ListenPacket("udp4", "127.0.0.1:53")
	if err != nil {
		return actorSaid{}, err
	}
	defer server.Close()
	go func() {
		b := make([]byte, 1500)
		for {
			n, from, err := server.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = server.WriteTo(answerTo(b[:n]), from)
		}
	}()
	dir, err := os.MkdirTemp("", "testudo-dns")
	if err != nil {
		return actorSaid{}, err
	}
	defer os.RemoveAll(dir)
	conf := filepath.Join(dir, "resolv.conf")
	if err := os.WriteFile(conf, []byte("nameserver 127.0.0.1\n"), 0o644); err != nil {
		return actorSaid{}, err
	}
	// The shell becomes the program, in mounts of its own: the pid is the same.
	cmd := exec.Command("/bin/sh", "-c", `mount --make-rprivate / && mount --bind "$1" /etc/resolv.conf && exec getent hosts libc.example`, "sh", conf)
	cmd.SysProcAttr = &unix.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return actorSaid{PID: uint32(cmd.Process.Pid), Path: string(out)}, err
}

func TestDNSOfLibc(t *testing.T) {
	if _, err := exec.LookPath("getent"); err != nil {
		require.Part(t, "getent", false, "install libc-bin")
	}
	_, s := start(t, Options{}, kernel.Interest{DNS: true})
	a := startActor(t)
	said := a.do("getent")
	if len(said.Path) < 9 || said.Path[:9] != "192.0.2.1" {
		t.Fatalf("getent says %q", said.Path)
	}
	for _, response := range []bool{false, true} {
		r := s.wait(t, "a message", func(r *record.Record) bool {
			var m dnsmessage.Message
			return r.Kind == record.KindDNS && r.PID == said.PID && m.Unpack(r.Data) == nil && m.Response == response &&
				m.Questions[0].Name.String() == "libc.example."
		})
		if string(r.Comm) != "getent" || r.PPID != a.pid {
			t.Errorf("the message is of %s, a child of %d", r.Comm, r.PPID)
		}
	}
}

// nonsense sends to port 53 what is no message, and then one that is longer than what is carried.
func nonsense() (actorSaid, error) {
	server, err := net.ListenPacket("udp4", "127.0.0.1:53")
	if err != nil {
		return actorSaid{}, err
	}
	defer server.Close()
	stream, err := net.Listen("tcp4", "127.0.0.1:53")
	if err != nil {
		return actorSaid{}, err
	}
	defer stream.Close()
	long := make([]byte, 9000)
	copy(long, question(1, "long.example."))
	for network, all := range map[string][][]byte{
		"tcp4": {{0}, {0, 0}, make([]byte, 100), []byte("GET / HTTP/1.1\r\nHost: example\r\n\r\n"), {255, 255, 1, 2, 3}},
		"udp4": {{}, {1}, make([]byte, 11), long},
	} {
		for _, b := range all {
			c, err := net.Dial(network, "127.0.0.1:53")
			if err != nil {
				return actorSaid{}, err
			}
			if _, err := c.Write(b); err != nil {
				return actorSaid{}, errors.Join(err, c.Close())
			}
			if err := c.Close(); err != nil {
				return actorSaid{}, err
			}
		}
	}
	return actorSaid{}, nil
}

func TestDNSNonsense(t *testing.T) {
	_, s := start(t, Options{}, kernel.Interest{DNS: true})
	a := startActor(t)
	a.do("nonsense")
	a.do("ask over tcp")
	s.wait(t, "an answer", a.mine(record.KindDNS, func(r *record.Record) bool { return r.Net.PacketsIn == 1 }))
	long := s.wait(t, "the long message", a.mine(record.KindDNS, func(r *record.Record) bool { return r.Flags&record.FlagTruncated != 0 }))
	if len(long.Data) != 1500 || long.Net.BytesOut != 9000 {
		t.Errorf("%d bytes of a message of %d", len(long.Data), long.Net.BytesOut)
	}
	if n := s.count(a.mine(record.KindDNS, nil)); n != 3 {
		t.Errorf("%d messages, want the long one, a question and its answer", n)
	}
}
