package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/testudo-sec/testudo/cmd/testudo/assembly"
	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/console/client"
	"github.com/testudo-sec/testudo/kernel"
)

func (a *app) fimCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "fim",
		Short: "Files of this host that must not change unseen",
		Long: `Files of this host that must not change unseen: what they were is a baseline, whose digest
stands in the ledger, and what is different from it is told of.

The node that runs is asked. Where none runs, the files are looked at with the rights of whoever
runs the command: as root.`,
	}
	cmd.AddCommand(a.fimBaselineCommand(), a.fimStatusCommand(), a.fimDiffCommand(), a.fimAcceptCommand())
	return cmd
}

func (a *app) fimBaselineCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "baseline",
		Short: "Take what is there now as right, and sign it in the ledger",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			bar := newProgress(a.stderr)
			defer bar.clear()
			r, err := a.files(cmd.Context(), func(ctx context.Context, c *client.Client) (console.FileReport, error) { return c.TakeFiles(ctx) },
				func(ctx context.Context, b *assembly.FileBook) (console.FileReport, error) {
					return b.Take(ctx, func(n int) { bar.count(n, "files") })
				})
			if err != nil {
				return err
			}
			fmt.Fprintf(a.stdout, "%d files, %d with a digest, signed in the ledger as\n%s\n", r.Files, r.Hashed, r.Baseline)
			printFull(a.stdout, &r)
			if r.Altered > 0 {
				fmt.Fprintf(a.stdout, "%d files are not what their package says, and are in the baseline as they are: testudo fim diff lists them\n", r.Altered)
			}
			return nil
		},
	}
}

func (a *app) fimStatusCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "What is watched, and how much of it differs as last seen",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := a.fileReport(cmd.Context(), false)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(r)
			}
			printFileStatus(a.stdout, &r)
			if r.Differ > 0 || r.Problem != "" {
				return errAnswered
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}

func (a *app) fimDiffCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "diff",
		Short: "Look at all files now, and list those that are not what they were",
		Long: `Look at all files now, and list those that differ from the signed baseline, and those that are
not what their package's database says. Exit status 1: something differs.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := a.fileReport(cmd.Context(), true)
			if err != nil {
				return err
			}
			if asJSON {
				err = a.printJSON(r)
			} else {
				printFileDiff(a.stdout, &r)
			}
			if err == nil && (r.Differ > 0 || r.Problem != "") {
				return errAnswered
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}

func (a *app) fimAcceptCommand() *cobra.Command {
	var o console.FileOrder
	cmd := &cobra.Command{
		Use:   "accept [PATH...]",
		Short: "Take differences into the baseline, and sign it in your name",
		Example: `  testudo fim accept /etc/nginx
  testudo fim accept --packaged    # after an upgrade: all that is what its package says`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && !o.Packaged {
				return errors.New("name the files or folders whose changes are right, or --packaged: testudo fim diff lists what differs")
			}
			for _, p := range args {
				at, err := filepath.Abs(p)
				if err != nil {
					return err
				}
				if !strings.Contains(p, "%") { // as a list prints it, else as the file system has it
					at = kernel.FilePath(at).String()
				}
				o.Paths = append(o.Paths, at)
			}
			taken, err := ask(cmd.Context(), a, func(ctx context.Context, c *client.Client) ([]console.FileChange, error) {
				return c.AcceptFiles(ctx, o)
			},
				func(ctx context.Context, b *assembly.FileBook) ([]console.FileChange, error) { return b.Accept(ctx, o) })
			if err != nil {
				return err
			}
			if len(taken) == 0 {
				fmt.Fprintln(a.stdout, "nothing there differs from the baseline")
				return nil
			}
			printChanges(a.stdout, taken)
			fmt.Fprintf(a.stdout, "%d accepted, signed in the ledger\n", len(taken))
			return nil
		},
	}
	cmd.Flags().BoolVar(&o.Packaged, "packaged", false, "all files that are what their package's database says")
	return cmd
}

// ask asks the node that runs, or works on the data directory where none does.
func ask[T any](ctx context.Context, a *app, node func(context.Context, *client.Client) (T, error), alone func(context.Context, *assembly.FileBook) (T, error)) (out T, err error) {
	c, dir, err := a.dial(ctx)
	if err == nil {
		defer c.Close()
		return node(ctx, c)
	}
	if !errors.Is(err, client.ErrNoNode) {
		return out, err
	}
	b, err := assembly.OpenFileBook(ctx, dir, &a.settings, a.quiet())
	if err != nil {
		return out, err
	}
	defer b.Close()
	return alone(ctx, b)
}

func (a *app) files(ctx context.Context, node func(context.Context, *client.Client) (console.FileReport, error),
	alone func(context.Context, *assembly.FileBook) (console.FileReport, error)) (console.FileReport, error) {
	return ask(ctx, a, node, alone)
}

func (a *app) fileReport(ctx context.Context, now bool) (console.FileReport, error) {
	return a.files(ctx, func(ctx context.Context, c *client.Client) (console.FileReport, error) { return c.Files(ctx, now) },
		func(ctx context.Context, b *assembly.FileBook) (console.FileReport, error) { return b.Report(ctx) })
}

func (a *app) printJSON(v any) error {
	out := json.NewEncoder(a.stdout)
	out.SetIndent("", "  ")
	return out.Encode(v)
}

func printFull(w io.Writer, r *console.FileReport) {
	if r.Full {
		fmt.Fprintln(w, "there are more files than are watched: raise fim.max_files, or name fewer folders in fim.paths")
	}
}

// fimWidth is the width of a terminal that lists fit.
const fimWidth = 80

func printFileStatus(w io.Writer, r *console.FileReport) {
	if r.Problem != "" {
		fmt.Fprintf(w, "NOT COMPARED: %s\n", r.Problem)
	}
	fmt.Fprintf(w, "watched    %s\n", fit(strings.Join(r.Roots, " "), fimWidth-11))
	if r.Baseline != "" {
		fmt.Fprintf(w, "baseline   %d files, %d with a digest, taken %s\n           %s\n", r.Files, r.Hashed, r.Taken.Format("2006-01-02 15:04 MST"), r.Baseline)
	}
	if !r.Scanned.IsZero() {
		fmt.Fprintf(w, "looked at  %s, in %d ms\n", r.Scanned.Format("2006-01-02 15:04:05 MST"), r.TookMS)
	}
	if r.Dropped > 0 {
		fmt.Fprintf(w, "dropped    %d events of files did not fit; all files were looked at instead\n", r.Dropped)
	}
	printFull(w, r)
	fmt.Fprintf(w, "differ     %d\naltered    %d not as their package says\n", r.Differ, r.Altered)
}

func printFileDiff(w io.Writer, r *console.FileReport) {
	if r.Problem != "" {
		fmt.Fprintf(w, "NOT COMPARED: %s\n", r.Problem)
	}
	printFull(w, r)
	printChanges(w, r.Changes)
	if more := r.Differ - len(r.Changes); more > 0 {
		fmt.Fprintf(w, "and %d more\n", more)
	}
	for i, f := range r.NotAsPackaged {
		if i == 0 {
			fmt.Fprintln(w, "not as their package says:")
		}
		fmt.Fprintf(w, "  %s\n      %s\n", fit(f.Path, fimWidth-2), fit(f.Package, fimWidth-6))
	}
	if more := r.Altered - len(r.NotAsPackaged); more > 0 {
		fmt.Fprintf(w, "and %d more\n", more)
	}
	if r.Differ == 0 && r.Problem == "" {
		fmt.Fprintf(w, "%d files are what they were\n", r.Files)
	}
}

// printChanges lists what differs: what, and the path in what is left of a line; below it what a digest or a mode was and is.
func printChanges(w io.Writer, all []console.FileChange) {
	for i := range all {
		c := &all[i]
		fmt.Fprintf(w, "%-16s %s\n", strings.Join(c.What, ","), fit(c.Path, fimWidth-17))
		for _, line := range changed(c) {
			fmt.Fprintf(w, "%17s%s\n", "", fit(line, fimWidth-17))
		}
	}
}

// changed says what a file was and is.
func changed(c *console.FileChange) (lines []string) {
	if c.Before != nil && c.After != nil {
		add := func(what, before, after string) {
			if before != after {
				lines = append(lines, what+" "+before+" -> "+after)
			}
		}
		add("sha256", short(c.Before.SHA256), short(c.After.SHA256))
		add("mode", c.Before.Mode, c.After.Mode)
		add("owner", c.Before.Owner, c.After.Owner)
		add("target", c.Before.Target, c.After.Target)
	}
	if c.Package != "" {
		line := "package " + c.Package
		if c.Altered {
			line += ", which says another digest"
		}
		lines = append(lines, line)
	}
	if c.After != nil && c.After.Unread != "" {
		lines = append(lines, "not read: "+c.After.Unread)
	}
	return lines
}

func short(digest string) string {
	if digest == "" {
		return "none"
	}
	return digest[:min(len(digest), 16)]
}
