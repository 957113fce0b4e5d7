package hand

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel"
)

const (
	// maxTree bounds the descendants that one order kills; a fork bomb is a matter of its cgroup.
	maxTree = 32_768
	// stopWait is how long a process may take to stop before its children are looked for all the same.
	stopWait = 20 * time.Millisecond
	// endWait is how long is waited for a process to end that was killed.
	endWait = 100 * time.Millisecond
)

// kill ends a process and what it started, or all of a cgroup.
func (h *Hand) kill(ctx context.Context, o *kernel.Order) (kernel.Done, error) {
	if o.PID == 0 {
		return h.killGroup(ctx, o)
	}
	root, err := open(o.PID, o.Start/tick)
	if err != nil {
		return kernel.Done{}, fmt.Errorf("kill: %w", err)
	}
	defer root.close()
	if why := h.protected(&root.stat); why != "" {
		return kernel.Done{}, fmt.Errorf("kill: %s", why)
	}
	tree, late, err := stopTree(ctx, &root)
	if err != nil {
		// Nothing was killed yet: let go of what was stopped.
		signalAll(tree[1:], unix.SIGCONT)
		return kernel.Done{}, errors.Join(fmt.Errorf("kill: process %d: %w", o.PID, err), root.signal(unix.SIGCONT))
	}
	done := kernel.Done{Count: len(tree)}
	for i := range tree[:min(len(tree), kernel.MaxTouched)] {
		done.Processes = append(done.Processes, tree[i].touched())
	}
	if err := root.signal(unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		signalAll(tree, unix.SIGCONT)
		return kernel.Done{}, fmt.Errorf("kill: process %d: %w", o.PID, err)
	}
	failed := signalAll(tree[1:], unix.SIGKILL)
	done.Detail = fmt.Sprintf("killed %s (%d)", root.name, root.pid)
	if n := len(tree) - 1; n > 0 {
		done.Detail += fmt.Sprintf(" and %d that it started", n)
	}
	if late > 0 {
		done.Detail += fmt.Sprintf("; %d did not stop in time, and may have started others meanwhile", late)
	}
	if !ended(root.fd, endWait) {
		done.Detail += "; it has not ended yet: it waits for a device, and ends when that answers"
	}
	if failed != nil {
		return done, fmt.Errorf("kill: %s, but not all: %w", done.Detail, failed)
	}
	return done, nil
}

// stopTree stops a process and its descendants, parents first, and returns them with the process itself in front. late counts
// those that were not seen to stop.
func stopTree(ctx context.Context, root *process) (tree []stat, late int, err error) {
	tree = []stat{root.stat}
	if err := root.signal(unix.SIGSTOP); err != nil && !errors.Is(err, unix.ESRCH) {
		return tree, 0, err
	}
	if !stopped(root.pid) {
		late++
	}
	for i := 0; i < len(tree); i++ {
		if err := ctx.Err(); err != nil {
			return tree, late, err
		}
		kids, err := children(tree[i].pid)
		if err != nil {
			continue // it ended
		}
		for _, pid := range kids {
			if len(tree) >= maxTree {
				return tree, late, fmt.Errorf("it has more than %d descendants: kill its container", maxTree)
			}
			kid, err := open(pid, 0)
			if err != nil {
				continue
			}
			// Its parent stands still and cannot give the pid away; where the kernel did, the parent is another.
			if kid.ppid == tree[i].pid && kid.signal(unix.SIGSTOP) == nil {
				tree = append(tree, kid.stat)
				if !stopped(pid) {
					late++
				}
			}
			kid.close()
		}
	}
	return tree, late, nil
}

// stopped waits until no thread of a process can start another process: none runs any more, or there is only the one that was signalled,
// whose calls the kernel breaks off from then on (fork(2) with a signal pending begins anew). It looks again and again, as it takes some
// microseconds.
func stopped(pid uint32) bool {
	dir := "/proc/" + strconv.FormatUint(uint64(pid), 10) + "/task"
	var pause time.Duration
	for until := time.Now().Add(stopWait); ; {
		still := true
		tasks, err := os.ReadDir(dir)
		if err != nil {
			return true // it has ended
		}
		if len(tasks) == 1 {
			return true
		}
		for _, t := range tasks {
			b, err := os.ReadFile(dir + "/" + t.Name() + "/stat")
			if err != nil {
				continue
			}
			if s, ok := parseStat(b); ok && s.state != 'T' && s.state != 't' && s.state != 'Z' && s.state != 'X' {
				still = false
				break
			}
		}
		if still || time.Now().After(until) {
			return still
		}
		time.Sleep(pause)
		pause = min(2*pause+5*time.Microsecond, time.Millisecond)
	}
}

// signalAll signals processes that are still the same, and returns what went wrong.
func signalAll(all []stat, s unix.Signal) error {
	var failed error
	for i := range all {
		p, err := open(all[i].pid, all[i].start)
		if errors.Is(err, kernel.ErrGone) {
			continue
		}
		if err == nil {
			err = p.signal(s)
			p.close()
		}
		if err != nil && !errors.Is(err, unix.ESRCH) && failed == nil {
			failed = fmt.Errorf("process %d: %w", all[i].pid, err)
		}
	}
	return failed
}

// ended waits for a process to end, its parent need not have asked for its status.
func ended(pidfd int, within time.Duration) bool {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for until := time.Now().Add(within); ; {
		left := time.Until(until)
		n, err := unix.Poll(fds, int(max(left.Milliseconds(), 0)))
		if n > 0 || left <= 0 || err != nil && !errors.Is(err, unix.EINTR) {
			return n > 0
		}
	}
}
