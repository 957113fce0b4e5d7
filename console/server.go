package console

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Time limits of the server. A client that is slower is cut off.
const (
	headerTime   = 10 * time.Second
	readTime     = 30 * time.Second
	writeTime    = 60 * time.Second
	answerTime   = 50 * time.Second // what sources may take for an answer
	idleTime     = 120 * time.Second
	stopTime     = 5 * time.Second
	maxHeader    = 32 << 10
	maxBody      = 1 << 20
	maxLocalBody = 64 << 20    // of a request over the socket: a folder of rules to be tried
	overviewTime = time.Second // an overview is shown for so long
)

// Deps are what a Server needs besides its sources.
type Deps struct {
	Logger     *slog.Logger
	Registerer prometheus.Registerer // for the console's own metrics; may be nil
	Gatherer   prometheus.Gatherer   // what /metrics shows; nil answers 503
	UI         UI                    // the pages; nil serves one that says how to build them
	Dir        string                // data directory, for a certificate of the console's own
	Now        func() time.Time      // nil is time.Now
}

// Server is the console. Make it with New, bind it with Listen and ListenSocket, then Run it.
type Server struct {
	cfg     Config
	sources Sources
	log     *slog.Logger
	ui      UI
	gather  prometheus.Gatherer
	dir     string
	now     func() time.Time
	metrics *metrics
	hub     *hub
	desk    *Desk
	names   map[string]bool // host names that requests may be for, lower case
	handler http.Handler
	routes  []Route
	openapi []byte
	hunts   chan struct{} // searches running
	replays chan struct{} // what-ifs and searches for exceptions running
	proofs  chan struct{} // verifications running
	scans   chan struct{} // being taken
	beat    time.Duration // how often streams ask whether their session holds

	https *http.Server
	local *http.Server
	ln    net.Listener
	sock  net.Listener
	cert  *certificate
	port  string
	base  string // https://host:port

	mu      sync.Mutex
	streams streams

	overviewTurn chan struct{} // holds one token while somebody makes an overview
	overview     Overview
	overviewAt   time.Time
}

// New returns a console that shows and orders through the sources. It starts nothing.
func New(cfg Config, sources Sources, deps Deps) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	if deps.Logger == nil {
		deps.Logger = slog.New(slog.DiscardHandler)
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	m, err := newMetrics(deps.Registerer)
	if err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	s := &Server{
		cfg: cfg, sources: sources, log: deps.Logger, ui: deps.UI, gather: deps.Gatherer, dir: deps.Dir, now: deps.Now,
		metrics: m, hub: newHub(),
		hunts: make(chan struct{}, 4), replays: make(chan struct{}, maxReplays), proofs: make(chan struct{}, 1), scans: make(chan struct{}, maxScans), beat: streamBeat, overviewTurn: make(chan struct{}, 1),
		streams: streams{total: cfg.MaxStreams, each: cfg.MaxStreamsPerIdentity, open: make(map[string]int)},
	}
	s.desk = &Desk{sources: sources, changed: s.hub.change, link: s.LinkURL, replays: s.replays}
	s.names = hostNames(cfg)
	s.place(cfg.Listen)
	if s.routes, err = s.table(); err != nil {
		return nil, err
	}
	if s.openapi, err = openAPI(s.routes); err != nil {
		return nil, err
	}
	if s.handler, err = s.mount(s.routes); err != nil {
		return nil, err
	}
	quiet := slog.NewLogLogger(deps.Logger.Handler(), slog.LevelDebug)
	s.https = &http.Server{
		Handler: s.handler, ErrorLog: quiet,
		ReadHeaderTimeout: headerTime, ReadTimeout: readTime, WriteTimeout: writeTime, IdleTimeout: idleTime,
		MaxHeaderBytes: maxHeader,
		HTTP2:          &http.HTTP2Config{MaxConcurrentStreams: 64, MaxReceiveBufferPerStream: 256 << 10, MaxReceiveBufferPerConnection: 1 << 20, SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second, WriteByteTimeout: streamWrite},
	}
	s.local = &http.Server{
		Handler: s.handler, ErrorLog: quiet, ConnContext: withPeer,
		ReadHeaderTimeout: headerTime, ReadTimeout: readTime, WriteTimeout: writeTime, IdleTimeout: idleTime,
		MaxHeaderBytes: maxHeader,
	}
	return s, nil
}

// Sources returns what the console reads, for pages.
func (s *Server) Sources() Sources { return s.sources }

// Desk returns what takes orders, for pages.
func (s *Server) Desk() *Desk { return s.desk }

// Now returns the console's time.
func (s *Server) Now() time.Time { return s.now() }

// Changed tells live pages that a list has changed.
func (s *Server) Changed(t Topic) { s.hub.change(t) }

// Overview returns what is happening now, at most a second old.
func (s *Server) Overview(ctx context.Context) (Overview, error) {
	if s.sources.Overview == nil {
		return Overview{}, unavailable("an overview")
	}
	select {
	case s.overviewTurn <- struct{}{}:
		defer func() { <-s.overviewTurn }()
	case <-ctx.Done():
		return Overview{}, ctx.Err()
	}
	if now := s.now(); s.overviewAt.IsZero() || now.Sub(s.overviewAt) >= overviewTime || now.Before(s.overviewAt) {
		o, err := s.sources.Overview.Overview(ctx)
		if err != nil {
			return Overview{}, err
		}
		s.overview, s.overviewAt = o, now
	}
	return s.overview, nil
}

// Handler answers requests as Listen's address does. Tests of pages use it with a
// server of their own.
func (s *Server) Handler() http.Handler { return s.handler }

// Run serves until ctx ends, then lets requests finish for a few seconds, ends the live
// streams, and returns when all is gone. Listen or ListenSocket must have succeeded.
func (s *Server) Run(ctx context.Context) error {
	if s.ln == nil && s.sock == nil {
		return errors.New("console: listen first")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	failed := make(chan error, 2)
	serve := func(srv *http.Server, ln net.Listener) {
		wg.Go(func() {
			if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("console on %s: %w", ln.Addr(), err)
			}
		})
	}
	if s.ln != nil {
		serve(s.https, s.ln)
	}
	if s.sock != nil {
		serve(s.local, s.sock)
	}
	if s.sources.Live != nil {
		wg.Go(func() { s.feed(ctx, "live events", s.hub.feed(s.sources.Live)) })
	}
	if s.sources.Changes != nil {
		wg.Go(func() {
			s.feed(ctx, "changes", func(ctx context.Context) error { return s.sources.Changes.WatchChanges(ctx, s.hub.change) })
		})
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	cancel()
	s.hub.end()
	wg.Go(func() { s.stop(s.https) })
	s.stop(s.local)
	wg.Wait()
	return err
}

// feed keeps a watch going: one that breaks must not leave pages silent for ever.
func (s *Server) feed(ctx context.Context, what string, watch func(context.Context) error) {
	for wait := time.Second; ; wait = min(2*wait, time.Minute) {
		err := watch(ctx)
		if ctx.Err() != nil {
			return
		}
		s.log.Warn("watch ended and begins anew", "what", what, "wait", wait, "error", err)
		if !pause(ctx, wait) {
			return
		}
	}
}

func (s *Server) stop(srv *http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		_ = srv.Close()
	}
}
