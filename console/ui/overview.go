package ui

import (
	"net/http"
	"time"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/signal"
)

// overviewView is the first page.
type overviewView struct {
	console.Overview
	Table   []rateRow // events of all planes by minute, oldest first
	Blocks  []blockRow
	PerStep string // what a step of the blocked series is called
	Latest  []row
	Open    int    // findings
	Denied  uint64 // in the shown time
	NowRate float64
	Asked   uint64 // requests in the time that is shown
	Quiet   bool   // nothing has happened yet
	Listens []console.Listener
	Budgets *budgetView
}

type rateRow struct {
	Time   time.Time
	Counts []uint64 // by plane, as Rates
}

type blockRow struct {
	Time            time.Time
	Requests, Count uint64
}

func (p *Pages) overview(w http.ResponseWriter, r *http.Request) error {
	o, err := p.srv.Overview(r.Context())
	if err != nil {
		return err
	}
	v := p.view(w, r, "Overview", "overview")
	v.Part = fragment(r)
	m := &overviewView{Overview: o, Table: rateTable(o.Rates), NowRate: sumRates(o.Rates)}
	for i, n := range o.Blocked.Values {
		b := blockRow{Time: stepTime(o.Blocked, i), Count: n}
		if i < len(o.Requests.Values) && o.Requests.Start.Equal(o.Blocked.Start) {
			b.Requests = o.Requests.Values[i]
		}
		m.Blocks = append(m.Blocks, b)
		m.Asked += b.Requests
		m.Denied += n
	}
	m.PerStep = span(time.Duration(o.Blocked.Step) * time.Second)
	for _, c := range o.Findings {
		m.Open += c.Count
	}
	m.Quiet = m.NowRate == 0 && m.Denied == 0 && quiet(o.Rates)
	if m.Latest, err = p.latestBlocked(r); err != nil {
		return err
	}
	m.Budgets = p.budgetsOf(r.Context(), maxBudgets)
	if m.Quiet {
		m.Listens = p.edgeListeners(r)
	}
	v.Main = m
	if v.Part {
		return p.part(w, "overview", "overview-parts", v)
	}
	return p.page(w, "overview", v)
}

func (p *Pages) latestBlocked(r *http.Request) ([]row, error) {
	src := p.srv.Sources().Events
	if src == nil {
		return nil, nil
	}
	deny := signal.Deny
	page, err := src.Events(r.Context(), console.EventQuery{Decision: &deny, Limit: 6})
	if err != nil {
		return nil, err
	}
	return requestRows(page.Items, false), nil
}

// edgeListeners are where requests can be sent, for a page that has none to show.
func (p *Pages) edgeListeners(r *http.Request) []console.Listener {
	src := p.srv.Sources().System
	if src == nil {
		return nil
	}
	sys, err := src.System(r.Context())
	if err != nil {
		return nil // the page is as good without
	}
	var edges []console.Listener
	for _, l := range sys.Listeners {
		if l.Name == "edge" && l.OK {
			edges = append(edges, l)
		}
	}
	return edges
}

func (p *Pages) overviewLive(w http.ResponseWriter, r *http.Request) error {
	deny := signal.Deny
	return p.srv.ServeStream(w, r, console.StreamOptions{
		Query: console.EventQuery{Decision: &deny},
		Render: func(*console.Update) ([]console.Message, error) {
			return []console.Message{{Event: "tick"}}, nil // the page asks for its parts anew
		},
	})
}

// listsLive tells pages which lists have changed.
func (p *Pages) listsLive(w http.ResponseWriter, r *http.Request) error {
	return p.srv.ServeStream(w, r, console.StreamOptions{
		NoEvents: true,
		Render: func(u *console.Update) ([]console.Message, error) {
			if u.Gap {
				return []console.Message{{Event: string(console.TopicFindings)}, {Event: string(console.TopicActions)},
					{Event: string(console.TopicRules)}, {Event: string(console.TopicSystem)}, {Event: string(console.TopicPeople)}}, nil
			}
			msgs := make([]console.Message, 0, len(u.Topics))
			for _, t := range u.Topics {
				msgs = append(msgs, console.Message{Event: string(t)})
			}
			return msgs, nil
		},
	})
}

func stepTime(s console.Series, i int) time.Time {
	return s.Start.Add(time.Duration(i*s.Step) * time.Second)
}

// rateTable joins the planes' series by the time of their steps.
func rateTable(rates []console.PlaneRate) []rateRow {
	var rows []rateRow
	at := map[int64]int{}
	for i, rt := range rates {
		for j, n := range rt.Series.Values {
			t := stepTime(rt.Series, j)
			k, ok := at[t.Unix()]
			if !ok {
				k = len(rows)
				at[t.Unix()] = k
				rows = append(rows, rateRow{Time: t, Counts: make([]uint64, len(rates))})
			}
			rows[k].Counts[i] = n
		}
	}
	return rows
}

func sumRates(rates []console.PlaneRate) (sum float64) {
	for _, r := range rates {
		sum += r.Now
	}
	return sum
}

func quiet(rates []console.PlaneRate) bool {
	for _, r := range rates {
		for _, n := range r.Series.Values {
			if n > 0 && r.Plane == signal.PlaneEdge {
				return false
			}
		}
	}
	return true
}

// topRow is a line of a table of the most frequent.
type topRow struct {
	Key, Title  string
	Count, Most uint64
	Link        string
}

// tops makes lines that lead to the list they count: of a rule, or of traffic.
func tops(counts []console.Count, what string) []topRow {
	var most uint64
	for _, c := range counts {
		most = max(most, c.Count)
	}
	rows := make([]topRow, 0, len(counts))
	for _, c := range counts[:min(len(counts), 6)] {
		r := topRow{c.Key, c.Title, c.Count, most, newQuery(nil).With(what, c.Key).With("verdict", "deny").At("/traffic")}
		if what == "rule" {
			r.Link = "/rules/" + ref(c.Key)
		}
		rows = append(rows, r)
	}
	return rows
}
