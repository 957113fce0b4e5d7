package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

// Explanation says why a rule fires on an event, or why it does not.
type Explanation struct {
	Rule     string          `json:"rule"`
	Title    string          `json:"title"`
	Decision signal.Decision `json:"decision"` // what the rule decides where it fires
	Fires    bool            `json:"fires"`
	// Because holds what keeps the rule from firing, or from deciding, besides its condition, a
	// sentence each: it is switched off, or it reads events of another class.
	Because []string    `json:"because,omitempty"`
	Proof   match.Proof `json:"proof"`
	// Inexact holds why the answer may differ from the one of the moment, a sentence each.
	Inexact []string `json:"inexact,omitempty"`
}

// Explain judges the event by one rule of the set and says why it fires or not. The event may be
// one that was read back from a record. It reports false where the set has no such rule.
func (s *Set) Explain(e *signal.Event, id string) (Explanation, bool) {
	r := s.Rule(id)
	if r == nil {
		return Explanation{}, false
	}
	x := Explanation{Rule: r.ID, Title: r.Title, Decision: r.Then}
	if r.Correlation != nil {
		s.explainCorrelation(e, r, &x)
		return x, true
	}
	if r.Condition != nil {
		x.Proof = match.Explain(r.Condition, e)
	}
	if r.Disabled {
		x.Because = append(x.Because, "the rule is switched off")
	}
	if r.On != nil && !slices.Contains(r.On, e.Class) {
		names := make([]string, len(r.On))
		for i, c := range r.On {
			names[i] = c.String()
		}
		x.Because = append(x.Because, fmt.Sprintf("it reads events of class %s, and this is one of %s", strings.Join(names, ", "), e.Class))
	}
	x.Fires = x.Proof.Answer == match.Yes && len(x.Because) == 0
	if r.monitors(e) {
		x.Decision = min(x.Decision, signal.Alert)
		x.Because = append(x.Because, "it only alerts at this route: it fired on too much traffic that is known to be good")
	}
	for _, a := range r.Actions {
		if x.Fires && a.counts() {
			x.Because = append(x.Because, fmt.Sprintf("its action waits for others: %s", a))
		}
	}
	for _, f := range match.Fields(r.Condition) {
		if e.IsMasked(f) {
			x.Inexact = append(x.Inexact, fmt.Sprintf("%s was masked when it was recorded", f))
		}
	}
	if digest := e.Str(signal.FieldPolicyUID); digest != "" && digest != s.digest {
		x.Inexact = append(x.Inexact, fmt.Sprintf("the event was judged by the rules of digest %.12s, and this is by those of %.12s", digest, s.digest))
	}
	return x, true
}

// maxProof bounds the pieces of proof that a hit carries.
const maxProof = 8

// proof returns what made a rule's condition hold, in recorded forms.
func proof(x match.Expr, e *signal.Event) []signal.Evidence {
	var all []signal.Evidence
	for _, p := range match.Held(x, e, maxProof) {
		one := signal.Evidence{Name: p.Text}
		for _, v := range p.Values {
			if v.Holds {
				one.Value = v.Text
				break
			}
		}
		all = append(all, one)
	}
	return all
}
