package console_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/console/consoletest"
	"github.com/testudo-sec/testudo/signal"
)

// spy notes the queries that reach the sources.
type spy struct {
	events   console.EventQuery
	findings console.FindingQuery
	actions  console.ActionQuery
	hunt     console.HuntQuery
	ledger   console.LedgerQuery
	order    console.Order
	ttl      time.Duration
}

type spyEvents struct {
	console.EventSource
	*spy
}

func (s spyEvents) Events(_ context.Context, q console.EventQuery) (console.Page[*signal.Event], error) {
	s.events = q
	return console.Page[*signal.Event]{}, nil
}

type spyFindings struct {
	console.FindingSource
	*spy
}

func (s spyFindings) Findings(_ context.Context, q console.FindingQuery) (console.Page[signal.Finding], error) {
	s.findings = q
	return console.Page[signal.Finding]{}, nil
}

type spyActions struct {
	console.ActionSource
	*spy
}

func (s spyActions) Actions(_ context.Context, q console.ActionQuery) (console.Page[signal.Action], error) {
	s.actions = q
	return console.Page[signal.Action]{}, nil
}

type spyHunt struct{ *spy }

func (s spyHunt) Hunt(_ context.Context, q console.HuntQuery, _ func(*signal.Event) error) (console.HuntStats, error) {
	s.hunt = q
	return console.HuntStats{}, nil
}

type spyLedger struct {
	console.LedgerSource
	*spy
}

func (s spyLedger) Entries(_ context.Context, q console.LedgerQuery) (console.Page[console.LedgerEntry], error) {
	s.ledger = q
	return console.Page[console.LedgerEntry]{}, nil
}

type spyOrders struct {
	console.OrderTaker
	*spy
}

func (s spyOrders) Order(_ context.Context, o console.Order, _ console.Identity) (signal.Action, error) {
	s.order = o
	return signal.Action{}, nil
}

type spyTokens struct {
	console.TokenSource
	*spy
}

func (s spyTokens) Issue(_ context.Context, _ string, _ console.Role, ttl time.Duration, _ console.Identity) (console.Token, string, error) {
	s.ttl = ttl
	return console.Token{}, "", nil
}

// TestQueriesReachTheSources checks that each parameter ends in its own field.
func TestQueriesReachTheSources(t *testing.T) {
	sp := &spy{}
	b := newBench(t, nil, func(s *console.Sources) {
		s.Events, s.Findings, s.Actions = spyEvents{s.Events, sp}, spyFindings{s.Findings, sp}, spyActions{s.Actions, sp}
		s.Hunt, s.Ledger, s.Orders, s.Tokens = spyHunt{sp}, spyLedger{s.Ledger, sp}, spyOrders{s.Orders, sp}, spyTokens{s.Tokens, sp}
	})
	ask := func(method, path, body string) {
		t.Helper()
		if w := b.send(b.request(method, "/api/v1"+path, body, consoletest.AdminName)); w.Code >= 300 {
			t.Errorf("%s answers %d: %s", path, w.Code, w.Body)
		}
	}
	deny, since, until := signal.Deny, time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	times := "&since=2026-01-02T03:04:05.000000006Z&until=2026-02-03T04:05:06Z"
	ask("GET", "/events?plane=edge&class=http_activity&decision=deny&client=203.0.113.66&route=shop&method=GET&rule=r&text=t&condition=c&cursor=u&limit=7"+times, "")
	event := signal.NewID(since)
	ask("GET", "/findings?state=muted&severity=high&kind=posture&plane=scan&rule=r&asset=a&text=t&cursor=u&limit=8", "")
	ask("GET", "/actions?state=active&kind=block&target=x&cursor=u", "")
	ask("GET", "/hunt?condition=c&limit=9"+times, "")
	ask("GET", "/ledger/entries?actor=a&verb=v&subject=s&cursor=u&limit=500", "")
	ask("POST", "/actions", `{"kind":"block","target":" 203.0.113.9 ","for":"1h30m","reason":"why","event":"`+event.String()+`","force":true}`)
	ask("POST", "/tokens", `{"name":"ci","role":"viewer","ttl":"90d"}`)
	want := &spy{
		events: console.EventQuery{Plane: signal.PlaneEdge, Class: signal.ClassHTTPActivity, Decision: &deny, Client: netip.MustParsePrefix("203.0.113.66/32"),
			Route: "shop", Method: "GET", Rule: "r", Text: "t", Condition: "c", Since: since, Until: until, Cursor: "u", Limit: 7},
		findings: console.FindingQuery{State: signal.FindingMuted, Severity: signal.SeverityHigh, Kind: signal.FindingPosture, Plane: signal.PlaneScan, Rule: "r", Asset: "a", Text: "t", Cursor: "u", Limit: 8},
		actions:  console.ActionQuery{State: signal.ActionActive, Kind: "block", Target: "x", Cursor: "u", Limit: 50},
		hunt:     console.HuntQuery{Condition: "c", Since: since, Until: until, Limit: 9},
		ledger:   console.LedgerQuery{Actor: "a", Verb: "v", Subject: "s", Cursor: "u", Limit: 500},
		order:    console.Order{Kind: "block", Target: "203.0.113.9", For: 90 * time.Minute, Reason: "why", Event: event, Force: true, Asker: netip.MustParseAddr("192.0.2.77")},
		ttl:      90 * 24 * time.Hour,
	}
	if diff := cmp.Diff(want, sp, cmp.AllowUnexported(spy{}), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("what reached the sources (-want +got):\n%s", diff)
	}
}

// TestMatch holds the filter of live streams to each of its fields.
func TestMatch(t *testing.T) {
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	e := consoletest.Request(at, "203.0.113.66", "GET", "/Search", "q=***", signal.Deny, "edge.waf-attack")
	allow, deny := signal.Allow, signal.Deny
	for _, c := range []struct {
		name string
		q    console.EventQuery
		want bool
	}{
		{"nothing", console.EventQuery{}, true},
		{"plane", console.EventQuery{Plane: signal.PlaneEdge}, true}, {"other plane", console.EventQuery{Plane: signal.PlaneScan}, false},
		{"class", console.EventQuery{Class: signal.ClassHTTPActivity}, true}, {"other class", console.EventQuery{Class: signal.ClassDNSActivity}, false},
		{"decision", console.EventQuery{Decision: &deny}, true}, {"other decision", console.EventQuery{Decision: &allow}, false},
		{"client", console.EventQuery{Client: netip.MustParsePrefix("203.0.113.64/29")}, true}, {"other client", console.EventQuery{Client: netip.MustParsePrefix("203.0.113.0/29")}, false},
		{"route", console.EventQuery{Route: "shop"}, true}, {"other route", console.EventQuery{Route: "sho"}, false},
		{"method", console.EventQuery{Method: "GET"}, true}, {"other method", console.EventQuery{Method: "POST"}, false},
		{"rule", console.EventQuery{Rule: "edge.waf-attack"}, true}, {"other rule", console.EventQuery{Rule: "edge.waf"}, false},
		{"text in the path", console.EventQuery{Text: "sEARCH"}, true}, {"text in the reason", console.EventQuery{Text: "sql injection"}, true},
		{"text in the address", console.EventQuery{Text: "113.66"}, true}, {"text in a WAF rule", console.EventQuery{Text: "942190"}, true}, {"other text", console.EventQuery{Text: "nowhere"}, false},
		{"since then", console.EventQuery{Since: at}, true}, {"since later", console.EventQuery{Since: at.Add(1)}, false},
		{"until later", console.EventQuery{Until: at.Add(1)}, true}, {"until then", console.EventQuery{Until: at}, false},
		{"two, one wrong", console.EventQuery{Plane: signal.PlaneEdge, Method: "POST"}, false},
	} {
		if got := c.q.Match(e); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestRowShowsRecordedForms sets a raw value that must not be seen.
func TestRowShowsRecordedForms(t *testing.T) {
	e := consoletest.Request(time.Unix(9, 0), "203.0.113.66", "POST", "/login", "", signal.Deny, "edge.waf-attack")
	e.SetMasked(signal.FieldHTTPRequestURLQueryString, "password=hunter2", "password=***")
	b, err := json.Marshal(console.RowOf(e))
	if err != nil {
		t.Fatal(err)
	}
	if s := string(b); strings.Contains(s, "hunter2") || !strings.Contains(s, `"what":"POST /login?password=***"`) || !strings.Contains(s, `"decision":"deny"`) || !strings.Contains(s, `"client":"203.0.113.66"`) {
		t.Errorf("row %s", s)
	}
	if q := (console.EventQuery{Text: "hunter2"}); q.Match(e) {
		t.Error("a search finds what is masked")
	}
}

type slowOverview struct{ began chan struct{} }

func (s slowOverview) Overview(ctx context.Context) (console.Overview, error) {
	s.began <- struct{}{}
	<-ctx.Done()
	return console.Overview{}, ctx.Err()
}

// TestSourceThatHangs checks that a caller who waits for one is answered, and that those
// who wait behind are too.
func TestSourceThatHangs(t *testing.T) {
	src := slowOverview{began: make(chan struct{}, 8)}
	b := newBench(t, nil, func(s *console.Sources) { s.Overview = src })
	done := make(chan int, 2)
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		r := b.request("GET", "/api/v1/overview", "", consoletest.ViewerName).WithContext(ctx)
		go func() { done <- b.send(r).Code }()
	}
	for range 2 {
		if got := <-done; got != http.StatusServiceUnavailable {
			t.Errorf("answers %d", got)
		}
	}
}
