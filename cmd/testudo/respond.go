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
		a.killCommand(), a.freezeCommand(), a.isolateCommand(),
		a.actionListCommand("", "List the actions in force, blocks among them"),
		a.actionUndoCommand("Lift an action", func(action signal.Action) string { return action.Kind + " of " + action.Target + " is lifted" }))
	return cmd
}

func (a *app) killCommand() *cobra.Command {
	var o acting
	cmd := &cobra.Command{
		Use:   "kill PROCESS|CONTAINER",
		Short: "Kill a process and what it started, or all of a container",
		Args:  cobra.ExactArgs(1),
		RunE:  func(cmd *cobra.Command, args []string) error { return a.act(cmd.Context(), "kill", args[0], &o) },
	}
	cmd.Flags().StringVar(&o.reason, "reason", "", "why, for those who read it later")
	cmd.Flags().BoolVar(&o.preview, "preview", false, "say what it would touch, and do nothing")
	cmd.Flags().BoolVar(&o.force, "force", false, "kill what the configuration protects")
	return cmd
}

func (a *app) freezeCommand() *cobra.Command {
	var o acting
	cmd := &cobra.Command{
		Use:   "freeze CONTAINER|PROCESS",
		Short: "Have a container stand still for a time",
		Args:  cobra.ExactArgs(1),
		RunE:  func(cmd *cobra.Command, args []string) error { return a.act(cmd.Context(), "freeze", args[0], &o) },
	}
	cmd.Flags().DurationVar(&o.limit, "for", 0, "how long (default 1h)")
	cmd.Flags().StringVar(&o.reason, "reason", "", "why, for those who read it later")
	cmd.Flags().BoolVar(&o.preview, "preview", false, "say what it would touch, and do nothing")
	cmd.Flags().BoolVar(&o.force, "force", false, "freeze what the configuration protects")
	return cmd
}

func (a *app) isolateCommand() *cobra.Command {
	var o acting
	cmd := &cobra.Command{
		Use:   "isolate CONTAINER|PROCESS",
		Short: "Cut a container off the network for a time",
		Args:  cobra.ExactArgs(1),
		RunE:  func(cmd *cobra.Command, args []string) error { return a.act(cmd.Context(), "isolate", args[0], &o) },
	}
	cmd.Flags().DurationVar(&o.limit, "for", 0, "how long (default 1h)")
	cmd.Flags().StringVar(&o.reason, "reason", "", "why, for those who read it later")
	cmd.Flags().BoolVar(&o.preview, "preview", false, "say what it would touch, and do nothing")
	cmd.Flags().BoolVar(&o.force, "force", false, "isolate what the configuration protects")
	return cmd
}

// acting is what the flags of an action say.
type acting struct {
	reason         string
	limit          time.Duration
	preview, force bool
}

// act says what an action touches, and does it.
func (a *app) act(ctx context.Context, kind, target string, f *acting) error {
	return a.withActions(ctx, func(ctx context.Context, desk actionDesk) error {
		order := console.Order{Kind: kind, Target: target, For: f.limit, Reason: f.reason, Force: f.force}
		will, err := desk.Preview(ctx, order)
		if err != nil {
			return err
		}
		a.printPreview(will, "that is in force already", "--force does it all the same")
		if f.preview {
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
}
