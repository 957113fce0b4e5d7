package edge

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// followed notes what a follower is told.
type followed struct {
	mu    sync.Mutex
	all   []Forwarded
	ended map[string]int
}

func (f *followed) Forwarded(x Forwarded) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, x)
}

func (f *followed) Ended(uid string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended == nil {
		f.ended = map[string]int{}
	}
	f.ended[uid]++
}

// tapped is a listener that keeps what comes in, by remote address.
type tapped struct {
	net.Listener
	mu sync.Mutex
	in map[string]*bytes.Buffer
}

type tappedConn struct {
	net.Conn
	l *tapped
}

func (l *tapped) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return tappedConn{c, l}, nil
}

func (c tappedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	key := c.RemoteAddr().String()
	if c.l.in[key] == nil {
		c.l.in[key] = &bytes.Buffer{}
	}
	c.l.in[key].Write(p[:n])
	return n, err
}

// TestFollower holds what a follower is told against the bytes that the upstream got.
func TestFollower(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(echo))
	tap := &tapped{Listener: s.Listener, in: map[string]*bytes.Buffer{}}
	s.Listener = tap
	s.Start()
	defer s.Close()
	f := &followed{}
	ed := start(t, []string{s.URL}, func(s *setup) { s.deps.Follower = f })
	c := client1(t)
	const forged = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for i, path := range []string{"/one", "/two", "/three"} {
		req, err := http.NewRequest("POST", ed.url+path, strings.NewReader(strings.Repeat("GET /one HTTP/1.1\r\n", 1000*i)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Request-Id", "0198c0de-0000-7000-8000-000000000000")
		if i == 1 {
			req.Header.Set("Traceparent", forged)
		}
		resp, _ := do(t, c, req)
		ed.sink.wait(t, path, isFinal)
		f.mu.Lock()
		if len(f.all) != i+1 {
			t.Fatalf("%d requests, the follower was told of %d", i+1, len(f.all))
		}
		x := f.all[i]
		f.mu.Unlock()
		if x.UID != resp.Header.Get("X-Request-Id") || x.UID == req.Header.Get("X-Request-Id") || x.UID != x.Event.String() {
			t.Errorf("%s: the follower knows it as %q, the client as %q", path, x.UID, resp.Header.Get("X-Request-Id"))
		}
		if x.Fresh == (i == 1) {
			t.Errorf("%s: fresh %t", path, x.Fresh)
		}
		tap.mu.Lock()
		got := tap.in[x.Local.String()].Bytes()
		tap.mu.Unlock()
		if x.From > uint64(len(got)) || !bytes.HasPrefix(got[x.From:], []byte("POST "+path+" HTTP/1.1\r\n")) {
			t.Errorf("%s: does not begin at byte %d of %d", path, x.From, len(got))
			continue
		}
		head := string(got[x.From:])
		if !strings.Contains(head, "\r\nX-Request-Id: "+x.UID+"\r\n") || !strings.Contains(head, "\r\nTraceparent: 00-"+x.Trace+"-"+x.Span+"-") {
			t.Errorf("%s: the upstream got other identifiers than the follower:\n%.800s", path, head)
		}
		if x.Conn != f.all[0].Conn || x.Shared || x.Remote.String() != s.Listener.Addr().String() {
			t.Errorf("%+v", x)
		}
	}
	ed.stop()
	for _, x := range f.all {
		if f.ended[x.UID] != 1 {
			t.Errorf("%s ended %d times", x.UID, f.ended[x.UID])
		}
	}
}

// TestFollowerShared tells requests that are on one HTTP/2 connection at once from those that follow each other.
func TestFollowerShared(t *testing.T) {
	first, go_ := make(chan struct{}), make(chan struct{})
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/first" {
			close(first)
			<-go_
		}
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	ca := t.TempDir() + "/ca.pem"
	writePEM(t, ca, "CERTIFICATE", s.Certificate().Raw)
	f := &followed{}
	ed := start(t, []string{s.URL}, func(s *setup) {
		s.deps.Follower = f
		s.route.Upstreams[0].CA = ca
	})
	c := client1(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		resp, err := c.Get(ed.url + "/first")
		if err == nil {
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	}()
	<-first
	get(t, c, ed.url+"/second")
	close(go_)
	<-done
	ed.stop()
	if len(f.all) != 2 || f.all[0].Shared || !f.all[1].Shared || f.all[0].Conn != f.all[1].Conn || f.all[1].From <= f.all[0].From {
		t.Errorf("%+v", f.all)
	}
}
