package replay

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
)

// VerifyQuery says which records are judged again.
type VerifyQuery struct {
	Since, Until time.Time
	Classes      []signal.Class // nil: all
}

// Verification says whether records are what the rules that they name make of them.
type Verification struct {
	Same       int64          `json:"same"`      // verdicts that came out as they were recorded: the same rules, the same disposition
	Different  int64          `json:"different"` // verdicts that did not, for no reason that is known
	Masked     int64          `json:"masked"`    // verdicts that did not, and a rule that makes the difference reads a masked value
	Other      int64          `json:"other"`     // events of rules that are not at hand
	Mismatches []Mismatch     `json:"mismatches"`
	Policies   []PolicyEvents `json:"policies"`
	Inexact    []Reason       `json:"inexact"`
}

// PolicyEvents are the events that a set of rules judged.
type PolicyEvents struct {
	Policy string `json:"policy"` // digest; "" where the record names none
	Events int64  `json:"events"`
}

// Mismatch is a rule that fired on record and does not, or the other way round.
type Mismatch struct {
	Rule     string `json:"rule"` // "" where only the disposition differs
	Recorded int64  `json:"recorded"`
	Replayed int64  `json:"replayed"`
	Event    string `json:"event"` // id of one of the events
}

// maxMismatches bounds the rules that are named.
const maxMismatches = 100

// OK reports whether every record that could be judged again came out the same.
func (v *Verification) OK() bool { return v.Different == 0 }

// Verify judges recorded events again, each by that of the sets which its record names, in the order of
// their numbers where a rule depends on it, and compares the verdicts. Where sets change in the middle windows go on
// as they do in a node whose rules are reloaded.
func Verify(ctx context.Context, h History, sets []*policy.Set, q VerifyQuery) (*Verification, error) {
	v := &verifier{sets: make(map[string]*policy.Set), judges: make(map[string]*judge), mismatches: make(map[string]*Mismatch), policies: make(map[string]int64)}
	within := time.Duration(0)
	stateful := false
	for _, s := range sets {
		v.sets[s.Digest()] = s
		for _, r := range s.Rules() {
			if r.Correlation != nil && !r.Disabled {
				stateful = true
				within = max(within, r.Correlation.Within+r.Correlation.Tolerance)
			}
		}
	}
	since := q.Since
	if v.from = -1 << 63; !since.IsZero() {
		v.from = since.UnixNano()
		since = since.Add(-within)
	}
	judging := readsOf(sets...)
	judging.add(recordFields()...)
	query := store.Query{Since: since, Until: q.Until, Columns: judging.columns(), Unmapped: judging.unmapped, Sequenced: stateful}
	v.classes = q.Classes
	if !stateful {
		query.Classes = q.Classes
	}
	got, err := h.Scan(ctx, query, func(e *signal.Event) bool {
		v.event(e)
		return true
	})
	if err != nil {
		return nil, err
	}
	out := v.result()
	if stateful && !q.Since.IsZero() && v.warmed == 0 {
		out.Inexact = append(out.Inexact, Reason{Reason: "nothing is recorded from before the time asked for, so that windows begin empty"})
	}
	out.Inexact = append(out.Inexact, lacks(&got)...)
	return out, nil
}

// verifier is the state of a verification.
type verifier struct {
	Verification
	sets       map[string]*policy.Set
	judges     map[string]*judge
	classes    []signal.Class
	from       int64
	warmed     int64
	mismatches map[string]*Mismatch
	policies   map[string]int64
}

// judge is an engine that goes through the sets of one judge.
type judge struct {
	engine *policy.Engine
	set    *policy.Set
}

func (v *verifier) event(e *signal.Event) {
	r := recordOf(e)
	set := v.sets[r.policy]
	counted := e.Time >= v.from && (v.classes == nil || slices.Contains(v.classes, e.Class))
	if counted {
		v.policies[strings.Clone(r.policy)]++
	} else {
		v.warmed++
	}
	if set == nil {
		if counted {
			v.Other++
		}
		return
	}
	j := v.judges[r.judge]
	switch {
	case j == nil:
		j = &judge{policy.NewEngine(set), set}
		v.judges[strings.Clone(r.judge)] = j
	case j.set != set:
		j.engine.Swap(set)
		j.set = set
	}
	masked := anyMasked(e)
	asJudged(e, &r)
	verdict := j.engine.Judge(e)
	if counted {
		v.compare(e, set, &r, &verdict, masked)
	}
}

// anyMasked reports whether a field of the event was masked.
func anyMasked(e *signal.Event) bool {
	found := false
	e.Each(func(f signal.Field) bool {
		found = e.IsMasked(f)
		return !found
	})
	return found
}

func (v *verifier) compare(e *signal.Event, set *policy.Set, r *record, verdict *signal.Verdict, masked bool) {
	var differ []string
	for i := range verdict.Hits {
		if id := verdict.Hits[i].Rule; !slices.Contains(r.rules, id) {
			differ = append(differ, id)
		}
	}
	for _, id := range r.rules {
		if !slices.ContainsFunc(verdict.Hits, func(h signal.Hit) bool { return h.Rule == id }) {
			differ = append(differ, id)
		}
	}
	disposition, _ := took(e, verdict.Decision, false).Disposition()
	switch {
	case len(differ) == 0 && disposition == r.disposition:
		v.Same++
		return
	case masked && slices.ContainsFunc(differ, func(id string) bool { return readsMasked(e, set, set.Rule(id), 0) }):
		v.Masked++
		return
	}
	v.Different++
	if len(differ) == 0 {
		differ = []string{""}
	}
	for _, id := range differ {
		m := v.mismatches[id]
		if m == nil {
			if len(v.mismatches) >= maxMismatches {
				continue
			}
			m = &Mismatch{Rule: strings.Clone(id), Event: e.ID.String()}
			v.mismatches[m.Rule] = m
		}
		if slices.Contains(r.rules, id) {
			m.Recorded++
		} else {
			m.Replayed++
		}
	}
}

// readsMasked reports whether a rule, or one that it feeds on, reads a field that is masked in the event.
func readsMasked(e *signal.Event, set *policy.Set, r *policy.Rule, depth int) bool {
	if r == nil || depth > 8 {
		return false
	}
	if r.Correlation != nil {
		// What a window holds of earlier events may come from masked values too.
		return slices.ContainsFunc(r.Correlation.Of, func(ref policy.Ref) bool {
			return readsMasked(e, set, set.Rule(idOf(set, ref.Rule)), depth+1)
		})
	}
	if r.Condition == nil {
		return false
	}
	return match.ReadsAll(r.Condition) || slices.ContainsFunc(match.Fields(r.Condition), e.IsMasked)
}

func (v *verifier) result() *Verification {
	out := v.Verification
	out.Mismatches, out.Policies, out.Inexact = []Mismatch{}, []PolicyEvents{}, []Reason{}
	for _, m := range v.mismatches {
		out.Mismatches = append(out.Mismatches, *m)
	}
	slices.SortFunc(out.Mismatches, func(a, b Mismatch) int { return strings.Compare(a.Rule, b.Rule) })
	for digest, n := range v.policies {
		out.Policies = append(out.Policies, PolicyEvents{digest, n})
	}
	slices.SortFunc(out.Policies, func(a, b PolicyEvents) int { return strings.Compare(a.Policy, b.Policy) })
	if out.Masked > 0 {
		out.Inexact = append(out.Inexact, Reason{"a value that a rule read was masked when it was recorded", out.Masked})
	}
	if out.Other > 0 {
		out.Inexact = append(out.Inexact, Reason{fmt.Sprintf("events were judged by rules that are not at hand: %d sets in all, %d known", len(v.policies), len(v.sets)), out.Other})
	}
	return &out
}
