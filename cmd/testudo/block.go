package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/testudo-sec/testudo/cmd/testudo/assembly"
	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/console/client"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/signal"
)

func (a *app) blockCommand() *cobra.Command {
	var reason string
	var limit time.Duration
	var preview, force bool
	cmd := &cobra.Command{
		Use:   "block ADDRESS",
		Short: "Block an address or prefix at the edge for a time",
		Example: `  testudo block 203.0.113.7 --for 1h --reason "scans for admin pages"
  testudo block 203.0.113.0/24 --preview
  testudo block list
  testudo block undo ID`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withActions(cmd.Context(), func(ctx context.Context, desk actionDesk) error {
				order := console.Order{Kind: "block", Target: args[0], For: limit, Reason: reason, Force: force}
				will, err := desk.Preview(ctx, order)
				if err != nil {
					return err
				}
				a.printPreview(will, "it is blocked already", "--force blocks it all the same")
				if preview {
					return nil
				}
				action, err := desk.Order(ctx, order)
				if err != nil {
					return err
				}
				if action.State == signal.ActionRefused {
					fmt.Fprintln(a.stdout, "nothing was done")
					return errAnswered
				}
				fmt.Fprintf(a.stdout, "blocked %s until %s\nundo with: testudo block undo %s\n", action.Target,
					action.Until.Local().Format(time.DateTime), action.ID)
				return nil
			})
		},
	}
	cmd.Flags().DurationVar(&limit, "for", 0, "how long (default 10m)")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for those who read it later")
	cmd.Flags().BoolVar(&preview, "preview", false, "say what it would touch, and do nothing")
	cmd.Flags().BoolVar(&force, "force", false, "block an address that is protected, as this machine's own")
	cmd.AddCommand(a.actionListCommand("block", "List what is blocked"),
		a.actionUndoCommand("Lift a block", func(action signal.Action) string { return action.Target + " is free again" }))
	return cmd
}

func (a *app) printPreview(p console.Preview, already, force string) {
	fmt.Fprintf(a.stdout, "blast radius: %s\n", p.Radius.Summary)
	for _, w := range p.Radius.Warnings {
		fmt.Fprintf(a.stdout, "  warning: %s\n", w)
	}
	if p.Extends != "" {
		fmt.Fprintln(a.stdout, "  "+already+", and would be for longer")
	}
	if p.Refusal != "" {
		fmt.Fprintf(a.stdout, "  refused: %s\n", p.Refusal)
	}
	if p.Refusal != "" && p.Forceable {
		fmt.Fprintln(a.stdout, "  "+force)
	}
}

// actionListCommand lists actions of a kind, "" for all.
func (a *app) actionListCommand(kind, short string) *cobra.Command {
	var all, asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: short,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withActions(cmd.Context(), func(ctx context.Context, desk actionDesk) error {
				q := console.ActionQuery{Kind: kind, Limit: console.MaxLimit}
				if !all {
					q.State = signal.ActionActive
				}
				w := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
				if !asJSON {
					if kind == "" {
						fmt.Fprint(w, "KIND\t")
					}
					fmt.Fprintln(w, "ID\tTARGET\tSTATE\tUNTIL\tHITS\tBY\tREASON")
				}
				for {
					page, err := desk.Actions(ctx, q)
					if err != nil {
						return err
					}
					for _, one := range page.Items {
						if asJSON {
							if err := json.NewEncoder(a.stdout).Encode(one); err != nil {
								return err
							}
							continue
						}
						if kind == "" {
							fmt.Fprintf(w, "%s\t", one.Kind)
						}
						// Reasons of rules quote what clients sent.
						fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%s\n", one.ID, one.Target, one.State, one.Until.Local().Format(time.DateTime),
							one.Hits, policy.Printable(one.Actor, 60), policy.Printable(one.Reason, 60))
					}
					if page.Next == "" {
						return w.Flush()
					}
					q.Cursor = page.Next
				}
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "those that have ended too")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	return cmd
}

func (a *app) actionUndoCommand(short string, lifted func(signal.Action) string) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "undo ID",
		Short: short,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withActions(cmd.Context(), func(ctx context.Context, desk actionDesk) error {
				action, err := desk.Undo(ctx, args[0], reason)
				if err != nil {
					return err
				}
				fmt.Fprintln(a.stdout, lifted(action))
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why")
	return cmd
}

// actionDesk is what the subcommands of block and respond ask: the node that runs, or the data
// directory where none does.
type actionDesk interface {
	Preview(ctx context.Context, o console.Order) (console.Preview, error)
	Order(ctx context.Context, o console.Order) (signal.Action, error)
	Undo(ctx context.Context, id, reason string) (signal.Action, error)
	Actions(ctx context.Context, q console.ActionQuery) (console.Page[signal.Action], error)
}

func (a *app) withActions(ctx context.Context, fn func(context.Context, actionDesk) error) error {
	c, dir, err := a.dial(ctx)
	if err == nil {
		defer c.Close()
		return fn(ctx, c)
	}
	if !errors.Is(err, client.ErrNoNode) {
		return err
	}
	m, err := assembly.New(ctx, a.settings, assembly.Options{Version: buildVersion(), Dir: dir, Logger: a.quiet(), Offline: true})
	if err != nil {
		return err
	}
	defer m.Close()
	return fn(ctx, m.Desk())
}
