package edge

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/testudo-sec/testudo/signal"
)

// respond copies a response to the client. On a route that blocks it is judged at its
// head, while it can still be stopped.
func (x *exchange) respond(resp *http.Response) {
	x.headAt, x.status = x.ed.now(), resp.StatusCode
	removeHopByHop(resp.Header)
	dropSetOwnCookies(resp.Header)
	held, whole, ok := x.inspectResponse(resp)
	if !ok {
		return
	}
	dst := x.w.Header()
	for k, v := range resp.Header {
		dst[k] = v
	}
	dst["X-Request-Id"] = []string{x.requestID}
	length := resp.ContentLength
	if x.r.Method == http.MethodHead || bodyless(resp.StatusCode) {
		length = 0
	}
	if length < 0 && whole && len(resp.Trailer) == 0 {
		length = int64(len(held)) // all of it has been read: one event says everything
	}
	stream := length < 0 && strings.HasPrefix(strings.ToLower(resp.Header.Get("Content-Type")), "text/event-stream")
	if x.route.block || stream {
		if !x.judgeResponse(length, dst) {
			return
		}
	}
	if len(resp.Trailer) > 0 {
		for k := range resp.Trailer {
			dst["Trailer"] = append(dst["Trailer"], k)
		}
	}
	x.markClose()
	x.w.WriteHeader(resp.StatusCode)
	if flusher, ok := x.w.(http.Flusher); ok && length < 0 {
		flusher.Flush() // the first piece may take its time
	}
	announced := len(resp.Trailer)
	if length != 0 {
		if err := x.copyBody(resp.Body, held, length); err != nil {
			x.broken(err)
		}
	} else if _, ok := x.passPiece(nil, true); !ok {
		x.broken(errStopped)
	}
	for k, v := range resp.Trailer {
		if len(resp.Trailer) != announced {
			k = http.TrailerPrefix + k
		}
		dst[k] = v
	}
	if x.api.news() { // what the event of the head could not tell
		x.answered = false
	}
	x.answer(true)
}

func bodyless(status int) bool {
	return status == http.StatusNoContent || status == http.StatusNotModified || status < 200
}

// judgeResponse asks for a verdict at the head of a response. A body of known length
// needs no second event when it has been sent: the sizes are those declared. It reports
// false where the response was stopped.
func (x *exchange) judgeResponse(length int64, dst http.Header) bool {
	var verdict signal.Verdict
	if length >= 0 {
		x.sent = length
		verdict = x.answer(true)
		x.sent = 0
	} else {
		verdict = x.answer(false)
	}
	failed := x.route.closed && (x.unjudged || x.result.Err != nil || x.api.found.Err != nil)
	if !x.route.block || verdict.Decision < signal.Challenge && !failed {
		return true
	}
	x.ed.metrics.byResponse.Inc()
	x.answered = true // the event of the head has the verdict
	clear(dst)
	dst["X-Request-Id"] = []string{x.requestID}
	x.page(http.StatusBadGateway)
	return false
}

// inspectResponse lets the inspector and the guard look at the head, and at the beginning of the body
// where they ask for that. It reports whether held is the whole body, and ok as false where
// the exchange is over.
func (x *exchange) inspectResponse(resp *http.Response) (held []byte, whole, ok bool) {
	var forWAF, forAPI int64
	if x.inspection != nil {
		x.result, forWAF = x.inspection.ResponseHeaders(resp.StatusCode, resp.Header)
	}
	x.guard(func(c Check) { forAPI, x.api.pass = c.Response(resp.StatusCode, resp.Header) })
	limit := min(max(forWAF, forAPI), int64(x.route.cfg.InspectLimit))
	if max(forWAF, forAPI) <= 0 {
		return nil, false, true
	}
	truncated := false
	switch {
	case resp.ContentLength == 0 || x.r.Method == http.MethodHead || bodyless(resp.StatusCode):
	case limit == 0: // with inspect_limit: 0 nothing of it is held back
		truncated = true
	default:
		if held, whole, ok = x.holdResponse(resp, limit); !ok {
			return nil, false, false
		}
		truncated = !whole
	}
	seen := held[:min(int64(len(held)), limit)]
	if forWAF > 0 {
		x.result = x.inspection.ResponseBody(part(seen, truncated, forWAF))
	}
	if forAPI > 0 {
		x.guard(func(c Check) { c.ResponseBody(part(seen, truncated, forAPI)) })
	}
	return held, whole, true
}

// copyBody sends what was held back and then the body, each piece as soon as it
// comes. The last piece of a body of known length needs no flush: it leaves with the
// end of the response, in the same packet as the head if it is small.
func (x *exchange) copyBody(body io.Reader, held []byte, length int64) error {
	flusher, _ := x.w.(http.Flusher)
	send := func(p []byte) error {
		n, err := x.w.Write(p)
		x.sent += int64(n)
		if err == nil && flusher != nil && x.sent != length {
			flusher.Flush()
		}
		if err != nil {
			return errClientGone
		}
		return nil
	}
	if len(held) > 0 {
		if err := x.sendChecked(held, false, send); err != nil {
			return err
		}
	}
	buf := x.ed.buffers.Get().(*[]byte)
	defer x.ed.buffers.Put(buf)
	for {
		n, err := body.Read(*buf)
		if n > 0 {
			if err := x.sendChecked((*buf)[:n], false, send); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return x.sendChecked(nil, true, send)
		}
		if err != nil {
			return err
		}
	}
}

var (
	errClientGone = errors.New("edge: the client is gone")
	errStopped    = errors.New("edge: the guard stopped the response")
)

// broken ends an exchange whose body did not arrive whole. The connection is cut, so that the
// client does not take the part for the whole.
func (x *exchange) broken(err error) {
	x.failure = bodyError(err)
	switch {
	case errors.Is(err, errStopped):
		x.failure = "stopped"
		x.ed.metrics.byResponse.Inc()
	case errors.Is(err, errClientGone) || x.r.Context().Err() != nil:
		x.failure = "client-gone"
	default:
		x.up.Failed(x.failure, x.ed.now())
		x.ed.metrics.upstream.WithLabelValues(x.route.name, x.up.Host, x.failure).Inc()
	}
	x.answered = false // where the head was judged, the end is a second event
	x.answer(true)
	panic(http.ErrAbortHandler)
}

func bodyError(err error) string {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return "upstream-idle"
	}
	return "upstream-cut"
}
