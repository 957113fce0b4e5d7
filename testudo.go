// Package testudo is the design's sentence as code: signals from planes become events, policy judges
// each one as it happens, responders act, and the store keeps it all. [Node] is where
// they meet on one machine; the command constructs the parts and hands them in.
package testudo

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/respond"
	"github.com/testudo-sec/testudo/signal"
)

// Node is where planes hand in what they see. It judges each event, has it recorded,
// and lets what follows from a verdict happen behind a bounded queue: orders to
// responders at once, findings and counters in batches.
//
// It is a [signal.Sink] and a [signal.FindingSink], safe for concurrent use. Its methods work
// before Run and after it, but findings are stored while Run runs.
type Node struct {
	id       string
	engine   *policy.Engine
	recorder Recorder
	orders   Orders
	state    State
	now      func() time.Time
	log      *slog.Logger
	changed  func()
	enforces func(rule string) bool

	tally    *Tally
	senders  Senders
	queue    chan *signal.Finding
	flushes  chan chan error
	judged   atomic.Uint64
	missed   atomic.Uint64
	withheld atomic.Uint64

	windows   string // the file that keeps them, "" where nothing is kept
	journal   Journal
	past      Past
	saveEvery time.Duration
	saveNow   chan struct{}
	judging   sync.RWMutex // read-locked from the verdict until the event is recorded
	saving    sync.Mutex
	batch     uint64 // what was last saved
	savedSeq  uint64
	stateSize int                        // bytes that the next state is expected to take
	owed      map[string]*signal.Finding // of before the start, for Run to store; nil for none
	doubt     atomic.Bool                // windows are inexact

	mu      sync.Mutex
	fault   error             // why findings could not be stored
	hits    map[string]uint64 // by rule, not stored yet
	minutes map[int64]*counts // by minute, not stored yet
}

// counts of one minute.
type counts struct{ requests, denied uint64 }

// A Recorder keeps judged events. Record copies what it keeps, never blocks, and counts what
// does not fit.
type Recorder interface {
	Record(e *signal.Event) bool
}

// Orders takes what rules ask responders to do. Submit never blocks, and counts what does
// not fit.
type Orders interface {
	Submit(r respond.Request) bool
}

// State keeps findings and counters. A call stores all or nothing.
type State interface {
	PutFindings(ctx context.Context, findings []*signal.Finding) (isNew []bool, stored []signal.Finding, err error)
	AddRuleHits(ctx context.Context, at time.Time, hits map[string]uint64) error
	AddCounts(ctx context.Context, at time.Time, counts map[string]uint64) error
}

// Deps is what a node is made of.
type Deps struct {
	ID       string // of this judge, in every record
	Engine   *policy.Engine
	Recorder Recorder
	Orders   Orders // nil: nobody acts on orders
	State    State
	Now      func() time.Time
	Logger   *slog.Logger
	Changed  func() // called when stored findings have changed; may be nil

	// Enforces reports whether what a rule refuses on a host is refused, as kernel.Config has it; nil: nothing is.
	Enforces func(rule string) bool

	// Windows is the file that keeps the engine's windows over a restart, see [Node.Resume]; "" where
	// they are not kept. Then Journal and Past are needed too.
	Windows string
	Journal Journal
	Past    Past
}

// findingQueue bounds the findings that wait to be stored.
const findingQueue = 4096

// NewNode returns a node. It starts nothing.
func NewNode(d Deps) *Node {
	n := &Node{
		id: d.ID, engine: d.Engine, recorder: d.Recorder, orders: d.Orders, state: d.State, now: d.Now, log: d.Logger,
		changed: d.Changed, tally: NewTally(), queue: make(chan *signal.Finding, findingQueue), flushes: make(chan chan error),
		hits: map[string]uint64{}, minutes: map[int64]*counts{},
		enforces: d.Enforces, windows: d.Windows, journal: d.Journal, past: d.Past, saveEvery: saveEvery, saveNow: make(chan struct{}, 1),
	}
	if n.changed == nil {
		n.changed = func() {}
	}
	if n.enforces == nil {
		n.enforces = func(string) bool { return false }
	}
	return n
}

// Event judges the event, writes the verdict into it, and queues it for recording.
func (n *Node) Event(_ context.Context, e *signal.Event) (signal.Verdict, error) {
	if e.Time == 0 {
		e.Time = n.now().UnixNano()
	}
	if e.ID.IsZero() {
		e.ID = signal.NewID(time.Unix(0, e.Time))
	}
	e.SetString(signal.FieldMetadataReporterUID, n.id)
	v := n.judge(e)
	n.tally.Add(e, &v)
	n.count(e, &v)
	if len(v.Hits) > 0 {
		n.follow(e, &v)
	}
	return v, nil
}

// judge judges the event and has it recorded.
func (n *Node) judge(e *signal.Event) signal.Verdict {
	n.judging.RLock()
	defer n.judging.RUnlock()
	v := n.engine.JudgeNumbered(e)
	n.judged.Add(1)
	n.settle(e, &v)
	stamp(e, &v)
	n.recorder.Record(e)
	return v
}

// stamp writes the verdict into the event, as it took effect.
func stamp(e *signal.Event, v *signal.Verdict) {
	e.SetStrings(signal.FieldVerdictRules, nil) // whatever a source claims
	took := v.Decision
	turned := turnedAway(e)
	switch {
	case turned != "" || refusedBefore(e):
		took = signal.Deny
	case took > signal.Alert && (!obeyed(e) || happened(e)):
		took = signal.Alert // it was seen, told, and let pass
	}
	disposition, action := took.Disposition()
	e.SetInt(signal.FieldDispositionID, disposition)
	e.SetInt(signal.FieldActionID, action)
	if code := refusal(e, took); code != 0 && turned == "" {
		e.SetInt(signal.FieldHTTPResponseCode, code)
	}
	top := v.Top()
	if top == nil {
		if turned != "" {
			e.SetString(signal.FieldVerdictReason, turned)
		}
		return
	}
	e.Severity = max(e.Severity, top.Severity)
	e.SetBool(signal.FieldIsAlert, true)
	e.SetString(signal.FieldFirewallRuleUID, top.Rule)
	e.SetString(signal.FieldFirewallRuleName, top.Title)
	e.SetString(signal.FieldVerdictReason, top.Why)
	rules := make([]string, len(v.Hits))
	for i := range v.Hits {
		rules[i] = v.Hits[i].Rule
	}
	e.SetStrings(signal.FieldVerdictRules, rules)
}

// turnedAway returns why the edge refused a request whatever the verdict, "" where it did not.
func turnedAway(e *signal.Event) string {
	switch failure := e.Str(signal.FieldEdgeError); {
	case failure == "":
		return ""
	case failure == "blocklist":
		return "the sender is blocked, by action " + e.RecordedStr(signal.FieldStatusDetail)
	case failure == "ambiguous-path" && e.Parent.IsZero(): // it is judged all the same, to be told of
		return "the path can be read in two ways, so that it belongs to no route"
	case strings.HasPrefix(failure, "malformed"):
		// Found before the verdict, the detail says how; found in the body, the failure itself.
		how := strings.TrimPrefix(e.RecordedStr(signal.FieldStatusDetail), "not judged: ")
		if _, late, ok := strings.Cut(failure, ": "); ok {
			how = late
		}
		return "the request is malformed: " + how
	}
	return ""
}

// refusal returns the status that the edge answers a request with which is not let through, 0
// for others. Such a request has no event of its response.
func refusal(e *signal.Event, took signal.Decision) int64 {
	if e.Plane != signal.PlaneEdge || e.Class != signal.ClassHTTPActivity || !e.Parent.IsZero() {
		return 0
	}
	switch took {
	case signal.Limit:
		return http.StatusTooManyRequests
	case signal.Challenge, signal.Deny:
		return http.StatusForbidden
	}
	return 0
}

// obeyed reports whether the gate that saw the event obeys verdicts: an edge route in
// another mode than block lets everything pass, and so does a host where the rule is only watched.
func obeyed(e *signal.Event) bool {
	if e.Plane == signal.PlaneKernel {
		return e.Str(signal.FieldKernelOutcome) != outcomeWatched
	}
	return e.Plane != signal.PlaneEdge || !e.Has(signal.FieldEdgeMode) || e.Str(signal.FieldEdgeMode) == "block"
}

// follow has happen what the verdict leads to. It never blocks.
func (n *Node) follow(e *signal.Event, v *signal.Verdict) {
	for i := range v.Hits {
		h := &v.Hits[i]
		for _, o := range h.Orders {
			n.order(e, h, o)
		}
	}
	if isFinding(e.Class) {
		return // a finding about a finding would have no end
	}
	for i := range v.Hits {
		f := n.detection(e, &v.Hits[i])
		select {
		case n.queue <- f:
		default:
			n.missed.Add(1)
		}
	}
}

func isFinding(c signal.Class) bool { return c.Category() == 2 }

// order hands an order on, unless acting on it would hit others than the one meant:
// behind a proxy that is not declared, all clients share one address.
func (n *Node) order(e *signal.Event, h *signal.Hit, o signal.Order) {
	if n.orders == nil || !obeyed(e) || e.Str(signal.FieldEdgeClientTrust) == "undeclared" {
		n.withheld.Add(1)
		return
	}
	n.orders.Submit(respond.Request{Kind: o.Kind, Target: o.Target, For: o.For, Actor: "rule:" + h.Rule, Reason: h.Why, Event: e.ID})
}

// Finding queues a finding to be stored, and waits while the queue is full.
func (n *Node) Finding(ctx context.Context, f *signal.Finding) error {
	own := *f
	select {
	case n.queue <- &own:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Flush waits until the findings queued before the call are stored, and returns why
// they could not be.
func (n *Node) Flush(ctx context.Context) error {
	done := make(chan error, 1)
	select {
	case n.flushes <- done:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Tally returns the counters of the last hour.
func (n *Node) Tally() *Tally { return n.tally }

// Senders returns who sent requests in the last hour.
func (n *Node) Senders() *Senders { return &n.senders }

// Stats are counters of a node since it started.
type Stats struct {
	Judged   uint64 // events
	Missed   uint64 // findings that did not fit into the queue
	Withheld uint64 // orders that were not given: see edge.client_trust and edge.mode
	Queue    int    // findings that wait
	Capacity int    // of that queue
	Inexact  bool   // windows lack events of before the start, see the log
}

// Stats returns the counters.
func (n *Node) Stats() Stats {
	return Stats{Judged: n.judged.Load(), Missed: n.missed.Load(), Withheld: n.withheld.Load(), Queue: len(n.queue), Capacity: cap(n.queue),
		Inexact: n.doubt.Load()}
}

// Health returns nil, or why findings are not being stored.
func (n *Node) Health() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.fault
}
