package policy

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/policy/window"
	"github.com/testudo-sec/testudo/signal"
)

// Engine judges events by its current set. It is safe for concurrent use.
type Engine struct {
	current atomic.Pointer[bound]

	// order makes the sequence of numbers one that a replay can follow: every number up to a
	// swap's belongs to an event that the old set judged, every later one to the new set;
	// and events that touch windows do so in the order of their numbers. Swaps and those
	// events take it alone, other numbered events together.
	order sync.RWMutex
	seq   atomic.Uint64
}

// bound is a set with this engine's state of its rules, by their index in the set.
type bound struct {
	set   *Set
	state []*ruleState
}

// ruleState is what an engine keeps of a rule. It outlives a swap while the
// rule judges the same.
type ruleState struct {
	judging string
	hits    atomic.Uint64
	faults  atomic.Uint64
	last    atomic.Int64      // event time of the newest hit, 0 for none
	windows []*window.Counter // by index of Rule.Actions; nil where the action does not count
	window  *window.Window    // of a correlation, nil for others
	counts  bool              // whether one of windows is not nil
	// restored says that what is kept is that of a run before: see Engine.Restore.
	restored bool
	upTo     uint64 // events up to this number need not be resumed
}

// NewEngine returns an engine that judges by the set, with empty windows.
func NewEngine(set *Set) *Engine {
	j := new(Engine)
	j.current.Store(bind(set, nil))
	return j
}

func bind(set *Set, old *bound) *bound {
	b := &bound{set: set, state: make([]*ruleState, len(set.rules))}
	for i, r := range set.rules {
		judging := set.judging[i]
		if old != nil {
			if at, ok := old.set.find(r.ID); ok && old.state[at].judging == judging {
				b.state[i] = old.state[at]
				continue
			}
		}
		st := &ruleState{judging: judging, windows: make([]*window.Counter, len(r.Actions))}
		for k, a := range r.Actions {
			if a.counts() {
				// NewSet has validated it.
				st.windows[k], _ = window.New(window.Config{Count: a.After, Within: a.Within})
				st.counts = true
			}
		}
		if r.Correlation != nil && !r.Disabled {
			st.window, _ = window.NewWindow(r.Correlation.spec()) // so it has this
		}
		b.state[i] = st
	}
	return b
}

// Set returns the current set.
func (j *Engine) Set() *Set { return j.current.Load().set }

// Change is what a swap did, by rule id.
type Change struct {
	Old     string   `json:"old"` // digests
	New     string   `json:"new"`
	Seq     uint64   `json:"seq"` // events up to this number were judged by the old set, later ones by the new
	Added   []string `json:"added,omitempty"`
	Removed []string `json:"removed,omitempty"`
	Changed []string `json:"changed,omitempty"`
}

// Swap makes set the current one. Counters and windows of rules that judge the same as before are
// kept; those of the others begin anew.
func (j *Engine) Swap(set *Set) Change {
	j.order.Lock()
	defer j.order.Unlock()
	old := j.current.Load()
	j.current.Store(bind(set, old))

	c := Change{Old: old.set.digest, New: set.digest, Seq: j.seq.Load()}
	for _, r := range set.rules {
		switch was := old.set.Rule(r.ID); {
		case was == nil:
			c.note(&c.Added, r, old.set, set)
		case was.whole() != r.whole():
			c.note(&c.Changed, r, old.set, set)
		}
	}
	for _, r := range old.set.rules {
		if set.Rule(r.ID) == nil {
			c.note(&c.Removed, r, old.set, set)
		}
	}
	slices.Sort(c.Changed)
	c.Changed = slices.Compact(c.Changed)
	return c
}

// note adds a rule to one of the lists. Of a piece of another rule, that one has changed, unless it came or went as a
// whole.
func (c *Change) note(list *[]string, r *Rule, before, after *Set) {
	switch {
	case r.PartOf == "":
		*list = append(*list, r.ID)
	case before.Rule(r.PartOf) != nil && after.Rule(r.PartOf) != nil:
		c.Changed = append(c.Changed, r.PartOf)
	}
}

// Judge returns the verdict on the event: its hits are sorted, strongest decision
// first, then by rule id. It reads e only, and allocates nothing where no rule fires.
func (j *Engine) Judge(e *signal.Event) signal.Verdict { return j.judge(e, false) }

// JudgeNumbered judges as [Engine.Judge] does and writes into the event what a replay
// needs: its number in this engine's sequence (Seq, from 1), and the digest of the
// set that judged it (policy.uid). Replaying events in the order of their numbers, each by
// the set it names, gives the same verdicts.
func (j *Engine) JudgeNumbered(e *signal.Event) signal.Verdict { return j.judge(e, true) }

func (j *Engine) judge(e *signal.Event, number bool) signal.Verdict {
	for {
		b := j.current.Load()
		m := matches.Get().(*match.Matches)
		b.set.index.Match(e, m)
		fired, faulted, counts := b.sort(m)
		matches.Put(m)
		hits, ok := j.settle(b, e, fired, counts, number)
		if !ok {
			continue // another set took over meanwhile
		}
		for _, at := range faulted {
			b.state[at].faults.Add(1)
		}
		return b.verdict(e, hits)
	}
}

// matches is memory for the answers of an index.
var matches = sync.Pool{New: func() any { return new(match.Matches) }}

// sort returns the rules that fire and those whose condition could not be worked out,
// by index, and whether one that fires has a window or feeds one.
func (b *bound) sort(m *match.Matches) (fired []firing, faulted []int, counts bool) {
	for _, at := range m.Fired {
		fired = append(fired, firing{rule: int(at)})
		counts = counts || b.state[at].counts || b.set.links.feeds[int(at)] != nil
	}
	for _, at := range m.Faulted {
		faulted = append(faulted, int(at))
	}
	return fired, faulted, counts
}

// settled is a rule that fired, with what its windows made of that.
type settled struct {
	firing
	orders []signal.Order
}

// settle does what has an order: it folds the event into windows, counts, and numbers it. It reports
// false, with nothing done, where b is not the current set any more.
func (j *Engine) settle(b *bound, e *signal.Event, fired []firing, counts, number bool) ([]settled, bool) {
	switch {
	case counts:
		j.order.Lock()
		defer j.order.Unlock()
	case number:
		j.order.RLock()
		defer j.order.RUnlock()
	}
	if (counts || number) && j.current.Load() != b {
		return nil, false
	}
	if counts {
		fired = b.fold(e, fired, nil)
	}
	var all []settled
	if len(fired) > 0 {
		all = make([]settled, len(fired))
	}
	var feeding []string
	for i, f := range fired {
		all[i].firing = f
		if r := b.set.rules[f.rule]; !r.Silent {
			all[i].orders = b.orders(f.rule, e, nil)
		} else if number {
			feeding = append(feeding, r.ID)
		}
	}
	if number {
		e.Seq = j.seq.Add(1)
		e.SetString(signal.FieldPolicyUID, b.set.digest)
		e.SetStrings(signal.FieldVerdictFeeding, feeding)
	}
	return all, true
}

// verdict returns the verdict of the rules that fired. Silent ones have no hit.
func (b *bound) verdict(e *signal.Event, fired []settled) signal.Verdict {
	var hits []signal.Hit
	for i := range fired {
		f := &fired[i]
		b.note(f.rule, e)
		if b.set.rules[f.rule].Silent {
			continue
		}
		if hits == nil {
			hits = make([]signal.Hit, 0, len(fired)-i)
		}
		h := b.hit(f, e)
		h.Orders = f.orders
		hits = append(hits, h)
	}
	if len(hits) == 0 {
		return signal.Verdict{}
	}
	slices.SortFunc(hits, func(a, b signal.Hit) int {
		return cmp.Or(cmp.Compare(b.Decision, a.Decision), strings.Compare(a.Rule, b.Rule))
	})
	return signal.Verdict{Decision: hits[0].Decision, Hits: hits}
}

// Seq returns how many events the engine has numbered.
func (j *Engine) Seq() uint64 { return j.seq.Load() }

// note counts that a rule fired.
func (b *bound) note(at int, e *signal.Event) {
	st := b.state[at]
	st.hits.Add(1)
	for {
		last := st.last.Load()
		if e.Time <= last || st.last.CompareAndSwap(last, e.Time) {
			return
		}
	}
}

func (b *bound) hit(f *settled, e *signal.Event) signal.Hit {
	r := b.set.rules[f.rule]
	h := signal.Hit{Rule: r.ID, Title: r.Title, Severity: r.Severity, Decision: r.Then, Why: r.Title}
	if r.monitors(e) {
		h.Decision = min(h.Decision, signal.Alert)
	}
	if r.Sentence != nil {
		h.Why = r.Sentence(e)
	}
	if f.completed == nil {
		h.Proof = proof(r.Condition, e)
		return h
	}
	h.Related = f.completed.IDs
	h.Proof = r.Correlation.proof(e, f.completed)
	if r.Sentence == nil {
		h.Why = r.Title + ": " + r.Correlation.because(e, f.completed)
	}
	return h
}

// orders returns what the rule asks for on this event. An action without a target
// in the event is not asked for.
func (b *bound) orders(at int, e *signal.Event, wants func(rule int) bool) []signal.Order {
	r, st := b.set.rules[at], b.state[at]
	if r.monitors(e) {
		return nil
	}
	var orders []signal.Order
	for k, a := range r.Actions {
		target := e.RecordedText(a.Target)
		if target == "" {
			continue
		}
		if w := st.windows[k]; w != nil {
			if wants != nil && !wants(at) || !w.Add(target, e.Time) {
				continue
			}
		}
		orders = append(orders, signal.Order{Kind: a.Kind, Target: target, For: a.For})
	}
	return orders
}
