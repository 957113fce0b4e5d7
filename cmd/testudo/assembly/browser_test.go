package assembly

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/console/ui"
	"github.com/testudo-sec/testudo/console/ui/browsertest"
	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/signal"
)

// TestBrowser is a person's first minutes, with the real edge, the real shop and a real
// browser: sign in by the link, see an attack arrive, read why it was refused, see the
// block, lift it, and find the address free.
func TestBrowser(t *testing.T) {
	pages, err := ui.New()
	if err != nil {
		t.Fatal(err)
	}
	require.Part(t, "console-scripts", pages.Built(), "run `make console`")
	browser := browsertest.Start(t)
	repo := t.TempDir()
	// Put together here, so that this file holds no secret.
	if err := os.WriteFile(filepath.Join(repo, "deploy.env"), []byte("AWS_ACCESS_KEY_ID="+"AKIA"+"Q3EGWDNZLM5XKTBV"+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, testSettings(shop(t)), dataDir(t), repo)
	pictures := os.Getenv("TESTUDO_SCREENSHOTS") != ""
	if pictures {
		anHour(t, s)
	}
	link, _, err := s.m.Link(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := browser.Open(s.m.ConsoleURL(), 1440, 900)
	p.SignIn(link, password)

	// The link was used up.
	other := browser.Open(s.m.ConsoleURL(), 1024, 700)
	other.Expect("401")
	other.Expect("403")
	other.Expect("410")
	other.Go(link)
	other.WaitText("h1", "This link does not work")

	honest, hostile := from(t, ""), from(t, attacker)
	p.Go("/traffic")
	p.WaitText("#live-text", "Live")
	s.get(honest, "/search?q=lantern")
	p.WaitText("#rows tr", "/search")
	for _, target := range []string{traversal, injection, traversal} {
		if a := s.get(hostile, target); a.status != http.StatusForbidden {
			t.Fatalf("an attack got %d", a.status)
		}
	}
	// It arrives by itself, with its reason.
	p.WaitText("#rows tr.v-deny", "/download")
	p.WaitText("#rows tr.v-deny .c-why", "Traversal")
	p.WaitText("#rows tr.v-deny .client", attacker)
	p.Shot("system-traffic")
	p.Click("#rows tr.v-deny a.open")
	p.WaitText("#panel", "edge-waf-attack")
	p.WaitText("#panel", attacker)
	p.Shot("system-traffic-detail")

	p.Go("/actions")
	p.WaitText("#list tr", attacker)
	p.WaitText("#list tr", "rule:edge-waf-attack")
	p.Shot("system-actions")
	if a := s.get(hostile, "/search?q=lantern"); a.status != http.StatusForbidden {
		t.Errorf("a blocked address got %d", a.status)
	}
	p.Click(fmt.Sprintf("button[aria-label*='%s']", attacker))
	p.WaitGone("#list tr.st-active", attacker)
	if a := s.get(hostile, "/search?q=lantern"); a.status != http.StatusOK {
		t.Errorf("after the undo the address got %d", a.status)
	}

	p.Go("/findings")
	p.WaitText("main", "web application firewall")
	p.WaitText("main", "AWS access key")
	if strings.Contains(p.Text("body"), "Q3EGWDNZLM5XKTBV") {
		t.Error("the findings show the secret")
	}
	p.Shot("system-findings")
	p.Click("a.open")
	p.WaitText("#panel", "How to fix it")
	if text := p.Text("#panel .fix"); strings.Contains(text, `\n`) || !strings.Contains(text, "honest, look at") {
		t.Errorf("the fix is not told as prose: %q", text)
	}
	p.Shot("system-finding")
	p.Go("/system")
	p.WaitText("main", "state")
	p.Shot("system-system")
	p.Go("/rules")
	p.WaitText("main", "edge-waf-attack")
	p.Shot("system-rules")
	p.Go("/")
	p.Wait("document.querySelectorAll('.chart canvas').length === 2")
	for _, dark := range []bool{false, true} {
		p.Dark(dark)
		p.Go("/")
		p.Wait("document.querySelectorAll('.chart canvas').length === 2")
		name := "overview"
		if dark {
			name += "-dark"
		}
		p.Shot(name)
		p.ShotAll(name + "-whole")
	}
	p.Clean()
}

// anHour hands the node what a shop sees in an hour, so that pictures show what people see
// who run it.
func anHour(t *testing.T, s *system) {
	t.Helper()
	rng := rand.New(rand.NewPCG(5, 8))
	now := time.Now()
	paths := []string{"/", "/search", "/product/7", "/product/12", "/cart", "/login", "/static/shop.css", "/comments"}
	attacks := []struct{ path, query, message, target, rule string }{
		{"/search", "q=*", "SQL Injection Attack Detected via libinjection", "ARGS:q", "942100"},
		{"/download", "file=*", "Path Traversal Attack (/../) or (/.../)", "ARGS:file", "930100"},
		{"/ping", "host=*", "Remote Command Execution: Unix Command Injection", "ARGS:host", "932230"},
		{"/comments", "text=*", "XSS Attack Detected via libinjection", "ARGS:text", "941100"},
	}
	hand := func(at time.Time, from, path, query string, change func(*signal.Event)) {
		e := &signal.Event{Class: signal.ClassHTTPActivity, Activity: signal.HTTPActivity("GET"), Plane: signal.PlaneEdge, Time: at.UnixNano()}
		e.SetString(signal.FieldHTTPRequestHTTPMethod, "GET")
		e.SetString(signal.FieldHTTPRequestURLPath, path)
		e.SetString(signal.FieldHTTPRequestURLQueryString, query)
		e.SetString(signal.FieldHTTPRequestURLHostname, "shop.example.com")
		e.SetString(signal.FieldEdgeRoute, "shop")
		e.SetString(signal.FieldEdgeMode, "block")
		e.SetIP(signal.FieldSrcEndpointIP, netip.MustParseAddr(from))
		change(e)
		if _, err := s.m.Node().Event(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	type visit struct {
		at                time.Time
		from, path, query string
		change            func(*signal.Event)
	}
	var visits []visit
	plain := func(*signal.Event) {}
	probes := []string{"/.git/config", "/.env", "/wp-login.php", "/backup.sql", "/xmlrpc.php"}
	for minute := range 60 {
		at := now.Add(time.Duration(minute-60) * time.Minute)
		when := func() time.Time { return at.Add(time.Duration(rng.IntN(60_000)) * time.Millisecond) }
		for range int(220 + 110*math.Sin(float64(minute)/8) + 40*rng.Float64()) {
			visits = append(visits, visit{when(), fmt.Sprintf("192.0.2.%d", 10+rng.IntN(90)), paths[rng.IntN(len(paths))], "", plain})
		}
		burst := rng.IntN(4)
		if minute > 38 && minute < 45 || minute > 54 {
			burst = 24 + rng.IntN(40)
		}
		for range burst {
			a := attacks[rng.IntN(len(attacks))]
			from := []string{"203.0.113.66", "198.51.100.23", "203.0.113.181", "198.51.100.90"}[rng.IntN(4)]
			visits = append(visits, visit{when(), from, a.path, a.query, func(e *signal.Event) {
				e.SetInt(signal.FieldWAFScore, int64(5*(1+rng.IntN(5))))
				e.SetInt(signal.FieldWAFThreshold, 5)
				e.SetStrings(signal.FieldWAFRules, []string{a.rule})
				e.SetStrings(signal.FieldWAFMessages, []string{a.message})
				e.SetStrings(signal.FieldWAFTargets, []string{a.target})
			}})
		}
		for range rng.IntN(5) {
			visits = append(visits, visit{when(), fmt.Sprintf("198.51.100.%d", 100+rng.IntN(6)), probes[rng.IntN(len(probes))], "", plain})
		}
	}
	slices.SortFunc(visits, func(a, b visit) int { return a.at.Compare(b.at) })
	for _, v := range visits {
		hand(v.at, v.from, v.path, v.query, v.change)
	}
}
