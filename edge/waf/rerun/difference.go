package rerun

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/corazawaf/coraza/v3/types"
	"github.com/corazawaf/coraza/v3/types/variables"

	"github.com/testudo-sec/testudo/edge/waf/seclang"
)

// difference is what two programs have not in common, as far as it can be told without a request.
type difference struct {
	// adds says that something may be found that was not, reads what of a request that depends on.
	adds  bool
	reads []seclang.Target
	// narrows says that something may be found no more; asks what of a request that depends on.
	narrows bool
	asks    []seclang.Target
	// touched are the rules of before that look at less, or are gone.
	touched map[int]bool
}

// compare returns what is otherwise in after.
func compare(before, after *seclang.Program) *difference {
	d := &difference{touched: map[int]bool{}}
	was, is := byID(before), byID(after)
	for id := range was {
		if is[id] == nil {
			d.narrows, d.touched[id] = true, true
		}
	}
	for _, r := range after.Rules {
		if r.ID == 0 {
			continue
		}
		old := was[r.ID]
		switch {
		case old != nil && signature(old, true) == signature(r, true):
		case old != nil && signature(old, false) == signature(r, false) && narrower(old, r):
			d.narrows, d.touched[r.ID] = true, true
		default:
			if old != nil {
				d.narrows, d.touched[r.ID] = true, true
			}
			d.added(r, after)
		}
	}
	if before.Settings.ArgumentsLimit != after.Settings.ArgumentsLimit {
		d.adds, d.narrows = true, true
		d.reads = append(d.reads, seclang.Target{Variable: variables.Args})
	}
	return d
}

func byID(p *seclang.Program) map[int]*seclang.Rule {
	out := make(map[int]*seclang.Rule, len(p.Rules))
	for _, r := range p.Rules {
		if r.ID != 0 {
			out[r.ID] = r
		}
	}
	return out
}

// added notes a rule that is new, or another one.
func (d *difference) added(r *seclang.Rule, p *seclang.Program) {
	takes := false // it takes something out by ctl
	var sets []string
	for one := r; one != nil; one = one.Chain {
		for _, a := range one.Actions {
			switch {
			case a.Ctl != nil && a.Ctl.Kind <= seclang.RemoveTargetByMessage:
				takes = true
				d.mark(a.Ctl, p)
			case a.Ctl != nil:
				d.narrows = true
				d.all()
			case a.Set != nil:
				if key, ok := a.Set.Key.Constant(); ok && !strings.Contains(key, "anomaly_score") {
					sets = append(sets, strings.ToLower(strings.TrimPrefix(strings.ToLower(key), "tx.")))
				}
			}
		}
	}
	if takes {
		d.narrows = true
		d.asks = append(d.asks, readsOf(r)...)
	}
	if len(r.Flow) > 0 {
		d.narrows = true // what it skips
	}
	if !takes || r.Message != nil {
		d.adds = true
		d.reads = append(d.reads, readsOf(r)...)
	}
	for _, other := range p.Rules { // what goes by a setting finds other things with another one
		if other.ID != 0 && other != r && mentions(other, sets) {
			d.reads = append(d.reads, readsOf(other)...)
			d.narrows, d.touched[other.ID] = true, true
		}
	}
}

// all says that everything in a request may matter.
func (d *difference) all() {
	d.adds, d.reads = true, append(d.reads, seclang.Target{Variable: variables.Unknown})
}

// mark notes which rules a ctl takes out, or takes targets from.
func (d *difference) mark(c *seclang.Ctl, p *seclang.Program) {
	for _, r := range p.Rules {
		hit := false
		switch c.Kind {
		case seclang.RemoveByID, seclang.RemoveTargetByID:
			hit = r.ID != 0 && r.ID >= c.From && r.ID <= c.To
		case seclang.RemoveByTag, seclang.RemoveTargetByTag:
			hit = slices.Contains(r.Tags, c.Value)
		case seclang.RemoveByMessage, seclang.RemoveTargetByMessage:
			hit = r.Message != nil && r.Message.Text == c.Value
		}
		if hit && r.ID != 0 {
			d.touched[r.ID] = true
		}
	}
}

// mentions reports whether a rule reads one of the keys of TX.
func mentions(r *seclang.Rule, keys []string) bool {
	for one := r; one != nil; one = one.Chain {
		for _, key := range keys {
			if one.Operator != nil && strings.Contains(strings.ToLower(one.Operator.Argument), "tx."+key) {
				return true
			}
			for i := range one.Targets {
				if t := &one.Targets[i]; t.Variable == variables.TX && strings.EqualFold(t.Key, key) {
					return true
				}
			}
		}
	}
	return false
}

// readsOf returns all that a rule and its chain look at.
func readsOf(r *seclang.Rule) []seclang.Target {
	var out []seclang.Target
	for one := r; one != nil; one = one.Chain {
		out = append(out, one.Targets...)
	}
	return out
}

// raised returns what the rules of the levels above one look at, up to another.
func raised(p *seclang.Program, from, to int) []seclang.Target {
	var out []seclang.Target
	seen := map[string]bool{}
	for _, r := range p.Rules {
		if n := levelOf(r); n > from && n <= to {
			for _, t := range readsOf(r) {
				if key := targetText(&t); !seen[key] {
					seen[key] = true
					out = append(out, t)
				}
			}
		}
	}
	return out
}

// levelOf returns the paranoia level that a rule belongs to, 1 where it says none.
func levelOf(r *seclang.Rule) int {
	for _, tag := range r.Tags {
		if n, err := strconv.Atoi(strings.TrimPrefix(tag, "paranoia-level/")); err == nil && strings.HasPrefix(tag, "paranoia-level/") {
			return n
		}
	}
	return 1
}

// weightOf returns what a rule adds to the score, as the Core Rule Set's severities do.
func weightOf(r *seclang.Rule) int {
	switch r.Severity {
	case types.RuleSeverityCritical, types.RuleSeverityAlert, types.RuleSeverityEmergency:
		return 5
	case types.RuleSeverityError:
		return 4
	case types.RuleSeverityWarning:
		return 3
	case types.RuleSeverityNotice:
		return 2
	}
	return 0
}

// signature is a text that two rules share only where they judge alike; without targets, where they differ at most in what they look at.
func signature(r *seclang.Rule, targets bool) string {
	var b strings.Builder
	for one := r; one != nil; one = one.Chain {
		fmt.Fprintf(&b, "%d %v %v %v %d %v %v|", one.Phase, one.Transforms, one.MultiMatch, one.Capture, one.Severity, one.Tags, one.Log)
		if one.Operator != nil {
			fmt.Fprintf(&b, "%q %q %v %q|", one.Operator.Name, one.Operator.Argument, one.Operator.Negated, one.Operator.Words)
		}
		for _, m := range []*seclang.Macro{one.Message, one.LogData} {
			if m != nil {
				fmt.Fprintf(&b, "%q|", m.Text)
			}
		}
		for _, a := range one.Actions {
			if a.Set != nil {
				fmt.Fprintf(&b, "set %q %v", a.Set.Key.Text, a.Set.Remove)
				if a.Set.Value != nil {
					fmt.Fprintf(&b, " %q", a.Set.Value.Text)
				}
			}
			if a.Ctl != nil {
				c := *a.Ctl
				rx := ""
				if c.Except.KeyRx != nil {
					rx, c.Except.KeyRx = c.Except.KeyRx.String(), nil
				}
				fmt.Fprintf(&b, "ctl %v %q", c, rx)
			}
		}
		fmt.Fprintf(&b, "%v", one.Flow)
		if targets {
			for i := range one.Targets {
				t := &one.Targets[i]
				b.WriteString(targetText(t))
				for _, x := range t.Except {
					b.WriteString("!" + exceptText(&x))
				}
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func targetText(t *seclang.Target) string {
	rx := ""
	if t.KeyRx != nil {
		rx = t.KeyRx.String()
	}
	return fmt.Sprintf("%s:%q:%q:%v ", t.Variable.Name(), t.Key, rx, t.Count)
}

func exceptText(x *seclang.Exception) string {
	if x.KeyRx != nil {
		return "/" + x.KeyRx.String() + "/"
	}
	return strconv.Quote(x.Key)
}

// narrower reports whether a rule looks at nothing that the other one, which it is else alike, does not.
func narrower(old, r *seclang.Rule) bool {
	for a, b := old, r; b != nil; a, b = a.Chain, b.Chain {
		if a == nil {
			return false
		}
		for i := range b.Targets {
			t := &b.Targets[i]
			if !slices.ContainsFunc(a.Targets, func(o seclang.Target) bool {
				if targetText(&o) != targetText(t) {
					return false
				}
				for _, x := range o.Except {
					if !slices.ContainsFunc(t.Except, func(y seclang.Exception) bool { return exceptText(&x) == exceptText(&y) }) {
						return false
					}
				}
				return true
			}) {
				return false
			}
		}
	}
	return true
}
