package edge

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strings"
	"sync"

	"github.com/testudo-sec/testudo/internal/forwarded"
	"github.com/testudo-sec/testudo/internal/httpframe"
	"github.com/testudo-sec/testudo/internal/upstream"
)

// forward sends the request to an upstream and the response to the client.
func (x *exchange) forward() {
	hints := &earlyHints{w: x.w}
	resp := x.try(x.outbound(hints), hints)
	if resp == nil {
		return
	}
	defer x.up.Done()
	if resp.StatusCode == http.StatusSwitchingProtocols {
		x.tunnel(resp)
		return
	}
	defer resp.Body.Close()
	x.respond(resp)
}

// outbound makes the request for the upstream from the client's. Its header is the
// client's own map: nobody else reads that once the request was judged.
func (x *exchange) outbound(hints *earlyHints) *http.Request {
	r := x.r
	upgrade := upgradeOf(r)
	x.setForwarding(r.Header)
	x.guard(func(c Check) { c.Forward(r.Header) })
	if upgrade != "" {
		r.Header["Connection"], r.Header["Upgrade"] = []string{"Upgrade"}, []string{upgrade}
	}
	if x.body != nil && x.body.read.Load() > 0 {
		delete(r.Header, "Expect") // the edge has asked for the body already
	}
	hooks := &httptrace.ClientTrace{Got1xxResponse: hints.got}
	if x.ed.follower != nil {
		hooks.GotConn = x.passing
	}
	out := r.WithContext(httptrace.WithClientTrace(r.Context(), hooks))
	out.RequestURI, out.Close, out.TransferEncoding, out.Body = "", false, nil, nil
	if x.body != nil {
		out.Body = x.body
	}
	switch {
	case x.route.cfg.SetHost != "":
		out.Host = x.route.cfg.SetHost
	case !x.route.cfg.PreserveHost:
		out.Host = ""
	}
	return out
}

// setForwarding takes away the fields that are for this connection only (RFC 9110 section 7.6.1)
// and those that only a trusted proxy may say, and says them anew.
func (x *exchange) setForwarding(h http.Header) {
	trailers := false
	for _, v := range h["Te"] {
		trailers = trailers || strings.Contains(strings.ToLower(v), "trailers")
	}
	removeHopByHop(h)
	dropOwnCookies(h)
	values := make([]string, 7) // one allocation for the values of all the fields set here
	next := func(v string) []string {
		values[0] = v
		one := values[:1:1]
		values = values[1:]
		return one
	}
	peer := x.conn.peer.Addr().String()
	chain, proto, host := peer, x.scheme, x.r.Host
	if x.conn.peerTrusted {
		if v := h["X-Forwarded-For"]; len(v) > 0 {
			chain = strings.Join(v, ", ") + ", " + peer
		}
		if v := h["X-Forwarded-Proto"]; len(v) == 1 && (v[0] == "http" || v[0] == "https") {
			proto = v[0]
		}
		if v := h["X-Forwarded-Host"]; len(v) == 1 && httpframe.ValidHost(v[0]) {
			host = v[0]
		}
	}
	for _, name := range [...]string{"Forwarded", "X-Forwarded-Port", "X-Forwarded-Server", "X-Forwarded-Scheme", "X-Forwarded-Ssl", "X-Forwarded-Prefix",
		"True-Client-Ip", "Cf-Connecting-Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "X-Original-Url", "X-Rewrite-Url", "Proxy"} {
		delete(h, name)
	}
	h["X-Forwarded-For"] = next(chain)
	h["X-Forwarded-Proto"] = next(proto)
	h["X-Forwarded-Host"] = next(host)
	if x.client.Trust == forwarded.Proxy {
		h["X-Real-Ip"] = next(x.client.Addr.String())
	} else {
		h["X-Real-Ip"] = next(peer)
	}
	h["X-Request-Id"] = next(x.requestID)
	h["Traceparent"] = next(x.trace)
	if x.fresh {
		delete(h, "Tracestate")
	}
	if trailers {
		h["Te"] = next("trailers")
	}
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = nil // or the transport adds its own
	}
}

// limitTrailer takes away what a trailer must not hold (RFC 9110 section 6.5.1): fields by which a server frames, routes or
// authenticates a request, those that this proxy says itself among them. Servers that merge a trailer with the header would believe them, and no rule
// has seen them.
func limitTrailer(h http.Header) {
	for name := range h {
		switch lower := strings.ToLower(name); lower {
		case "host", "content-length", "content-encoding", "content-type", "content-range", "transfer-encoding", "trailer", "te", "connection", "keep-alive", "proxy", "proxy-connection", "upgrade",
			"authorization", "proxy-authorization", "proxy-authenticate", "www-authenticate", "cookie", "set-cookie", "forwarded", "x-real-ip", "x-request-id", "traceparent", "tracestate",
			"true-client-ip", "cf-connecting-ip", "x-client-ip", "x-cluster-client-ip", "x-original-url", "x-rewrite-url", "x-http-method-override", "x-http-method", "x-method-override",
			"cache-control", "expect", "max-forwards", "pragma", "range", "origin", "referer":
			delete(h, name)
		default:
			if strings.HasPrefix(lower, "x-forwarded-") || strings.HasPrefix(lower, "if-") {
				delete(h, name)
			}
		}
	}
}

// removeHopByHop removes the fields of RFC 9110 section 7.6.1 and those that Connection names.
func removeHopByHop(h http.Header) {
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = textproto.TrimString(name); name != "" && !strings.EqualFold(name, "close") && !strings.EqualFold(name, "keep-alive") {
				h.Del(name)
			}
		}
	}
	for _, name := range [...]string{"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade"} {
		delete(h, name)
	}
}

// target sets the address: the upstream's, and path and query exactly as received.
func (x *exchange) target(up *upstream.Server) *url.URL {
	raw := x.rawPath
	if x.route.cfg.StripPrefix {
		if raw = raw[len(x.route.prefix):]; raw == "" {
			raw = "/"
		}
	}
	raw = up.Prefix + raw
	u := &url.URL{Scheme: up.Base.Scheme, Host: up.Base.Host, Opaque: raw, RawQuery: x.r.URL.RawQuery, ForceQuery: x.r.URL.ForceQuery}
	if strings.HasPrefix(raw, "//") || raw == "*" {
		// An opaque part that begins so would be taken for an authority.
		u.Opaque, u.Path, u.RawPath = "", x.r.URL.Path, x.r.URL.RawPath
	}
	return u
}

// try asks upstreams until one answers. Where none does it answers by itself and
// returns nil.
func (x *exchange) try(out *http.Request, hints *earlyHints) *http.Response {
	var tried []*upstream.Server
	status, reason := http.StatusServiceUnavailable, "no-upstream"
	for {
		now := x.ed.now()
		up := x.route.pool.Pick(now, tried)
		if up == nil {
			break
		}
		x.up = up
		x.attempts++
		out.URL = x.target(up)
		if out.Host == "" || x.attempts > 1 && !x.route.cfg.PreserveHost && x.route.cfg.SetHost == "" {
			out.Host = up.Base.Host
		}
		resp, err := up.RoundTrip(out)
		if err == nil {
			hints.stop()
			up.Succeeded()
			return resp
		}
		if x.body.why() != "" || x.r.Context().Err() != nil {
			hints.stop()
			x.refuseBody(true)
			return nil
		}
		reason = upstream.Reason(err)
		status = http.StatusBadGateway
		if reason == upstream.Timeout || reason == upstream.ConnectTimeout {
			status = http.StatusGatewayTimeout
		}
		up.Failed(reason, now)
		x.ed.metrics.upstream.WithLabelValues(x.route.name, up.Host, reason).Inc()
		x.ed.log.Debug("edge: upstream did not answer", "route", x.route.name, "upstream", up.Host, "reason", reason, "request_id", x.requestID)
		if x.attempts > x.route.cfg.Retries || !x.mayRetry(err, reason) {
			break
		}
		tried = append(tried, up)
	}
	hints.stop()
	x.fail(status, reason)
	return nil
}

// mayRetry reports whether trying again cannot do anything twice.
func (x *exchange) mayRetry(err error, reason string) bool {
	if x.body != nil && x.body.taken.Load() {
		return false
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return true
	}
	if x.body != nil || reason == upstream.Timeout {
		return false
	}
	switch x.r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// earlyHints passes 1xx responses on, except 100 and 101, until the final one has come. The
// transport reports them from a goroutine of its own.
type earlyHints struct {
	mu   sync.Mutex
	w    http.ResponseWriter
	over bool
}

func (h *earlyHints) got(code int, header textproto.MIMEHeader) error {
	if code == http.StatusContinue {
		return nil // net/http says it to the client when the body is read
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return nil
	}
	dst := h.w.Header()
	removeHopByHop(http.Header(header))
	for k, v := range header {
		dst[k] = v
	}
	h.w.WriteHeader(code)
	for k := range header {
		delete(dst, k)
	}
	return nil
}

func (h *earlyHints) stop() {
	h.mu.Lock()
	h.over = true
	h.mu.Unlock()
}
