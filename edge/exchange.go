package edge

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/internal/forwarded"
	"github.com/testudo-sec/testudo/internal/httpframe"
	"github.com/testudo-sec/testudo/internal/traceparent"
	"github.com/testudo-sec/testudo/internal/upstream"
	"github.com/testudo-sec/testudo/signal"
)

// exchange is one request and its response. It is pooled with its events, so that an
// exchange allocates little; nothing in it may be read by another goroutine once release
// was called.
type exchange struct {
	ed    *Edge
	w     http.ResponseWriter
	r     *http.Request
	route *route
	conn  *connInfo
	h1    *http1Conn // nil on HTTP/2 and outside of the edge's own listeners

	start     time.Time
	id        signal.ID
	requestID string
	trace     string // traceparent for the upstream
	fresh     bool   // the trace began here
	client    forwarded.Client
	host      string // asked for, lower case, without port
	port      uint16 // asked for, 0 where none was named
	scheme    string
	rawPath   string
	path      string // recorded form

	inspection Inspection
	result     Result
	api        guarded
	body       *clientBody // nil where there is none
	verdict    signal.Verdict
	unjudged   bool // the judge returned an error and the request passed

	up       *upstream.Server
	passage  upstream.Passage // zero where nobody follows requests
	attempts int
	status   int    // sent to the client, 0 so far
	failure  string // edge.error
	headAt   time.Time
	sent     int64 // body bytes sent to the client
	closing  bool  // the connection ends with this response

	event    signal.Event
	reply    signal.Event
	names    []string // header names
	cookies  []string
	args     []string
	lower    map[string]string // header names in lower case, of former exchanges
	answered bool              // the final response event is out
	tunneled bool              // net/http has given the connection up
}

// lingering is how long a client may go on sending a body that nobody wants any more.
const (
	lingering   = time.Second
	lingerBytes = 256 << 10
)

// maxLower bounds the header names that an exchange remembers the lower case of.
const maxLower = 256

func newExchange(ed *Edge) *exchange {
	return &exchange{ed: ed, lower: make(map[string]string, 32)}
}

func (x *exchange) release() {
	x.event.Reset()
	x.reply.Reset()
	clear(x.names)
	clear(x.cookies)
	clear(x.args)
	*x = exchange{ed: x.ed, event: x.event, reply: x.reply, lower: x.lower,
		names: x.names[:0], cookies: x.cookies[:0], args: x.args[:0]}
	x.ed.exchanges.Put(x)
}

// ServeHTTP judges and forwards one request.
func (ed *Edge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := ed.exchanges.Get().(*exchange)
	x.w, x.r = w, r
	ed.metrics.inFlight.Inc()
	defer func() {
		ed.metrics.inFlight.Dec()
		problem := recover()
		if x.inspection != nil {
			x.inspection.Close()
		}
		if problem == nil {
			x.finish()
			x.unguard()
			x.release()
			return
		}
		// An aborted exchange may still be read by the transport: it is not used again.
		x.finish()
		x.unguard()
		if problem != http.ErrAbortHandler {
			what := fmt.Sprintf("%T", problem) // another value could hold a part of the request
			if e, ok := problem.(runtime.Error); ok {
				what = e.Error()
			}
			ed.log.Error("edge: panic while serving a request", "request_id", x.requestID, "panic", what, "stack", string(debug.Stack()))
		}
		panic(http.ErrAbortHandler)
	}()
	x.serve()
}

func (x *exchange) serve() {
	x.begin()
	if id, blocked := x.blocked(); blocked {
		x.refuseBlocked(id)
		return
	}
	if reason := x.unfit(); reason != "" {
		x.ed.metrics.reject(reason)
		x.refuseForm(reason)
		return
	}
	x.describeRequest()
	if !x.inspectRequest() || !x.judgeRequest() {
		return
	}
	if x.failure == reasonAmbiguous {
		x.ed.metrics.reject(reasonAmbiguous)
		x.fail(http.StatusBadRequest, reasonAmbiguous)
		return
	}
	if x.route == x.ed.nowhere {
		x.fail(http.StatusNotFound, "no-route")
		return
	}
	if protocol := upgradeOf(x.r); protocol != "" && !(x.route.cfg.WebSocket && strings.EqualFold(protocol, "websocket")) {
		x.fail(http.StatusForbidden, "upgrade-refused")
		return
	}
	x.forward()
}

// begin finds out who asks for what.
func (x *exchange) begin() {
	ed, r := x.ed, x.r
	x.start = ed.now()
	ctx := r.Context()
	x.conn, x.h1 = connOf(ctx), nil
	if r.ProtoMajor == 1 { // h2c comes over the same kind of connection
		x.h1 = http1Of(ctx)
	}
	if x.h1 != nil {
		x.h1.inside.Store(true)
		_, x.closing = r.Header["Upgrade"] // what follows is another protocol's, for the framer
		if hasBody(r) {
			// Or net/http would read the body to its end before it sends a response, and
			// a client that sends none of it could hold the refusal, and a goroutine, forever.
			http.NewResponseController(x.w).EnableFullDuplex()
		}
	}
	if x.conn == nil {
		x.conn = ed.strayConn(r)
	}
	if n := ed.cfg.Limits.RequestsPerConnection; n > 0 && x.conn.requests.Add(1) >= int64(n) {
		x.closing = true
	}
	x.client = ed.proxies.Client(x.conn.peer, x.conn.peerTrusted, r.Header)
	if x.client.Trust == forwarded.Undeclared {
		ed.metrics.undeclared.Inc()
		ed.undeclared.saw(x.conn.peer.Addr(), x.start)
	}
	x.id = signal.NewID(x.start)
	x.requestID = ""
	if given := r.Header["X-Request-Id"]; x.conn.peerTrusted && len(given) == 1 && validRequestID(given[0]) {
		x.requestID = given[0]
	} else {
		x.requestID = x.id.String()
	}
	x.trace, x.fresh = traceparent.Next(r.Header)
	x.scheme = "http"
	if r.TLS != nil {
		x.scheme = "https"
	}
	x.host, x.port = splitHost(r.Host)
	x.rawPath = rawPath(r)
	var ambiguous bool
	if x.route, ambiguous = ed.router.Find(x.host, x.rawPath); x.route == nil {
		x.route = ed.nowhere
		if ambiguous {
			x.failure = reasonAmbiguous
		}
	}
	x.path = x.route.mask.Path(x.rawPath)
	x.w.Header()["X-Request-Id"] = []string{x.requestID}
}

// validRequestID reports whether an id given by a trusted proxy is fit to be passed on.
func validRequestID(s string) bool {
	if len(s) < 8 || len(s) > 128 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.', c == '=', c == '/', c == '+':
		default:
			return false
		}
	}
	return true
}

// strayConn stands for a connection that the edge's own listeners did not accept.
func (ed *Edge) strayConn(r *http.Request) *connInfo {
	info := &connInfo{}
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		info.peer = netip.AddrPortFrom(peer.Addr().WithZone("").Unmap(), peer.Port())
	}
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		info.local = addrPort(local)
	}
	info.peerTrusted = ed.proxies.Trusts(info.peer.Addr())
	if r.TLS != nil {
		info.tls = newTLSInfo(r.TLS)
	}
	return info
}

// splitHost returns the host in lower case, without a dot at its end, and the port.
func splitHost(hostport string) (string, uint16) {
	host, port := hostport, uint16(0)
	if i := strings.LastIndexByte(hostport, ':'); i >= 0 && strings.IndexByte(hostport[i:], ']') < 0 {
		host = hostport[:i]
		for _, c := range []byte(hostport[i+1:]) {
			port = port*10 + uint16(c-'0')
		}
	}
	if len(host) > 1 && host[0] == '[' && host[len(host)-1] == ']' {
		host = host[1 : len(host)-1]
	}
	return strings.ToLower(strings.TrimSuffix(host, ".")), port
}

// rawPath returns the path as received: what stands between the authority and the query.
func rawPath(r *http.Request) string {
	target := r.RequestURI
	if target == "" {
		target = r.URL.EscapedPath()
	}
	return pathOf(target)
}

func pathOf(target string) string {
	target, _, _ = strings.Cut(target, "?")
	if target != "" && target[0] != '/' && target != "*" {
		if i := strings.Index(target, "://"); i >= 0 {
			rest := target[i+3:]
			if j := strings.IndexByte(rest, '/'); j >= 0 {
				return rest[j:]
			}
			return "/"
		}
	}
	if target == "" {
		return "/"
	}
	return target
}

// unfit returns why the request is refused by its form, "" where it is not. On
// HTTP/1 the framer has seen to most of it already.
func (x *exchange) unfit() string {
	r, l := x.r, &x.ed.cfg.Limits
	switch {
	case r.Method == http.MethodConnect || r.Method == "PRI":
		return reasonMethod
	case len(r.RequestURI) > l.URILength:
		return reasonURILength
	case r.Host != "" && !httpframe.ValidHost(r.Host), r.Host == "" && r.ProtoAtLeast(1, 1):
		return httpframe.Host
	case x.route.cfg.MaxBody > 0 && r.ContentLength > int64(x.route.cfg.MaxBody):
		return reasonBodySize
	}
	if r.ProtoMajor == 2 {
		if host, ok := r.Header["Host"]; ok {
			if len(host) != 1 || !strings.EqualFold(host[0], r.Host) {
				return httpframe.HostMismatch
			}
			delete(r.Header, "Host")
		}
	}
	n := 0
	for _, values := range r.Header {
		n += len(values)
	}
	if n > l.HeaderCount {
		return httpframe.HeaderCount
	}
	return ""
}

func (x *exchange) blocked() (id string, blocked bool) {
	if x.ed.blocklist == nil {
		return "", false
	}
	return x.ed.blocklist.Lookup(x.client.Addr, x.start)
}

// inspectRequest lets the inspector look. It reports false where the exchange is over.
func (x *exchange) inspectRequest() bool {
	r := x.r
	if hasBody(r) {
		l := &x.ed.cfg.Limits
		x.body = &clientBody{from: r.Body, limit: int64(x.route.cfg.MaxBody), stall: l.StallTimeout, rate: int64(l.MinBodyRate), ctl: http.NewResponseController(x.w), h1: x.h1, ctx: r.Context(), tail: r.Trailer}
		limitTrailer(r.Trailer) // which has the announced names
	}
	if !x.route.waf && !x.route.api {
		return true
	}
	ex := Exchange{
		Request: r, Client: netip.AddrPortFrom(x.client.Addr, x.client.Port), Server: x.conn.local,
		ID: x.requestID, Time: x.start, Route: x.route.name, Host: x.host, Path: x.rawPath, Paranoia: x.route.cfg.Paranoia, Blocks: x.route.block,
	}
	if x.ed.muted != nil {
		ex.Muted = x.ed.muted(x.route.name)
	}
	var forWAF int64
	if x.route.waf {
		x.inspection = x.ed.inspector.Begin(r.Context(), ex)
		x.result, forWAF = x.inspection.Headers()
	}
	forAPI := x.guardRequest(ex)
	if forAPI < 0 { // both sides speak in turn: who waits for the end of the body waits for ever
		if forWAF > 0 {
			x.result, forWAF = x.inspection.Body(nil, true), 0
		}
		forAPI = 0
	}
	var held []byte
	var truncated bool
	want := min(max(forWAF, forAPI), int64(x.route.cfg.InspectLimit))
	if want == 0 {
		truncated = x.body != nil // with inspect_limit: 0 nothing of it is held back
	} else if x.body != nil {
		var err error
		if held, truncated, err = x.body.hold(want, r.ContentLength); err != nil {
			x.refuseBody(false)
			return false
		}
		if isForm(r.Header) {
			x.args = x.route.mask.ArgNames(x.args, string(held))
		}
	}
	var seen []byte
	cut := false
	if forWAF > 0 {
		seen, cut = part(held, truncated, forWAF)
		x.result = x.inspection.Body(seen, cut)
	}
	x.keep(seen, cut)
	if forAPI > 0 {
		x.guard(func(c Check) { c.RequestBody(part(held, truncated, forAPI)) })
	}
	return true
}

func hasBody(r *http.Request) bool {
	return r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0
}

// bodyLeft reports whether the end of the request's body was not read.
func (x *exchange) bodyLeft() bool {
	return hasBody(x.r) && (x.body == nil || !x.body.done.Load())
}

func isForm(h http.Header) bool {
	v := h["Content-Type"]
	if len(v) != 1 {
		return false
	}
	media, _, _ := strings.Cut(v[0], ";")
	return strings.EqualFold(strings.TrimSpace(media), "application/x-www-form-urlencoded")
}

// judgeRequest asks for a verdict and obeys it. It reports false where the exchange is over.
func (x *exchange) judgeRequest() bool {
	x.describeResult(&x.event, false)
	x.describeFound(&x.event, false)
	verdict, err := x.ed.sink.Event(x.r.Context(), &x.event)
	if err != nil {
		x.ed.metrics.notJudged.Inc()
		x.unjudged = true
		if x.route.block && x.route.closed {
			x.fail(http.StatusServiceUnavailable, "not-judged")
			return false
		}
		return true
	}
	x.verdict = verdict
	if !x.route.block {
		return true
	}
	if x.result.Err != nil && x.route.closed {
		x.fail(http.StatusServiceUnavailable, "waf-error")
		return false
	}
	if x.api.found.Err != nil && x.route.closed {
		x.fail(http.StatusServiceUnavailable, "api-error")
		return false
	}
	switch verdict.Decision {
	case signal.Deny, signal.Challenge:
		x.ed.metrics.byVerdict.Inc()
		x.answered = true // the verdict on the request says all
		x.page(http.StatusForbidden)
		return false
	case signal.Limit:
		x.ed.metrics.byVerdict.Inc()
		x.answered = true
		x.w.Header()["Retry-After"] = []string{"10"}
		x.page(http.StatusTooManyRequests)
		return false
	}
	return true
}

// page answers by the edge itself.
func (x *exchange) page(status int) {
	x.status = status
	x.closing = x.closing || x.bodyLeft()
	x.markClose()
	writePage(x.w, x.r, status, x.requestID)
}

func (x *exchange) markClose() {
	if x.closing && x.r.ProtoMajor == 1 {
		x.w.Header()["Connection"] = []string{"close"}
	}
}

// fail answers by the edge itself because something went wrong. The response event says what.
func (x *exchange) fail(status int, failure string) {
	x.failure = failure
	x.headAt = x.ed.now()
	x.page(status)
	x.answer(true)
}

// refuseBody answers a request whose body broke a rule, or whose client left in its midst.
func (x *exchange) refuseBody(judged bool) {
	reason := x.body.why()
	if reason == "" {
		if !judged {
			x.note("client-gone", "not judged: the client left before the body was complete", 1)
			x.answered = true
		}
		x.abandon()
	}
	if reason == reasonBodySize || reason == reasonSlowBody || x.h1 == nil || x.h1.fault.Load() == nil {
		x.ed.metrics.reject(reason) // the framer has counted the others
	}
	x.closing = true
	if judged {
		x.fail(statusOf(reason), "malformed: "+reason)
		return
	}
	x.refuseForm(reason)
}

// abandon ends an exchange whose client left before anything was sent to it; finish records
// it. It panics, because net/http sends an empty 200 when a handler returns without a word,
// and a client that has only closed its own direction would take that for the answer.
func (x *exchange) abandon() {
	x.status, x.failure = 0, "client-gone"
	panic(http.ErrAbortHandler)
}

// refuseForm answers a request that is not judged because of its form, and records that.
func (x *exchange) refuseForm(reason string) {
	x.answered = true
	x.closing = true
	x.page(statusOf(reason))
	count, ok := x.ed.formRecords.Allow(x.client.Addr, x.start)
	if !ok {
		return
	}
	x.note("malformed", "not judged: "+reason, count)
}

// refuseBlocked answers a client that is on the blocklist, and records that some times a second.
func (x *exchange) refuseBlocked(entry string) {
	x.ed.metrics.byList.Inc()
	x.answered = true
	x.page(http.StatusForbidden)
	count, ok := x.ed.blockRecords.Allow(x.client.Addr, x.start)
	if !ok {
		x.ed.metrics.unrecorded.Inc()
		return
	}
	x.note("blocklist", clean(entry, maxValue), count)
}

// note records a short event of a request that no verdict was asked for.
func (x *exchange) note(failure, detail string, count uint64) {
	e := &x.event
	x.describeEnds(e)
	e.SetString(signal.FieldHTTPRequestURLPath, x.path)
	e.SetString(signal.FieldEdgeError, failure)
	e.SetString(signal.FieldStatusDetail, detail)
	e.SetInt(signal.FieldStatusID, 2)
	e.SetInt(signal.FieldCount, int64(count))
	if x.status != 0 {
		e.SetInt(signal.FieldHTTPResponseCode, int64(x.status))
	}
	if _, err := x.ed.sink.Event(context.Background(), e); err != nil {
		x.ed.metrics.notJudged.Inc()
	}
}

// finish sees to it that every exchange is counted, and has its response event where
// one is due.
func (x *exchange) finish() {
	x.passed()
	if x.route == nil {
		return
	}
	if !x.answered && x.event.Class != 0 {
		if x.failure == "" && x.status == 0 {
			x.failure = "aborted"
		}
		x.answer(true)
	}
	if x.body != nil {
		x.body.over.Store(true)
	}
	if x.h1 != nil && !x.tunneled && x.status != 0 && x.bodyLeft() { // without a status there is nothing to wait with
		x.linger()
	}
	x.route.count.count(x.status, x.verdict.Decision)
	x.route.count.latency.Observe(x.ed.now().Sub(x.start).Seconds())
	if x.r.ProtoMajor == 2 && x.r.Context().Err() != nil {
		x.ed.streamReset(x.conn, x.start)
	}
}

// linger reads the rest of a body that nobody wanted for a moment after the response
// was sent: a client that is still sending would otherwise lose the response with the
// connection. Where the body does not end in that time the connection does: what comes
// later must not be taken for another request.
func (x *exchange) linger() {
	control := http.NewResponseController(x.w)
	control.Flush()
	control.SetReadDeadline(time.Now().Add(min(lingering, x.ed.cfg.Limits.StallTimeout)))
	if n, err := io.Copy(io.Discard, io.LimitReader(x.r.Body, lingerBytes)); err != nil || n == lingerBytes {
		x.h1.cut.Store(true)
		control.SetReadDeadline(time.Unix(1, 0)) // net/http is not to try again
	}
}

// streamReset counts a request that the client of an HTTP/2 connection gave up, and closes the
// connection of a client that makes a habit of it.
func (ed *Edge) streamReset(info *connInfo, now time.Time) {
	if info.conn == nil {
		return
	}
	if from := info.resetsFrom.Load(); now.UnixNano()-from > int64(10*time.Second) {
		info.resetsFrom.Store(now.UnixNano())
		info.resets.Store(0)
	}
	if info.resets.Add(1) == int64(ed.cfg.Limits.StreamResets) {
		ed.metrics.reject(reasonRapidReset)
		ed.refusedByForm(info, reasonRapidReset, 0)
		info.conn.Close()
	}
}
