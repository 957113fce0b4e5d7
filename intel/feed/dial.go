package feed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// ErrRedirect says that a server sent the download where it must not go.
var ErrRedirect = errors.New("a redirect that is not followed")

// guard keeps downloads where the user's own URLs lead: redirects go to https only, and to private addresses only
// if the user named one.
type guard struct {
	own     map[string]bool // host:port that the user named
	private atomic.Bool     // one of these has a private address
}

func newGuard(urls ...string) *guard {
	g := &guard{own: map[string]bool{}}
	for _, s := range urls {
		if u, err := url.Parse(s); err == nil && u.Host != "" {
			g.own[hostPort(u)] = true
		}
	}
	return g
}

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// client returns a client that stays within the guard. Proxies come from the environment.
func (g *guard) client(timeout time.Duration) *http.Client {
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: g.dial, ForceAttemptHTTP2: true, DisableCompression: true,
		TLSHandshakeTimeout: timeout, ResponseHeaderTimeout: timeout, IdleConnTimeout: 10 * time.Second,
		MaxIdleConnsPerHost: 16, MaxResponseHeaderBytes: 64 << 10,
	}
	// A proxy is the user's own too.
	for _, scheme := range []string{"http", "https"} {
		if p, err := http.ProxyFromEnvironment(&http.Request{URL: &url.URL{Scheme: scheme, Host: "example.com"}}); err == nil && p != nil {
			g.own[hostPort(p)] = true
		}
	}
	return &http.Client{Transport: t, CheckRedirect: g.redirect}
}

func (g *guard) redirect(req *http.Request, via []*http.Request) error {
	switch to := hostPort(req.URL); {
	case len(via) > 5:
		return fmt.Errorf("%w: more than 5 in a row", ErrRedirect)
	case req.URL.Scheme != "https" && (req.URL.Scheme != "http" || !g.own[to] || via[0].URL.Scheme != "http"):
		return fmt.Errorf("%w: to %s://%s: only https is", ErrRedirect, req.URL.Scheme, req.URL.Host)
	case !g.own[to] && !g.private.Load():
		if ip, err := netip.ParseAddr(req.URL.Hostname()); err == nil && inside(ip) || strings.EqualFold(req.URL.Hostname(), "localhost") {
			return fmt.Errorf("%w: to the private address %s", ErrRedirect, req.URL.Host)
		}
	}
	return nil
}

// dial looks at the address that a name turned out to have, so that a name cannot lead inside either.
func (g *guard) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	own := g.own[strings.ToLower(addr)]
	d := net.Dialer{Timeout: 20 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		switch private := inside(at.Addr()); {
		case private && own:
			g.private.Store(true)
		case private && !g.private.Load():
			return fmt.Errorf("%w: %s is the private address %s", ErrRedirect, addr, at.Addr())
		}
		return nil
	}}
	return d.DialContext(ctx, network, addr)
}

// inside reports whether an address is not one of the public network.
func inside(ip netip.Addr) bool {
	ip = ip.Unmap()
	shared := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10)
	return !ip.IsGlobalUnicast() || ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsUnspecified() || shared.Contains(ip)
}
