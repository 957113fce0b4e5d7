package console

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/signal"
)

// What may be decided about a proposed exception.
const (
	ExceptionAccepted = "accept"
	ExceptionRefused  = "refuse"
)

// The bounds of a decision about an exception.
const (
	maxExceptionText   = 2000
	maxExceptionChange = 16 << 10
	maxExceptionsKept  = 200  // that are read at once
	maxChangeParts     = 26   // values of a ledger entry that hold a change
	ledgerPart         = 1400 // of a value in the ledger, its escapes counted: what is longer is cut there
)

// ExceptionChoice is what somebody decides about an exception that was proposed.
type ExceptionChoice struct {
	Decision string `json:"decision" doc:"accept or refuse"`
	Rule     string `json:"rule" doc:"id of the rule that it excepts from, as the report names it"`
	Text     string `json:"text" doc:"the exception for people, as proposed"`
	Change   string `json:"change,omitempty" doc:"what to put in force, as proposed"`
	Where    string `json:"where,omitempty" doc:"where that is put"`
	Reason   string `json:"reason,omitempty" doc:"why; needed to refuse"`
}

// ExceptionDecision is a choice that the ledger holds. It says what people want, not what is in force.
type ExceptionDecision struct {
	ExceptionChoice
	Proposal string    `json:"proposal" doc:"what is the same for the same proposal about another event"`
	Event    string    `json:"event" doc:"id of the event that it was proposed for"`
	Time     time.Time `json:"time"`
	Actor    string    `json:"actor"`
}

// ProposalID names a proposal by what it says.
func ProposalID(rule, text string) string {
	return signal.Fingerprint("exception", rule, text)
}

// DecideException remembers in the ledger what is decided about a proposal. It puts nothing in force: rules and settings are
// files of the machine, which the console does not write. Operators may.
func (d *Desk) DecideException(ctx context.Context, event signal.ID, x ExceptionChoice) (ExceptionDecision, error) {
	c, err := d.caller(ctx, RoleOperator)
	if err != nil {
		return ExceptionDecision{}, err
	}
	if d.sources.Events == nil || d.sources.Rules == nil {
		return ExceptionDecision{}, unavailable("events and rules")
	}
	for _, f := range []struct {
		name, text string
		limit      int
	}{{"rule", x.Rule, maxTarget}, {"text", x.Text, maxExceptionText}, {"change", x.Change, maxExceptionChange}, {"where", x.Where, maxReason}, {"reason", x.Reason, maxReason}} {
		if err := checkText(f.name, f.text, f.limit); err != nil {
			return ExceptionDecision{}, err
		}
	}
	x.Reason = strings.TrimSpace(x.Reason)
	switch {
	case x.Decision != ExceptionAccepted && x.Decision != ExceptionRefused:
		return ExceptionDecision{}, &InputError{Field: "decision", Reason: "want accept or refuse"}
	case strings.TrimSpace(x.Text) == "":
		return ExceptionDecision{}, &InputError{Field: "text", Reason: "name the exception, as it was proposed"}
	case x.Decision == ExceptionRefused && x.Reason == "":
		return ExceptionDecision{}, &InputError{Field: "reason", Reason: "say why it is refused, for who asks next"}
	}
	if _, err := d.sources.Events.Event(ctx, event); err != nil {
		return ExceptionDecision{}, err
	}
	if _, err := d.sources.Rules.Rule(ctx, x.Rule); err != nil {
		return ExceptionDecision{}, err
	}
	detail := map[string]string{"event": event.String(), "proposal": ProposalID(x.Rule, x.Text), "text": printable(x.Text, ledgerPart/2)}
	for key, text := range map[string]string{"where": x.Where, "reason": x.Reason} {
		if text != "" {
			detail[key] = text
		}
	}
	parts := partsOf(x.Change)
	if len(parts) > maxChangeParts {
		return ExceptionDecision{}, &InputError{Field: "change", Reason: "this is more than the ledger keeps of one change"}
	}
	for i, part := range parts {
		detail[changeKey(i)] = part
	}
	if _, err := d.record(ctx, c, "exception."+x.Decision, x.Rule, detail); err != nil {
		return ExceptionDecision{}, err
	}
	return ExceptionDecision{ExceptionChoice: x, Proposal: detail["proposal"], Event: event.String(), Time: time.Now().UTC(), Actor: c.Actor()}, nil
}

// ExceptionDecisions returns what was decided about exceptions from a rule, or from all of them where rule is empty, the newest
// first, as far as 200 entries of the ledger reach. Viewers may.
func (d *Desk) ExceptionDecisions(ctx context.Context, rule string) ([]ExceptionDecision, error) {
	if _, err := d.caller(ctx, RoleViewer); err != nil {
		return nil, err
	}
	if d.sources.Ledger == nil {
		return nil, unavailable("a ledger")
	}
	page, err := d.sources.Ledger.Entries(ctx, LedgerQuery{Verb: "exception", Subject: rule, Limit: maxExceptionsKept})
	if err != nil {
		return nil, fmt.Errorf("decisions about exceptions: %w", err)
	}
	var out []ExceptionDecision
	for _, e := range page.Items {
		decision := strings.TrimPrefix(e.Verb, "exception.")
		if decision != ExceptionAccepted && decision != ExceptionRefused {
			continue
		}
		var change strings.Builder
		for i := 0; e.Detail[changeKey(i)] != ""; i++ {
			change.WriteString(e.Detail[changeKey(i)])
		}
		out = append(out, ExceptionDecision{Proposal: e.Detail["proposal"], Event: e.Detail["event"], Time: e.Time, Actor: e.Actor, ExceptionChoice: ExceptionChoice{
			Decision: decision, Rule: e.Subject, Text: e.Detail["text"], Change: change.String(), Where: e.Detail["where"], Reason: e.Detail["reason"]}})
	}
	return out, nil
}

// changeKey names a part of a change in an entry of the ledger.
func changeKey(i int) string { return "change." + strconv.Itoa(i) }

// partsOf cuts a text into parts that the ledger keeps whole.
func partsOf(s string) []string {
	var out []string
	from, size := 0, 0
	for i, r := range s {
		n := 1
		switch {
		case r == '"' || r == '\\':
			n = 2
		case r < ' ' || r > '~': // as \uXXXX, or two of them
			n = 12
		}
		if size+n > ledgerPart {
			out, from, size = append(out, s[from:i]), i, 0
		}
		size += n
	}
	if from < len(s) {
		out = append(out, s[from:])
	}
	return out
}

// Exceptions proposes how to free an event from a rule, within the time that a page can wait: ErrTooLong beyond that. Operators may.
func (d *Desk) Exceptions(ctx context.Context, q ExceptionQuery) (ExceptionReport, error) {
	if _, err := d.caller(ctx, RoleOperator); err != nil {
		return ExceptionReport{}, err
	}
	if d.sources.Replay == nil {
		return ExceptionReport{}, unavailable("a lake")
	}
	if err := checkText("rule", q.Rule, maxTarget); err != nil {
		return ExceptionReport{}, err
	}
	return waiting(ctx, d, func(ctx context.Context) (ExceptionReport, error) { return d.sources.Replay.Exceptions(ctx, q, nil) })
}

type decideExceptionIn struct {
	ID   signal.ID       `path:"id" doc:"id of the event"`
	Body ExceptionChoice `body:"json"`
}

type decidedIn struct {
	Rule string `path:"id" doc:"id of the rule"`
}

func (s *Server) exceptionRoutes() []Route {
	return []Route{
		call(post, v1+"/events/{id}/exceptions/decisions", RoleOperator, says{id: "decideException", summary: "Accept or refuse a proposed exception: remembered in the ledger, and put in force by nothing but its change", tag: "rules"},
			func(r *http.Request, _ http.ResponseWriter, in decideExceptionIn) (ExceptionDecision, error) {
				return s.desk.DecideException(r.Context(), in.ID, in.Body)
			}),
		call(get, v1+"/rules/{id}/exceptions", RoleViewer, says{id: "listExceptionDecisions", summary: "What was decided about exceptions from a rule, the newest first", tag: "rules"},
			func(r *http.Request, _ http.ResponseWriter, in decidedIn) (Page[ExceptionDecision], error) {
				all, err := s.desk.ExceptionDecisions(r.Context(), in.Rule)
				return Page[ExceptionDecision]{Items: all}, err
			}),
	}
}
