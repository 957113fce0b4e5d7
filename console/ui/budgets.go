package ui

import (
	"context"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/console"
)

// maxBudgets bounds the lines of the panel on the Rules page; the page of all has more.
const maxBudgets = 6

// budgetView is the false-positive budgets, or the first of them.
type budgetView struct {
	console.BudgetReport
	Rows []console.Budget
	Rest int
	Over string // the time that is counted over
}

// budgetsOf returns the budgets; nil where the node has none, or cannot say: the pages that show them are more than that.
func (p *Pages) budgetsOf(ctx context.Context, most int) *budgetView {
	if p.srv.Sources().Budgets == nil {
		return nil
	}
	r, err := p.srv.Desk().Budgets(ctx)
	if err != nil {
		return nil
	}
	return budgetsShown(r, most)
}

func budgetsShown(r console.BudgetReport, most int) *budgetView {
	v := &budgetView{BudgetReport: r, Rows: r.Budgets, Over: span(time.Duration(r.Window))}
	if most > 0 { // what nobody has to look at is on the page of all
		v.Rows = slices.DeleteFunc(slices.Clone(r.Budgets), func(b console.Budget) bool { return b.State == console.BudgetCounting && b.Fired == 0 })
	} else {
		most = console.MaxLimit
	}
	v.Rows = v.Rows[:min(len(v.Rows), most)]
	v.Rest = len(r.Budgets) - len(v.Rows)
	return v
}

// budgetBar draws a share against the allowed one, which is in the middle: what is over is seen as such.
func budgetBar(b console.Budget) template.HTML {
	class := "is-ok"
	switch {
	case b.State == console.BudgetDemoted || b.State == console.BudgetOver:
		class = "is-bad"
	case b.State == console.BudgetCounting:
		class = "is-info"
	case b.Allowed > 0 && b.Share >= b.Allowed/2:
		class = "is-warn"
	}
	whole := 2 * b.Allowed
	if whole <= 0 {
		whole = 1
	}
	return bar(min(b.Share, whole), whole, b.Allowed, class, fmt.Sprintf("%s of known-good requests, allowed are %s", permille(b.Share), permille(b.Allowed)))
}

// permille is a small share in percent, with as many digits as it takes.
func permille(share float64) string {
	if share <= 0 {
		return "0%"
	}
	return strings.TrimSuffix(fmt.Sprintf("%.2g", share*100), ".0") + "%"
}

// budgetWords say a state.
func budgetWord(state string) string {
	switch state {
	case console.BudgetDemoted:
		return "only alerts"
	case console.BudgetOver:
		return "over, still decides"
	case console.BudgetCounting:
		return "too few requests yet"
	}
	return state
}

func (p *Pages) budgets(w http.ResponseWriter, r *http.Request) error {
	report, err := p.srv.Desk().Budgets(r.Context())
	if err != nil {
		return err
	}
	v := p.view(w, r, "False-positive budgets", "rules")
	v.Main = budgetsShown(report, 0)
	return p.page(w, "budgets", v)
}

func (p *Pages) restoreBudget(w http.ResponseWriter, r *http.Request) error {
	key := console.BudgetKey{Kind: r.PostFormValue("kind"), Rule: r.PostFormValue("rule"), Route: r.PostFormValue("route")}
	if _, err := p.srv.Desk().RestoreBudget(r.Context(), key, r.PostFormValue("reason")); err != nil {
		return err
	}
	return p.done(w, r, "/rules/-/budgets", clip(80, key.Rule)+" decides again on route "+clip(60, key.Route)+"; its budget begins anew.")
}
