// Command bench measures testudo against its bars, beside its peers in the same run, and
// prints one line for each:
//
//	name value unit bound ok|short
//
// It exits with 1 where a bar is short, with 2 where one could not be measured or the command
// line is wrong. Progress and the figures behind a value go to standard error. See README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/testudo-sec/testudo/bench/bar"
	"github.com/testudo-sec/testudo/bench/proc"
)

func main() {
	// A role has no signals to handle: whoever ends one by a signal wants it gone.
	if status, played := proc.Play(context.Background(), roles(), os.Args[1:]); played {
		os.Exit(status)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

type options struct {
	selection, testudo, module, corpora, profile, write string
	runs                                                int
	short, list                                         bool
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.selection, "bar", "", "measure only the bars of this `part`, or the bar of this name")
	flags.StringVar(&o.testudo, "testudo", "../bin/testudo", "the `binary` under test")
	flags.StringVar(&o.module, "module", "..", "the `folder` of testudo's module")
	flags.StringVar(&o.corpora, "corpora", "../../shared/corpora", "the `folder` of the corpora")
	flags.StringVar(&o.profile, "cpuprofile", "", "write CPU profiles of the measured processes into this `folder`, where a bar can")
	flags.StringVar(&o.write, "write", "", "bring the table of bars in this `file` up to date")
	flags.IntVar(&o.runs, "runs", 5, "how many repetitions a median is taken of")
	flags.BoolVar(&o.short, "short", false, "the short form: less load, the same bounds")
	flags.BoolVar(&o.list, "list", false, "list the bars and what they measure")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	chosen, err := bar.Select(bars(), o.selection)
	switch {
	case err != nil:
	case flags.NArg() > 0:
		err = fmt.Errorf("%q is no flag: name a bar by -bar", flags.Arg(0))
	case o.runs < 1:
		err = fmt.Errorf("-runs %d: want at least 1", o.runs)
	case o.write != "" && o.short:
		err = errors.New("-write keeps the bars' full form: leave -short out")
	}
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 2
	}
	widths := bar.Measured(bars())
	if o.list {
		for _, b := range chosen {
			fmt.Fprintf(stdout, "%s  %s %s\n    %s\n", b.Name, b.Bound, b.Unit, b.What)
		}
		return 0
	}
	var results []bar.Result
	for i := range chosen {
		if ctx.Err() != nil {
			break
		}
		r := measure(ctx, &chosen[i], &o, stderr)
		fmt.Fprintln(stdout, widths.Line(&r))
		if r.Detail != "" {
			fmt.Fprintf(stderr, "%s: %s\n", r.Bar.Name, r.Detail)
		}
		results = append(results, r)
	}
	if ctx.Err() != nil {
		fmt.Fprintln(stderr, "bench: interrupted")
		return 2
	}
	if o.write != "" {
		if err := write(o.write, results); err != nil {
			fmt.Fprintln(stderr, "bench:", err)
			return 2
		}
	}
	return bar.Exit(results)
}

// measure runs one bar with an environment of its own.
func measure(ctx context.Context, b *bar.Bar, o *options, stderr io.Writer) bar.Result {
	env := &bar.Env{Short: o.short, Runs: o.runs}
	env.Progress = func(format string, args ...any) {
		fmt.Fprintf(stderr, "%s: %s\n", b.Name, fmt.Sprintf(format, args...))
	}
	dir, err := os.MkdirTemp("", "testudo-bench-")
	if err != nil {
		return bar.Result{Bar: b, Err: err}
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(stderr, "bench:", err)
		}
	}()
	env.Dir = dir
	env.Self, err = os.Executable()
	for _, p := range []struct {
		to   *string
		from string
	}{{&env.Testudo, o.testudo}, {&env.Module, o.module}, {&env.Corpora, o.corpora}, {&env.Profile, o.profile}} {
		if err == nil && p.from != "" {
			*p.to, err = filepath.Abs(p.from)
		}
	}
	if err != nil {
		return bar.Result{Bar: b, Err: err}
	}
	begin := time.Now()
	env.Progress("%s", b.What)
	r := b.Measure(ctx, env)
	env.Progress("took %s", time.Since(begin).Round(time.Second))
	return r
}

// write brings the table up to date.
func write(file string, results []bar.Result) error {
	old, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	host := bar.Host{Cores: runtime.NumCPU(), Go: runtime.Version(), OS: runtime.GOOS + "/" + runtime.GOARCH, When: time.Now()}
	page := bar.Page(string(old), bars(), results, host)
	return os.WriteFile(file, []byte(page), 0o644)
}
