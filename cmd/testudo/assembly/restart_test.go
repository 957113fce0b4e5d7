package assembly

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
)

// TestRestart: what was decided, found and agreed upon is there after a stop and a start.
func TestRestart(t *testing.T) {
	dir, app := dataDir(t), upstream(t)
	s := start(t, testSettings(app), dir)
	s.signIn()
	hostile := from(t, attacker)
	for range 3 {
		s.get(hostile, injection)
	}
	eventually(t, "the block is in force", func() bool { return len(s.actions("state=active")) == 1 })
	eventually(t, "the finding is stored", func() bool {
		f := s.findings("rule=edge-waf-attack")
		return len(f) == 1 && f[0].Count == 3
	})
	var order signal.Action
	s.call(http.MethodPost, "/api/v1/actions", map[string]any{"kind": "block", "target": "203.0.113.0/24", "for": "1h", "reason": "a test"}, &order)
	if order.Actor != "person:admin" {
		t.Errorf("the order is by %q", order.Actor)
	}
	var token struct {
		Secret string `json:"secret"`
	}
	s.call(http.MethodPost, "/api/v1/tokens", map[string]any{"name": "ci", "role": "viewer", "ttl": "1h"}, &token)
	before := s.events("plane=edge")
	var rulesBefore struct{ Items []console.Rule }
	s.call(http.MethodGet, "/api/v1/rules", nil, &rulesBefore)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}

	again := start(t, testSettings(app), dir)
	again.api.Jar, again.csrf = s.api.Jar, s.csrf
	// The cookie's name holds the port, which is another one now: sessions are tried by what the cookie holds.
	old, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, s.m.ConsoleURL(), nil)
	for _, c := range s.api.Jar.Cookies(old.URL) {
		now, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, again.m.ConsoleURL(), nil)
		again.api.Jar.SetCookies(now.URL, []*http.Cookie{{Name: again.m.console.CookieName(), Value: c.Value, Path: "/", Secure: true}})
	}
	var me struct{ Name string }
	again.call(http.MethodGet, "/api/v1/me", nil, &me)
	if me.Name != "admin" {
		t.Errorf("the session did not survive: %+v", me)
	}
	// The block holds from the first request on.
	if a := again.get(hostile, "/"); a.status != http.StatusForbidden {
		t.Errorf("after the restart a blocked client got %d", a.status)
	}
	active := again.actions("state=active")
	if len(active) != 2 {
		t.Errorf("in force after the restart: %+v", active)
	}
	if f := again.findings("rule=edge-waf-attack"); len(f) != 1 || f[0].Count != 3 {
		t.Errorf("findings after the restart: %+v", f)
	}
	after := again.events("plane=edge")
	for _, e := range before {
		if !slices.ContainsFunc(after, func(o *signal.Event) bool { return o.ID == e.ID }) {
			t.Errorf("event %s is gone", e.ID)
		}
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, again.m.ConsoleURL()+"/api/v1/me", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token.Secret)
	if a := ask(t, again.api, r); a.status != http.StatusOK {
		t.Errorf("the token: %d %s", a.status, a.body)
	}
	var rules struct{ Items []console.Rule }
	again.call(http.MethodGet, "/api/v1/rules", nil, &rules)
	for _, rule := range rules.Items {
		if rule.ID == "edge-waf-attack" && (rule.Hits != 3 || rule.LastHit.IsZero()) {
			t.Errorf("the rule's hits after the restart: %d, last %v, want 3", rule.Hits, rule.LastHit)
		}
	}
	var over console.Overview
	again.call(http.MethodGet, "/api/v1/overview", nil, &over)
	if got := sum(over.Requests.Values); got < 3 {
		t.Errorf("the overview has forgotten the requests: %d", got)
	}
	// One and the same judge, whose name all records carry.
	if a, b := before[0].Str(signal.FieldMetadataReporterUID), after[0].Str(signal.FieldMetadataReporterUID); a == "" || a != b {
		t.Errorf("the judge is %q and then %q", a, b)
	}
	if a := again.call(http.MethodPost, "/api/v1/actions/"+order.ID+"/undo", map[string]string{}, nil); a.status != http.StatusOK {
		t.Errorf("undo after the restart: %d %s", a.status, a.body)
	}
}

// TestStopUnderLoad: what a client was answered is recorded, however the node stops.
func TestStopUnderLoad(t *testing.T) {
	dir, app := dataDir(t), upstream(t)
	s := start(t, testSettings(app), dir)
	const clients = 8
	acknowledged := make(chan []string, clients)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for n := range clients {
		c := from(t, "")
		go func() {
			var ids []string
			for i := 0; ctx.Err() == nil; i++ {
				r, _ := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/load/%d/%d", s.m.EdgeURL(), n, i), nil)
				resp, err := c.Do(r)
				if err != nil {
					break // the edge has stopped
				}
				resp.Body.Close()
				if resp.StatusCode == http.StatusOK {
					ids = append(ids, r.URL.Path)
				}
			}
			acknowledged <- ids
		}()
	}
	eventually(t, "the load runs", func() bool { return s.m.node.Stats().Judged > 500 })
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	cancel()
	want := map[string]bool{}
	for range clients {
		for _, id := range <-acknowledged {
			want[id] = true
		}
	}
	if len(want) < 100 {
		t.Fatalf("only %d requests were answered", len(want))
	}
	cfg := testSettings("")
	st, err := OpenStorage(t.Context(), dir, &cfg, s.m.log, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	seen := map[string]int{}
	if _, err := st.History().Scan(t.Context(), store.Query{Where: func(e *signal.Event) bool { return e.Parent.IsZero() && e.Plane == signal.PlaneEdge }},
		func(e *signal.Event) bool { seen[e.Str(signal.FieldHTTPRequestURLPath)]++; return true }); err != nil {
		t.Fatal(err)
	}
	for id := range want {
		if seen[id] != 1 {
			t.Fatalf("request %s was answered and is recorded %d times (%d answered, %d recorded)", id, seen[id], len(want), len(seen))
		}
	}
}

// TestSecretsAreKeptNowhere: what people send in confidence, and what a scan finds, stands
// nowhere but where it was.
func TestSecretsAreKeptNowhere(t *testing.T) {
	const canary = "kanarienvogel"
	secret := func(n int) string { return fmt.Sprintf("%s%dq7Zx", canary, n) }
	repo := t.TempDir()
	// Put together here, so that this file holds none.
	planted := "AKIA" + "Q3EGWDNZLM5XKTBV"
	plantedKey := "ghp_" + "k3J9dQw7ZxV1bN5mL8pR2tY6uH4sF0aCeG1i"
	if err := os.WriteFile(filepath.Join(repo, "config.py"), []byte("aws_access_key_id = \""+planted+"\"\ntoken = \""+plantedKey+"\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := dataDir(t)
	s := start(t, testSettings(upstream(t)), dir, repo)
	s.signIn()
	c := from(t, "")
	for i, attack := range []string{"", "'+UNION+SELECT+1,2,3+--+", "../../../../etc/passwd"} {
		body := "card=" + secret(1) + "&q=" + attack
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.m.EdgeURL()+"/pay?pin="+secret(2)+"&q="+attack, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Cookie", "sid="+secret(3)+"; q="+attack)
		r.Header.Set("Authorization", "Bearer "+secret(4))
		r.Header.Set("X-Api-Key", secret(5))
		r.Header.Set("Referer", "https://example.com/reset?token="+secret(6))
		r.SetBasicAuth("ann", secret(4))
		if a := ask(t, c, r); (a.status == http.StatusOK) != (i == 0) {
			t.Fatalf("request %d: %d", i, a.status)
		}
		// The same as JSON and as an upload.
		r, _ = http.NewRequestWithContext(t.Context(), http.MethodPost, s.m.EdgeURL()+"/json", strings.NewReader(`{"password":"`+secret(7)+attack+`"}`))
		r.Header.Set("Content-Type", "application/json")
		ask(t, c, r)
		r, _ = http.NewRequestWithContext(t.Context(), http.MethodPost, s.m.EdgeURL()+"/upload", strings.NewReader("--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\""+secret(8)+".php\"\r\n\r\n"+secret(9)+attack+"\r\n--b--\r\n"))
		r.Header.Set("Content-Type", "multipart/form-data; boundary=b")
		ask(t, c, r)
	}
	eventually(t, "the scan ends", func() bool { return len(s.m.ScanResults()) == 1 })
	if r := s.m.ScanResults()[0]; r.Err != nil || r.Findings < 1 {
		t.Fatalf("the scan found %d secrets, error %v", r.Findings, r.Err)
	}
	eventually(t, "the requests are recorded", func() bool { return len(s.events("plane=edge")) >= 9 })
	if len(s.findings("plane=scan")) == 0 {
		t.Error("the planted secret is not among the findings")
	}

	needles := []string{canary, planted, plantedKey, password}
	check := func(where, text string) {
		t.Helper()
		for _, n := range needles {
			if i := strings.Index(text, n); i >= 0 {
				t.Errorf("%s holds %q: …%q…", where, n, text[max(0, i-120):min(len(text), i+len(n)+60)])
			}
		}
	}
	for _, path := range []string{"/api/v1/events?limit=500", "/api/v1/findings?limit=500", "/api/v1/actions", "/api/v1/overview", "/api/v1/system",
		"/api/v1/ledger/entries", "/metrics", "/api/v1/rules", "/", "/traffic", "/findings", "/actions", "/rules", "/system"} {
		a := s.call(http.MethodGet, path, nil, nil)
		if a.status != http.StatusOK {
			t.Errorf("%s: %d", path, a.status)
		}
		check(path, a.body)
	}
	for _, e := range s.events("plane=edge") {
		check("event page", s.call(http.MethodGet, "/traffic/"+e.ID.String(), nil, nil).body)
	}
	eventually(t, "the events are in the lake", func() bool { return s.m.storage.Lake.Stats().Files > 0 })
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	check("the log", s.logs.String())
	// Every byte on disk, and every event as it is read back.
	files := 0
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		files++
		for _, n := range needles {
			if bytes.Contains(b, []byte(n)) {
				t.Errorf("%s holds %q", path, n)
			}
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	cfg := testSettings("")
	st, err := OpenStorage(t.Context(), dir, &cfg, s.m.log, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	events := 0
	stats, err := st.History().Scan(t.Context(), store.Query{}, func(e *signal.Event) bool {
		events++
		line, err := json.Marshal(e)
		if err != nil {
			t.Error(err)
		}
		check("event "+e.ID.String(), string(line))
		return true
	})
	if err != nil || events < 12 || files < 5 {
		t.Errorf("looked through %d events and %d files: %v %+v", events, files, err, stats)
	}
}

// TestModes: nothing in the data directory is for others.
func TestModes(t *testing.T) {
	dir := dataDir(t)
	s := start(t, testSettings(upstream(t)), dir)
	s.signIn()
	s.get(from(t, ""), "/")
	eventually(t, "the events are in the lake", func() bool { return s.m.storage.Lake.Stats().Files > 0 })
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 && d.Name() != "key.pub" { // a public key is for others
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// TestStartTime says how long a start takes; the bar is measured in bench.
func TestStartTime(t *testing.T) {
	begin := time.Now()
	s := start(t, testSettings(upstream(t)), dataDir(t))
	eventually(t, "ready", func() bool { return s.readyz() == "ok" })
	t.Logf("ready after %v", time.Since(begin).Round(time.Millisecond))
}
