//go:build linux

package bpf

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

// An actor is a process of the test's own that does to sockets what it is told: so that records have a pid that is nobody else's.
// actorMain is its other end.
type actor struct {
	t     testing.TB
	pid   uint32
	in    io.WriteCloser
	lines *bufio.Scanner
}

const actorVariable = "TESTUDO_TEST_ACTOR"

// startActor starts an actor, in a network namespace of its own with a loopback that is up.
func startActor(t testing.TB) *actor {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestActor$")
	cmd.Env = append(os.Environ(), actorVariable+"=1", "GORACE=atexit_sleep_ms=0")
	cmd.SysProcAttr = &unix.SysProcAttr{Unshareflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	a := &actor{t: t, pid: uint32(cmd.Process.Pid), in: in, lines: bufio.NewScanner(out)}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	return a
}

// do has the actor do it, and returns what it answers.
func (a *actor) do(what string) actorSaid {
	a.t.Helper()
	if _, err := fmt.Fprintln(a.in, what); err != nil {
		a.t.Fatal(err)
	}
	for a.lines.Scan() {
		var said actorSaid
		if json.Unmarshal(a.lines.Bytes(), &said) != nil {
			continue // of the testing package
		}
		if said.Error != "" {
			a.t.Fatalf("%s: %s", what, said.Error)
		}
		return said
	}
	a.t.Fatalf("%s: the actor has gone", what)
	return actorSaid{}
}

// mine returns whether a record is of the actor, and of that kind.
func (a *actor) mine(k record.Kind, more func(*record.Record) bool) func(*record.Record) bool {
	return func(r *record.Record) bool { return r.PID == a.pid && r.Kind == k && (more == nil || more(r)) }
}

type actorSaid struct {
	Error         string
	Local, Remote netip.AddrPort
	NetNS         uint32
	FD            int
	In, Out       uint64
	Path          string
	PID           uint32
}

// TestActor is no test: it is the process that the others start.
func TestActor(t *testing.T) {
	if os.Getenv(actorVariable) == "" {
		return // nobody started it
	}
	if err := loopbackUp(); err != nil {
		t.Fatal(err)
	}
	answer, acts := json.NewEncoder(os.Stdout), actorActs()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		said, err := actorMain(acts, lines.Text())
		if err != nil {
			said.Error = err.Error()
		}
		_ = answer.Encode(said)
	}
	os.Exit(0)
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
}

func actorMain(acts map[string]func() (actorSaid, error), what string) (actorSaid, error) {
	act := acts[what]
	if act == nil {
		return actorSaid{}, fmt.Errorf("the actor does not know how to %q", what)
	}
	return act()
}

func netns() uint32 {
	var s unix.Stat_t
	_ = unix.Stat("/proc/thread-self/ns/net", &s)
	return uint32(s.Ino)
}

// addrOf is the address as package netip has it.
func addrOf(a net.Addr) netip.AddrPort { return netip.MustParseAddrPort(a.String()) }

func actorActs() map[string]func() (actorSaid, error) {
	var held held
	return map[string]func() (actorSaid, error){
		"exchange over 4":   func() (actorSaid, error) { return exchange("tcp4", "127.0.0.1:0", 1000, 5000) },
		"exchange over 6":   func() (actorSaid, error) { return exchange("tcp6", "[::1]:0", 3, 70000) },
		"exchange mapped":   func() (actorSaid, error) { return exchange("tcp", "[::]:0", 10, 10) },
		"datagrams over 4":  func() (actorSaid, error) { return datagrams("udp4", "127.0.0.1:0") },
		"datagrams over 6":  func() (actorSaid, error) { return datagrams("udp6", "[::1]:0") },
		"ask over udp":      func() (actorSaid, error) { return ask("udp4") },
		"ask over tcp":      func() (actorSaid, error) { return ask("tcp4") },
		"ask with sendmmsg": askTwice,
		"begin":             held.begin,
		"read to the end":   held.readToEnd,
		"close":             held.close,
		"refused":           func() (actorSaid, error) { return connectRefused(9) },
		"udp connect":       connectUDP,
		"unix":              connectUnix,
		"abstract":          connectAbstract,
		"unix missing":      connectUnixMissing,
		"not a socket":      connectNoSocket,
		"high descriptor":   connectHigh,
		"taken":             bindTaken,
		"sends":             sends,
		"raw sockets":       rawSockets,
		"race":              race,
		"io_uring":          ioUring,
		"connect by ring":   connectByRing,
		"getent":            askByLibc,
		"scatter":           scatter,
		"nonsense":          nonsense,
	}
}

// held is a connection within the actor that stays open between two things that it does.
type held struct{ client, server *net.TCPConn }

// begin writes 1000 bytes of which 400 are read, and 70 the other way.
func (h *held) begin() (actorSaid, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return actorSaid{}, err
	}
	defer l.Close()
	c, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		return actorSaid{}, err
	}
	s, err := l.Accept()
	if err != nil {
		return actorSaid{}, err
	}
	h.client, h.server = c.(*net.TCPConn), s.(*net.TCPConn)
	_, err = c.Write(make([]byte, 1000))
	if err == nil {
		_, err = io.ReadFull(s, make([]byte, 400))
	}
	if err == nil {
		_, err = s.Write(make([]byte, 70))
	}
	if err == nil {
		_, err = io.ReadFull(c, make([]byte, 70))
	}
	return actorSaid{Local: addrOf(c.LocalAddr()), Remote: addrOf(c.RemoteAddr())}, err
}

// readToEnd has the client end its direction, and the server see that.
func (h *held) readToEnd() (actorSaid, error) {
	if err := h.client.CloseWrite(); err != nil {
		return actorSaid{}, err
	}
	_, err := io.Copy(io.Discard, h.server)
	return actorSaid{}, err
}

func (h *held) close() (actorSaid, error) {
	return actorSaid{}, errorsOf(h.server.Close(), h.client.Close())
}

// exchange sends bytes both ways over a connection within the process, and closes it from the client's end.
func exchange(network, at string, up, down int) (actorSaid, error) {
	l, err := net.Listen(network, at)
	if err != nil {
		return actorSaid{}, err
	}
	defer l.Close()
	served := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			served <- err
			return
		}
		defer c.Close()
		if _, err = io.ReadFull(c, make([]byte, up)); err == nil {
			_, err = c.Write(make([]byte, down))
		}
		if err == nil {
			_, err = io.Copy(io.Discard, c)
		}
		served <- err
	}()
	to := l.Addr().String()
	if network == "tcp" { // an IPv4 client of an IPv6 socket
		to = fmt.Sprintf("127.0.0.1:%d", l.Addr().(*net.TCPAddr).Port)
	}
	c, err := net.Dial("tcp", to)
	if err != nil {
		return actorSaid{}, err
	}
	said := actorSaid{Local: addrOf(c.LocalAddr()), Remote: addrOf(c.RemoteAddr()), NetNS: netns(), In: uint64(down), Out: uint64(up)}
	if _, err = c.Write(make([]byte, up)); err == nil {
		_, err = io.ReadFull(c, make([]byte, down))
	}
	_ = c.Close()
	return said, errorsOf(err, <-served)
}

func errorsOf(all ...error) error {
	for _, err := range all {
		if err != nil {
			return err
		}
	}
	return nil
}

// datagrams sends three to a socket and gets one back.
func datagrams(network, at string) (actorSaid, error) {
	server, err := net.ListenPacket(network, at)
	if err != nil {
		return actorSaid{}, err
	}
	defer server.Close()
	c, err := net.Dial(network, server.LocalAddr().String())
	if err != nil {
		return actorSaid{}, err
	}
	said := actorSaid{Local: addrOf(c.LocalAddr()), Remote: addrOf(c.RemoteAddr()), NetNS: netns(), In: 7, Out: 300}
	b := make([]byte, 200)
	for range 3 {
		if _, err := c.Write(b[:100]); err != nil {
			return said, err
		}
		if _, _, err := server.ReadFrom(b); err != nil {
			return said, err
		}
	}
	if _, err := server.WriteTo(b[:7], c.LocalAddr()); err != nil {
		return said, err
	}
	if _, err := c.Read(b); err != nil {
		return said, err
	}
	return said, c.Close()
}

func question(id uint16, name string) []byte {
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
	b, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return b
}

func answerTo(q []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(q) != nil || len(m.Questions) != 1 {
		return nil
	}
	m.Response = true
	m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: 5},
		Body: &dnsmessage.AResource{A: [4]byte{192, 0, 2, 1}}}}
	b, err := m.Pack()
	if err != nil {
		return nil
	}
	return b
}

// ask asks a server of DNS within the process, by read and write as Go's resolver does.
func ask(network string) (actorSaid, error) {
	q := question(7, "asked."+network+".example.")
	answered := make(chan error, 1)
	if network == "udp4" {
		server, err := net.ListenPacket(network, "127.0.0.1:53")
		if err != nil {
			return actorSaid{}, err
		}
		defer server.Close()
		go func() {
			b := make([]byte, 512)
			n, from, err := server.ReadFrom(b)
			if err == nil {
				_, err = server.WriteTo(answerTo(b[:n]), from)
			}
			answered <- err
		}()
	} else {
		server, err := net.Listen(network, "127.0.0.1:53")
		if err != nil {
			return actorSaid{}, err
		}
		defer server.Close()
		go func() {
			c, err := server.Accept()
			if err != nil {
				answered <- err
				return
			}
			defer c.Close()
			b := make([]byte, 512)
			n, err := c.Read(b)
			if err == nil {
				a := answerTo(b[2:n])
				_, err = c.Write(append([]byte{byte(len(a) >> 8), byte(len(a))}, a...))
			}
			answered <- err
		}()
	}
	c, err := net.Dial(network, "127.0.0.1:53")
	if err != nil {
		return actorSaid{}, err
	}
	defer c.Close()
	said := actorSaid{Local: addrOf(c.LocalAddr()), Remote: addrOf(c.RemoteAddr()), NetNS: netns()}
	if network == "tcp4" {
		q = append([]byte{byte(len(q) >> 8), byte(len(q))}, q...)
	}
	if _, err := c.Write(q); err != nil {
		return said, err
	}
	_, err = c.Read(make([]byte, 512))
	return said, errorsOf(err, <-answered)
}

func TestFlowOfTCP(t *testing.T) {
	_, s := start(t, Options{}, kernel.Interest{Flows: true})
	a := startActor(t)
	for _, what := range []string{"exchange over 4", "exchange over 6", "exchange mapped"} {
		t.Run(what, func(t *testing.T) {
			said := a.do(what)
			f := s.wait(t, "the client's flow", a.mine(record.KindFlow, func(r *record.Record) bool { return r.Net.Local == said.Local }))
			if f.Net.Remote != said.Remote || f.Net.NetNS != said.NetNS || f.Net.Protocol != unix.IPPROTO_TCP {
				t.Errorf("flow %+v, want %+v", f.Net, said)
			}
			if f.Net.BytesIn != said.In || f.Net.BytesOut != said.Out {
				t.Errorf("%d bytes in and %d out, want %d and %d", f.Net.BytesIn, f.Net.BytesOut, said.In, said.Out)
			}
			if f.Net.PacketsIn == 0 || f.Net.PacketsOut == 0 || f.Net.Began == 0 || f.Net.Began > f.Time || f.Nums[0] != 1 || f.Flags&record.FlagInbound != 0 {
				t.Errorf("flow %+v", f)
			}
		})
	}
}

func TestFlowOfUDP(t *testing.T) {
	_, s := start(t, Options{}, kernel.Interest{Flows: true})
	a := startActor(t)
	for _, what := range []string{"datagrams over 4", "datagrams over 6"} {
		t.Run(what, func(t *testing.T) {
			said := a.do(what)
			f := s.wait(t, "the client's flow", a.mine(record.KindFlow, func(r *record.Record) bool { return r.Net.Local == said.Local }))
			if f.Net.Remote != said.Remote || f.Net.NetNS != said.NetNS || f.Net.Protocol != unix.IPPROTO_UDP {
				t.Errorf("flow %+v, want %+v", f.Net, said)
			}
			if f.Net.BytesIn != said.In || f.Net.BytesOut != said.Out || f.Net.PacketsIn != 1 || f.Net.PacketsOut != 3 || f.Nums[0] != 1 {
				t.Errorf("flow %+v", f.Net)
			}
			server := s.wait(t, "the server's flow", a.mine(record.KindFlow, func(r *record.Record) bool { return r.Net.Remote == said.Local }))
			if server.Net.BytesIn != said.Out || server.Net.BytesOut != said.In {
				t.Errorf("the server's flow %+v", server.Net)
			}
		})
	}
}

func TestDNS(t *testing.T) {
	_, s := start(t, Options{}, kernel.Interest{DNS: true})
	a := startActor(t)
	for what, name := range map[string]string{"ask over udp": "asked.udp4.example.", "ask over tcp": "asked.tcp4.example.",
		"ask with sendmmsg": "second.example."} {
		t.Run(what, func(t *testing.T) {
			said := a.do(what)
			for _, response := range []bool{false, true} {
				var m dnsmessage.Message
				r := s.wait(t, "a message", a.mine(record.KindDNS, func(r *record.Record) bool {
					return m.Unpack(r.Data) == nil && m.Response == response && len(m.Questions) == 1 && m.Questions[0].Name.String() == name
				}))
				if r.Net.Local.Port() != said.Local.Port() || r.Net.Remote != said.Remote || r.Net.NetNS != said.NetNS || r.Start == 0 || r.MntNS == 0 {
					t.Errorf("the record %+v, want %+v", r, said)
				}
				if (r.Net.PacketsOut == 1) == response {
					t.Errorf("of the direction %+v", r.Net)
				}
				if response && (len(m.Answers) != 1 || m.Answers[0].Body.(*dnsmessage.AResource).A != [4]byte{192, 0, 2, 1}) {
					t.Errorf("answers %v", m.Answers)
				}
			}
		})
	}
}

// TestStreams holds what the kernel says was read and written of a stream against what was.
func TestStreams(t *testing.T) {
	_, s := start(t, Options{FlowInterval: 40 * time.Millisecond}, kernel.Interest{Flows: true})
	a := startActor(t)
	said := a.do("begin")
	client := func(r *record.Record) bool { return r.Net.Local == said.Local }
	server := func(r *record.Record) bool { return r.Net.Remote == said.Local }
	check := func(what string, side func(*record.Record) bool, ended, read, written uint64) {
		t.Helper()
		r := s.wait(t, what, a.mine(record.KindFlow, func(r *record.Record) bool {
			return side(r) && r.Nums[0] == ended && (ended == 1 || r.Nums[4] == read && r.Nums[5] == written)
		}))
		if r.Nums[4] != read || r.Nums[5] != written {
			t.Errorf("%s: %d read and %d written, want %d and %d", what, r.Nums[4], r.Nums[5], read, written)
		}
	}
	check("the client, which goes on", client, 0, 70, 1000)
	check("the server, which has read a part", server, 0, 400, 70)
	a.do("read to the end")
	check("the client, which has ended its direction", client, 0, 70, 1000)
	check("the server, which has read all", server, 0, 1000, 70)
	a.do("close")
	check("the client, which is closed", client, 1, 70, 1000)
	check("the server, which is closed", server, 1, 1000, 70)
	for side, in := range map[string]func(*record.Record) bool{"client": client, "server": server} {
		r := s.wait(t, side, a.mine(record.KindFlow, func(r *record.Record) bool { return in(r) && r.Nums[0] == 1 }))
		if inbound := r.Flags&record.FlagInbound != 0; inbound != (side == "server") {
			t.Errorf("the %s's flow has the flags %b", side, r.Flags)
		}
		if r.Net.BytesIn != r.Nums[4] || r.Net.BytesOut != r.Nums[5] {
			t.Errorf("the %s's flow %+v", side, r.Net)
		}
	}
}

// A connection that was there before the sensor is given to who has it.
func TestFlowsThatWereThere(t *testing.T) {
	a := startActor(t)
	said := a.do("begin")
	_, s := start(t, Options{FlowInterval: 40 * time.Millisecond}, kernel.Interest{Flows: true})
	for side, is := range map[string]func(*record.Record) bool{
		"client": func(r *record.Record) bool { return r.Net.Local == said.Local },
		"server": func(r *record.Record) bool { return r.Net.Remote == said.Local },
	} {
		r := s.wait(t, side, a.mine(record.KindFlow, is))
		if r.Flags&record.FlagSeeded == 0 || r.Flags&record.FlagInbound != 0 != (side == "server") {
			t.Errorf("the %s's flow has the flags %b", side, r.Flags)
		}
	}
}

const scattered = 30000 // addresses, more than flows are remembered

// scatter sends a datagram to each of many addresses.
func scatter() (actorSaid, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return actorSaid{}, err
	}
	defer unix.Close(fd)
	for i := range scattered {
		to := &unix.SockaddrInet4{Port: 9, Addr: [4]byte{127, 1, byte(i >> 8), byte(i)}}
		if err := unix.Sendto(fd, []byte("x"), 0, to); err != nil && err != unix.ECONNREFUSED {
			return actorSaid{}, err
		}
	}
	return actorSaid{}, nil
}

// What does not fit into the tables is counted, and a flow that lasts is told of though its socket goes on.
func TestForgottenFlows(t *testing.T) {
	l, s := startOwn(t, Options{FlowInterval: 50 * time.Millisecond}, kernel.Interest{Flows: true}, false)
	a := startActor(t)
	a.do("scatter")
	s.wait(t, "a datagram's flow", a.mine(record.KindFlow, func(r *record.Record) bool {
		return r.Nums[0] == 0 && r.Net.PacketsOut == 1 && r.Net.Protocol == unix.IPPROTO_UDP
	}))
	s.wait(t, "what was lost", func(r *record.Record) bool { return r.Kind == record.KindLost && r.Nums[1] == uint64(record.KindFlow) })
	size := uint64(l.maps["udp_flows"].MaxEntries())
	if n := l.forgotten.Load(); n < scattered-size {
		t.Errorf("%d flows forgotten, %d did not fit", n, scattered-size)
	}
}
