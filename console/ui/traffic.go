package ui

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/signal"
)

const pageSize = 100

// filter is what a list's form holds, as it was typed.
type filter struct {
	query
	Problem string // why it cannot be used
	Field   string // which field that is about
}

// Get returns a field of the form.
func (f filter) Get(key string) string { return f.v.Get(key) }

// Any reports whether anything is filtered.
func (f filter) Any() bool { return len(f.v) > 0 }

// refuse takes the fault of an input as the form's; any other error is returned.
func (f *filter) refuse(err error) error {
	var input *console.InputError
	if errors.As(err, &input) {
		f.Problem, f.Field = input.Reason, input.Field
		return nil
	}
	return err
}

type trafficView struct {
	Filter   filter
	Rows     []row
	Next     string // address of the next page, "" at the end
	First    bool
	Live     string // address of the stream, "" where the page is not the newest
	Verdicts []signal.Decision
	Methods  []string
	Planes   []signal.Plane
	Classes  []signal.Class
	More     bool // whether one of the rarer filters is in use
	Requests bool // the list is of requests alone
	Listens  []console.Listener
}

func (p *Pages) traffic(w http.ResponseWriter, r *http.Request) error {
	src := p.srv.Sources().Events
	if src == nil {
		return missing("events")
	}
	v := p.view(w, r, "Traffic", "traffic")
	m := &trafficView{
		Filter: filter{query: newQuery(r.URL.Query())}, First: r.URL.Query().Get("cursor") == "",
		Verdicts: []signal.Decision{signal.Deny, signal.Challenge, signal.Limit, signal.Alert, signal.Allow},
		Methods:  []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"},
		Planes:   []signal.Plane{signal.PlaneEdge, signal.PlaneScan, signal.PlaneKernel, signal.PlaneMesh, signal.PlaneCluster, signal.PlaneCloud, signal.PlaneLogs, signal.PlaneTestudo},
	}
	v.Main = m
	q, err := eventQuery(m.Filter.query)
	m.Classes, m.Requests = signal.Classes()[1:], q.Plane == signal.PlaneEdge
	m.More = m.Filter.Get("when")+m.Filter.Get("rule") != "" || m.Requests && m.Filter.Get("class") != "" || !slices.Contains([]string{"", "edge", "logs", "all"}, m.Filter.Get("plane"))
	if err == nil {
		q.Cursor, q.Limit = r.URL.Query().Get("cursor"), pageSize
		var page console.Page[*signal.Event]
		if page, err = src.Events(r.Context(), q); err == nil {
			m.Rows = requestRows(page.Items, m.Filter.Any())
			if page.Next != "" {
				m.Next = m.Filter.With("cursor", page.Next).At("/traffic")
			}
		}
	}
	if err = m.Filter.refuse(err); err != nil {
		return err
	}
	status := http.StatusOK
	switch {
	case m.Filter.Problem != "":
		status = http.StatusUnprocessableEntity
	case m.First:
		m.Live = m.Filter.At("/live/traffic")
	}
	if len(m.Rows) == 0 && !m.Filter.Any() {
		m.Listens = p.edgeListeners(r)
	}
	if fragment(r) {
		return p.part(w, "traffic", "traffic-list", v)
	}
	return p.status(w, status, "traffic", "base", v)
}

// eventQuery reads the filter of the traffic list.
func eventQuery(f query) (console.EventQuery, error) {
	q := console.EventQuery{Plane: signal.PlaneEdge}
	bad := func(field, reason string) (console.EventQuery, error) {
		return q, &console.InputError{Field: field, Reason: reason}
	}
	for key := range f.v {
		value := strings.TrimSpace(f.v.Get(key))
		if len(value) > 2000 {
			return bad(key, "this is too long: 2,000 characters are read")
		}
		switch key {
		case "verdict":
			d, err := signal.ParseDecision(value)
			if err != nil {
				return bad(key, err.Error())
			}
			q.Decision = &d
		case "plane":
			pl, err := signal.ParsePlane(value)
			if value == "all" {
				pl, err = signal.PlaneNone, nil
			}
			if err != nil {
				return bad(key, err.Error())
			}
			q.Plane = pl
		case "class":
			c, err := signal.ParseClass(value)
			if err != nil {
				return bad(key, err.Error())
			}
			if q.Class = c; f.v.Get("plane") == "" {
				q.Plane = signal.PlaneNone
			}
		case "client":
			pfx, err := prefixOf(value)
			if err != nil {
				return bad(key, "give an address or a prefix, as in 203.0.113.7 or 203.0.113.0/24")
			}
			q.Client = pfx
		case "route":
			q.Route = value
		case "rule":
			q.Rule = value
		case "method":
			q.Method = strings.ToUpper(value)
		case "q":
			q.Text = value
		case "when":
			q.Condition = value
		}
	}
	if q.Plane == signal.PlaneEdge && f.v.Get("plane") == "" { // requests, and not the findings that came of them
		q.Class = signal.ClassHTTPActivity
	}
	return q, nil
}

func prefixOf(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Unmap().WithZone("").Prefix(a.Unmap().BitLen())
	}
	pfx, err := netip.ParsePrefix(s)
	return pfx.Masked(), err
}

// trafficLive sends new lines of the list, and the answers to lines sent before.
func (p *Pages) trafficLive(w http.ResponseWriter, r *http.Request) error {
	f := newQuery(r.URL.Query())
	q, err := eventQuery(f)
	if err != nil {
		return err
	}
	v := &view{Now: p.srv.Now(), Caller: console.CallerFrom(r.Context())}
	lone := len(f.v) > 0
	return p.srv.ServeStream(w, r, console.StreamOptions{Query: q, Render: func(u *console.Update) ([]console.Message, error) {
		v.Now = p.srv.Now()
		return p.trafficMessages(v, u, lone)
	}})
}

func (p *Pages) trafficMessages(v *view, u *console.Update, lone bool) ([]console.Message, error) {
	if u.Gap {
		return []console.Message{{Event: "reload"}}, nil
	}
	var msgs []console.Message
	var buf bytes.Buffer
	newest := slices.Clone(u.Events)
	slices.Reverse(newest)
	rows := requestRows(newest, false)
	if len(rows) > 0 {
		for _, rw := range rows {
			if err := p.execute(&buf, "traffic", "traffic-row", on{v, rw}); err != nil {
				return nil, fmt.Errorf("page traffic: %w", err)
			}
		}
		msgs = append(msgs, console.Message{Event: "rows", Data: slices.Clone(buf.Bytes())})
	}
	// The page looks for the request's line; where it has none, nothing is to be done.
	var answers strings.Builder
	for _, e := range u.Events {
		if isResponse(e) {
			rw := rowOf(e)
			fmt.Fprintf(&answers, "%s %d %s\n", e.Parent, rw.Status, rw.TookText())
		}
	}
	if answers.Len() > 0 {
		msgs = append(msgs, console.Message{Event: "answers", Data: []byte(strings.TrimSuffix(answers.String(), "\n"))})
	}
	if n := u.Skipped + u.Lost; n > 0 {
		msgs = append(msgs, console.Message{Event: "skipped", Data: []byte(num(n))})
	}
	return msgs, nil
}
