// Package shell starts real shells for the command injection of the demo shop,
// and sees to it that whatever is injected ends: each shell runs alone, in a
// process group of its own, with an empty environment, resource limits, no way
// to gain privileges, a time limit and a limit of output. When it ends, so does
// everything that it has started, also what went into the background or into a
// session of its own.
package shell

import (
	"context"
	"errors"
	"time"
)

// Limits of one shell. They are generous for a ping and tight for a misuse.
const (
	MaxTime    = 5 * time.Second
	MaxOutput  = 64 << 10 // bytes of standard output and error together
	MaxWaiting = 8        // callers that wait for their turn
)

// ErrBusy says that MaxWaiting callers are waiting already.
var ErrBusy = errors.New("too many diagnostics at once: try again in a few seconds")

// Result is what one shell left behind.
type Result struct {
	Output    []byte // at most MaxOutput bytes
	ExitCode  int    // -1 when it was killed
	TimedOut  bool   // killed after MaxTime
	Truncated bool   // killed after MaxOutput bytes
}

// Runner runs one shell at a time. It is safe for concurrent use.
type Runner struct {
	dir     string
	maxTime time.Duration
	turn    chan struct{}
	queue   chan struct{}
}

// New returns a Runner whose shells start in dir. It makes the process the
// adopter of its orphaned descendants, so that none outlives its shell.
func New(dir string) (*Runner, error) {
	if err := adoptOrphans(); err != nil {
		return nil, err
	}
	return &Runner{dir: dir, maxTime: MaxTime, turn: make(chan struct{}, 1), queue: make(chan struct{}, MaxWaiting+1)}, nil
}

// Run gives line to sh -c and returns when the shell and all it started are
// gone. A command that fails is a Result, not an error; an error means that no
// shell could be started.
func (r *Runner) Run(ctx context.Context, line string) (Result, error) {
	select {
	case r.queue <- struct{}{}:
		defer func() { <-r.queue }()
	default:
		return Result{}, ErrBusy
	}
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return Result{}, ctx.Err()
	}
	return r.run(ctx, line)
}
