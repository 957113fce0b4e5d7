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
	"github.com/testudo-sec/testudo/replay"
	"github.com/testudo-sec/testudo/signal"
)

func (a *app) huntCommand() *cobra.Command {
	var since, until string
	var limit int
	var asJSON, ids bool
	cmd := &cobra.Command{
		Use:   "hunt CONDITION",
		Short: "Search what was recorded with a condition as in a rule's when",
		Example: `  testudo hunt 'http_response.code >= 500' --since 1h
  testudo hunt 'edge.route == "shop" && src_endpoint.ip == "203.0.113.7"' --since 7d --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			q := console.HuntQuery{Condition: args[0], Limit: limit}
			now := time.Now()
			var err error
			if q.Since, err = replay.ParseSince(since, now); err != nil {
				return fmt.Errorf("--since: %w", err)
			}
			if until != "" {
				if q.Until, err = replay.ParseSince(until, now); err != nil {
					return fmt.Errorf("--until: %w", err)
				}
			}
			w := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
			if !asJSON {
				head := "TIME\tCLASS\tVERDICT\tCLIENT\tWHAT\tRULES"
				if ids {
					head = "ID\t" + head
				}
				fmt.Fprintln(w, head)
			}
			stats, err := a.hunt(cmd.Context(), q, func(line json.RawMessage) error {
				if asJSON {
					_, err := fmt.Fprintf(a.stdout, "%s\n", line)
					return err
				}
				var e signal.Event
				if err := e.UnmarshalJSON(line); err != nil {
					return err
				}
				if ids {
					fmt.Fprintf(w, "%s\t", e.ID)
				}
				huntLine(w, &e)
				return nil
			})
			if err != nil {
				return err
			}
			if asJSON {
				return nil
			}
			if err := w.Flush(); err != nil {
				return err
			}
			fmt.Fprintf(a.stdout, "\n%d matched of %d events, %d files read, %d passed over, %d ms\n", stats.Matched, stats.Scanned, stats.Files,
				stats.Skipped, stats.ElapsedMS)
			if stats.Truncated {
				fmt.Fprintln(a.stdout, "there are more: raise --limit, or narrow the condition")
			}
			if stats.Inexact {
				fmt.Fprintln(a.stdout, "inexact, for these reasons:")
			}
			for _, p := range stats.Problems {
				fmt.Fprintf(a.stdout, "  %s\n", p)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&since, "since", "1h", "how far back, as in 1h or 7d, or a time as in 2026-11-22T10:00:00Z")
	cmd.Flags().StringVar(&until, "until", "", "up to when, in the same forms (default now)")
	cmd.Flags().IntVar(&limit, "limit", 50, "at most so many events, the newest; 0 for as many as there may be, 10000")
	cmd.Flags().BoolVar(&ids, "id", false, "with the events' ids, for testudo explain and testudo exception")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one OCSF JSON event a line")
	return cmd
}

// huntLine prints an event for people: who did what, and what was thought of it.
func huntLine(w *tabwriter.Writer, e *signal.Event) {
	what := whatHappened(e)
	client := ""
	if ip := e.IP(signal.FieldSrcEndpointIP); ip.IsValid() {
		client = ip.String()
	}
	rules := ""
	for i, r := range e.Strings(signal.FieldVerdictRules) {
		if i > 0 {
			rules += " "
		}
		rules += r
	}
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", time.Unix(0, e.Time).Local().Format("2006-01-02 15:04:05.000"), e.Class, console.DecisionOf(e),
		client, policy.Printable(what, 80), policy.Printable(rules, 80))
}

// whatHappened says in a few words what an event is about.
func whatHappened(e *signal.Event) string {
	if title := e.RecordedStr(signal.FieldFindingInfoTitle); title != "" {
		return title
	}
	if method := e.RecordedStr(signal.FieldHTTPRequestHTTPMethod); method != "" {
		what := method + " " + e.RecordedStr(signal.FieldHTTPRequestURLPath)
		if code := e.Int(signal.FieldHTTPResponseCode); code > 0 {
			what += fmt.Sprintf(" -> %d", code)
		}
		return what
	}
	for _, f := range []signal.Field{signal.FieldAPIOperation, signal.FieldProcessCmdLine, signal.FieldProcessFilePath, signal.FieldFilePath, signal.FieldRegKeyPath, signal.FieldQueryHostname,
		signal.FieldMessage, signal.FieldActorProcessFilePath, signal.FieldMetadataEventCode} {
		if v := e.RecordedStr(f); v != "" {
			return v
		}
	}
	return ""
}

// hunt asks the node that runs, or opens the data directory where none does.
func (a *app) hunt(ctx context.Context, q console.HuntQuery, yield func(json.RawMessage) error) (console.HuntStats, error) {
	c, dir, err := a.dial(ctx)
	if err == nil {
		defer c.Close()
		return c.Hunt(ctx, q, yield)
	}
	if !errors.Is(err, client.ErrNoNode) {
		return console.HuntStats{}, err
	}
	st, err := assembly.OpenStorage(ctx, dir, &a.settings, a.quiet(), nil)
	if err != nil {
		return console.HuntStats{}, err
	}
	defer st.Close()
	return assembly.Hunt(ctx, st.History(), q, func(e *signal.Event) error { return yield(e.AppendJSON(nil)) })
}
