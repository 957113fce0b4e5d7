package assembly

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/signal"
)

// watch follows the live stream of the API, and hands on each event as it comes.
func (s *system) watch(query string) <-chan *signal.Event {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.m.ConsoleURL()+"/api/v1/events/stream?"+query, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	client := *s.api
	client.Timeout = 0
	resp, err := client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		s.t.Fatalf("live stream: %s", resp.Status)
	}
	events := make(chan *signal.Event, 4096)
	done := make(chan struct{})
	opened := make(chan struct{})
	go func() {
		defer close(done)
		defer resp.Body.Close()
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(nil, 16<<20)
		for first := true; lines.Scan(); first = false {
			if first {
				close(opened)
			}
			data, ok := strings.CutPrefix(lines.Text(), "data: ")
			if !ok {
				continue
			}
			var u console.LiveUpdate
			if json.Unmarshal([]byte(data), &u) != nil {
				continue // "bye" is a sentence
			}
			for _, e := range u.Events {
				select {
				case events <- e:
				default:
				}
			}
		}
	}()
	s.t.Cleanup(func() { cancel(); <-done })
	<-opened
	return events
}

// TestSpine is the first minute of a new user: an honest request, attacks, the block, and the
// one click that lifts it.
func TestSpine(t *testing.T) {
	s := start(t, testSettings(shop(t)), dataDir(t))
	s.signIn()
	live := s.watch("plane=edge")
	honest, hostile := from(t, ""), from(t, attacker)

	if a := s.get(honest, "/search?q=lantern"); a.status != http.StatusOK || !strings.Contains(a.body, "antern") {
		t.Fatalf("an honest search: %d %.200s", a.status, a.body)
	}
	if got := s.events("decision=deny"); len(got) != 0 {
		t.Fatalf("an honest request was denied: %v", got)
	}
	// Each attack is refused, and is seen with its reason.
	for i, target := range []string{traversal, injection, traversal} {
		before := time.Now()
		a := s.get(hostile, target)
		if a.status != http.StatusForbidden {
			t.Fatalf("attack %d: status %d, want 403: %.300s", i+1, a.status, a.body)
		}
		if strings.Contains(a.body, "root:") || a.header.Get("X-Request-Id") == "" {
			t.Errorf("attack %d: answer %v %q", i+1, a.header, a.body)
		}
		e := next(t, live, func(e *signal.Event) bool { return console.DecisionOf(e) == signal.Deny && e.Parent.IsZero() })
		if took := time.Since(before); took > time.Second {
			t.Logf("attack %d was seen after %v", i+1, took) // a loaded machine may be slow; the bar is measured elsewhere
		}
		if e.Str(signal.FieldVerdictReason) == "" || e.Str(signal.FieldFirewallRuleUID) != "edge-waf-attack" || e.IP(signal.FieldSrcEndpointIP).String() != attacker {
			t.Errorf("attack %d is told as reason %q, rule %q, client %v", i+1, e.Str(signal.FieldVerdictReason), e.Str(signal.FieldFirewallRuleUID), e.IP(signal.FieldSrcEndpointIP))
		}
		if e.Int(signal.FieldWAFScore) < 5 || len(e.Strings(signal.FieldWAFRules)) == 0 {
			t.Errorf("attack %d: WAF score %d, rules %v", i+1, e.Int(signal.FieldWAFScore), e.Strings(signal.FieldWAFRules))
		}
		if active := s.actions("state=active"); i < 2 && len(active) != 0 {
			t.Fatalf("blocked after %d attacks: %v", i+1, active)
		}
	}
	var block signal.Action
	eventually(t, "the sender is blocked after the third attack", func() bool {
		active := s.actions("state=active")
		if len(active) == 1 {
			block = active[0]
		}
		return len(active) == 1
	})
	if left := time.Until(block.Until); block.Target != attacker || block.Actor != "rule:edge-waf-attack" || left < 9*time.Minute || left > 10*time.Minute {
		t.Errorf("blocked %s by %s for %v more, want %s by rule:edge-waf-attack for ten minutes", block.Target, block.Actor, left, attacker)
	}
	if block.Radius.Summary == "" {
		t.Error("the blast radius is not stated")
	}
	// What is blocked gets nothing at all, honest or not; others go on.
	if a := s.get(hostile, "/search?q=lantern"); a.status != http.StatusForbidden {
		t.Errorf("a blocked client got %d", a.status)
	}
	e := next(t, live, func(e *signal.Event) bool { return e.Str(signal.FieldEdgeError) == "blocklist" })
	if d := console.DecisionOf(e); d != signal.Deny || !strings.Contains(e.Str(signal.FieldVerdictReason), block.ID) {
		t.Errorf("a refusal is told as %v because %q, want deny and the action %s", d, e.Str(signal.FieldVerdictReason), block.ID)
	}
	if a := s.get(honest, "/search?q=lantern"); a.status != http.StatusOK {
		t.Errorf("another client got %d", a.status)
	}
	// Requests of a blocked client never lead to the next block.
	for range 5 {
		s.get(hostile, traversal)
	}
	if a := s.call(http.MethodPost, "/api/v1/actions/"+block.ID+"/undo", map[string]string{"reason": "it was me"}, nil); a.status != http.StatusOK {
		t.Fatalf("undo: %d %s", a.status, a.body)
	}
	if a := s.get(hostile, "/search?q=lantern"); a.status != http.StatusOK {
		t.Errorf("after the undo the address still gets %d", a.status)
	}
	if active := s.actions("state=active"); len(active) != 0 {
		t.Errorf("in force after the undo: %v", active)
	}

	// One finding for the rule and the application, with how to mend it.
	var found signal.Finding
	eventually(t, "the attacks are one finding", func() bool {
		all := s.findings("rule=edge-waf-attack")
		if len(all) == 1 {
			found = all[0]
		}
		return len(all) == 1 && all[0].Count == 3
	})
	if found.Fix == "" || len(found.References) == 0 || len(found.Events) != 3 || len(found.Evidence) == 0 {
		t.Errorf("the finding lacks something: %+v", found)
	}
	// All of it stands in the ledger, and the ledger verifies.
	var entries struct{ Items []console.LedgerEntry }
	s.call(http.MethodGet, "/api/v1/ledger/entries?verb=block", nil, &entries)
	if len(entries.Items) < 2 {
		t.Errorf("ledger entries about the block: %+v", entries.Items)
	}
	var report console.LedgerReport
	if s.call(http.MethodGet, "/api/v1/ledger/verify", nil, &report); !report.OK {
		t.Errorf("the ledger does not verify: %v", report.Problems)
	}
	var over console.Overview
	eventually(t, "the overview tells of 4 blocked requests or more, and of 7 in all", func() bool {
		s.call(http.MethodGet, "/api/v1/overview", nil, &over)
		return sum(over.Blocked.Values) >= 4 && sum(over.Requests.Values) >= 7
	})
	if len(over.Clients) == 0 || over.Clients[0].Key != attacker {
		t.Errorf("clients of the overview: %+v", over.Clients)
	}
}

// next returns the next event of a live stream that is looked for.
func next(t testing.TB, live <-chan *signal.Event, ok func(*signal.Event) bool) *signal.Event {
	t.Helper()
	limit := time.After(patience)
	for {
		select {
		case e := <-live:
			if ok(e) {
				return e
			}
		case <-limit:
			t.Fatal("the live stream did not tell")
		}
	}
}

// shop builds the demo shop and runs it.
func shop(t testing.TB) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "shop")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "../../../examples/shop").CombinedOutput(); err != nil {
		t.Fatalf("build the shop: %v\n%s", err, out)
	}
	address := freePort(t)
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), bin, "--listen", address)
	out := new(logBuffer)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	c := from(t, "")
	eventually(t, "the shop answers", func() bool {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.Do(r)
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return "http://" + address
}

// TestDetectMode lets attacks pass, and tells of them without acting.
func TestDetectMode(t *testing.T) {
	cfg := testSettings(upstream(t))
	cfg.Edge.Routes[0].Mode = "detect"
	s := start(t, cfg, dataDir(t))
	s.signIn()
	hostile := from(t, attacker)
	for range 5 {
		if a := s.get(hostile, injection); a.status != http.StatusOK {
			t.Fatalf("detect mode refused with %d", a.status)
		}
	}
	eventually(t, "the attacks are recorded as alerts", func() bool { return len(s.events("rule=edge-waf-attack-detect")) == 5 })
	for _, e := range s.events("rule=edge-waf-attack-detect") {
		if d := console.DecisionOf(e); d != signal.Alert {
			t.Errorf("recorded as %v, want alert", d)
		}
	}
	if all := s.actions(""); len(all) != 0 {
		t.Errorf("detect mode acted: %v", all)
	}
	// The path rule denies too, and detect mode lets that pass as well.
	if a := s.get(hostile, "/a/%2e%2e%2f%2e%2e%2fetc/passwd"); a.status != http.StatusOK {
		t.Errorf("detect mode refused a path with %d", a.status)
	}
	eventually(t, "the path is recorded", func() bool { return len(s.events("rule=edge-path-traversal")) == 1 })
	if d := console.DecisionOf(s.events("rule=edge-path-traversal")[0]); d != signal.Alert {
		t.Errorf("what passed is recorded as %v, want alert", d)
	}
	var over console.Overview
	eventually(t, "the counters are stored", func() bool {
		s.call(http.MethodGet, "/api/v1/overview", nil, &over)
		return sum(over.Requests.Values) == 6
	})
	if got := sum(over.Blocked.Values); got != 0 {
		t.Errorf("detect mode counts %d blocked requests", got)
	}
}

// TestUndeclaredProxy: behind a proxy that nobody declared all clients share an address; none is
// blocked for another's attack, and the node says what to do.
func TestUndeclaredProxy(t *testing.T) {
	s := start(t, testSettings(upstream(t)), dataDir(t))
	s.signIn()
	proxy := from(t, attacker) // an address that rules may block
	for range 4 {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.m.EdgeURL()+injection, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Forwarded-For", "203.0.113.9")
		if a := ask(t, proxy, r); a.status != http.StatusForbidden {
			t.Fatalf("an attack through a proxy got %d: it is judged all the same", a.status)
		}
	}
	eventually(t, "the orders are withheld", func() bool { return s.m.node.Stats().Withheld >= 1 })
	if all := s.actions(""); len(all) != 0 {
		t.Errorf("somebody was blocked: %v", all)
	}
	if a := s.get(proxy, "/"); a.status != http.StatusOK {
		t.Errorf("an honest request through the proxy got %d", a.status)
	}
	var sys console.System
	s.call(http.MethodGet, "/api/v1/system", nil, &sys)
	said := false
	for _, c := range sys.Checks {
		said = said || !c.OK && strings.Contains(c.Detail+c.Cost+c.Command, "trusted_proxies") && strings.Contains(c.Name, attacker)
	}
	if !said {
		t.Errorf("no check names the proxy and what to do: %+v", sys.Checks)
	}
	if !strings.Contains(s.logs.String(), "trusted_proxies") {
		t.Error("the log does not say what to do")
	}

	// Declared, the proxy's word counts: the client is blocked and the proxy is not.
	cfg := testSettings(upstream(t))
	cfg.Edge.TrustedProxies = prefixes(t, attacker+"/32")
	s = start(t, cfg, dataDir(t))
	s.signIn()
	for range 3 {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.m.EdgeURL()+injection, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Forwarded-For", "203.0.113.9")
		ask(t, proxy, r)
	}
	eventually(t, "the client behind the proxy is blocked", func() bool {
		active := s.actions("state=active")
		return len(active) == 1 && active[0].Target == "203.0.113.9"
	})
	if a := s.get(proxy, "/"); a.status != http.StatusOK {
		t.Errorf("the proxy itself got %d", a.status)
	}
}

// TestLoopbackIsNotBlocked: rules block no address of this machine unless it is listed.
func TestLoopbackIsNotBlocked(t *testing.T) {
	cfg := testSettings(upstream(t))
	cfg.Respond.Block.AllowPrivate = nil
	s := start(t, cfg, dataDir(t))
	s.signIn()
	for range 4 {
		s.get(from(t, attacker), injection)
	}
	eventually(t, "the refused block is told", func() bool { return len(s.actions("state=refused")) == 1 })
	if got := s.actions("state=refused")[0]; got.Error == "" {
		t.Errorf("refused without a reason: %+v", got)
	}
	if a := s.get(from(t, attacker), "/"); a.status != http.StatusOK {
		t.Errorf("an honest request got %d", a.status)
	}
}
