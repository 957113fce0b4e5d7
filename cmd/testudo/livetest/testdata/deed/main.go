//go:build linux

// Command deed does what detections are about, once, under the name that it is started by. What it does not know it
// leaves: then the start itself is what counts.
package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

func main() {
	runtime.LockOSThread()
	if len(os.Args) < 2 {
		return
	}
	do, ok := deeds[os.Args[1]]
	if !ok {
		return
	}
	if err := do(os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, os.Args[0], strings.Join(os.Args[1:], " ")+":", err)
		os.Exit(1)
	}
}

var deeds = map[string]func([]string) error{
	"run":      run,
	"as":       as,
	"open":     open,
	"later":    later,
	"connect":  connect,
	"scan":     scan,
	"resolve":  resolve,
	"reverse":  reverse,
	"packet":   packet,
	"traced":   traced,
	"attach":   attach,
	"memory":   memory,
	"module":   module,
	"bpf":      loadBPF,
	"setuid":   setuid,
	"setns":    setns,
	"inject":   inject,
	"unlinked": unlinked,
	"sendto":   sendto,
	"listen":   listen,
	"behind":   behind,
	"append":   appendTo,
	"sweep":    sweep,
	"faults":   faults,
}

// run starts another program as a child and waits for it.
func run(args []string) error { return command(args, nil) }

// as starts a child as another user: the first argument is its number.
func as(args []string) error {
	uid, err := strconv.ParseUint(args[0], 10, 32)
	if err != nil {
		return err
	}
	return command(args[1:], &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}})
}

func command(args []string, attr *syscall.SysProcAttr) error {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = os.Stdout, os.Stderr, attr
	return cmd.Run()
}

// open opens files for reading; what is not there is no error.
func open(args []string) error {
	for _, path := range args {
		if fd, err := syscall.Open(path, syscall.O_RDONLY, 0); err == nil {
			_ = syscall.Close(fd)
		}
	}
	return nil
}

// later waits as long as the first argument says, and then opens a file.
func later(args []string) error {
	d, err := time.ParseDuration(args[0])
	if err != nil {
		return err
	}
	time.Sleep(d)
	return open(args[1:])
}

// connect connects over a network to an address. That nobody answers is no error.
func connect(args []string) error {
	c, err := net.DialTimeout(args[0], args[1], 2*time.Second)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return nil
	}
	return c.Close()
}

// scan connects to an address's ports, from the first to the last.
func scan(args []string) error {
	first, _ := strconv.Atoi(args[1])
	last, _ := strconv.Atoi(args[2])
	for port := first; port <= last; port++ {
		if c, err := net.DialTimeout("tcp", net.JoinHostPort(args[0], strconv.Itoa(port)), time.Second); err == nil {
			_ = c.Close()
		}
	}
	return nil
}

// listen takes a connection for a moment.
func listen(args []string) error {
	l, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	return l.Close()
}

// sendto sends a datagram without connecting.
func sendto(args []string) error {
	to, err := net.ResolveUDPAddr("udp4", args[0])
	if err != nil {
		return err
	}
	c, err := net.ListenUDP("udp4", nil)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.WriteToUDP([]byte("x"), to)
	return err
}

// resolve asks a name server of its own, at 127.0.0.1, for a name, which stands for the address given, and connects there.
func resolve(args []string) error {
	name, addr := args[0], net.ParseIP(args[1]).To4()
	server, err := net.ListenPacket("udp4", "127.0.0.1:53")
	if err != nil {
		return err
	}
	defer server.Close()
	question := []byte{0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	for _, part := range strings.Split(name, ".") {
		question = append(append(question, byte(len(part))), part...)
	}
	question = append(question, 0, 0, 1, 0, 1)
	client, err := net.Dial("udp4", "127.0.0.1:53")
	if err != nil {
		return err
	}
	defer client.Close()
	if _, err := client.Write(question); err != nil {
		return err
	}
	buf := make([]byte, 512)
	n, from, err := server.ReadFrom(buf)
	if err != nil {
		return err
	}
	answer := append([]byte(nil), buf[:n]...)
	answer[2], answer[3], answer[7] = 0x81, 0x80, 1
	answer = append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4)
	answer = append(answer, addr...)
	if _, err := server.WriteTo(answer, from); err != nil {
		return err
	}
	if _, err := client.Read(buf); err != nil {
		return err
	}
	time.Sleep(300 * time.Millisecond) // what a packet says may be told of after what a process does
	return connect([]string{"tcp4", net.JoinHostPort(args[1], args[2])})
}

// reverse connects to an address of its own making, and hands the connection to a program as its standard streams.
func reverse(args []string) error {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = c.Write([]byte("exit\n"))
			time.Sleep(time.Second)
			_ = c.Close()
		}
	}()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	to := &syscall.SockaddrInet4{Port: l.Addr().(*net.TCPAddr).Port, Addr: [4]byte{127, 0, 0, 1}}
	if err := syscall.Connect(fd, to); err != nil {
		return err
	}
	// As exploits do: the process redirects its own streams, and the shell inherits them.
	for i := range 3 {
		if err := syscall.Dup3(fd, i, 0); err != nil {
			return err
		}
	}
	pid, err := syscall.ForkExec(args[0], args, &syscall.ProcAttr{Files: []uintptr{0, 1, 2}})
	if err != nil {
		return err
	}
	_, err = syscall.Wait4(pid, nil, 0, nil)
	return err
}

func packet([]string) error {
	fd, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_RAW, 0)
	if err != nil {
		return err
	}
	return syscall.Close(fd)
}

// traced asks to be traced, as programs do that fear debuggers.
func traced([]string) error {
	_, _, e := syscall.RawSyscall6(syscall.SYS_PTRACE, syscall.PTRACE_TRACEME, 0, 0, 0, 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

// attach attaches to a child of its own, and lets it go.
func attach([]string) error {
	return withChild(func(pid int) error {
		if err := syscall.PtraceAttach(pid); err != nil {
			return err
		}
		if _, err := syscall.Wait4(pid, nil, 0, nil); err != nil {
			return err
		}
		return syscall.PtraceDetach(pid)
	})
}

// inject writes into the stack of a child of its own.
func inject([]string) error {
	return withChild(func(pid int) error {
		local := []byte("x")
		l := [2]uintptr{uintptr(unsafe.Pointer(&local[0])), 1}
		r := [2]uintptr{8, 1} // not mapped: that it was tried is what counts
		_, _, _ = syscall.RawSyscall6(sysProcessVMWrite, uintptr(pid), uintptr(unsafe.Pointer(&l)), 1, uintptr(unsafe.Pointer(&r)), 1, 0)
		return nil
	})
}

func withChild(do func(pid int) error) error {
	cmd := exec.Command("/bin/sleep", "5")
	if err := cmd.Start(); err != nil {
		return err
	}
	time.Sleep(50 * time.Millisecond) // it is sleep by then
	err := do(cmd.Process.Pid)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return err
}

// memory runs a program that is in memory only.
func memory(args []string) error {
	name, _ := syscall.BytePtrFromString("payload")
	fd, _, e := syscall.RawSyscall(sysMemfd, uintptr(unsafe.Pointer(name)), 0, 0)
	if e != 0 {
		return e
	}
	program, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	if _, err := syscall.Write(int(fd), program); err != nil {
		return err
	}
	return command([]string{fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd)}, nil)
}

// unlinked runs a program whose file it has removed.
func unlinked(args []string) error {
	f, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer f.Close()
	if err := os.Remove(args[0]); err != nil {
		return err
	}
	return command([]string{fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd())}, nil)
}

// module hands the kernel a module that it refuses: it is none.
func module(args []string) error {
	f, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer f.Close()
	empty := []byte{0}
	_, _, e := syscall.RawSyscall(sysFinitModule, f.Fd(), uintptr(unsafe.Pointer(&empty[0])), 0)
	if e == 0 {
		return fmt.Errorf("the kernel took it")
	}
	return nil
}

// loadBPF loads a program that returns at once, and drops it.
func loadBPF([]string) error {
	var code bytes.Buffer
	_ = binary.Write(&code, binary.NativeEndian, []uint64{0x00000000_000000b7, 0x95}) // r0 = 0; exit
	license := []byte("GPL\x00")
	insns := code.Bytes()
	var attr [48]byte
	binary.NativeEndian.PutUint32(attr[0:], 1) // BPF_PROG_TYPE_SOCKET_FILTER
	binary.NativeEndian.PutUint32(attr[4:], 2)
	binary.NativeEndian.PutUint64(attr[8:], uint64(uintptr(unsafe.Pointer(&insns[0]))))
	binary.NativeEndian.PutUint64(attr[16:], uint64(uintptr(unsafe.Pointer(&license[0]))))
	fd, _, e := syscall.RawSyscall(sysBPF, 5, uintptr(unsafe.Pointer(&attr)), uintptr(len(attr)))
	runtime.KeepAlive(insns)
	if e != 0 {
		return e
	}
	return syscall.Close(int(fd))
}

// setuid becomes another user.
func setuid(args []string) error {
	uid, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	_, _, e := syscall.RawSyscall(syscall.SYS_SETUID, uintptr(uid), 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

// setns enters a namespace.
func setns(args []string) error {
	f, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer f.Close()
	_, _, e := syscall.RawSyscall(sysSetns, f.Fd(), 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

// behind runs a program while a port is listened on, whose number stands for PORT in the arguments.
func behind(args []string) error {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("exit\n"))
			time.Sleep(300 * time.Millisecond)
			_ = c.Close()
		}
	}()
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "PORT", port)
	}
	return command(args, nil)
}

// appendTo opens a file for writing behind its end, and writes nothing.
func appendTo(args []string) error {
	fd, err := syscall.Open(args[0], syscall.O_WRONLY|syscall.O_APPEND|syscall.O_CREAT, 0o600)
	if err != nil {
		return err
	}
	return syscall.Close(fd)
}

// sweep tries a port of 25 addresses.
func sweep(args []string) error {
	for i := 1; i <= 25; i++ {
		if c, err := net.DialTimeout("tcp", net.JoinHostPort(args[0]+strconv.Itoa(i), args[1]), 20*time.Millisecond); err == nil {
			_ = c.Close()
		}
	}
	return nil
}

// faults asks to be told of faults of pages.
func faults([]string) error {
	fd, _, e := syscall.RawSyscall(sysUserfaultfd, 0, 0, 0)
	if e != 0 {
		return e
	}
	return syscall.Close(int(fd))
}
