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
	var m Me
	return m, c.call(ctx, http.MethodGet, v1+"/me", nil, nil, &m)
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

// Preview asks what an order would touch.
func (c *Client) Preview(ctx context.Context, o console.Order) (signal.Radius, error) {
	var r signal.Radius
	return r, c.call(ctx, http.MethodPost, v1+"/actions/preview", nil, orderBody(o), &r)
}

// Order has an action done.
func (c *Client) Order(ctx context.Context, o console.Order) (signal.Action, error) {
	var a signal.Action
	return a, c.call(ctx, http.MethodPost, v1+"/actions", nil, orderBody(o), &a)
}

func orderBody(o console.Order) console.OrderBody {
	return console.OrderBody{Kind: o.Kind, Target: o.Target, For: console.Duration(o.For), Reason: o.Reason, Event: o.Event}
}

// Undo lifts an action.
func (c *Client) Undo(ctx context.Context, id, reason string) (signal.Action, error) {
	var a signal.Action
	return a, c.call(ctx, http.MethodPost, v1+"/actions/"+url.PathEscape(id)+"/undo", nil, map[string]string{"reason": reason}, &a)
}

// Actions lists a page of actions, newest first.
func (c *Client) Actions(ctx context.Context, q console.ActionQuery) (console.Page[signal.Action], error) {
	query := values("state", string(q.State), "kind", q.Kind, "target", q.Target, "cursor", q.Cursor)
	setLimit(query, q.Limit)
	var p console.Page[signal.Action]
	return p, c.call(ctx, http.MethodGet, v1+"/actions", query, nil, &p)
}

// Findings lists a page of findings.
func (c *Client) Findings(ctx context.Context, q console.FindingQuery) (console.Page[signal.Finding], error) {
	query := values("state", string(q.State), "kind", string(q.Kind), "plane", q.Plane.String(), "rule", q.Rule, "asset", q.Asset, "text", q.Text, "cursor", q.Cursor)
	if q.Severity != signal.SeverityUnknown {
		query.Set("severity", q.Severity.String())
	}
	setLimit(query, q.Limit)
	var p console.Page[signal.Finding]
	return p, c.call(ctx, http.MethodGet, v1+"/findings", query, nil, &p)
}

// Rules lists the rules in force.
func (c *Client) Rules(ctx context.Context) ([]console.Rule, error) {
	var p console.Page[console.Rule]
	return p.Items, c.call(ctx, http.MethodGet, v1+"/rules", nil, nil, &p)
}

// Rule returns one rule with its text.
func (c *Client) Rule(ctx context.Context, id string) (console.Rule, error) {
	var r console.Rule
	return r, c.call(ctx, http.MethodGet, v1+"/rules/"+url.PathEscape(id), nil, nil, &r)
}

// RuleSet returns the state of the rules as a whole.
func (c *Client) RuleSet(ctx context.Context) (console.RuleSet, error) {
	var s console.RuleSet
	return s, c.call(ctx, http.MethodGet, v1+"/ruleset", nil, nil, &s)
}

// TestRules runs the tests of the rules in force, of one where id is not empty.
func (c *Client) TestRules(ctx context.Context, id string) (console.RuleReport, error) {
	path := v1 + "/ruleset/test"
	if id != "" {
		path = v1 + "/rules/" + url.PathEscape(id) + "/test"
	}
	var r console.RuleReport
	return r, c.call(ctx, http.MethodPost, path, nil, nil, &r)
}

// ReloadRules has the node read its rules folder anew.
func (c *Client) ReloadRules(ctx context.Context) (console.RuleSet, error) {
	var s console.RuleSet
	return s, c.call(ctx, http.MethodPost, v1+"/ruleset/reload", nil, nil, &s)
}

// System tells how the node runs.
func (c *Client) System(ctx context.Context) (console.System, error) {
	var s console.System
	return s, c.call(ctx, http.MethodGet, v1+"/system", nil, nil, &s)
}

// Doctor has the node look at the machine.
func (c *Client) Doctor(ctx context.Context) ([]console.Check, error) {
	var p console.Page[console.Check]
	return p.Items, c.call(ctx, http.MethodGet, v1+"/doctor", nil, nil, &p)
}

// LedgerEntries lists a page of ledger entries, newest first.
func (c *Client) LedgerEntries(ctx context.Context, q console.LedgerQuery) (console.Page[console.LedgerEntry], error) {
	query := values("actor", q.Actor, "verb", q.Verb, "subject", q.Subject, "cursor", q.Cursor)
	setLimit(query, q.Limit)
	var p console.Page[console.LedgerEntry]
	return p, c.call(ctx, http.MethodGet, v1+"/ledger/entries", query, nil, &p)
}

// LedgerHead returns the newest signed head.
func (c *Client) LedgerHead(ctx context.Context) (console.LedgerHead, error) {
	var h console.LedgerHead
	return h, c.call(ctx, http.MethodGet, v1+"/ledger/head", nil, nil, &h)
}

// VerifyLedger has the node check its whole ledger.
func (c *Client) VerifyLedger(ctx context.Context) (console.LedgerReport, error) {
	var r console.LedgerReport
	return r, c.call(ctx, http.MethodGet, v1+"/ledger/verify", nil, nil, &r)
}

// ConsoleLink makes a one-time sign-in link for this machine's admin.
func (c *Client) ConsoleLink(ctx context.Context) (console.Invitation, error) {
	var inv console.Invitation
	return inv, c.call(ctx, http.MethodPost, v1+"/console/link", nil, nil, &inv)
}

// Invite makes a one-time sign-in link for a person.
func (c *Client) Invite(ctx context.Context, name string, role console.Role) (console.Invitation, error) {
	var inv console.Invitation
	return inv, c.call(ctx, http.MethodPost, v1+"/people/links", nil, map[string]any{"name": name, "role": role}, &inv)
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
