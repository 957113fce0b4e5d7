package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/console/client"
	"github.com/testudo-sec/testudo/policy"
)

func (a *app) ruleBudgetsCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "budgets",
		Short: "Show on how much of known-good traffic each rule fires, and which rules only alert for that",
		Long: "Shows, for each rule and route, on how many of the requests that are known to be good (policy.budget.known_good) it fired within the window. A rule that fired on more than\n" +
			"policy.budget.share is demoted: it only alerts there, until somebody restores it or it is another rule. Rules of the firewall have budgets of their own. It needs a node that runs.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withNode(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				r, err := c.Budgets(ctx)
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(r)
				}
				return printBudgets(a.stdout, &r)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "the answer as JSON")
	return cmd
}

func (a *app) ruleRestoreCommand() *cobra.Command {
	var key console.BudgetKey
	var reason string
	cmd := &cobra.Command{
		Use:     "restore RULE --route ROUTE",
		Short:   "Have a demoted rule decide again at a route",
		Example: "  testudo rule restore 942100 --route shop --reason 'exception made'",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withNode(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				key.Rule = args[0]
				if key.Kind == "" {
					key.Kind = kindOf(key.Rule)
				}
				if _, err := c.RestoreBudget(ctx, key, reason); err != nil {
					return fmt.Errorf("%w: testudo rule budgets lists what is demoted", err)
				}
				fmt.Fprintf(a.stdout, "%s decides again at %s\n", policy.Printable(key.Rule, 100), policy.Printable(key.Route, 100))
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&key.Route, "route", "", "the edge's route")
	cmd.Flags().StringVar(&key.Kind, "kind", "", "rule or firewall (default firewall for a number)")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the ledger")
	_ = cmd.MarkFlagRequired("route") // it is there
	return cmd
}

// kindOf guesses what a rule is a rule of: the firewall's have numbers.
func kindOf(rule string) string {
	for _, c := range rule {
		if c < '0' || c > '9' {
			return console.BudgetOfRule
		}
	}
	return console.BudgetOfFirewall
}

func printBudgets(w io.Writer, r *console.BudgetReport) error {
	if r.Problem != "" {
		fmt.Fprintln(w, r.Problem)
	}
	if len(r.Budgets) == 0 {
		_, err := fmt.Fprintln(w, "no rule fired on known-good traffic")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "STATE\tRULE\tROUTE\tFIRED\tREQUESTS\tSHARE\tALLOWED\tCLIENTS")
	for _, b := range r.Budgets {
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%d\t%.2f%%\t%.2f%%\t%d\n", b.State, policy.Printable(b.Rule, 60), policy.Printable(b.Route, 40), b.Fired, b.Requests, 100*b.Share, 100*b.Allowed, b.Clients)
	}
	return t.Flush()
}
