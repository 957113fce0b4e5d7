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

func malformedCases() []struct{ name, raw, reason string } {
	const h = "Host: shop\r\n"
	long := strings.Repeat("a", 1000)
	return []struct{ name, raw, reason string }{
		{"both lengths", "POST / HTTP/1.1\r\n" + h + "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX", reasonBothLengths},
		{"both lengths, other order", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nX", reasonBothLengths},
		{"two lengths", "POST / HTTP/1.1\r\n" + h + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", reasonLength},
		{"the same length twice", "POST / HTTP/1.1\r\n" + h + "Content-Length: 1\r\nContent-Length: 1\r\n\r\na", reasonLength},
		{"length list", "POST / HTTP/1.1\r\n" + h + "Content-Length: 1, 1\r\n\r\na", reasonLength},
		{"signed length", "POST / HTTP/1.1\r\n" + h + "Content-Length: +1\r\n\r\na", reasonLength},
		{"hexadecimal length", "POST / HTTP/1.1\r\n" + h + "Content-Length: 0x1\r\n\r\na", reasonLength},
		{"empty length", "POST / HTTP/1.1\r\n" + h + "Content-Length: \r\n\r\n", reasonLength},
		{"huge length", "POST / HTTP/1.1\r\n" + h + "Content-Length: 18446744073709551617\r\n\r\na", reasonLength},
		{"xchunked", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", reasonTransfer},
		{"chunked, identity", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", reasonTransfer},
		{"gzip, chunked", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", reasonTransfer},
		{"vertical tab before chunked", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", reasonTransfer},
		{"chunked twice", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", reasonTransfer},
		{"chunked in HTTP/1.0", "POST / HTTP/1.0\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", reasonTransfer},
		{"space before colon", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", reasonFieldName},
		{"folded line", "GET / HTTP/1.1\r\n" + h + "X-A: b\r\n Transfer-Encoding: chunked\r\n\r\n", reasonObsFold},
		{"folded with tab", "GET / HTTP/1.1\r\n" + h + "X-A: b\r\n\tc\r\n\r\n", reasonObsFold},
		{"folded first field", "GET / HTTP/1.1\r\n X-A: b\r\n" + h + "\r\n", reasonObsFold},
		{"bare line feed", "GET / HTTP/1.1\n" + h + "\r\n", reasonBareLF},
		{"bare line feed in the head", "GET / HTTP/1.1\r\n" + h + "X-A: b\nX-C: d\r\n\r\n", reasonBareLF},
		{"bare line feed at the end", "GET / HTTP/1.1\r\n" + h + "\n", reasonBareLF},
		{"bare carriage return", "GET / HTTP/1.1\r\n" + h + "X-A: b\rX-C: d\r\n\r\n", reasonBareCR},
		{"carriage return in the target", "GET /a\rb HTTP/1.1\r\n" + h + "\r\n", reasonBareCR},
		{"NUL in a value", "GET / HTTP/1.1\r\n" + h + "X-A: b\x00c\r\n\r\n", reasonNUL},
		{"NUL in a name", "GET / HTTP/1.1\r\n" + h + "X\x00A: b\r\n\r\n", reasonNUL},
		{"name with a space", "GET / HTTP/1.1\r\n" + h + "X A: b\r\n\r\n", reasonFieldName},
		{"empty name", "GET / HTTP/1.1\r\n" + h + ": b\r\n\r\n", reasonFieldName},
		{"no colon", "GET / HTTP/1.1\r\n" + h + "Gibberish\r\n\r\n", reasonFieldName},
		{"bad chunk size", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\nZ\r\nabc\r\n0\r\n\r\n", reasonChunk},
		{"signed chunk size", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n", reasonChunk},
		{"prefixed chunk size", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", reasonChunk},
		{"negative chunk size", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n", reasonChunk},
		{"overflowing chunk size", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n", reasonChunk},
		{"chunk longer than said", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n", reasonChunk},
		{"bare line feed behind a chunk size", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", reasonBareLF},
		{"bare line feed in a chunk extension", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n3;x\nabc\r\n0\r\n\r\n", reasonBareLF},
		{"bare line feed behind chunk data", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n", reasonBareLF},
		{"long chunk extension", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n3;" + long + "\r\nabc\r\n0\r\n\r\n", reasonChunk},
		{"folded trailer", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n0\r\nX-A: b\r\n c\r\n\r\n", reasonObsFold},
		{"target of another host", "GET http://other/ HTTP/1.1\r\n" + h + "\r\n", reasonHostMismatch},
		{"user in the target", "GET http://shop@other/ HTTP/1.1\r\n" + h + "\r\n", reasonHost},
		{"two hosts", "GET / HTTP/1.1\r\n" + h + "Host: other\r\n\r\n", reasonHost},
		{"host with a path", "GET / HTTP/1.1\r\nHost: shop/x\r\n\r\n", reasonHost},
		{"host with a user", "GET / HTTP/1.1\r\nHost: a@shop\r\n\r\n", reasonHost},
		{"host with a bad port", "GET / HTTP/1.1\r\nHost: shop:80a\r\n\r\n", reasonHost},
		{"no host", "GET / HTTP/1.1\r\nX-A: b\r\n\r\n", reasonHTTP},
		{"not HTTP", "\x16\x03\x01\x02\x01\r\n\r\n", reasonHTTP},
		{"HTTP/3.7", "GET / HTTP/3.7\r\n" + h + "\r\n", reasonHTTP},
		{"header bomb", "GET / HTTP/1.1\r\n" + h + strings.Repeat("X-A: "+long+"\r\n", 80) + "\r\n", reasonHeaderBytes},
		{"one long line", "GET / HTTP/1.1\r\n" + h + "X-A: " + strings.Repeat(long, 200), reasonHeaderBytes},
		{"many fields", "GET / HTTP/1.1\r\n" + h + strings.Repeat("A: b\r\n", 200) + "\r\n", reasonHeaderCount},
		{"long target", "GET /" + strings.Repeat(long, 17) + " HTTP/1.1\r\n" + h + "\r\n", reasonURILength},
		{"connect", "CONNECT shop:80 HTTP/1.1\r\n" + h + "\r\n", reasonMethod},
		{"http/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", reasonMethod},
		{"large body declared", "POST / HTTP/1.1\r\n" + h + "Content-Length: 99999\r\n\r\n", reasonBodySize},
		{"large body in chunks", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("3e8\r\n"+long+"\r\n", 12), reasonBodySize},
	}
}

// TestMalformed sends every case in one piece, split at every few bytes, and behind
// a good request on the same connection. No part of it may reach the upstream as a request of
// its own, the client gets an error and a closed connection, and it is counted and recorded.
func TestMalformed(t *testing.T) {
	for _, c := range malformedCases() {
		t.Run(c.name, func(t *testing.T) {
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
			for rest := c.raw; rest != ""; {
				n := min(len(rest), 1+len(c.raw)/7)
				split, rest = append(split, rest[:n]), rest[n:]
			}
			for way, pieces := range [][]string{{c.raw}, split, {"GET /good HTTP/1.1\r\nHost: shop\r\n\r\n" + c.raw}} {
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
			if n := ed.Status().Rejected[c.reason]; n != 3 {
				t.Errorf("counted %d times as %s, want 3: %v", n, c.reason, ed.Status().Rejected)
			}
			ed.sink.wait(t, c.reason, func(e *signal.Event) bool {
				return strings.HasSuffix(e.Str(signal.FieldStatusDetail), ": "+c.reason) || e.Str(signal.FieldEdgeError) == "malformed: "+c.reason
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

func FuzzFramer(f *testing.F) {
	for _, c := range malformedCases() {
		if len(c.raw) < 2000 {
			f.Add([]byte(c.raw), uint8(5))
		}
	}
	f.Add([]byte("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: a\r\n\r\n"), uint8(3))
	f.Add([]byte("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), uint8(1))
	f.Fuzz(func(t *testing.T, data []byte, step uint8) {
		// However the bytes are split, the framer lets the same ones pass, for the same reason.
		run := func(step int) (int, string) {
			fr := framer{maxSize: 4096, maxCount: 20}
			fr.next()
			passed := 0
			for rest := data; len(rest) > 0; {
				n := min(step, len(rest))
				ok, err := fr.feed(rest[:n])
				passed += ok
				if err != nil {
					return passed, fr.err.reason
				}
				rest = rest[n:]
			}
			return passed, ""
		}
		whole, reason := run(len(data) + 1)
		split, splitReason := run(int(step) + 1)
		if reason != splitReason {
			t.Fatalf("whole: %q, split by %d: %q", reason, step+1, splitReason)
		}
		if whole > split && reason != "" {
			t.Fatalf("whole passed %d bytes, split %d", whole, split)
		}
		if reason != "" {
			return
		}
		// What passes whole, net/http reads as the same requests, to the same byte.
		br := bufio.NewReader(strings.NewReader(string(data)))
		for {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			if req.Header.Get("Upgrade") != "" || req.Method == "PRI" {
				return
			}
			if len(req.TransferEncoding) > 0 && req.ContentLength >= 0 {
				t.Fatalf("two lengths passed: %q", data)
			}
			if _, err := io.Copy(io.Discard, req.Body); err != nil && err != io.ErrUnexpectedEOF && !strings.Contains(err.Error(), "trailer") {
				t.Fatalf("net/http refuses a body that passed: %v: %q", err, data)
			}
		}
	})
}
