package ui

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/signal"
)

// eventView is one event in full.
type eventView struct {
	Row       row
	Title     string
	Class     string
	Why       string
	Rules     []console.Rule       // that fired, as far as they are still there
	Explained map[string]explained // why rules fire, by rule
	Matches   []wafMatch
	Unusual   []string   // how the request differs from what others send
	API       []apiFound // in the request
	Replied   []apiFound // in its answer
	APIFacts  []fact
	Except    bool // an exception can be asked for
	Score     int64
	Limit     int64 // threshold; 0 where none is known
	Out       int64 // outbound score
	Bar       float64
	Groups    []factGroup
	From      []fact        // where its record was read
	Attrs     []signal.Attr // of its record, that have no field
	MoreAttrs int           // that are not shown
	Says      string        // what happened, in a sentence; empty where the title says it
	Severity  signal.Severity
	Answer    *signal.Event
	Reply     []fact
	Timeline  []moments
	Parent    string // id of the cause
	JSON      string
	Block     *blockForm
	Curl      string
	Family    *family    // the processes around it
	Chain     *chainView // of its request, where that caused something
}

type fact struct {
	Name  string
	Value string
	Link  string // address of our own that the value leads to
	Items []string
	Time  time.Time
}

type wafMatch struct{ ID, Message, Target, Where string }

// moments is one line of an event's timeline.
type moments struct {
	ID    signal.ID
	Time  time.Time
	After string // since the first
	What  string
	Plane signal.Plane
	Self  bool
	Row   row
}

func (p *Pages) event(w http.ResponseWriter, r *http.Request) error {
	src := p.srv.Sources().Events
	if src == nil {
		return missing("events")
	}
	id, err := signal.ParseID(r.PathValue("id"))
	if err != nil {
		return fmt.Errorf("%w: %q is no id of an event", console.ErrNotFound, clip(60, r.PathValue("id")))
	}
	e, err := src.Event(r.Context(), id)
	if err != nil {
		return err
	}
	related, err := src.Related(r.Context(), id)
	if err != nil && !errors.Is(err, console.ErrNotFound) {
		return err
	}
	v := p.view(w, r, "Event", "traffic")
	m := eventDetail(e, related)
	m.Rules = p.firedRules(r, e)
	if len(m.Rules) > 0 {
		m.Explained = p.explanations(r, id)
	}
	m.Except = len(e.Strings(signal.FieldVerdictRules)) > 0 && p.srv.Sources().Replay != nil && v.May("operator")
	m.Why = whyOf(e, m)
	v.Title = m.Title
	if ip := e.IP(signal.FieldSrcEndpointIP); ip.IsValid() && e.Class == signal.ClassHTTPActivity {
		m.Block = p.blockForm(r, v, console.Order{Kind: "block", Target: ip.String(), For: 10 * time.Minute, Event: e.ID,
			Reason: clip(200, visText(m.Why))}, v.Here)
	}
	m.Family = p.familyOf(r, e)
	m.Chain = p.chainBehind(r, e.RecordedStr(signal.FieldHTTPRequestUID))
	v.Main = m
	if fragment(r) {
		return p.part(w, "event", "event-panel", v)
	}
	return p.page(w, "event", v)
}

func (p *Pages) firedRules(r *http.Request, e *signal.Event) []console.Rule {
	src := p.srv.Sources().Rules
	if src == nil {
		return nil
	}
	var rules []console.Rule
	for i, id := range e.Strings(signal.FieldVerdictRules) {
		if i == 10 {
			break
		}
		rule, err := src.Rule(r.Context(), id)
		if err != nil { // taken away since
			rule = console.Rule{ID: id}
		}
		rules = append(rules, rule)
	}
	return rules
}

func eventDetail(e *signal.Event, related []*signal.Event) *eventView {
	m := &eventView{Row: rowOf(e), Class: e.Class.Title(), Score: e.Int(signal.FieldWAFScore), Limit: e.Int(signal.FieldWAFThreshold),
		Out: e.Int(signal.FieldWAFOutboundScore)}
	m.Title = strings.TrimSpace(visText(clip(12, m.Row.Method)) + " " + visText(clip(80, m.Row.Path)))
	if m.Title == "" {
		m.Title = e.Class.Title()
	}
	m.Severity = e.Severity
	m.From = cameFrom(e)
	m.Attrs, m.MoreAttrs = attrsOf(e)
	if !e.Parent.IsZero() {
		m.Parent = e.Parent.String()
	}
	for _, o := range related {
		if isResponse(o) && o.Parent == e.ID {
			m.Answer = o
			a := rowOf(o)
			m.Row.answer(a)
		}
	}
	if isResponse(e) {
		m.Answer = e
	}
	m.Matches, m.Unusual, m.API, m.APIFacts = matchesOf(e), e.Strings(signal.FieldHabitUnusual), foundOf(e), guardFacts(e)
	if m.Answer != nil && m.Answer != e {
		if m.Replied = foundOf(m.Answer); m.Answer.Has(signal.FieldAPISensitive) {
			m.APIFacts = append(m.APIFacts, fact{Name: "Sensitive data", Items: m.Answer.Strings(signal.FieldAPISensitive)})
		}
	}
	m.Bar = float64(max(2*m.Limit, m.Score, 1))
	if e.Class == signal.ClassHTTPActivity {
		m.Groups = []factGroup{{"Request", requestFacts(e)}}
		if e.Plane != signal.PlaneEdge {
			m.Says = sentenceOf(e)
		}
	} else {
		m.Groups = eventFacts(e)
	}
	for _, o := range related {
		if o.Class == signal.ClassBaseEvent && o.Parent == e.ID && o.Has(signal.FieldKernelOutcome) {
			m.Groups = append([]factGroup{{"What became of it", []fact{{Name: "The process", Value: clip(maxFact, o.RecordedStr(signal.FieldMessage))},
				{Name: "Detail", Value: clip(maxFact, o.RecordedStr(signal.FieldStatusDetail)), Link: "/traffic/" + o.ID.String()}}}}, m.Groups...)
		}
	}
	if m.Answer != nil {
		m.Reply = replyFacts(m.Answer)
	}
	m.Timeline = timeline(e, related)
	m.JSON = pretty(e)
	return m
}

func matchesOf(e *signal.Event) []wafMatch {
	ids, msgs, targets := e.Strings(signal.FieldWAFRules), e.Strings(signal.FieldWAFMessages), e.Strings(signal.FieldWAFTargets)
	out := make([]wafMatch, len(ids))
	for i, id := range ids {
		out[i].ID = id
		if i < len(msgs) {
			out[i].Message = msgs[i]
		}
		if i < len(targets) {
			out[i].Target, out[i].Where = targets[i], firewallWhere(targets[i])
		}
	}
	return out
}

// whyOf says in a sentence why the event got its verdict.
func whyOf(e *signal.Event, m *eventView) string {
	if rules := e.Strings(signal.FieldVerdictRules); len(m.API) > 0 && len(rules) > 0 && (rules[0] == "edge-api-block" || rules[0] == "edge-api-violation") {
		return saysOf(m.API) // the rule's own sentence names all messages, then all places
	}
	if reason := e.RecordedStr(signal.FieldVerdictReason); reason != "" {
		return reason
	}
	if m.Answer != nil && m.Row.Decision > console.DecisionOf(e) { // the answer got it
		if reason := m.Answer.RecordedStr(signal.FieldVerdictReason); reason != "" {
			return reason
		}
	}
	switch fault := e.RecordedStr(signal.FieldEdgeError); {
	case fault == "blocklist":
		return "The client's address was on the blocklist when it asked; the request was refused without a look at it."
	case fault != "":
		return "The edge answered by itself: " + faultWord(fault) + "."
	case m.Row.Decision > signal.Allow && len(m.Rules) > 0:
		return "The rule " + m.Rules[0].ID + " fired."
	case m.Score > 0 && m.Limit > 0 && m.Score < m.Limit:
		return fmt.Sprintf("%s matched, which makes %d of the %d points at which the request would be blocked.", plural(len(m.Matches), "WAF rule", "WAF rules"), m.Score, m.Limit)
	case m.Score > 0 && m.Row.Decision == signal.Allow && e.RecordedStr(signal.FieldEdgeMode) == "detect":
		return "The score is over the threshold, and the route only detects: nothing was refused."
	case len(m.API) > 0 && m.Row.Decision == signal.Allow:
		return "No rule fired. The API's guard found: " + m.Row.Cause.String() + "."
	case m.Row.Decision == signal.Allow:
		return "No rule fired."
	}
	return ""
}

func requestFacts(e *signal.Event) []fact {
	var facts []fact
	str := func(name string, f signal.Field) {
		if v := e.RecordedStr(f); v != "" {
			facts = append(facts, fact{Name: name, Value: v})
		}
	}
	list := func(name string, f signal.Field) {
		if v := e.Strings(f); len(v) > 0 {
			facts = append(facts, fact{Name: name, Items: v})
		}
	}
	if ip := e.IP(signal.FieldSrcEndpointIP); ip.IsValid() {
		facts = append(facts, fact{Name: "Client", Value: ip.String(), Link: newQuery(nil).With("client", ip.String()).At("/traffic")})
	}
	if e.RecordedStr(signal.FieldEdgeClientTrust) == "undeclared" {
		facts = append(facts, fact{Name: "Client known by", Value: "an undeclared proxy: list it in edge.trusted_proxies, else its address stands for everyone behind it"})
	}
	list("Came through", signal.FieldSrcEndpointIntermediateIPs)
	str("Country", signal.FieldSrcEndpointLocationCountry)
	str("Host", signal.FieldHTTPRequestURLHostname)
	if route := e.RecordedStr(signal.FieldEdgeRoute); route != "" {
		facts = append(facts, fact{Name: "Route", Value: route, Link: newQuery(nil).With("route", route).At("/traffic")})
	}
	str("Mode", signal.FieldEdgeMode)
	str("Request id", signal.FieldHTTPRequestUID)
	str("Trace", signal.FieldTraceUID)
	str("User agent", signal.FieldHTTPRequestUserAgent)
	str("Referrer", signal.FieldHTTPRequestReferrer)
	str("Content type", signal.FieldHTTPRequestContentType)
	list("Parameters", signal.FieldHTTPRequestArgsNames)
	list("Header fields", signal.FieldHTTPRequestHeaderNames)
	list("Cookies", signal.FieldHTTPRequestCookieNames)
	str("HTTP version", signal.FieldHTTPRequestVersion)
	str("TLS", signal.FieldTLSVersion)
	str("WAF error", signal.FieldWAFError)
	str("Program", signal.FieldProcessCmdLine)
	str("File", signal.FieldFilePath)
	str("User", signal.FieldUserName)
	str("Device", signal.FieldDeviceHostname)
	return facts
}

func replyFacts(e *signal.Event) []fact {
	var facts []fact
	add := func(name, value string) {
		if value != "" {
			facts = append(facts, fact{Name: name, Value: value})
		}
	}
	if code := e.Int(signal.FieldHTTPResponseCode); code != 0 {
		add("Status", strings.TrimSpace(fmt.Sprint(code)+" "+http.StatusText(int(code))))
	}
	if fault := e.RecordedStr(signal.FieldEdgeError); fault != "" {
		add("Answered by the edge", faultWord(fault))
	}
	add("Upstream", e.RecordedStr(signal.FieldEdgeUpstream))
	if n := e.Int(signal.FieldEdgeAttempts); n > 1 {
		add("Attempts", num(n))
	}
	if e.Has(signal.FieldHTTPResponseLatency) {
		add("First byte after", num(e.Int(signal.FieldHTTPResponseLatency))+" ms")
	}
	if e.Has(signal.FieldDuration) {
		add("Took", num(e.Int(signal.FieldDuration))+" ms")
	}
	if n := e.Int(signal.FieldHTTPResponseLength); n > 0 {
		add("Sent", byteSize(n))
	}
	add("Content type", e.RecordedStr(signal.FieldHTTPResponseContentType))
	return facts
}

func timeline(e *signal.Event, related []*signal.Event) []moments {
	all := append([]*signal.Event{e}, related...)
	slices.SortStableFunc(all, func(a, b *signal.Event) int { return int(min(1, max(-1, a.Time-b.Time))) })
	var out []moments
	for _, o := range all {
		d := time.Duration(o.Time - all[0].Time)
		mo := moments{ID: o.ID, Time: time.Unix(0, o.Time), Plane: o.Plane, Self: o.ID == e.ID, Row: rowOf(o)}
		if d > 0 {
			mo.After = "+" + d.Round(time.Millisecond).String()
		}
		switch {
		case isResponse(o) && mo.Row.Status != 0:
			mo.What = fmt.Sprintf("answered %d", mo.Row.Status)
		case isResponse(o):
			mo.What = "answered"
		case o.Class == signal.ClassHTTPActivity:
			mo.What = "request judged: " + verdictWord(mo.Row.Decision)
		default:
			mo.What = clip(160, mo.Row.Path)
		}
		out = append(out, mo)
	}
	return out
}

// pretty is the event's OCSF form, indented.
func pretty(e *signal.Event) string {
	var buf bytes.Buffer
	raw := e.AppendJSON(nil)
	if err := json.Indent(&buf, raw, "", "  "); err != nil {
		return string(raw)
	}
	return buf.String()
}
