package api

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/edge"
	"github.com/testudo-sec/testudo/signal"
)

func writeFile(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// judge decides as the built-in rules do, and keeps events in their recorded form.
type judge struct {
	allow func(*signal.Event) bool // an exception

	mu     sync.Mutex
	events []*signal.Event
}

func (j *judge) Event(_ context.Context, e *signal.Event) (signal.Verdict, error) {
	j.mu.Lock()
	j.events = append(j.events, e.Recorded())
	j.mu.Unlock()
	switch {
	case e.Str(signal.FieldEdgeMode) != string(edge.ModeBlock), j.allow != nil && j.allow(e):
	case e.Bool(signal.FieldAPIBlock), e.Int(signal.FieldWAFScore) >= 5:
		return signal.Verdict{Decision: signal.Deny}, nil
	}
	return signal.Verdict{}, nil
}

// wait returns the first event that fits.
func (j *judge) wait(t testing.TB, what string, fits func(*signal.Event) bool) *signal.Event {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		j.mu.Lock()
		all := j.events
		j.mu.Unlock()
		for _, e := range all {
			if fits(e) {
				return e
			}
		}
	}
	t.Fatalf("no event: %s", what)
	return nil
}

// all is every event that was recorded, as text.
func (j *judge) all() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var b []byte
	for _, e := range j.events {
		b = append(e.AppendJSON(b), '\n')
	}
	return string(b)
}

// stage is the rig's guard in an edge before a server.
type stage struct {
	sink      *judge
	url, addr string
	client    *http.Client
}

type stageOptions struct {
	cfg   edge.Config
	route edge.Route
	deps  edge.Deps
	sink  *judge
	h2    bool // the upstream speaks HTTP/2
}

// serve runs an edge with the guard until the test ends.
func (r *rig) serve(t testing.TB, backend http.HandlerFunc, change ...func(*stageOptions)) *stage {
	t.Helper()
	o := &stageOptions{cfg: edge.Default(), route: edge.DefaultRoute(), sink: &judge{}}
	o.cfg.Listen = []edge.Listener{{Address: "127.0.0.1:0"}}
	o.cfg.H2C = true
	o.route.Name, o.route.WAF, o.route.Mode = "shop", false, edge.ModeBlock
	o.deps = edge.Deps{Sink: o.sink, Guard: r.g}
	for _, f := range change {
		f(o)
	}
	server := httptest.NewUnstartedServer(backend)
	if server.EnableHTTP2 = o.h2; o.h2 {
		server.StartTLS()
		path := t.TempDir() + "/ca.pem"
		writeFile(t, path, pemOf(server.Certificate().Raw))
		o.route.Upstreams = []edge.Upstream{{URL: server.URL, Weight: 1, CA: path}}
	} else {
		server.Start()
		o.route.Upstreams = []edge.Upstream{{URL: server.URL, Weight: 1}}
	}
	o.cfg.Routes = append(o.cfg.Routes, o.route)
	ed, err := edge.New(o.cfg, o.deps)
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
	tr := &http.Transport{DisableCompression: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		server.CloseClientConnections()
		server.Close()
	})
	addr := ed.Addrs()[0].String()
	return &stage{sink: o.sink, addr: addr, url: "http://" + addr, client: &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// do sends a request and reads the answer; where that breaks off the body ends with "<cut>".
func (s *stage) do(t testing.TB, method, target, header, body string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, s.url+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = headers(header)
	return s.send(t, s.client, req)
}

func (s *stage) send(t testing.TB, c *http.Client, req *http.Request) (*http.Response, string) {
	t.Helper()
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		b = append(b, "<cut>"...)
	}
	return resp, string(b)
}

// http2 is a client that speaks HTTP/2 without TLS.
func http2(t testing.TB) *http.Client {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: &protocols, DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// raw sends text as it is and returns all that comes until the connection ends.
func (s *stage) raw(t testing.TB, text string) string {
	t.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go io.WriteString(c, text)
	b, _ := io.ReadAll(bufio.NewReader(c))
	return string(b)
}

func pemOf(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
