package testudo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/respond"
	"github.com/testudo-sec/testudo/signal"
)

// parts are what a node is made of, in memory.
type parts struct {
	mu       sync.Mutex
	now      time.Time
	events   []*signal.Event
	orders   []respond.Request
	findings map[string]signal.Finding
	batches  int
	hits     map[string]uint64
	counts   map[string]uint64
	fault    error
}

func newParts() *parts {
	return &parts{now: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC), findings: map[string]signal.Finding{}, hits: map[string]uint64{},
		counts: map[string]uint64{}}
}

func (p *parts) Now() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

func (p *parts) advance(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = p.now.Add(d)
}

func (p *parts) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = err
}

func (p *parts) Record(e *signal.Event) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events = append(p.events, e.Recorded())
	return true
}

func (p *parts) Submit(r respond.Request) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.orders = append(p.orders, r)
	return true
}

func (p *parts) PutFindings(_ context.Context, batch []*signal.Finding) (isNew []bool, stored []signal.Finding, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fault != nil {
		return nil, nil, p.fault
	}
	p.batches++
	for _, f := range batch {
		before, known := p.findings[f.ID]
		now := *f
		now.Count += before.Count
		p.findings[f.ID] = now
		isNew, stored = append(isNew, !known), append(stored, now)
	}
	return isNew, stored, nil
}

func (p *parts) AddRuleHits(_ context.Context, _ time.Time, hits map[string]uint64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fault != nil {
		return p.fault
	}
	for rule, n := range hits {
		p.hits[rule] += n
	}
	return nil
}

func (p *parts) AddCounts(_ context.Context, at time.Time, counts map[string]uint64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fault != nil {
		return p.fault
	}
	for name, n := range counts {
		p.counts[name] += n
	}
	return nil
}

// recorded returns the recorded events of a class.
func (p *parts) recorded(c signal.Class) (all []*signal.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.events {
		if e.Class == c {
			all = append(all, e)
		}
	}
	return all
}

// engine judges by two rules: one that denies /attack and orders a block, and one that alerts on
// every finding.
func engine(t testing.TB) *policy.Engine {
	t.Helper()
	set, err := policy.NewSet([]*policy.Rule{
		{ID: "deny-attack", Title: "An attack", Severity: signal.SeverityHigh, Then: signal.Deny, On: []signal.Class{signal.ClassHTTPActivity},
			Actions: []policy.Action{{Kind: "block", Target: signal.FieldSrcEndpointIP, For: 10 * time.Minute}},
			Fix:     "mend it", References: []string{"https://example.com/"}, Tags: []string{"edge"},
			Condition: match.Text(match.Operand{Field: signal.FieldHTTPRequestURLPath}, match.OpEqual, false, "/attack")},
		{ID: "about-findings", Title: "A finding", Severity: signal.SeverityLow, Then: signal.Alert, On: []signal.Class{signal.ClassDetectionFinding},
			Condition: match.Const(true)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return policy.NewEngine(set)
}

func node(t testing.TB, p *parts) *Node {
	t.Helper()
	return NewNode(Deps{ID: "judge-1", Engine: engine(t), Recorder: p, Orders: p, State: p, Now: p.Now, Logger: slog.New(slog.DiscardHandler)})
}

// running is a node that runs until the returned function stops it.
func running(t testing.TB, p *parts) (*Node, func() error) {
	t.Helper()
	n := node(t, p)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	stop := sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { _ = stop() })
	return n, stop
}

func request(path string, change ...func(*signal.Event)) *signal.Event {
	e := &signal.Event{Class: signal.ClassHTTPActivity, Activity: signal.HTTPActivity("GET"), Plane: signal.PlaneEdge}
	e.SetString(signal.FieldHTTPRequestHTTPMethod, "GET")
	e.SetString(signal.FieldHTTPRequestURLPath, path)
	e.SetString(signal.FieldEdgeRoute, "shop")
	e.SetString(signal.FieldEdgeMode, "block")
	e.SetIP(signal.FieldSrcEndpointIP, netip.MustParseAddr("203.0.113.9"))
	for _, c := range change {
		c(e)
	}
	return e
}

func field(f signal.Field, v string) func(*signal.Event) {
	return func(e *signal.Event) { e.SetString(f, v) }
}

func TestEventIsStamped(t *testing.T) {
	for _, c := range []struct {
		name     string
		event    *signal.Event
		decision signal.Decision // that the gate is told
		recorded signal.Decision
		reason   string
		orders   int
		withheld uint64
		denied   uint64
	}{
		{"allowed", request("/"), signal.Allow, signal.Allow, "", 0, 0, 0},
		{"denied", request("/attack"), signal.Deny, signal.Deny, "An attack", 1, 0, 1},
		{"a route that detects", request("/attack", field(signal.FieldEdgeMode, "detect")), signal.Deny, signal.Alert, "An attack", 0, 1, 0},
		{"a route that is off", request("/attack", field(signal.FieldEdgeMode, "off")), signal.Deny, signal.Alert, "An attack", 0, 1, 0},
		{"a proxy that is not declared", request("/attack", field(signal.FieldEdgeClientTrust, "undeclared")), signal.Deny, signal.Deny, "An attack", 0, 1, 1},
		{"a trusted proxy", request("/attack", field(signal.FieldEdgeClientTrust, "proxy")), signal.Deny, signal.Deny, "An attack", 1, 0, 1},
		{"a blocked client", request("/", field(signal.FieldEdgeError, "blocklist"), field(signal.FieldStatusDetail, "A1")), signal.Allow, signal.Deny,
			"the sender is blocked, by action A1", 0, 0, 1},
		{"a malformed request", request("/", field(signal.FieldEdgeError, "malformed"), field(signal.FieldStatusDetail, "not judged: two lengths")),
			signal.Allow, signal.Deny, "the request is malformed: two lengths", 0, 0, 1},
		{"a path with two readings", request("/", field(signal.FieldEdgeError, "ambiguous-path")), signal.Allow, signal.Deny,
			"the path can be read in two ways, so that it belongs to no route", 0, 0, 1},
		{"an attack on a path with two readings", request("/attack", field(signal.FieldEdgeError, "ambiguous-path"), field(signal.FieldEdgeMode, "detect")),
			signal.Deny, signal.Deny, "An attack", 0, 1, 1},
		{"a malformed body", request("/", field(signal.FieldEdgeError, "malformed: bad chunk")), signal.Allow, signal.Deny,
			"the request is malformed: bad chunk", 0, 0, 1},
		{"an upstream that is down", request("/", field(signal.FieldEdgeError, "upstream-refused")), signal.Allow, signal.Allow, "", 0, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newParts()
			n, stop := running(t, p)
			v, err := n.Event(t.Context(), c.event)
			if err != nil || v.Decision != c.decision {
				t.Fatalf("verdict %v, error %v, want %v", v.Decision, err, c.decision)
			}
			got := p.recorded(signal.ClassHTTPActivity)
			if len(got) != 1 {
				t.Fatalf("recorded %d times", len(got))
			}
			e := got[0]
			disposition, action := c.recorded.Disposition()
			if e.Int(signal.FieldDispositionID) != disposition || e.Int(signal.FieldActionID) != action {
				t.Errorf("recorded as disposition %d, action %d, want %v", e.Int(signal.FieldDispositionID), e.Int(signal.FieldActionID), c.recorded)
			}
			if got := e.Str(signal.FieldVerdictReason); got != c.reason {
				t.Errorf("reason %q, want %q", got, c.reason)
			}
			if e.ID.IsZero() || e.Time != p.Now().UnixNano() || e.Seq != 1 || e.Str(signal.FieldMetadataReporterUID) != "judge-1" {
				t.Errorf("id %v, time %d, number %d, judge %q", e.ID, e.Time, e.Seq, e.Str(signal.FieldMetadataReporterUID))
			}
			if fired := c.reason == "An attack"; fired != e.Bool(signal.FieldIsAlert) || fired != (e.Severity == signal.SeverityHigh) ||
				fired != (strings.Join(e.Strings(signal.FieldVerdictRules), " ") == "deny-attack") {
				t.Errorf("alert %v, severity %v, rules %v", e.Bool(signal.FieldIsAlert), e.Severity, e.Strings(signal.FieldVerdictRules))
			}
			if len(p.orders) != c.orders || n.Stats().Withheld != c.withheld {
				t.Errorf("%d orders, %d withheld, want %d and %d", len(p.orders), n.Stats().Withheld, c.orders, c.withheld)
			}
			for _, o := range p.orders {
				if o.Kind != "block" || o.Target != "203.0.113.9" || o.For != 10*time.Minute || o.Actor != "rule:deny-attack" || o.Event != e.ID || o.Reason == "" {
					t.Errorf("order %+v", o)
				}
			}
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			if p.counts["edge.requests"] != 1 || p.counts["edge.blocked"] != c.denied {
				t.Errorf("counted %v, want %d denied", p.counts, c.denied)
			}
		})
	}
}

func TestResponsesAreNotRequests(t *testing.T) {
	p := newParts()
	n, stop := running(t, p)
	response := request("/", func(e *signal.Event) { e.Parent = signal.NewID(p.now) })
	for _, e := range []*signal.Event{request("/"), response, request("/", field(signal.FieldEdgeError, "blocklist"), func(e *signal.Event) { e.SetInt(signal.FieldCount, 40) })} {
		if _, err := n.Event(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if p.counts["edge.requests"] != 41 || p.counts["edge.blocked"] != 40 {
		t.Errorf("counted %v, want 41 requests, 40 of them blocked", p.counts)
	}
}

// TestFindings: a thousand attempts are one finding with a count; its event is recorded when it is new and
// at most once a minute while it goes on; a rule about findings makes no further finding.
func TestFindings(t *testing.T) {
	p := newParts()
	n, stop := running(t, p)
	send := func(count int) {
		t.Helper()
		for range count {
			if _, err := n.Event(t.Context(), request("/attack")); err != nil {
				t.Fatal(err)
			}
		}
		if err := n.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	send(1000)
	if len(p.findings) != 1 {
		t.Fatalf("findings: %+v", p.findings)
	}
	for _, f := range p.findings {
		if f.Count != 1000 || f.Rule != "deny-attack" || f.Kind != signal.FindingDetection || f.Fix != "mend it" || len(f.References) != 1 || len(f.Tags) != 1 ||
			len(f.Events) != signal.MaxFindingEvents || f.Asset != signal.AssetID("application", "shop") {
			t.Errorf("finding %+v", f)
		}
	}
	events := p.recorded(signal.ClassDetectionFinding)
	if len(events) != 1 || events[0].Activity != signal.ActivityFindingCreate || events[0].Parent.IsZero() {
		t.Fatalf("%d events of the finding: %v", len(events), events)
	}
	p.advance(30 * time.Second)
	send(10)
	if got := p.recorded(signal.ClassDetectionFinding); len(got) != 1 {
		t.Errorf("after half a minute %d events of the finding", len(got))
	}
	p.advance(31 * time.Second)
	send(10)
	got := p.recorded(signal.ClassDetectionFinding)
	if len(got) != 2 || got[1].Activity != signal.ActivityFindingUpdate {
		t.Errorf("after a minute %d events of the finding", len(got))
	}
	// The rule about findings fires on them, and that ends there.
	if err := n.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(p.findings) != 1 {
		t.Errorf("a finding about a finding: %+v", p.findings)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if p.hits["deny-attack"] != 1020 || p.hits["about-findings"] != 2 {
		t.Errorf("hits: %v", p.hits)
	}
}

// TestOtherAssetsAreOtherFindings: what one application suffers is not another's.
func TestOtherAssetsAreOtherFindings(t *testing.T) {
	p := newParts()
	n, stop := running(t, p)
	for _, route := range []string{"shop", "blog", "shop"} {
		if _, err := n.Event(t.Context(), request("/attack", field(signal.FieldEdgeRoute, route))); err != nil {
			t.Fatal(err)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if len(p.findings) != 2 {
		t.Errorf("%d findings, want one for each route", len(p.findings))
	}
}

// TestStateFails: while the state refuses, findings and counters wait, and are stored once it
// takes them again: none twice, none lost.
func TestStateFails(t *testing.T) {
	p := newParts()
	n, stop := running(t, p)
	broken := errors.New("no room")
	p.fail(broken)
	for range 100 {
		if _, err := n.Event(t.Context(), request("/attack")); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		if err := n.Flush(t.Context()); !errors.Is(err, broken) {
			t.Fatalf("flush: %v, want the state's error", err)
		}
	}
	if !errors.Is(n.Health(), broken) {
		t.Errorf("health: %v", n.Health())
	}
	p.fail(nil)
	if err := n.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n.Health() != nil {
		t.Errorf("health after recovery: %v", n.Health())
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if len(p.findings) != 1 || p.hits["deny-attack"] != 100 || p.counts["edge.requests"] != 100 || p.counts["edge.blocked"] != 100 {
		t.Errorf("findings %+v, hits %v, counts %v", p.findings, p.hits, p.counts)
	}
	for _, f := range p.findings {
		if f.Count != 100 {
			t.Errorf("the finding counts %d, want 100", f.Count)
		}
	}
}

// TestStateFailsForLong: what waits is bounded, and what does not fit is counted.
func TestStateFailsForLong(t *testing.T) {
	p := newParts()
	n, stop := running(t, p)
	p.fail(errors.New("no room"))
	const sent = maxPending + 2000
	for i := range sent {
		f := &signal.Finding{ID: signal.Fingerprint("test", fmt.Sprint(i)), Kind: signal.FindingDetection, Rule: "r", Title: "t", Count: 1}
		if err := n.Finding(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
	_ = n.Flush(t.Context())
	if got := n.Stats().Missed; got != 2000 {
		t.Errorf("missed %d, want 2000", got)
	}
	p.fail(nil)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if len(p.findings) != maxPending {
		t.Errorf("%d findings stored, want %d", len(p.findings), maxPending)
	}
}

// TestFullQueueNeverBlocks: while nobody stores, an event still is judged at once.
func TestFullQueueNeverBlocks(t *testing.T) {
	p := newParts()
	n := node(t, p) // does not run
	for range findingQueue + 50 {
		if v, err := n.Event(t.Context(), request("/attack")); err != nil || v.Decision != signal.Deny {
			t.Fatalf("verdict %v, %v", v, err)
		}
	}
	if st := n.Stats(); st.Missed != 50 || st.Queue != findingQueue || st.Capacity != findingQueue || st.Judged != findingQueue+50 {
		t.Errorf("stats %+v", st)
	}
	// A finding that is handed in waits, until its giver gives up.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := n.Finding(ctx, &signal.Finding{ID: "x"}); !errors.Is(err, context.Canceled) {
		t.Errorf("a full queue took a finding: %v", err)
	}
	if err := n.Flush(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("flush of a node that does not run: %v", err)
	}
}

// TestStopStores: what is queued when the node stops is stored.
func TestStopStores(t *testing.T) {
	p := newParts()
	n, stop := running(t, p)
	for i := range 50 {
		if _, err := n.Event(t.Context(), request("/attack", field(signal.FieldEdgeRoute, fmt.Sprint("r", i)))); err != nil {
			t.Fatal(err)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if len(p.findings) != 50 || p.hits["deny-attack"] != 50 {
		t.Errorf("%d findings and hits %v, want 50", len(p.findings), p.hits)
	}
}

// TestEvidence: a finding shows recorded forms alone, and not endlessly long ones.
func TestEvidence(t *testing.T) {
	p := newParts()
	n, stop := running(t, p)
	e := request("/attack", field(signal.FieldHTTPRequestUserAgent, strings.Repeat("ü", 5000)), func(e *signal.Event) {
		e.SetMasked(signal.FieldHTTPRequestURLPath, "/attack", "/***")
		e.SetMasked(signal.FieldHTTPRequestURLQueryString, "pin=geheim", "pin=***")
		e.SetInt(signal.FieldWAFScore, 15)
		e.SetInt(signal.FieldWAFThreshold, 5)
		e.SetStrings(signal.FieldWAFRules, []string{"942100", "930120"})
		e.SetStrings(signal.FieldWAFMessages, []string{"SQL injection"})
		e.SetStrings(signal.FieldWAFTargets, []string{"ARGS:q", "ARGS:file"})
	})
	if _, err := n.Event(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for _, f := range p.findings {
		got := map[string]string{}
		for _, ev := range f.Evidence {
			got[ev.Name] += ev.Value + "\n"
			if len(ev.Value) > 520 || strings.Contains(ev.Value, "geheim") || strings.ContainsRune(ev.Value, '\uFFFD') {
				t.Errorf("evidence %s: %q", ev.Name, ev.Value)
			}
		}
		for name, want := range map[string]string{"request": "GET /***?pin=***\n", "client": "203.0.113.9\n", "WAF score": "15 of 5\n",
			"WAF rule": "942100 SQL injection in ARGS:q\n930120 in ARGS:file\n", "verdict": "deny\n"} {
			if got[name] != want {
				t.Errorf("evidence %s is %q, want %q", name, got[name], want)
			}
		}
	}
}

// TestConcurrent: planes hand in at once.
func TestConcurrent(t *testing.T) {
	p := newParts()
	n, stop := running(t, p)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 200 {
				path := "/"
				if i%4 == 0 {
					path = "/attack"
				}
				_, _ = n.Event(context.Background(), request(path))
				n.Tally().Top(p.Now(), 5)
				n.Stats()
			}
		})
	}
	wg.Wait()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if p.counts["edge.requests"] != 1600 || p.hits["deny-attack"] != 400 {
		t.Errorf("counts %v, hits %v", p.counts, p.hits)
	}
}

// recordNothing is a recorder that costs nothing, for benchmarks.
type recordNothing struct{}

func (recordNothing) Record(*signal.Event) bool { return true }

func BenchmarkEvent(b *testing.B) {
	for _, c := range []struct{ name, path string }{{"no hit", "/"}, {"hit", "/attack"}} {
		b.Run(c.name, func(b *testing.B) {
			p := newParts()
			n := NewNode(Deps{ID: "judge-1", Engine: engine(b), Recorder: recordNothing{}, State: p, Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
			e := request(c.path)
			at, id := time.Now().UnixNano(), signal.NewID(time.Now())
			b.ReportAllocs()
			for b.Loop() {
				e.Time, e.ID = at, id
				if _, err := n.Event(context.Background(), e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
