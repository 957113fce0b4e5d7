package edge

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/netip"
	"net/textproto"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/internal/httpframe"
	"github.com/testudo-sec/testudo/signal"
)

func TestUpstreamTrouble(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	hang := backend(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-release:
		}
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() { // answers nonsense
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			bufio.NewReader(c).ReadString('\n')
			io.WriteString(c, "nonsense\r\n\r\n")
			c.Close()
		}
	}()
	for _, c := range []struct {
		name, upstream, failure string
		status                  int
		attempts                int64
	}{
		{"refused", "http://127.0.0.1:1", "upstream-refused", 502, 2},
		{"hanging", hang, "upstream-timeout", 504, 1},
		{"nonsense", "http://" + ln.Addr().String(), "upstream-broken", 502, 2},
		{"not TLS", "https://" + strings.TrimPrefix(hang, "http://"), "upstream-tls", 502, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			ed := start(t, []string{c.upstream}, func(s *setup) { s.route.Timeouts.Response = 50 * time.Millisecond })
			resp, body := get(t, client1(t), ed.url+"/x")
			if resp.StatusCode != c.status || !strings.Contains(body, resp.Header.Get("X-Request-Id")) || strings.Contains(body, "127.0.0.1") {
				t.Errorf("got %d %q", resp.StatusCode, body)
			}
			req := ed.sink.wait(t, "request", isRequest)
			e := ed.sink.wait(t, "response", isFinal)
			if e.Parent != req.ID || e.Str(signal.FieldEdgeError) != c.failure || e.Int(signal.FieldHTTPResponseCode) != int64(c.status) || e.Int(signal.FieldEdgeAttempts) != c.attempts {
				t.Errorf("event %s", e.AppendJSON(nil))
			}
			if s := ed.Status().Routes[0].Upstreams[0]; s.Reason != c.failure || s.InFlight != 0 {
				t.Errorf("status %+v", s)
			}
		})
	}
}

func TestRetry(t *testing.T) {
	var hits atomic.Int64
	cut := backend(t, func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		io.Copy(io.Discard, r.Body)
		c, _, _ := w.(http.Hijacker).Hijack()
		c.Close()
	})
	good := backend(t, echo)
	for _, c := range []struct {
		name, method, body string
		upstreams          []string
		retries, status    int
	}{
		{"get goes to the other", "GET", "", []string{cut, good}, 1, 200},
		{"post is not repeated", "POST", "x", []string{cut}, 3, 502},
		{"post without a body is not repeated", "POST", "", []string{cut}, 3, 502},
		{"put with a body is not repeated", "PUT", "x", []string{cut}, 3, 502},
		{"post finds the one that accepts", "POST", "x", []string{"http://127.0.0.1:1", good}, 1, 200},
		{"no retries", "GET", "", []string{"http://127.0.0.1:1"}, 0, 502},
	} {
		t.Run(c.name, func(t *testing.T) {
			ed := start(t, c.upstreams, func(s *setup) { s.route.Retries = c.retries })
			for range len(c.upstreams) {
				hits.Store(0)
				var body io.Reader
				if c.body != "" {
					body = strings.NewReader(c.body)
				}
				req, _ := http.NewRequest(c.method, ed.url, body)
				resp, _ := do(t, client1(t), req)
				if resp.StatusCode != c.status {
					t.Errorf("status %d, want %d", resp.StatusCode, c.status)
				}
				// net/http repeats an idempotent request by itself only where a used connection was closed.
				if n := hits.Load(); c.status == 502 && c.retries > 0 && n != 1 {
					t.Errorf("the upstream was asked %d times", n)
				}
			}
		})
	}
}

func TestHealth(t *testing.T) {
	var well atomic.Bool
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health" && !well.Load() {
			w.WriteHeader(500)
		}
	})
	ed := start(t, []string{up}, func(s *setup) {
		h := &s.route.HealthCheck
		h.Path, h.Interval, h.Timeout, h.Healthy, h.Unhealthy = "/health", 10*time.Millisecond, time.Second, 2, 2
	})
	settle := func(want bool) {
		t.Helper()
		for range 1000 {
			if ed.Status().Routes[0].Upstreams[0].Healthy == want {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
		t.Fatalf("healthy never became %v", want)
	}
	settle(false)
	if resp, _ := get(t, client1(t), ed.url); resp.StatusCode != 503 {
		t.Errorf("all upstreams down: %d", resp.StatusCode)
	}
	ed.sink.wait(t, "no upstream", hasError("no-upstream"))
	well.Store(true)
	settle(true)
	if resp, _ := get(t, client1(t), ed.url); resp.StatusCode != 200 {
		t.Errorf("well again: %d", resp.StatusCode)
	}
}

// TestStreams sends one piece at a time in both directions, each only after the one before has
// arrived: were anything buffered, nothing would move.
func TestStreams(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		w.Header().Set("Content-Type", r.URL.Query().Get("type"))
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		br := bufio.NewReader(r.Body)
		for {
			line, err := br.ReadString('\n')
			if err != nil {
				return
			}
			io.WriteString(w, "got "+line)
			w.(http.Flusher).Flush()
		}
	})
	for _, mode := range []Mode{ModeOff, ModeBlock, ModeDetect} {
		for _, media := range []string{"text/plain", "text/event-stream"} {
			ed := start(t, []string{up}, func(s *setup) { s.route.Mode = mode; s.deps.Inspector = &fakeInspector{} })
			pr, pw := io.Pipe()
			req, _ := http.NewRequest("POST", ed.url+"/?type="+media, pr)
			resp, err := client1(t).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			br := bufio.NewReader(resp.Body)
			for i := range 3 {
				fmt.Fprintf(pw, "piece %d\n", i)
				if line, err := br.ReadString('\n'); line != fmt.Sprintf("got piece %d\n", i) {
					t.Fatalf("mode %s: %q, %v", mode, line, err)
				}
			}
			final := 0
			for _, e := range ed.sink.all() {
				if isFinal(e) {
					final++
				}
			}
			head := len(ed.sink.all()) - final - 1
			if want := 1; (mode == ModeBlock || media == "text/event-stream") && head != want || final != 0 {
				t.Errorf("mode %s, %s: %d events at the head, %d final before the end", mode, media, head, final)
			}
			pw.Close()
			if _, err := io.ReadAll(br); err != nil {
				t.Error(err)
			}
			resp.Body.Close()
			e := ed.sink.wait(t, "final", isFinal)
			if e.Int(signal.FieldTrafficBytesIn) != 24 || e.Int(signal.FieldTrafficBytesOut) != 36 {
				t.Errorf("sizes: %s", e.AppendJSON(nil))
			}
			ed.stop()
		}
	}
}

// TestClientGone checks that the upstream learns that nobody waits any more.
func TestClientGone(t *testing.T) {
	arrived, gone := make(chan struct{}), make(chan struct{})
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
		close(gone)
	})
	ed := start(t, []string{up})
	ctx, cancel := context.WithCancel(context.Background())
	req, _ := http.NewRequestWithContext(ctx, "GET", ed.url, nil)
	go func() { <-arrived; cancel() }()
	if resp, err := client1(t).Do(req); err == nil {
		resp.Body.Close()
		t.Error("got a response")
	}
	<-gone
	e := ed.sink.wait(t, "client-gone", hasError("client-gone"))
	if e.Has(signal.FieldHTTPResponseCode) {
		t.Errorf("a status nobody got is recorded: %s", e.AppendJSON(nil))
	}
	if s := ed.Status().Routes[0].Upstreams[0]; !s.Healthy || s.Reason != "" {
		t.Errorf("the upstream is blamed: %+v", s)
	}
}

func TestCutResponse(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "half")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	ed := start(t, []string{up})
	resp, err := client1(t).Get(ed.url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("a part passed for the whole: %q", b)
	}
	e := ed.sink.wait(t, "cut", hasError("upstream-cut"))
	if e.Int(signal.FieldTrafficBytesOut) != 4 {
		t.Errorf("event %s", e.AppendJSON(nil))
	}
}

func TestIdleResponse(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "half")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	ed := start(t, []string{up}, func(s *setup) { s.route.Timeouts.Idle = 60 * time.Millisecond })
	resp, err := client1(t).Get(ed.url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("an idle stream never ended")
	}
	ed.sink.wait(t, "idle", hasError("upstream-idle"))
}

func TestSpecialResponses(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/hints":
			w.Header().Set("Link", "</a.css>; rel=preload")
			w.WriteHeader(103)
			w.Header().Del("Link")
			io.WriteString(w, "late")
		case "/none":
			w.WriteHeader(204)
		case "/same":
			w.Header().Set("Etag", `"x"`)
			w.WriteHeader(304)
		case "/trailers":
			w.Header().Set("Trailer", "X-Sum")
			io.WriteString(w, "body")
			w.Header().Set("X-Sum", "42")
			w.Header().Set(http.TrailerPrefix+"X-Late", "43")
		case "/request-trailers":
			io.Copy(io.Discard, r.Body)
			io.WriteString(w, r.Trailer.Get("X-Sum"))
		case "/large":
			w.Header().Set("X-Large", strings.Repeat("a", 50_000))
			io.WriteString(w, "ok")
		default:
			w.Header().Set("Content-Length", "7")
			if r.Method != "HEAD" {
				io.WriteString(w, "content")
			}
		}
	})
	ed := start(t, []string{up})
	c := client1(t)
	var hints []string
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		hints = append(hints, fmt.Sprint(code, " ", h.Get("Link")))
		return nil
	}})
	req, _ := http.NewRequestWithContext(ctx, "GET", ed.url+"/hints", nil)
	if resp, body := do(t, c, req); resp.StatusCode != 200 || body != "late" || resp.Header.Get("Link") != "" || len(hints) != 1 || hints[0] != "103 </a.css>; rel=preload" {
		t.Errorf("early hints: %d %q %v %v", resp.StatusCode, body, resp.Header, hints)
	}
	if resp, body := get(t, c, ed.url+"/none"); resp.StatusCode != 204 || body != "" {
		t.Errorf("204: %d %q", resp.StatusCode, body)
	}
	if resp, body := get(t, c, ed.url+"/same"); resp.StatusCode != 304 || body != "" || resp.Header.Get("Etag") != `"x"` {
		t.Errorf("304: %d %q", resp.StatusCode, body)
	}
	if resp, body := get(t, c, ed.url+"/trailers"); body != "body" || resp.Trailer.Get("X-Sum") != "42" || resp.Trailer.Get("X-Late") != "43" {
		t.Errorf("trailers: %q %v", body, resp.Trailer)
	}
	req, _ = http.NewRequest("POST", ed.url+"/request-trailers", io.NopCloser(strings.NewReader("x")))
	req.Trailer = http.Header{"X-Sum": {"44"}}
	if _, body := do(t, c, req); body != "44" {
		t.Errorf("request trailer: %q", body)
	}
	if resp, _ := get(t, c, ed.url+"/large"); len(resp.Header.Get("X-Large")) != 50_000 {
		t.Error("a large header field is lost")
	}
	req, _ = http.NewRequest("HEAD", ed.url+"/", nil)
	if resp, body := do(t, c, req); resp.ContentLength != 7 || body != "" {
		t.Errorf("HEAD: %d %q", resp.ContentLength, body)
	}
	req, _ = http.NewRequest("POST", ed.url+"/request-trailers", strings.NewReader("x"))
	req.Header.Set("Expect", "100-continue")
	if resp, _ := do(t, c, req); resp.StatusCode != 200 {
		t.Errorf("100-continue: %d", resp.StatusCode)
	}
	for _, e := range ed.sink.all() {
		if e.Str(signal.FieldEdgeError) != "" {
			t.Errorf("error: %s", e.AppendJSON(nil))
		}
	}
}

// upgrader speaks a protocol of its own after a WebSocket handshake: it repeats what it gets.
func upgrader(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "websocket" || r.Header.Get("Connection") != "Upgrade" {
		http.Error(w, "no upgrade", http.StatusUpgradeRequired)
		return
	}
	c, rw, _ := w.(http.Hijacker).Hijack()
	defer c.Close()
	io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-Websocket-Accept: x\r\n\r\n")
	io.Copy(c, rw)
}

func dialUpgrade(t *testing.T, addr, early string) (net.Conn, *bufio.Reader, *http.Response) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	io.WriteString(c, "GET /ws HTTP/1.1\r\nHost: shop\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n"+early)
	br := bufio.NewReader(c)
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c, br, resp
}

func TestWebSocket(t *testing.T) {
	up := backend(t, upgrader)
	ed := start(t, []string{up})
	c, br, resp := dialUpgrade(t, ed.addr, "early\n\x00\n")
	if resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "websocket" || resp.Header.Get("X-Request-Id") == "" {
		t.Fatalf("%d %v", resp.StatusCode, resp.Header)
	}
	for _, line := range []string{"early\n", "\x00\n"} {
		if got, _ := br.ReadString('\n'); got != line {
			t.Errorf("got %q, want %q", got, line)
		}
	}
	for i := range 3 {
		line := fmt.Sprintf("GET / HTTP/1.1 %d\n", i)
		io.WriteString(c, line)
		if got, _ := br.ReadString('\n'); got != line {
			t.Errorf("got %q, want %q", got, line)
		}
	}
	ed.sink.wait(t, "head", func(e *signal.Event) bool { return e.Int(signal.FieldHTTPResponseCode) == 101 && !isFinal(e) })
	c.Close()
	e := ed.sink.wait(t, "end", isFinal)
	if e.Int(signal.FieldTrafficBytesIn) != 59 || e.Int(signal.FieldTrafficBytesOut) != 59 {
		t.Errorf("sizes: %s", e.AppendJSON(nil))
	}
	// Refused where the route does not want it, or the protocol is another one.
	for _, c := range []struct {
		protocol string
		allowed  bool
	}{{"websocket", false}, {"h2c", true}} {
		ed := start(t, []string{up}, func(s *setup) { s.route.WebSocket = c.allowed })
		got := raw(t, ed.addr, "GET / HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: "+c.protocol+"\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: shop\r\n\r\n")
		if !strings.HasPrefix(got, "HTTP/1.1 403 ") || strings.Count(got, "HTTP/1.1 ") != 1 {
			t.Errorf("upgrade to %s: %q", c.protocol, got)
		}
		ed.sink.wait(t, "refused", hasError("upgrade-refused"))
	}
	// An upstream that does not agree: its answer passes, and the connection ends.
	plain := backend(t, echo)
	ed = start(t, []string{plain})
	got := raw(t, ed.addr, "GET / HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: shop\r\n\r\n")
	if !strings.HasPrefix(got, "HTTP/1.1 200 ") || strings.Count(got, "HTTP/1.1 ") != 1 {
		t.Errorf("no agreement: %q", got)
	}
}

// TestDrain checks that a request in flight ends well, a tunnel is closed, and Run returns.
func TestDrain(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ws" {
			upgrader(w, r)
			return
		}
		close(arrived)
		<-release
		io.WriteString(w, "done")
	})
	ed := start(t, []string{up})
	_, br, _ := dialUpgrade(t, ed.addr, "")
	var wg sync.WaitGroup
	wg.Go(func() {
		if resp, body := get(t, client1(t), ed.url); resp.StatusCode != 200 || body != "done" {
			t.Errorf("in flight: %d %q", resp.StatusCode, body)
		}
	})
	<-arrived
	wg.Go(ed.stop)
	if _, err := br.ReadByte(); err == nil {
		t.Error("the tunnel goes on")
	}
	for { // until no new connection is taken
		c, err := net.Dial("tcp", ed.addr)
		if err != nil {
			break
		}
		c.Close()
		time.Sleep(time.Millisecond)
	}
	close(release)
	wg.Wait()
}

func TestDrainBounded(t *testing.T) {
	arrived := make(chan struct{})
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	})
	ed := start(t, []string{up}, func(s *setup) { s.cfg.Drain = 20 * time.Millisecond })
	go func() { <-arrived; ed.stop() }()
	if resp, err := client1(t).Get(ed.url); err == nil {
		resp.Body.Close()
		t.Errorf("got %d", resp.StatusCode)
	}
	ed.stop()
}

func TestTLSAndHTTP2(t *testing.T) {
	up := backend(t, echo)
	ed := start(t, []string{up}, func(s *setup) { s.cfg.Listen[0].TLS = true })
	for _, c := range []struct{ version, alpn string }{{"2", "h2"}, {"1.1", "http/1.1"}} {
		tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", NextProtos: []string{c.alpn}}, ForceAttemptHTTP2: c.alpn == "h2"}
		resp, body := get(t, &http.Client{Transport: tr}, ed.url+"/?v="+c.version)
		tr.CloseIdleConnections()
		if resp.StatusCode != 200 || body != "hello" || resp.Proto != "HTTP/"+map[string]string{"2": "2.0", "1.1": "1.1"}[c.version] {
			t.Errorf("%s: %d %q %s", c.version, resp.StatusCode, body, resp.Proto)
		}
		e := ed.sink.wait(t, c.version, func(e *signal.Event) bool {
			return isRequest(e) && e.Str(signal.FieldHTTPRequestVersion) == c.version
		})
		if e.Str(signal.FieldTLSVersion) != "1.3" || e.Str(signal.FieldTLSSNI) != "localhost" || e.Str(signal.FieldTLSALPN) != c.alpn || e.Str(signal.FieldHTTPRequestURLScheme) != "https" || e.Str(signal.FieldTLSCipher) == "" {
			t.Errorf("event %s", e.AppendJSON(nil))
		}
	}
	if _, err := tls.Dial("tcp", ed.addr, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
	if got := raw(t, ed.addr, "GET / HTTP/1.1\r\n\r\n"); strings.HasPrefix(got, "HTTP/1.1 2") {
		t.Errorf("plain HTTP on the TLS port: %q", got)
	}
	if ed.Status().Rejected[reasonTLS] != 2 {
		t.Errorf("rejected %v", ed.Status().Rejected)
	}
}

func TestHTTPSUpstream(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) }))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	ed := start(t, []string{s.URL})
	if resp, _ := get(t, client1(t), ed.url); resp.StatusCode != 502 {
		t.Errorf("an unknown authority is accepted: %d", resp.StatusCode)
	}
	ca := t.TempDir() + "/ca.pem"
	writePEM(t, ca, "CERTIFICATE", s.Certificate().Raw)
	ed = start(t, nil, func(c *setup) {
		c.route.Upstreams = []Upstream{{URL: s.URL, CA: ca}}
	})
	if resp, body := get(t, client1(t), ed.url); resp.StatusCode != 200 || body != "HTTP/2.0" {
		t.Errorf("got %d %q", resp.StatusCode, body)
	}
}

func TestRapidReset(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ed := start(t, []string{up}, func(s *setup) { s.cfg.H2C = true; s.cfg.Limits.StreamResets = 20 })
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: &protocols}
	defer tr.CloseIdleConnections()
	c := &http.Client{Transport: tr}
	for range 30 {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
		req, _ := http.NewRequestWithContext(ctx, "GET", ed.url, nil)
		if resp, err := c.Do(req); err == nil {
			resp.Body.Close()
		}
		cancel()
	}
	ed.sink.wait(t, "rapid reset", hasDetail("not judged: "+reasonRapidReset))
	if ed.Status().Rejected[reasonRapidReset] != 1 {
		t.Errorf("rejected %v", ed.Status().Rejected)
	}
}

type blocklist map[netip.Addr]string

func (b blocklist) Lookup(a netip.Addr, _ time.Time) (string, bool) { id, ok := b[a]; return id, ok }

func TestBlocklist(t *testing.T) {
	var reached atomic.Int64
	up := backend(t, func(http.ResponseWriter, *http.Request) { reached.Add(1) })
	now := time.Unix(1_700_000_000, 0)
	insp := &fakeInspector{}
	ed := start(t, []string{up}, func(s *setup) {
		s.deps.Blocklist = blocklist{netip.MustParseAddr("127.0.0.1"): "block-7"}
		s.deps.Now = func() time.Time { return now }
		s.deps.Inspector = insp
		s.route.Mode = ModeDetect
	})
	for range 20 {
		if resp, body := get(t, client1(t), ed.url+"/a?x=1"); resp.StatusCode != 403 || strings.Contains(body, "block") {
			t.Fatalf("got %d %q", resp.StatusCode, body)
		}
	}
	if events := ed.sink.all(); len(events) != 2 || events[0].Str(signal.FieldEdgeError) != "blocklist" || events[0].Str(signal.FieldStatusDetail) != "block-7" || events[0].Int(signal.FieldCount) != 1 {
		t.Errorf("%d events, first %s", len(events), events[0].AppendJSON(nil))
	}
	now = now.Add(time.Second)
	get(t, client1(t), ed.url)
	if events := ed.sink.all(); len(events) != 3 || events[2].Int(signal.FieldCount) != 19 {
		t.Errorf("what was left out is not counted: %s", events[len(events)-1].AppendJSON(nil))
	}
	if reached.Load() != 0 || len(insp.calls) != 0 {
		t.Errorf("reached the upstream %d times, the inspector %d", reached.Load(), len(insp.calls))
	}
}

// TestSlowReader checks that a client that takes nothing does not hold a response forever.
func TestSlowReader(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	})
	ed := start(t, []string{up}, func(s *setup) { s.cfg.Limits.StallTimeout = 60 * time.Millisecond })
	c, err := net.Dial("tcp", ed.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
	ed.sink.wait(t, "given up", func(e *signal.Event) bool { return isFinal(e) && hasError("client-gone")(e) })
}

// TestRefusalNeedsNoBody checks that a refusal is sent while the body it refuses has not come.
func TestRefusalNeedsNoBody(t *testing.T) {
	ed := start(t, []string{backend(t, echo)}, func(s *setup) {
		s.sink.judge = func(*signal.Event) (signal.Verdict, error) { return signal.Verdict{Decision: signal.Deny}, nil }
	})
	for _, head := range []string{"Content-Length: 1000\r\n", "Transfer-Encoding: chunked\r\n"} {
		if got := raw(t, ed.addr, "POST / HTTP/1.1\r\nHost: shop\r\n"+head+"\r\n"); !strings.HasPrefix(got, "HTTP/1.1 403 ") {
			t.Errorf("%q: got %q", head, first(got))
		}
	}
	// Nor where the upstream does not want the body; and what comes in its place later is no request.
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		io.WriteString(w, "early")
	})
	ed = start(t, []string{up}, func(s *setup) { s.cfg.Limits.StallTimeout = 50 * time.Millisecond })
	c, err := net.Dial("tcp", ed.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 1000\r\n\r\n")
	br := bufio.NewReader(c)
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(resp.Body); string(body) != "early" {
		t.Errorf("got %q", body)
	}
	if _, err := br.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection stays: %v", err)
	}
}

// TestHTTP2Forms sends over HTTP/2 what the framer sees to on HTTP/1.
func TestHTTP2Forms(t *testing.T) {
	up := backend(t, echo)
	ed := start(t, []string{up}, func(s *setup) { s.cfg.H2C = true; s.route.MaxBody = 10; s.cfg.Limits.HeaderCount = 20 })
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: &protocols}
	defer tr.CloseIdleConnections()
	c := &http.Client{Transport: tr}
	for _, tt := range []struct {
		name, body string
		declared   bool
		change     func(*http.Request)
		status     int
		reason     string
	}{
		{"good", "small", true, func(*http.Request) {}, 200, ""},
		{"large body", "much too large a body", true, func(*http.Request) {}, 413, reasonBodySize},
		{"large body, not declared", "much too large a body", false, func(*http.Request) {}, 413, reasonBodySize},
		{"many fields", "", true, func(r *http.Request) {
			for i := range 30 {
				r.Header.Set(fmt.Sprintf("X-%d", i), "1")
			}
		}, 431, httpframe.HeaderCount},
		{"host", "", true, func(r *http.Request) { r.Host = "a_b..c" }, 400, httpframe.Host},
		{"long target", "", true, func(r *http.Request) { r.URL.Path = "/" + strings.Repeat("a", 17<<10) }, 414, reasonURILength},
	} {
		before := ed.Status().Rejected[tt.reason]
		var body io.Reader = strings.NewReader(tt.body)
		if !tt.declared {
			body = io.MultiReader(body)
		}
		req, _ := http.NewRequest("POST", ed.url, body)
		tt.change(req)
		resp, _ := do(t, c, req)
		if resp.StatusCode != tt.status || resp.ProtoMajor != 2 {
			t.Errorf("%s: %s %d, want %d", tt.name, resp.Proto, resp.StatusCode, tt.status)
		}
		if got := ed.Status().Rejected[tt.reason]; tt.reason != "" && got != before+1 {
			t.Errorf("%s: counted %d times", tt.name, got-before)
		}
	}
	// Garbage instead of frames ends the connection, and is counted.
	raw(t, ed.addr, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"+"\x00\x00\x00\x01\x04\x00\x00\x00\x01")
	for range 1000 {
		if ed.Status().Rejected[reasonHTTP2] > 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("garbage is not counted: %v", ed.Status().Rejected)
}
