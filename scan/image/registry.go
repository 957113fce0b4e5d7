package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/testudo-sec/testudo/scan"
)

// fromRegistry reads what describes an image in a registry.
func (i *Image) fromRegistry(ctx context.Context, ref string, r *resolver) error {
	options := []name.Option{}
	if i.options.PlainHTTP {
		options = append(options, name.Insecure)
	}
	at, err := parseReference(ref, options)
	if err != nil {
		return fmt.Errorf("image %s: neither a file here nor the name of an image: %w", scan.Printable(cut(ref, 300)), err)
	}
	from, err := newRegistry(at, &i.options)
	if err == nil {
		i.blobs, r.blobs = from, from
		var m *manifest
		var d descriptor
		m, d, err = r.resolve(ctx, descriptor{name: at.Identifier(), Digest: digestOf(at)}, 0)
		if err == nil {
			if d.Digest == "" {
				d.Digest = from.resolved(at.Identifier())
			}
			err = i.describe(ctx, m, d)
		}
	}
	if err != nil {
		return fmt.Errorf("image %s: %w", scan.Printable(at.String()), err)
	}
	i.Name = at.String()
	return nil
}

func parseReference(ref string, options []name.Option) (name.Reference, error) {
	if len(ref) > 1000 {
		return nil, errors.New("too long")
	}
	return name.ParseReference(ref, options...)
}

func digestOf(ref name.Reference) string {
	if d, ok := ref.(name.Digest); ok {
		return d.DigestStr()
	}
	return ""
}

// registry gives the blobs of one repository. What is fetched is held until Close, because layers are read twice.
type registry struct {
	repository name.Repository
	puller     *remote.Puller
	transport  *http.Transport
	left       atomic.Int64 // bytes that may still be fetched

	mu       sync.Mutex
	fetched  map[string]*fetch
	manifest map[string]string // digests by tag
}

// fetch is a blob that is fetched once, whoever asks for it.
type fetch struct {
	once  sync.Once
	spool *spool
	err   error
}

func newRegistry(at name.Reference, o *Options) (*registry, error) {
	host := at.Context().RegistryStr()
	g := newGuard(host, o)
	keys := o.Credentials
	if keys == nil {
		keys = authn.DefaultKeychain
	}
	puller, err := remote.NewPuller(remote.WithTransport(g), remote.WithAuthFromKeychain(keys), remote.WithUserAgent("testudo"),
		remote.WithRetryBackoff(remote.Backoff{Duration: 200 * time.Millisecond, Factor: 3, Jitter: 0.1, Steps: 3}))
	if err != nil {
		return nil, err
	}
	r := &registry{repository: at.Context(), puller: puller, transport: g.transport, fetched: map[string]*fetch{}, manifest: map[string]string{}}
	r.left.Store(int64(o.Config.MaxUnpacked))
	return r, nil
}

func (r *registry) resolved(tag string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.manifest[tag]
}

func (r *registry) open(ctx context.Context, d *descriptor) (*blob, error) {
	if d.manifest {
		return r.openManifest(ctx, d)
	}
	if _, _, err := newHash(d.Digest); err != nil {
		return nil, err
	}
	r.mu.Lock()
	f := r.fetched[d.Digest]
	if f == nil {
		f = &fetch{}
		r.fetched[d.Digest] = f
	}
	r.mu.Unlock()
	f.once.Do(func() { f.spool, f.err = r.fetch(ctx, d) })
	if f.err != nil {
		return nil, f.err
	}
	return f.spool.blob(), nil
}

func (r *registry) openManifest(ctx context.Context, d *descriptor) (*blob, error) {
	var ref name.Reference = r.repository.Digest(d.Digest)
	if d.Digest == "" {
		ref = r.repository.Tag(d.name)
	} else if _, _, err := newHash(d.Digest); err != nil {
		return nil, err
	}
	got, err := r.puller.Get(ctx, ref)
	if err != nil {
		return nil, explain(err)
	}
	r.mu.Lock()
	r.manifest[d.name] = got.Digest.String()
	r.mu.Unlock()
	return (&spool{data: got.Manifest, size: int64(len(got.Manifest))}).blob(), nil
}

// fetch reads a blob, not more than its descriptor says, and checks its digest.
func (r *registry) fetch(ctx context.Context, d *descriptor) (*spool, error) {
	if d.Size < 0 || r.left.Add(-d.Size) < 0 {
		return nil, fmt.Errorf("%s: with it, more would be fetched than the limit (max_unpacked)", d)
	}
	layer, err := r.puller.Layer(ctx, r.repository.Digest(d.Digest))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d, explain(err))
	}
	body, err := layer.Compressed()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d, explain(err))
	}
	defer body.Close()
	h, sum, err := newHash(d.Digest)
	if err != nil {
		return nil, err
	}
	s, err := newSpool(io.TeeReader(body, h), "", d.Size)
	switch {
	case err != nil && strings.Contains(err.Error(), "error verifying"):
		return nil, fmt.Errorf("%s: %w", d, errDigest)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", d, explain(err))
	case sumOf(h) != sum:
		s.Close()
		return nil, fmt.Errorf("%s: %w", d, errDigest)
	}
	return s, nil
}

// Close lets go of what was fetched.
func (r *registry) Close() error {
	r.transport.CloseIdleConnections()
	r.mu.Lock()
	defer r.mu.Unlock()
	var err error
	for _, f := range r.fetched {
		if f.spool != nil {
			err = errors.Join(err, f.spool.Close())
		}
	}
	return err
}

// explain makes an error of a registry short, printable and without what a server wrote at length.
func explain(err error) error {
	for _, known := range []error{errStalled, errPrivate, errPlain} {
		if errors.Is(err, known) {
			return known
		}
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return errors.New(scan.Printable(cut(err.Error(), 500)))
}

var (
	errStalled = errors.New("the registry sent nothing for too long")
	errPrivate = errors.New("the registry sends to a private address: refused")
	errPlain   = errors.New("the registry is reached without TLS: refused, unless plain HTTP is allowed for it")
)

// guard is the way to a registry: it refuses plain HTTP and private addresses where the user did not name them, and ends what
// stalls. Redirects, and the servers that give out tokens, go through it too.
type guard struct {
	host      string // of the registry, with port
	plain     bool
	stall     time.Duration
	transport *http.Transport
	private   atomic.Bool // the registry itself has a private address
	proxies   sync.Map    // addresses of proxies that the environment names
}

func newGuard(host string, o *Options) *guard {
	g := &guard{host: host, plain: o.PlainHTTP, stall: o.Stall}
	g.private.Store(isPrivateHost(host))
	g.transport = &http.Transport{
		Proxy: g.proxy, DialContext: g.dial, ForceAttemptHTTP2: true, TLSClientConfig: o.TLS.Clone(), TLSHandshakeTimeout: min(o.Stall, 15*time.Second),
		ResponseHeaderTimeout: o.Stall, MaxIdleConnsPerHost: 8, IdleConnTimeout: 30 * time.Second, MaxResponseHeaderBytes: 256 << 10,
	}
	return g
}

// proxy remembers the proxies that the environment names: they may be private.
func (g *guard) proxy(r *http.Request) (*url.URL, error) {
	u, err := http.ProxyFromEnvironment(r)
	if u != nil {
		g.proxies.Store(hostPort(u), true)
	}
	return u, err
}

// hostPort returns the address that a URL is dialled at.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443", "socks5": "1080"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// isRegistry reports whether an address with port is the one that the user named.
func (g *guard) isRegistry(address string) bool {
	if address == g.host {
		return true
	}
	host, port, err := net.SplitHostPort(address)
	return err == nil && host == g.host && (port == "443" || port == "80")
}

func (g *guard) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: min(g.stall, 15*time.Second)}
	_, isProxy := g.proxies.Load(address)
	registry := g.isRegistry(address)
	d.Control = func(_, resolved string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(resolved)
		switch {
		case err != nil:
			return err
		case isProxy:
		case registry:
			g.private.Store(g.private.Load() || isPrivate(at.Addr()))
		case isPrivate(at.Addr()) && (!g.private.Load() || at.Addr().Unmap().IsLinkLocalUnicast()):
			return errPrivate
		}
		return nil
	}
	return d.DialContext(ctx, network, address)
}

// RoundTrip implements http.RoundTripper.
func (g *guard) RoundTrip(r *http.Request) (*http.Response, error) {
	at := hostPort(r.URL)
	if ip, err := netip.ParseAddr(r.URL.Hostname()); err == nil && isPrivate(ip) && !g.isRegistry(at) && (!g.private.Load() || ip.Unmap().IsLinkLocalUnicast()) {
		return nil, errPrivate // also where a proxy would dial
	}
	if r.URL.Scheme != "https" && !isLoopbackHost(r.URL.Hostname()) && !(g.plain && g.isRegistry(at)) {
		return nil, errPlain
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	timer := time.AfterFunc(g.stall, func() { cancel(errStalled) })
	response, err := g.transport.RoundTrip(r.WithContext(ctx))
	if err != nil {
		timer.Stop()
		if errors.Is(context.Cause(ctx), errStalled) || isTimeout(err) {
			err = errStalled
		}
		cancel(nil)
		return nil, err
	}
	response.Body = &watched{ReadCloser: response.Body, ctx: ctx, cancel: cancel, timer: timer, stall: g.stall}
	return response, nil
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// watched is a body that ends when nothing comes for too long.
type watched struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	stall  time.Duration
}

func (w *watched) Read(p []byte) (int, error) {
	w.timer.Reset(w.stall)
	n, err := w.ReadCloser.Read(p)
	w.timer.Stop()
	if err != nil && errors.Is(context.Cause(w.ctx), errStalled) {
		err = errStalled
	}
	return n, err
}

func (w *watched) Close() error {
	w.timer.Stop()
	err := w.ReadCloser.Close()
	w.cancel(nil)
	return err
}

// isPrivate tells addresses that are not of the Internet.
func isPrivate(a netip.Addr) bool {
	a = a.Unmap()
	return !a.IsGlobalUnicast() || a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() ||
		netip.MustParsePrefix("100.64.0.0/10").Contains(a) || netip.MustParsePrefix("64:ff9b::/96").Contains(a)
}

func isPrivateHost(hostAndPort string) bool {
	host, _, err := net.SplitHostPort(hostAndPort)
	if err != nil {
		host = hostAndPort
	}
	if isLoopbackHost(host) {
		return true
	}
	a, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && isPrivate(a)
}

func isLoopbackHost(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && a.Unmap().IsLoopback()
}
