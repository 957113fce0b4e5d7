package token

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	fetchTime = 5 * time.Second  // for one fetch in all
	again     = 10 * time.Second // between two that requests ask for
)

// ErrPrivate says that a key set's address is not one of the public network.
var ErrPrivate = errors.New("the key set stands at an address that is not public: set private: true if that is meant")

// source reads one issuer's keys and keeps them.
type source struct {
	issuer Issuer
	client *http.Client
	now    func() time.Time
	stale  time.Duration

	current atomic.Pointer[set]

	mu      sync.Mutex
	running chan struct{} // closed when the fetch that runs now has ended
	tried   time.Time
	err     error // of the last one
}

func newSource(is Issuer, stale time.Duration, now func() time.Time) (*source, error) {
	s := &source{issuer: is, stale: stale, now: now}
	if !is.remote() {
		return s, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if is.CA != "" {
		text, err := os.ReadFile(is.CA)
		if err != nil {
			return nil, fmt.Errorf("certificates for the key set of %s: %w", is.Name, err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("certificates for the key set of %s: %s has none in PEM", is.Name, is.CA)
		}
	}
	d := net.Dialer{Timeout: fetchTime, Control: func(_, address string, _ syscall.RawConn) error {
		// The address that the name turned out to have: a name cannot lead inside.
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		if !is.Private && inside(at.Addr()) {
			return ErrPrivate
		}
		return nil
	}}
	s.client = &http.Client{
		Timeout: fetchTime,
		Transport: &http.Transport{
			DialContext: d.DialContext, TLSClientConfig: config, ForceAttemptHTTP2: true, DisableKeepAlives: true,
			DisableCompression: true, MaxResponseHeaderBytes: 64 << 10, TLSHandshakeTimeout: fetchTime,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return s, nil
}

// inside reports whether an address is not one of the public network.
func inside(ip netip.Addr) bool {
	ip = ip.Unmap()
	for _, p := range reserved {
		if p.Contains(ip) {
			return true
		}
	}
	return !ip.IsGlobalUnicast() || ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast()
}

// reserved are networks that netip does not call private: carriers' NAT, what this host calls itself, the network of
// benchmarks, and IPv4 inside of IPv6 (NAT64, 6to4).
var reserved = []netip.Prefix{
	netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("2002::/16"),
}

// keys returns the keys in use, or nil where there are none or they are too old.
func (s *source) keys() *set {
	k := s.current.Load()
	if k == nil || s.now().Sub(k.read) > s.stale {
		return nil
	}
	return k
}

// renew reads the keys anew for a request that has need of it, unless that was done moments ago. One request does so, the
// others wait for it as long as theirs last.
func (s *source) renew(ctx context.Context) {
	s.mu.Lock()
	if wait := s.running; wait != nil {
		s.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
		}
		return
	}
	now := s.now()
	if !s.tried.IsZero() && now.Sub(s.tried) < again {
		s.mu.Unlock()
		return
	}
	s.begin(now)
	s.mu.Unlock()
	// Others wait too: it does not end with the one who asked first.
	s.load(context.WithoutCancel(ctx))
}

// refresh reads the keys anew, unless that is being done.
func (s *source) refresh(ctx context.Context) error {
	s.mu.Lock()
	if s.running != nil {
		s.mu.Unlock()
		return nil
	}
	s.begin(s.now())
	s.mu.Unlock()
	return s.load(ctx)
}

// begin is called with the lock held.
func (s *source) begin(now time.Time) {
	s.tried = now
	s.running = make(chan struct{})
}

func (s *source) load(ctx context.Context) (err error) {
	err = errors.New("reading the key set broke off")
	defer func() { // whatever happens, nobody waits for ever
		s.mu.Lock()
		s.err = err
		close(s.running)
		s.running = nil
		s.mu.Unlock()
	}()
	text, err := s.read(ctx)
	if err != nil {
		return fmt.Errorf("key set of %s: %w", s.issuer.Name, err)
	}
	k, err := parseSet(text, s.now())
	if err != nil {
		return fmt.Errorf("key set of %s: %w", s.issuer.Name, err)
	}
	s.current.Store(k)
	return nil
}

// why returns the last error, for who finds no keys.
func (s *source) why() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	return fmt.Errorf("key set of %s: not read yet", s.issuer.Name)
}

func (s *source) read(ctx context.Context) ([]byte, error) {
	if !s.issuer.remote() {
		f, err := os.Open(s.issuer.Keys)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return io.ReadAll(io.LimitReader(f, maxSet+1))
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.issuer.Keys, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answered %d: want 200, redirects are not followed", resp.StatusCode)
	}
	return io.ReadAll(io.LimitReader(resp.Body, maxSet+1))
}
