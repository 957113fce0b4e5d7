package edge

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/signal"
)

// TestHalfClosed has clients close their own direction only, which net/http takes for leaving.
// They still listen, and an empty 200 would look like the application's answer: nothing must be
// sent that looks whole.
func TestHalfClosed(t *testing.T) {
	for _, c := range []struct {
		name, raw string
		mode      Mode
		request   int64 // how much of the body the firewall wants
		response  int64
		head      bool // the upstream begins to answer
	}{
		{"while the upstream works", "GET / HTTP/1.1\r\nHost: shop\r\n\r\n", ModeBlock, 0, 0, false},
		{"while the response is held back", "GET / HTTP/1.1\r\nHost: shop\r\n\r\n", ModeBlock, 0, 1 << 16, true},
		{"while the response is sent", "GET / HTTP/1.1\r\nHost: shop\r\n\r\n", ModeDetect, 0, 0, true},
		{"in a body that is forwarded", "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 10\r\n\r\nabc", ModeDetect, 0, 0, false},
		{"in a body that is held back", "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 10\r\n\r\nabc", ModeBlock, 1 << 16, 0, false},
		{"in a chunk", "POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", ModeBlock, 1 << 16, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			arrived := make(chan struct{}, 1)
			up := backend(t, func(w http.ResponseWriter, r *http.Request) {
				if c.head {
					io.WriteString(w, "beginning")
					w.(http.Flusher).Flush()
				}
				arrived <- struct{}{}
				io.Copy(io.Discard, r.Body)
				<-r.Context().Done()
			})
			ed := start(t, []string{up}, func(s *setup) {
				s.route.Mode = c.mode
				s.deps.Inspector = &fakeInspector{bodyLimit: c.request, responseLimit: c.response}
			})
			conn, err := net.Dial("tcp", ed.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(20 * time.Second)) // ends a broken test
			if _, err := io.WriteString(conn, c.raw); err != nil {
				t.Fatal(err)
			}
			if c.raw[0] == 'G' {
				<-arrived
			}
			if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			got, _ := io.ReadAll(conn)
			mayBegin := c.head && c.response == 0
			if len(got) > 0 && !mayBegin || strings.HasSuffix(string(got), "0\r\n\r\n") || strings.Contains(string(got), "Content-Length: 0") {
				t.Errorf("answered with %q", got)
			}
			e := ed.sink.wait(t, "client-gone", hasError("client-gone"))
			if e.Has(signal.FieldHTTPResponseCode) && !mayBegin {
				t.Errorf("a status nobody got is recorded: %s", e.AppendJSON(nil))
			}
			if s := ed.Status().Routes[0].Upstreams[0]; !s.Healthy || s.Reason != "" {
				t.Errorf("the upstream is blamed: %+v", s)
			}
		})
	}
}
