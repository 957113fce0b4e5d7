package ui_test

import (
	"bytes"
	"net/http"
	"testing"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/console/consoletest"
	"github.com/testudo-sec/testudo/console/ui/browsertest"
)

// TestBudgetPages: what was demoted is said on the overview and on the rules' page, and an operator takes it back.
func TestBudgetPages(t *testing.T) {
	w := consoletest.New()
	s := serve(t, w, false)
	operator, viewer := signedIn(t, w, s, consoletest.OperatorName), signedIn(t, w, s, consoletest.ViewerName)
	for path, wants := range map[string][]string{
		"/":                {"1 rule was demoted and only alerts", `href="/rules/-/budgets"`},
		"/rules":           {"1 rule only alerts", "0.2%", "of 0.1% allowed: 97 of 48,210, by 31 clients", "over, still decides"},
		"/rules/-/budgets": {"SQL Injection Attack Detected via libinjection", "only alerts", "too few requests yet", "Counted over the last 24 hours, from 1,000 known-good requests on", "Host header is a numeric IP address"},
	} {
		status, body := operator.get(path)
		if status != http.StatusOK {
			t.Errorf("%s: %d", path, status)
		}
		for _, want := range wants {
			if !bytes.Contains(body, []byte(want)) {
				t.Errorf("%s: without %q", path, want)
			}
		}
		checkMarkup(t, path, body, false)
	}
	if _, body := viewer.get("/rules/-/budgets"); bytes.Contains(body, []byte(">Restore<")) {
		t.Error("a viewer is shown what is refused to them")
	}
	form := []string{"kind", "firewall", "rule", "942100", "route", "shop", "back", "/rules"}
	if status, _, _ := viewer.post("/rules/-/budgets", form...); status != http.StatusForbidden {
		t.Errorf("a viewer: %d", status)
	}
	if status, header, _ := operator.post("/rules/-/budgets", form...); status != http.StatusSeeOther || header.Get("Location") != "/rules" {
		t.Errorf("restore: %d to %q", status, header.Get("Location"))
	}
	if status, _, _ := operator.post("/rules/-/budgets", form...); status != http.StatusConflict {
		t.Errorf("restored twice: %d", status)
	}
	if _, body := operator.get("/"); bytes.Contains(body, []byte("only alerts")) {
		t.Error("the overview says that a rule only alerts, and none does")
	}
}

// TestBudgetsOfStrangers: names of rules and routes are text, and however many there are, it is a page.
func TestBudgetsOfStrangers(t *testing.T) {
	w := consoletest.New()
	w.Budgets = console.BudgetReport{Problem: evil}
	for range 2000 {
		w.Budgets.Budgets = append(w.Budgets.Budgets, console.Budget{BudgetKey: console.BudgetKey{Kind: console.BudgetOfRule, Rule: evil, Route: evil}, Title: evil, State: evil, Share: 3, Requests: 1, Fired: 3})
	}
	s := serve(t, w, false)
	p := signedIn(t, w, s, consoletest.OperatorName)
	for path, most := range map[string]int{"/rules": 100 << 10, "/rules/-/budgets": 1 << 20} {
		status, body := p.get(path)
		if status != http.StatusOK || len(body) > most {
			t.Errorf("%s: %d, %d bytes", path, status, len(body))
		}
		checkMarkup(t, path, body, false)
		checkEscaped(t, path, body)
	}
}

// TestNoBudgets: a node without budgets has pages without them.
func TestNoBudgets(t *testing.T) {
	w := consoletest.New()
	w.Budgets = console.BudgetReport{}
	s := serve(t, w, false)
	p := signedIn(t, w, s, consoletest.ViewerName)
	if _, body := p.get("/rules/-/budgets"); !bytes.Contains(body, []byte("Nothing is counted yet")) {
		t.Error("the page does not say that nothing is counted")
	}
	if _, body := p.get("/rules"); bytes.Contains(body, []byte(`id="budgets"`)) {
		t.Error("an empty panel is shown")
	}
}

// TestBudgetInBrowser: restored at each width.
func TestBudgetInBrowser(t *testing.T) {
	w := consoletest.New()
	busy(w)
	s := serve(t, w, true)
	p := browsertest.Start(t).Open(s.URL(), 1440, 900)
	p.SetCookie(s.CookieName(), w.Session(consoletest.OperatorName))
	for _, size := range []struct {
		name          string
		width, height int
		dark          bool
	}{{"wide", 1440, 900, false}, {"laptop", 860, 720, true}, {"phone", 360, 740, true}} {
		p.Size(size.width, size.height)
		p.Dark(size.dark)
		for name, path := range map[string]string{"budgets": "/rules/-/budgets", "rules-budgets": "/rules", "overview-notice": "/"} {
			p.Go(path)
			if wide := p.Wide(); wide != "0" {
				t.Errorf("%s is %s pixels wider than a window of %d: %s", path, wide, size.width, p.Widest())
			}
			p.Shot(name + "-" + size.name)
		}
	}
	p.Go("/rules")
	p.WaitText("#budgets", "only alerts")
	p.Eval(`document.querySelector('#budgets form.restore button').click(), ""`)
	p.WaitText("#flash", "942100 decides again on route shop")
	p.WaitGone("#budgets", "only alerts")
	p.Clean()
}
