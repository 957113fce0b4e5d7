package ui

import (
	"net/http"
	"strings"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/signal"
)

type findingsView struct {
	Filter     filter
	Rows       []signal.Finding
	Next       string
	First      bool
	Severities []signal.Severity
	States     []signal.FindingState
	Kinds      []signal.FindingKind
	State      signal.FindingState // chosen, open where none is
}

func (p *Pages) findings(w http.ResponseWriter, r *http.Request) error {
	src := p.srv.Sources().Findings
	if src == nil {
		return missing("findings")
	}
	v := p.view(w, r, "Findings", "findings")
	m := &findingsView{
		Filter: filter{query: newQuery(r.URL.Query())}, First: r.URL.Query().Get("cursor") == "",
		Severities: []signal.Severity{signal.SeverityCritical, signal.SeverityHigh, signal.SeverityMedium, signal.SeverityLow},
		States:     []signal.FindingState{signal.FindingOpen, signal.FindingMuted, signal.FindingResolved},
		Kinds:      []signal.FindingKind{signal.FindingDetection, signal.FindingVulnerability, signal.FindingCompliance, signal.FindingPosture},
	}
	v.Main = m
	q, err := findingQuery(m.Filter.query)
	m.State = q.State
	if err == nil {
		q.Cursor, q.Limit = r.URL.Query().Get("cursor"), pageSize
		var page console.Page[signal.Finding]
		if page, err = src.Findings(r.Context(), q); err == nil {
			m.Rows = page.Items
			if page.Next != "" {
				m.Next = m.Filter.With("cursor", page.Next).At("/findings")
			}
		}
	}
	if err = m.Filter.refuse(err); err != nil {
		return err
	}
	if fragment(r) {
		return p.part(w, "findings", "findings-list", v)
	}
	status := http.StatusOK
	if m.Filter.Problem != "" {
		status = http.StatusUnprocessableEntity
	}
	return p.status(w, status, "findings", "base", v)
}

func findingQuery(f query) (console.FindingQuery, error) {
	q := console.FindingQuery{State: signal.FindingOpen}
	for key := range f.v {
		value := strings.TrimSpace(f.v.Get(key))
		if len(value) > 500 {
			return q, &console.InputError{Field: key, Reason: "this is too long: 500 characters are read"}
		}
		switch key {
		case "state":
			q.State = signal.FindingState(value)
			switch q.State {
			case "all":
				q.State = ""
			case signal.FindingOpen, signal.FindingMuted, signal.FindingResolved:
			default:
				return q, &console.InputError{Field: key, Reason: "choose open, muted, resolved or all"}
			}
		case "severity":
			s, err := signal.ParseSeverity(value)
			if err != nil {
				return q, &console.InputError{Field: key, Reason: err.Error()}
			}
			q.Severity = s
		case "kind":
			q.Kind = signal.FindingKind(value)
		case "rule":
			q.Rule = value
		case "asset":
			q.Asset = value
		case "q":
			q.Text = value
		}
	}
	return q, nil
}

type findingView struct {
	signal.Finding
	Rule   *console.Rule // where the rule is one of the rules in force
	Events []row
	Family *family    // the processes around the first event of the host
	Chain  *chainView // of the first request that caused something
}

// maxChains bounds the requests that are searched for what they caused.
const maxChains = 3

func (p *Pages) finding(w http.ResponseWriter, r *http.Request) error {
	src := p.srv.Sources().Findings
	if src == nil {
		return missing("findings")
	}
	f, err := src.Finding(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	v := p.view(w, r, visText(clip(80, f.Title)), "findings")
	m := &findingView{Finding: f}
	if rules := p.srv.Sources().Rules; rules != nil && f.Rule != "" {
		if rule, err := rules.Rule(r.Context(), f.Rule); err == nil {
			m.Rule = &rule
		}
	}
	chains := 0
	if events := p.srv.Sources().Events; events != nil {
		for _, id := range f.Events[:min(len(f.Events), signal.MaxFindingEvents)] {
			if e, err := events.Event(r.Context(), id); err == nil { // older ones may be gone
				m.Events = append(m.Events, rowOf(e))
				if m.Family == nil {
					m.Family = p.familyOf(r, e)
				}
				if uid := e.RecordedStr(signal.FieldHTTPRequestUID); m.Chain == nil && chains < maxChains && uid != "" {
					chains++
					m.Chain = p.chainBehind(r, uid)
				}
			}
		}
	}
	v.Main = m
	if fragment(r) {
		return p.part(w, "finding", "finding-panel", v)
	}
	return p.page(w, "finding", v)
}

func (p *Pages) setFinding(w http.ResponseWriter, r *http.Request) error {
	state := signal.FindingState(r.PostFormValue("state"))
	f, err := p.srv.Desk().SetFindingState(r.Context(), r.PathValue("id"), state, strings.TrimSpace(r.PostFormValue("note")))
	if err != nil {
		return err
	}
	word := map[signal.FindingState]string{signal.FindingOpen: "opened again", signal.FindingMuted: "muted", signal.FindingResolved: "resolved"}[f.State]
	return p.done(w, r, "/findings/"+ref(f.ID), "“"+clip(100, f.Title)+"” is "+word+".")
}
