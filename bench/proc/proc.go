// Package proc runs the processes of a measurement and reads what they cost. It is for Linux:
// the figures come from /proc, and a child dies with its parent.
package proc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stopGrace is how long a child may take to end after it was asked to.
const stopGrace = 15 * time.Second

// tick is the unit of times in /proc/PID/stat. Linux has it at 100 a second on every
// architecture that Go runs on.
const tick = 10 * time.Millisecond

// Child is a process of a measurement. Its methods are for one goroutine.
type Child struct {
	name  string
	pid   int
	in    *os.File
	pipe  *os.File
	out   *bufio.Reader // of pipe
	tail  *tail
	stop  context.CancelFunc
	ended chan struct{}
	err   error            // why it ended
	state *os.ProcessState // once it ended
}

// Start starts a program in a process group of its own. It is asked to end when ctx is done,
// and killed when it does not, or when this process dies. Env is added to the environment.
func Start(ctx context.Context, env []string, program string, args ...string) (*Child, error) {
	ctx, cancel := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = stopGrace
	c := &Child{name: strings.TrimSpace(program + " " + strings.Join(args, " ")), tail: &tail{}, stop: cancel, ended: make(chan struct{})}
	cmd.Stderr = c.tail
	// The pipes are our own: those of exec are closed when the child ends, read or not.
	inRead, inWrite, err := os.Pipe()
	if err != nil {
		cancel()
		return nil, err
	}
	outRead, outWrite, err := os.Pipe()
	if err != nil {
		cancel()
		return nil, errors.Join(err, inRead.Close(), inWrite.Close())
	}
	cmd.Stdin, cmd.Stdout = inRead, outWrite
	c.in, c.pipe, c.out = inWrite, outRead, bufio.NewReader(outRead)
	started := make(chan error, 1)
	go func() {
		// The parent of a child, for Pdeathsig, is the thread that started it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		c.err = wait(cmd)
		c.state = cmd.ProcessState
		close(c.ended)
	}()
	err = <-started
	_, _ = inRead.Close(), outWrite.Close()
	if err != nil {
		c.release()
		return nil, err
	}
	c.pid = cmd.Process.Pid
	return c, nil
}

// release frees what the parent holds of a child that is gone. It may be called again.
func (c *Child) release() {
	c.stop()
	_, _ = c.in.Close(), c.pipe.Close()
}

// wait waits for the process and whoever it left behind in its group.
func wait(cmd *exec.Cmd) error {
	err := cmd.Wait()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // no such process, usually
	return err
}

// PID returns the process id.
func (c *Child) PID() int { return c.pid }

// Ask writes a line to the child and returns the line that it answers. An empty question only
// waits for a line.
func (c *Child) Ask(question string) (string, error) {
	if question != "" {
		if _, err := io.WriteString(c.in, question+"\n"); err != nil {
			return "", c.failure(err)
		}
	}
	line, err := c.out.ReadString('\n')
	if err != nil {
		return "", c.failure(err)
	}
	line = strings.TrimSuffix(line, "\n")
	if reason, failed := strings.CutPrefix(line, failedPrefix); failed {
		return "", errors.New(reason)
	}
	return line, nil
}

// failure says why a child does not answer: what it said last is a better reason than
// a broken pipe.
func (c *Child) failure(err error) error {
	c.Stop()
	if said := c.tail.String(); said != "" {
		return fmt.Errorf("%s: %s", c.name, said)
	}
	return fmt.Errorf("%s: %w", c.name, errors.Join(c.err, err))
}

// Close ends the child's input and waits until it has ended by itself. It returns the CPU time
// that the process took in its whole life.
func (c *Child) Close() (time.Duration, error) {
	c.in.Close()
	_, _ = io.Copy(io.Discard, c.out)
	<-c.ended
	defer c.release()
	if c.err != nil {
		return 0, c.failure(c.err)
	}
	return c.state.UserTime() + c.state.SystemTime(), nil
}

// Kill ends the child at once, as a crash does, and waits until it is gone.
func (c *Child) Kill() {
	_ = syscall.Kill(-c.pid, syscall.SIGKILL)
	_, _ = io.Copy(io.Discard, c.out)
	<-c.ended
	c.release()
}

// Drain drops what the child writes, until it ends.
func (c *Child) Drain() { _, _ = io.Copy(io.Discard, c.out) }

// Ended is closed when the child has ended.
func (c *Child) Ended() <-chan struct{} { return c.ended }

// Failure says why a child that has ended did so: what it said last, or its status.
func (c *Child) Failure() error { return c.failure(errors.New("it ended")) }

// Read returns what the child still writes.
func (c *Child) Read(p []byte) (int, error) { return c.out.Read(p) }

// Stop asks the child to end and waits until it is gone. It may be called again.
func (c *Child) Stop() {
	c.stop()
	<-c.ended
	c.release()
}

// CPU returns the user and system time that a running process has taken so far, to ten
// milliseconds.
func CPU(pid int) (time.Duration, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	// The second field, the name, may hold blanks and parentheses; proc(5).
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	const utime, stime = 14 - 3, 15 - 3
	if len(fields) <= stime {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	user, err := strconv.ParseInt(fields[utime], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(fields[stime], 10, 64)
	return time.Duration(user+system) * tick, err
}

// Busy returns the CPU time that the whole machine has spent on anything since it started, what
// its host took away from it included.
func Busy() (time.Duration, error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(stat), "\n")
	fields := strings.Fields(first)
	// user nice system idle iowait irq softirq steal; guests are in user and nice. proc(5).
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, fmt.Errorf("/proc/stat begins with %q", first)
	}
	var sum int64
	for _, i := range []int{1, 2, 3, 6, 7, 8} {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return time.Duration(sum) * tick, nil
}

// RSS returns the resident memory of a process in bytes.
func RSS(pid int) (int64, error) {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("/proc/%d/status has no VmRSS", pid)
}

// Spent is what a program took.
type Spent struct {
	CPU, Wall time.Duration // CPU is that of the program and its children
	Peak      int64         // greatest resident memory in bytes; not less than that of whoever started it
}

// Cost is Run where the CPU time alone counts.
func Cost(ctx context.Context, allowed int, program string, args ...string) (time.Duration, error) {
	s, err := Run(ctx, allowed, program, args...)
	return s.CPU, err
}

// Run runs a program to its end and returns what it took. A status above allowed is an error. What it prints is dropped.
func Run(ctx context.Context, allowed int, program string, args ...string) (s Spent, err error) {
	began := time.Now()
	c, err := Start(ctx, nil, program, args...)
	if err != nil {
		return s, err
	}
	c.in.Close()
	_, _ = io.Copy(io.Discard, c.out)
	<-c.ended
	defer c.release()
	if ctx.Err() != nil {
		return s, ctx.Err()
	}
	var exit *exec.ExitError
	if c.err != nil && (!errors.As(c.err, &exit) || exit.ExitCode() < 0 || exit.ExitCode() > allowed) {
		return s, c.failure(c.err)
	}
	s.CPU, s.Wall = c.state.UserTime()+c.state.SystemTime(), time.Since(began)
	if usage, ok := c.state.SysUsage().(*syscall.Rusage); ok {
		s.Peak = usage.Maxrss * 1024
	}
	return s, nil
}

// tail keeps the end of what a child says on its standard error.
type tail struct {
	mu   sync.Mutex
	kept []byte
}

const tailSize = 2048

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - tailSize; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(strings.Fields(string(t.kept)), " ")
}
