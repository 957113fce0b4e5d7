package edge

import (
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/testudo-sec/testudo/internal/urlmask"
	"github.com/testudo-sec/testudo/signal"
)

// upgradeOf returns the protocol that the request wants to change to, "" where it wants
// none (RFC 9110 section 7.8; HTTP/1.1 only).
func upgradeOf(r *http.Request) string {
	if r.ProtoMajor != 1 || r.ProtoMinor != 1 {
		return ""
	}
	protocol := r.Header["Upgrade"]
	if len(protocol) != 1 || !urlmask.PlainName(protocol[0]) {
		return ""
	}
	for _, line := range r.Header["Connection"] {
		for option := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(option), "upgrade") {
				return protocol[0]
			}
		}
	}
	return ""
}

// tunnel joins client and upstream after both agreed on another protocol. It ends when one side closes, when nothing
// has moved for the idle time, or when the edge stops. Two events record it: one at
// its head, one with the sizes at its end.
func (x *exchange) tunnel(resp *http.Response) {
	x.headAt = x.ed.now()
	back, ok := resp.Body.(io.ReadWriteCloser)
	if !ok || upgradeOf(x.r) == "" || !strings.EqualFold(resp.Header.Get("Upgrade"), upgradeOf(x.r)) {
		resp.Body.Close()
		x.fail(http.StatusBadGateway, "upstream-broken")
		return
	}
	defer back.Close()
	protocol := resp.Header["Upgrade"]
	x.status = resp.StatusCode
	if verdict := x.answer(false); x.route.block && verdict.Decision >= signal.Challenge {
		x.ed.metrics.byResponse.Inc()
		x.answered = true
		x.page(http.StatusBadGateway)
		return
	}
	removeHopByHop(resp.Header)
	client, buffered, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		x.status = 0
		x.fail(http.StatusBadGateway, "upgrade-refused")
		return
	}
	x.tunneled = true
	defer client.Close()
	both := closers{client, back}
	if !x.ed.addTunnel(both) {
		x.failure = "draining"
		return
	}
	defer x.ed.dropTunnel(both)
	resp.Header["Connection"], resp.Header["Upgrade"] = []string{"Upgrade"}, protocol
	resp.Header["X-Request-Id"] = []string{x.requestID}
	resp.Body = nil // or Write would send it as a body
	if err := resp.Write(buffered); err != nil || buffered.Flush() != nil {
		x.failure = "client-gone"
		return
	}
	early, _ := buffered.Peek(buffered.Reader.Buffered()) // sent before the answer came
	var in, out int64
	var ended sync.WaitGroup
	ended.Go(func() {
		in = x.ed.pipe(back, client, early, both)
	})
	out = x.ed.pipe(client, back, nil, both)
	ended.Wait()
	x.sent = out
	x.body = &clientBody{}
	x.body.read.Store(in)
	x.answer(true)
}

// closers closes both ends.
type closers struct{ a, b io.Closer }

func (c closers) Close() error {
	c.a.Close()
	return c.b.Close()
}

// pipe copies one direction until it ends, and then closes both. The idle time is kept by the
// upstream's connection, which everything passes: see upstream.Timeouts.
func (ed *Edge) pipe(dst io.Writer, src io.Reader, first []byte, both closers) (n int64) {
	buf := ed.buffers.Get().(*[]byte)
	defer ed.buffers.Put(buf)
	defer both.Close()
	if len(first) > 0 {
		m, err := dst.Write(first)
		if n += int64(m); err != nil {
			return n
		}
	}
	for {
		m, err := src.Read(*buf)
		if m > 0 {
			w, werr := dst.Write((*buf)[:m])
			if n += int64(w); werr != nil {
				return n
			}
		}
		if err != nil {
			return n
		}
	}
}
