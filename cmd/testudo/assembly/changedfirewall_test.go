package assembly

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/edge"
	"github.com/testudo-sec/testudo/edge/waf/coverage"
	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/replay"
	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/trust/ledger"
	"github.com/testudo-sec/testudo/trust/sealed"
)

// whatIf asks through the API, as testudo whatif does, and fails where there is no report.
func (s *system) whatIf(q console.WhatIfQuery) console.WhatIfReport {
	s.t.Helper()
	a := s.call(http.MethodPost, "/api/v1/whatif", q, nil)
	lines := strings.Split(strings.TrimSpace(a.body), "\n")
	var last console.WhatIfLine
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || last.Report == nil {
		s.t.Fatalf("%d %v: %s", a.status, err, a.body)
	}
	return *last.Report
}

func firewall(c console.FirewallChange) console.WhatIfQuery {
	return console.WhatIfQuery{Firewall: &c}
}

func rowOf(rows []console.WhatIfRow, name string) console.WhatIfRow {
	if i := slices.IndexFunc(rows, func(r console.WhatIfRow) bool { return r.Name == name }); i >= 0 {
		return rows[i]
	}
	return console.WhatIfRow{}
}

// canary is a value of requests that may stand nowhere in clear.
const canary = "s3cr3tCanary"

// TestChangedFirewall: a machine before a shop of which one host is recorded as ever, one with a parameter in clear, and one has its requests kept sealed. Changes of the
// firewall are tried on what was sent to them, through the API.
func TestChangedFirewall(t *testing.T) {
	settings := testSettings(upstream(t))
	settings.Respond.Block.AllowPrivate = nil // nobody is blocked
	base := settings.Edge.Routes[0]
	masked, plain, whole := base, base, base
	masked.Name, masked.Hosts = "masked", []string{"masked.example"}
	plain.Name, plain.Hosts, plain.Record.Parameters = "plain", []string{"plain.example"}, []string{"q"}
	whole.Name, whole.Hosts, whole.Record.Bodies.For = "kept", []string{"kept.example"}, time.Hour
	settings.Edge.Routes = []edge.Route{masked, plain, whole}
	dir := dataDir(t)
	s := start(t, settings, dir)
	s.signIn()
	c := from(t, "")
	send := func(host, method, target, body string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, s.m.EdgeURL()+target, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if r.Host = host; body != "" {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		ask(t, c, r)
	}
	hosts := []string{"masked.example", "plain.example", "kept.example"}
	for _, host := range hosts {
		send(host, "GET", injection, "")                                 // refused: 942100 and others in q
		send(host, "GET", "/search?q=lamp", "")                          // harmless
		send(host, "GET", "/search?q=lamp77", "")                        // harmless, with a number
		send(host, "POST", "/order", "note="+canary+"+77&token="+canary) // harmless, with a number in the body
		send(host, "GET", traversal, "")                                 // refused: the firewall, and edge-file-read-parameter where it finds nothing
	}
	eventually(t, "all requests are sealed", func() bool {
		r, err := sealed.NewReader(t.Context(), filepath.Join(dir, sealedFolder), filepath.Join(dir, sealedKeyFile), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		return r.Len() == 5
	})
	if err := s.m.storage.Store.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}

	// A threshold needs no values, but for the rules that read them where the firewall finds nothing: over masked values that is not seen.
	r := s.whatIf(firewall(console.FirewallChange{Threshold: 1000, Routes: []string{"kept"}}))
	if row := rowOf(r.ByRoute, "kept"); row.Counts["no_longer_blocked"] != 1 || row.Counts["rules_changed"] != 1 || len(r.ByRoute) != 1 || r.Firewall.Requests != 2 || r.Firewall.Kept != 2 || !r.Exact {
		t.Errorf("a threshold: %+v %+v", r, r.Firewall)
	}
	if row := rowOf(r.Firewall.ByRule, "942100"); row.Before != 1 || row.After != 1 || row.Counts["no_longer_blocked"] != 1 {
		t.Errorf("%+v", r.Firewall.ByRule)
	}
	r = s.whatIf(firewall(console.FirewallChange{Threshold: 1000, Routes: []string{"masked"}}))
	if r.Counts["no_longer_blocked"] != 2 || r.Exact || !strings.Contains(r.Inexact[0].Reason, "http_request.url.query_string was masked") || r.Inexact[0].Events != 2 {
		t.Errorf("over masked values: %+v", r)
	}

	// What excludes goes in front of the rules, what removes behind them.
	exclusion := "SecRule REQUEST_FILENAME \"@streq /search\" \"id:1000,phase:1,pass,nolog,ctl:ruleRemoveTargetByTag=attack-sqli;ARGS:q\"\nSecRuleRemoveByTag attack-lfi\n"
	r = s.whatIf(firewall(console.FirewallChange{Directives: exclusion}))
	for _, host := range []string{"masked", "plain", "kept"} {
		if row := rowOf(r.ByRoute, host); row.Counts["no_longer_blocked"] != 1 {
			t.Errorf("exclusions on %s: %+v\n%+v", host, row, r)
		}
	}
	if r.Firewall.Before != exclusion[:strings.Index(exclusion, "SecRuleRemove")] || r.Firewall.After != "SecRuleRemoveByTag attack-lfi\n" || r.Firewall.Requests != 6 {
		t.Errorf("%+v", r.Firewall)
	}
	if row := rowOf(r.Firewall.ByRule, "942100"); row.Before != 3 || row.After != 0 || row.Counts["no_longer_blocked"] != 3 {
		t.Errorf("%+v", r.Firewall.ByRule)
	}
	if len(r.Examples) == 0 || !strings.Contains(r.Examples[0].Sentence, "would score 0 of 5, without 9") {
		t.Errorf("%+v", r.Examples)
	}

	// A rule that looks at values finds them where they are known.
	numbers := `SecRule ARGS "@rx 77" "id:1001,phase:2,pass,log,msg:'a number',severity:CRITICAL,setvar:'tx.inbound_anomaly_score_pl1=+5'"`
	for route, want := range map[string]struct {
		blocked, uncertain int64
	}{"masked": {0, 5}, "plain": {1, 2}, "kept": {2, 0}} {
		if require.Race && route != "kept" {
			continue // compiling rules is what takes its time
		}
		r = s.whatIf(firewall(console.FirewallChange{Directives: numbers, Routes: []string{route}}))
		if r.Counts["newly_blocked"] != want.blocked || r.Firewall.Uncertain != want.uncertain || r.Exact != (want.uncertain == 0) || r.Firewall.Requests != 5 ||
			rowOf(r.Firewall.ByRule, "1001").After != want.blocked {
			t.Errorf("%s: %+v %+v, want %+v", route, r, r.Firewall, want)
		}
		if text, _ := json.Marshal(r); bytes.Contains(text, []byte(canary)) || bytes.Contains(text, []byte("UNION")) {
			t.Errorf("a value is in the report: %s", text)
		}
	}

	// Rules about masked fields are tried on kept requests too.
	lamps := strings.NewReplacer("select-in-path", "lamps", `http_request.url.path.contains("select")`, `http_request.url.query_string.contains("lamp77")`).Replace(huntedRules)
	r = s.whatIf(console.WhatIfQuery{Files: []console.RuleText{{Name: "lamps.yaml", Text: lamps}}})
	if len(r.ByRoute) != 2 || rowOf(r.ByRoute, "kept").Counts["newly_blocked"] != 1 || rowOf(r.ByRoute, "plain").Counts["newly_blocked"] != 1 || r.Kept != 5 ||
		len(r.Inexact) != 1 || r.Inexact[0].Events != 4+1 { // of the masked route, and of the other one the parameter that is not recorded
		t.Errorf("%+v", r)
	}

	// A level, with rules of ours at once.
	q := firewall(console.FirewallChange{Paranoia: 4, Routes: []string{"kept"}})
	q.Disable = []string{"edge-waf-attack"}
	if require.Race {
		q.Firewall.Paranoia, q.Firewall.Threshold = 0, 6 // which takes no compiling
	}
	if r = s.whatIf(q); rowOf(r.ByRoute, "kept").Counts["no_longer_blocked"] != 2 || len(r.Firewall.ByRule) < 4 || r.Firewall.Kept != 5 && !require.Race {
		t.Errorf("%+v %+v", r, r.Firewall)
	}
	for field, c := range map[string]console.FirewallChange{"secdebuglog": {Before: "SecDebugLog /tmp/x"}, "inspectfile": {After: `SecRule ARGS "@inspectFile /bin/true" "id:5,phase:2,pass"`}, "paranoia": {Paranoia: 7}, "nothing": {}} {
		if r = s.whatIf(firewall(c)); len(r.Errors) != 1 || !strings.Contains(strings.ToLower(r.Errors[0].Message), field) {
			t.Errorf("%s: %+v", field, r.Errors)
		}
	}

	// Who is no admin is not told what is in kept requests; of who is it stands in the ledger.
	operator := console.WithCaller(t.Context(), console.Caller{Identity: console.Identity{Name: "olga", Role: console.RoleOperator, Kind: console.KindPerson}})
	r, err := replays{s.m}.WhatIf(operator, firewall(console.FirewallChange{Directives: numbers, Routes: []string{"kept"}}), nil)
	if err != nil || r.Firewall.Kept != 0 || r.Counts["newly_blocked"] != 0 || !slices.ContainsFunc(r.Inexact, func(x console.ReplayReason) bool { return strings.Contains(x.Reason, "for admins alone") }) {
		t.Errorf("%v %+v %+v", err, r, r.Firewall)
	}
	entries, err := s.m.storage.Ledger.Entries(t.Context(), 0, 1000)
	if err != nil || !slices.ContainsFunc(entries, func(e ledger.Record) bool { return e.Verb == "whatif.sealed" && e.Detail["requests"] == "5" }) {
		t.Errorf("the ledger: %+v, %v", entries, err)
	}

	// It is said that requests are kept; what is in them stands nowhere else, and nowhere in clear.
	if checks := sealedCheck(&s.m.settings, dir); len(checks) != 1 || !strings.Contains(checks[0].Detail, "kept for 1h") || !strings.Contains(checks[0].Detail, filepath.Join(dir, "sealed")) {
		t.Errorf("%+v", checks)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if bytes.Contains(text, []byte(canary)) {
			t.Errorf("%s has a value of a request in clear", path)
		}
		if info, err := d.Info(); err == nil && strings.Contains(path, "sealed") && info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v", path, info.Mode())
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(s.logs.String(), canary) {
		t.Error("a value of a request is in the log")
	}

	// Who destroys the key of the day has records alone.
	keys, _ := filepath.Glob(filepath.Join(dir, "sealed", "*", "key"))
	if len(keys) == 0 {
		t.Fatal("no key")
	}
	for _, key := range keys {
		if err := os.Remove(key); err != nil {
			t.Fatal(err)
		}
	}
	settings.Edge.Routes[2].Record.Bodies.For = 0 // what is there goes when its time is over, all the same
	s = start(t, settings, dir)
	s.signIn()
	r = s.whatIf(firewall(console.FirewallChange{Directives: numbers, Routes: []string{"kept"}}))
	if r.Firewall.Kept != 0 || r.Exact || r.Counts["newly_blocked"] != 0 || !slices.ContainsFunc(r.Inexact, func(x console.ReplayReason) bool { return strings.Contains(x.Reason, "/key: it is gone") }) {
		t.Errorf("%+v %+v", r, r.Firewall)
	}
	if s.m.sealed == nil {
		t.Error("nobody removes what was kept before")
	}
}

// TestNothingKept: a machine that keeps no request makes no folder and no key for it.
func TestNothingKept(t *testing.T) {
	dir := dataDir(t)
	s := start(t, testSettings(upstream(t)), dir)
	s.get(from(t, ""), "/")
	if _, err := os.Stat(filepath.Join(dir, sealedFolder)); err == nil || s.m.sealed != nil || len(sealedCheck(&s.m.settings, dir)) != 0 {
		t.Error("there is a folder")
	}
	if r, why, err := s.m.guarding(t.Context()).kept(t.Context(), "x", nil); err != nil || why != "" || r.Len() != 0 {
		t.Error(why, err)
	}
	if _, err := received(nil, signal.NewID(time.Now())); err != nil {
		t.Error(err)
	}
}

// TestExclusionsOfKept: where requests are kept an exclusion goes by what the value looks like, and what it frees is counted over the requests themselves.
func TestExclusionsOfKept(t *testing.T) {
	settings := testSettings(upstream(t))
	settings.Respond.Block.AllowPrivate = nil
	settings.Edge.Routes[0].Record.Bodies.For = time.Hour
	dir := dataDir(t)
	s := start(t, settings, dir)
	c := from(t, "")
	for _, q := range []string{"union+select+a+lamp+from+the+shop", "union+select+the+best+from+all", "1%27+union+select+password+from+users--"} {
		if a := s.get(c, "/search?q="+q); a.status != http.StatusForbidden {
			t.Fatalf("%s: %d", q, a.status)
		}
	}
	eventually(t, "all requests are sealed", func() bool {
		r, err := sealed.NewReader(t.Context(), filepath.Join(dir, sealedFolder), filepath.Join(dir, sealedKeyFile), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		return r.Len() == 3
	})
	if err := s.m.storage.Store.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	var alarms []*signal.Event
	if _, err := replay.Alarms(t.Context(), s.m.storage.Store.History, time.Time{}, time.Time{}, func(e *signal.Event) { alarms = append(alarms, e.Recorded()) }); err != nil || len(alarms) != 3 {
		t.Fatal(err, len(alarms))
	}
	slices.SortFunc(alarms, func(a, b *signal.Event) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	attacks := func() (*coverage.Corpus, error) {
		all, err := coverage.Load()
		if err != nil {
			return nil, err
		}
		return all.Every(40 * require.Stride(10)), nil
	}
	admin := Guarding{WAF: &s.m.settings.WAF, Dir: dir, Record: s.m.storage.Record, Actor: "system", Admin: true}
	kept, _, err := admin.kept(t.Context(), "exception.sealed", "a test")
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	list, err := exclusions(t.Context(), s.m.storage.Store.History, s.m.settings.WAF, kept, attacks, alarms[0], &console.ExceptionQuery{Event: alarms[0].ID})
	if err != nil || len(list) < 2 {
		t.Fatal(err, list)
	}
	for i, want := range []struct {
		shaped bool
		freed  int64
	}{{true, 1}, {false, 1}} {
		if got := list[i]; strings.Contains(got.Text, "where the value is words") != want.shaped || got.Freed != want.freed || !got.Exact || got.AtMost {
			t.Errorf("%d: %+v", i, got)
		}
	}
}
