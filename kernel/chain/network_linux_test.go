package chain_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/kernel/chain"
)

// published is where services are reached that have other addresses themselves, as the published ports of containers.
const published = "192.0.2.1"

// apart runs the test that calls it again in a network namespace of its own, which stands for the host there, and reports whether this is that run.
func apart(t *testing.T) bool {
	t.Helper()
	const marker = "TESTUDO_CHAIN_APART"
	require.Root(t)
	for _, program := range []string{"ip", "nft", "unshare", "nsenter"} {
		require.Program(t, map[bool]string{true: "nftables", false: "iproute2"}[program == "nft"], program)
	}
	if os.Getenv(marker) != "" {
		do(t, "ip", "link", "set", "lo", "up")
		do(t, "ip", "addr", "add", published+"/32", "dev", "lo")
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o600); err != nil {
			t.Fatal(err)
		}
		return true
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.v", "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), marker+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGTERM}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("in a network namespace of its own: %v", err)
	}
	return false
}

func do(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
}

// wire joins the network namespace of a process to that of another, or to this one, which becomes its way to everywhere. They have the addresses
// 10.77.n.1 and 10.77.n.2.
func wire(t testing.TB, n, pid int, router ...string) {
	t.Helper()
	near := func(args ...string) { t.Helper(); do(t, append(append([]string{}, router...), args...)...) }
	far := func(args ...string) {
		t.Helper()
		do(t, append([]string{"nsenter", "-t", fmt.Sprint(pid), "-n"}, args...)...)
	}
	link := fmt.Sprintf("container%d", n)
	near("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", fmt.Sprint(pid))
	near("ip", "addr", "add", fmt.Sprintf("10.77.%d.1/24", n), "dev", link)
	near("ip", "link", "set", link, "up")
	far("ip", "link", "set", "lo", "up")
	far("ip", "addr", "add", fmt.Sprintf("10.77.%d.2/24", n), "dev", "eth0")
	far("ip", "link", "set", "eth0", "up")
	far("ip", "route", "add", "default", "via", fmt.Sprintf("10.77.%d.1", n))
}

// contain starts a server in a network namespace of its own and publishes its port under another address and port, which it returns. Who
// connects there is seen by the server with another address and port, too.
func contain(t testing.TB, n int, way, following string) string {
	t.Helper()
	port, pid := launch(t, way, following, []string{"LISTEN=0.0.0.0"}, "unshare", "--net")
	wire(t, n, pid)
	rules := fmt.Sprintf("table ip translate%[1]d {\n"+
		"chain there { type nat hook prerouting priority -100; ip daddr %[2]s tcp dport %[3]d dnat to 10.77.%[1]d.2:%[4]d; }\n"+
		"chain here { type nat hook output priority -100; ip daddr %[2]s tcp dport %[3]d dnat to 10.77.%[1]d.2:%[4]d; }\n"+
		"chain from { type nat hook postrouting priority 100; oifname \"container%[1]d\" masquerade random; }\n}\n", n, published, 8080+n, port)
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
	return fmt.Sprintf("%s:%d", published, 8080+n)
}

// TestTranslated measures the join where neither end of a connection knows the other's address and port.
func TestTranslated(t *testing.T) {
	if !apart(t) {
		return
	}
	n := 0
	for _, ways := range [][]string{{"thread"}, {"go"}, {"pool", "thread", "go"}} {
		t.Run(strings.Join(ways, "-"), func(t *testing.T) {
			w := newWatch(t)
			first, want := "", map[string]float64{}
			for i := len(ways) - 1; i >= 0; i-- {
				n++
				first, want[ways[i]] = contain(t, n, ways[i], first), 0.99
			}
			w.follow(t, portOf(first))
			w.load(t, w.startEdge(t, first), len(ways))
			w.check(t, want)
			if s := w.Stats(); s.ByTranslated == 0 {
				t.Error("nothing was translated")
			}
		})
	}
}

// TestProxied measures it where a program in between passes on connections, which reads nothing of them: the service behind it is found by the
// identifier in the request's head, whatever its port.
func TestProxied(t *testing.T) {
	for _, late := range []bool{false, true} {
		t.Run(map[bool]string{false: "before", true: "after"}[late], func(t *testing.T) {
			w := newWatch(t)
			if late { // it begins to listen when all is being watched
				w.follow(t, 1)
			}
			addr := startServer(t, "proxy", startServer(t, "thread", ""))
			w.follow(t, portOf(addr))
			w.send(t, w.startEdge(t, addr), 1, 30, 3) // the kernel holds back what it moves, in the hope of more
			w.check(t, map[string]float64{"thread": 0.99})
			if s := w.Stats(); s.ByHeader != s.Joined {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestSensorComesLate: a connection that was there before the sensor is joined, too, once another one has shown which port its own stands for.
func TestSensorComesLate(t *testing.T) {
	if !apart(t) {
		return
	}
	addr := contain(t, 1, "thread", "")
	w := newWatch(t)
	url := w.startEdge(t, addr)
	get := func() string {
		t.Helper()
		resp, err := http.Get(url + "/plain")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatal(resp.Status, err)
		}
		return resp.Header.Get("X-Request-Id")
	}
	get()
	w.follow(t, portOf(addr))
	other, err := net.Dial("tcp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	get()
	get()
	id := get()
	for range 200 {
		if len(w.Hops(id)) > 0 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	hops := w.Hops(id)
	http.DefaultClient.CloseIdleConnections()
	if len(hops) != 1 || hops[0].How != chain.ByTranslated || hops[0].Server.Addr().String() != "10.77.1.2" {
		t.Errorf("%+v", hops)
	}
}

// TestSameAddresses: two networks on one machine have the same addresses and ports. In one the edge passes requests on; what is asked for in the other
// is of no request.
func TestSameAddresses(t *testing.T) {
	if !apart(t) {
		return
	}
	// The edge has few ports, and somebody in the other network has all of them.
	const ports, first = 64, 40000
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", fmt.Appendf(nil, "%d %d", first, first+ports-1), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"LISTEN=0.0.0.0", "PORT=18080"}
	_, one := launch(t, "thread", "", env, "unshare", "--net")
	_, two := launch(t, "thread", "", env, "unshare", "--net")
	stranger := exec.Command("unshare", "--net", "sh", "-c", "echo ready; exec sleep 600")
	out, err := stranger.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	group(stranger)
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { endGroup(stranger); _ = stranger.Wait() })
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	wire(t, 1, one)
	wire(t, 1, two, "nsenter", "-t", fmt.Sprint(stranger.Process.Pid), "-n")
	const addr = "10.77.1.2:18080"
	w := newWatch(t)
	w.follow(t, 18080)
	ctx, stop := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	asked := make([]int, ports)
	for i := range ports {
		c, err := dialIn(stranger.Process.Pid, fmt.Sprintf("10.77.1.1:%d", first+i), addr)
		if err != nil {
			stop()
			t.Fatal(err)
		}
		wait.Go(func() {
			defer c.Close()
			defer context.AfterFunc(ctx, func() { c.Close() })()
			answers := bufio.NewReader(c)
			for n := i; ctx.Err() == nil; n++ {
				path := "/plain"
				if n%8 == 0 {
					path = "/run"
				}
				// As long as what the edge writes, so that it is in the same place of the connection.
				fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: shop.example\r\nX-Request-Id: background\r\nX-Padding: %s\r\n\r\n", path, strings.Repeat("x", 200))
				resp, err := http.ReadResponse(answers, nil)
				if err != nil {
					if ctx.Err() == nil {
						t.Errorf("the other network: %v", err)
					}
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				asked[i]++
				select {
				case <-ctx.Done():
				case <-time.After(300 * time.Millisecond):
				}
			}
		})
	}
	w.load(t, w.startEdge(t, addr), 1)
	stop()
	wait.Wait()
	w.check(t, map[string]float64{"thread": 0.99})
	for i, n := range asked {
		if n == 0 {
			t.Errorf("nothing was asked from port %d of the other network", first+i)
		}
	}
	if s := w.Stats(); s.ByTranslated != 0 || s.Joined == 0 {
		t.Errorf("%+v", s)
	}
}

// dialIn connects in the network namespace of a process.
func dialIn(pid int, from, to string) (c net.Conn, err error) {
	done := make(chan struct{})
	go func() { // its thread is thrown away: it is in another namespace
		defer close(done)
		runtime.LockOSThread()
		f, e := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
		if e != nil {
			err = e
			return
		}
		defer f.Close()
		if err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
			return
		}
		local, e := net.ResolveTCPAddr("tcp4", from)
		if err = errors.Join(e); err != nil {
			return
		}
		c, err = (&net.Dialer{LocalAddr: local, Timeout: 5 * time.Second}).Dial("tcp4", to)
	}()
	<-done
	return c, err
}
