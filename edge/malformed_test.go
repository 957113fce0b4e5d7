package edge

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/internal/httpframe"
	"github.com/testudo-sec/testudo/internal/httpframe/httpframetest"
	"github.com/testudo-sec/testudo/signal"
)

// raw sends bytes and returns everything that comes back until the connection ends.
func raw(t *testing.T, addr string, pieces ...string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		if strings.Contains(err.Error(), "reset") {
			return ""
		}
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second)) // ends a broken test
	for i, p := range pieces {
		if i > 0 {
			time.Sleep(20 * time.Millisecond)
		}
		if _, err := io.WriteString(c, p); err != nil {
			break // refused already
		}
	}
	out, err := io.ReadAll(c)
	if err != nil && !strings.Contains(err.Error(), "reset") {
		t.Fatalf("the connection stays open after %.200q: %v", pieces[0], err)
	}
	return string(out)
}

// malformedCases are those of the framer and those that others refuse.
func malformedCases() []httpframetest.Case {
	const h = "Host: shop\r\n"
	long := strings.Repeat("a", 1000)
	return append(httpframetest.Refused(), []httpframetest.Case{
		{Name: "no host", Raw: "GET / HTTP/1.1\r\nX-A: b\r\n\r\n", Reason: reasonHTTP},
		{Name: "not HTTP", Raw: "\x16\x03\x01\x02\x01\r\n\r\n", Reason: reasonHTTP},
		{Name: "HTTP/3.7", Raw: "GET / HTTP/3.7\r\n" + h + "\r\n", Reason: reasonHTTP},
		{Name: "header bomb", Raw: "GET / HTTP/1.1\r\n" + h + strings.Repeat("X-A: "+long+"\r\n", 80) + "\r\n", Reason: httpframe.HeaderBytes},
		{Name: "one long line", Raw: "GET / HTTP/1.1\r\n" + h + "X-A: " + strings.Repeat(long, 200), Reason: httpframe.HeaderBytes},
		{Name: "many fields", Raw: "GET / HTTP/1.1\r\n" + h + strings.Repeat("A: b\r\n", 200) + "\r\n", Reason: httpframe.HeaderCount},
		{Name: "long target", Raw: "GET /" + strings.Repeat(long, 17) + " HTTP/1.1\r\n" + h + "\r\n", Reason: reasonURILength},
		{Name: "connect", Raw: "CONNECT shop:80 HTTP/1.1\r\n" + h + "\r\n", Reason: reasonMethod},
		{Name: "http/2 preface", Raw: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Reason: reasonMethod},
		{Name: "large body declared", Raw: "POST / HTTP/1.1\r\n" + h + "Content-Length: 99999\r\n\r\n", Reason: reasonBodySize},
		{Name: "large body in chunks", Raw: "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("3e8\r\n"+long+"\r\n", 12), Reason: reasonBodySize},
	}...)
}

// TestMalformed sends every case in one piece, split at every few bytes, and behind
// a good request on the same connection. No part of it may reach the upstream as a request of
// its own, the client gets an error and a closed connection, and it is counted and recorded.
func TestMalformed(t *testing.T) {
	for _, c := range malformedCases() {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			var reached atomic.Int64
			up := backend(t, func(w http.ResponseWriter, r *http.Request) {
				if _, err := io.Copy(io.Discard, r.Body); err == nil && r.URL.Path != "/good" {
					reached.Add(1)
				}
			})
			ed := start(t, []string{up}, func(s *setup) {
				s.route.MaxBody = 10_000
				s.deps.Now = func() func() time.Time { // a second for each look at the clock: the throttle lets every record pass
					var n atomic.Int64
					return func() time.Time { return time.Unix(1_700_000_000+n.Add(1), 0) }
				}()
			})
			var split []string
			for rest := c.Raw; rest != ""; {
				n := min(len(rest), 1+len(c.Raw)/7)
				split, rest = append(split, rest[:n]), rest[n:]
			}
			for way, pieces := range [][]string{{c.Raw}, split, {"GET /good HTTP/1.1\r\nHost: shop\r\n\r\n" + c.Raw}} {
				got := raw(t, ed.addr, pieces...)
				if way == 2 {
					continue // the good request is answered, or given up with its connection
				}
				if !strings.HasPrefix(got, "HTTP/1.1 4") && !strings.HasPrefix(got, "HTTP/1.1 501 ") && !strings.HasPrefix(got, "HTTP/1.1 505 ") {
					t.Errorf("way %d: got %q", way, first(got))
				}
			}
			if n := reached.Load(); n != 0 {
				t.Errorf("%d requests reached the upstream whole", n)
			}
			if n := ed.Status().Rejected[c.Reason]; n != 3 {
				t.Errorf("counted %d times as %s, want 3: %v", n, c.Reason, ed.Status().Rejected)
			}
			ed.sink.wait(t, c.Reason, func(e *signal.Event) bool {
				return strings.HasSuffix(e.Str(signal.FieldStatusDetail), ": "+c.Reason) || e.Str(signal.FieldEdgeError) == "malformed: "+c.Reason
			})
		})
	}
}

func first(s string) string {
	line, _, _ := strings.Cut(s, "\r\n")
	return line
}

// TestWellFormed sends what looks odd and is allowed.
func TestWellFormed(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s", r.Host, r.RequestURI, b)
	})
	ed := start(t, []string{up})
	for _, c := range []struct{ raw, want string }{
		{"GET http://Shop/x HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n", "Shop /x "},
		{"GET / HTTP/1.0\r\nHost: shop\r\n\r\n", "shop / "},
		{"POST / HTTP/1.1\r\nHost: [::1]:80\r\nConnection: close\r\nTransfer-Encoding: Chunked\r\n\r\n3;a=b\r\nabc\r\n002\r\nde\r\n0\r\nX-T: 1\r\n\r\n", "[::1]:80 / abcde"},
		{"OPTIONS * HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n", "Connection: close\r\n\r\n"},
		{"GET //a//b?? HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n", "shop //a//b?? "},
		{"GET /a?x=1;y=2#z HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n", "shop /a?x=1;y=2#z "},
		{"GET /%zz HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n", "400 Bad Request"},
		{"POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 3\r\n\r\nabcPOST /b HTTP/1.1\r\nHost: shop\r\nContent-Length: 2\r\nConnection: close\r\n\r\nde", "shop /b de"},
	} {
		if got := raw(t, ed.addr, c.raw); !strings.HasSuffix(strings.TrimSuffix(got, "\r\n0\r\n\r\n"), c.want) {
			t.Errorf("%q\ngot  %q\nwant %q", c.raw, got, c.want)
		}
	}
}

func TestSlowHeader(t *testing.T) {
	up := backend(t, echo)
	ed := start(t, []string{up}, func(s *setup) { s.cfg.Limits.HeaderTimeout = 50 * time.Millisecond })
	raw(t, ed.addr, "GET / HTTP/1.1\r\nHost: sh")
	ed.sink.wait(t, "slow header", hasDetail("not judged: slow-header"))
	if ed.Status().Rejected[reasonSlowHeader] != 1 {
		t.Errorf("counted %v", ed.Status().Rejected)
	}
}

func TestSlowBody(t *testing.T) {
	up := backend(t, echo)
	ed := start(t, []string{up}, func(s *setup) { s.cfg.Limits.StallTimeout = 60 * time.Millisecond })
	got := raw(t, ed.addr, "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 100\r\n\r\nabc")
	if !strings.HasPrefix(got, "HTTP/1.1 408 ") {
		t.Errorf("got %q", first(got))
	}
	ed.sink.wait(t, "slow body", hasError("malformed: slow-body"))
	// Below the rate, though never stalled.
	c, err := net.Dial("tcp", ed.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 100\r\n\r\n")
	status := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(c).ReadString('\n')
		status <- line
	}()
	for {
		select {
		case line := <-status:
			if !strings.HasPrefix(line, "HTTP/1.1 408 ") {
				t.Errorf("got %q", line)
			}
			return
		case <-time.After(15 * time.Millisecond):
			io.WriteString(c, "x")
		}
	}
}

func TestConnectionLimits(t *testing.T) {
	up := backend(t, echo)
	ed := start(t, []string{up}, func(s *setup) { s.cfg.Limits.Connections = 2 })
	for range 2 {
		c, err := net.Dial("tcp", ed.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
		if _, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil {
			t.Fatal(err)
		}
	}
	if got := raw(t, ed.addr, "GET / HTTP/1.1\r\nHost: shop\r\n\r\n"); got != "" {
		t.Errorf("a third connection was served: %q", first(got))
	}
	if s := ed.Status(); s.Rejected[reasonConnections] != 1 || s.Connections != 2 {
		t.Errorf("status %+v", s)
	}
}
