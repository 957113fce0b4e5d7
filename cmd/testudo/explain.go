package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/testudo-sec/testudo/cmd/testudo/assembly"
	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/console/client"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/signal"
)

func (a *app) explainCommand() *cobra.Command {
	var rule string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "explain EVENT-ID",
		Short: "Say why rules fired on a recorded event, or why one did not",
		Example: `  testudo explain 019a8f3c-5b1e-7c44-9d07-2f6f5b7c1a10
  testudo explain 019a8f3c-5b1e-7c44-9d07-2f6f5b7c1a10 --rule edge-sqli`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := signal.ParseID(args[0])
			if err != nil {
				return fmt.Errorf("%q is no event id: take one from testudo hunt --json or from an event's page", policy.Printable(args[0], 60))
			}
			all, err := a.explain(cmd.Context(), id, rule)
			if err != nil {
				return err
			}
			if asJSON {
				out := json.NewEncoder(a.stdout)
				out.SetIndent("", "  ")
				return out.Encode(all)
			}
			if len(all) == 0 {
				fmt.Fprintln(a.stdout, "no rule fires on this event; ask for one by --rule")
			}
			for i := range all {
				if i > 0 {
					fmt.Fprintln(a.stdout)
				}
				printExplanation(a.stdout, &all[i])
				if i == len(all)-1 {
					printUnusual(a.stdout, all[i].Unusual)
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&rule, "rule", "", "this rule, whether it fired or not (default all that fire)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "the explanations as JSON")
	return cmd
}

// explain asks the node that runs, or opens the data directory where none does.
func (a *app) explain(ctx context.Context, id signal.ID, rule string) ([]console.Explanation, error) {
	c, dir, err := a.dial(ctx)
	if err == nil {
		defer c.Close()
		return c.Explain(ctx, id, rule)
	}
	if !errors.Is(err, client.ErrNoNode) {
		return nil, err
	}
	set, err := assembly.Loader(&a.settings.Policy).Load(ctx, a.settings.Policy.Sources(assembly.BuiltinRules())...)
	if err != nil {
		return nil, err
	}
	st, err := assembly.OpenStorage(ctx, dir, &a.settings, a.quiet(), nil)
	if err != nil {
		return nil, err
	}
	defer st.Close()
	return assembly.Explain(ctx, st.History(), set, id, rule)
}

// printExplanation prints a rule's condition as a tree, each part with its answer.
func printExplanation(w io.Writer, x *console.Explanation) {
	fmt.Fprintf(w, "%s: %s\n", x.Rule, policy.Printable(x.Title, 200))
	switch {
	case x.Fires:
		fmt.Fprintf(w, "fires, and decides %s\n", x.Decision)
		if x.Why != "" {
			fmt.Fprintf(w, "  %s\n", policy.Printable(x.Why, 600))
		}
	case x.Recorded:
		fmt.Fprintln(w, "fired when the event was judged, and does not now")
	default:
		fmt.Fprintln(w, "does not fire")
	}
	for _, b := range x.Because {
		fmt.Fprintf(w, "  %s\n", policy.Printable(b, 300))
	}
	for _, line := range x.Proof {
		mark := map[string]string{"yes": "✓", "no": "✗", "fault": "!"}[line.Answer]
		text := line.Text
		switch line.Kind {
		case "and":
			text = "all of"
		case "or":
			text = "one of"
		case "not":
			text = "none of"
		}
		fmt.Fprintf(w, "  %s%s %s\n", strings.Repeat("  ", line.Depth), mark, policy.Printable(text, 160))
		indent := strings.Repeat("  ", line.Depth+2)
		if len(line.Values) == 0 && (line.Kind == "atom" || line.Kind == "any" || line.Kind == "every") {
			fmt.Fprintf(w, "  %sthe event has no value\n", indent)
		}
		for _, v := range line.Values {
			fmt.Fprintf(w, "  %s%s\n", indent, valueLine(line.Kind, v))
		}
	}
	for _, why := range x.Inexact {
		fmt.Fprintf(w, "  inexact: %s\n", policy.Printable(why, 300))
	}
}

// printUnusual says how the request differs from what others send.
func printUnusual(w io.Writer, all []string) {
	if len(all) > 0 {
		fmt.Fprintln(w, "unlike other requests:")
	}
	for _, what := range all {
		fmt.Fprintf(w, "  %s\n", policy.Printable(what, 300))
	}
}

func valueLine(kind string, v console.ProofValue) string {
	if kind == "function" {
		return policy.Printable(v.Text, 160)
	}
	s := "is '" + policy.Printable(v.Text, 120) + "'"
	if v.Match != "" && v.Match != v.Text {
		s += ", which has '" + policy.Printable(v.Match, 80) + "'"
	}
	return s
}
