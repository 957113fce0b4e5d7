package ui

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/testudo-sec/testudo/console"
)

// maxRoutes bounds the routes that the form offers.
const maxRoutes = 50

// firewallView is the form that tries another setting of the firewall on what is recorded.
type firewallView struct {
	Directives string
	Paranoia   string
	Threshold  string
	Route      string // "" for all
	Routes     []string
	Since      string
	Levels     []string
	Problem    string
	Report     *console.RuleReport // why it cannot be tried
	WhatIf     *whatIfView
	Hidden     []hiddenLine
}

func (p *Pages) firewallPage(w http.ResponseWriter, r *http.Request) error {
	if p.srv.Sources().Replay == nil {
		return missing("a lake")
	}
	return p.firewallShown(w, r, &firewallView{Route: clip(200, r.URL.Query().Get("route"))})
}

func (p *Pages) firewallShown(w http.ResponseWriter, r *http.Request, m *firewallView) error {
	m.Levels, m.Hidden, m.Routes = []string{"1", "2", "3", "4"}, hiddenLines(m.Directives), p.edgeRoutes(r)
	if m.Route != "" && !slices.Contains(m.Routes, m.Route) {
		m.Routes = append(m.Routes, m.Route)
	}
	v := p.view(w, r, "Try the firewall", "rules")
	v.Here, v.Main = "/rules/-/firewall", m
	return p.page(w, "firewall", v)
}

// edgeRoutes are the names of the edge's routes, as far as the node says them.
func (p *Pages) edgeRoutes(r *http.Request) []string {
	src := p.srv.Sources().System
	if src == nil {
		return nil
	}
	sys, err := src.System(r.Context())
	if err != nil {
		return nil // any name can be typed into the address
	}
	var names []string
	for _, u := range sys.Upstreams {
		if u.Route != "" && !slices.Contains(names, u.Route) && len(names) < maxRoutes {
			names = append(names, u.Route)
		}
	}
	slices.Sort(names)
	return names
}

// firewallTry replays what is recorded with another setting. With "show" it only fills the form in, for who comes from an exception.
func (p *Pages) firewallTry(w http.ResponseWriter, r *http.Request) error {
	m := &firewallView{Directives: newLines(r.PostFormValue("directives")), Paranoia: strings.TrimSpace(r.PostFormValue("paranoia")), Threshold: strings.TrimSpace(r.PostFormValue("threshold")),
		Route: strings.TrimSpace(r.PostFormValue("route")), Since: cmp.Or(r.PostFormValue("since"), whatIfSpans[0].Value)}
	if r.PostFormValue("do") == "show" {
		return p.firewallShown(w, r, m)
	}
	c, problem := m.change()
	span, ok := spanCalled(m.Since)
	if !ok {
		problem = "choose one of the times that the form offers"
	}
	if problem != "" {
		m.Problem = problem
		return p.firewallShown(w, r, m)
	}
	report, err := p.srv.Desk().WhatIf(r.Context(), console.WhatIfQuery{Firewall: c, Since: p.srv.Now().Add(-span.Span)})
	problem, ours := replayProblem(err, span.Text, "testudo whatif --waf-directives FILE --since "+span.Value)
	switch {
	case !ours:
		m.Problem = problem
	case err != nil:
		return err
	case len(report.Errors) > 0:
		m.Report = &console.RuleReport{Errors: report.Errors}
	default:
		m.WhatIf = whatIfOf(report, span.Text)
	}
	return p.firewallShown(w, r, m)
}

// change reads the form.
func (m *firewallView) change() (c *console.FirewallChange, problem string) {
	c = &console.FirewallChange{Directives: m.Directives}
	if m.Paranoia != "" {
		n, err := strconv.Atoi(m.Paranoia)
		if err != nil || n < 1 || n > 4 {
			return nil, "the paranoia level is a number from 1 to 4"
		}
		c.Paranoia = n
	}
	if m.Threshold != "" {
		n, err := strconv.Atoi(m.Threshold)
		if err != nil || n < 1 || n > 10_000 {
			return nil, "the threshold is a number from 1"
		}
		c.Threshold = n
	}
	if m.Route != "" {
		c.Routes = []string{m.Route}
	}
	if strings.TrimSpace(c.Directives) == "" && c.Paranoia == 0 && c.Threshold == 0 {
		return nil, "say what to try: a paranoia level, a threshold, or directives"
	}
	return c, ""
}
