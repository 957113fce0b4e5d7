//go:build linux

package bpf

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

func loopback(port int) unix.Sockaddr {
	return &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
}

func want(got, is error) error {
	if errors.Is(got, is) {
		return nil
	}
	return errors.New("the call gave " + errorText(got) + ", want " + is.Error())
}

func errorText(err error) string {
	if err == nil {
		return "no error"
	}
	return err.Error()
}

func connectRefused(port int) (actorSaid, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return actorSaid{}, err
	}
	defer unix.Close(fd)
	return actorSaid{FD: fd, Remote: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port))}, want(unix.Connect(fd, loopback(port)), unix.ECONNREFUSED)
}

func connectUDP() (actorSaid, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return actorSaid{}, err
	}
	defer unix.Close(fd)
	mapped := &unix.SockaddrInet6{Port: 514, Addr: netip.MustParseAddr("::ffff:127.0.0.1").As16()}
	return actorSaid{FD: fd, Remote: netip.MustParseAddrPort("127.0.0.1:514")}, unix.Connect(fd, mapped)
}

func connectUnix() (actorSaid, error) {
	dir, err := os.MkdirTemp("", "testudo-unix")
	if err != nil {
		return actorSaid{}, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "s")
	return actorSaid{Path: path}, throughUnix(path)
}

func connectAbstract() (actorSaid, error) {
	return actorSaid{Path: "@testudo-test"}, throughUnix("@testudo-test")
}

func throughUnix(name string) error {
	l, err := net.Listen("unix", name)
	if err != nil {
		return err
	}
	defer l.Close()
	c, err := net.Dial("unix", name)
	if err != nil {
		return err
	}
	s, err := l.Accept()
	if err != nil {
		return err
	}
	return errorsOf(c.Close(), s.Close())
}

func connectUnixMissing() (actorSaid, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return actorSaid{}, err
	}
	defer unix.Close(fd)
	return actorSaid{FD: fd, Path: "/nowhere/docker.sock"}, want(unix.Connect(fd, &unix.SockaddrUnix{Name: "/nowhere/docker.sock"}), unix.ENOENT)
}

// connectNoSocket calls with descriptors that are none of a socket, with addresses that are none, and then with one that fails.
func connectNoSocket() (actorSaid, error) {
	null, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return actorSaid{}, err
	}
	defer unix.Close(null)
	for _, fd := range []int{null, -1, 1 << 30, -1 << 31} {
		if unix.Connect(fd, loopback(1)) == nil || unix.Listen(fd, 1) == nil || unix.Bind(fd, loopback(1)) == nil {
			return actorSaid{}, errors.New("a call on what is no socket succeeded")
		}
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return actorSaid{}, err
	}
	defer unix.Close(fd)
	for _, c := range []struct{ address, size uintptr }{{0, 16}, {1, 16}, {^uintptr(0) - 2, 128}, {0, ^uintptr(0)}} {
		if _, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), c.address, c.size); errno == 0 {
			return actorSaid{}, errors.New("an address that is none was taken")
		}
	}
	return connectRefused(12)
}

// connectHigh connects by a descriptor that is far behind the others.
func connectHigh() (actorSaid, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return actorSaid{}, err
	}
	defer unix.Close(fd)
	high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3000)
	if err != nil {
		return actorSaid{}, err
	}
	defer unix.Close(high)
	return actorSaid{FD: high, Remote: netip.MustParseAddrPort("127.0.0.1:10")}, want(unix.Connect(high, loopback(10)), unix.ECONNREFUSED)
}

// bindTaken binds and listens, and tries the same address again.
func bindTaken() (actorSaid, error) {
	var fds [2]int
	for i := range fds {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return actorSaid{}, err
		}
		defer unix.Close(fd)
		fds[i] = fd
	}
	if err := unix.Bind(fds[0], loopback(4444)); err != nil {
		return actorSaid{}, err
	}
	if err := unix.Listen(fds[0], 33); err != nil {
		return actorSaid{}, err
	}
	return actorSaid{FD: fds[0], Local: netip.MustParseAddrPort("127.0.0.1:4444")}, want(unix.Bind(fds[1], loopback(4444)), unix.EADDRINUSE)
}

// sends sends many datagrams to one address, and a few to others by other calls.
func sends() (actorSaid, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return actorSaid{}, err
	}
	defer unix.Close(fd)
	for range 100 {
		if err := unix.Sendto(fd, []byte("x"), 0, loopback(6001)); err != nil && err != unix.ECONNREFUSED {
			return actorSaid{}, err
		}
	}
	if _, err := unix.SendmsgN(fd, []byte("y"), nil, loopback(6002), 0); err != nil && err != unix.ECONNREFUSED {
		return actorSaid{}, err
	}
	var names [2]unix.RawSockaddrInet4
	var messages [2]mmsghdr
	data := []byte("z")
	part := unix.Iovec{Base: &data[0], Len: 1}
	for i := range messages {
		port := uint16(6003 + i)
		names[i] = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: port>>8 | port<<8, Addr: [4]byte{127, 0, 0, 1}}
		messages[i].header = unix.Msghdr{Name: (*byte)(unsafe.Pointer(&names[i])), Namelen: uint32(unsafe.Sizeof(names[i])), Iov: &part, Iovlen: 1}
	}
	if _, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&messages[0])), 2, 0, 0, 0); errno != 0 {
		return actorSaid{}, errno
	}
	return actorSaid{FD: fd}, nil
}

func rawSockets() (actorSaid, error) {
	for _, s := range [][3]int{{unix.AF_INET, unix.SOCK_STREAM, 0}, {unix.AF_NETLINK, unix.SOCK_RAW, 0}, {unix.AF_PACKET, unix.SOCK_RAW | unix.SOCK_CLOEXEC, 768},
		{unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP}} {
		fd, err := unix.Socket(s[0], s[1], s[2])
		if err != nil {
			return actorSaid{}, err
		}
		unix.Close(fd)
	}
	return actorSaid{}, nil
}

// race closes sockets while other threads use them, and then does something that is seen.
func race() (actorSaid, error) {
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 200 {
				fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
				if err != nil {
					continue
				}
				var two sync.WaitGroup
				two.Go(func() { _ = unix.Connect(fd, loopback(9)); _ = unix.Listen(fd, 1) })
				two.Go(func() { unix.Close(fd) })
				two.Wait()
			}
		})
	}
	all.Wait()
	return connectRefused(11)
}

func interestIn(names ...record.Call) kernel.Interest {
	in := kernel.Interest{Calls: map[record.Call]bool{}}
	for _, c := range names {
		in.Calls[c] = true
	}
	return in
}

func TestConnect(t *testing.T) {
	_, s := start(t, Options{}, interestIn(record.CallConnect, record.CallAccept, record.CallAccept4))
	a := startActor(t)
	for _, c := range []struct {
		act string
		ret int64
	}{{"refused", -int64(unix.ECONNREFUSED)}, {"udp connect", 0}, {"not a socket", -int64(unix.ECONNREFUSED)}, {"high descriptor", -int64(unix.ECONNREFUSED)},
		{"race", -int64(unix.ECONNREFUSED)}} {
		t.Run(c.act, func(t *testing.T) {
			said := a.do(c.act)
			r := s.wait(t, "connect", a.mine(record.KindConnect, func(r *record.Record) bool {
				return r.Net.Remote == said.Remote && r.Net.FD == int32(said.FD) && r.Ret == c.ret
			}))
			if r.Call != record.CallConnect || r.Flags&record.FlagInbound != 0 {
				t.Errorf("the record %+v", r)
			}
		})
	}
	t.Run("both ends", func(t *testing.T) {
		for _, act := range []string{"exchange over 4", "exchange over 6", "exchange mapped"} {
			said := a.do(act)
			c := s.wait(t, "connect", a.mine(record.KindConnect, func(r *record.Record) bool {
				return r.Net.Local == said.Local && r.Net.Remote == said.Remote // a port may be used again for another end
			}))
			if c.Net.NetNS != said.NetNS || c.Ret != 0 && c.Ret != -int64(unix.EINPROGRESS) {
				t.Errorf("%s: connect %+v", act, c)
			}
			in := s.wait(t, "accept", a.mine(record.KindAccept, func(r *record.Record) bool { return r.Net.Remote == said.Local }))
			if in.Net.Local != said.Remote || in.Flags&record.FlagInbound == 0 || in.Ret < 0 || in.Net.FD != int32(in.Ret) {
				t.Errorf("%s: accept %+v", act, in)
			}
		}
	})
	for act, ret := range map[string]int64{"unix": 0, "abstract": 0, "unix missing": -int64(unix.ENOENT)} {
		t.Run(act, func(t *testing.T) {
			said := a.do(act)
			r := s.wait(t, "connect", a.mine(record.KindConnect, func(r *record.Record) bool { return string(r.Name) == said.Path && r.Ret == ret }))
			if r.Net.Family != unix.AF_UNIX {
				t.Errorf("the record %+v", r)
			}
			if act == "unix" && string(r.Path) != said.Path {
				t.Errorf("the file %q, want %q", r.Path, said.Path)
			}
		})
	}
}

// Only ports that are asked for are told of, from one moment to the next.
func TestConnectPorts(t *testing.T) {
	in := interestIn(record.CallConnect)
	in.Connects = []uint16{10, 65535}
	l, s := start(t, Options{}, in)
	a := startActor(t)
	a.do("refused") // port 9
	a.do("high descriptor")
	s.wait(t, "connect to port 10", a.mine(record.KindConnect, func(r *record.Record) bool { return r.Net.Remote.Port() == 10 }))
	if n := s.count(a.mine(record.KindConnect, nil)); n != 1 {
		t.Errorf("%d connections told of, want 1", n)
	}
	in.Connects = []uint16{}
	if err := l.Watch(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	a.do("refused")
	in.Connects = nil
	if err := l.Watch(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	a.do("udp connect")
	s.wait(t, "any connect", a.mine(record.KindConnect, func(r *record.Record) bool { return r.Net.Remote.Port() == 514 }))
	if n := s.count(a.mine(record.KindConnect, nil)); n != 2 {
		t.Errorf("%d connections told of, want 2", n)
	}
}

// count returns how many records match by now.
func (s *seen) count(match func(*record.Record) bool) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.all {
		if match(&s.all[i]) {
			n++
		}
	}
	return n
}

func TestBindAndListen(t *testing.T) {
	_, s := start(t, Options{}, interestIn(record.CallBind, record.CallListen))
	a := startActor(t)
	said := a.do("taken")
	at := func(r *record.Record) bool { return r.Net.Local == said.Local }
	b := s.wait(t, "bind", a.mine(record.KindBind, func(r *record.Record) bool { return at(r) && r.Ret == 0 }))
	l := s.wait(t, "listen", a.mine(record.KindListen, at))
	s.wait(t, "the bind that failed", a.mine(record.KindBind, func(r *record.Record) bool { return at(r) && r.Ret == -int64(unix.EADDRINUSE) }))
	if b.Net.FD != int32(said.FD) || l.Ret != 0 || l.NumLen != 1 || l.Nums[0] != 33 || l.Net.Remote.IsValid() {
		t.Errorf("bind %+v, listen %+v", b, l)
	}
}

func TestSend(t *testing.T) {
	_, s := start(t, Options{}, interestIn(record.CallSendto, record.CallSendmsg, record.CallSendmmsg))
	a := startActor(t)
	said := a.do("sends")
	for port, call := range map[uint16]record.Call{6001: record.CallSendto, 6002: record.CallSendmsg, 6003: record.CallSendmmsg, 6004: record.CallSendmmsg} {
		to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
		r := s.wait(t, call.String(), a.mine(record.KindCall, func(r *record.Record) bool { return r.Net.Remote == to }))
		if r.Call != call || r.Net.FD != int32(said.FD) || r.Net.Protocol != unix.IPPROTO_UDP {
			t.Errorf("the record %+v, want one of %s", r, call)
		}
	}
	if n := s.count(a.mine(record.KindCall, func(r *record.Record) bool { return r.Call == record.CallSendto })); n != 1 {
		t.Errorf("100 datagrams to one address are told of %d times, want once", n)
	}
}

func TestRawSockets(t *testing.T) {
	_, s := start(t, Options{}, interestIn(record.CallSocket, record.CallIoUringSetup))
	a := startActor(t)
	a.do("raw sockets")
	s.wait(t, "the second socket", a.mine(record.KindCall, func(r *record.Record) bool {
		return r.Call == record.CallSocket && r.Nums[0] == unix.AF_INET && r.Nums[1] == unix.SOCK_RAW && r.Nums[2] == unix.IPPROTO_ICMP
	}))
	first := s.wait(t, "the first socket", a.mine(record.KindCall, nil))
	if first.Nums[0] != unix.AF_PACKET || first.Nums[1] != unix.SOCK_RAW|unix.SOCK_CLOEXEC || first.Nums[2] != 768 || first.Ret < 0 {
		t.Errorf("the record %+v", first)
	}
	if n := s.count(a.mine(record.KindCall, nil)); n != 2 {
		t.Errorf("%d sockets told of, want 2", n)
	}
	said := a.do("io_uring")
	r := s.wait(t, "io_uring_setup", a.mine(record.KindCall, func(r *record.Record) bool { return r.Call == record.CallIoUringSetup }))
	if r.Ret != int64(said.FD) {
		t.Errorf("io_uring_setup gave %d, the record says %d", said.FD, r.Ret)
	}
}

// What is attached for flows and DNS goes when nobody wants it any more, and comes back.
func TestNetworkOffAndOn(t *testing.T) {
	l, s := start(t, Options{}, kernel.Interest{DNS: true, Flows: true})
	a := startActor(t)
	if err := l.Watch(t.Context(), kernel.Interest{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"net_state", "net_egress", "net_ingress", "net_bound4", "net_bound6", "net_released"} {
		if p := l.programs[name]; p == nil || p.link != nil {
			t.Errorf("%s is attached though nobody wants it", name)
		}
	}
	a.do("ask over udp")
	if err := l.Watch(t.Context(), kernel.Interest{DNS: true}); err != nil {
		t.Fatal(err)
	}
	a.do("ask with sendmmsg")
	s.wait(t, "the last answer", a.mine(record.KindDNS, func(r *record.Record) bool { return r.Net.PacketsIn == 1 }))
	if n := s.count(a.mine(record.KindFlow, nil)); n != 0 {
		t.Errorf("%d flows though nobody wants them", n)
	}
	if n := s.count(a.mine(record.KindDNS, nil)); n > 4 {
		t.Errorf("%d messages, of two questions and answers", n)
	}

}
