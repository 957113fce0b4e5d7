package consoletest

import (
	"context"
	"fmt"
	"time"

	"github.com/testudo-sec/testudo/console"
)

// budgets are those of the world: some demoted, some with room left.
type budgets struct{ w *World }

// fillBudgets makes a rule of each kind in each state.
func (w *World) fillBudgets() {
	one := func(kind, rule, title, route, state string, requests, fired int64, clients int) console.Budget {
		b := console.Budget{BudgetKey: console.BudgetKey{Kind: kind, Rule: rule, Route: route}, Title: title, State: state, Requests: requests, Fired: fired, Clients: clients,
			Share: float64(fired) / float64(requests), Allowed: 0.001}
		if state == console.BudgetDemoted {
			b.Demoted = w.Start.Add(-40 * time.Minute)
		}
		return b
	}
	w.Budgets = console.BudgetReport{Window: console.Duration(24 * time.Hour), Least: 1000, Budgets: []console.Budget{
		one(console.BudgetOfFirewall, "942100", "SQL Injection Attack Detected via libinjection", "shop", console.BudgetDemoted, 48_210, 97, 31),
		one(console.BudgetOfRule, "edge.waf-attack", "The WAF's score is over the threshold", "shop", console.BudgetOver, 48_210, 61, 1),
		one(console.BudgetOfFirewall, "920350", "Host header is a numeric IP address", "api", console.BudgetWithin, 7_301, 5, 3),
		one(console.BudgetOfRule, "edge.scanner", "Request of a known scanner", "shop", console.BudgetWithin, 48_210, 2, 2),
		one(console.BudgetOfRule, "edge-api-block", "A request or an answer is not what the API allows", "api", console.BudgetCounting, 310, 1, 1),
	}}
}

func (b budgets) Budgets(context.Context) (console.BudgetReport, error) {
	b.w.Lock.Lock()
	defer b.w.Lock.Unlock()
	r := b.w.Budgets
	r.Budgets = append([]console.Budget{}, r.Budgets...)
	for i := range r.Budgets {
		if r.Budgets[i].State == console.BudgetDemoted {
			r.Demoted++
		}
	}
	return r, b.w.fail()
}

func (b budgets) Restore(_ context.Context, key console.BudgetKey, reason string, by console.Identity) (console.Budget, error) {
	b.w.Lock.Lock()
	defer b.w.Lock.Unlock()
	if err := b.w.fail(); err != nil {
		return console.Budget{}, err
	}
	for i := range b.w.Budgets.Budgets {
		x := &b.w.Budgets.Budgets[i]
		if x.BudgetKey != key {
			continue
		}
		if x.State != console.BudgetDemoted {
			return console.Budget{}, fmt.Errorf("it is not demoted: %w", console.ErrConflict)
		}
		x.State, x.Demoted, x.Fired, x.Requests, x.Clients, x.Share = console.BudgetCounting, time.Time{}, 0, 0, 0, 0
		b.w.write(b.w.Now().Sub(b.w.Start), by.Actor(), "budget.restore", key.Rule, map[string]string{"kind": key.Kind, "route": key.Route, "reason": reason})
		return *x, nil
	}
	return console.Budget{}, fmt.Errorf("no such budget: %w", console.ErrNotFound)
}
