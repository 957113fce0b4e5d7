package ui_test

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/console/consoletest"
	"github.com/testudo-sec/testudo/console/ui"
	"github.com/testudo-sec/testudo/console/ui/browsertest"
	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/signal"
)

// serve runs a console with the pages over a world. Scripts must have been built.
func serve(t *testing.T, w *consoletest.World, scripts bool, change ...func(*console.Config)) *console.Server {
	t.Helper()
	p, err := ui.New()
	if err != nil {
		t.Fatal(err)
	}
	if scripts {
		require.Part(t, "console-scripts", p.Built(), "run `make console`")
	}
	return consoletest.Serve(t, w, p, change...)
}

// TestPictures takes pictures of every page, in light and dark, wide and narrow, and
// holds that none is wider than its window and none has an error.
// flawOf is the id of the vulnerability whose package the world has.
func flawOf(w *consoletest.World) string {
	for i := range w.Findings {
		if w.Findings[i].Rule == "CVE-2021-23337" {
			return w.Findings[i].ID
		}
	}
	return ""
}

func TestPictures(t *testing.T) {
	w := consoletest.New()
	busy(w)
	s := serve(t, w, true)
	b := browsertest.Start(t)
	p := b.Open(s.URL(), 1440, 900)
	p.SetCookie(s.CookieName(), w.Session(consoletest.AdminName))
	attack := w.Log[len(w.Log)-1]
	by := map[signal.Class]string{} // addresses of events of logs
	guarded := attack               // by the guard of APIs
	for _, e := range w.Log {
		if e.Plane == signal.PlaneLogs {
			by[e.Class] = "/traffic/" + e.ID.String()
		} else if console.DecisionOf(e) > 1 {
			attack = e
			if len(e.Strings(signal.FieldAPIViolations)) > 1 {
				guarded = e
			}
		}
	}
	manyRules(w, 4000)
	w.Report = changes(w)
	pages := []struct {
		name, path string
		whole      bool
	}{
		{"overview", "/", true}, {"traffic", "/traffic", false}, {"event", "/traffic/" + attack.ID.String(), true}, {"event-api", "/traffic/" + guarded.ID.String(), true}, {"explain", "/traffic/" + attack.ID.String() + "/explain", false},
		{"findings", "/findings", false}, {"finding", "/findings/" + w.Findings[2].ID, true},
		{"packages", "/packages", false}, {"apis", "/apis?sort=state", true}, {"api", "/apis/endpoint?route=shop&method=GET&template=%2Fapi%2Forders%2F%7Bid%7D", false}, {"flaw", "/findings/" + flawOf(w), true}, {"actions", "/actions", false}, {"history", "/actions?show=all", false}, {"action", "/actions/" + w.Actions[3].ID, false},
		{"block", "/actions/new?target=198.51.100.23&for=1h&reason=scanner", false},
		{"rules", "/rules", false}, {"rule", "/rules/edge.waf-attack", true}, {"rule-falco", "/rules/falco.terminal-shell-in-container", true},
		{"rule-waits", "/rules/0e95725d-7320-415d-80f7-004da920fc11", true}, {"logs", "/traffic?plane=logs", false}, {"process", by[signal.ClassProcessActivity], true}, {"call", by[signal.ClassAPIActivity], true}, {"check", "/rules/-/check", false},
		{"processes", "/processes?show=all", true}, {"process-page", "/processes/" + consoletest.Shell, true}, {"chain", "/chain/" + consoletest.Traced, true},
		{"incident", "/findings/shell", true}, {"host", "/system/host", true}, {"files", "/system/files", true}, {"freeze", "/actions/new?kind=freeze&target=4f1c8a2be07d", false},
		{"system", "/system", true}, {"ledger", "/system/ledger", false}, {"people", "/system/people", true},
		{"none", "/traffic?q=nothing-like-this", false}, {"build", "/about/build", false},
	}
	for _, size := range []struct {
		name          string
		width, height int
	}{{"wide", 1440, 900}, {"laptop", 1024, 720}, {"phone", 360, 740}} {
		for _, dark := range []bool{false, true} {
			// All of them for people who look; else each page once in each way it can break.
			if dark && size.name == "laptop" || os.Getenv("TESTUDO_SCREENSHOTS") == "" && dark != (size.name == "wide") {
				continue
			}
			p.Size(size.width, size.height)
			p.Dark(dark)
			for _, pg := range pages {
				p.Go(pg.path)
				if pg.name == "overview" {
					p.Wait("document.querySelectorAll('.chart canvas').length === 2")
				}
				if wide := p.Wide(); wide != "0" {
					t.Errorf("%s is %s pixels wider than a window of %d", pg.path, wide, size.width)
				}
				name := pg.name + "-" + size.name
				if dark {
					name += "-dark"
				}
				p.Shot(name)
				if pg.whole {
					p.ShotAll(name + "-whole")
				}
			}
			p.Go("/rules/-/check")
			p.Eval(`document.querySelector('button[value="whatif"]').click(), ""`) // on a phone the navigation may lie over it until one scrolls
			p.WaitText("#whatif", "Would have refused 12 more requests")
			if wide := p.Wide(); wide != "0" {
				t.Errorf("a what-if is %s pixels wider than a window of %d: %s", wide, size.width, p.Widest())
			}
			p.ShotAll(fmt.Sprintf("whatif-%s-%t", size.name, dark))
		}
	}
	p.Clean()
}

// busy adds an hour of a shop's traffic, the same each time.
func busy(w *consoletest.World) {
	rng := rand.New(rand.NewPCG(7, 11))
	paths := []string{"/", "/search", "/product/7", "/product/12", "/cart", "/login", "/static/app.css", "/api/stock", "/checkout"}
	attacks := []struct{ method, path, query, rule string }{
		{"GET", "/search", "q=***", "edge.waf-attack"}, {"GET", "/download/../../etc/passwd", "", "edge.path-traversal"},
		{"POST", "/ping", "host=***", "edge.command-in-args"}, {"POST", "/login", "name=***&password=***", "edge.waf-attack"},
	}
	for minute := range 60 {
		at := w.Start.Add(time.Duration(minute-60) * time.Minute)
		wave := 34 + 16*math.Sin(float64(minute)/9) + 5*rng.Float64()
		for i := range int(wave) {
			req := consoletest.Request(at.Add(time.Duration(i)*time.Second+time.Duration(rng.IntN(900))*time.Millisecond),
				fmt.Sprintf("192.0.2.%d", 10+rng.IntN(90)), "GET", paths[rng.IntN(len(paths))], "", signal.Allow, "")
			w.Log = append(w.Log, req, consoletest.Response(req, []int64{200, 200, 200, 200, 304, 404}[rng.IntN(6)]))
		}
		burst := rng.IntN(3)
		if minute > 40 && minute < 47 || minute > 56 {
			burst = 6 + rng.IntN(9)
		}
		for range burst {
			a := attacks[rng.IntN(len(attacks))]
			req := consoletest.Request(at.Add(time.Duration(rng.IntN(60000))*time.Millisecond), []string{"203.0.113.66", "198.51.100.23", "203.0.113.181"}[rng.IntN(3)],
				a.method, a.path, a.query, signal.Deny, a.rule)
			w.Log = append(w.Log, req, consoletest.Response(req, 403))
		}
	}
	kernelFinding(w)
	slices.SortStableFunc(w.Log, func(a, b *signal.Event) int { return cmp.Compare(a.Time, b.Time) })
}

// kernelFinding adds what the kernel plane told of a shell, and the finding of it.
func kernelFinding(w *consoletest.World) {
	events := consoletest.KernelEvents(w.Start.Add(-4 * time.Minute))
	w.Log = append(w.Log, events...)
	w.Findings = append(w.Findings, signal.Finding{ID: "shell", Kind: signal.FindingDetection, Rule: "host-shell-of-a-service", Title: "The shop started a shell", Severity: signal.SeverityCritical,
		State: signal.FindingOpen, Plane: signal.PlaneKernel, Asset: "container:shop", Count: 1, First: w.Start.Add(-4 * time.Minute), Last: w.Start.Add(-4 * time.Minute), Events: []signal.ID{events[0].ID},
		Fix: "Call programs by their path with a list of arguments, never through a shell."})
}

// TestHostileInBrowser: nothing that an attacker may send runs, breaks the policy or widens
// a page.
func TestHostileInBrowser(t *testing.T) {
	w := consoletest.New()
	hostile(w)
	long := strings.Repeat("ohne-Umbruch", 200)
	e := consoletest.Request(w.Now(), "2001:db8:1111:2222:3333:4444:5555:6666", "GET", "/"+long, long, signal.Deny, "edge.waf-attack")
	e.SetString(signal.FieldHTTPRequestUserAgent, long)
	e.SetString(signal.FieldEdgeRoute, long)
	e.SetString(signal.FieldVerdictReason, long)
	e.SetStrings(signal.FieldWAFTargets, []string{long, long})
	w.Log = append(w.Log, e)
	w.Findings = append(w.Findings, signal.Finding{ID: "long", Title: long, Desc: long, Fix: long, Asset: long, Rule: long, State: signal.FindingOpen,
		Severity: signal.SeverityFatal, Location: signal.Location{Path: long, Line: 1, Snippet: long}, Evidence: []signal.Evidence{{Name: long, Value: long}}})
	w.Ledger = append(w.Ledger, console.LedgerEntry{Index: 98, Time: w.Start, Actor: long, Verb: "exception.accept", Subject: long,
		Detail: map[string]string{"event": e.ID.String(), "proposal": "x", "text": long, "change.0": long, "where": long, "reason": long}})
	w.Budgets.Budgets = append(w.Budgets.Budgets, console.Budget{BudgetKey: console.BudgetKey{Kind: console.BudgetOfRule, Rule: long, Route: long}, Title: long, State: console.BudgetDemoted})
	s := serve(t, w, true)
	p := browsertest.Start(t).Open(s.URL(), 360, 740)
	p.SetCookie(s.CookieName(), w.Session(consoletest.AdminName))
	for _, width := range []int{360, 1440} {
		p.Size(width, 800)
		for _, at := range []string{"/", "/traffic", "/traffic/" + e.ID.String(), "/traffic/" + e.ID.String() + "/explain", "/traffic/" + w.Log[len(w.Log)-2].ID.String(), "/findings", "/findings/long",
			"/processes?show=all", "/processes/evil", "/chain/" + consoletest.Traced, "/system/host", "/system/files", "/apis",
			"/findings/" + signal.Fingerprint("hostile"), "/actions?show=all", "/rules", "/rules/" + url.PathEscape(evil), "/system", "/system/ledger",
			"/traffic/" + e.ID.String() + "/exceptions", "/rules/-/exceptions", "/rules/-/budgets", "/rules/-/firewall?route=" + long[:100]} {
			p.Go(at)
			if wide := p.Wide(); wide != "0" {
				t.Errorf("%s is %s pixels wider than a window of %d: %s", at, wide, width, p.Widest())
			}
		}
		p.Go("/traffic")
		p.Click("#o-" + e.ID.String())
		p.WaitText("#panel", "WAF rules that matched")
		if wide := p.Wide(); wide != "0" {
			t.Errorf("the panel is %s pixels wider than a window of %d", wide, width)
		}
		p.Shot(fmt.Sprintf("hostile-%d", width))
	}
	p.Clean()
}

// TestFirstSteps is what a new user does: sign in by the link, see an attack arrive, look at
// why, undo a block.
func TestFirstSteps(t *testing.T) {
	w := consoletest.New()
	busy(w)
	s := serve(t, w, true)
	b := browsertest.Start(t)
	p := b.Open(s.URL(), 1440, 900)
	p.Dark(false)

	p.Go(s.LinkURL(consoletest.LinkSecret))
	p.WaitText("h1", "Welcome, max")
	p.Shot("welcome")
	p.SignIn(s.LinkURL(consoletest.LinkSecret), "the tortoise keeps the gate")
	p.WaitText(".who", "max")

	// The overview shows an attack without a reload.
	first := w.Attack("203.0.113.99")
	p.WaitText("#ov-latest", "203.0.113.99")
	p.Wait(fmt.Sprintf("document.querySelector('#ov-latest a[href=%q]')", "/traffic/"+first.ID.String()))

	// The list does, with the reason, and the answer follows.
	p.Go("/traffic")
	p.WaitText("#live-text", "Live")
	attack := w.Attack("203.0.113.77")
	row := "#e-" + attack.ID.String()
	p.WaitText(row, "203.0.113.77")
	p.WaitText(row+" .verdict", "blocked")
	p.WaitText(row+" .c-why", "parameter q: SQL Injection Attack Detected via libinjection")
	w.Publish(consoletest.Response(attack, 403))
	p.WaitText(row+" .status", "403")
	p.Shot("live")

	// Its detail opens beside the list and says why.
	p.Click(row + " a.open")
	p.WaitText("#panel .why", "the threshold is 5")
	p.WaitText("#panel", "ARGS:q")
	p.WaitText("#panel", "parameter q: SQL Injection Attack")
	p.WaitText("#panel .act", "Block 203.0.113.77")
	p.Shot("panel")

	// Block it, with the radius said before, and undo that.
	p.WaitText("#panel .radius", "address")
	p.Click("#panel .act .button.danger")
	p.WaitText("#flash", "203.0.113.77 is blocked")
	p.Go("/actions")
	p.WaitText("#list", "203.0.113.77")
	p.Click(`button[aria-label="Undo the block of 203.0.113.77"]`)
	p.WaitText("#flash", "The block of 203.0.113.77 is lifted")
	p.WaitGone("#list", "203.0.113.77")
	p.Shot("undone")

	p.Click(`button[aria-label="Sign out"]`)
	p.WaitText("h1", "Sign in")
	p.Shot("signin")
	p.Clean()
}

// TestKeyboard does without a mouse.
func TestKeyboard(t *testing.T) {
	w := consoletest.New()
	s := serve(t, w, true)
	p := browsertest.Start(t).Open(s.URL(), 1440, 900)
	p.SetCookie(s.CookieName(), w.Session(consoletest.OperatorName))
	p.Go("/")
	p.Keys("g", "t")
	p.Wait("location.pathname === '/traffic' && document.documentElement.classList.contains('js')")
	p.Keys("/")
	p.Wait("document.activeElement.name === 'q'")
	p.Keys(browsertest.Escape, "j", "j")
	p.Wait("document.activeElement === document.querySelectorAll('a.open')[1]")
	p.Keys("k", browsertest.Enter)
	p.Wait("document.querySelector('#panel h2') && document.querySelectorAll('tr')[1].classList.contains('is-open')")
	p.Keys(browsertest.Escape)
	p.Wait("!document.querySelector('#panel').firstChild && document.activeElement === document.querySelectorAll('a.open')[0]")
	p.Keys("?")
	p.Wait("document.querySelector('#keys').open")
	p.Dark(true)
	p.Shot("keys")
	p.Keys(browsertest.Escape)
	p.Wait("!document.querySelector('#keys').open")
	for key, path := range map[string]string{"p": "/processes", "f": "/findings", "a": "/actions", "r": "/rules", "s": "/system", "o": "/"} {
		p.Keys("g", key)
		p.Wait(fmt.Sprintf("location.pathname === %q && document.documentElement.classList.contains('js')", path))
	}
	p.Clean()
}

// TestThemeStays: the toggle wins over the system, and is there on the next page before it is painted.
func TestThemeStays(t *testing.T) {
	w := consoletest.New()
	s := serve(t, w, true)
	p := browsertest.Start(t).Open(s.URL(), 1024, 700)
	p.SetCookie(s.CookieName(), w.Session(consoletest.ViewerName))
	p.Dark(false)
	p.Go("/")
	p.Wait("getComputedStyle(document.body).colorScheme !== 'dark'")
	light := p.Eval("getComputedStyle(document.documentElement).backgroundColor")
	p.Click("[data-do=theme]")
	p.Wait("document.documentElement.dataset.theme === 'dark'")
	p.Go("/findings")
	if got := p.Eval("document.documentElement.dataset.theme"); got != "dark" {
		t.Errorf("the theme of the next page is %q, want dark", got)
	}
	if dark := p.Eval("getComputedStyle(document.documentElement).backgroundColor"); dark == light {
		t.Errorf("the dark page is as light as the light one: %s", dark)
	}
	p.Clean()
}

// TestPauseHolds: a paused list stays as it is and says what waits.
func TestPauseHolds(t *testing.T) {
	w := consoletest.New()
	s := serve(t, w, true)
	p := browsertest.Start(t).Open(s.URL(), 1440, 900)
	p.SetCookie(s.CookieName(), w.Session(consoletest.ViewerName))
	p.Go("/traffic")
	p.WaitText("#live-text", "Live")
	p.Keys("p")
	p.WaitText("#live-text", "Paused")
	e := w.Attack("203.0.113.5")
	p.WaitText("#live-text", "1 new")
	if got := p.Eval("String(document.getElementById('e-" + e.ID.String() + "'))"); got != "null" {
		t.Error("a paused list took a line in")
	}
	p.Click("[data-do=pause]")
	p.WaitText("#e-"+e.ID.String(), "203.0.113.5")
	// Many at once: the newest are shown, the others counted, never silently left out.
	for range 400 {
		w.Attack("203.0.113.6")
	}
	p.WaitText("#live-text", "too many to show")
	// However many come, the list stays bounded.
	for range 5 {
		for range 45 {
			e = w.Attack("203.0.113.7")
		}
		p.WaitText("#e-"+e.ID.String(), "203.0.113.7")
	}
	p.Wait("document.querySelectorAll('#rows tr').length === 200")
	p.Clean()
}

// TestNothingBetween: what came between the page and its stream, or while the stream was
// away, is in the list all the same.
func TestNothingBetween(t *testing.T) {
	w := consoletest.New()
	s := serve(t, w, true, func(c *console.Config) { c.MaxStreamsPerIdentity = 1 })
	// Somebody else's page has the only stream that this person may have.
	other := signedIn(t, w, s, consoletest.ViewerName)
	r, err := http.NewRequest(http.MethodGet, s.URL()+"/live/lists", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.AddCookie(other.cookie)
	res, err := other.client.Do(r)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("a stream: %v, %v", res, err)
	}
	defer res.Body.Close()

	p := browsertest.Start(t).Open(s.URL(), 1440, 900)
	p.Expect("429")
	p.Expect("sseError")
	p.Expect("[object Event]")
	p.SetCookie(s.CookieName(), w.Session(consoletest.ViewerName))
	p.Go("/traffic")
	p.WaitText("#live-text", "Connecting")
	e := w.Attack("203.0.113.44")
	time.Sleep(300 * time.Millisecond) // some turns of the page's clock: it cannot know yet
	if p.Eval("document.getElementById('e-"+e.ID.String()+"')") != "null" {
		t.Fatal("the line came without a stream: this test shows nothing")
	}
	res.Body.Close()
	p.WaitText("#e-"+e.ID.String(), "203.0.113.44")
	p.WaitText("#live-text", "Live")
	if n := p.Eval("document.querySelectorAll('#e-" + e.ID.String() + "').length"); n != "1" {
		t.Errorf("the line is there %s times", n)
	}
	p.Clean()
}
