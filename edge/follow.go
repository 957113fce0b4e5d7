package edge

import (
	"net/http/httptrace"
	"net/netip"

	"github.com/testudo-sec/testudo/internal/traceparent"
	"github.com/testudo-sec/testudo/internal/upstream"
	"github.com/testudo-sec/testudo/signal"
)

// Forwarded says by which bytes of which connection a request goes to an upstream.
type Forwarded struct {
	UID   string    // http_request.uid
	Event signal.ID // of the request's event
	Trace string    // trace id, 32 hexadecimal digits
	Span  string    // that the edge gave the request, 16 hexadecimal digits
	Fresh bool      // the trace began here

	Local, Remote netip.AddrPort // of the connection, as it is seen here
	Upstream      string         // host:port
	Conn          uint64         // names the connection among those to the upstream
	From          uint64         // the number of the request's first byte in the connection, below TLS
	Shared        bool           // other requests are on the connection at the same time (HTTP/2)
}

// A Follower is told of each request that is passed on. Its methods are called by many goroutines, and hold the request up.
type Follower interface {
	// Forwarded is called before the first byte is written, for each attempt.
	Forwarded(f Forwarded)
	// Ended is called when the exchange is over.
	Ended(uid string)
}

// passing is called by the transport when it has a connection for the request.
func (x *exchange) passing(info httptrace.GotConnInfo) {
	x.passage.End() // of an attempt that the transport gave up
	p, ok := upstream.Begin(info.Conn)
	if !ok {
		return
	}
	x.passage = p
	x.ed.follower.Forwarded(Forwarded{UID: x.requestID, Event: x.id, Trace: traceparent.TraceID(x.trace), Span: traceparent.SpanID(x.trace), Fresh: x.fresh,
		Local: p.Local, Remote: p.Remote, Upstream: x.up.Host, Conn: p.Conn, From: p.From, Shared: p.Shared})
}

// passed ends what passing began.
func (x *exchange) passed() {
	if x.passage.Conn != 0 {
		x.passage.End()
		x.ed.follower.Ended(x.requestID)
	}
}
