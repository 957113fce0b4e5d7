// Package upstream keeps the servers behind a proxy: connections with bounds on what a server may
// take, a choice among several by weight, and their health, learned from the requests that
// they answer ([Server.Failed]) and by asking ([Server.Watch]).
package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/testudo-sec/testudo/internal/urlmask"
)

// Address is where a server is.
type Address struct {
	URL    string // http://host:port or https://host:port, with a path that comes before every other
	Weight int    // share of the requests; less than 1 counts as 1
	CA     string // PEM file of the authorities that its certificate is checked against; "" for the machine's
}

// Check says when a server is well.
type Check struct {
	Path      string        // what is asked for by GET; "" where nobody asks
	Interval  time.Duration // between two questions, give or take a tenth
	Timeout   time.Duration // for an answer
	Healthy   int           // good answers in a row that bring it back
	Unhealthy int           // bad answers in a row that take it out, and failed requests in a row
	CoolDown  time.Duration // how long it is out after failed requests
}

// Timeouts bound what a server may take. Each is more than 0.
type Timeouts struct {
	Connect  time.Duration // to make a connection, TLS handshake included
	Response time.Duration // from the end of the request to the head of the response
	Idle     time.Duration // without a byte in either direction
}

// Server is one server. It is safe for concurrent use; requests read its state without a lock.
type Server struct {
	Base   *url.URL // not to be changed
	Host   string   // host:port, as shown
	Prefix string   // path before the forwarded path, escaped, without a slash at its end

	check     *Check
	transport *http.Transport

	inFlight atomic.Int64
	made     atomic.Uint64 // connections
	failures atomic.Int64  // failed requests in a row
	outUntil atomic.Int64  // nanoseconds since the Unix epoch: out after failed requests
	down     atomic.Bool   // by the check
	reason   atomic.Pointer[string]
}

func newServer(a Address, t Timeouts, check *Check) (*Server, error) {
	base, err := url.Parse(a.URL)
	if err != nil {
		return nil, fmt.Errorf("upstream %q is not a URL", urlmask.Clean(a.URL, 128))
	}
	up := &Server{Base: base, Host: base.Host, Prefix: strings.TrimSuffix(base.EscapedPath(), "/"), check: check}
	up.made.Store(rand.Uint64() >> 1) // so that connections of two servers at one address have different numbers
	dialer := &net.Dialer{Timeout: t.Connect, KeepAlive: 30 * time.Second}
	up.transport = &http.Transport{
		Proxy: nil, // the environment does not decide where the application is
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &idleConn{Conn: c, idle: t.Idle, number: up.made.Add(1)}, nil
		},
		TLSHandshakeTimeout:    t.Connect,
		ResponseHeaderTimeout:  t.Response,
		MaxIdleConns:           1024,
		MaxIdleConnsPerHost:    512,
		IdleConnTimeout:        90 * time.Second,
		ExpectContinueTimeout:  time.Second,
		DisableCompression:     true, // bodies pass as they are
		MaxResponseHeaderBytes: 1 << 20,
		ForceAttemptHTTP2:      true,
		ReadBufferSize:         16 << 10,
	}
	if a.CA != "" {
		pem, err := os.ReadFile(a.CA)
		if err != nil {
			return nil, fmt.Errorf("upstream %s: ca: %w", up.Host, err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("upstream %s: ca: no certificate in %s", up.Host, a.CA)
		}
		up.transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	return up, nil
}

// RoundTrip sends a request, as http.RoundTripper does. Where it returns a response, the request
// counts as in flight until Done is called.
func (up *Server) RoundTrip(r *http.Request) (*http.Response, error) {
	up.inFlight.Add(1)
	resp, err := up.transport.RoundTrip(r)
	if err != nil {
		up.inFlight.Add(-1)
	}
	return resp, err
}

// Done ends a request that got a response.
func (up *Server) Done() { up.inFlight.Add(-1) }

// InFlight returns how many requests are under way.
func (up *Server) InFlight() int64 { return up.inFlight.Load() }

// Succeeded notes that it answered a request.
func (up *Server) Succeeded() {
	if up.failures.Load() != 0 {
		up.failures.Store(0)
		up.outUntil.Store(0)
	}
}

// Failed notes that it did not. Enough of that in a row take it out for a while.
func (up *Server) Failed(reason string, now time.Time) {
	up.reason.Store(&reason)
	if up.failures.Add(1) >= int64(up.check.Unhealthy) {
		up.outUntil.Store(now.Add(up.check.CoolDown).UnixNano())
	}
}

// Healthy reports whether it is neither down nor out.
func (up *Server) Healthy(now time.Time) bool {
	return !up.down.Load() && up.outUntil.Load() <= now.UnixNano()
}

// Reason returns the last thing that went wrong, "" where nothing did.
func (up *Server) Reason() string {
	if r := up.reason.Load(); r != nil {
		return *r
	}
	return ""
}

// What went wrong with a request: the results of Reason.
const (
	ConnectTimeout = "upstream-connect-timeout"
	Refused        = "upstream-refused"
	Unreachable    = "upstream-unreachable"
	Timeout        = "upstream-timeout"
	BadTLS         = "upstream-tls"
	Reset          = "upstream-reset"
	Broken         = "upstream-broken"
)

// Reason names what went wrong with RoundTrip, without the addresses and bytes that
// errors of net and net/http carry.
func Reason(err error) string {
	var op *net.OpError
	dial := errors.As(err, &op) && op.Op == "dial"
	var timeout interface{ Timeout() bool }
	late := errors.As(err, &timeout) && timeout.Timeout()
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	switch {
	case dial && late:
		return ConnectTimeout
	case errors.Is(err, syscall.ECONNREFUSED):
		return Refused
	case dial:
		return Unreachable
	case late, errors.Is(err, context.DeadlineExceeded):
		return Timeout
	case errors.As(err, &certificate), errors.As(err, &record):
		return BadTLS
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return Reset
	}
	return Broken
}

// idleConn ends a connection to an upstream on which no byte has moved in either direction for
// the idle time.
type idleConn struct {
	net.Conn
	idle   time.Duration
	until  atomic.Int64
	number uint64

	written atomic.Uint64 // bytes
	users   atomic.Int64  // requests that are on it now
}

func (c *idleConn) extend() error {
	now := time.Now()
	if c.until.Load()-now.UnixNano() > int64(c.idle)*3/4 {
		return nil
	}
	deadline := now.Add(c.idle)
	c.until.Store(deadline.UnixNano())
	return c.Conn.SetDeadline(deadline)
}

func (c *idleConn) Read(p []byte) (int, error) {
	if err := c.extend(); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p)
	if n > 0 && err == nil {
		err = c.extend()
	}
	return n, err
}

func (c *idleConn) Write(p []byte) (int, error) {
	if err := c.extend(); err != nil {
		return 0, err
	}
	c.written.Add(uint64(len(p))) // before the other end can answer
	n, err := c.Conn.Write(p)
	if n < len(p) {
		c.written.Add(-uint64(len(p) - n))
	}
	return n, err
}

// CloseWrite ends one direction of a tunnel.
func (c *idleConn) CloseWrite() error {
	if t, ok := c.Conn.(*net.TCPConn); ok {
		return t.CloseWrite()
	}
	return nil
}
