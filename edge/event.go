package edge

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/internal/forwarded"
	"github.com/testudo-sec/testudo/internal/traceparent"
	"github.com/testudo-sec/testudo/internal/urlmask"
	"github.com/testudo-sec/testudo/signal"
)

// describeEnds begins an event: who asked whom, by which route. Request and
// response events have this in common, so that a rule about responses can say who and what.
func (x *exchange) describeEnds(e *signal.Event) {
	e.Reset()
	e.ID, e.Time, e.Class, e.Activity = x.id, x.start.UnixNano(), signal.ClassHTTPActivity, signal.HTTPActivity(x.r.Method)
	e.Severity, e.Plane = signal.SeverityInfo, signal.PlaneEdge
	e.SetString(signal.FieldHTTPRequestUID, x.requestID)
	e.SetIP(signal.FieldSrcEndpointIP, x.client.Addr)
	if x.client.Port != 0 {
		e.SetInt(signal.FieldSrcEndpointPort, int64(x.client.Port))
	}
	e.SetString(signal.FieldEdgeClientTrust, x.client.Trust)
	e.SetString(signal.FieldHTTPRequestHTTPMethod, clean(x.r.Method, 32))
	e.SetString(signal.FieldHTTPRequestURLHostname, clean(x.host, 255))
	if x.route.name != "" {
		e.SetString(signal.FieldEdgeRoute, x.route.name)
	}
	e.SetString(signal.FieldEdgeMode, x.route.mode)
	e.SetString(signal.FieldTraceUID, traceparent.TraceID(x.trace))
	e.SetString(signal.FieldTraceSpanUID, traceparent.SpanID(x.trace))
}

// setPath gives the judge the path as received, and the record the masked one.
func (x *exchange) setPath(e *signal.Event) {
	if x.path == x.rawPath {
		e.SetString(signal.FieldHTTPRequestURLPath, x.path)
	} else {
		e.SetMasked(signal.FieldHTTPRequestURLPath, x.rawPath, x.path)
	}
}

// describeRequest fills the request event with all but the inspector's result.
func (x *exchange) describeRequest() {
	e, r, h, mask := &x.event, x.r, x.r.Header, &x.route.mask
	x.describeEnds(e)
	x.setPath(e)
	if x.conn.peerTrusted {
		e.SetIP(signal.FieldProxyEndpointIP, x.conn.peer.Addr())
	}
	if len(x.client.Proxies) > 1 {
		e.SetStrings(signal.FieldSrcEndpointIntermediateIPs, x.client.Proxies)
	}
	e.SetIP(signal.FieldDstEndpointIP, x.conn.local.Addr())
	e.SetInt(signal.FieldDstEndpointPort, int64(x.conn.local.Port()))
	if x.conn.id != "" {
		e.SetString(signal.FieldConnectionInfoUID, x.conn.id)
	}
	e.SetString(signal.FieldHTTPRequestVersion, version(r))
	e.SetString(signal.FieldHTTPRequestURLScheme, x.scheme)
	if x.port != 0 {
		e.SetInt(signal.FieldHTTPRequestURLPort, int64(x.port))
	}
	if q := r.URL.RawQuery; q != "" {
		if recorded := mask.Query(q); recorded == q { // all of it is recorded in clear
			e.SetString(signal.FieldHTTPRequestURLQueryString, q)
		} else {
			e.SetMasked(signal.FieldHTTPRequestURLQueryString, q, recorded)
		}
		x.args = mask.ArgNames(x.args, q)
	}
	setHeader(e, signal.FieldHTTPRequestUserAgent, h["User-Agent"], maxUserAgent, mask.userAgent)
	if v := h["Referer"]; len(v) > 0 {
		recorded := masked
		if mask.referer {
			recorded = mask.Referrer(v[0])
		}
		e.SetMasked(signal.FieldHTTPRequestReferrer, v[0], recorded)
	}
	if v := r.Header["Sec-Fetch-Site"]; len(v) == 1 {
		switch v[0] {
		case "same-origin", "same-site", "cross-site", "none":
			e.SetString(signal.FieldEdgeFetchSite, v[0])
		}
	}
	if v := h["X-Forwarded-For"]; len(v) > 0 && mask.forwarded {
		e.SetStrings(signal.FieldHTTPRequestXForwardedFor, forwarded.Hops(v, masked))
	}
	if v := h["Content-Type"]; len(v) > 0 {
		media, _, _ := strings.Cut(v[0], ";")
		setHeader(e, signal.FieldHTTPRequestContentType, []string{strings.TrimSpace(media)}, maxValue, mask.contentType)
	}
	e.SetInt(signal.FieldHTTPRequestLength, r.ContentLength)
	x.headerNames()
	e.SetStrings(signal.FieldHTTPRequestHeaderNames, x.names)
	if c := h["Cookie"]; len(c) > 0 {
		x.cookies = urlmask.CookieNames(x.cookies, c)
		e.SetStrings(signal.FieldHTTPRequestCookieNames, x.cookies)
	}
	for _, keep := range mask.headers {
		if v := h[keep.key]; len(v) > 0 {
			e.SetUnmapped(keep.attr, clean(strings.Join(v, ", "), maxValue))
		}
	}
	if t := x.conn.tls; t != nil {
		e.SetString(signal.FieldTLSVersion, t.version)
		e.SetString(signal.FieldTLSCipher, t.cipher)
		if t.sni != "" {
			e.SetString(signal.FieldTLSSNI, t.sni)
		}
		if t.alpn != "" {
			e.SetString(signal.FieldTLSALPN, t.alpn)
		}
	}
	if x.failure != "" { // of begin: the path is ambiguous
		e.SetString(signal.FieldEdgeError, x.failure)
	}
}

// setHeader sets a field whose recorded form is cleaned, or masked where the route wants that.
func setHeader(e *signal.Event, f signal.Field, values []string, limit int, keep bool) {
	if len(values) == 0 {
		return
	}
	raw, recorded := values[0], masked
	if keep {
		recorded = clean(raw, limit)
	}
	if raw == recorded {
		e.SetString(f, raw)
		return
	}
	e.SetMasked(f, raw, recorded)
}

func version(r *http.Request) string {
	switch {
	case r.ProtoMajor == 2:
		return "2"
	case r.ProtoMajor == 1 && r.ProtoMinor == 1:
		return "1.1"
	case r.ProtoMajor == 1:
		return "1.0"
	}
	return "unknown"
}

func (x *exchange) headerNames() {
	for name := range x.r.Header {
		if len(x.names) >= urlmask.MaxNames {
			break
		}
		lower, ok := x.lower[name]
		if !ok {
			if lower = strings.ToLower(name); !urlmask.PlainName(name) {
				lower = masked
			}
			if len(x.lower) < maxLower && len(name) <= urlmask.MaxName {
				x.lower[strings.Clone(name)] = lower
			}
		}
		x.names = append(x.names, lower)
	}
	slices.Sort(x.names)
}

// describeResult adds what the inspector found so far.
func (x *exchange) describeResult(e *signal.Event, response bool) {
	if len(x.args) > 0 && !response {
		e.SetStrings(signal.FieldHTTPRequestArgsNames, x.args)
	}
	if x.inspection == nil {
		return
	}
	r, cfg := &x.result, x.route.cfg
	e.SetInt(signal.FieldWAFParanoia, int64(cfg.Paranoia))
	e.SetInt(signal.FieldWAFThreshold, int64(cfg.Thresholds.Inbound))
	e.SetInt(signal.FieldWAFScore, int64(r.Score))
	if response {
		e.SetInt(signal.FieldWAFOutboundScore, int64(r.OutboundScore))
		e.SetInt(signal.FieldWAFOutboundThreshold, int64(cfg.Thresholds.Outbound))
	}
	for _, list := range [...]struct {
		f signal.Field
		v []string
	}{{signal.FieldWAFRules, r.Rules}, {signal.FieldWAFMessages, r.Messages}, {signal.FieldWAFTargets, r.Targets}, {signal.FieldWAFCategories, r.Categories}} {
		if len(list.v) > 0 {
			e.SetStrings(list.f, list.v)
		}
	}
	if r.Err != nil {
		e.SetString(signal.FieldWAFError, clean(r.Err.Error(), maxValue))
	}
}

// answer records the response: final with the sizes, where the body has ended; else as it
// stands at the head. It returns the verdict, which can still be obeyed at the head.
func (x *exchange) answer(final bool) signal.Verdict {
	if final && x.answered {
		return signal.Verdict{}
	}
	e, now := &x.reply, x.ed.now()
	x.describeEnds(e)
	x.setPath(e)
	e.ID, e.Time, e.Parent = signal.NewID(now), now.UnixNano(), x.id
	if x.status != 0 {
		e.SetInt(signal.FieldHTTPResponseCode, int64(x.status))
		e.SetInt(signal.FieldStatusID, statusID(x.status))
	}
	if x.up != nil {
		e.SetString(signal.FieldEdgeUpstream, x.up.Host)
		e.SetInt(signal.FieldEdgeAttempts, int64(x.attempts))
	}
	if !x.headAt.IsZero() {
		e.SetInt(signal.FieldHTTPResponseLatency, x.headAt.Sub(x.start).Milliseconds())
	}
	if v := x.w.Header()["Content-Type"]; len(v) > 0 {
		media, _, _ := strings.Cut(v[0], ";")
		e.SetString(signal.FieldHTTPResponseContentType, clean(strings.TrimSpace(media), maxValue))
	}
	failure := x.failure
	if failure == "" && x.unjudged {
		failure = "not-judged" // the request passed all the same
	}
	if failure != "" {
		e.SetString(signal.FieldEdgeError, failure)
		e.SetInt(signal.FieldStatusID, 2)
	}
	if x.inspection != nil {
		x.describeResult(e, true)
	}
	x.describeFound(e, true)
	if final {
		x.answered = true
		e.SetInt(signal.FieldDuration, now.Sub(x.start).Milliseconds())
		e.SetInt(signal.FieldHTTPResponseLength, x.sent)
		e.SetInt(signal.FieldTrafficBytesIn, x.body.size())
		e.SetInt(signal.FieldTrafficBytesOut, x.sent)
	}
	// The client may be gone by now; that it was served is recorded all the same.
	verdict, err := x.ed.sink.Event(context.Background(), e)
	if err != nil {
		x.ed.metrics.notJudged.Inc()
		x.unjudged = true
		return signal.Verdict{}
	}
	return verdict
}

func statusID(status int) int64 {
	if status < 400 {
		return 1
	}
	return 2
}
