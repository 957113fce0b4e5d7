package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/testudo-sec/testudo/cmd/testudo/assembly"
	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/console/client"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/replay"
)

// whatIfFlags are the flags of whatif.
type whatIfFlags struct {
	since, until                     string
	planes, classes                  []string
	remove, disable, enforce, failOn []string
	replace, verify, asJSON, changed bool

	directives, before, after string
	paranoia, threshold       int
	routes                    []string
}

func (a *app) whatIfCommand() *cobra.Command {
	var f whatIfFlags
	cmd := &cobra.Command{
		Use:   "whatif [RULES...]",
		Short: "Replay what is recorded through changed rules, and say what would have been otherwise",
		Long: `Replay what is recorded through the rules in force and through changed ones, and say what would
have been otherwise: newly blocked, no longer caught, newly alerted, by rule, route, asset and client.

RULES are files or folders. Their rules take the place of those in force that have the same id; others are new.
Directives of the web application firewall, its paranoia level and its thresholds are tried in the same way, also
together: what excludes by ctl or sets the Core Rule Set up is put behind waf.before, all else behind waf.after.

Nothing is put in force. Where no node runs, the data directory is opened.

It exits with 0, with 1 where a difference exceeds what --fail-on allows or --verify finds records that
are not what the rules make of them, and with 2 where it could not be done.`,
		Example: `  testudo whatif rules/admin.yaml --since 7d
  testudo whatif rules/ --replace --json
  testudo whatif --disable edge-scanner-agent --fail-on no-longer-blocked
  testudo whatif --enforce shop --since 1d
  testudo whatif --waf-directives exclusions.conf --paranoia 2 --threshold 10 --route shop
  testudo whatif rules/ --fail-on newly-blocked=10 --fail-on no-longer-caught`,
		RunE: func(cmd *cobra.Command, args []string) error {
			limits, err := failLimits(f.failOn)
			if err != nil {
				return err
			}
			q, err := a.whatIfQuery(cmd.Context(), args, &f)
			if err != nil {
				return err
			}
			bar := newProgress(a.stderr)
			r, err := a.whatIf(cmd.Context(), q, bar.show)
			bar.clear()
			if err != nil {
				return err
			}
			if len(r.Errors) > 0 {
				return problemsOf(r.Errors)
			}
			if f.asJSON {
				out := json.NewEncoder(a.stdout)
				out.SetIndent("", "  ")
				if err := out.Encode(r); err != nil {
					return err
				}
			} else if err := a.printWhatIf(&r, f.changed); err != nil {
				return err
			}
			if exceeds(&r, limits) || r.Verified != nil && r.Verified.Different > 0 {
				return errAnswered
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.since, "since", "7d", "how far back, as in 1h or 7d, or a time as in 2026-11-22T10:00:00Z")
	flags.StringVar(&f.until, "until", "", "up to when, in the same forms (default now)")
	flags.StringSliceVar(&f.planes, "plane", nil, "count events of this plane alone, as in edge; may be repeated")
	flags.StringSliceVar(&f.classes, "class", nil, "count events of this class alone, as in http_activity; may be repeated")
	flags.BoolVar(&f.replace, "replace", false, "try RULES instead of all rules in force")
	flags.StringSliceVar(&f.remove, "remove", nil, "take the rule of this id away; may be repeated")
	flags.StringSliceVar(&f.disable, "disable", nil, "switch the rule of this id off; may be repeated")
	flags.StringSliceVar(&f.enforce, "enforce", nil, "try this edge route as if its mode were block, '*' for all; may be repeated")
	flags.StringVar(&f.directives, "waf-directives", "", "try the SecLang of this file: more rules, exclusions, removals")
	flags.StringVar(&f.before, "waf-before", "", "try the SecLang of this file behind waf.before")
	flags.StringVar(&f.after, "waf-after", "", "try the SecLang of this file behind waf.after")
	flags.IntVar(&f.paranoia, "paranoia", 0, "try the firewall at this paranoia level, 1 to 4")
	flags.IntVar(&f.threshold, "threshold", 0, "try this score as the one from which a request is an attack")
	flags.StringSliceVar(&f.routes, "route", nil, "try the firewall's changes on this edge route alone; may be repeated")
	flags.StringSliceVar(&f.failOn, "fail-on", nil, "exit with 1 where there are events of this kind ("+strings.Join(kindNames(), ", ")+", any), or more than so many: newly-blocked=10")
	flags.BoolVar(&f.verify, "verify", false, "also judge all records again by the rules in force, and compare with the recorded verdicts")
	flags.BoolVar(&f.asJSON, "json", false, "the report as JSON")
	flags.BoolVar(&f.changed, "only-changed", false, "leave out what concerns the record and not the change: reasons of inexactness, files read")
	return cmd
}

// kindNames are the kinds of differences as flags name them.
func kindNames() []string {
	var all []string
	for _, k := range replay.Kinds() {
		all = append(all, flagOf(string(k)))
	}
	return all
}

func flagOf(kind string) string { return strings.ReplaceAll(kind, "_", "-") }

// failLimits reads --fail-on: how many events of a kind are still no failure.
func failLimits(specs []string) (map[string]int64, error) {
	limits := make(map[string]int64)
	for _, spec := range specs {
		name, number, counted := strings.Cut(spec, "=")
		kind := strings.ReplaceAll(name, "-", "_")
		if kind != "any" && !slices.Contains(kindNames(), flagOf(kind)) {
			return nil, fmt.Errorf("--fail-on %q: want one of %s, any", policy.Printable(name, 40), strings.Join(kindNames(), ", "))
		}
		var n int64
		if counted {
			var err error
			if n, err = strconv.ParseInt(number, 10, 64); err != nil || n < 0 {
				return nil, fmt.Errorf("--fail-on %s=%q: want a number of events", name, policy.Printable(number, 40))
			}
		}
		limits[kind] = n
	}
	return limits, nil
}

func exceeds(r *console.WhatIfReport, limits map[string]int64) bool {
	var total int64
	for kind, n := range r.Counts {
		total += n
		if limit, ok := limits[kind]; ok && n > limit {
			return true
		}
	}
	limit, ok := limits["any"]
	return ok && total > limit
}

// whatIfQuery reads the rule files and flags.
func (a *app) whatIfQuery(ctx context.Context, paths []string, f *whatIfFlags) (q console.WhatIfQuery, err error) {
	q = console.WhatIfQuery{Replace: f.replace, Remove: f.remove, Disable: f.disable, Enforce: f.enforce, Planes: f.planes, Classes: f.classes, Verify: f.verify}
	now := time.Now()
	if q.Since, err = replay.ParseSince(f.since, now); err != nil {
		return q, fmt.Errorf("--since: %w", err)
	}
	if f.until != "" {
		if q.Until, err = replay.ParseSince(f.until, now); err != nil {
			return q, fmt.Errorf("--until: %w", err)
		}
	}
	if q.Firewall, err = f.firewall(); err != nil {
		return q, err
	}
	if len(paths)+len(f.remove)+len(f.disable)+len(f.enforce) == 0 && !f.verify && q.Firewall == nil {
		return q, errors.New("nothing would change: name rule files, or --remove, --disable, --enforce or --verify; of the firewall --waf-directives, --paranoia or --threshold")
	}
	if f.replace && len(paths) == 0 {
		return q, errors.New("--replace: name the rules that are to take the place of those in force")
	}
	var sources []policy.Source
	for _, p := range paths {
		sources = append(sources, policy.Disk(p))
	}
	files, err := assembly.Loader(&a.settings.Policy).Files(ctx, sources...)
	if err != nil {
		return q, err
	}
	if len(paths) > 0 && len(files) == 0 {
		return q, fmt.Errorf("no rule file in %s: rule files end in .yaml or .yml", strings.Join(paths, ", "))
	}
	for _, file := range files {
		q.Files = append(q.Files, console.RuleText{Name: file.Name, Text: string(file.Text)})
	}
	return q, nil
}

// maxDirectives bounds a file of directives.
const maxDirectives = 256 << 10

// firewall reads the change of the firewall, nil for none.
func (f *whatIfFlags) firewall() (*console.FirewallChange, error) {
	c := &console.FirewallChange{Paranoia: f.paranoia, Threshold: f.threshold, Routes: f.routes}
	for _, file := range []struct {
		flag, path string
		text       *string
	}{{"--waf-directives", f.directives, &c.Directives}, {"--waf-before", f.before, &c.Before}, {"--waf-after", f.after, &c.After}} {
		if file.path == "" {
			continue
		}
		in, err := os.Open(file.path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file.flag, err)
		}
		b, err := io.ReadAll(io.LimitReader(in, maxDirectives+1))
		_ = in.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file.flag, err)
		}
		if len(b) > maxDirectives {
			return nil, fmt.Errorf("%s: %s has more than %d bytes", file.flag, file.path, maxDirectives)
		}
		*file.text = string(b)
	}
	switch {
	case c.Directives == "" && c.Before == "" && c.After == "" && c.Paranoia == 0 && c.Threshold == 0:
		if len(c.Routes) > 0 {
			return nil, errors.New("--route: nothing of the firewall would change: name --waf-directives, --paranoia or --threshold")
		}
		return nil, nil
	case f.paranoia < 0 || f.paranoia > 4:
		return nil, fmt.Errorf("--paranoia %d: want 1 to 4", f.paranoia)
	case f.threshold < 0:
		return nil, fmt.Errorf("--threshold %d: want 1 or more", f.threshold)
	}
	return c, nil
}

// whatIf asks the node that runs, or opens the data directory where none does.
func (a *app) whatIf(ctx context.Context, q console.WhatIfQuery, progress func(float64)) (console.WhatIfReport, error) {
	c, dir, err := a.dial(ctx)
	if err == nil {
		defer c.Close()
		return c.WhatIf(ctx, q, progress)
	}
	if !errors.Is(err, client.ErrNoNode) {
		return console.WhatIfReport{}, err
	}
	loader := assembly.Loader(&a.settings.Policy)
	live, err := loader.Load(ctx, a.settings.Policy.Sources(assembly.BuiltinRules())...)
	if err != nil {
		return console.WhatIfReport{}, err
	}
	st, err := assembly.OpenStorage(ctx, dir, &a.settings, a.quiet(), nil)
	if err != nil {
		return console.WhatIfReport{}, err
	}
	defer st.Close()
	return assembly.WhatIf(ctx, st.History(), loader, live, assembly.Local(&a.settings, st), q, progress)
}

// problemsOf are problems as they came over the API.
func problemsOf(errs []console.RuleError) policy.Problems {
	var out policy.Problems
	for _, e := range errs {
		out = append(out, policy.Problem{File: e.File, Line: e.Line, Column: e.Column, Rule: e.Rule, Message: e.Message, Hint: e.Hint})
	}
	return out
}

// printWhatIf prints a report for people.
func (a *app) printWhatIf(r *console.WhatIfReport, onlyChanged bool) error {
	w := a.stdout
	width, _, ok := isTerminal(w)
	if !ok {
		width = 160
	}
	fmt.Fprintln(w, whatIfHead(r))
	kinds := []string{}
	for _, k := range replay.Kinds() {
		if r.Counts[string(k)] > 0 {
			kinds = append(kinds, string(k))
		}
	}
	if len(kinds) == 0 {
		fmt.Fprintln(w, "nothing would have been otherwise")
	}
	for _, k := range kinds {
		fmt.Fprintf(w, "  %-18s %d\n", strings.ReplaceAll(k, "_", " "), r.Counts[k])
	}
	if f := r.Firewall; f != nil {
		if err := whatIfTable(w, firewallRule, f.ByRule, kinds, width); err != nil {
			return err
		}
	}
	for _, table := range []struct {
		name string
		rows []console.WhatIfRow
	}{{"RULE", r.ByRule}, {"ROUTE", r.ByRoute}, {"ASSET", r.ByAsset}, {"CLIENT", r.ByClient}} {
		if err := whatIfTable(w, table.name, table.rows, kinds, width); err != nil {
			return err
		}
	}
	if len(r.Examples) > 0 {
		fmt.Fprintln(w, "\nexamples:")
		for _, e := range r.Examples[:min(12, len(r.Examples))] {
			fmt.Fprintf(w, "  %s  %s  %s\n", e.Event, strings.ReplaceAll(e.Kind, "_", " "), e.Rule)
			fmt.Fprintf(w, "    %s\n", policy.Printable(e.Sentence, max(60, width-4)))
		}
	}
	if v := r.Verified; v != nil {
		fmt.Fprintf(w, "\nrecorded verdicts judged again: %d the same, %d different, %d over masked values, %d of other rules\n", v.Same, v.Different, v.Masked, v.Other)
		if v.Other > 0 {
			fmt.Fprintln(w, "  those of other rules were judged by a set that is not in force any more, which cannot be asked")
		}
		for _, m := range v.Mismatches {
			fmt.Fprintf(w, "  %s: fired on record %d times and not now, now %d times and not on record, as on event %s\n", m.Rule, m.Recorded, m.Replayed, m.Event)
		}
	}
	if onlyChanged {
		return nil
	}
	if f := r.Firewall; f != nil {
		fmt.Fprintf(w, "\nthe firewall was tried on %d requests: %s\n", f.Requests, howSure(f))
	}
	printReasons(w, r.Inexact)
	if r.Verified != nil && r.Events == 0 {
		return nil // nothing changes, so that nothing else was read
	}
	fmt.Fprintf(w, "\n%d events in %.1f s, %d judged by both sets, %d files read, %d passed over\n", r.Events, float64(r.ElapsedMS)/1000, r.Judged, r.Files, r.Skipped)
	return nil
}

// printReasons says why a replay may differ from what was.
func printReasons(w io.Writer, reasons []console.ReplayReason) {
	if len(reasons) == 0 {
		return
	}
	fmt.Fprintln(w, "\ninexact, for these reasons:")
	for _, reason := range reasons {
		if reason.Events > 0 {
			fmt.Fprintf(w, "  %s (%d events)\n", reason.Reason, reason.Events)
		} else {
			fmt.Fprintf(w, "  %s\n", reason.Reason)
		}
	}
}

// whatIfHead says what has changed.
func whatIfHead(r *console.WhatIfReport) string {
	var parts []string
	for _, p := range []struct {
		word string
		ids  []string
	}{{"added", r.Rules.Added}, {"changed", r.Rules.Changed}, {"removed", r.Rules.Removed}} {
		switch n := len(p.ids); {
		case n > 4:
			parts = append(parts, fmt.Sprintf("%d %s", n, p.word))
		case n > 0:
			parts = append(parts, p.word+" "+strings.Join(p.ids, ", "))
		}
	}
	head := "the rules are those in force"
	if len(parts) > 0 {
		head = "rules " + strings.Join(parts, "; ")
	}
	if r.Firewall != nil {
		head += "; the firewall is changed"
	}
	return head
}

// firewallRule heads the table of the firewall's own rules.
const firewallRule = "FIREWALL RULE"

// howSure says how far the answer of a changed firewall can be relied on.
func howSure(f *console.WhatIfFirewall) string {
	var parts []string
	if f.Kept > 0 {
		parts = append(parts, fmt.Sprintf("%d as they were received", f.Kept))
	}
	if f.Uncertain == 0 {
		return strings.Join(append(parts, "exact"), ", ")
	}
	return strings.Join(append(parts, fmt.Sprintf("inexact for %d", f.Uncertain)), ", ")
}

// whatIfRowsShown bounds the rows of a table for people; --json has more.
const whatIfRowsShown = 15

// whatIfTable prints a table whose columns are the kinds that occur.
func whatIfTable(out io.Writer, name string, rows []console.WhatIfRow, kinds []string, width int) error {
	rules := name == "RULE" || name == firewallRule
	shown := slices.DeleteFunc(slices.Clone(rows), func(r console.WhatIfRow) bool { return len(r.Counts) == 0 && (!rules || r.Before == r.After) })
	if len(shown) == 0 {
		return nil
	}
	columns := 0
	for _, k := range kinds {
		columns += len(k) + 2
	}
	if rules {
		columns += len("BEFORE  AFTER  ")
	}
	most := max(16, width-columns)
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	head := []string{name}
	if rules {
		head = append(head, "BEFORE", "AFTER")
	}
	for _, k := range kinds {
		head = append(head, strings.ToUpper(strings.ReplaceAll(k, "_", " ")))
	}
	fmt.Fprintln(w, strings.Join(head, "\t"))
	for _, r := range shown[:min(len(shown), whatIfRowsShown)] {
		cells := []string{policy.Printable(r.Name, most)}
		if rules {
			cells = append(cells, strconv.FormatInt(r.Before, 10), strconv.FormatInt(r.After, 10))
		}
		for _, k := range kinds {
			cell := "-"
			if n := r.Counts[k]; n > 0 {
				cell = strconv.FormatInt(n, 10)
			}
			cells = append(cells, cell)
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if over := len(shown) - whatIfRowsShown; over > 0 {
		fmt.Fprintf(out, "and %d more: --json has up to 100\n", over)
	}
	return nil
}
