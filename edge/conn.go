package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/testudo-sec/testudo/internal/forwarded"
	"github.com/testudo-sec/testudo/internal/httpframe"
	"github.com/testudo-sec/testudo/signal"
)

// connInfo is what is known of a connection from a client; its requests share it.
type connInfo struct {
	id          string
	peer        netip.AddrPort
	local       netip.AddrPort
	peerTrusted bool
	requests    atomic.Int64

	// Set before the first request.
	tls *tlsInfo

	// The requests that an HTTP/2 client cancelled in the ten seconds since resetsFrom.
	resets     atomic.Int64
	resetsFrom atomic.Int64
	conn       net.Conn
}

// tlsInfo is what events say about TLS.
type tlsInfo struct{ version, sni, cipher, alpn string }

type connKey struct{}

func connOf(ctx context.Context) *connInfo {
	info, _ := ctx.Value(connKey{}).(*connInfo)
	return info
}

func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		ap := t.AddrPort()
		return netip.AddrPortFrom(ap.Addr().WithZone("").Unmap(), ap.Port())
	}
	ap, _ := netip.ParseAddrPort(a.String())
	return ap
}

func (ed *Edge) newConnInfo(c net.Conn) *connInfo {
	info := &connInfo{id: strconv.FormatUint(ed.connSeq.Add(1), 36), peer: addrPort(c.RemoteAddr()), local: addrPort(c.LocalAddr()), conn: c}
	info.peerTrusted = ed.proxies.Trusts(info.peer.Addr())
	return info
}

func newTLSInfo(s *tls.ConnectionState) *tlsInfo {
	version := ""
	switch s.Version {
	case tls.VersionTLS12:
		version = "1.2"
	case tls.VersionTLS13:
		version = "1.3"
	}
	return &tlsInfo{version: version, sni: clean(s.ServerName, maxValue), cipher: tls.CipherSuiteName(s.CipherSuite), alpn: clean(s.NegotiatedProtocol, 32)}
}

// slotConn gives its place in the table of connections back when it is closed, and
// bounds how long a client may take to accept bytes.
type slotConn struct {
	net.Conn
	free  func()
	freed atomic.Bool
	stall time.Duration
	until atomic.Int64 // write deadline, nanoseconds since the Unix epoch
}

// Write extends the deadline rarely: setting it costs as much as a small write.
func (c *slotConn) Write(p []byte) (int, error) {
	now := time.Now()
	if until := c.until.Load(); until-now.UnixNano() < int64(c.stall)*3/4 {
		deadline := now.Add(c.stall)
		if err := c.Conn.SetWriteDeadline(deadline); err != nil {
			return 0, err
		}
		c.until.Store(deadline.UnixNano())
	}
	return c.Conn.Write(p)
}

// SetWriteDeadline keeps out net/http, which clears the deadline after each response.
func (c *slotConn) SetWriteDeadline(t time.Time) error {
	if t.IsZero() {
		return nil
	}
	c.until.Store(t.UnixNano())
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline sets both deadlines.
func (c *slotConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// CloseWrite is used by net/http to let a client read the refusal of a request
// that it is still sending.
func (c *slotConn) CloseWrite() error {
	if t, ok := c.Conn.(*net.TCPConn); ok {
		return t.CloseWrite()
	}
	return nil
}

func (c *slotConn) Close() error {
	if c.freed.CompareAndSwap(false, true) {
		c.free()
	}
	return c.Conn.Close()
}

// http1Conn is a connection on which HTTP/1 is spoken: what comes in passes the framer, and
// what net/http answers by itself is noticed.
type http1Conn struct {
	net.Conn
	ed     *Edge
	info   *connInfo
	frame  httpframe.Framer
	inside atomic.Bool // a handler has the word
	cut    atomic.Bool // the body of the last request was not read to its end: nothing may follow

	// fault is what the client did wrong in the midst of a body. net/http cancels the request's
	// context before the reader of the body learns why; with this one can tell it from a
	// client that left.
	fault atomic.Pointer[string]
}

// ConnectionState tells net/http that the connection is encrypted. Its Request.TLS
// is then set; on a plain connection net/http must not find the method.
type http1TLSConn struct{ *http1Conn }

func (c http1TLSConn) ConnectionState() tls.ConnectionState {
	if t, ok := c.Conn.(*tls.Conn); ok {
		return t.ConnectionState()
	}
	return tls.ConnectionState{}
}

func (c http1TLSConn) plain() *http1Conn { return c.http1Conn }
func (c *http1Conn) plain() *http1Conn   { return c }

func (ed *Edge) newHTTP1Conn(c net.Conn, info *connInfo) *http1Conn {
	// net/http stops reading 4 KiB behind its limit and answers 431: the
	// framer is to be the second to notice.
	limits := httpframe.Limits{Bytes: int(ed.cfg.Limits.HeaderBytes) + 8<<10, Fields: ed.cfg.Limits.HeaderCount}
	return &http1Conn{Conn: c, ed: ed, info: info, frame: httpframe.New(limits)}
}

func (c *http1Conn) Read(p []byte) (int, error) {
	if c.cut.Load() && !c.inside.Load() {
		return 0, io.EOF
	}
	if refused := c.frame.Err(); refused != nil {
		return 0, refused
	}
	n, err := c.Conn.Read(p)
	if n > 0 {
		ok, bad := c.frame.Feed(p[:n])
		if bad != nil {
			reason := c.frame.Err().Reason
			c.fault.Store(&reason)
			c.ed.metrics.reject(reason)
			if !c.frame.MidBody() { // else the exchange under way records it
				c.ed.refusedByForm(c.info, reason, http.StatusBadRequest)
			}
			if ok > 0 {
				return ok, nil // the next read reports it
			}
			return 0, bad
		}
	}
	if err != nil && errors.Is(err, os.ErrDeadlineExceeded) && c.fault.Load() == nil {
		switch {
		case c.inside.Load() && c.frame.MidBody():
			reason := reasonSlowBody
			c.fault.Store(&reason)
		case !c.inside.Load() && c.frame.MidHead():
			reason := reasonSlowHeader
			c.fault.Store(&reason)
			c.ed.metrics.reject(reason)
			c.ed.refusedByForm(c.info, reason, 0)
		}
	}
	return n, err
}

// Write notices the refusals that net/http writes by itself, which it does only between
// two requests. It answers what the framer refuses too; that is recorded already.
func (c *http1Conn) Write(p []byte) (int, error) {
	if !c.inside.Load() && c.fault.Load() == nil && len(p) > 12 && string(p[:9]) == "HTTP/1.1 " && (p[9] == '4' || p[9] == '5') {
		code, _ := strconv.Atoi(string(p[9:12]))
		reason := reasonHTTP
		if code == http.StatusRequestHeaderFieldsTooLarge {
			reason = httpframe.HeaderBytes
		}
		c.ed.metrics.reject(reason)
		c.ed.refusedByForm(c.info, reason, code)
	}
	return c.Conn.Write(p)
}

// CloseWrite is passed on: see slotConn.CloseWrite.
func (c *http1Conn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}

// connState is the hook of http.Server.
func (ed *Edge) connState(c net.Conn, s http.ConnState) {
	if h, ok := c.(interface{ plain() *http1Conn }); ok && s == http.StateIdle {
		h.plain().inside.Store(false)
	}
}

func (ed *Edge) connContext(ctx context.Context, c net.Conn) context.Context {
	switch c := c.(type) {
	case interface{ plain() *http1Conn }:
		h := c.plain()
		ctx = context.WithValue(ctx, http1Key{}, h)
		return context.WithValue(ctx, connKey{}, h.info)
	case *tls.Conn:
		info := ed.newConnInfo(c)
		state := c.ConnectionState()
		info.tls = newTLSInfo(&state)
		return context.WithValue(ctx, connKey{}, info)
	}
	return ctx
}

type http1Key struct{}

func http1Of(ctx context.Context) *http1Conn {
	c, _ := ctx.Value(http1Key{}).(*http1Conn)
	return c
}

// refusedByForm records, not too often, a message that nobody could judge.
func (ed *Edge) refusedByForm(info *connInfo, reason string, code int) {
	now := ed.now()
	count, ok := ed.formRecords.Allow(info.peer.Addr(), now)
	if !ok {
		return
	}
	e := ed.events.Get().(*signal.Event)
	defer ed.events.Put(e)
	e.Reset()
	e.ID, e.Time, e.Class, e.Activity = signal.NewID(now), now.UnixNano(), signal.ClassHTTPActivity, signal.ActivityOther
	e.Severity, e.Plane = signal.SeverityLow, signal.PlaneEdge
	e.SetIP(signal.FieldSrcEndpointIP, info.peer.Addr())
	e.SetInt(signal.FieldSrcEndpointPort, int64(info.peer.Port()))
	e.SetIP(signal.FieldDstEndpointIP, info.local.Addr())
	e.SetInt(signal.FieldDstEndpointPort, int64(info.local.Port()))
	e.SetString(signal.FieldConnectionInfoUID, info.id)
	trust := forwarded.Peer
	if info.peerTrusted {
		e.SetIP(signal.FieldProxyEndpointIP, info.peer.Addr())
		trust = forwarded.Proxy
	}
	e.SetString(signal.FieldEdgeClientTrust, trust)
	e.SetString(signal.FieldEdgeError, "malformed")
	e.SetString(signal.FieldStatusDetail, "not judged: "+reason)
	e.SetInt(signal.FieldStatusID, 2)
	e.SetInt(signal.FieldCount, int64(count))
	if code != 0 {
		e.SetInt(signal.FieldHTTPResponseCode, int64(code))
	}
	if _, err := ed.sink.Event(context.Background(), e); err != nil {
		ed.metrics.notJudged.Inc()
	}
}
