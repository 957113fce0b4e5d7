package proc

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"runtime/pprof"
	"strings"
)

// Roles are what the measuring program does when it is started by itself as a process of a
// measurement. A role answers each line that it reads by one line, and ends when its input does.
type Role struct {
	Name string
	Run  func(ctx context.Context, talk *Talk, args []string) error
}

const (
	rolePrefix   = "role:"
	failedPrefix = "failed: "
)

// Talk is a role's end of the conversation with the measurement.
type Talk struct {
	in  *bufio.Scanner
	out io.Writer
}

// Hear returns the next line, and false when there is none any more.
func (t *Talk) Hear() (string, bool) {
	if !t.in.Scan() {
		return "", false
	}
	return t.in.Text(), true
}

// Say writes a line.
func (t *Talk) Say(format string, args ...any) error {
	_, err := fmt.Fprintf(t.out, format+"\n", args...)
	return err
}

// Fail answers with an error.
func (t *Talk) Fail(err error) error {
	return t.Say("%s%s", failedPrefix, strings.Join(strings.Fields(err.Error()), " "))
}

// Play runs the role that the arguments name, if they name one, and returns the exit status.
func Play(ctx context.Context, roles []Role, args []string) (status int, played bool) {
	if len(args) == 0 || !strings.HasPrefix(args[0], rolePrefix) {
		return 0, false
	}
	name := strings.TrimPrefix(args[0], rolePrefix)
	for _, r := range roles {
		if r.Name != name {
			continue
		}
		if err := r.Run(ctx, &Talk{in: bufio.NewScanner(os.Stdin), out: os.Stdout}, args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1, true
		}
		return 0, true
	}
	fmt.Fprintf(os.Stderr, "no role is called %q\n", name)
	return 2, true
}

// StartRole starts this program in a role and waits for its first line.
func StartRole(ctx context.Context, env []string, self, role string, args ...string) (c *Child, first string, err error) {
	c, err = Start(ctx, env, self, append([]string{rolePrefix + role}, args...)...)
	if err != nil {
		return nil, "", err
	}
	if first, err = c.Ask(""); err != nil {
		c.Stop()
		return nil, "", err
	}
	return c, first, nil
}

// Profile begins a CPU profile of this process into a file, none where it has no name, and returns
// what ends it. A profile that cannot be begun leaves something to call too.
func Profile(file string) (end func(), err error) {
	if file == "" {
		return func() {}, nil
	}
	f, err := os.Create(file)
	if err != nil {
		return func() {}, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		f.Close()
		return func() {}, err
	}
	return func() {
		pprof.StopCPUProfile()
		f.Close()
	}, nil
}
