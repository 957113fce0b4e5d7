package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	ossignal "os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/testudo-sec/testudo/cmd/testudo/assembly"
	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/signal"
)

// stageName is the hidden subcommand that becomes the program.
const stageName = "run-stage"

func (a *app) runCommand() *cobra.Command {
	var o assembly.ConfinedOptions
	var mode string
	var asJSON bool
	var connect, bind []uint
	cmd := &cobra.Command{
		Use:   "run [flags] -- COMMAND [ARGUMENT...]",
		Short: "Run one program under the rules, without privileges and without a node",
		Long: `Run one program, and all that it starts, under the rules: seccomp notification has each call judged before it
happens, Landlock bounds files and ports. It needs no privileges, no eBPF and no node, and so fits functions
and containers that may do nothing else.

What rules say is written to standard error. With --mode enforce, what a rule refuses fails with EPERM; with --mode
monitor it is only told. The exit status is the program's own, or 128 and the number of the signal that ended it.
Signals are handed on to it.

A program with several threads can change a path between the look and the call: what must hold whatever it does is
bounded with --read, --write, --exec, --connect and --bind.`,
		Example: `  testudo run -- ./server
  testudo run --mode enforce --rules ./rules -- python3 handler.py
  testudo run --write /tmp --connect 443 -- ./job`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if mode != "" && mode != kernel.ModeMonitor && mode != kernel.ModeEnforce {
				return fmt.Errorf("--mode is %q: want monitor or enforce", mode)
			}
			if o.Opens != "none" && o.Opens != "writes" && o.Opens != "all" {
				return fmt.Errorf("--opens is %q: want none, writes or all", o.Opens)
			}
			var err error
			if o.Limits.Connect, err = ports(cmd, "connect", connect); err != nil {
				return err
			}
			if o.Limits.Bind, err = ports(cmd, "bind", bind); err != nil {
				return err
			}
			var mu sync.Mutex
			o.Path, o.Argv, o.Stage, o.Mode = args[0], args, []string{stageName}, mode
			o.Tell = func(e *signal.Event, v *signal.Verdict) {
				mu.Lock()
				defer mu.Unlock()
				a.tellConfined(e, v, asJSON)
			}
			if o.Tasks < 0 || o.Tasks > 1<<22 {
				return fmt.Errorf("--tasks is %d: want 1 to %d, or 0 for the usual", o.Tasks, 1<<22)
			}
			o.Crowded = func(limit int) {
				mu.Lock()
				defer mu.Unlock()
				fmt.Fprintf(a.stderr, "testudo: the program has %d processes and threads, and makes no more: --tasks says how many it may have\n", limit)
			}
			c, err := assembly.Confine(cmd.Context(), &a.settings, o)
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			if a.own {
				// The program ends as it likes when it is interrupted, and we with it.
				ctx = context.WithoutCancel(ctx)
				defer handOn(c.Signal)()
			}
			return ownStatus(c.Run(ctx))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&mode, "mode", "", "what becomes of what rules refuse: monitor or enforce, instead of what the configuration says (kernel.mode)")
	flags.StringVar(&o.Opens, "opens", "writes", "opens of files that are judged: none, writes or all")
	flags.IntVar(&o.Tasks, "tasks", 0, "processes and threads that it may have at once, with all that it starts (default 4096)")
	flags.StringSliceVar(&o.Limits.Read, "read", nil, "files and folders that it may read, instead of all")
	flags.StringSliceVar(&o.Limits.Write, "write", nil, "files and folders that it may change, instead of all")
	flags.StringSliceVar(&o.Limits.Exec, "exec", nil, "files and folders that it may execute, instead of all")
	flags.UintSliceVar(&connect, "connect", nil, "TCP ports that it may connect to, instead of all")
	flags.UintSliceVar(&bind, "bind", nil, "TCP ports that it may listen on, instead of all")
	flags.BoolVar(&asJSON, "json", false, "write events that a rule fires on as lines of OCSF JSON")
	return cmd
}

// handOn hands the signals that ask a program to end on, until the returned function is called. What is typed at a terminal its kernel
// sends to all who are in the foreground there, the program too: that it gets once.
func handOn(to func(os.Signal)) (stop func()) {
	signals := make(chan os.Signal, 8)
	ossignal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := range signals {
			if (s == os.Interrupt || s == syscall.SIGQUIT) && assembly.Foreground() {
				continue
			}
			to(s)
		}
	}()
	return func() {
		ossignal.Stop(signals)
		close(signals)
		<-done
	}
}

// ownStatus makes of how the program ended the status of this command, as shells do.
func ownStatus(err error) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return exitStatus(128 + int(status.Signal()))
	}
	return exitStatus(exit.ExitCode())
}

// ports returns ports as numbers of 16 bits, nil where the flag was not given.
func ports(cmd *cobra.Command, flag string, list []uint) ([]uint16, error) {
	if !cmd.Flags().Changed(flag) {
		return nil, nil
	}
	out := make([]uint16, 0, len(list))
	for _, n := range list {
		if n == 0 || n > 1<<16-1 {
			return nil, fmt.Errorf("--%s: %d is no port", flag, n)
		}
		out = append(out, uint16(n))
	}
	return out, nil
}

// tellConfined writes what rules say of an event.
func (a *app) tellConfined(e *signal.Event, v *signal.Verdict, asJSON bool) {
	if asJSON {
		if b, err := json.Marshal(e.Recorded()); err == nil {
			fmt.Fprintf(a.stderr, "%s\n", b)
		}
		return
	}
	for i := range v.Hits {
		h := &v.Hits[i]
		what := h.Decision.String()
		if h.Decision == signal.Deny {
			what = "refused"
			if e.Str(signal.FieldKernelMode) != "enforce" {
				what = "would be refused"
			}
		}
		fmt.Fprintf(a.stderr, "testudo: %s: %s (%s, %s)\n", what, policy.Printable(strings.TrimSpace(h.Why), 500), policy.Printable(h.Rule, 200), h.Severity)
	}
}

// exitStatus ends the command with a status of its own, and says nothing.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func (a *app) runStageCommand() *cobra.Command {
	return &cobra.Command{
		Use:    stageName,
		Short:  "The process that testudo run restricts and that becomes the program",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE:   func(*cobra.Command, []string) error { return assembly.Stage() },
	}
}
