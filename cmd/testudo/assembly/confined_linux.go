package assembly

import (
	"context"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/confine"
	"github.com/testudo-sec/testudo/kernel/process"
	"github.com/testudo-sec/testudo/kernel/record"
)

// Stage is the main function of the process that becomes a confined program.
func Stage() error { return confine.Stage() }

func newConfinedProgram(o *ConfinedOptions) (confinedProgram, error) {
	limits := confine.Limits(o.Limits)
	if err := limits.Validate(); err != nil {
		return nil, err
	}
	path, err := exec.LookPath(o.Path)
	if err != nil {
		return nil, err
	}
	// Not by its name: the file may be another one by now.
	stage := exec.Command("/proc/self/exe", o.Stage...)
	stage.Args[0] = os.Args[0]
	stage.Stdin, stage.Stdout, stage.Stderr = os.Stdin, os.Stdout, os.Stderr
	return confine.New(confine.Options{Stage: stage, Path: path, Argv: o.Argv, Limits: limits, Opens: confine.Opens(o.Opens),
		Tasks: o.Tasks, Crowded: o.Crowded}), nil
}

// seedOwn tells of the processes that this user may look at, so that the program has ancestors.
func seedOwn(ctx context.Context, to kernel.Receiver) {
	var b []byte
	_ = process.Seed(ctx, "/", func(r *record.Record) { b = r.Append(b) }) // without /proc there are none
	if len(b) > 0 {
		to.Records(b)
	}
}

// Foreground reports whether this process is in the foreground of its terminal, where what is typed to interrupt goes to all who are.
func Foreground() bool {
	tty, err := unix.Open("/dev/tty", unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	defer unix.Close(tty)
	group, err := unix.IoctlGetInt(tty, unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}
