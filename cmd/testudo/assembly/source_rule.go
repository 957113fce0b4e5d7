package assembly

import (
	"cmp"
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/policy/window"
	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store/state"
)

// waits says what a correlation waits for.
func (s ruleBook) waits(set *policy.Set, c *policy.Correlation, hits map[string]state.RuleHits) *console.RuleWaits {
	w := &console.RuleWaits{Kind: c.Kind.String(), Within: console.Duration(c.Within), Ordered: c.Kind == window.Ordered,
		Of: []console.WaitedRule{}, GroupBy: []string{}, Values: []string{}}
	if _, until, ok := strings.Cut(c.String(), " within "+c.Within.String()+": "); ok {
		w.Until = until
	}
	for _, ref := range c.Of {
		one := console.WaitedRule{ID: ref.Rule}
		at := slices.IndexFunc(set.Rules(), func(r *policy.Rule) bool { return r.ID == ref.Rule })
		if at < 0 {
			at = slices.IndexFunc(set.Rules(), func(r *policy.Rule) bool { return r.Name == ref.Rule })
		}
		if at >= 0 {
			r := set.Rules()[at]
			one.ID, one.Title = r.ID, r.Title
			one.Hits = uint64(hits[r.ID].Count)
			if info, ok := s.m.engine.Info(r.ID); ok {
				one.Hits = max(one.Hits, info.Hits)
			}
		}
		w.Of = append(w.Of, one)
	}
	for _, g := range c.GroupBy {
		w.GroupBy = append(w.GroupBy, g.Name)
	}
	for _, v := range c.Value {
		w.Values = append(w.Values, v.Name)
	}
	return w
}

// The bounds of the look at recent events for what a rule reads.
const (
	maxLooked = 5000
	maxReads  = 200
)

// reads returns what the condition of a rule reads, and in how many of the recent events of its classes it is there.
func (s ruleBook) reads(set *policy.Set, id string, on []string) (reads []console.RuleRead, looked int) {
	var all []policy.Operand
	add := func(o policy.Operand) {
		if !o.IsZero() && !slices.Contains(all, o) {
			all = append(all, o)
		}
	}
	for _, r := range set.Rules() {
		if (r.ID == id || r.PartOf == id) && r.Condition != nil {
			for _, o := range match.Operands(r.Condition) {
				add(policy.Operand{Field: o.Field, Attr: o.Attr})
			}
			for _, f := range match.Fields(r.Condition) { // those of functions
				if !slices.ContainsFunc(all, func(o policy.Operand) bool { return o.Field == f }) {
					add(policy.Operand{Field: f})
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b policy.Operand) int {
		return cmp.Or(cmp.Compare(min(b.Field, 1), min(a.Field, 1)), cmp.Compare(a.Field, b.Field), strings.Compare(a.Attr, b.Attr))
	})
	all = all[:min(len(all), maxReads)]
	for _, o := range all {
		one := console.RuleRead{Name: o.Attr, Attr: true}
		if o.Field != 0 {
			one = console.RuleRead{Name: o.Field.Name()}
		}
		reads = append(reads, one)
	}
	if len(all) == 0 {
		return nil, 0
	}
	// The filter looks and takes nothing, so that no event is copied.
	s.m.storage.Store.Live().Recent(1, func(e *signal.Event) bool {
		if looked >= maxLooked || len(on) > 0 && !slices.Contains(on, e.Class.String()) {
			return false
		}
		looked++
		for i, o := range all {
			if o.Field != 0 && e.Has(o.Field) ||
				o.Attr != "" && slices.ContainsFunc(e.UnmappedAttrs(), func(a signal.Attr) bool { return match.AttrIs(a.Name, o.Attr) }) {
				reads[i].Seen++
			}
		}
		return false
	})
	return reads, looked
}
