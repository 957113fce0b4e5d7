//go:build linux

package bpf

import (
	"fmt"
	"net"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
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
