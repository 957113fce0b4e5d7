package shell

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func adoptOrphans() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("becoming the adopter of orphaned processes: %w", err)
	}
	return nil
}

func (r *Runner) run(ctx context.Context, line string) (Result, error) {
	// Pdeathsig follows the thread that started the child, not the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	ctx, cancel := context.WithTimeout(ctx, r.maxTime)
	defer cancel()
	before := children()
	out := &bounded{left: MaxOutput, full: cancel}
	// The program starts itself, lays the limits upon itself and becomes the
	// shell (see Child), so the shell is the shop's own child.
	cmd := exec.CommandContext(ctx, "/proc/self/exe", childArg, line)
	cmd.Args[0] = "shop"
	cmd.Dir = r.dir
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + r.dir, "LANG=C.UTF-8"}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 250 * time.Millisecond // a background job may hold the pipe
	if err := cmd.Start(); err != nil {
		return Result{}, fmt.Errorf("starting a shell: %w", err)
	}
	err := cmd.Wait()
	endStrays(before)

	res := Result{ExitCode: cmd.ProcessState.ExitCode()}
	res.Output, res.Truncated = out.take()
	res.TimedOut = !res.Truncated && errors.Is(ctx.Err(), context.DeadlineExceeded)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) && ctx.Err() == nil {
		return res, fmt.Errorf("running a shell: %w", err)
	}
	return res, nil
}

// endStrays kills the children that were not there before: what the shell left
// behind in the background becomes the shop's own child when the shell ends,
// whatever its group or session is. Each round ends one generation; processes
// that keep forking meet the limit on processes.
func endStrays(before map[int]bool) {
	for range 500 {
		left := 0
		for pid := range children() {
			if before[pid] {
				continue
			}
			left++
			syscall.Kill(pid, syscall.SIGKILL)
			syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
		}
		if left == 0 {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// children lists the process's children from /proc (proc_pid_stat(5)).
func children() map[int]bool {
	out := map[int]bool{}
	self := strconv.Itoa(os.Getpid())
	eachProcess(func(pid int, dir string) {
		stat, err := os.ReadFile(dir + "/stat")
		if err != nil {
			return
		}
		// The name before the parent's id is in parentheses and may hold anything.
		text := string(stat)
		fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
		if len(fields) > 1 && fields[1] == self {
			out[pid] = true
		}
	})
	return out
}

func eachProcess(f func(pid int, dir string)) {
	proc, err := os.Open("/proc")
	if err != nil {
		return
	}
	defer proc.Close()
	names, _ := proc.Readdirnames(-1)
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			f(pid, "/proc/"+name)
		}
	}
}

// bounded keeps the first bytes and calls full once when there are more.
type bounded struct {
	mu   sync.Mutex
	buf  []byte
	left int
	over bool
	full func()
}

func (b *bounded) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := min(len(p), b.left)
	b.buf = append(b.buf, p[:n]...)
	b.left -= n
	if n < len(p) && !b.over {
		b.over = true
		b.full()
	}
	return len(p), nil
}

func (b *bounded) take() ([]byte, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf, b.over
}
