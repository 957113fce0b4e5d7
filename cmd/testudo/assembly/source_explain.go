package assembly

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
)

// explanations says why rules in force fire on recorded events, or do not.
type explanations struct{ m *Machine }

func (s explanations) Explain(ctx context.Context, id signal.ID, rule string) ([]console.Explanation, error) {
	e, err := events(s).Event(ctx, id)
	if err != nil {
		return nil, err
	}
	return explain(s.m.engine.Set(), e, rule)
}

// Explain says for a data directory that no node has open what [console.ExplainSource] says, by the
// rules that a node would load.
func Explain(ctx context.Context, history *store.History, set *policy.Set, id signal.ID, rule string) ([]console.Explanation, error) {
	e, err := history.Get(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("event %s is not kept (any more)", id)
	}
	if err != nil {
		return nil, err
	}
	return explain(set, e, rule)
}

func explain(set *policy.Set, e *signal.Event, rule string) ([]console.Explanation, error) {
	if rule != "" {
		x, ok := set.Explain(e, rule)
		if !ok {
			return nil, fmt.Errorf("rule %s: %w", policy.Printable(rule, 100), console.ErrNotFound)
		}
		return []console.Explanation{explanationOf(&x, e, set.Rule(rule))}, nil
	}
	recorded := e.Strings(signal.FieldVerdictRules)
	all := []console.Explanation{}
	for _, r := range set.Rules() {
		// The pieces of a rule are explained with it.
		if r.PartOf != "" || !slices.Contains(recorded, r.ID) && (r.Condition == nil || match.Eval(r.Condition, e) != match.Yes) {
			continue
		}
		if x, ok := set.Explain(e, r.ID); ok && (x.Fires || slices.Contains(recorded, r.ID)) {
			all = append(all, explanationOf(&x, e, r))
		}
	}
	for _, id := range recorded {
		if set.Rule(id) == nil {
			all = append(all, console.Explanation{Rule: id, Recorded: true, Because: []string{"the rule is not in force any more"}})
		}
	}
	return all, nil
}

func explanationOf(x *policy.Explanation, e *signal.Event, r *policy.Rule) console.Explanation {
	out := console.Explanation{Rule: x.Rule, Title: x.Title, Decision: x.Decision, Fires: x.Fires, Because: x.Because, Inexact: x.Inexact,
		Recorded: slices.Contains(e.Strings(signal.FieldVerdictRules), x.Rule), Unusual: e.Strings(signal.FieldHabitUnusual)}
	if x.Fires && r != nil && r.Sentence != nil {
		out.Why = r.Sentence(e)
	}
	var lines func(p *match.Proof, depth int)
	lines = func(p *match.Proof, depth int) {
		line := console.ProofLine{Depth: depth, Kind: p.Kind, Text: p.Text, Answer: p.Answer.String()}
		for _, v := range p.Values {
			line.Values = append(line.Values, console.ProofValue{Text: v.Text, Holds: v.Holds, Match: v.Match})
		}
		out.Proof = append(out.Proof, line)
		for i := range p.Parts {
			lines(&p.Parts[i], depth+1)
		}
	}
	if x.Proof.Kind != "" {
		lines(&x.Proof, 0)
	}
	return out
}
