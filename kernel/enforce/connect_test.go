//go:build linux

package enforce

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

func TestConnect(t *testing.T) {
	inside, id := cgroup(t, "connect")
	e, s := begin(t, Options{})
	program := victim(t, realDir(t)+"/program")
	tcp := func(address string) string {
		l, err := net.Listen("tcp", address)
		require.Part(t, "ipv6", err == nil, fmt.Sprint("a machine with IPv6: ", err))
		t.Cleanup(func() { l.Close() })
		return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	}
	bad, good := tcp("[::]:0"), tcp("[::]:0")
	number := func(s string) uint16 {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		return uint16(n)
	}
	guard(t, e,
		kernel.GuardRule{Rule: "port", Hook: kernel.HookConnect, Enforce: true, Cgroups: []uint64{id}, Ports: []uint16{number(bad)},
			Remote: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/16"), netip.MustParsePrefix("::1/128")}},
		kernel.GuardRule{Rule: "network", Hook: kernel.HookConnect, Enforce: true, Cgroups: []uint64{id}, Remote: []netip.Prefix{netip.MustParsePrefix("127.7.0.0/16")}})
	cases := []struct {
		verb, host, port, want string
		mapped                 bool
	}{
		{verb: "tcp", host: "127.0.0.1", port: bad, want: "EPERM"},
		{verb: "tcp", host: "::1", port: bad, want: "EPERM"},
		{verb: "tcp", host: "127.0.0.1", port: bad, mapped: true, want: "EPERM"},
		{verb: "tcp", host: "0.0.0.0", port: bad, want: "EPERM"}, // which is this host
		{verb: "tcp", host: "0.0.0.0", port: bad, mapped: true, want: "EPERM"},
		{verb: "tcp", host: "::", port: bad, want: "EPERM"},
		{verb: "fastopen", host: "127.0.0.1", port: bad, want: "EPERM"},
		{verb: "udp", host: "127.0.0.1", port: bad, want: "EPERM"},
		{verb: "datagram", host: "127.0.0.1", port: bad, want: "EPERM"},
		{verb: "datagram", host: "::1", port: bad, want: "EPERM"},
		{verb: "datagram", host: "127.0.0.1", port: bad, mapped: true, want: "EPERM"},
		{verb: "datagram", host: "127.7.1.2", port: good, want: "EPERM"},
		{verb: "tcp", host: "127.7.1.2", port: good, want: "EPERM"},
		{verb: "tcp", host: "127.0.0.1", port: good, want: "done"},
		{verb: "tcp", host: "::1", port: good, want: "done"},
		{verb: "datagram", host: "127.0.0.1", port: good, want: "done"},
		{verb: "tcp", host: "127.1.0.1", port: bad, want: "done"}, // beside the network
	}
	args := []string{"each"}
	for _, c := range cases {
		one := c.verb + " " + c.host + " " + c.port
		if c.mapped {
			one += " mapped"
		}
		args = append(args, one)
	}
	got := strings.Split(says(t, within(t, inside, actor(program, args...))), "\n")
	for i, c := range cases {
		if i >= len(got) || got[i] != c.want {
			t.Errorf("%s: %v, want %s", args[i+1], got[min(i, len(got)):], c.want)
		}
	}
	if got := says(t, actor(program, "tcp", "127.0.0.1", bad)); got != "done" {
		t.Errorf("outside of the workload: %s", got)
	}
	r := s.wait(t, enforced)
	want := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), number(bad))
	if !r.HasNet || r.Net.Remote != want || r.Net.Protocol != 6 || r.Call != record.CallConnect || record.Gate(r.Nums[1]) != e.Gate(kernel.HookConnect) ||
		r.Cgroup != id || r.Ret != -1 {
		t.Errorf("told of %+v, gate %d, cgroup %d", r.Net, r.Nums[1], r.Cgroup)
	}
	s.wait(t, func(r record.Record) bool { return enforced(r) && r.Call == record.CallSendmsg && r.Nums[0] == 1 })
	if n, err := e.Counts(); err != nil || n.Refused < 13 || n.Unable != 0 {
		t.Errorf("%+v, %v", n, err)
	}
	guard(t, e)
	if got := says(t, within(t, inside, actor(program, "tcp", "127.0.0.1", bad))); got != "done" {
		t.Errorf("after the rules are gone: %s", got)
	}
}

// A hierarchy mounted elsewhere is found where it is.
func TestCgroupRoot(t *testing.T) {
	dir, err := cgroupRoot()
	require.Part(t, "cgroup2", err == nil, fmt.Sprint("mount cgroup2: ", err))
	if _, err := os.Stat(dir + "/cgroup.procs"); err != nil {
		t.Errorf("%s is no cgroup: %v", dir, err)
	}
}
