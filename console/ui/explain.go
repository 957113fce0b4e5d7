package ui

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/signal"
)

// maxExplained bounds the rules that an event's page explains.
const maxExplained = 5

// explainView is why rules fire on an event, or why one does not.
type explainView struct {
	Event string
	Rule  string         // that was asked about; empty for all that fire
	All   []explained    //
	Rules []console.Rule // that can be asked about
}

// explained is one rule's explanation.
type explained struct {
	console.Explanation
	Lines []proofLine
}

// proofLine is a line of a proof as people read it.
type proofLine struct {
	console.ProofLine
	Indent int // 0 to 12
	Says   string
	Empty  bool // it looked for values, and the event has none
}

func explainedOf(x console.Explanation) explained {
	out := explained{Explanation: x}
	for _, l := range x.Proof {
		line := proofLine{ProofLine: l, Indent: min(l.Depth, 12), Says: l.Text}
		switch l.Kind {
		case "and":
			line.Says = "all of"
		case "or":
			line.Says = "one of"
		case "not":
			line.Says = "none of"
		case "atom", "any", "every":
			line.Empty = len(l.Values) == 0
		}
		out.Lines = append(out.Lines, line)
	}
	return out
}

// explanations returns why rules fire on an event, by rule; none where that cannot be said: the page
// of an event is more than that.
func (p *Pages) explanations(r *http.Request, id signal.ID) map[string]explained {
	src := p.srv.Sources().Explain
	if src == nil {
		return nil
	}
	all, err := src.Explain(r.Context(), id, "")
	if err != nil {
		return nil
	}
	by := make(map[string]explained)
	for _, x := range all[:min(len(all), maxExplained)] {
		by[x.Rule] = explainedOf(x)
	}
	return by
}

// maxSuggested bounds the rules that the form offers: thousands would be most of the page.
const maxSuggested = 300

// suggested returns rules to ask about, people's own first.
func suggested(all []console.Rule) []console.Rule {
	if len(all) <= maxSuggested {
		return all
	}
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b console.Rule) int {
		switch {
		case a.Builtin == b.Builtin:
			return cmp.Compare(b.Hits, a.Hits)
		case b.Builtin:
			return -1
		}
		return 1
	})
	return all[:maxSuggested]
}

// explain is the page that says why a rule fires on an event, or why it does not.
func (p *Pages) explain(w http.ResponseWriter, r *http.Request) error {
	src := p.srv.Sources().Explain
	if src == nil {
		return missing("explanations")
	}
	id, err := signal.ParseID(r.PathValue("id"))
	if err != nil {
		return fmt.Errorf("%w: %q is no id of an event", console.ErrNotFound, clip(60, r.PathValue("id")))
	}
	m := &explainView{Event: id.String(), Rule: r.FormValue("rule")}
	all, err := src.Explain(r.Context(), id, m.Rule)
	if err != nil {
		return err
	}
	for _, x := range all {
		m.All = append(m.All, explainedOf(x))
	}
	if rules := p.srv.Sources().Rules; rules != nil {
		all, err := rules.Rules(r.Context())
		if err != nil {
			return err
		}
		m.Rules = suggested(all)
	}
	v := p.view(w, r, "Why", "traffic")
	v.Main = m
	return p.page(w, "explain", v)
}
