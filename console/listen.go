package console

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"syscall"

	"github.com/testudo-sec/testudo/internal/selfcert"
)

// Listen binds the console's address. With port 0 the system chooses one, which URL then names.
func (s *Server) Listen() error {
	host, _, err := net.SplitHostPort(s.cfg.Listen)
	if err != nil {
		return fmt.Errorf("console: %w", err)
	}
	s.cert, err = newCertificate(s.cfg, s.dir, certHosts(host, s.cfg.Names), s.now)
	if err != nil {
		return fmt.Errorf("console: %w", err)
	}
	ln, err := net.Listen("tcp", s.cfg.Listen)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("console: %s is in use by another program: stop it, or choose another address with --console or console.listen", s.cfg.Listen)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("console: %s needs a privilege that this user lacks: choose a port from 1024 on with --console or console.listen", s.cfg.Listen)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("console: %s is no address of this machine: choose another with --console or console.listen", s.cfg.Listen)
	case err != nil:
		return fmt.Errorf("console: listen on %s: %w", s.cfg.Listen, unwrapOp(err))
	}
	s.place(ln.Addr().String())
	bounded := &boundedListener{Listener: ln, server: s, open: make(map[netip.Addr]int)}
	s.ln = tls.NewListener(bounded, &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.cert.get(), nil },
	})
	return nil
}

// place notes where the console is reached.
func (s *Server) place(addr string) {
	host, port, _ := net.SplitHostPort(addr)
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "localhost"
		if len(s.cfg.Names) > 0 {
			host = s.cfg.Names[0]
		}
	}
	// A name that was asked for is what the certificate and the reader know.
	if want, _, err := net.SplitHostPort(s.cfg.Listen); err == nil && want != "" && net.ParseIP(want) == nil {
		host = want
	}
	s.port = port
	s.base = "https://" + net.JoinHostPort(host, port)
}

// URL returns the console's address, as in https://127.0.0.1:7443.
func (s *Server) URL() string { return s.base }

// Fingerprint returns the SHA-256 of the certificate as browsers show it; Listen first.
func (s *Server) Fingerprint() string { return selfcert.Fingerprint(s.cert.get()) }

func certHosts(listen string, names []string) []string {
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	if ip, err := netip.ParseAddr(listen); listen != "" && (err != nil || !ip.IsUnspecified()) {
		hosts = append(hosts, listen)
	}
	for _, n := range names {
		if !slices.Contains(hosts, n) {
			hosts = append(hosts, n)
		}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// boundedListener closes connections beyond the bounds at once, instead of letting them
// wait: a full queue of the system would keep everybody out.
type boundedListener struct {
	net.Listener
	server *Server

	mu   sync.Mutex
	open map[netip.Addr]int
	all  int
}

func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		var from netip.Addr
		if ap, err := netip.ParseAddrPort(c.RemoteAddr().String()); err == nil {
			from = ap.Addr().Unmap()
			if from.Is6() { // who has one address of a network has them all
				p, _ := from.WithZone("").Prefix(64)
				from = p.Addr()
			}
		}
		if !l.take(from) {
			l.server.metrics.connsOver.Inc()
			_ = c.Close()
			continue
		}
		return &plainConn{Conn: c, server: l.server, release: sync.OnceFunc(func() { l.give(from) })}, nil
	}
}

func (l *boundedListener) take(from netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= l.server.cfg.MaxConnections || l.open[from] >= l.server.cfg.MaxConnectionsPerAddress {
		return false
	}
	l.all++
	l.open[from]++
	l.server.metrics.conns.Set(float64(l.all))
	return true
}

func (l *boundedListener) give(from netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.open[from]--; l.open[from] == 0 {
		delete(l.open, from)
	}
	l.server.metrics.conns.Set(float64(l.all))
}

// plainConn looks at the first bytes that TLS reads. Somebody who typed http:// is sent
// to https:// instead of being left with a broken page.
type plainConn struct {
	net.Conn
	server  *Server
	release func()
	begun   bool // only the goroutine that reads uses it
}

func (c *plainConn) Close() error {
	c.release()
	return c.Conn.Close()
}

func (c *plainConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.begun || n == 0 {
		return n, err
	}
	c.begun = true
	if p[0] < 'A' || p[0] > 'Z' { // a TLS record begins with 0x16, a method with a capital
		return n, err
	}
	c.answerPlain(p[:n])
	return 0, io.EOF
}

// answerPlain answers what has come of a plain HTTP request; the time limit of the TLS
// handshake holds for it.
func (c *plainConn) answerPlain(head []byte) {
	const most = 8 << 10
	src := io.MultiReader(bytes.NewReader(head), io.LimitReader(c.Conn, most-int64(min(len(head), most))))
	resp := "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n" +
		"The console speaks HTTPS only: open " + c.server.URL() + "\n"
	if r, err := http.ReadRequest(bufio.NewReader(src)); err == nil && safe(r.Method) {
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, c.LocalAddr()))
		if c.server.hostAllowed(r) && r.URL.Path != "" && r.URL.Path[0] == '/' {
			// The query stays behind: it may hold a one-time link, and this answer is in clear.
			to := "https://" + net.JoinHostPort(hostOnly(r.Host), portOf(r.Host, c.server.port)) + r.URL.EscapedPath()
			resp = "HTTP/1.1 307 Temporary Redirect\r\nLocation: " + to + "\r\n" +
				"Content-Length: 0\r\nConnection: close\r\n\r\n"
		}
	}
	_, _ = io.WriteString(c.Conn, resp)
}

// portOf returns the port that a Host header names, which a forwarder may have
// changed, or ours.
func portOf(hostport, ours string) string {
	if _, port, err := net.SplitHostPort(hostport); err == nil {
		if n, err := strconv.ParseUint(port, 10, 16); err == nil && n > 0 {
			return strconv.FormatUint(n, 10)
		}
	}
	return ours
}
