package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/signal"
)

func (a *app) respondCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "respond",
		Short: "Kill, freeze or isolate processes and containers",
		Long: "Acts on processes and containers of the host whose node runs as root's child sees it. What an action touches is said before it is done.\n" +
			"A process is named by its number or its key (process.uid), a container by its id.",
		Example: `  testudo respond freeze 4f1c8a2be07d --for 1h --reason "what is it doing?"
  testudo respond isolate 4f1c8a2be07d --preview
  testudo respond kill 1234
  testudo respond list
  testudo respond undo ID`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		a.respondToCommand("kill", "Kill a process and what it started, or all of a container"),
		a.respondToCommand("freeze", "Have a container stand still for a time"),
		a.respondToCommand("isolate", "Cut a container off the network for a time"),
		a.actionListCommand("", "List the actions in force, blocks among them"),
		a.actionUndoCommand("Lift an action", func(action signal.Action) string { return action.Kind + " of " + action.Target + " is lifted" }))
	return cmd
}

func (a *app) respondToCommand(kind, short string) *cobra.Command {
	var reason string
	var limit time.Duration
	var preview, force bool
	cmd := &cobra.Command{
		Use:   kind + " PROCESS|CONTAINER",
		Short: short,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withActions(cmd.Context(), func(ctx context.Context, desk actionDesk) error {
				order := console.Order{Kind: kind, Target: args[0], For: limit, Reason: reason, Force: force}
				will, err := desk.Preview(ctx, order)
				if err != nil {
					return err
				}
				a.printPreview(will, "that is in force already", "--force does it all the same")
				if preview {
					return nil
				}
				order.Target = will.Target // what was looked at, and nothing that has its number since
				action, err := desk.Order(ctx, order)
				if err != nil {
					return err
				}
				switch action.State {
				case signal.ActionRefused:
					fmt.Fprintln(a.stdout, "nothing was done")
					return errAnswered
				case signal.ActionDone:
					fmt.Fprintf(a.stdout, "done: %s %s\n", kind, action.Target)
				default:
					fmt.Fprintf(a.stdout, "%s of %s is in force until %s\nundo with: testudo respond undo %s\n", kind, action.Target,
						action.Until.Local().Format(time.DateTime), action.ID)
				}
				return nil
			})
		},
	}
	if kind != "kill" {
		cmd.Flags().DurationVar(&limit, "for", 0, "how long (default 1h)")
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for those who read it later")
	cmd.Flags().BoolVar(&preview, "preview", false, "say what it would touch, and do nothing")
	cmd.Flags().BoolVar(&force, "force", false, "act on what the configuration protects")
	return cmd
}
