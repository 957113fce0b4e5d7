package respond

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/testudo-sec/testudo/signal"
)

// Options is what a Host works with. Store and Ledger are required.
type Options struct {
	Store   Store
	Ledger  Ledger
	Logger  *slog.Logger
	Now     func() time.Time      // time.Now by default
	Metrics prometheus.Registerer // nil for none
	// Publish hears of every action that changed, after it was committed. It must not
	// block nor call the Host.
	Publish func(signal.Action)
}

// Host carries actions out. It is safe for concurrent use.
type Host struct {
	cfg     Config
	opts    Options
	parts   map[string]*Part
	missing map[string]string // what a part lacks here, by kind
	metrics *metrics

	// change is held by the one who changes what is in force, over its writes to the
	// ledger and the state. Reading needs mu only.
	change   chan struct{}
	restored bool // guarded by change
	budget   budget

	mu        sync.RWMutex
	active    map[string]*entry
	targets   map[target]*entry
	deadlines deadlines
	automatic int
	owed      []debt
	unread    error    // why the state's actions are not in force again yet
	unmanaged []string // ids of actions in the state whose responder does not run here

	wake  chan struct{} // something changed that Run waits for
	queue queue
}

type target struct{ kind, target string }

// entry is an action in force.
type entry struct {
	action signal.Action // Hits as counted by earlier processes
	due    time.Time     // when to end it: its limit, or the next try
	place  int           // in deadlines
}

// New returns a host for these responders. It starts nothing.
func New(cfg Config, parts []Part, opts Options) (*Host, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("respond: %w", err)
	}
	if opts.Store == nil || opts.Ledger == nil {
		return nil, errors.New("respond: it needs a store and a ledger")
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Publish == nil {
		opts.Publish = func(signal.Action) {}
	}
	h := &Host{
		cfg: cfg, opts: opts, parts: map[string]*Part{}, missing: map[string]string{},
		change: make(chan struct{}, 1), active: map[string]*entry{}, targets: map[target]*entry{},
		wake: make(chan struct{}, 1), budget: newBudget(cfg), queue: newQueue(cfg.Queue),
	}
	for i := range parts {
		p := &parts[i]
		if err := p.validate(); err != nil {
			return nil, fmt.Errorf("respond: %w", err)
		}
		if h.parts[p.Kind] != nil {
			return nil, fmt.Errorf("respond: two responders are of the kind %q", p.Kind)
		}
		h.parts[p.Kind] = p
		if m := p.Needs.Missing(); m != "" {
			h.missing[p.Kind] = m
		}
	}
	h.metrics = newMetrics(opts.Metrics, h)
	return h, nil
}

// PartStatus says whether a responder can act on this machine.
type PartStatus struct {
	Kind    string `json:"kind"`
	Missing string `json:"missing,omitempty"` // what it lacks, "" for nothing
}

// Parts lists the responders by kind.
func (h *Host) Parts() []PartStatus {
	var all []PartStatus
	for kind := range h.parts {
		all = append(all, PartStatus{kind, h.missing[kind]})
	}
	slices.SortFunc(all, func(a, b PartStatus) int { return cmp.Compare(a.Kind, b.Kind) })
	return all
}

// hold waits for the right to change what is in force.
func (h *Host) hold(ctx context.Context) (release func(), err error) {
	select {
	case h.change <- struct{}{}:
		return func() { <-h.change }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// changing waits for the right to change what is in force, restored first, and returns a context for the change, until end is called.
func (h *Host) changing(ctx context.Context) (_ context.Context, end func(), err error) {
	release, err := h.hold(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("respond: %w", err)
	}
	ctx, cancel := whole(ctx)
	end = func() { cancel(); release() }
	if err := h.restore(ctx); err != nil {
		end()
		return nil, nil, err
	}
	return ctx, end, nil
}

// whole returns a context for what must not be cut in two when the one who asks goes away.
func whole(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
}

func (h *Host) part(kind string) (*Part, error) {
	p := h.parts[kind]
	if p == nil {
		return nil, fmt.Errorf("respond: action %q: %w: there is no such responder", kind, ErrUnavailable)
	}
	if m := h.missing[kind]; m != "" {
		return nil, fmt.Errorf("respond: action %q: %w: %s", kind, ErrUnavailable, m)
	}
	return p, nil
}

// List returns the actions in force, newest first, with their hits of this moment.
func (h *Host) List() []signal.Action {
	h.mu.RLock()
	all := make([]signal.Action, 0, len(h.active))
	for _, e := range h.active {
		all = append(all, h.live(e))
	}
	h.mu.RUnlock()
	slices.SortFunc(all, func(a, b signal.Action) int {
		return cmp.Or(b.Start.Compare(a.Start), cmp.Compare(b.ID, a.ID))
	})
	return all
}

// Active returns the number of actions in force.
func (h *Host) Active() int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return len(h.active)
}

// Get returns an action, in force or not. Its error wraps ErrNotFound where there is none.
func (h *Host) Get(ctx context.Context, id string) (signal.Action, error) {
	h.mu.RLock()
	e := h.active[id]
	if e != nil {
		defer h.mu.RUnlock()
		return h.live(e), nil
	}
	for i := range h.owed { // newer than what the state says
		if d := &h.owed[len(h.owed)-1-i]; d.action != nil && d.action.ID == id {
			defer h.mu.RUnlock()
			return *d.action, nil
		}
	}
	h.mu.RUnlock()
	a, ok, err := h.opts.Store.Action(ctx, id)
	if err != nil {
		return a, fmt.Errorf("respond: %w", err)
	}
	if !ok {
		return a, fmt.Errorf("respond: %w: %.100q", ErrNotFound, id)
	}
	return a, nil
}

// live returns an action with what its responder counted in this process.
func (h *Host) live(e *entry) signal.Action {
	a := e.action
	if p := h.parts[a.Kind]; p != nil {
		if c, ok := p.Responder.(Counter); ok {
			a.Hits += c.Hits(&a)
		}
	}
	return a
}

// hold mu.
func (h *Host) addActive(a signal.Action) {
	e := &entry{action: a, due: a.Until}
	h.active[a.ID] = e
	h.targets[target{a.Kind, a.Target}] = e
	h.deadlines.push(e)
	if isAutomatic(&a) {
		h.automatic++
	}
}

// hold mu.
func (h *Host) removeActive(e *entry) {
	delete(h.active, e.action.ID)
	// Two nodes that share a state may have acted on the same target.
	if t := (target{e.action.Kind, e.action.Target}); h.targets[t] == e {
		delete(h.targets, t)
	}
	h.deadlines.remove(e)
	if isAutomatic(&e.action) {
		h.automatic--
	}
}

func isAutomatic(a *signal.Action) bool { return (&Request{Actor: a.Actor}).Automatic() }

func (h *Host) nudge() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}
