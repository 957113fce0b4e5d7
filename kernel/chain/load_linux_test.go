package chain_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/edge"
	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/bpf"
	"github.com/testudo-sec/testudo/kernel/chain"
	"github.com/testudo-sec/testudo/kernel/record"
	"github.com/testudo-sec/testudo/signal"
)

// label is behind the way of serving that commands name, so that they are known as this test's.
var label = fmt.Sprintf("@%d", os.Getpid())

// score compares what the chain claims with what the commands say of themselves.
type score struct {
	Caused  int // commands that a request caused
	Claimed int // of these, the ones whose request is named
	Right   int // and rightly so
	Noise   int // commands that no request caused
	Wrong   int // of all commands, the ones that are said to be of another request, or of one at all
	Unsure  int // not claimed, but said to be perhaps of one
	Guessed int // of these, the ones where that one is right
}

func (s score) precision() float64 { return ratio(s.Right, s.Right+s.Wrong) }
func (s score) recall() float64    { return ratio(s.Right, s.Caused) }

func ratio(a, b int) float64 {
	if b == 0 {
		return 1
	}
	return float64(a) / float64(b)
}

// watch is a sensor and a table that follow requests.
type watch struct {
	*chain.Table
	loader *bpf.Loader
	served []uint16

	mu    sync.Mutex
	by    map[string]*score // way of serving
	saw   map[string]int    // truth -> commands
	debug func(format string, args ...any)
}

func newWatch(t testing.TB) *watch {
	t.Helper()
	require.Root(t)
	require.HostPIDs(t)
	l := bpf.New(bpf.Options{})
	if err := l.Load(); err != nil {
		require.Part(t, "bpf", false, "eBPF programs cannot be loaded here: "+err.Error())
	}
	w := &watch{Table: chain.New(chain.Deps{}), loader: l, by: map[string]*score{}, saw: map[string]int{}, debug: t.Logf}
	if err := l.Attach(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() {
		if err := l.Run(ctx, w.receive); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		wait.Wait()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// follow has requests to a port followed, too.
func (w *watch) follow(t testing.TB, port uint16) {
	t.Helper()
	w.served = append(w.served, port)
	if err := w.loader.Watch(t.Context(), kernel.Interest{Served: w.served}); err != nil {
		t.Fatal(err)
	}
}

// receive does what the plane does: what is about requests first, as the processors of the machine take no turns.
func (w *watch) receive(batch []byte) {
	var r record.Record
	for pass := range 2 {
		for rest := batch; len(rest) > 0; {
			n, err := record.Decode(rest, &r)
			if err != nil {
				panic(err)
			}
			rest = rest[n:]
			if about := r.Kind == record.KindServe || r.Kind == record.KindSend; about && pass == 0 {
				w.Apply(&r)
			} else if r.Kind == record.KindExec && pass == 1 {
				w.exec(&r)
			}
		}
	}
}

func (w *watch) exec(r *record.Record) {
	args := strings.Split(string(bytes.TrimSuffix(r.Args, []byte{0})), "\x00")
	if len(args) != 5 || args[2] != "exit 0" {
		return
	}
	truth := args[3]
	way, mine := strings.CutSuffix(args[4], label)
	if !mine {
		return // of another test that runs at the same time
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.by[way]
	if s == nil {
		s = &score{}
		w.by[way] = s
	}
	got, ok := w.Request(r.Token)
	unsure := ok && (got.Ambiguous || r.Flags&record.FlagAmbiguous != 0)
	claimed := ok && !unsure
	w.saw[truth]++
	if unsure {
		s.Unsure++
		if got.UID == truth {
			s.Guessed++
		}
	}
	if truth == "background" {
		s.Noise++
	} else {
		s.Caused++
	}
	switch {
	case claimed && got.UID == truth:
		s.Claimed++
		s.Right++
	case claimed:
		s.Claimed++
		s.Wrong++
		w.debug("%s: a command of %s is said to be of %s (token %d)", way, truth, got.UID, r.Token)
	case truth != "background" && way != "epoll":
		w.debug("%s: a command of %s is said to be nobody's: token %d, known %t, unsure %t, flags %b", way, truth, r.Token, ok, unsure, r.Flags)
	}
}

// Forwarded fits the table to the edge.
type follower struct{ *watch }

func (f follower) Forwarded(x edge.Forwarded) {
	f.Table.Forwarded(chain.Forward{UID: x.UID, Event: x.Event, Trace: x.Trace, Span: x.Span, Fresh: x.Fresh, Local: x.Local, Remote: x.Remote,
		Conn: x.Conn, From: x.From, Shared: x.Shared})
}

// allow lets every request through.
type allow struct{}

func (allow) Event(context.Context, *signal.Event) (signal.Verdict, error) {
	return signal.Verdict{}, nil
}

// startEdge runs an edge in front of an upstream and returns its URL.
func (w *watch) startEdge(t testing.TB, upstream string) string {
	t.Helper()
	cfg := edge.Default()
	cfg.Listen = []edge.Listener{{Address: "127.0.0.1:0"}}
	rt := edge.DefaultRoute()
	rt.Name, rt.Upstreams = "app", []edge.Upstream{{URL: "http://" + upstream, Weight: 1}}
	cfg.Routes = []edge.Route{rt}
	ed, err := edge.New(cfg, edge.Deps{Sink: allow{}, Follower: follower{w}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if err := ed.Listen(ctx); err != nil {
		cancel()
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- ed.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return "http://" + ed.Addrs()[0].String()
}

// startServer starts a server of that kind which passes requests on to following, and returns its address.
func startServer(t testing.TB, way, following string) string {
	t.Helper()
	port, _ := launch(t, way, following, nil)
	return fmt.Sprintf("127.0.0.1:%d", port)
}

// launch starts a server of that kind by a command that runs another in its place, and returns its port and process.
func launch(t testing.TB, way, following string, env []string, through ...string) (port uint16, pid int) {
	t.Helper()
	var cmd *exec.Cmd
	if way == "go" || way == "proxy" {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		args := append(append([]string{}, through...), self)
		cmd = exec.Command(args[0], args[1:]...)
		env = append(env, map[bool]string{true: "TESTUDO_CHAIN_SERVER=", false: "TESTUDO_CHAIN_PROXY="}[way == "go"]+following)
	} else {
		python := require.Program(t, "python3", "python3")
		if real, err := exec.Command(python, "-c", "import sys; print(sys.executable)").Output(); err == nil {
			python = strings.TrimSpace(string(real))
		}
		script, err := filepath.Abs("testdata/server.py")
		if err != nil {
			t.Fatal(err)
		}
		args := append(append([]string{}, through...), python, script, way)
		if following != "" {
			args = append(args, following)
		}
		cmd = exec.Command(args[0], args[1:]...)
	}
	cmd.Env = append(append(os.Environ(), "LABEL="+way+label), env...)
	cmd.Stderr = os.Stderr
	group(cmd)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		endGroup(cmd)
		cmd.Wait()
	})
	if _, err := fmt.Fscan(out, &port); err != nil {
		t.Fatalf("%s: %v", way, err)
	}
	return port, cmd.Process.Pid
}

// load sends rate requests a second for a while, one in twenty of which runs commands, over keep-alive connections, and waits until all
// commands were seen: each request runs so many.
func (w *watch) load(t testing.TB, url string, commands int) {
	t.Helper()
	lasts := 1500 * time.Millisecond
	if os.Getenv("TESTUDO_LONG") != "" {
		lasts = time.Minute
	}
	w.send(t, url, commands, int(lasts.Seconds()*rate), 20)
}

const rate = 200 // requests a second

// send sends requests as load does, of which one in every runs commands.
func (w *watch) send(t testing.TB, url string, commands, total, every int) {
	t.Helper()
	const senders = 8
	transport := &http.Transport{MaxIdleConnsPerHost: senders}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var mu sync.Mutex
	ran := map[string]bool{}
	numbers := make(chan int)
	var wait sync.WaitGroup
	for range senders {
		wait.Go(func() {
			for n := range numbers {
				path := "/plain"
				if n%every == 0 {
					path = "/run"
				}
				req, err := http.NewRequest("GET", url+path, nil)
				if err != nil {
					t.Error(err)
					return
				}
				// What a client says of itself must not matter.
				req.Header.Set("X-Request-Id", "forged-by-the-client")
				if n%3 == 0 {
					req.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
				}
				resp, err := client.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					t.Errorf("status %d", resp.StatusCode)
				}
				if path == "/run" {
					mu.Lock()
					ran[resp.Header.Get("X-Request-Id")] = true
					mu.Unlock()
				}
			}
		})
	}
	tick := time.NewTicker(time.Second / rate)
	defer tick.Stop()
	for n := range total {
		<-tick.C
		numbers <- n
	}
	close(numbers)
	wait.Wait()
	for range 200 {
		missing := 0
		w.mu.Lock()
		for id := range ran {
			if w.saw[id] < commands {
				missing++
			}
		}
		w.mu.Unlock()
		if missing == 0 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for id := range ran {
		if w.saw[id] != commands {
			t.Errorf("request %s ran %d commands, %d were seen", id, commands, w.saw[id])
		}
	}
}

// check holds the scores against what is promised.
func (w *watch) check(t testing.TB, recall map[string]float64) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for way, want := range recall {
		s := w.by[way]
		if s == nil || s.Caused == 0 {
			t.Errorf("%s: no command was seen", way)
			continue
		}
		t.Logf("%s: precision %.4f, recall %.4f: %+v", way, s.precision(), s.recall(), *s)
		if s.Wrong > 0 {
			t.Errorf("%s: %d commands are said to be of another request", way, s.Wrong)
		}
		if s.recall() < want {
			t.Errorf("%s: recall %.4f, want %.2f", way, s.recall(), want)
		}
		if s.Noise == 0 {
			t.Errorf("%s: nothing happened that no request caused", way)
		}
	}
	lost, err := w.loader.Lost()
	if err != nil {
		t.Error(err)
	}
	t.Logf("%+v, lost %v", w.Stats(), lost)
}

// TestLoad measures the join for the usual ways to serve, each behind a keep-alive edge.
func TestLoad(t *testing.T) {
	for way, recall := range map[string]float64{"thread": 0.99, "go": 0.99, "pool": 0.99, "prefork": 0.99, "lazy": 0.99, "epoll": 0} {
		t.Run(way, func(t *testing.T) {
			w := newWatch(t)
			addr := startServer(t, way, "")
			w.follow(t, portOf(addr))
			w.load(t, w.startEdge(t, addr), 1)
			w.check(t, map[string]float64{way: recall})
			w.mu.Lock()
			defer w.mu.Unlock()
			if way == "lazy" && w.by[way].Unsure == 0 {
				t.Error("nothing was done by workers that were made for a request")
			}
		})
	}
}

// TestHops measures it over three services, the later ones of which nobody names.
func TestHops(t *testing.T) {
	for _, ways := range [][3]string{{"thread", "pool", "prefork"}, {"go", "go", "pool"}, {"pool", "thread", "go"}} {
		t.Run(strings.Join(ways[:], "-"), func(t *testing.T) {
			w := newWatch(t)
			last := startServer(t, ways[2], "")
			middle := startServer(t, ways[1], last)
			first := startServer(t, ways[0], middle)
			w.follow(t, portOf(first))
			w.load(t, w.startEdge(t, first), 3)
			want := map[string]float64{}
			for _, way := range ways {
				want[way] = 0.99
			}
			w.check(t, want)
		})
	}
}

func portOf(addr string) uint16 {
	var port uint16
	fmt.Sscanf(addr[strings.LastIndexByte(addr, ':')+1:], "%d", &port)
	return port
}

// group gives a command a process group of its own, so that endGroup ends all that it started.
func group(cmd *exec.Cmd) { cmd.SysProcAttr = ownGroup() }
