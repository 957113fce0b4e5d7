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

func (a *app) traceCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "trace REQUEST-ID",
		Short:   "Show what a request caused: services, processes, files, connections",
		Example: `  testudo trace 019a8f3c-5b1e-7c44-9d07-2f6f5b7c1a10`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := a.trace(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if asJSON {
				out := json.NewEncoder(a.stdout)
				out.SetIndent("", "  ")
				return out.Encode(t)
			}
			printTrace(a.stdout, &t)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "the trace as JSON")
	return cmd
}

// trace asks the node that runs, or opens the data directory where none does.
func (a *app) trace(ctx context.Context, request string) (console.Trace, error) {
	c, dir, err := a.dial(ctx)
	if err == nil {
		defer c.Close()
		return c.Trace(ctx, request)
	}
	if !errors.Is(err, client.ErrNoNode) {
		return console.Trace{}, err
	}
	st, err := assembly.OpenStorage(ctx, dir, &a.settings, a.quiet(), nil)
	if err != nil {
		return console.Trace{}, err
	}
	defer st.Close()
	return assembly.Trace(ctx, st.History(), request, nil)
}

// traceWidth is the width of a terminal that a trace fits.
const traceWidth = 80

// printTrace draws the tree, a line for each thing and one for what is to be said besides.
func printTrace(w io.Writer, t *console.Trace) {
	fmt.Fprintf(w, "request %s\n", policy.Printable(t.Request, traceWidth-8))
	for _, l := range t.Lines {
		indent := strings.Repeat("  ", min(l.Depth, 12))
		head := l.Kind
		if l.PID != 0 {
			head += fmt.Sprintf(" %d", l.PID)
		}
		mark := ""
		if l.Decision > signal.Allow {
			mark = " [" + l.Decision.String() + "]"
		}
		if became := l.Became(); became != "" {
			mark = " [" + became + "]"
		}
		fmt.Fprintf(w, "%s%s  %s%s\n", indent, head, fit(l.Text, traceWidth-len(indent)-len(head)-2-len(mark)), mark)
		more := l.Detail
		if l.Joined != "" {
			more += ", joined by " + l.Joined
		}
		if l.Unsure {
			more += "; perhaps: it serves several at once"
		}
		if len(l.Rules) > 0 {
			more = strings.TrimPrefix(more+"; rules: "+strings.Join(l.Rules, ", "), "; ")
		}
		// A mark in front, so that no name can look like a line of the tree.
		for _, line := range wrap(more, traceWidth-len(indent)-6) {
			fmt.Fprintf(w, "%s    · %s\n", indent, line)
		}
	}
	if len(t.Lines) == 0 {
		fmt.Fprintln(w, "  nothing is kept of it")
	}
	if t.More {
		fmt.Fprintln(w, "there is more than is shown: testudo hunt finds the rest")
	}
}

// maxDetail bounds what is said of one thing besides its name.
const maxDetail = 600

// fit makes s printable and cuts it to n columns.
func fit(s string, n int) string {
	r := []rune(policy.Printable(s, maxDetail))
	if n = max(n, 8); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return string(r)
}

// wrap makes s printable and breaks it into lines of n columns, at spaces where there are some.
func wrap(s string, n int) []string {
	var lines []string
	for r := []rune(policy.Printable(s, maxDetail)); len(r) > 0; {
		end := min(len(r), n)
		if end < len(r) {
			for at := end; at > n/2; at-- {
				if r[at] == ' ' {
					end = at
					break
				}
			}
		}
		lines = append(lines, string(r[:end]))
		for r = r[end:]; len(r) > 0 && r[0] == ' '; {
			r = r[1:]
		}
	}
	return lines
}
