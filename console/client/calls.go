package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/signal"
)

const v1 = "/api/v1"

// Me is who the node takes the caller for.
type Me struct {
	console.Identity
	Actor string `json:"actor"`
}

// Me asks the node who it takes the caller for.
func (c *Client) Me(ctx context.Context) (Me, error) {
	return ask[Me](ctx, c, http.MethodGet, v1+"/me", nil, nil)
}

// Packages asks for a page of packages.
func (c *Client) Packages(ctx context.Context, query url.Values) (console.Page[console.Package], error) {
	return ask[console.Page[console.Package]](ctx, c, http.MethodGet, v1+"/packages", query, nil)
}

// Hunt searches and calls yield with each event's OCSF JSON, which is yield's for the time
// of the call, until the end or an error of yield, which it returns.
func (c *Client) Hunt(ctx context.Context, q console.HuntQuery, yield func(ocsf json.RawMessage) error) (console.HuntStats, error) {
	query := url.Values{"limit": {strconv.Itoa(q.Limit)}}
	if q.Condition != "" {
		query.Set("condition", q.Condition)
	}
	setTime(query, "since", q.Since)
	setTime(query, "until", q.Until)
	resp, err := c.do(ctx, http.MethodGet, v1+"/hunt", query, nil)
	if err != nil {
		return console.HuntStats{}, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(make([]byte, 64<<10), 8<<20)
	for lines.Scan() {
		var l console.HuntLine
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return console.HuntStats{}, fmt.Errorf("the node's answer to the search: %w", err)
		}
		switch {
		case l.Stats != nil && l.Problem != nil:
			return *l.Stats, &Error{*l.Problem}
		case l.Stats != nil:
			return *l.Stats, nil
		}
		if err := yield(l.Event); err != nil {
			return console.HuntStats{}, err
		}
	}
	if err := errors.Join(lines.Err(), ctx.Err()); err != nil {
		return console.HuntStats{}, err
	}
	return console.HuntStats{}, errors.New("the node stopped before the search was through")
}

func setTime(q url.Values, name string, t time.Time) {
	if !t.IsZero() {
		q.Set(name, t.UTC().Format(time.RFC3339Nano))
	}
}

// Explain says why rules fire on an event; with a rule's id why that one does or does not.
func (c *Client) Explain(ctx context.Context, event signal.ID, rule string) ([]console.Explanation, error) {
	page, err := ask[console.Page[console.Explanation]](ctx, c, http.MethodGet, v1+"/events/"+event.String()+"/explain", values("rule", rule), nil)
	return page.Items, err
}

// Files says which watched files are not what they were; with now after a look at all of them.
func (c *Client) Files(ctx context.Context, now bool) (console.FileReport, error) {
	return ask[console.FileReport](ctx, c, http.MethodGet, v1+"/fim", url.Values{"now": {strconv.FormatBool(now)}}, nil)
}

// TakeFiles takes what is there now as the signed baseline of files.
func (c *Client) TakeFiles(ctx context.Context) (console.FileReport, error) {
	return ask[console.FileReport](ctx, c, http.MethodPost, v1+"/fim/baseline", nil, struct{}{})
}

// AcceptFiles takes differences into the signed baseline.
func (c *Client) AcceptFiles(ctx context.Context, o console.FileOrder) ([]console.FileChange, error) {
	a, err := ask[console.AcceptedFiles](ctx, c, http.MethodPost, v1+"/fim/accept", nil, o)
	return a.Accepted, err
}

// Trace says what a request caused.
func (c *Client) Trace(ctx context.Context, request string) (console.Trace, error) {
	return ask[console.Trace](ctx, c, http.MethodGet, v1+"/trace/"+url.PathEscape(request), nil, nil)
}

// Preview asks what an order would touch.
func (c *Client) Preview(ctx context.Context, o console.Order) (console.Preview, error) {
	return ask[console.Preview](ctx, c, http.MethodPost, v1+"/actions/preview", nil, orderBody(o))
}

// Order has an action done.
func (c *Client) Order(ctx context.Context, o console.Order) (signal.Action, error) {
	return ask[signal.Action](ctx, c, http.MethodPost, v1+"/actions", nil, orderBody(o))
}

func orderBody(o console.Order) console.OrderBody {
	return console.OrderBody{Kind: o.Kind, Target: o.Target, For: console.Duration(o.For), Reason: o.Reason, Event: o.Event, Force: o.Force}
}

// Undo lifts an action.
func (c *Client) Undo(ctx context.Context, id, reason string) (signal.Action, error) {
	return ask[signal.Action](ctx, c, http.MethodPost, v1+"/actions/"+url.PathEscape(id)+"/undo", nil, map[string]string{"reason": reason})
}

// Actions lists a page of actions, newest first.
func (c *Client) Actions(ctx context.Context, q console.ActionQuery) (console.Page[signal.Action], error) {
	query := values("state", string(q.State), "kind", q.Kind, "target", q.Target, "cursor", q.Cursor)
	setLimit(query, q.Limit)
	return ask[console.Page[signal.Action]](ctx, c, http.MethodGet, v1+"/actions", query, nil)
}

// Findings lists a page of findings.
func (c *Client) Findings(ctx context.Context, q console.FindingQuery) (console.Page[signal.Finding], error) {
	query := values("state", string(q.State), "kind", string(q.Kind), "plane", q.Plane.String(), "rule", q.Rule, "asset", q.Asset, "text", q.Text, "cursor", q.Cursor)
	if q.Severity != signal.SeverityUnknown {
		query.Set("severity", q.Severity.String())
	}
	setLimit(query, q.Limit)
	return ask[console.Page[signal.Finding]](ctx, c, http.MethodGet, v1+"/findings", query, nil)
}

// Rules lists the rules in force.
func (c *Client) Rules(ctx context.Context) ([]console.Rule, error) {
	p, err := ask[console.Page[console.Rule]](ctx, c, http.MethodGet, v1+"/rules", nil, nil)
	return p.Items, err
}

// Rule returns one rule with its text.
func (c *Client) Rule(ctx context.Context, id string) (console.Rule, error) {
	return ask[console.Rule](ctx, c, http.MethodGet, v1+"/rules/"+url.PathEscape(id), nil, nil)
}

// RuleSet returns the state of the rules as a whole.
func (c *Client) RuleSet(ctx context.Context) (console.RuleSet, error) {
	return ask[console.RuleSet](ctx, c, http.MethodGet, v1+"/ruleset", nil, nil)
}

// TestRules runs the tests of the rules in force, of one where id is not empty.
func (c *Client) TestRules(ctx context.Context, id string) (console.RuleReport, error) {
	path := v1 + "/ruleset/test"
	if id != "" {
		path = v1 + "/rules/" + url.PathEscape(id) + "/test"
	}
	return ask[console.RuleReport](ctx, c, http.MethodPost, path, nil, nil)
}

// ReloadRules has the node read its rules folder anew.
func (c *Client) ReloadRules(ctx context.Context) (console.RuleSet, error) {
	return ask[console.RuleSet](ctx, c, http.MethodPost, v1+"/ruleset/reload", nil, nil)
}

// System tells how the node runs.
func (c *Client) System(ctx context.Context) (console.System, error) {
	return ask[console.System](ctx, c, http.MethodGet, v1+"/system", nil, nil)
}

// Doctor has the node look at the machine.
func (c *Client) Doctor(ctx context.Context) ([]console.Check, error) {
	p, err := ask[console.Page[console.Check]](ctx, c, http.MethodGet, v1+"/doctor", nil, nil)
	return p.Items, err
}

// LedgerEntries lists a page of ledger entries, newest first.
func (c *Client) LedgerEntries(ctx context.Context, q console.LedgerQuery) (console.Page[console.LedgerEntry], error) {
	query := values("actor", q.Actor, "verb", q.Verb, "subject", q.Subject, "cursor", q.Cursor)
	setLimit(query, q.Limit)
	return ask[console.Page[console.LedgerEntry]](ctx, c, http.MethodGet, v1+"/ledger/entries", query, nil)
}

// LedgerHead returns the newest signed head.
func (c *Client) LedgerHead(ctx context.Context) (console.LedgerHead, error) {
	return ask[console.LedgerHead](ctx, c, http.MethodGet, v1+"/ledger/head", nil, nil)
}

// VerifyLedger has the node check its whole ledger.
func (c *Client) VerifyLedger(ctx context.Context) (console.LedgerReport, error) {
	return ask[console.LedgerReport](ctx, c, http.MethodGet, v1+"/ledger/verify", nil, nil)
}

// ConsoleLink makes a one-time sign-in link for this machine's admin.
func (c *Client) ConsoleLink(ctx context.Context) (console.Invitation, error) {
	return ask[console.Invitation](ctx, c, http.MethodPost, v1+"/console/link", nil, nil)
}

// Invite makes a one-time sign-in link for a person.
func (c *Client) Invite(ctx context.Context, name string, role console.Role) (console.Invitation, error) {
	return ask[console.Invitation](ctx, c, http.MethodPost, v1+"/people", nil, map[string]any{"name": name, "role": role})
}

func values(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			v.Set(pairs[i], pairs[i+1])
		}
	}
	return v
}

func setLimit(v url.Values, n int) {
	if n > 0 {
		v.Set("limit", strconv.Itoa(min(n, console.MaxLimit)))
	}
}

// Processes says what runs on the host, by container.
func (c *Client) Processes(ctx context.Context, q console.ProcessQuery) (console.ProcessList, error) {
	v := url.Values{}
	for key, value := range map[string]string{"container": q.Container, "text": q.Text} {
		if value != "" {
			v.Set(key, value)
		}
	}
	if q.All {
		v.Set("all", "true")
	}
	if q.Limit > 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	return ask[console.ProcessList](ctx, c, http.MethodGet, v1+"/processes", v, nil)
}

// APIs lists endpoints of APIs as learned from traffic.
func (c *Client) APIs(ctx context.Context, q console.APIQuery) (console.APIList, error) {
	v := values("route", q.Route, "method", q.Method, "text", q.Text, "state", q.State)
	setLimit(v, q.Limit)
	return ask[console.APIList](ctx, c, http.MethodGet, v1+"/apis", v, nil)
}

// API returns one endpoint.
func (c *Client) API(ctx context.Context, k console.APIKey) (console.APIDetail, error) {
	return ask[console.APIDetail](ctx, c, http.MethodGet, v1+"/apis/endpoint", values("route", k.Route, "method", k.Method, "template", k.Template), nil)
}

// APIDrift says how routes differ from their documents; of all routes where none is named.
func (c *Client) APIDrift(ctx context.Context, route string) ([]console.APIDrift, error) {
	p, err := ask[console.Page[console.APIDrift]](ctx, c, http.MethodGet, v1+"/apis/drift", values("route", route), nil)
	return p.Items, err
}

// APIDocument returns what was learned of a route as an OpenAPI document in JSON.
func (c *Client) APIDocument(ctx context.Context, route string) (json.RawMessage, error) {
	return ask[json.RawMessage](ctx, c, http.MethodGet, v1+"/apis/document", values("route", route), nil)
}

// Budgets asks on how much of known-good traffic each rule fires.
func (c *Client) Budgets(ctx context.Context) (console.BudgetReport, error) {
	return ask[console.BudgetReport](ctx, c, http.MethodGet, v1+"/budgets", nil, nil)
}

// RestoreBudget has a demoted rule decide again.
func (c *Client) RestoreBudget(ctx context.Context, key console.BudgetKey, reason string) (console.Budget, error) {
	return ask[console.Budget](ctx, c, http.MethodPost, v1+"/budgets/restore", nil, struct {
		console.BudgetKey
		Reason string `json:"reason,omitempty"`
	}{key, reason})
}
