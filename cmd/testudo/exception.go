package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/testudo-sec/testudo/cmd/testudo/assembly"
	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/console/client"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/replay"
	"github.com/testudo-sec/testudo/signal"
)

func (a *app) exceptionCommand() *cobra.Command {
	var rule, since string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "exception EVENT-ID",
		Short: "Propose the narrowest exception that frees an event from a rule",
		Long: `Propose the narrowest exceptions that free an event from a rule: which value of which field, exactly or by
its shape, on which route. Each is tried on what is recorded, and says what else it frees, and whether other rules
take that for an attack. The change of the rule is printed ready to paste; nothing is put in force.`,
		Example: `  testudo exception 019a8f3c-5b1e-7c44-9d07-2f6f5b7c1a10
  testudo exception 019a8f3c-5b1e-7c44-9d07-2f6f5b7c1a10 --rule edge-sqli --since 30d`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := signal.ParseID(args[0])
			if err != nil {
				return fmt.Errorf("%q is no event id: take one from testudo hunt --json or from an event's page", policy.Printable(args[0], 60))
			}
			q := console.ExceptionQuery{Event: id, Rule: rule}
			if q.Since, err = replay.ParseSince(since, time.Now()); err != nil {
				return fmt.Errorf("--since: %w", err)
			}
			bar := newProgress(a.stderr)
			r, err := a.exceptions(cmd.Context(), q, bar.show)
			bar.clear()
			if err != nil {
				return err
			}
			if asJSON {
				out := json.NewEncoder(a.stdout)
				out.SetIndent("", "  ")
				return out.Encode(r)
			}
			a.printExceptions(&r)
			return nil
		},
	}
	cmd.Flags().StringVar(&rule, "rule", "", "the rule to except from (default the one that decided)")
	cmd.Flags().StringVar(&since, "since", "7d", "try on records from so far back, as in 1h or 7d")
	cmd.Flags().BoolVar(&asJSON, "json", false, "the proposals as JSON")
	return cmd
}

// exceptions asks the node that runs, or opens the data directory where none does.
func (a *app) exceptions(ctx context.Context, q console.ExceptionQuery, progress func(float64)) (console.ExceptionReport, error) {
	c, dir, err := a.dial(ctx)
	if err == nil {
		defer c.Close()
		return c.Exceptions(ctx, q, progress)
	}
	if !errors.Is(err, client.ErrNoNode) {
		return console.ExceptionReport{}, err
	}
	loader, sources := assembly.Loader(&a.settings.Policy), a.settings.Policy.Sources(assembly.BuiltinRules())
	live, err := loader.Load(ctx, sources...)
	if err != nil {
		return console.ExceptionReport{}, err
	}
	st, err := assembly.OpenStorage(ctx, dir, &a.settings, a.quiet(), nil)
	if err != nil {
		return console.ExceptionReport{}, err
	}
	defer st.Close()
	return assembly.Exceptions(ctx, st.History(), loader, sources, live, assembly.Local(&a.settings, st), q, progress)
}

func (a *app) printExceptions(r *console.ExceptionReport) {
	w := a.stdout
	fmt.Fprintf(w, "event %s: %s\nrule %s: %s; it fires on %d events of this time\n", r.Event, r.Summary, r.Rule, policy.Printable(r.Title, 200), r.Fired)
	if r.For != "" {
		fmt.Fprintf(w, "rule %s counts what that rule matches: an exception from it is one from both\n", r.For)
	}
	for i := range r.Proposals {
		p := &r.Proposals[i]
		fmt.Fprintf(w, "\n%d. where %s\n", i+1, policy.Printable(p.Text, 1000))
		switch {
		case p.Freed == 0:
			fmt.Fprintln(w, "   frees no other event")
		case p.Suspect == 0:
			fmt.Fprintf(w, "   frees %d other events, on which no other rule fires\n", p.Freed)
		default:
			fmt.Fprintf(w, "   frees %d other events; %d of them look like attacks to %s\n", p.Freed, p.Suspect, strings.Join(p.Suspects, ", "))
		}
		for _, e := range p.Examples {
			line := e.Event + "  " + e.Summary
			if len(e.Rules) > 0 {
				line += "  [" + strings.Join(e.Rules, " ") + "]"
			}
			fmt.Fprintf(w, "     %s\n", policy.Printable(line, 240))
		}
	}
	printExclusions(w, r)
	if len(r.Proposals) > 0 {
		p := &r.Proposals[0]
		fmt.Fprintf(w, "\nthe first as a change of the rule; %s:\n\n", p.How)
		for line := range strings.Lines(p.Change) {
			fmt.Fprintf(w, "    %s", line)
		}
		if p.Checked {
			fmt.Fprintln(w, "\nit was compiled, and the rule does not fire on the event any more; --json has the changes of the others")
		} else {
			fmt.Fprintln(w, "\nit could not be checked by compiling it: look at it before you use it")
		}
	}
	printReasons(w, r.Inexact)
}

// printExclusions prints what the firewall's own rules could leave out instead, and what that costs.
func printExclusions(w io.Writer, r *console.ExceptionReport) {
	if r.NoExclusion != "" {
		fmt.Fprintf(w, "\nexclusions from the firewall's rules: %s\n", policy.Printable(r.NoExclusion, 400))
	}
	if len(r.Exclusions) == 0 {
		return
	}
	fmt.Fprintln(w, "\nexclusions from the firewall instead, which goes on with the rest of its rules; from narrow to wide, tried on the attacks of the\nCore Rule Set's regression tests that it detects:")
	for i := range r.Exclusions {
		x := &r.Exclusions[i]
		fmt.Fprintf(w, "\n%c. %s\n", 'a'+rune(i%26), policy.Printable(x.Text, 1000))
		most := ""
		if x.AtMost {
			most = "at most "
		}
		sure := ""
		if x.Exact {
			sure = ": exact, by the requests themselves"
		}
		fmt.Fprintf(w, "   frees %s%d other recorded alarms of the firewall%s\n", most, x.Freed, sure)
		if x.Placed > 0 {
			fmt.Fprintf(w, "   loses %s of the attacks in that parameter (%d of %d)%s\n", percent(x.LostPlaced, x.Placed), x.LostPlaced, x.Placed, namesOf(x.Examples))
			fmt.Fprintf(w, "         %s of all attacks as the tests send them (%d of %d)\n", percent(x.Lost, x.Attacks), x.Lost, x.Attacks)
		} else {
			fmt.Fprintf(w, "   loses %s of all attacks as the tests send them (%d of %d)%s\n", percent(x.Lost, x.Attacks), x.Lost, x.Attacks, namesOf(x.Examples))
		}
		for _, d := range []struct{ setting, text string }{{"waf.before", x.Before}, {"waf.after", x.After}} {
			if d.text == "" {
				continue
			}
			fmt.Fprintf(w, "   %s:\n", d.setting)
			for line := range strings.Lines(d.text) {
				fmt.Fprintf(w, "     %s", line)
			}
		}
	}
	if strings.Contains(r.Exclusions[0].Text, "in ARGS:") && !strings.Contains(r.Exclusions[0].Text, "where the value") {
		fmt.Fprintln(w, "\nthere is none by what the value looks like, which costs less: it was masked. The route records parameters that it names in record.parameters.")
	}
}

func namesOf(tests []string) string {
	if len(tests) == 0 {
		return ""
	}
	return ", as " + strings.Join(tests, ", ")
}

// percent says a share so that little is told from nothing.
func percent(part, of int) string {
	if part == 0 || of == 0 {
		return "none"
	}
	return fmt.Sprintf("%.2g%%", 100*float64(part)/float64(of))
}
