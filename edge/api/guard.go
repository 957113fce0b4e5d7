package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/testudo-sec/testudo/detect/personal"
	"github.com/testudo-sec/testudo/edge"
	"github.com/testudo-sec/testudo/edge/api/graphql"
	"github.com/testudo-sec/testudo/edge/api/inventory"
	"github.com/testudo-sec/testudo/edge/api/openapi"
	"github.com/testudo-sec/testudo/edge/api/owner"
	"github.com/testudo-sec/testudo/edge/api/token"
	"github.com/testudo-sec/testudo/edge/habit"
)

// Store keeps what was learned between two runs.
type Store interface {
	// Load returns what was saved last, nil where nothing was.
	Load(ctx context.Context) ([]byte, error)
	// Save replaces it, whole or not at all.
	Save(ctx context.Context, b []byte) error
}

// Deps is what a Guard needs of others.
type Deps struct {
	Routes     []string              // names of the edge's routes
	Dir        string                // that relative paths of the configuration start from
	Secret     []byte                // key of the hashes that stand for people, 16 bytes or more; the same at each start
	Store      Store                 // of endpoints; nil: what was learned ends with the process
	Habits     Store                 // of parameters; nil likewise
	Logger     *slog.Logger          // nil: no log
	Registerer prometheus.Registerer // nil: metrics are not shown
	Now        func() time.Time      // nil: time.Now
}

// Guard is the edge.Guard of all routes. It is safe for concurrent use.
type Guard struct {
	cfg       Config
	log       *slog.Logger
	now       func() time.Time
	stores    []learned
	secret    []byte
	hashers   sync.Pool // of *hasher
	unpackers unpackers
	routes    map[string]*route
	inventory *inventory.Inventory
	habits    *habit.Habits
	owner     *owner.Tracker
	metrics   *metrics
	unsaved   atomic.Pointer[string] // why what was learned could not be saved last
}

// route is a Route made ready.
type route struct {
	cfg       Route
	document  *openapi.Document // nil where there is none
	described inventory.Document
	tokens    *token.Verifier
	graphql   *graphql.Checker
	grpc      *calls
	leaks     *personal.Detector
	owned     bool // somebody watches who reaches what
}

// New reads the documents and schemas that the configuration names, and makes a guard of them. It begins with what was saved; what of that cannot be read is told to the log and left.
func New(ctx context.Context, c Config, d Deps) (*Guard, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	if len(d.Secret) < 16 {
		return nil, errors.New("api: the key of hashes is shorter than 16 bytes")
	}
	g := &Guard{cfg: c, log: d.Logger, now: d.Now, secret: d.Secret, routes: map[string]*route{}, inventory: inventory.New(c.Inventory), habits: habit.New(c.Habits), owner: owner.New(c.Objects)}
	g.hashers.New = func() any { return newHasher(g.secret) }
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	if g.now == nil {
		g.now = time.Now
	}
	for i := range c.Routes {
		if !slices.Contains(d.Routes, c.Routes[i].Route) {
			return nil, fmt.Errorf("api: routes[%d]: the edge has no route %q; it has %q", i, c.Routes[i].Route, d.Routes)
		}
	}
	for _, name := range d.Routes {
		cfg := c.Default
		if i := slices.IndexFunc(c.Routes, func(r Route) bool { return r.Route == name }); i >= 0 {
			cfg = c.Routes[i]
		}
		cfg.Route = name
		r, err := g.ready(cfg, d.Dir)
		if err != nil {
			return nil, fmt.Errorf("api: route %s: %w", name, err)
		}
		if r != nil {
			g.routes[name] = r
		}
	}
	g.metrics = newMetrics(g)
	if d.Registerer != nil {
		if err := d.Registerer.Register(g.metrics); err != nil {
			return nil, fmt.Errorf("api: metrics: %w", err)
		}
	}
	g.stores = []learned{{d.Store, "endpoints", g.inventory.Restore, g.inventory.Snapshot}, {d.Habits, "parameters", func(b []byte) error { return g.habits.Restore(b, g.now()) }, g.habits.Snapshot}}
	for _, l := range g.stores {
		if l.store == nil {
			continue
		}
		saved, err := l.store.Load(ctx)
		if err == nil && saved != nil {
			err = l.restore(saved)
		}
		if err != nil {
			g.log.Warn("what was learned of "+l.of+" cannot be read: it is learned anew", "error", err)
		}
	}
	g.refresh()
	return g, nil
}

// learned is something that is learned, and where it is kept between two runs: nowhere, if store is nil.
type learned struct {
	store    Store
	of       string
	restore  func([]byte) error
	snapshot func() ([]byte, error)
}

// refresh has what was learned known.
func (g *Guard) refresh() {
	g.inventory.Refresh()
	g.habits.Refresh(g.now())
}

// ready reads what a route names; nil where nothing is looked at.
func (g *Guard) ready(cfg Route, dir string) (*route, error) {
	r := &route{cfg: cfg}
	path := func(p string) string {
		if filepath.IsAbs(p) {
			return p
		}
		return filepath.Join(dir, p)
	}
	var err error
	if cfg.Document != "" {
		if r.document, err = load(path(cfg.Document), cfg.Bases); err != nil {
			return nil, err
		}
		r.described = describedBy(r.document)
		for _, w := range r.document.Warnings {
			g.log.Warn("a part of a document is not enforced", "route", cfg.Route, "document", cfg.Document, "reason", w)
		}
	}
	if t := &cfg.Tokens; t.Mode != Off {
		if r.tokens, err = token.New(t.Verify, token.Options{Secret: g.secret, Log: g.log, Now: g.now}); err != nil {
			return nil, fmt.Errorf("tokens: %w", err)
		}
	}
	if q := &cfg.GraphQL; q.Mode != Off {
		var text []byte
		if q.Schema != "" {
			if text, err = os.ReadFile(path(q.Schema)); err != nil {
				return nil, fmt.Errorf("graphql: %w", err)
			}
		}
		if r.graphql, err = graphql.New(q.limits(), q.Schema, text); err != nil {
			return nil, fmt.Errorf("graphql: %w", err)
		}
	}
	if p := &cfg.GRPC; p.Mode != Off {
		r.grpc = &calls{from: p.Reflection}
		if p.Descriptors != "" {
			text, err := os.ReadFile(path(p.Descriptors))
			if err == nil {
				err = r.grpc.load(text)
			}
			if err != nil {
				return nil, fmt.Errorf("grpc: %w", err)
			}
		}
	}
	if cfg.Leaks.Mode != Off {
		if r.leaks, err = personal.New(cfg.Leaks.Find); err != nil {
			return nil, fmt.Errorf("leaks: %w", err)
		}
	}
	r.owned = cfg.Objects != Off || cfg.Assignment != Off || cfg.Exposure != Off || cfg.Authentication != Off
	if !cfg.Inventory && !cfg.Habits && r.document == nil && r.tokens == nil && r.graphql == nil && r.grpc == nil && r.leaks == nil && !r.owned && cfg.Bypass == Off {
		return nil, nil
	}
	return r, nil
}

// load reads a document from a file, with what it refers to beside it.
func load(path string, bases []string) (*openapi.Document, error) {
	text, err := readDocument(path)
	if err != nil {
		return nil, err
	}
	d, err := openapi.Load(path, text, readDocument)
	if err == nil && len(bases) > 0 {
		d, err = d.Under(bases...)
	}
	return d, err
}

// maxDocument bounds one file of a document.
const maxDocument = 32 << 20

func readDocument(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxDocument {
		return nil, fmt.Errorf("%s: want a file of at most %d bytes", path, maxDocument)
	}
	return os.ReadFile(path)
}

// Begin implements edge.Guard.
func (g *Guard) Begin(ctx context.Context, x edge.Exchange) edge.Check {
	r := g.routes[x.Route]
	if r == nil {
		return nil
	}
	return &check{g: g, r: r, x: x, ctx: ctx}
}

// Inventory returns what is learned of endpoints.
func (g *Guard) Inventory() *inventory.Inventory { return g.inventory }

// Compare tells how all routes differ from their documents, and what is new where there is none.
func (g *Guard) Compare() []inventory.Drift {
	var all []inventory.Drift
	for name, r := range g.routes {
		if r.cfg.Inventory {
			all = append(all, some(name, g.inventory.Compare(name, r.described, inventory.Options{Now: g.now(), Unused: g.cfg.Unused, Settle: g.cfg.Settle}))...)
		}
	}
	return all
}

// maxDrift bounds the differences of one kind in one route that are told of one by one: a server that answers to any path lets strangers make up endpoints.
const maxDrift = 200

// some leaves out what is too much of one kind, and tells how much that is.
func some(route string, all []inventory.Drift) []inventory.Drift {
	counts := map[inventory.Kind]int{}
	var kinds []inventory.Kind
	kept := all[:0]
	for _, d := range all {
		if counts[d.Kind]++; counts[d.Kind] <= maxDrift {
			kept = append(kept, d)
		} else if counts[d.Kind] == maxDrift+1 {
			kinds = append(kinds, d.Kind)
		}
	}
	for _, k := range kinds {
		kept = append(kept, inventory.Drift{Kind: k, Route: route, Message: fmt.Sprintf("%d more like this are not listed: a server that answers to any path has as many as strangers ask for", counts[k]-maxDrift)})
	}
	return kept
}

// Times of Run.
const (
	refreshEvery = 30 * time.Second
	saveEvery    = 5 * time.Minute
)

// Run reads the keys of tokens, asks servers for their descriptors, has what was learned known, and saves it, until ctx ends; then it saves once more.
func (g *Guard) Run(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	for _, r := range g.routes {
		if r.tokens != nil {
			all.Go(func() {
				if err := r.tokens.Run(ctx); err != nil && ctx.Err() == nil {
					g.log.Error("keys of tokens are not read anew any more", "route", r.cfg.Route, "error", err)
				}
			})
		}
	}
	for _, r := range g.routes {
		if r.grpc != nil && r.grpc.from != "" {
			all.Go(func() { r.grpc.follow(ctx, g.log.With("route", r.cfg.Route)) })
		}
	}
	refresh, save := time.NewTicker(refreshEvery), time.NewTicker(saveEvery)
	defer refresh.Stop()
	defer save.Stop()
	for {
		select {
		case <-ctx.Done():
			g.save(context.WithoutCancel(ctx))
			return nil
		case <-refresh.C:
			g.refresh()
		case <-save.C:
			g.save(ctx)
		}
	}
}

// save keeps what was learned. It is learned from traffic again if that fails.
func (g *Guard) save(ctx context.Context) {
	var errs []error
	for _, l := range g.stores {
		if l.store == nil {
			continue
		}
		b, err := l.snapshot()
		if err == nil {
			err = l.store.Save(ctx, b)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", l.of, err))
			g.metrics.unsaved.Inc()
			g.log.Warn("what was learned of "+l.of+" could not be saved", "error", err)
		}
	}
	g.unsaved.Store(nil)
	if err := errors.Join(errs...); err != nil {
		why := err.Error()
		g.unsaved.Store(&why)
	}
}
