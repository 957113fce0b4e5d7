package replay

import (
	"slices"
	"time"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

// change is what two sets of rules have not in common.
type change struct {
	live, changed *policy.Set
	rules         RuleChanges
	ids           map[string]bool // rules that judge differently or feed on one that does
	matter        []*policy.Rule  // of both sets: those that decide whether an event can matter
	stateful      bool            // what matters depends on the order of events
	within        time.Duration   // how far back the state of what matters may reach
	doubt         time.Duration   // how far back the state of longest may reach
	firewall      map[string]bool // rules that differ at most by what the firewall finds
	longest       string          // a rule whose state may make a difference, the one that reaches furthest; "" for none
}

// compare says what differs; with firewall also rules that go by what the firewall finds.
func compare(live, changed *policy.Set, firewall bool) *change {
	c := &change{live: live, changed: changed, ids: make(map[string]bool), firewall: make(map[string]bool)}
	swap := policy.NewEngine(live).Swap(changed)
	c.rules = RuleChanges{Added: list(swap.Added), Removed: list(swap.Removed), Changed: list(swap.Changed)}
	for _, id := range slices.Concat(swap.Added, swap.Removed, swap.Changed) {
		c.ids[id] = true
	}
	if firewall {
		for _, r := range changed.Rules() {
			if !r.Disabled && !c.ids[r.ID] && readsFirewall(r) {
				c.ids[r.ID], c.firewall[r.ID] = true, true
			}
		}
	}
	for more := true; more; { // what feeds on a changed rule is changed
		more = false
		for _, set := range []*policy.Set{live, changed} {
			for _, r := range set.Rules() {
				if r.Correlation != nil && !c.ids[r.ID] && slices.ContainsFunc(r.Correlation.Of, func(ref policy.Ref) bool { return c.ids[idOf(set, ref.Rule)] }) {
					c.ids[r.ID], more = true, true
				}
			}
		}
	}
	if len(c.ids) == 0 {
		return c
	}
	seen := make(map[*policy.Rule]bool)
	for _, set := range []*policy.Set{live, changed} {
		for _, r := range set.Rules() {
			// All correlations: one that stays as it is may decide on an event for which another rule matters.
			if !r.Disabled && (c.ids[r.ID] || r.Correlation != nil) {
				c.add(set, r, seen)
			}
		}
	}
	return c
}

func list(ids []string) []string { return append([]string{}, ids...) }

// idOf resolves what a correlation names.
func idOf(set *policy.Set, name string) string {
	if set.Rule(name) != nil {
		return name
	}
	for _, r := range set.Rules() {
		if r.Name == name {
			return r.ID
		}
	}
	return name
}

// add notes that a rule matters, and what it feeds on.
func (c *change) add(set *policy.Set, r *policy.Rule, seen map[*policy.Rule]bool) {
	if seen[r] {
		return
	}
	seen[r] = true
	c.matter = append(c.matter, r)
	reach := time.Duration(0)
	for _, a := range r.Actions {
		if a.After > 1 {
			reach = max(reach, a.Within)
		}
	}
	if k := r.Correlation; k != nil {
		reach = max(reach, k.Within+k.Tolerance)
		for _, ref := range k.Of {
			if fed := set.Rule(idOf(set, ref.Rule)); fed != nil {
				c.add(set, fed, seen)
			}
		}
	}
	if reach > 0 {
		c.stateful = true
		c.within = max(c.within, reach)
		// A rule that stays as it is and only alerts hides no block of another: what its windows begin
		// with makes no difference that is counted.
		if reach > c.doubt && (c.ids[r.ID] || r.Then > signal.Alert) {
			c.doubt, c.longest = reach, r.ID
		}
	}
}

// relevant returns the condition of events on which one of the rules that matter may fire.
func (c *change) relevant() match.Expr {
	var any match.Or
	for _, r := range c.matter {
		if r.Condition == nil || r.Disabled {
			continue
		}
		var x match.Expr = r.Condition
		if reads := match.Fields(x); slices.ContainsFunc(reads, restored) {
			x = match.Const(true)
		} else if slices.Contains(reads, signal.FieldHTTPResponseCode) {
			x = match.Or{x, refused()}
		} else if slices.ContainsFunc(reads, statusOfRefused) {
			x = match.Or{x, refusedByGate()}
		}
		any = append(any, ofClasses(r.On, x))
	}
	return any
}

// restored reports whether asJudged takes the field away.
func restored(f signal.Field) bool {
	return f == signal.FieldMetadataSequence || f != signal.FieldMetadataReporterUID && match.Added(f)
}

// refused is the condition of the requests whose status was written after they were judged.
func refused() match.Expr {
	var is []match.IntRange
	for _, d := range refusals() {
		is = append(is, match.IntIs(d))
	}
	return ofClasses([]signal.Class{signal.ClassHTTPActivity}, match.And{
		match.Text(match.Operand{Field: signal.FieldMetadataLogProvider}, match.OpEqual, false, signal.PlaneEdge.String()),
		match.Int(match.Operand{Field: signal.FieldDispositionID}, is...),
	})
}

// statusOfRefused reports whether a field of what a gate refused was written after it was judged.
func statusOfRefused(f signal.Field) bool {
	return f == signal.FieldStatusID || f == signal.FieldStatusCode || f == signal.FieldStatusDetail
}

// refusedByGate is the condition of those events.
func refusedByGate() match.Expr {
	return match.And{
		match.Text(match.Operand{Field: signal.FieldMetadataLogProvider}, match.OpEqual, false, signal.PlaneKernel.String()),
		match.Text(match.Operand{Field: signal.FieldStatusDetail}, match.OpEqual, false, signal.DetailRefused),
	}
}

func ofClasses(classes []signal.Class, x match.Expr) match.Expr {
	if classes == nil {
		return x
	}
	var is []match.IntRange
	for _, c := range classes {
		is = append(is, match.IntIs(int64(c)))
	}
	return match.And{match.Int(match.Operand{Field: signal.FieldClassUID}, is...), x}
}

// reads are the columns that judging by sets of rules takes.
type reads struct {
	all      bool // every text
	unmapped bool
	fields   []signal.Field
}

func readsOf(sets ...*policy.Set) reads {
	var r reads
	for _, set := range sets {
		for _, rule := range set.Rules() {
			if rule.Disabled {
				continue
			}
			r.condition(rule.Condition)
			for _, a := range rule.Actions {
				r.fields = append(r.fields, a.Target)
			}
			if k := rule.Correlation; k != nil {
				for _, reading := range slices.Concat(k.GroupBy, k.Value) {
					for _, o := range append(slices.Clone(reading.Per), reading.From) {
						r.unmapped = r.unmapped || o.Attr != ""
						if o.Field != 0 {
							r.fields = append(r.fields, o.Field)
						}
					}
				}
			}
		}
	}
	r.compact()
	return r
}

func (r *reads) condition(x match.Expr) {
	if x == nil {
		return
	}
	r.all = r.all || match.ReadsAll(x)
	r.unmapped = r.unmapped || match.ReadsAttrs(x)
	r.fields = append(r.fields, match.Fields(x)...)
}

// add adds fields that something else reads.
func (r *reads) add(fields ...signal.Field) {
	r.fields = append(r.fields, fields...)
	r.compact()
}

func (r *reads) compact() {
	slices.Sort(r.fields)
	r.fields = slices.Compact(r.fields)
}

// columns returns the fields in the form that a query takes.
func (r *reads) columns() []signal.Field {
	if r.all {
		return nil
	}
	return slices.Concat(headerFields(), r.fields)
}
