package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/console/client"
	"github.com/testudo-sec/testudo/policy"
)

func (a *app) apisCommand() *cobra.Command {
	var asJSON bool
	var q console.APIQuery
	cmd := &cobra.Command{
		Use:   "apis [TEXT | ROUTE METHOD TEMPLATE]",
		Short: "Show the endpoints of APIs behind the edge, as learned from traffic",
		Long: "Shows the endpoints that the node has learned from traffic, and how each stands to its OpenAPI document: documented, shadow (the document does not know it),\n" +
			"zombie (deprecated and in use), drifted (other fields, types or parameters), unauthenticated, new-sensitive; learned where there is no document, unconfirmed\n" +
			"where too few asked for it. With a text, those that have it in their template. With route, method and template, all that is known of one. It needs a node that runs.",
		Example: `  testudo apis
  testudo apis --state shadow
  testudo apis shop GET '/api/products/{name}'
  testudo apis drift
  testudo apis export shop > openapi.json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 2 || len(args) > 3 {
				return fmt.Errorf("want nothing, a text, or route, method and template; there are %d arguments", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withNode(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				if len(args) == 3 {
					d, err := c.API(ctx, console.APIKey{Route: args[0], Method: args[1], Template: args[2]})
					if err != nil {
						return err
					}
					if asJSON {
						return a.printJSON(d)
					}
					printAPI(a.stdout, &d)
					return nil
				}
				if len(args) == 1 {
					q.Text = args[0]
				}
				list, err := c.APIs(ctx, q)
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(list)
				}
				printAPIs(a.stdout, &list, a.width(), time.Now())
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&q.Route, "route", "", "of this route only")
	cmd.Flags().StringVar(&q.Method, "method", "", "of this method only")
	cmd.Flags().StringVar(&q.State, "state", "", "in this state only: "+strings.Join(console.APIStates(), ", "))
	cmd.Flags().IntVar(&q.Limit, "limit", 200, "endpoints, at most 500")
	cmd.PersistentFlags().BoolVar(&asJSON, "json", false, "the answer as JSON")
	cmd.AddCommand(&cobra.Command{
		Use:   "drift [ROUTE]",
		Short: "Show how routes differ from their OpenAPI documents, and what is new where there is none",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withNode(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				all, err := c.APIDrift(ctx, strings.Join(args, ""))
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(all)
				}
				printDrift(a.stdout, all, a.width())
				return nil
			})
		},
	}, &cobra.Command{
		Use:   "export ROUTE",
		Short: "Write what was learned of a route as an OpenAPI 3.1 document",
		Long:  "Writes what is confirmed of a route as an OpenAPI 3.1 document in JSON, which is YAML too. Formats and what is required are what was seen, not what is meant: read it before you enforce it.",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withNode(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				doc, err := c.APIDocument(ctx, args[0])
				if err != nil {
					return err
				}
				var b bytes.Buffer
				if err := json.Indent(&b, doc, "", "  "); err != nil {
					return err
				}
				_, err = fmt.Fprintln(a.stdout, strings.TrimSpace(b.String()))
				return err
			})
		},
	})
	return cmd
}

// withNode runs fn with the node that runs here.
func (a *app) withNode(ctx context.Context, fn func(context.Context, *client.Client) error) error {
	c, _, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return fn(ctx, c)
}

// width is that of the terminal; 0 where stdout is none.
func (a *app) width() int {
	if f, ok := a.stdout.(*os.File); ok {
		if w, _, tty := terminal(f); tty {
			return max(w, 40)
		}
	}
	return 0
}

// printAPIs writes a table for each route that fits the width; 0 for any width.
func printAPIs(w io.Writer, list *console.APIList, width int, now time.Time) {
	if width == 0 {
		width = maxProcessLine
	}
	at := 0
	for _, r := range list.Routes {
		title := fmt.Sprintf("route %s: %d endpoints learned, ", r.Name, r.Endpoints)
		if r.Document == "" {
			title += "no document"
		} else {
			title += fmt.Sprintf("%d operations in %s, %d differences", r.Operations, cmp.Or(r.Title, r.Document), r.Drift)
		}
		fmt.Fprintln(w, fit(title, width))
		rows := [][]string{{"METHOD", "TEMPLATE", "STATE", "REQUESTS", "CALLERS", "CREDENTIALS", "SENSITIVE", "SEEN"}}
		for ; at < len(list.Items) && list.Items[at].Route == r.Name; at++ {
			e := &list.Items[at]
			rows = append(rows, []string{e.Method, e.Template, strings.Join(e.State, ", "), fmt.Sprint(e.Requests), fmt.Sprint(e.Callers),
				cmp.Or(strings.Join(e.Auth, ", "), "-"), cmp.Or(strings.Join(e.Sensitive, ", "), "-"), coarseSince(now.Sub(e.Last))})
		}
		if len(rows) > 1 {
			printColumns(w, rows, width, 1, 5, 6, 2)
		}
		fmt.Fprintln(w)
	}
	if list.More > 0 {
		fmt.Fprintf(w, "… and %d more: name a route, a text or --state\n", list.More)
	}
	if len(list.Items) == 0 {
		fmt.Fprintln(w, "no endpoint fits")
	}
}

// maxCell bounds one cell where nothing bounds the width.
const maxCell = 120

// printColumns writes rows; of those that do not fit the width, the named columns are cut first, the widest of them at a time.
func printColumns(w io.Writer, rows [][]string, width int, shrink ...int) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			row[i] = fit(cell, maxCell)
			widths[i] = max(widths[i], len([]rune(row[i])))
		}
	}
	total := 2 * (len(widths) - 1)
	for _, n := range widths {
		total += n
	}
	const least = 9
	for ; total > width; total-- {
		widest := shrink[0]
		for _, i := range shrink {
			if widths[i] > widths[widest] {
				widest = i
			}
		}
		if widths[widest] <= least {
			break
		}
		widths[widest]--
	}
	for _, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			fmt.Fprintf(&b, "%-*s", widths[i]+2, fit(cell, max(widths[i], 8)))
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

func printAPI(w io.Writer, d *console.APIDetail) {
	say := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	line := func(s string) string { return policy.Printable(s, maxDetail) }
	say("%s %s of route %s: %s", line(d.Method), line(d.Template), line(d.Route), strings.Join(d.State, ", "))
	say("  requests     %d, %d answered with success, by about %d callers", d.Requests, d.Succeeded, d.Callers)
	say("  seen         %s to %s", d.First.UTC().Format(time.RFC3339), d.Last.UTC().Format(time.RFC3339))
	say("  hosts        %s", line(cmp.Or(strings.Join(d.Hosts, ", "), "-")))
	say("  credentials  %s", line(cmp.Or(strings.Join(d.Auth, ", "), "-")))
	say("  sensitive    %s", line(cmp.Or(strings.Join(d.Sensitive, ", "), "-")))
	var statuses []string
	for _, s := range d.Statuses {
		statuses = append(statuses, fmt.Sprintf("%d (%d)", s.Status, s.Count))
	}
	say("  statuses     %s", strings.Join(statuses, ", "))
	if len(d.Fields) > 0 {
		say("")
		t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
		fmt.Fprintln(t, "IN\tNAME\tTYPE\tFORMAT\tALWAYS")
		for _, f := range d.Fields {
			always := ""
			if f.Required {
				always = "yes"
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", f.In, fit(f.Name, maxCell), strings.Join(f.Types, ", "), f.Format, always)
		}
		_ = t.Flush()
		if d.More > 0 {
			say("… and %d more: testudo apis export has all", d.More)
		}
	}
	for i, one := range d.Drift {
		if i == 0 {
			say("")
		}
		say("%s: %s", one.Kind, line(strings.TrimSpace(one.Where+" "+one.Message)))
	}
}

func printDrift(w io.Writer, all []console.APIDrift, width int) {
	if len(all) == 0 {
		fmt.Fprintln(w, "no difference is known. Endpoints count that several callers asked for, or one did often.")
		return
	}
	if width == 0 {
		width = maxProcessLine
	}
	rows := [][]string{{"ROUTE", "KIND", "METHOD", "TEMPLATE", "WHERE", "DIFFERENCE", "SINCE"}}
	for _, d := range all {
		since := "-"
		if !d.Since.IsZero() {
			since = d.Since.UTC().Format(time.DateOnly)
		}
		rows = append(rows, []string{d.Route, d.Kind, d.Method, d.Template, d.Where, d.Message, since})
	}
	printColumns(w, rows, width, 3, 4, 5)
}
