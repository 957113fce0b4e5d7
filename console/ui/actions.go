package ui

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/signal"
)

// spans are the time limits that the forms offer.
var spans = [...]struct {
	Value string
	Text  string
}{{"10m", "10 minutes"}, {"1h", "1 hour"}, {"24h", "24 hours"}, {"168h", "7 days"}}

// orderWords are what people call an order of a kind.
type orderWords struct {
	Title  string // "Block" X?
	Nobody string // "an address": where no target is named yet
	Target string // label of the field
	Button string
	Timed  bool
}

var orderKinds = map[string]orderWords{
	"block":   {"Block", "an address", "Address or network", "Block", true},
	"kill":    {"Kill", "a process", "Process or container", "Kill", false},
	"freeze":  {"Freeze", "a container", "Container or process", "Freeze", true},
	"isolate": {"Isolate", "a container", "Container or process", "Cut it off the network", true},
}

// blockForm orders a block or another action, with what it would hit stated before.
type blockForm struct {
	console.Order
	Spans   any
	Preview *console.Preview
	Problem string         // why it cannot be ordered
	Active  *signal.Action // the target is blocked already
	Back    string
	May     bool
}

// Words are what the order is called.
func (f *blockForm) Words() orderWords { return orderKinds[f.Kind] }

// Can reports whether the order would be taken, at least where it is insisted on.
func (f *blockForm) Can() bool {
	return f.Preview != nil && (f.Preview.Refusal == "" || f.Preview.Forceable)
}

// blockForm works the form out. An order that makes no sense is said in the form.
func (p *Pages) blockForm(r *http.Request, v *view, o console.Order, back string) *blockForm {
	f := &blockForm{Order: o, Spans: spans, Back: back, May: v.Caller.May(console.RoleOperator)}
	if src := p.srv.Sources().Actions; src != nil {
		if page, err := src.Actions(r.Context(), console.ActionQuery{State: signal.ActionActive, Kind: o.Kind, Target: o.Target, Limit: 1}); err == nil && len(page.Items) > 0 {
			f.Active = &page.Items[0]
		}
	}
	if !f.May {
		return f
	}
	preview, err := p.srv.Desk().Preview(r.Context(), o)
	var input *console.InputError
	switch {
	case err == nil:
		f.Preview = &preview
		if o.Kind != "block" {
			f.Target = preview.Target // what was looked at, and nothing that has its number since
		}
	case errors.As(err, &input):
		f.Problem = input.Reason
	case errors.Is(err, console.ErrUnavailable):
		f.Problem = err.Error()
	default:
		f.Problem = "what it would hit could not be worked out"
	}
	return f
}

type actionsView struct {
	Filter filter
	Show   string // "active" or "all"
	Rows   []signal.Action
	Next   string
	First  bool
	Spans  any
}

func (p *Pages) actions(w http.ResponseWriter, r *http.Request) error {
	src := p.srv.Sources().Actions
	if src == nil {
		return missing("responders")
	}
	v := p.view(w, r, "Actions", "actions")
	m := &actionsView{Filter: filter{query: newQuery(r.URL.Query())}, Show: "active", First: r.URL.Query().Get("cursor") == "", Spans: spans}
	q := console.ActionQuery{State: signal.ActionActive, Target: strings.TrimSpace(m.Filter.Get("target")), Cursor: r.URL.Query().Get("cursor"), Limit: pageSize}
	if m.Filter.Get("show") == "all" {
		m.Show, q.State = "all", ""
	}
	page, err := src.Actions(r.Context(), q)
	if err = m.Filter.refuse(err); err != nil {
		return err
	}
	m.Rows = page.Items
	if page.Next != "" {
		m.Next = m.Filter.With("cursor", page.Next).At("/actions")
	}
	v.Main = m
	if fragment(r) {
		return p.part(w, "actions", "actions-list", v)
	}
	return p.page(w, "actions", v)
}

type actionView struct {
	signal.Action
	Cause *row
}

func (p *Pages) action(w http.ResponseWriter, r *http.Request) error {
	src := p.srv.Sources().Actions
	if src == nil {
		return missing("responders")
	}
	a, err := src.Action(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	m := &actionView{Action: a}
	if events := p.srv.Sources().Events; events != nil && !a.Event.IsZero() {
		if e, err := events.Event(r.Context(), a.Event); err == nil {
			rw := rowOf(e)
			m.Cause = &rw
		}
	}
	v := p.view(w, r, visText(a.Kind+" "+a.Target), "actions")
	v.Main = m
	return p.page(w, "action", v)
}

func (p *Pages) previewOrder(w http.ResponseWriter, r *http.Request) error {
	o, err := orderOf(r.URL.Query().Get)
	words := orderKinds[o.Kind]
	v := p.view(w, r, words.Title+" "+words.Nobody, "actions")
	f := &blockForm{Order: o, Spans: spans, Back: "/actions", May: true}
	var input *console.InputError
	switch {
	case r.URL.RawQuery == "": // nothing was asked yet
	case errors.As(err, &input):
		f.Problem = input.Reason
	case err != nil:
		return err
	default:
		f = p.blockForm(r, v, o, "/actions")
	}
	v.Main = f
	status := http.StatusOK
	if f.Problem != "" {
		status = http.StatusUnprocessableEntity
	}
	return p.status(w, status, "block", "base", v)
}

func (p *Pages) order(w http.ResponseWriter, r *http.Request) error {
	o, err := orderOf(r.PostFormValue)
	if err != nil {
		return err
	}
	a, err := p.srv.Desk().Order(r.Context(), o)
	if err != nil {
		return err
	}
	until := " until " + a.Until.UTC().Format("15:04:05 UTC") + "."
	text := map[string]string{"block": a.Target + " is blocked" + until, "freeze": a.Target + " stands still" + until, "isolate": a.Target + " is cut off the network" + until}[a.Kind]
	switch a.State {
	case signal.ActionDone:
		text = "Done: " + a.Kind + " " + a.Target + "."
	case signal.ActionRefused:
		text = "Not done: " + a.Reason
	case signal.ActionFailed:
		text = "It did not work: " + a.Error
	}
	return p.done(w, r, "/actions", text)
}

func orderOf(get func(string) string) (console.Order, error) {
	kind := get("kind")
	if kind == "" {
		kind = "block"
	}
	words, ok := orderKinds[kind]
	if !ok {
		return console.Order{Kind: "block"}, &console.InputError{Field: "kind", Reason: "choose block, kill, freeze or isolate"}
	}
	o := console.Order{Kind: kind, Target: strings.TrimSpace(get("target")), Reason: strings.TrimSpace(get("reason")), For: 10 * time.Minute, Force: get("force") == "yes"}
	if kind != "block" {
		o.For = time.Hour
	}
	if !words.Timed {
		o.For = 0
	} else if s := get("for"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil || d <= 0 {
			return o, &console.InputError{Field: "for", Reason: "choose how long"}
		}
		o.For = d
	}
	if s := get("event"); s != "" {
		id, err := signal.ParseID(s)
		if err != nil {
			return o, &console.InputError{Field: "event", Reason: "no id of an event"}
		}
		o.Event = id
	}
	if o.Target == "" {
		return o, &console.InputError{Field: "target", Reason: map[bool]string{true: "give an address or a network, as in 203.0.113.7 or 203.0.113.0/24", false: "give the number or key of a process, or the id of a container"}[kind == "block"]}
	}
	return o, nil
}

func (p *Pages) undo(w http.ResponseWriter, r *http.Request) error {
	a, err := p.srv.Desk().Undo(r.Context(), r.PathValue("id"), strings.TrimSpace(r.PostFormValue("reason")))
	if err != nil {
		return err
	}
	return p.done(w, r, "/actions", "The "+visText(a.Kind)+" of "+a.Target+" is lifted.")
}
