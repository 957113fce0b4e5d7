package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/console/client"
	"github.com/testudo-sec/testudo/console/consoletest"
	"github.com/testudo-sec/testudo/signal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// dial runs a node on a socket and returns a client of it.
func dial(t *testing.T, w *consoletest.World) *client.Client {
	t.Helper()
	path := socket(t)
	s, err := console.New(console.Default(), w.Sources(), console.Deps{Now: w.Now})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.ListenSocket(path); err != nil {
		t.Fatal(err)
	}
	consoletest.RunBound(t, s)
	c, err := client.Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func socket(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tst")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

func TestNoNode(t *testing.T) {
	path := socket(t)
	if _, err := client.Dial(t.Context(), path); !errors.Is(err, client.ErrNoNode) {
		t.Errorf("without a socket: %v", err)
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	_ = ln.Close()
	if _, err := client.Dial(t.Context(), path); !errors.Is(err, client.ErrNoNode) {
		t.Errorf("with a dead socket: %v", err)
	}
	// Somebody who answers nonsense is no missing node: the data directory is in use.
	ln, err = net.ListenUnix("unix", &net.UnixAddr{Name: path + "2", Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("nonsense\r\n\r\n"))
			_ = c.Close()
		}
	}()
	if _, err := client.Dial(t.Context(), path+"2"); err == nil || errors.Is(err, client.ErrNoNode) {
		t.Errorf("with somebody else on the socket: %v", err)
	}
}

func TestHunt(t *testing.T) {
	w := consoletest.New()
	c := dial(t, w)
	var got []string
	stats, err := c.Hunt(t.Context(), console.HuntQuery{Condition: `src_endpoint.ip == "203.0.113.66"`, Since: w.Start.Add(-2 * time.Hour), Limit: 3}, func(b json.RawMessage) error {
		var e signal.Event
		if err := e.UnmarshalJSON(b); err != nil {
			return err
		}
		got = append(got, e.IP(signal.FieldSrcEndpointIP).String())
		return nil
	})
	if err != nil || len(got) != 3 || got[0] != "203.0.113.66" || !stats.Truncated || stats.Files != 3 {
		t.Errorf("found %v with %+v, %v", got, stats, err)
	}
	// Everything, more than one buffer holds.
	n := 0
	stats, err = c.Hunt(t.Context(), console.HuntQuery{}, func(json.RawMessage) error { n++; return nil })
	if err != nil || n != len(w.Log) || stats.Matched != uint64(n) {
		t.Errorf("found %d of %d with %+v, %v", n, len(w.Log), stats, err)
	}
	var e *client.Error
	if _, err := c.Hunt(t.Context(), console.HuntQuery{Condition: "nonsense =="}, nil); !errors.As(err, &e) || e.Field != "condition" || e.Status != http.StatusUnprocessableEntity {
		t.Errorf("a bad condition: %v", err)
	}
	stop := errors.New("enough")
	if _, err := c.Hunt(t.Context(), console.HuntQuery{}, func(json.RawMessage) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("stopping: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := c.Hunt(ctx, console.HuntQuery{}, func(json.RawMessage) error { cancel(); return ctx.Err() }); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestCalls(t *testing.T) {
	w := consoletest.New()
	c := dial(t, w)
	ctx := t.Context()
	fail := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	me, err := c.Me(ctx)
	fail("me", err)
	if me.Role != console.RoleAdmin || me.Actor != "uid:"+strconv.Itoa(os.Geteuid()) || me.Kind != console.KindLocal {
		t.Errorf("me is %+v", me)
	}
	order := console.Order{Kind: "block", Target: "203.0.113.0/28", For: 90 * time.Second, Reason: "a test", Event: w.Log[0].ID}
	preview, err := c.Preview(ctx, order)
	fail("preview", err)
	if preview.Radius.Addresses != "2^4" || preview.Target != order.Target {
		t.Errorf("preview says %+v", preview)
	}
	a, err := c.Order(ctx, order)
	fail("order", err)
	if a.Until.Sub(a.Start) != 90*time.Second || a.Reason != "a test" || a.Event != w.Log[0].ID || a.Actor != me.Actor {
		t.Errorf("ordered %+v", a)
	}
	list, err := c.Actions(ctx, console.ActionQuery{State: signal.ActionActive, Limit: 1})
	fail("actions", err)
	if len(list.Items) != 1 || list.Items[0].ID != a.ID || list.Next == "" {
		t.Errorf("actions are %+v", list)
	}
	undone, err := c.Undo(ctx, a.ID, "enough")
	fail("undo", err)
	if undone.State != signal.ActionUndone {
		t.Errorf("undone is %+v", undone)
	}
	var e *client.Error
	if _, err := c.Undo(ctx, a.ID, ""); !errors.As(err, &e) || e.Status != http.StatusConflict || !strings.Contains(e.Error(), "undone already") {
		t.Errorf("undoing again: %v", err)
	}
	if _, err := c.Order(ctx, console.Order{Kind: "block", Target: "nowhere"}); !errors.As(err, &e) || e.Status != http.StatusUnprocessableEntity || !strings.HasPrefix(e.Error(), "target: ") {
		t.Errorf("a senseless order: %v", err)
	}
	rules, err := c.Rules(ctx)
	fail("rules", err)
	if len(rules) != len(w.Rules) {
		t.Errorf("%d rules of %d", len(rules), len(w.Rules))
	}
	rule, err := c.Rule(ctx, rules[0].ID)
	fail("rule", err)
	if rule.Source == "" {
		t.Error("the rule has no text")
	}
	if _, err := c.Rule(ctx, "a/../b"); !errors.As(err, &e) || e.Status != http.StatusNotFound {
		t.Errorf("an unknown rule: %v", err)
	}
	set, err := c.RuleSet(ctx)
	fail("rule set", err)
	if len(set.Errors) != 1 {
		t.Errorf("rule set %+v", set)
	}
	set, err = c.ReloadRules(ctx)
	fail("reload", err)
	if len(set.Errors) != 0 {
		t.Errorf("rule set after reload %+v", set)
	}
	report, err := c.TestRules(ctx, "")
	fail("test", err)
	one, err := c.TestRules(ctx, rules[0].ID)
	fail("test of one", err)
	if report.OK || !one.OK || len(one.Rules) != 1 {
		t.Errorf("reports %+v and %+v", report, one)
	}
	findings, err := c.Findings(ctx, console.FindingQuery{Severity: signal.SeverityHigh, State: signal.FindingOpen, Plane: signal.PlaneScan, Kind: signal.FindingPosture})
	fail("findings", err)
	if len(findings.Items) != 1 || findings.Items[0].Rule != "secret.aws-access-key" {
		t.Errorf("findings are %+v", findings)
	}
	sys, err := c.System(ctx)
	fail("system", err)
	checks, err := c.Doctor(ctx)
	fail("doctor", err)
	if len(sys.Queues) != 2 || len(checks) != len(sys.Checks) {
		t.Errorf("system %+v, doctor %+v", sys, checks)
	}
	entries, err := c.LedgerEntries(ctx, console.LedgerQuery{Actor: me.Actor, Verb: "block"})
	fail("ledger", err)
	if len(entries.Items) != 2 || entries.Items[0].Verb != "block.undo" {
		t.Errorf("ledger entries %+v", entries.Items)
	}
	head, err := c.LedgerHead(ctx)
	fail("head", err)
	proof, err := c.VerifyLedger(ctx)
	fail("verify", err)
	if !proof.OK || proof.Entries != head.Size {
		t.Errorf("head %+v, report %+v", head, proof)
	}
	inv, err := c.ConsoleLink(ctx)
	fail("console link", err)
	if !strings.HasPrefix(inv.URL, "https://127.0.0.1:7443/welcome?link=") || inv.Name != console.LocalAdmin {
		t.Errorf("link %+v", inv)
	}
	inv, err = c.Invite(ctx, "new.one", console.RoleOperator)
	fail("invite", err)
	if inv.Name != "new.one" {
		t.Errorf("invitation %+v", inv)
	}
}

func TestReplays(t *testing.T) {
	w := consoletest.New()
	c := dial(t, w)
	var event signal.ID
	for _, e := range w.Log {
		if console.DecisionOf(e) == signal.Deny {
			event = e.ID
		}
	}
	// More rules than a console in a browser takes.
	big := console.RuleText{Name: "big.yaml", Text: strings.Repeat("# a comment\n", 300_000)}
	r, err := c.WhatIf(t.Context(), console.WhatIfQuery{Files: []console.RuleText{big}}, nil)
	if err != nil || r.Counts["no_longer_blocked"] != 1 || r.Examples[0].Event != event.String() {
		t.Errorf("%+v, %v", r, err)
	}
	x, err := c.Exceptions(t.Context(), console.ExceptionQuery{Event: event}, nil)
	if err != nil || len(x.Proposals) != 1 || x.Rule != "edge.waf-attack" {
		t.Errorf("%+v, %v", x, err)
	}
	var e *client.Error
	if _, err := c.Exceptions(t.Context(), console.ExceptionQuery{Event: event, Rule: "nobody"}, nil); !errors.As(err, &e) || e.Field != "rule" {
		t.Errorf("an unknown rule: %v", err)
	}
}
