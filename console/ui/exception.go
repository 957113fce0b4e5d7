package ui

import (
	"cmp"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/signal"
)

// The bounds of what a page shows of proposals.
const (
	maxOffers   = 12
	maxTests    = 8 // attacks that an offer loses, by name
	maxDecided  = 60
	bigLoss     = 0.01 // share of attacks from which a loss is marked
	dearestLoss = 0.05
)

// exceptionView is the page that looks for exceptions from the rules that fired on an event.
type exceptionView struct {
	Event   string
	Row     row
	Why     string
	Rules   []string // that fired
	Rule    string   // that is asked about
	Since   string
	Asked   bool
	Report  *console.ExceptionReport
	Walls   []offer // of the firewall
	Offers  []offer // of the rule
	Rest    int     // that are not shown
	Problem string
	Decided []decided // about this event
}

// offer is a proposal with its price, as a page shows it.
type offer struct {
	Letter   string
	Event    string
	Rule     string
	Lead     string // before the text
	Text     string
	Freed    int64
	Most     int64 // that any offer frees
	AtMost   bool
	Exact    bool
	Prices   []price
	Tests    []string // attacks that are lost, by name
	Suspect  int64
	Suspects []string
	Examples []console.FreedEvent
	Change   string
	Where    string
	Line     string // of the firewall, that would do the same
	Checked  bool
	Note     string   // what is not certain about the change
	Taken    *decided // what was decided about it before
}

// price is how many of some attacks an exclusion loses.
type price struct {
	Name     string
	Lost, Of int
	How      string
}

// Class is how dear that is, as a class name of the style sheet.
func (p price) Class() string { return lossClass(float64(p.Lost), float64(p.Of)) }

func lossClass(lost, of float64) string {
	switch {
	case lost <= 0 || of <= 0:
		return ""
	case lost/of >= dearestLoss:
		return "is-bad"
	case lost/of >= bigLoss:
		return "is-warn"
	}
	return "is-ok"
}

// decided is a decision with its words.
type decided struct {
	console.ExceptionDecision
	Accepted bool
	Own      bool // it stands on the page of its event
}

// Where changes are put. Both take effect when testudo starts again.
const (
	whereBefore = "waf.before in testudo.yaml; it takes effect at the next start"
	whereAfter  = "waf.after in testudo.yaml; it takes effect at the next start"
	whereBoth   = "waf.before and waf.after in testudo.yaml; they take effect at the next start"
)

// shareBar draws a loss: of a small share at least something is seen.
func shareBar(part, of any) template.HTML {
	n, all := number(part), number(of)
	shown := n
	if n > 0 {
		shown = max(n, all*0.015)
	}
	return bar(shown, all, 0, lossClass(n, all), shareOf(part, of))
}

// shareOf is a part of a whole in percent, so that little is told from nothing.
func shareOf(part, of any) string {
	n, all := number(part), number(of)
	if n <= 0 || all <= 0 {
		return "none"
	}
	if n/all >= 0.1 {
		return fmt.Sprintf("%.0f%%", 100*n/all)
	}
	return fmt.Sprintf("%.2g%%", 100*n/all)
}

// offersOf are the proposals of a report as a page shows them.
func offersOf(r *console.ExceptionReport, taken map[string]*decided) (walls, offers []offer, rest int) {
	var most int64
	for i := range r.Exclusions {
		most = max(most, r.Exclusions[i].Freed)
	}
	for i, x := range r.Exclusions {
		o := offer{Letter: string('a' + rune(i%26)), Event: r.Event, Rule: r.Rule, Text: x.Text, Freed: x.Freed, Most: most, AtMost: x.AtMost, Exact: x.Exact,
			Tests: x.Examples[:min(len(x.Examples), maxTests)]}
		if x.Placed > 0 {
			o.Prices = append(o.Prices, price{"Loses in that place", x.LostPlaced, x.Placed, "attacks"})
		}
		o.Prices = append(o.Prices, price{"Loses anywhere", x.Lost, x.Attacks, "attacks, as the tests send them"})
		switch {
		case x.Before != "" && x.After != "":
			o.Change, o.Where = "# waf.before\n"+endLine(x.Before)+"# waf.after\n"+x.After, whereBoth
		case x.After != "":
			o.Change, o.Where = x.After, whereAfter
		default:
			o.Change, o.Where = x.Before, whereBefore
		}
		o.Taken = taken[console.ProposalID(o.Rule, o.Text)]
		walls = append(walls, o)
	}
	most = 0
	for i := range r.Proposals {
		most = max(most, r.Proposals[i].Freed)
	}
	for i, x := range r.Proposals {
		o := offer{Letter: num(i + 1), Event: r.Event, Rule: r.Rule, Lead: "where", Text: x.Text, Freed: x.Freed, Most: most, Suspect: x.Suspect, Suspects: x.Suspects,
			Examples: x.Examples, Change: x.Change, Where: x.How, Checked: x.Checked, Exact: r.Exact}
		if len(r.Exclusions) == 0 {
			o.Line = x.Firewall
		}
		if !x.Checked {
			o.Note = "This change could not be checked by compiling it: look at it before you use it."
		}
		o.Taken = taken[console.ProposalID(o.Rule, o.Text)]
		offers = append(offers, o)
	}
	rest = max(0, len(walls)-maxOffers) + max(0, len(offers)-maxOffers)
	return walls[:min(len(walls), maxOffers)], offers[:min(len(offers), maxOffers)], rest
}

func endLine(s string) string {
	if s == "" || strings.HasSuffix(s, "\n") {
		return s
	}
	return s + "\n"
}

// latest keeps the newest decision about each proposal. All come newest first.
func latest(all []console.ExceptionDecision) []decided {
	seen := make(map[string]bool, len(all))
	var out []decided
	for _, d := range all {
		if key := d.Rule + "\x00" + d.Proposal; !seen[key] {
			seen[key] = true
			out = append(out, decided{ExceptionDecision: d, Accepted: d.Decision == console.ExceptionAccepted})
		}
	}
	return out
}

// exceptionOf begins the page: the event, the rules that fired on it, and what was decided.
func (p *Pages) exceptionOf(r *http.Request) (*exceptionView, error) {
	src := p.srv.Sources()
	if src.Events == nil || src.Replay == nil {
		return nil, missing("a lake")
	}
	id, err := signal.ParseID(r.PathValue("id"))
	if err != nil {
		return nil, fmt.Errorf("%w: %q is no id of an event", console.ErrNotFound, clip(60, r.PathValue("id")))
	}
	e, err := src.Events.Event(r.Context(), id)
	if err != nil {
		return nil, err
	}
	m := &exceptionView{Event: id.String(), Row: rowOf(e), Rule: r.FormValue("rule"), Since: cmp.Or(r.FormValue("since"), "7d")}
	m.Why = m.Row.Cause.String()
	m.Rules = e.Strings(signal.FieldVerdictRules)
	m.Rules = m.Rules[:min(len(m.Rules), 10)]
	return m, nil
}

// decidedOf returns what was decided about the rules that fired on the event, by proposal, and keeps what was about the event itself.
func (p *Pages) decidedOf(r *http.Request, m *exceptionView) (map[string]*decided, error) {
	by := make(map[string]*decided)
	if p.srv.Sources().Ledger == nil {
		return by, nil
	}
	all, err := p.srv.Desk().ExceptionDecisions(r.Context(), "")
	if err != nil {
		return nil, err
	}
	for _, d := range latest(all) {
		d.Own = d.Event == m.Event
		by[d.Proposal] = &d
		if d.Own && len(m.Decided) < maxOffers {
			m.Decided = append(m.Decided, d)
		}
	}
	return by, nil
}

func (p *Pages) exceptionPage(w http.ResponseWriter, r *http.Request) error {
	m, err := p.exceptionOf(r)
	if err != nil {
		return err
	}
	if _, err := p.decidedOf(r, m); err != nil {
		return err
	}
	return p.exceptionShown(w, r, m)
}

func (p *Pages) exceptionShown(w http.ResponseWriter, r *http.Request, m *exceptionView) error {
	v := p.view(w, r, "Exceptions", "traffic")
	v.Here, v.Main = "/traffic/"+m.Event+"/exceptions", m
	return p.page(w, "exception", v)
}

// findExceptions looks for exceptions, within the time that a page can wait.
func (p *Pages) findExceptions(w http.ResponseWriter, r *http.Request) error {
	m, err := p.exceptionOf(r)
	if err != nil {
		return err
	}
	taken, err := p.decidedOf(r, m)
	if err != nil {
		return err
	}
	id, err := signal.ParseID(m.Event)
	if err != nil {
		return err
	}
	span, ok := spanCalled(m.Since)
	if !ok {
		m.Problem = "choose one of the times that the form offers"
		return p.exceptionShown(w, r, m)
	}
	m.Asked = true
	report, err := p.srv.Desk().Exceptions(r.Context(), console.ExceptionQuery{Event: id, Rule: m.Rule, Since: p.srv.Now().Add(-span.Span)})
	if problem, ours := replayProblem(err, span.Text, "testudo exception "+m.Event+" --since "+span.Value); !ours {
		m.Problem = problem
	} else if err != nil {
		return err
	} else {
		m.Report = &report
		m.Walls, m.Offers, m.Rest = offersOf(&report, taken)
	}
	return p.exceptionShown(w, r, m)
}

// replayProblem says an error of a replay that is the asker's to mend; ours where it is not, or there is none.
func replayProblem(err error, span, command string) (problem string, ours bool) {
	var input *console.InputError
	var busy *console.LimitedError
	switch {
	case errors.As(err, &input):
		return input.Reason, false
	case errors.As(err, &busy):
		return "Others are being replayed just now: ask again in " + busy.RetryAfter.String() + ".", false
	case errors.Is(err, console.ErrTooLong):
		return fmt.Sprintf("Replaying %s takes longer than a page can wait. Choose a shorter time, or run `%s`, which takes the time it needs.", span, command), false
	}
	return "", true
}

// decideException remembers what somebody decided about a proposal, and leads back to its page.
func (p *Pages) decideException(w http.ResponseWriter, r *http.Request) error {
	id, err := signal.ParseID(r.PathValue("id"))
	if err != nil {
		return fmt.Errorf("%w: %q is no id of an event", console.ErrNotFound, clip(60, r.PathValue("id")))
	}
	d, err := p.srv.Desk().DecideException(r.Context(), id, console.ExceptionChoice{Decision: r.PostFormValue("decision"), Rule: r.PostFormValue("rule"),
		Text: newLines(r.PostFormValue("text")), Change: newLines(r.PostFormValue("change")), Where: newLines(r.PostFormValue("where")), Reason: r.PostFormValue("reason")})
	var input *console.InputError
	if errors.As(err, &input) {
		m, merr := p.exceptionOf(r)
		if merr != nil {
			return merr
		}
		if _, merr := p.decidedOf(r, m); merr != nil {
			return merr
		}
		m.Problem = input.Reason
		v := p.view(w, r, "Exceptions", "traffic")
		v.Here, v.Main = "/traffic/"+m.Event+"/exceptions", m
		return p.status(w, http.StatusUnprocessableEntity, "exception", "base", v)
	}
	if err != nil {
		return err
	}
	said := "Refused, and noted in the ledger."
	if d.Decision == console.ExceptionAccepted {
		said = "Accepted, and noted in the ledger. Nothing is in force yet: make the change below."
	}
	return p.done(w, r, "/traffic/"+id.String()+"/exceptions", said)
}

// newLines undoes what forms do to the ends of lines.
func newLines(s string) string { return strings.ReplaceAll(s, "\r\n", "\n") }

// exceptionsView is the list of what was decided.
type exceptionsView struct {
	Rule string // whose alone; empty for all
	Rows []decided
	Rest int
}

func (p *Pages) exceptions(w http.ResponseWriter, r *http.Request) error {
	m := &exceptionsView{Rule: clip(200, r.URL.Query().Get("rule"))}
	all, err := p.srv.Desk().ExceptionDecisions(r.Context(), m.Rule)
	if err != nil {
		return err
	}
	m.Rows = latest(all)
	m.Rest = max(0, len(m.Rows)-maxDecided)
	m.Rows = m.Rows[:len(m.Rows)-m.Rest]
	v := p.view(w, r, "Exceptions", "rules")
	v.Main = m
	return p.page(w, "exceptions", v)
}

// spanCalled returns one of the times that forms of replays offer.
func spanCalled(value string) (s struct {
	Value, Text string
	Span        time.Duration
}, ok bool) {
	for _, s := range whatIfSpans {
		if s.Value == value {
			return s, true
		}
	}
	return s, false
}
