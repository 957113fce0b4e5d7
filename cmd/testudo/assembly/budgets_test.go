package assembly

import (
	"errors"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/signal"
)

func budgetSettings(t *testing.T) Settings {
	s := testSettings(shop(t))
	s.Respond.Block.AllowPrivate = nil
	b := &s.Policy.Budget
	b.KnownGood = []netip.Prefix{netip.MustParsePrefix("127.0.7.0/24")}
	b.Share, b.Least, b.Clients = 0.05, 40, 3
	return s
}

// suspicious is a request that the firewall refuses.
const suspicious = "/search?q=%3Cscript%3Ealert(1)%3C/script%3E"

// until asks until the answer is that, for what is put in force in the background.
func (s *system) until(c *http.Client, target string, status int) {
	s.t.Helper()
	got := 0
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if got = s.get(c, target).status; got == status {
			return
		}
	}
	s.t.Fatalf("%s: %d, want %d", target, got, status)
}

func (s *system) ledgerOf(verb string) []console.LedgerEntry {
	s.t.Helper()
	var page console.Page[console.LedgerEntry]
	s.call(http.MethodGet, "/api/v1/ledger/entries?verb="+verb, nil, &page)
	return page.Items
}

// TestBudgets: what the firewall's rules refuse too often of traffic that is known to be good they only tell of afterwards, and others' as well; a restart keeps that,
// a person ends it, and all of it stands in the ledger.
func TestBudgets(t *testing.T) {
	dir, settings := dataDir(t), budgetSettings(t)
	s := start(t, settings, dir)
	s.signIn()
	good := []*http.Client{from(t, "127.0.7.1"), from(t, "127.0.7.2"), from(t, "127.0.7.3")}
	stranger := from(t, "127.0.0.66")
	for range 20 { // nobody who is not known to be good uses the budget up
		if a := s.get(stranger, suspicious); a.status != http.StatusForbidden {
			t.Fatalf("an attack: %d", a.status)
		}
	}
	for i := range 60 {
		if a := s.get(good[i%3], "/search?q=lantern"); a.status != http.StatusOK {
			t.Fatalf("an honest request: %d", a.status)
		}
	}
	for range 10 { // nor does one who is, alone
		s.get(good[0], suspicious)
	}
	if got := s.m.budgets.book.Demoted(); len(got) != 0 {
		t.Fatalf("demoted: %+v", got)
	}
	for i := range 9 { // nor do browsers that a stranger's page or letter sent
		r, err := http.NewRequestWithContext(t.Context(), "GET", s.m.EdgeURL()+suspicious, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Sec-Fetch-Site", []string{"cross-site", "none", "same-site"}[i/3])
		resp, err := good[i%3].Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	if got := s.m.budgets.book.Demoted(); len(got) != 0 {
		t.Fatalf("demoted by links: %+v", got)
	}
	s.get(good[1], suspicious)
	s.get(good[2], suspicious)
	s.until(stranger, suspicious, http.StatusOK)

	var report console.BudgetReport
	s.call(http.MethodGet, "/api/v1/budgets", nil, &report)
	at := slices.IndexFunc(report.Budgets, func(b console.Budget) bool {
		return b.State == console.BudgetDemoted && b.Kind == console.BudgetOfFirewall
	})
	if at < 0 || report.Problem != "" || report.Budgets[at].Route != "shop" || report.Budgets[at].Clients != 3 {
		t.Fatalf("budgets: %+v", report)
	}
	var seen []string
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end) && len(seen) == 0; time.Sleep(50 * time.Millisecond) {
		for _, e := range s.events("decision=allow") {
			if e.Str(signal.FieldHTTPRequestURLPath) == "/search" {
				seen = append(seen, e.Strings(signal.FieldWAFRules)...)
			}
		}
	}
	if !slices.Contains(seen, report.Budgets[at].Rule) {
		t.Errorf("rule %s is not told of any more: %v", report.Budgets[at].Rule, seen)
	}
	if a := s.get(stranger, "/download?file=../../../../etc/passwd"); a.status != http.StatusForbidden {
		t.Errorf("an attack that other rules find: %d", a.status)
	}
	entries := s.ledgerOf("budget.demote")
	if len(entries) == 0 || entries[0].Actor != "system" || entries[0].Detail["route"] != "shop" || entries[0].Detail["clients"] != "3" {
		t.Errorf("ledger: %+v", entries)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}

	again := start(t, settings, dir)
	again.signIn()
	again.until(stranger, suspicious, http.StatusOK)
	for _, b := range report.Budgets {
		if b.State != console.BudgetDemoted {
			continue
		}
		var restored console.Budget
		again.call(http.MethodPost, "/api/v1/budgets/restore", map[string]string{"kind": b.Kind, "rule": b.Rule, "route": b.Route, "reason": "mended the page"}, &restored)
		if restored.State == console.BudgetDemoted {
			t.Errorf("%+v", restored)
		}
	}
	again.until(stranger, suspicious, http.StatusForbidden)
	entries = again.ledgerOf("budget.restore")
	if len(entries) == 0 || entries[0].Detail["reason"] != "mended the page" || !strings.HasPrefix(entries[0].Actor, "person:") {
		t.Errorf("ledger: %+v", entries)
	}
	if _, err := (budgetDesk{again.m.budgets}).Restore(t.Context(), report.Budgets[at].BudgetKey, "", console.Identity{}); !errors.Is(err, console.ErrNotFound) && !errors.Is(err, console.ErrConflict) {
		t.Errorf("restored twice: %v", err)
	}
}

// TestBudgetOfARule: a rule of policy is demoted at one route, asks for no action any more, and decides again when it is another rule.
func TestBudgetOfARule(t *testing.T) {
	dir, settings := dataDir(t), budgetSettings(t)
	rules := filepath.Join(t.TempDir(), "own.yaml")
	rule := func(path string) {
		text := "id: own-rule\ntitle: A page that nobody asks for\nseverity: low\non: http_activity\nwhen: request() && http_request.url.path.startsWith(\"" + path + "\")\nthen: deny\n"
		if err := os.WriteFile(rules, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rule("/api/products")
	settings.Policy.Rules = []string{rules}
	s := start(t, settings, dir)
	s.signIn()
	for i := range 60 {
		s.get(from(t, "127.0.7."+string(rune('1'+i%3))), "/search?q=lantern")
	}
	stranger := from(t, "127.0.0.66")
	s.until(stranger, "/api/products", http.StatusForbidden)
	for i := range 6 {
		s.get(from(t, "127.0.7."+string(rune('1'+i%3))), "/api/products")
	}
	s.until(stranger, "/api/products", http.StatusOK)
	if r := s.m.engine.Set().Rule("own-rule"); !slices.Equal(r.Monitor, []string{"shop"}) {
		t.Errorf("monitored at %q", r.Monitor)
	}
	rule("/api/prod")
	s.until(stranger, "/api/products", http.StatusForbidden)
	if len(s.ledgerOf("budget.lift")) != 1 {
		t.Error("the ledger does not tell that it decides again")
	}
}

// TestDamagedBudgets: a file that cannot be read is told of before anything starts.
func TestDamagedBudgets(t *testing.T) {
	dir := dataDir(t)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, budgetsFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := New(t.Context(), testSettings(""), Options{Dir: dir, Logger: discard(), Offline: true})
	if err == nil || !strings.Contains(err.Error(), budgetsFile) || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("%v", err)
	}
}

// TestBudgetsOfStrangers: who comes through a proxy that is not trusted, and who says that he is known to be good, use nothing up.
func TestBudgetsOfStrangers(t *testing.T) {
	s := start(t, budgetSettings(t), dataDir(t))
	good := []string{"127.0.7.1", "127.0.7.2", "127.0.7.3"}
	for i := range 60 {
		s.get(from(t, good[i%3]), "/search?q=lantern")
	}
	ask := func(peer, says string) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.m.EdgeURL()+suspicious, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Forwarded-For", says)
		ask(t, from(t, peer), r)
	}
	for i := range 9 {
		ask(good[i%3], "203.0.113.9") // a proxy among the known addresses that trusted_proxies does not name
		ask("127.0.0.66", good[i%3])
	}
	if e := s.m.budgets.book.Entries(time.Now()); len(e) != 0 {
		t.Errorf("counted: %+v", e)
	}
}
