package edge

import (
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/testudo-sec/testudo/internal/traceparent"
	"github.com/testudo-sec/testudo/signal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is a sink that keeps the recorded form of what it gets and answers by a function.
type recorder struct {
	judge func(*signal.Event) (signal.Verdict, error)

	mu     sync.Mutex
	events []*signal.Event
	seen   chan struct{} // gets a token for each event, where somebody listens
}

func (s *recorder) Event(_ context.Context, e *signal.Event) (v signal.Verdict, err error) {
	if s.judge != nil {
		v, err = s.judge(e)
	}
	s.mu.Lock()
	s.events = append(s.events, e.Recorded())
	s.mu.Unlock()
	select {
	case s.seen <- struct{}{}:
	default:
	}
	return v, err
}

func (s *recorder) all() []*signal.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*signal.Event(nil), s.events...)
}

// wait returns the first event that fits. The deadline is only there to end a broken test.
func (s *recorder) wait(t *testing.T, what string, fits func(*signal.Event) bool) *signal.Event {
	t.Helper()
	deadline := time.After(5 * time.Second)
	for {
		for _, e := range s.all() {
			if fits(e) {
				return e
			}
		}
		select {
		case <-s.seen:
		case <-time.After(10 * time.Millisecond):
		case <-deadline:
			for _, e := range s.all() {
				t.Logf("event: %.600s", e.AppendJSON(nil))
			}
			t.Fatalf("no event: %s", what)
		}
	}
}

func isRequest(e *signal.Event) bool {
	return e.Class == signal.ClassHTTPActivity && e.Parent.IsZero() && e.Has(signal.FieldHTTPRequestVersion)
}

func isFinal(e *signal.Event) bool {
	return !e.Parent.IsZero() && e.Has(signal.FieldTrafficBytesOut)
}

func hasError(name string) func(*signal.Event) bool {
	return func(e *signal.Event) bool { return e.Str(signal.FieldEdgeError) == name }
}

func hasDetail(text string) func(*signal.Event) bool {
	return func(e *signal.Event) bool { return e.Str(signal.FieldStatusDetail) == text }
}

// running is an edge that serves on a port of its own.
type running struct {
	*Edge
	sink *recorder
	url  string
	addr string
	reg  *prometheus.Registry
	stop func()
}

type setup struct {
	cfg   Config
	deps  Deps
	sink  *recorder
	route *Route
}

// start runs an edge before the given upstreams, changed by the given functions.
func start(t testing.TB, upstreams []string, change ...func(*setup)) *running {
	t.Helper()
	cfg := Default()
	cfg.Listen = []Listener{{Address: "127.0.0.1:0"}}
	cfg.Drain = 5 * time.Second
	rt := DefaultRoute()
	rt.Name = "app"
	for _, u := range upstreams {
		rt.Upstreams = append(rt.Upstreams, Upstream{URL: u, Weight: 1})
	}
	s := &setup{cfg: cfg, route: &rt, sink: &recorder{seen: make(chan struct{}, 64)}}
	reg := prometheus.NewRegistry()
	s.deps = Deps{Sink: s.sink, Logger: slog.New(slog.DiscardHandler), Registerer: reg}
	for _, f := range change {
		f(s)
	}
	s.cfg.Routes = append(s.cfg.Routes, rt)
	ed, err := New(s.cfg, s.deps)
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
	r := &running{Edge: ed, sink: s.sink, addr: ed.Addrs()[0].String(), reg: reg}
	r.url = "http://" + r.addr
	if s.cfg.Listen[0].TLS {
		r.url = "https://" + r.addr
	}
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(r.stop)
	return r
}

// backend serves h until the test ends.
func backend(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Start()
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.URL
}

func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("X-Seen-Uri", r.RequestURI)
	w.Header().Set("Content-Type", "text/plain")
	w.Write(body)
	io.WriteString(w, "hello")
}

func client1(t testing.TB) *http.Client {
	tr := &http.Transport{DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func get(t *testing.T, c *http.Client, url string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	return do(t, c, req)
}

func do(t *testing.T, c *http.Client, req *http.Request) (*http.Response, string) {
	t.Helper()
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestForward(t *testing.T) {
	seen := make(chan *http.Request, 1)
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Clone(context.Background())
		w.Header().Set("Connection", "X-Secret-Hop")
		w.Header().Set("X-Secret-Hop", "1")
		echo(w, r)
	})
	ed := start(t, []string{up})
	req, _ := http.NewRequest("POST", ed.url+"/a%2Fb/{c}?x=1&y=%20z", strings.NewReader("body "))
	req.URL.Opaque = "/a%2fb/;p=1/{c}?x=1&y=%20z"
	req.URL.RawQuery = ""
	req.Host = "shop.example"
	req.Header.Set("Connection", "keep-alive, X-Gone")
	req.Header.Set("X-Gone", "1")
	req.Header.Set("Proxy-Authorization", "Basic x")
	req.Header.Set("X-Original-Url", "/admin")
	req.Header.Set("Cookie", "a=b")
	resp, body := do(t, client1(t), req)
	if resp.StatusCode != 200 || body != "body hello" {
		t.Fatalf("got %d %q", resp.StatusCode, body)
	}
	if got := resp.Header.Get("X-Seen-Uri"); got != "/a%2fb/;p=1/{c}?x=1&y=%20z" {
		t.Errorf("path as forwarded: %q", got)
	}
	if resp.Header.Get("X-Secret-Hop") != "" {
		t.Error("a field that the upstream's Connection names came through")
	}
	r := <-seen
	for name, want := range map[string]string{"X-Gone": "", "Proxy-Authorization": "", "X-Original-Url": "", "X-Forwarded-For": "127.0.0.1",
		"X-Forwarded-Proto": "http", "X-Forwarded-Host": "shop.example", "X-Real-Ip": "127.0.0.1", "Cookie": "a=b",
		"X-Request-Id": resp.Header.Get("X-Request-Id")} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("upstream got %s %q, want %q", name, got, want)
		}
	}
	if r.Host != "shop.example" || len(resp.Header.Get("X-Request-Id")) != 36 || !traceparent.Valid(r.Header.Get("Traceparent")) {
		t.Errorf("host %q, id %q, trace %q", r.Host, resp.Header.Get("X-Request-Id"), r.Header.Get("Traceparent"))
	}
	first := ed.sink.wait(t, "request", isRequest)
	last := ed.sink.wait(t, "response", isFinal)
	if last.Parent != first.ID || last.Int(signal.FieldHTTPResponseCode) != 200 || last.Int(signal.FieldTrafficBytesOut) != 10 || last.Int(signal.FieldTrafficBytesIn) != 5 {
		t.Errorf("response event: %s", last.AppendJSON(nil))
	}
	if first.Str(signal.FieldHTTPRequestURLPath) != "/a%2fb/;p=*/{c}" || first.Str(signal.FieldHTTPRequestURLQueryString) != "x=*&y=*" ||
		first.Str(signal.FieldHTTPRequestURLHostname) != "shop.example" || first.Str(signal.FieldTraceUID) != r.Header.Get("Traceparent")[3:35] {
		t.Errorf("request event: %s", first.AppendJSON(nil))
	}
}

func TestBusyPort(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	cfg := Default()
	cfg.Listen = []Listener{{Address: "127.0.0.1:0"}, {Address: ln.Addr().String()}}
	rt := DefaultRoute()
	rt.Name, rt.Upstreams = "app", []Upstream{{URL: "http://127.0.0.1:1"}}
	cfg.Routes = []Route{rt}
	ed, err := New(cfg, Deps{Sink: &recorder{}})
	if err != nil {
		t.Fatal(err)
	}
	err = ed.Listen(context.Background())
	if err == nil || !strings.Contains(err.Error(), ln.Addr().String()+" is in use") {
		t.Fatalf("got %v", err)
	}
	if len(ed.Addrs()) != 0 {
		t.Error("an address stayed open")
	}
}

var errJudge = errors.New("no judge")

func runtimeYield() { time.Sleep(time.Millisecond) }

func newTextLog(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }
