package console

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// BudgetSource says how much of known-good traffic each rule fires on, and takes demoted rules back. It writes to the ledger by
// itself, with by.Actor().
type BudgetSource interface {
	// Budgets returns those that are demoted first, then by the part of the allowance that is used; MaxLimit at most.
	Budgets(ctx context.Context) (BudgetReport, error)
	// Restore has a demoted rule decide again: ErrNotFound where there is no such budget, ErrConflict where it is not demoted.
	Restore(ctx context.Context, key BudgetKey, reason string, by Identity) (Budget, error)
}

// The kinds of rules that have budgets.
const (
	BudgetOfRule     = "rule"     // of policy
	BudgetOfFirewall = "firewall" // of the web application firewall
)

// The states of a budget.
const (
	BudgetCounting = "counting" // too few requests to say
	BudgetWithin   = "within"
	BudgetOver     = "over" // more than is allowed, and not demoted: too few clients, or not long enough
	BudgetDemoted  = "demoted"
)

// BudgetKey names a budget: a rule at a route of the edge.
type BudgetKey struct {
	Kind  string `json:"kind" doc:"rule of policy, or firewall"`
	Rule  string `json:"rule" doc:"its id"`
	Route string `json:"route" doc:"name of the edge's route"`
}

// Budget is how much of known-good traffic a rule fires on.
type Budget struct {
	BudgetKey
	Title    string    `json:"title,omitempty"`
	State    string    `json:"state" doc:"counting, within, over or demoted"`
	Requests int64     `json:"requests" doc:"known-good ones in the window; of a demoted rule, when it was demoted"`
	Fired    int64     `json:"fired" doc:"of them, those on which it fired"`
	Clients  int       `json:"clients" doc:"that sent those"`
	Share    float64   `json:"share" doc:"fired of requests, 0 to 1"`
	Allowed  float64   `json:"allowed" doc:"share from which it is demoted"`
	Demoted  time.Time `json:"demoted,omitzero" doc:"since when it only alerts"`
}

// BudgetReport is all budgets.
type BudgetReport struct {
	Problem string   `json:"problem,omitempty" doc:"why nothing is counted, as where no traffic is known to be good"`
	Window  Duration `json:"window" doc:"time that is counted over"`
	Least   int64    `json:"least" doc:"known-good requests before anything is said"`
	Demoted int      `json:"demoted" doc:"how many are"`
	Budgets []Budget `json:"budgets"`
}

// Budgets returns the false-positive budgets. Viewers may.
func (d *Desk) Budgets(ctx context.Context) (BudgetReport, error) {
	if _, err := d.caller(ctx, RoleViewer); err != nil {
		return BudgetReport{}, err
	}
	if d.sources.Budgets == nil {
		return BudgetReport{}, unavailable("false-positive budgets")
	}
	return d.sources.Budgets.Budgets(ctx)
}

// RestoreBudget has a demoted rule decide again. Operators may.
func (d *Desk) RestoreBudget(ctx context.Context, key BudgetKey, reason string) (Budget, error) {
	c, err := d.caller(ctx, RoleOperator)
	if err != nil {
		return Budget{}, err
	}
	if d.sources.Budgets == nil {
		return Budget{}, unavailable("false-positive budgets")
	}
	if key.Kind != BudgetOfRule && key.Kind != BudgetOfFirewall {
		return Budget{}, &InputError{Field: "kind", Reason: "want rule or firewall"}
	}
	for _, f := range []struct {
		name, text string
		limit      int
	}{{"rule", key.Rule, maxTarget}, {"route", key.Route, maxTarget}, {"reason", reason, maxReason}} {
		if err := checkText(f.name, f.text, f.limit); err != nil {
			return Budget{}, err
		}
	}
	if key.Rule == "" {
		return Budget{}, &InputError{Field: "rule", Reason: "name the rule"}
	}
	b, err := d.sources.Budgets.Restore(ctx, key, reason, c.Identity)
	if err != nil {
		return Budget{}, fmt.Errorf("restore %s on route %s: %w", clip(key.Rule), clip(key.Route), err)
	}
	d.changed(TopicRules)
	return b, nil
}

type restoreBudgetIn struct {
	Body struct {
		BudgetKey
		Reason string `json:"reason,omitempty" doc:"why, for the ledger"`
	} `body:"json"`
}

func (s *Server) budgetRoutes() []Route {
	const tag = "rules"
	return []Route{
		call(get, v1+"/budgets", RoleViewer, says{id: "listBudgets", summary: "False-positive budgets: on how much of known-good traffic each rule fires, and which are demoted", tag: tag},
			func(r *http.Request, _ http.ResponseWriter, _ struct{}) (BudgetReport, error) {
				return s.desk.Budgets(r.Context())
			}),
		call(post, v1+"/budgets/restore", RoleOperator, says{id: "restoreBudget", summary: "Have a demoted rule decide again", tag: tag},
			func(r *http.Request, _ http.ResponseWriter, in restoreBudgetIn) (Budget, error) {
				return s.desk.RestoreBudget(r.Context(), in.Body.BudgetKey, in.Body.Reason)
			}),
	}
}
