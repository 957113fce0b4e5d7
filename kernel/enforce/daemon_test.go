//go:build linux

package enforce

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel"
)

// daemon is another process that enforces: the test binary again. It refuses to run the program that it is told, says so, and waits to be
// killed, or ends properly when its standard input does.
func daemon() {
	e := New(Options{Config: Config{Pins: os.Getenv("PINS")}})
	err := e.Guard(context.Background(), kernel.Guard{Closed: os.Getenv("CLOSED") != "", Rules: []kernel.GuardRule{
		{Rule: "daemon", Hook: kernel.HookExec, Enforce: true, Exe: kernel.Paths{Exact: []string{os.Getenv("REFUSE")}}},
	}})
	fmt.Println("ready", err)
	_, _ = os.Stdin.Read(make([]byte, 1))
	fmt.Println("closed", e.Close())
}

// features says what can be enforced, and which of two rules are left to others.
func features() {
	e := New(Options{Config: Default()})
	rules := []kernel.GuardRule{{Rule: "open", Hook: kernel.HookOpen, Enforce: true, File: kernel.Paths{Exact: []string{"/none"}}},
		{Rule: "connect", Hook: kernel.HookConnect, Enforce: true, Ports: []uint16{9}, Exe: kernel.Paths{Exact: []string{"/none"}}}}
	var left []string
	for _, r := range e.Residue(rules) {
		left = append(left, r.Rule)
	}
	fmt.Println("left", strings.Join(left, ","))
	fmt.Println("unable", errors.Is(e.Guard(context.Background(), kernel.Guard{Rules: rules}), kernel.ErrUnable))
	for _, f := range e.Features() {
		fmt.Println(f.Name, f.OK, f.Detail, f.Mend)
	}
}

// act does one thing, or with "each" one for each argument, and says how it went: the name of the error, or "done".
func act() {
	if os.Args[1] != "each" {
		actAndSay(os.Args[1], os.Args[2:])
		return
	}
	for _, one := range os.Args[2:] {
		words := strings.Fields(one)
		actAndSay(words[0], words[1:])
	}
}

func actAndSay(verb string, args []string) {
	err := actOn(verb, args)
	var no syscall.Errno
	switch {
	case err == nil:
		fmt.Println("done")
	case errors.As(err, &no):
		fmt.Println(unix.ErrnoName(no))
	default:
		fmt.Println(err)
	}
}

func actOn(verb string, args []string) error {
	switch verb {
	case "touch": // the side effect of a program that runs
		return os.WriteFile(args[0], nil, 0o644)
	case "exec":
		return syscall.Exec(args[0], args, os.Environ())
	case "execveat": // by a descriptor alone
		f, err := os.Open(args[0])
		if err != nil {
			return err
		}
		return execFD(int(f.Fd()), args)
	case "memfd":
		body, err := os.ReadFile(args[0])
		if err != nil {
			return err
		}
		fd, err := unix.MemfdCreate("hidden", unix.MFD_CLOEXEC)
		if err != nil {
			return err
		}
		if _, err := unix.Write(fd, body); err != nil {
			return err
		}
		return execFD(fd, args)
	case "spawn": // as a child of its own, by this process's executable
		return exec.Command(args[0], args[1:]...).Run()
	case "read":
		f, err := os.Open(args[0])
		if err != nil {
			return err
		}
		return f.Close()
	case "append":
		f, err := os.OpenFile(args[0], os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return err
		}
		return f.Close()
	case "flood": // until it is killed, but not for ever
		for range 5_000_000 {
			_ = reach("datagram", args[0], args[1], false)
		}
		return nil
	case "tcp", "udp", "datagram", "fastopen":
		return reach(verb, args[0], args[1], len(args) > 2)
	}
	return fmt.Errorf("nobody knows how to %s", verb)
}

func execFD(fd int, args []string) error {
	empty, err := unix.BytePtrFromString("")
	if err != nil {
		return err
	}
	argv, err := syscall.SlicePtrFromStrings(args)
	if err != nil {
		return err
	}
	env, err := syscall.SlicePtrFromStrings(os.Environ())
	if err != nil {
		return err
	}
	_, _, no := unix.RawSyscall6(unix.SYS_EXECVEAT, uintptr(fd), uintptr(unsafe.Pointer(empty)), uintptr(unsafe.Pointer(&argv[0])),
		uintptr(unsafe.Pointer(&env[0])), unix.AT_EMPTY_PATH, 0)
	return no
}

// reach connects a socket, or sends one datagram, without what net does to addresses. mapped: an address of IPv4 goes in the form of IPv6.
func reach(verb, host, port string, mapped bool) error {
	ip := net.ParseIP(host)
	n, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	family, kind := unix.AF_INET6, unix.SOCK_STREAM
	if verb == "udp" || verb == "datagram" {
		kind = unix.SOCK_DGRAM
	}
	six := &unix.SockaddrInet6{Port: n}
	copy(six.Addr[:], ip.To16())
	var to unix.Sockaddr = six
	if four := ip.To4(); four != nil && !mapped {
		a := &unix.SockaddrInet4{Port: n}
		copy(a.Addr[:], four)
		family, to = unix.AF_INET, a
	}
	fd, err := unix.Socket(family, kind, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	switch verb {
	case "datagram":
		return unix.Sendto(fd, []byte("x"), 0, to)
	case "fastopen":
		return unix.Sendto(fd, []byte("x"), unix.MSG_FASTOPEN, to)
	}
	return unix.Connect(fd, to)
}
