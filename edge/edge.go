package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/testudo-sec/testudo/internal/bytesize"
	"github.com/testudo-sec/testudo/internal/forwarded"
	"github.com/testudo-sec/testudo/internal/selfcert"
	"github.com/testudo-sec/testudo/internal/throttle"
	"github.com/testudo-sec/testudo/internal/upstream"
	"github.com/testudo-sec/testudo/internal/vhost"
	"github.com/testudo-sec/testudo/signal"
)

// maxInspect bounds Route.InspectLimit.
const maxInspect = 16 * bytesize.MiB

// A Blocklist knows the addresses that are refused at once. It is safe for concurrent use, and
// quick: it is asked for every request.
type Blocklist interface {
	// Lookup returns the id of the entry that a is blocked by at that time.
	Lookup(a netip.Addr, now time.Time) (id string, blocked bool)
}

// Deps is what an edge needs of others.
type Deps struct {
	Sink       signal.Sink              // judges and records; required
	Inspector  Inspector                // nil: no web application firewall
	Guard      Guard                    // nil: nothing is held to what its API is
	Muted      func(route string) []int // rules of the inspector that count for nothing there; nil: none do
	Blocklist  Blocklist                // nil: nobody is blocked
	Follower   Follower                 // nil: nobody is told where requests go, which then costs nothing
	Recorder   Recorder                 // nil: no request is kept as it was received, whatever a route says
	Logger     *slog.Logger             // nil: no log
	Registerer prometheus.Registerer    // nil: metrics are kept and not shown
	Dir        string                   // where the edge keeps a certificate of its own; "": in memory, a new one at each start
	Now        func() time.Time         // nil: time.Now
}

// Edge is a reverse proxy that judges each request before it is forwarded. It is an
// http.Handler; its other methods are safe for concurrent use, but Run, which is called once.
type Edge struct {
	cfg       Config
	sink      signal.Sink
	inspector Inspector
	guard     Guard
	muted     func(route string) []int
	blocklist Blocklist
	follower  Follower
	recorder  Recorder
	log       *slog.Logger
	now       func() time.Time
	metrics   *metrics
	proxies   forwarded.Proxies
	router    *vhost.Table[*route]
	routes    []*route
	nowhere   *route // for requests that no route serves
	certs     *certificates
	server    *http.Server
	conns     connTable
	connSeq   atomic.Uint64

	formRecords  *throttle.Throttle // of messages refused by form
	blockRecords *throttle.Throttle // of requests from blocked addresses
	undeclared   undeclaredPeers
	exchanges    sync.Pool // *exchange
	events       sync.Pool // *signal.Event
	buffers      sync.Pool // *[]byte of copyBuffer

	mu        sync.Mutex
	listeners []*gate
	tunnels   map[io.Closer]struct{}
	draining  bool
	tunneling sync.WaitGroup
}

const copyBuffer = 32 << 10

// New makes an edge and starts nothing. It reads certificate and CA files, and
// makes a certificate of its own where TLS is spoken and none is given.
func New(cfg Config, deps Deps) (*Edge, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if len(cfg.Routes) == 0 {
		return nil, errors.New("edge: routes: nothing to guard; give a route with an upstream")
	}
	if deps.Sink == nil {
		return nil, errors.New("edge: no sink: every request must be judged")
	}
	cfg.Routes = slices.Clone(cfg.Routes)
	ed := &Edge{
		cfg: cfg, sink: deps.Sink, inspector: deps.Inspector, guard: deps.Guard, muted: deps.Muted, blocklist: deps.Blocklist, follower: deps.Follower, recorder: deps.Recorder, log: deps.Logger, now: deps.Now,
		proxies:      forwarded.Proxies{Trusted: cfg.TrustedProxies, RFC7239: cfg.ClientHeader == "forwarded"},
		formRecords:  throttle.New(2, 50),
		blockRecords: throttle.New(2, 100),
		tunnels:      make(map[io.Closer]struct{}),
	}
	if ed.log == nil {
		ed.log = slog.New(slog.DiscardHandler)
	}
	if ed.now == nil {
		ed.now = time.Now
	}
	ed.undeclared = undeclaredPeers{log: ed.log, peers: make(map[netip.Addr]*UndeclaredProxy)}
	ed.conns = connTable{max: cfg.Limits.Connections, perClient: cfg.Limits.ConnectionsPerClient, by: make(map[netip.Addr]int),
		exempt: func(a netip.Addr) bool { return a.IsLoopback() || ed.proxies.Trusts(a) }}
	ed.events.New = func() any { return new(signal.Event) }
	ed.exchanges.New = func() any { return newExchange(ed) }
	ed.buffers.New = func() any { b := make([]byte, copyBuffer); return &b }
	var err error
	if ed.metrics, err = newMetrics(deps.Registerer); err != nil {
		return nil, fmt.Errorf("edge: metrics: %w", err)
	}
	if err := ed.makeRoutes(); err != nil {
		return nil, fmt.Errorf("edge: %w", err)
	}
	if deps.Registerer != nil {
		if err := deps.Registerer.Register(ed.stateCollector()); err != nil {
			return nil, fmt.Errorf("edge: metrics: %w", err)
		}
	}
	if slices.ContainsFunc(cfg.Listen, func(l Listener) bool { return l.TLS }) {
		own := selfcert.Options{Dir: deps.Dir, File: "edge", Name: "testudo edge", Hosts: certificateHosts(cfg.Routes), Now: ed.now}
		if ed.certs, err = newCertificates(cfg.TLS.Certificates, own, ed.log); err != nil {
			return nil, fmt.Errorf("edge: tls: %w", err)
		}
	}
	ed.server = ed.newServer()
	return ed, nil
}

func (ed *Edge) makeRoutes() error {
	for i := range ed.cfg.Routes {
		cfg := &ed.cfg.Routes[i]
		servers := make([]upstream.Address, len(cfg.Upstreams))
		for i, u := range cfg.Upstreams {
			servers[i] = upstream.Address(u)
		}
		p, err := upstream.New(servers, upstream.Timeouts(cfg.Timeouts), upstream.Check(cfg.HealthCheck))
		if err != nil {
			return fmt.Errorf("route %s: %w", cfg.Name, err)
		}
		ed.routes = append(ed.routes, &route{
			cfg: cfg, name: cfg.Name, prefix: strings.TrimSuffix(cfg.Path, "/"), mode: string(cfg.Mode),
			block: cfg.Mode == ModeBlock, closed: cfg.Fail == "closed", waf: cfg.WAF && cfg.Mode != ModeOff && ed.inspector != nil, api: cfg.Mode != ModeOff && ed.guard != nil,
			mask: newMasker(&cfg.Record), pool: p, count: ed.metrics.route(cfg.Name),
		})
	}
	table := make([]vhost.Entry[*route], 0, len(ed.routes))
	for _, rt := range ed.routes {
		table = append(table, vhost.Entry[*route]{Hosts: rt.cfg.Hosts, Path: rt.cfg.Path, Value: rt})
	}
	ed.router = vhost.New(table)
	none := DefaultRoute()
	ed.nowhere = &route{cfg: &none, mode: string(ModeBlock), block: true, mask: newMasker(&none.Record), pool: new(upstream.Pool), count: ed.metrics.route("")}
	return nil
}

func (ed *Edge) newServer() *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(ed.cfg.H2C)
	l := &ed.cfg.Limits
	return &http.Server{
		Handler:                      ed,
		DisableGeneralOptionsHandler: true, // OPTIONS * is judged like everything else
		ReadHeaderTimeout:            l.HeaderTimeout,
		IdleTimeout:                  l.IdleTimeout,
		MaxHeaderBytes:               int(l.HeaderBytes),
		ConnState:                    ed.connState,
		ConnContext:                  ed.connContext,
		Protocols:                    &protocols,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: l.Streams,
			SendPingTimeout:      l.IdleTimeout / 2,
			PingTimeout:          15 * time.Second,
			WriteByteTimeout:     l.StallTimeout,
			CountError:           func(string) { ed.metrics.reject(reasonHTTP2) },
		},
		ErrorLog: log.New(quietLog{ed.log}, "", 0),
	}
}

// quietLog keeps what net/http says about clients out of the log at its usual levels:
// the clients decide how much that is, and partly what.
type quietLog struct{ log *slog.Logger }

func (q quietLog) Write(p []byte) (int, error) {
	if q.log.Enabled(context.Background(), slog.LevelDebug) {
		q.log.Debug("edge: net/http", "message", clean(strings.TrimSpace(string(p)), maxValue))
	}
	return len(p), nil
}

// Run serves until ctx ends, then drains for the configured time at the most, closes what is
// left, and returns when all of its goroutines are gone. The error is nil after a stop
// that was asked for.
func (ed *Edge) Run(ctx context.Context) error {
	ed.mu.Lock()
	listening := len(ed.listeners) > 0
	ed.mu.Unlock()
	if !listening {
		if err := ed.Listen(ctx); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	for _, rt := range ed.routes {
		for _, up := range rt.pool.All() {
			log := ed.log.With("route", rt.name, "upstream", up.Host)
			wg.Go(func() {
				up.Watch(ctx, func(well bool, reason string) {
					if well {
						log.Info("edge: upstream is well again")
					} else {
						log.Warn("edge: upstream is down", "reason", reason)
					}
				})
			})
		}
	}
	if ed.certs != nil {
		wg.Go(func() { ed.certs.run(ctx, certificateInterval) })
	}
	served := make(chan error, len(ed.listeners))
	for _, l := range ed.listeners {
		wg.Go(func() {
			err := ed.server.Serve(l)
			if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
				err = nil
			}
			served <- err
			cancel() // one that fails takes the others along
		})
	}
	<-ctx.Done()
	ed.drain()
	wg.Wait()
	close(served)
	var errs []error
	for err := range served {
		errs = append(errs, err)
	}
	for _, rt := range ed.routes {
		rt.pool.CloseIdle()
	}
	return errors.Join(errs...)
}

func (ed *Edge) drain() {
	ctx, cancel := context.WithTimeout(context.Background(), ed.cfg.Drain)
	defer cancel()
	ed.mu.Lock()
	ed.draining = true
	for t := range ed.tunnels {
		t.Close() // a tunnel has no end of its own to wait for
	}
	ed.mu.Unlock()
	if err := ed.server.Shutdown(ctx); err != nil {
		ed.log.Warn("edge: requests were cut off after the drain time", "drain", ed.cfg.Drain.String(), "in_flight", ed.conns.len())
		ed.server.Close()
	}
	for _, l := range ed.listeners {
		l.Close()
	}
	ed.tunneling.Wait()
}

// addTunnel registers a connection that net/http has given up, so that draining
// ends it. It reports false where the edge is stopping.
func (ed *Edge) addTunnel(c io.Closer) bool {
	ed.mu.Lock()
	defer ed.mu.Unlock()
	if ed.draining {
		return false
	}
	ed.tunnels[c] = struct{}{}
	ed.tunneling.Add(1)
	return true
}

func (ed *Edge) dropTunnel(c io.Closer) {
	ed.mu.Lock()
	delete(ed.tunnels, c)
	ed.mu.Unlock()
	ed.tunneling.Done()
}
