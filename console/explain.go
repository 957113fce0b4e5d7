package console

import (
	"context"
	"net/http"

	"github.com/testudo-sec/testudo/signal"
)

// ExplainSource says why rules fire on a recorded event, or why they do not.
type ExplainSource interface {
	// Explain returns one explanation for the rule, or, where rule is empty, one for each rule that
	// fires on the event now or fired when it was judged, by id. ErrNotFound where
	// there is no such event or rule.
	Explain(ctx context.Context, event signal.ID, rule string) ([]Explanation, error)
}

// Explanation says why a rule fires on an event, or why it does not.
type Explanation struct {
	Rule     string          `json:"rule"`
	Title    string          `json:"title"`
	Decision signal.Decision `json:"decision"` // what the rule decides where it fires
	Fires    bool            `json:"fires"`
	Recorded bool            `json:"recorded"` // whether it fired when the event was judged
	Why      string          `json:"why"`      // the rule's sentence for this event, where it fires
	Because  []string        `json:"because"`  // what keeps it from firing besides its condition
	Proof    []ProofLine     `json:"proof"`    // the condition, a line for each part, outer parts first
	Inexact  []string        `json:"inexact"`  // why the answer may differ from the one of the moment
	Unusual  []string        `json:"unusual"`  // how the event's request differs from what others send, in words
}

// ProofLine is one part of a condition, with its answer for an event.
type ProofLine struct {
	Depth  int          `json:"depth"`  // how many parts it stands in
	Kind   string       `json:"kind"`   // and, or, not, atom, any, every, function, constant
	Text   string       `json:"text"`   // what it asks; empty for and, or, not
	Answer string       `json:"answer"` // yes, no or fault
	Values []ProofValue `json:"values"` // that it looked at, those first for which it holds
}

// ProofValue is a value that a part of a condition looked at.
type ProofValue struct {
	Text  string `json:"text"`  // recorded form
	Holds bool   `json:"holds"` // whether the part holds for it
	Match string `json:"match"` // the constant for which it holds, where there is one
}

type explainIn struct {
	ID   signal.ID `path:"id" doc:"id of the event"`
	Rule string    `query:"rule" doc:"id of a rule, whether it fired or not; empty for all that fire"`
}

func (s *Server) explainRoutes() []Route {
	return []Route{
		call(get, v1+"/events/{id}/explain", RoleViewer, says{id: "explainEvent", summary: "Why rules fire on an event, or why one does not", tag: "events"},
			func(r *http.Request, _ http.ResponseWriter, in explainIn) (Page[Explanation], error) {
				if s.sources.Explain == nil {
					return Page[Explanation]{}, unavailable("explanations")
				}
				all, err := s.sources.Explain.Explain(r.Context(), in.ID, in.Rule)
				return Page[Explanation]{Items: all}, err
			}),
	}
}
