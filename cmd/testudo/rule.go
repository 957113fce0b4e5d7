package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/testudo-sec/testudo/cmd/testudo/assembly"
	"github.com/testudo-sec/testudo/cmd/testudo/hostrules"
	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/console/client"
	"github.com/testudo-sec/testudo/policy"
)

func (a *app) ruleCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "rule", Short: "Check, test and list rules"}
	cmd.AddCommand(a.ruleCheckCommand(), a.ruleTestCommand(), a.ruleListCommand(), a.ruleReloadCommand(), a.ruleEvalCommand(), a.ruleBudgetsCommand(), a.ruleRestoreCommand())
	return cmd
}

// checkRules looks at the rules of these paths. None at all is an error: a pipeline that names the
// wrong folder must not be green.
func (a *app) checkRules(ctx context.Context, paths []string) (*policy.CheckReport, error) {
	// Thousands of files are read once and then looked at: collecting sooner costs a tenth of the time, and takes a sixth
	// of the memory off a pipeline's runner.
	if os.Getenv("GOGC") == "" {
		defer debug.SetGCPercent(debug.SetGCPercent(60))
	}
	report, err := assembly.CheckRules(ctx, &a.settings.Policy, paths...)
	if err == nil && report.Files == 0 && report.OK() {
		return nil, fmt.Errorf("no rule file in %s: rule files end in .yaml, .yml or .rego", strings.Join(paths, ", "))
	}
	return report, err
}

func (a *app) ruleCheckCommand() *cobra.Command {
	var fields, cost bool
	cmd := &cobra.Command{
		Use:   "check PATH...",
		Short: "Say whether rule files load, and what is wrong with those that do not",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			report, err := a.checkRules(cmd.Context(), args)
			if err != nil {
				return err
			}
			set := report.Set
			if set == nil && (fields || cost) {
				// Something does not load, which is named below: what does is listed all the same.
				if set, err = assembly.LoadableRules(cmd.Context(), &a.settings.Policy, args...); err != nil {
					return err
				}
			}
			if fields {
				if err := assembly.PrintFields(a.stdout, set); err != nil {
					return err
				}
			}
			if cost {
				if err := set.PrintCosts(a.stdout); err != nil {
					return err
				}
			}
			if report.Set != nil {
				if err := hostrules.Compile(report.Set).Print(a.stdout); err != nil {
					return err
				}
				if err := assembly.PrintLockouts(a.stdout, report.Set, &a.settings); err != nil {
					return err
				}
			}
			return a.answer(report)
		},
	}
	cmd.Flags().BoolVar(&cost, "cost", false, "say what rules wait for, and which are evaluated for every event")
	cmd.Flags().BoolVar(&fields, "fields", false, "list the fields and log sources that no table maps")
	return cmd
}

func (a *app) ruleTestCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "test PATH...",
		Short: "Run the tests that stand in rule files",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			check, err := a.checkRules(cmd.Context(), args)
			if err != nil {
				return err
			}
			if !check.OK() {
				return a.answer(check)
			}
			report, err := policy.RunTests(cmd.Context(), check.Set)
			if err != nil {
				return err
			}
			return a.answer(report)
		},
	}
}

// outcome is what rule check and rule test say.
type outcome interface {
	Print(w io.Writer) error
	OK() bool
}

// answer prints a report; one that is not in order makes the exit code 1.
func (a *app) answer(r outcome) error {
	if err := r.Print(a.stdout); err != nil {
		return err
	}
	if !r.OK() {
		return errAnswered
	}
	return nil
}

func (a *app) ruleListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the rules in force, with their hits where a node runs",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			rules, err := a.rules(cmd.Context())
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "RULE\tSEVERITY\tVERDICT\tHITS\tTITLE")
			for _, r := range rules {
				verdict := r.Decision.String()
				if !r.Enabled {
					verdict = "disabled"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\n", r.ID, r.Severity, verdict, r.Hits, r.Title)
			}
			return w.Flush()
		},
	}
}

// rules asks the node that runs, or loads what a node would load.
func (a *app) rules(ctx context.Context) ([]console.Rule, error) {
	if dir, err := a.dataDir(); err == nil {
		c, err := client.Dial(ctx, assembly.SocketPath(dir))
		if err == nil {
			defer c.Close()
			return c.Rules(ctx)
		}
		if !errors.Is(err, client.ErrNoNode) {
			return nil, err
		}
	}
	set, err := assembly.Loader(&a.settings.Policy).Load(ctx, a.settings.Policy.Sources(assembly.BuiltinRules())...)
	if err != nil {
		return nil, err
	}
	infos := policy.NewEngine(set).Infos()
	rules := make([]console.Rule, len(infos))
	for i, info := range infos {
		rules[i] = console.Rule{ID: info.ID, Title: info.Title, Severity: info.Severity, Decision: info.Then, Enabled: info.Enabled}
	}
	return rules, nil
}

func (a *app) ruleReloadCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "Have the running node read its rules anew; all or nothing",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			set, err := c.ReloadRules(cmd.Context())
			if err != nil {
				return err
			}
			for _, e := range set.Errors {
				p := policy.Problem{File: e.File, Line: e.Line, Column: e.Column, Message: e.Message, Hint: e.Hint}
				fmt.Fprintln(a.stdout, p.Error())
			}
			fmt.Fprintf(a.stdout, "%d rules in force, digest %.12s\n", set.Count, set.Digest)
			if len(set.Errors) > 0 {
				return errAnswered
			}
			return nil
		},
	}
}
