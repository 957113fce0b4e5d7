package ui

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/console"
)

type systemView struct {
	console.System
	Lacks  int // checks that are not met
	Head   *console.LedgerHead
	Uptime string
	Set    *console.RuleSet
	Read   []logSource // logs of others
}

// logSource is a source of records as people look at it.
type logSource struct {
	console.LogSource
	State  string // reading, quiet, waiting, not read
	Class  string
	Lost   uint64 // records and messages that are no events
	Losses []loss // by reason, the most frequent first
}

type loss struct {
	Why   string
	Count uint64
}

// quietAfter is when a source that told nothing is called quiet.
const quietAfter = 15 * time.Minute

// maxLosses bounds the reasons that are shown of one source.
const maxLosses = 8

func logSourceOf(s console.LogSource, now time.Time) logSource {
	v := logSource{LogSource: s}
	for _, from := range []map[string]uint64{s.Rejected, s.Refused} {
		for why, n := range from {
			if n > 0 {
				v.Lost += n
				v.Losses = append(v.Losses, loss{why, n})
			}
		}
	}
	slices.SortFunc(v.Losses, func(a, b loss) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Why, b.Why)) })
	v.Losses = v.Losses[:min(len(v.Losses), maxLosses)]
	switch {
	case s.Problem != "":
		v.State, v.Class = "not all read", "st-failed"
	case s.Events == 0 && v.Lost > 0:
		v.State, v.Class = "nothing fits", "st-failed"
	case s.Events == 0:
		v.State = "nothing yet"
	case now.Sub(s.Last) > quietAfter:
		v.State = "quiet"
	default:
		v.State, v.Class = "reading", "st-on"
	}
	return v
}

func (p *Pages) system(w http.ResponseWriter, r *http.Request) error {
	src := p.srv.Sources().System
	if src == nil {
		return missing("a system view")
	}
	sys, err := src.System(r.Context())
	if err != nil {
		return err
	}
	v := p.view(w, r, "System", "system")
	m := &systemView{System: sys, Uptime: coarse(v.Now.Sub(sys.Started))}
	for _, c := range sys.Checks {
		if !c.OK {
			m.Lacks++
		}
	}
	if sys.Logs != nil {
		for _, one := range sys.Logs.Sources {
			m.Read = append(m.Read, logSourceOf(one, v.Now))
		}
	}
	if l := p.srv.Sources().Ledger; l != nil {
		if head, err := l.Head(r.Context()); err == nil {
			m.Head = &head
		}
	}
	if l := p.srv.Sources().Rules; l != nil {
		if set, err := l.RuleSet(r.Context()); err == nil {
			m.Set = &set
		}
	}
	v.Main = m
	if fragment(r) {
		return p.part(w, "system", "system-parts", v)
	}
	return p.page(w, "system", v)
}

func (p *Pages) doctor(w http.ResponseWriter, r *http.Request) error {
	checks, err := p.srv.Desk().Doctor(r.Context())
	if err != nil {
		return err
	}
	lacks := 0
	for _, c := range checks {
		if !c.OK {
			lacks++
		}
	}
	text := "Everything that was looked at is in order."
	if lacks > 0 {
		text = plural(lacks, "thing", "things") + " of " + num(len(checks)) + " could be better."
	}
	return p.done(w, r, "/system", text)
}

type ledgerView struct {
	Filter filter
	Rows   []console.LedgerEntry
	Next   string
	Head   console.LedgerHead
	Report *console.LedgerReport
}

func (p *Pages) ledger(w http.ResponseWriter, r *http.Request) error {
	return p.ledgerPage(w, r, nil)
}

func (p *Pages) ledgerPage(w http.ResponseWriter, r *http.Request, report *console.LedgerReport) error {
	src := p.srv.Sources().Ledger
	if src == nil {
		return missing("a ledger")
	}
	head, err := src.Head(r.Context())
	if err != nil {
		return err
	}
	v := p.view(w, r, "Ledger", "system")
	m := &ledgerView{Filter: filter{query: newQuery(r.URL.Query())}, Head: head, Report: report}
	page, err := src.Entries(r.Context(), console.LedgerQuery{
		Actor: strings.TrimSpace(m.Filter.Get("actor")), Verb: strings.TrimSpace(m.Filter.Get("verb")),
		Subject: strings.TrimSpace(m.Filter.Get("subject")), Cursor: r.URL.Query().Get("cursor"), Limit: pageSize,
	})
	if err = m.Filter.refuse(err); err != nil {
		return err
	}
	m.Rows = page.Items
	if page.Next != "" {
		m.Next = m.Filter.With("cursor", page.Next).At("/system/ledger")
	}
	v.Main = m
	return p.page(w, "ledger", v)
}

func (p *Pages) verifyLedger(w http.ResponseWriter, r *http.Request) error {
	src := p.srv.Sources().Ledger
	if src == nil {
		return missing("a ledger")
	}
	report, err := src.Verify(r.Context())
	if err != nil {
		return err
	}
	return p.ledgerPage(w, r, &report)
}

// tokenSpans are the lives that the form for tokens offers.
var tokenSpans = [...]struct {
	Value string
	Text  string
}{{"24h", "1 day"}, {"720h", "30 days"}, {"2160h", "90 days"}, {"8760h", "1 year"}}

// tokenLife reads a choice of the form; what is none is for the desk to refuse.
func tokenLife(s string) time.Duration {
	d, _ := time.ParseDuration(s)
	return d
}
