package hand

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/kernel"
)

// lan is two network namespaces with a cable: a container with servers, and a neighbour.
type lan struct{ container, neighbour *exec.Cmd }

func newLAN(t *testing.T, groups ...string) *lan {
	t.Helper()
	require.Root(t)
	for _, p := range []string{"ip", "nft", "nsenter"} {
		_, err := exec.LookPath(p)
		require.Part(t, "nftables", err == nil, "install the program "+p+": nftables, iproute2, util-linux")
	}
	own := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	l := &lan{start(t, groups, own, "as-sleeper"), start(t, nil, own, "as-sleeper")}
	c, n := l.container.Process.Pid, l.neighbour.Process.Pid
	in(t, c, "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", itoa(n))
	for i, pid := range []int{c, n} {
		in(t, pid, "ip", "addr", "add", fmt.Sprintf("10.99.0.%d/24", i+1), "dev", "eth0")
		in(t, pid, "ip", "addr", "add", fmt.Sprintf("fd99::%d/64", i+1), "dev", "eth0", "nodad")
		in(t, pid, "ip", "link", "set", "lo", "up")
		in(t, pid, "ip", "link", "set", "eth0", "up")
	}
	return l
}

// in runs a program in the network namespace of a process.
func in(t *testing.T, pid int, args ...string) string {
	t.Helper()
	out, err := exec.Command("nsenter", append([]string{"-t", itoa(pid), "-n"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

// dial connects from the namespace of a process.
func dial(t *testing.T, pid int, address string) (c net.Conn, err error) {
	t.Helper()
	done := make(chan struct{})
	go func() { // its thread is thrown away: it is in another namespace
		defer close(done)
		runtime.LockOSThread()
		f, e := os.Open(netOf(uint32(pid)))
		if e != nil {
			err = e
			return
		}
		defer f.Close()
		if err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
			return
		}
		c, err = (&net.Dialer{Timeout: 400 * time.Millisecond}).Dial("tcp", address)
	}()
	<-done
	return c, err
}

// echo reports whether a byte comes back.
func echo(c net.Conn) bool {
	_ = c.SetDeadline(time.Now().Add(400 * time.Millisecond))
	if _, err := c.Write([]byte("x")); err != nil {
		return false
	}
	_, err := c.Read(make([]byte, 1))
	return err == nil
}

func reaches(t *testing.T, pid int, address string) bool {
	t.Helper()
	c, err := dial(t, pid, address)
	if err != nil {
		return false
	}
	defer c.Close()
	return echo(c)
}

func server(t *testing.T, near int, groups []string, address string) {
	t.Helper()
	// Inherits the namespace of the thread that starts it.
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		f, err := os.Open(netOf(uint32(near)))
		if err == nil {
			defer f.Close()
			err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
		}
		if err != nil {
			t.Error(err)
			return
		}
		start(t, groups, nil, "as-server", address)
	}()
	<-done
}

func TestIsolate(t *testing.T) {
	h := New()
	dir := newGroup(t, h.v2)
	l := newLAN(t, dir)
	c, n := l.container.Process.Pid, l.neighbour.Process.Pid
	server(t, c, []string{dir}, "[::]:7001")
	server(t, n, nil, "[::]:7002")
	server(t, n, nil, "[::]:7003")
	side := start(t, nil, nil, "as-sleeper") // on the host: no part of it
	// A table of the container's own stays as it is.
	in(t, c, "nft", "add table inet testudo_other; add chain inet testudo_other in { type filter hook input priority 0; policy accept; }")
	before := in(t, c, "nft", "list", "ruleset")
	established, err := dial(t, n, "10.99.0.1:7001")
	if err != nil {
		t.Fatal(err)
	}
	defer established.Close()
	eventually(t, "the network of the test works", func() bool { // IPv6 takes its time
		return echo(established) && reaches(t, c, "10.99.0.2:7002") && reaches(t, c, "[fd99::2]:7002") && reaches(t, c, "127.0.0.1:7001")
	})
	id := filepath.Base(dir)
	radius := do(t, h, kernel.Order{Verb: kernel.VerbRadius, For: kernel.VerbIsolate, Container: id})
	if radius.Count != 2 || radius.Connections != 1 || radius.Refusal != "" || len(radius.Sharing) != 0 {
		t.Errorf("%+v", radius)
	}
	o := kernel.Order{Verb: kernel.VerbIsolate, ID: "0198f-a", Container: id,
		Keep: []netip.AddrPort{netip.MustParseAddrPort("10.99.0.2:7003"), netip.MustParseAddrPort("[fd99::2]:7003")}}
	if d := do(t, h, o); !strings.Contains(d.Detail, "of 2 processes, but to [10.99.0.2:7003") {
		t.Errorf("%+v", d)
	}
	check := func() {
		t.Helper()
		for address, want := range map[string]bool{
			"10.99.0.2:7002": false, "[fd99::2]:7002": false, // out
			"10.99.0.2:7003": true, "[fd99::2]:7003": true, // kept
			"127.0.0.1:7001": true, "[::1]:7001": true, "10.99.0.1:7001": true, // itself
		} {
			if reaches(t, c, address) != want {
				t.Errorf("the container reaches %s: %v", address, !want)
			}
		}
		if reaches(t, n, "10.99.0.1:7001") || reaches(t, n, "[fd99::1]:7001") {
			t.Error("the neighbour reaches the container")
		}
		if echo(established) {
			t.Error("a connection that was there goes on")
		}
	}
	check()
	once := in(t, c, "nft", "list", "ruleset")
	do(t, New(), o) // after a restart
	if again := in(t, c, "nft", "list", "ruleset"); again != once {
		t.Errorf("a second time makes\n%s\nof\n%s", again, once)
	}
	check()
	// A second action on the same: undoing one leaves the other.
	two := o
	two.ID, two.Keep = "0198f-b", nil
	do(t, h, two)
	do(t, h, kernel.Order{Verb: kernel.VerbJoin, ID: two.ID})
	if again := in(t, c, "nft", "list", "ruleset"); again != once {
		t.Errorf("undoing another action left\n%s\nof\n%s", again, once)
	}
	if d := do(t, h, kernel.Order{Verb: kernel.VerbJoin, ID: o.ID}); d.Detail != "1 networks are joined again" {
		t.Errorf("%+v", d)
	}
	if after := in(t, c, "nft", "list", "ruleset"); after != before {
		t.Errorf("after the undo\n%s\nbefore\n%s", after, before)
	}
	if !reaches(t, c, "10.99.0.2:7002") || !reaches(t, n, "10.99.0.1:7001") {
		t.Error("the network is not joined again")
	}
	do(t, h, kernel.Order{Verb: kernel.VerbJoin, ID: o.ID}) // no error
	if !alive(side.Process.Pid) {
		t.Error("the bystander is dead")
	}
}

// Who shares the namespace is told of, and the table is found again when the container is gone and its pod's network is not.
func TestIsolateOfAPod(t *testing.T) {
	h := New()
	dir := newGroup(t, h.v2)
	l := newLAN(t)
	c, n := l.container.Process.Pid, l.neighbour.Process.Pid
	server(t, c, []string{dir}, "[::]:7001") // the container; what keeps the namespace is outside of its cgroup
	o := kernel.Order{Verb: kernel.VerbRadius, For: kernel.VerbIsolate, Container: filepath.Base(dir)}
	radius := do(t, h, o)
	if len(radius.Sharing) != 1 || radius.Sharing[0].PID != uint32(c) || radius.Count != 1 {
		t.Errorf("%+v", radius)
	}
	o.Verb, o.For, o.ID = kernel.VerbIsolate, "", "pod"
	do(t, h, o)
	if reaches(t, n, "10.99.0.1:7001") {
		t.Error("the container is reached")
	}
	do(t, h, kernel.Order{Verb: kernel.VerbKill, Container: filepath.Base(dir)})
	do(t, h, kernel.Order{Verb: kernel.VerbJoin, ID: "pod"})
	if left := in(t, c, "nft", "list", "ruleset"); left != "" {
		t.Errorf("left in the pod's network:\n%s", left)
	}
}

// Who starts and ends processes all the time is isolated, and joined again, like anybody else.
func TestIsolateOfABusyContainer(t *testing.T) {
	h := New()
	dir := newGroup(t, h.v2)
	start(t, []string{dir}, &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}, "as-busy")
	for i := range 40 {
		o := kernel.Order{Verb: kernel.VerbIsolate, ID: fmt.Sprintf("busy-%d-%d", os.Getpid(), i), Container: filepath.Base(dir)}
		do(t, h, o)
		if d := do(t, h, kernel.Order{Verb: kernel.VerbJoin, ID: o.ID}); d.Detail != "1 networks are joined again" {
			t.Fatalf("%+v", d)
		}
	}
}

func TestHostIsNotIsolated(t *testing.T) {
	h := New()
	dir := newGroup(t, h.v2)
	p := start(t, []string{dir}, nil, "as-sleeper")
	refuses(t, h, kernel.Order{Verb: kernel.VerbIsolate, ID: "a", Container: filepath.Base(dir)}, "no network of its own")
	refuses(t, h, kernel.Order{Verb: kernel.VerbIsolate, ID: "a", PID: uint32(p.Process.Pid), Start: startOf(t, p.Process.Pid)}, "no network of its own")
	empty := newGroup(t, h.v2)
	refuses(t, h, kernel.Order{Verb: kernel.VerbIsolate, ID: "a", Container: filepath.Base(empty)}, "no process of it runs")
}

// A process that is in no cgroup of its own, but in a network of its own.
func TestIsolateAProcess(t *testing.T) {
	h := New()
	l := newLAN(t)
	c, n := l.container.Process.Pid, l.neighbour.Process.Pid
	server(t, n, nil, "[::]:7002")
	o := kernel.Order{Verb: kernel.VerbIsolate, ID: "p", PID: uint32(c), Start: startOf(t, c)}
	do(t, h, o)
	if reaches(t, c, "10.99.0.2:7002") {
		t.Error("it is not isolated")
	}
	do(t, h, kernel.Order{Verb: kernel.VerbJoin, ID: "p"})
	if !reaches(t, c, "10.99.0.2:7002") {
		t.Error("it stays isolated")
	}
}
