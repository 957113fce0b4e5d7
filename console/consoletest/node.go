package consoletest

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/internal/spell"
	"github.com/testudo-sec/testudo/signal"
)

// node fits everything but people and the ledger.
type node struct{ w *World }

func (n node) Overview(context.Context) (console.Overview, error) {
	w := n.w
	w.Lock.Lock()
	defer w.Lock.Unlock()
	if err := w.fail(); err != nil {
		return console.Overview{}, err
	}
	now := w.Now()
	start := now.Truncate(time.Minute).Add(-59 * time.Minute)
	series := func() console.Series { return console.Series{Start: start, Step: 60, Values: make([]uint64, 60)} }
	edge, own, requests, blocked := series(), series(), series(), series()
	rules, clients, routes := map[string]uint64{}, map[string]uint64{}, map[string]uint64{}
	for _, e := range w.Log {
		at := int(time.Unix(0, e.Time).Sub(start) / time.Minute)
		if at < 0 || at >= 60 {
			continue
		}
		if e.Plane == signal.PlaneEdge {
			edge.Values[at]++
			if e.Parent.IsZero() {
				requests.Values[at]++
			}
		} else {
			own.Values[at]++
		}
		if console.DecisionOf(e) == signal.Deny {
			blocked.Values[at]++
		}
		for _, r := range e.Strings(signal.FieldVerdictRules) {
			rules[r]++
		}
		if console.DecisionOf(e) > signal.Allow {
			clients[e.IP(signal.FieldSrcEndpointIP).String()]++
			routes[cmp.Or(e.Str(signal.FieldEdgeRoute), "-")]++
		}
	}
	o := console.Overview{Time: now, Requests: requests, Blocked: blocked, Health: w.Health,
		Rates: []console.PlaneRate{{Plane: signal.PlaneEdge, Now: float64(edge.Values[58]) / 60, Series: edge}, {Plane: signal.PlaneTestudo, Now: float64(own.Values[58]) / 60, Series: own}},
		Rules: top(rules), Clients: top(clients), Routes: top(routes)}
	open := map[signal.Severity]int{}
	for _, f := range w.Findings {
		if f.State == signal.FindingOpen {
			open[f.Severity]++
		}
	}
	for s := signal.SeverityFatal; s >= signal.SeverityInfo; s-- {
		if open[s] > 0 {
			o.Findings = append(o.Findings, console.SeverityCount{Severity: s, Count: open[s]})
		}
	}
	for _, a := range slices.Backward(w.Actions) {
		if a.State == signal.ActionActive {
			o.InForce++
			if len(o.Actions) < 10 {
				o.Actions = append(o.Actions, a)
			}
		}
	}
	return o, nil
}

func top(m map[string]uint64) []console.Count {
	all := make([]console.Count, 0, len(m))
	for k, n := range m {
		all = append(all, console.Count{Key: k, Count: n})
	}
	slices.SortFunc(all, func(a, b console.Count) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Key, b.Key))
	})
	return all[:min(5, len(all))]
}

func (n node) Events(_ context.Context, q console.EventQuery) (console.Page[*signal.Event], error) {
	n.w.Lock.Lock()
	defer n.w.Lock.Unlock()
	match, err := condition(q.Condition)
	if err = cmp.Or(n.w.fail(), err); err != nil {
		return console.Page[*signal.Event]{}, err
	}
	var hits []*signal.Event
	for _, e := range slices.Backward(n.w.Log) {
		if q.Match(e) && match(e) {
			hits = append(hits, e)
		}
	}
	return page(hits, q.Cursor, q.Limit)
}

func (n node) Event(_ context.Context, id signal.ID) (*signal.Event, error) {
	n.w.Lock.Lock()
	defer n.w.Lock.Unlock()
	for _, e := range n.w.Log {
		if e.ID == id {
			return e, n.w.fail()
		}
	}
	return nil, fmt.Errorf("event %s: %w", id, console.ErrNotFound)
}

func (n node) Related(ctx context.Context, id signal.ID) ([]*signal.Event, error) {
	e, err := n.Event(ctx, id)
	if err != nil {
		return nil, err
	}
	n.w.Lock.Lock()
	defer n.w.Lock.Unlock()
	var all []*signal.Event
	for _, o := range n.w.Log {
		if o.ID != id && (o.Parent == id || o.ID == e.Parent) {
			all = append(all, o)
		}
	}
	return all, nil
}

// Explain explains the first rule that fired, by its condition as if it were one question about the path.
func (n node) Explain(ctx context.Context, id signal.ID, rule string) ([]console.Explanation, error) {
	e, err := n.Event(ctx, id)
	if err != nil {
		return nil, err
	}
	fired := e.Strings(signal.FieldVerdictRules)
	if rule == "" && len(fired) == 0 {
		return []console.Explanation{}, nil
	}
	if rule == "" {
		rule = fired[0]
	}
	r, err := n.Rule(ctx, rule)
	if err != nil {
		return nil, err
	}
	fires := slices.Contains(fired, rule)
	answer := map[bool]string{true: "yes", false: "no"}[fires]
	path := console.ProofValue{Text: e.RecordedStr(signal.FieldHTTPRequestURLPath), Holds: fires, Match: "search"}
	return []console.Explanation{{Rule: rule, Title: r.Title, Decision: r.Decision, Fires: fires, Recorded: fires,
		Inexact: []string{"http_request.url.query_string was masked when it was recorded"},
		Proof: []console.ProofLine{{Kind: "and", Answer: answer},
			{Depth: 1, Kind: "atom", Text: "http_request.url.path contains 'search'", Answer: answer, Values: []console.ProofValue{path}},
			{Depth: 1, Kind: "not", Answer: "yes"},
			{Depth: 2, Kind: "atom", Text: "http_request.user_agent is 'health-check'", Answer: "no"}}}}, nil
}

func (n node) Watch(ctx context.Context, fn func([]*signal.Event, uint64)) error {
	ch := make(chan []*signal.Event, 1024)
	n.w.Lock.Lock()
	n.w.watchers[ch] = true
	n.w.Lock.Unlock()
	defer func() {
		// Publish may be waiting on the channel with the lock held.
		for {
			select {
			case <-ch:
				continue
			default:
			}
			if n.w.Lock.TryLock() {
				delete(n.w.watchers, ch)
				n.w.Lock.Unlock()
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	return watch(ctx, ch, func(batch []*signal.Event) {
		lost := n.w.lost.Swap(0)
		fn(batch, lost)
	})
}

func (n node) WatchChanges(ctx context.Context, fn func(console.Topic)) error {
	ch := make(chan console.Topic, 16)
	n.w.Lock.Lock()
	n.w.changes[ch] = true
	n.w.Lock.Unlock()
	defer func() {
		n.w.Lock.Lock()
		defer n.w.Lock.Unlock()
		delete(n.w.changes, ch)
	}()
	return watch(ctx, ch, fn)
}

// condition knows two conditions: the empty one, and `FIELD == "TEXT"`.
func condition(text string) (func(*signal.Event) bool, error) {
	if text == "" || text == "true" {
		return func(*signal.Event) bool { return true }, nil
	}
	name, value, ok := strings.Cut(text, " == ")
	f, known := signal.Lookup(name)
	if !ok || !known {
		return nil, &console.InputError{Field: "condition", Reason: fmt.Sprintf("1:1: unknown field %q; nearest is %q", name, spell.Nearest(name, signal.FieldNames()))}
	}
	value = strings.Trim(value, `"`)
	return func(e *signal.Event) bool {
		return e.RecordedStr(f) == value || f == signal.FieldSrcEndpointIP && e.IP(f).String() == value
	}, nil
}

func (n node) Condition(text string) (func(*signal.Event) bool, error) { return condition(text) }

func (n node) Hunt(ctx context.Context, q console.HuntQuery, yield func(*signal.Event) error) (console.HuntStats, error) {
	var st console.HuntStats
	match, err := condition(q.Condition)
	if err != nil {
		return st, err
	}
	n.w.Lock.Lock()
	log, err := slices.Clone(n.w.Log), n.w.fail()
	n.w.Lock.Unlock()
	if err != nil {
		return st, err
	}
	st.Files = 3
	for _, e := range slices.Backward(log) {
		if ctx.Err() != nil {
			return st, ctx.Err()
		}
		st.Scanned++
		if !q.Since.IsZero() && e.Time < q.Since.UnixNano() || !q.Until.IsZero() && e.Time >= q.Until.UnixNano() || !match(e) {
			continue
		}
		if st.Matched++; q.Limit > 0 && st.Matched > uint64(q.Limit) {
			st.Truncated = true
			break
		}
		if err := yield(e); err != nil {
			return st, err
		}
	}
	return st, nil
}

func (n node) Findings(_ context.Context, q console.FindingQuery) (console.Page[signal.Finding], error) {
	n.w.Lock.Lock()
	defer n.w.Lock.Unlock()
	if err := n.w.fail(); err != nil {
		return console.Page[signal.Finding]{}, err
	}
	var hits []signal.Finding
	for _, f := range n.w.Findings {
		if (q.State == "" || f.State == q.State) && f.Severity >= q.Severity && (q.Kind == "" || f.Kind == q.Kind) &&
			(q.Plane == signal.PlaneNone || f.Plane == q.Plane) && (q.Rule == "" || f.Rule == q.Rule) &&
			(q.Asset == "" || f.Asset == q.Asset) && has(q.Text, f.Title, f.Rule, f.Location.Path) {
			hits = append(hits, f)
		}
	}
	slices.SortStableFunc(hits, func(a, b signal.Finding) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), b.Last.Compare(a.Last), cmp.Compare(a.ID, b.ID))
	})
	return page(hits, q.Cursor, q.Limit)
}

func (n node) Finding(_ context.Context, id string) (signal.Finding, error) {
	n.w.Lock.Lock()
	defer n.w.Lock.Unlock()
	for _, f := range n.w.Findings {
		if f.ID == id {
			return f, n.w.fail()
		}
	}
	return signal.Finding{}, fmt.Errorf("finding %s: %w", id, console.ErrNotFound)
}

func (n node) SetFindingState(_ context.Context, id string, state signal.FindingState, _ console.Identity) (signal.Finding, error) {
	n.w.Lock.Lock()
	defer n.w.Lock.Unlock()
	for i := range n.w.Findings {
		if f := &n.w.Findings[i]; f.ID == id {
			f.State = state
			return *f, n.w.fail()
		}
	}
	return signal.Finding{}, fmt.Errorf("finding %s: %w", id, console.ErrNotFound)
}

func (n node) Actions(_ context.Context, q console.ActionQuery) (console.Page[signal.Action], error) {
	n.w.Lock.Lock()
	defer n.w.Lock.Unlock()
	if err := n.w.fail(); err != nil {
		return console.Page[signal.Action]{}, err
	}
	var hits []signal.Action
	for _, a := range slices.Backward(n.w.Actions) {
		if (q.State == "" || a.State == q.State) && (q.Kind == "" || a.Kind == q.Kind) && (q.Target == "" || a.Target == q.Target) {
			hits = append(hits, a)
		}
	}
	return page(hits, q.Cursor, q.Limit)
}

func (n node) Action(_ context.Context, id string) (signal.Action, error) {
	n.w.Lock.Lock()
	defer n.w.Lock.Unlock()
	for _, a := range n.w.Actions {
		if a.ID == id {
			return a, n.w.fail()
		}
	}
	return signal.Action{}, fmt.Errorf("action %s: %w", id, console.ErrNotFound)
}

func (n node) Preview(_ context.Context, o console.Order) (console.Preview, error) {
	if o.Kind == "kill" || o.Kind == "freeze" || o.Kind == "isolate" {
		pre := console.Preview{Target: o.Target, Radius: signal.Radius{Summary: "4 processes of container shop (registry.example/shop:1.14, pod shop-7d9c5b6f4-x2lqp), with 3 connections", Warnings: []string{"what runs in it does not answer meanwhile"}}}
		if o.Kind == "kill" {
			pre.Radius = signal.Radius{Summary: "sh (process 4107) and 2 that it started"}
		} else {
			pre.Until = n.w.Now().Add(o.For)
		}
		return pre, nil
	}
	p, err := netip.ParsePrefix(o.Target)
	if a, aerr := netip.ParseAddr(o.Target); aerr == nil {
		p, err = netip.PrefixFrom(a, a.BitLen()), nil
	}
	if err != nil || o.Kind != "block" {
		return console.Preview{}, &console.InputError{Field: "target", Reason: "not an address or prefix"}
	}
	r := signal.Radius{Summary: "one address; it sent 3 requests in the last 10m, 1 of them allowed", Addresses: "1", Requests: 3, Good: 1, Window: "10m"}
	if p.Bits() < p.Addr().BitLen() {
		r.Addresses = fmt.Sprintf("2^%d", p.Addr().BitLen()-p.Bits())
		r.Summary = r.Addresses + " addresses; they sent 40 requests in the last 10m, 30 of them allowed"
		r.Requests, r.Good = 40, 30
		r.Warnings = []string{"30 good requests in the last 10m came from there"}
	}
	pre := console.Preview{Target: p.Masked().String(), Radius: r, Until: n.w.Now().Add(cmp.Or(o.For, 10*time.Minute))}
	if p.IsSingleIP() {
		pre.Target = p.Addr().String()
	}
	if p.Addr().IsLoopback() {
		pre.Refusal = "loopback is never blocked"
	}
	return pre, nil
}

func (n node) Order(ctx context.Context, o console.Order, by console.Identity) (signal.Action, error) {
	pre, err := n.Preview(ctx, o)
	if err != nil {
		return signal.Action{}, err
	}
	n.w.Lock.Lock()
	defer n.w.Lock.Unlock()
	if err := n.w.fail(); err != nil {
		return signal.Action{}, err
	}
	now := n.w.Now()
	a := signal.Action{ID: n.w.next("act"), Kind: o.Kind, Target: pre.Target, Actor: by.Actor(), Reason: o.Reason, Radius: pre.Radius,
		Event: o.Event, State: signal.ActionActive, Start: now, Until: now.Add(cmp.Or(o.For, 10*time.Minute))}
	if o.Kind == "kill" {
		a.State, a.Until, a.End = signal.ActionDone, now, now
	}
	if pre.Refusal != "" {
		a.State, a.End, a.Reason = signal.ActionRefused, now, a.Reason+"; "+pre.Refusal
	}
	n.w.Actions = append(n.w.Actions, a)
	n.w.write(n.w.Now().Sub(n.w.Start), by.Actor(), "block.apply", o.Target, map[string]string{"reason": o.Reason})
	return a, nil
}

func (n node) Undo(_ context.Context, id, reason string, by console.Identity) (signal.Action, error) {
	n.w.Lock.Lock()
	defer n.w.Lock.Unlock()
	for i := range n.w.Actions {
		a := &n.w.Actions[i]
		if a.ID != id {
			continue
		}
		if a.State != signal.ActionActive {
			return signal.Action{}, fmt.Errorf("%w: the action is %s already", console.ErrConflict, a.State)
		}
		a.State, a.End, a.UndoneBy = signal.ActionUndone, n.w.Now(), by.Actor()
		n.w.write(n.w.Now().Sub(n.w.Start), by.Actor(), "block.undo", a.Target, map[string]string{"reason": reason})
		return *a, n.w.fail()
	}
	return signal.Action{}, fmt.Errorf("action %s: %w", id, console.ErrNotFound)
}

func (n node) Rules(context.Context) ([]console.Rule, error) {
	n.w.Lock.Lock()
	defer n.w.Lock.Unlock()
	all := slices.Clone(n.w.Rules)
	for i := range all {
		all[i].Source = ""
	}
	return all, n.w.fail()
}

func (n node) Rule(_ context.Context, id string) (console.Rule, error) {
	n.w.Lock.Lock()
	defer n.w.Lock.Unlock()
	for _, r := range n.w.Rules {
		if r.ID == id {
			return r, n.w.fail()
		}
	}
	return console.Rule{}, fmt.Errorf("rule %s: %w", id, console.ErrNotFound)
}

func (n node) RuleSet(context.Context) (console.RuleSet, error) {
	n.w.Lock.Lock()
	defer n.w.Lock.Unlock()
	return n.w.RuleSet, n.w.fail()
}

func (n node) Check(_ context.Context, text string) (console.RuleReport, error) {
	if !strings.Contains(text, "when:") {
		return console.RuleReport{Errors: []console.RuleError{{Line: 1, Column: 1, Message: "a rule needs when", Hint: "write when: and a condition"}}}, nil
	}
	return console.RuleReport{OK: true, Rules: []string{"checked"}, Tests: []console.RuleTest{{Rule: "checked", Name: "fires", Want: true, Passed: true}}}, nil
}

func (n node) Test(_ context.Context, id string) (console.RuleReport, error) {
	n.w.Lock.Lock()
	defer n.w.Lock.Unlock()
	rep := console.RuleReport{OK: true}
	for _, r := range n.w.Rules {
		if id != "" && r.ID != id {
			continue
		}
		rep.Rules = append(rep.Rules, r.ID)
		for _, t := range r.Tests {
			rep.OK = rep.OK && t.Passed
			rep.Tests = append(rep.Tests, t)
		}
	}
	if len(rep.Rules) == 0 {
		return rep, fmt.Errorf("rule %s: %w", id, console.ErrNotFound)
	}
	return rep, n.w.fail()
}

func (n node) Reload(context.Context, console.Identity) (console.RuleSet, error) {
	n.w.Lock.Lock()
	defer n.w.Lock.Unlock()
	if err := n.w.fail(); err != nil {
		return console.RuleSet{}, err
	}
	n.w.RuleSet.TriedAt, n.w.RuleSet.LoadedAt, n.w.RuleSet.Errors = n.w.Now(), n.w.Now(), nil
	return n.w.RuleSet, nil
}

func (n node) System(context.Context) (console.System, error) {
	n.w.Lock.Lock()
	defer n.w.Lock.Unlock()
	s := n.w.System
	s.Health = n.w.Health
	return s, n.w.fail()
}

func (n node) Doctor(context.Context) ([]console.Check, error) {
	n.w.Lock.Lock()
	defer n.w.Lock.Unlock()
	return n.w.System.Checks, n.w.fail()
}

func (n node) Health() console.Health {
	n.w.Lock.Lock()
	defer n.w.Lock.Unlock()
	return n.w.Health
}
