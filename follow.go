package testudo

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/testudo-sec/testudo/signal"
)

// How findings reach the state.
const (
	storeEvery  = 300 * time.Millisecond // how long findings are gathered
	storeAtOnce = 500                    // as many are stored in one transaction
	retryAfter  = 2 * time.Second        // after the state refused
	maxPending  = 10_000                 // findings that wait for a state that refuses
	updateEvery = time.Minute            // how often a finding that goes on is recorded anew
	maxUpdates  = 10_000                 // findings whose last record is remembered
	stopWithin  = 5 * time.Second        // for what is left at the end
)

// Run stores findings and counters until ctx is done, and what is queued then. Meanwhile and at the end it
// saves windows.
func (n *Node) Run(ctx context.Context) error {
	var windows sync.WaitGroup
	keeping, stopKeeping := context.WithCancel(context.WithoutCancel(ctx))
	windows.Go(func() { n.keepWindows(keeping) })
	defer windows.Wait()
	defer stopKeeping() // last, so that little is left to be taken up at the next start
	f := &follower{node: n, pending: n.owed, recorded: map[string]time.Time{}}
	if n.owed = nil; f.pending == nil {
		f.pending = map[string]*signal.Finding{}
	}
	timer := time.NewTicker(storeEvery)
	defer timer.Stop()
	var waiting []chan error
	retry := time.Time{}
	for {
		select {
		case finding := <-n.queue:
			f.add(finding)
			if len(f.pending) < storeAtOnce || n.now().Before(retry) {
				continue
			}
		case done := <-n.flushes:
			waiting = append(waiting, done)
			f.drain()
		case <-timer.C:
			if n.now().Before(retry) && len(waiting) == 0 {
				continue
			}
		case <-ctx.Done():
			f.drain()
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
			defer cancel()
			err := f.store(last)
			for _, done := range waiting {
				done <- err
			}
			return err
		}
		err := f.store(ctx)
		if err != nil {
			retry = n.now().Add(retryAfter)
		}
		for _, done := range waiting {
			done <- err
		}
		waiting = nil
	}
}

// follower gathers findings; the same weakness is stored once a batch.
type follower struct {
	node     *Node
	pending  map[string]*signal.Finding
	recorded map[string]time.Time // when a finding's event was last recorded
}

func (f *follower) drain() {
	for {
		select {
		case finding := <-f.node.queue:
			f.add(finding)
		default:
			return
		}
	}
}

func (f *follower) add(finding *signal.Finding) {
	known := f.pending[finding.ID]
	if known == nil {
		if len(f.pending) >= maxPending {
			f.node.missed.Add(1)
			return
		}
		f.pending[finding.ID] = finding
		return
	}
	finding.Count += known.Count
	finding.Events = slices.Concat(known.Events, finding.Events) // the slices may be their giver's
	if over := len(finding.Events) - signal.MaxFindingEvents; over > 0 {
		finding.Events = slices.Delete(finding.Events, 0, over)
	}
	if known.First.Before(finding.First) {
		finding.First = known.First
	}
	if known.Last.After(finding.Last) {
		finding.Last = known.Last
	}
	f.pending[finding.ID] = finding
}

// store writes what is pending to the state; on an error it stays pending.
func (f *follower) store(ctx context.Context) error {
	n := f.node
	err := n.storeCounts(ctx)
	for err == nil && len(f.pending) > 0 {
		batch := make([]*signal.Finding, 0, storeAtOnce)
		for _, id := range slices.Sorted(maps.Keys(f.pending)) {
			if batch = append(batch, f.pending[id]); len(batch) == storeAtOnce {
				break
			}
		}
		var isNew []bool
		var stored []signal.Finding
		if isNew, stored, err = n.state.PutFindings(ctx, batch); err != nil {
			break
		}
		for i := range stored {
			f.record(ctx, &stored[i], isNew[i])
		}
		for _, b := range batch {
			delete(f.pending, b.ID)
		}
		n.changed()
	}
	n.mu.Lock()
	before := n.fault
	n.fault = err
	n.mu.Unlock()
	if err != nil && before == nil {
		n.log.Error("findings are not being stored", "error", err, "waiting", len(f.pending))
	}
	if err == nil && before != nil {
		n.log.Info("findings are being stored again")
	}
	return err
}

// record has the finding recorded as an event of its own: when it is new, and from
// time to time while it goes on.
func (f *follower) record(ctx context.Context, finding *signal.Finding, isNew bool) {
	now := f.node.now()
	if !isNew && now.Sub(f.recorded[finding.ID]) < updateEvery {
		return
	}
	if len(f.recorded) >= maxUpdates {
		clear(f.recorded)
	}
	f.recorded[finding.ID] = now
	activity := signal.ActivityFindingUpdate
	if isNew {
		activity = signal.ActivityFindingCreate
	}
	var e signal.Event
	finding.Event(&e, activity, now)
	if len(finding.Events) > 0 {
		e.Parent = finding.Events[len(finding.Events)-1]
	}
	_, _ = f.node.Event(ctx, &e)
}

// count gathers what the state keeps by minute and by rule.
func (n *Node) count(e *signal.Event, v *signal.Verdict) {
	request := e.Class == signal.ClassHTTPActivity && e.Plane == signal.PlaneEdge && e.Parent.IsZero()
	if !request && len(v.Hits) == 0 {
		return
	}
	if request {
		n.senders.add(e)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if request {
		minute := e.Time / int64(time.Minute)
		c := n.minutes[minute]
		if c == nil && len(n.minutes) < 120 {
			c = new(counts)
			n.minutes[minute] = c
		}
		if c != nil {
			c.requests += times(e)
			if refused(e, v) {
				c.denied += times(e)
			}
		}
	}
	for i := range v.Hits {
		n.hits[v.Hits[i].Rule]++
	}
}

// refused reports whether the event's request was not let through.
func refused(e *signal.Event, v *signal.Verdict) bool {
	return v.Decision == signal.Deny && obeyed(e) || turnedAway(e) != ""
}

// times returns how many requests an event stands for: of those that are turned away
// again and again only some are recorded, with a count.
func times(e *signal.Event) uint64 {
	if e.Str(signal.FieldEdgeError) == "" {
		return 1
	}
	return uint64(max(1, e.Int(signal.FieldCount)))
}

func (n *Node) storeCounts(ctx context.Context) error {
	n.mu.Lock()
	hits, minutes := n.hits, n.minutes
	n.hits, n.minutes = map[string]uint64{}, map[int64]*counts{}
	n.mu.Unlock()
	if len(hits) > 0 {
		if err := n.state.AddRuleHits(ctx, n.now(), hits); err != nil {
			n.putBack(hits, minutes)
			return err
		}
	}
	for minute, c := range minutes {
		err := n.state.AddCounts(ctx, time.Unix(0, minute*int64(time.Minute)), map[string]uint64{
			"edge.requests": c.requests, "edge.blocked": c.denied})
		if err != nil {
			n.putBack(nil, minutes)
			return err
		}
		delete(minutes, minute)
	}
	return nil
}

func (n *Node) putBack(hits map[string]uint64, minutes map[int64]*counts) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for rule, c := range hits {
		n.hits[rule] += c
	}
	for minute, c := range minutes {
		if now := n.minutes[minute]; now != nil {
			now.requests += c.requests
			now.denied += c.denied
		} else if len(n.minutes) < 120 {
			n.minutes[minute] = c
		}
	}
}

// detection returns the finding that a rule makes of an event: one for each rule and
// application, so that a thousand attempts are one line with a count.
func (n *Node) detection(e *signal.Event, h *signal.Hit) *signal.Finding {
	asset := assetOf(e)
	at := time.Unix(0, e.Time).UTC()
	f := &signal.Finding{
		ID: signal.Fingerprint("detection", h.Rule, asset), Kind: signal.FindingDetection, Rule: h.Rule, Title: h.Title, Desc: h.Why,
		Severity: h.Severity, State: signal.FindingOpen, Plane: e.Plane, Asset: asset, First: at, Last: at, Count: 1,
		Events: []signal.ID{e.ID},
	}
	if len(h.Related) > 0 {
		f.Events = slices.Clone(h.Related)
		if !slices.Contains(f.Events, e.ID) { // the window was completed by a late one
			f.Events = append(f.Events[max(0, len(f.Events)+1-signal.MaxFindingEvents):], e.ID)
		}
	}
	// A reload may have taken the rule away since it fired.
	if r := n.engine.Set().Rule(h.Rule); r != nil {
		f.Fix, f.References, f.Tags = r.Fix, r.References, r.Tags
	}
	evidence := func(name, value string) {
		if value != "" {
			f.Evidence = append(f.Evidence, signal.Evidence{Name: name, Value: clip(value)})
		}
	}
	evidence("verdict", h.Decision.String())
	for _, p := range h.Proof {
		evidence(clip(p.Name), p.Value)
	}
	if a := e.IP(signal.FieldSrcEndpointIP); a.IsValid() {
		evidence("client", a.String())
	}
	method, path := e.Str(signal.FieldHTTPRequestHTTPMethod), e.RecordedStr(signal.FieldHTTPRequestURLPath)
	if query := e.RecordedStr(signal.FieldHTTPRequestURLQueryString); query != "" {
		path += "?" + query
	}
	evidence("request", strings.TrimSpace(method+" "+path))
	evidence("user agent", e.RecordedStr(signal.FieldHTTPRequestUserAgent))
	if score := e.Int(signal.FieldWAFScore); score > 0 {
		evidence("WAF score", strconv.FormatInt(score, 10)+" of "+strconv.FormatInt(e.Int(signal.FieldWAFThreshold), 10))
	}
	messages, targets := e.Strings(signal.FieldWAFMessages), e.Strings(signal.FieldWAFTargets)
	for i, id := range e.Strings(signal.FieldWAFRules) {
		if i == 10 {
			break
		}
		text := id
		if i < len(messages) {
			text += " " + messages[i]
		}
		if i < len(targets) && targets[i] != "" {
			text += " in " + targets[i]
		}
		evidence("WAF rule", text)
	}
	evidence("process", e.RecordedStr(signal.FieldProcessCmdLine))
	evidence("outcome", becameOf(e))
	return f
}

// assetOf names what the event is about.
func assetOf(e *signal.Event) string {
	switch {
	case e.Str(signal.FieldEdgeRoute) != "":
		return signal.AssetID("application", e.Str(signal.FieldEdgeRoute))
	case e.Str(signal.FieldDeviceHostname) != "":
		return signal.AssetID("host", e.Str(signal.FieldDeviceHostname))
	}
	return ""
}

// clip bounds a piece of evidence.
func clip(s string) string {
	const limit = 512
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}
