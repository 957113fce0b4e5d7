package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/policy"
)

func (a *app) psCommand() *cobra.Command {
	var asJSON bool
	var q console.ProcessQuery
	cmd := &cobra.Command{
		Use:   "ps [TEXT]",
		Short: "Show what runs on this host, by container",
		Long: "Shows the processes of this host and of its containers as trees, as the node that runs knows them. With a text, those that have it in their command\n" +
			"line, executable, user, container, image or pod, with what they came from. It needs a node that watches the host: sudo testudo up.",
		Example: `  testudo ps
  testudo ps --all nginx
  testudo ps --container 4f1c8a2be07d --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				q.Text = args[0]
			}
			c, _, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			list, err := c.Processes(cmd.Context(), q)
			if err != nil {
				return err
			}
			if asJSON {
				out := json.NewEncoder(a.stdout)
				out.SetIndent("", "  ")
				return out.Encode(list)
			}
			width := 0 // a pipe gets whole lines
			if f, ok := a.stdout.(*os.File); ok {
				if w, _, tty := terminal(f); tty {
					width = max(w, 40)
				}
			}
			printProcesses(a.stdout, &list, width)
			return nil
		},
	}
	cmd.Flags().BoolVarP(&q.All, "all", "a", false, "also those that have ended, as far as they are remembered")
	cmd.Flags().StringVar(&q.Container, "container", "", `id of a container, or its first digits; "host" for what is in none`)
	cmd.Flags().IntVar(&q.Limit, "limit", 500, "processes of one container, at most 500")
	cmd.Flags().BoolVar(&asJSON, "json", false, "the list as JSON")
	return cmd
}

// maxProcessLine bounds what is shown of a command line where nothing bounds the width.
const maxProcessLine = 4096

// printProcesses writes a table for each container that fits the width; 0 for any width.
func printProcesses(w io.Writer, list *console.ProcessList, width int) {
	if width == 0 {
		width = maxProcessLine
	}
	for i := range list.Groups {
		g := &list.Groups[i]
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintln(w, fit(groupTitle(g), width))
		fmt.Fprintf(w, "%7s %-8s %6s  %s\n", "PID", "USER", "SINCE", "COMMAND")
		for _, p := range g.Processes {
			since, end := coarseSince(list.At.Sub(p.Started)), ""
			if p.Started.IsZero() {
				since = "?"
			}
			if !p.Ended.IsZero() {
				end = fmt.Sprintf(" (%s, %s ago)", exitWord(p), coarseSince(list.At.Sub(p.Ended)))
			}
			room := width - len("    PID USER      SINCE  ") - len(end)
			indent := strings.Repeat(" ", max(min(2*p.Depth, 24, room-20), 0))
			room -= len(indent)
			fmt.Fprintf(w, "%7d %-8s %6s  %s%s%s\n", p.PID, fit(p.User, 8), since, indent, fit(cmp.Or(p.CmdLine, p.Exe, "["+p.Name+"]"), max(room, 12)), end)
		}
		if g.More > 0 {
			fmt.Fprintf(w, "        … and %d more\n", g.More)
		}
	}
	if list.Hidden > 0 {
		fmt.Fprintf(w, "\n… and %d more containers: --container names one\n", list.Hidden)
	}
	if len(list.Groups) == 0 {
		fmt.Fprintln(w, "no process fits")
	}
}

func groupTitle(g *console.ProcessGroup) string {
	c := g.Container
	if c == nil {
		return fmt.Sprintf("host: %d running", g.Living)
	}
	title := "container " + strings.Join(strings.Fields(c.Name+" "+c.ID[:min(12, len(c.ID))]), " ")
	if c.Image != "" {
		title += ", " + c.Image
	}
	if c.Pod != "" {
		title += ", pod " + strings.TrimPrefix(c.Namespace+"/"+c.Pod, "/")
	}
	if c.Privileged {
		title += ", PRIVILEGED"
	}
	return fmt.Sprintf("%s: %d running", policy.Printable(title, maxDetail), g.Living)
}

// exitWord says how a process ended.
func exitWord(p console.ProcessLine) string {
	if p.Signal != 0 {
		return fmt.Sprintf("signal %d", p.Signal)
	}
	return fmt.Sprintf("exit %d", p.Code)
}

// coarseSince is a time in at most five characters.
func coarseSince(d time.Duration) string {
	switch s := max(int64(d/time.Second), 0); {
	case s < 100:
		return fmt.Sprintf("%ds", s)
	case s < 100*60:
		return fmt.Sprintf("%dm", s/60)
	case s < 72*3600:
		return fmt.Sprintf("%dh", s/3600)
	default:
		return fmt.Sprintf("%dd", s/86400)
	}
}
