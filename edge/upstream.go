package edge

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// upstream is one server behind a route. Its state is atomic: requests read it
// without a lock.
type upstream struct {
	base      *url.URL
	host      string // host:port, as shown
	prefix    string // path before the forwarded path, without a slash at its end
	transport *http.Transport

	inFlight atomic.Int64
	failures atomic.Int64 // failed requests in a row
	outUntil atomic.Int64 // nanoseconds since the Unix epoch: out after failed requests
	down     atomic.Bool  // by the health check
	reason   atomic.Pointer[string]
}

func newUpstream(u *Upstream, t *Timeouts) (*upstream, error) {
	base, err := url.Parse(u.URL)
	if err != nil {
		return nil, fmt.Errorf("upstream %q is not a URL", clean(u.URL, 128))
	}
	up := &upstream{base: base, host: base.Host, prefix: strings.TrimSuffix(base.EscapedPath(), "/")}
	dialer := &net.Dialer{Timeout: t.Connect, KeepAlive: 30 * time.Second}
	up.transport = &http.Transport{
		Proxy: nil, // the environment does not decide where the application is
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &idleConn{Conn: c, idle: t.Idle}, nil
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
	if u.CA != "" {
		pem, err := os.ReadFile(u.CA)
		if err != nil {
			return nil, fmt.Errorf("upstream %s: ca: %w", up.host, err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("upstream %s: ca: no certificate in %s", up.host, u.CA)
		}
		up.transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	return up, nil
}

// idleConn ends a connection to an upstream on which no byte has moved in either direction for
// the idle time.
type idleConn struct {
	net.Conn
	idle  time.Duration
	until atomic.Int64
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
	return c.Conn.Write(p)
}

// CloseWrite ends one direction of a tunnel.
func (c *idleConn) CloseWrite() error {
	if t, ok := c.Conn.(*net.TCPConn); ok {
		return t.CloseWrite()
	}
	return nil
}

// pool chooses among the upstreams of a route: in turn, by weight.
type pool struct {
	all   []*upstream
	order []*upstream // every upstream as often as its weight, spread out
	next  atomic.Uint64
	check *HealthCheck
}

func newPool(r *Route) (*pool, error) {
	p := &pool{check: &r.HealthCheck}
	weights := make([]int, len(r.Upstreams))
	total, div := 0, 0
	for i := range r.Upstreams {
		up, err := newUpstream(&r.Upstreams[i], &r.Timeouts)
		if err != nil {
			return nil, err
		}
		p.all = append(p.all, up)
		weights[i] = max(r.Upstreams[i].Weight, 1)
		div = gcd(div, weights[i])
	}
	for i := range weights {
		weights[i] /= div
		total += weights[i]
	}
	// Smooth weighted round robin: the one that is furthest behind its share goes next.
	credit := make([]int, len(weights))
	for range total {
		best := 0
		for i, w := range weights {
			credit[i] += w
			if credit[i] > credit[best] {
				best = i
			}
		}
		credit[best] -= total
		p.order = append(p.order, p.all[best])
	}
	return p, nil
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// pick returns the next upstream that is well, another one than those tried where there is one;
// nil where all are known to be down. An upstream that is out only because requests
// failed is still better than none.
func (p *pool) pick(now int64, tried []*upstream) *upstream {
	start := p.next.Add(1)
	var again, out *upstream
	for i := range p.order {
		up := p.order[(start+uint64(i))%uint64(len(p.order))]
		switch {
		case up.down.Load():
		case up.outUntil.Load() > now:
			if out == nil {
				out = up
			}
		case contains(tried, up):
			if again == nil {
				again = up
			}
		default:
			return up
		}
	}
	if again == nil {
		return out
	}
	return again
}

func contains(list []*upstream, up *upstream) bool {
	for _, u := range list {
		if u == up {
			return true
		}
	}
	return false
}

// succeeded and failed keep the passive health of an upstream.
func (up *upstream) succeeded() {
	if up.failures.Load() != 0 {
		up.failures.Store(0)
		up.outUntil.Store(0)
	}
}

func (up *upstream) failed(reason string, now time.Time, check *HealthCheck) {
	up.reason.Store(&reason)
	if up.failures.Add(1) >= int64(check.Unhealthy) {
		up.outUntil.Store(now.Add(check.CoolDown).UnixNano())
	}
}

func (up *upstream) healthy(now time.Time) bool {
	return !up.down.Load() && up.outUntil.Load() <= now.UnixNano()
}
