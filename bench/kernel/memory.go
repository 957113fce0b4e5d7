package kernel

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/testudo-sec/testudo/bench/bar"
	"github.com/testudo-sec/testudo/bench/proc"
)

func memoryIdle() bar.Bar {
	return bar.Bar{
		Name: "kernel-memory-idle", Part: "kernel", Unit: "MB", Bound: bar.AtMost(50), Limit: 5 * time.Minute,
		What: "resident memory of the sensor of `testudo up` on a host where little happens, 45 s after it was ready",
		Run: func(ctx context.Context, env *bar.Env) (bar.Measure, error) {
			return runMemory(ctx, env, 0)
		},
	}
}

func memoryMany() bar.Bar {
	return bar.Bar{
		Name: "kernel-memory-10k", Part: "kernel", Unit: "MB", Bound: bar.AtMost(120), Limit: 10 * time.Minute,
		What: "resident memory of the sensor while 10,000 processes live that were started meanwhile, and what the node grew by, which keeps the table of them",
		Run: func(ctx context.Context, env *bar.Env) (bar.Measure, error) {
			return runMemory(ctx, env, 10_000)
		},
	}
}

func runMemory(ctx context.Context, env *bar.Env, processes int) (m bar.Measure, err error) {
	a, err := startAgent(ctx, env)
	if err != nil {
		return m, err
	}
	defer a.Stop()
	idle := 45 * time.Second // the sensor gives back what only its start took, after 30 s
	if env.Short {
		idle = 35 * time.Second
	}
	if err := wait(ctx, idle); err != nil {
		return m, err
	}
	sensor, err := proc.RSS(a.sensor)
	if err != nil {
		return m, err
	}
	node, err := proc.RSS(a.PID())
	if err != nil {
		return m, err
	}
	m.Value = float64(sensor) / 1e6
	m.Detail = fmt.Sprintf("idle: sensor %.1f MB, node %.1f MB", float64(sensor)/1e6, float64(node)/1e6)
	if processes == 0 {
		return m, nil
	}
	sleep, err := exec.LookPath("busybox")
	if err != nil {
		return m, fmt.Errorf("%w: install the package busybox-static", err)
	}
	sleepers, _, err := proc.StartRole(ctx, nil, env.Self, "kernel-sleepers", sleep, strconv.Itoa(processes))
	if err != nil {
		return m, err
	}
	defer sleepers.Stop()
	if err := wait(ctx, 10*time.Second); err != nil {
		return m, err
	}
	many, err := proc.RSS(a.sensor)
	if err != nil {
		return m, err
	}
	grown, err := proc.RSS(a.PID())
	if err != nil {
		return m, err
	}
	if _, err := sleepers.Close(); err != nil {
		return m, err
	}
	m.Value = float64(many+max(0, grown-node)) / 1e6
	m.Detail += fmt.Sprintf("; with %d processes: sensor %.1f MB, node %.1f MB", processes, float64(many)/1e6, float64(grown)/1e6)
	return m, nil
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// startSleepers is the role of a program that starts processes which do nothing, and ends them when its input ends. Its arguments are busybox, which is
// small and shared by all of them, and their number.
func startSleepers(_ context.Context, talk *proc.Talk, args []string) (err error) {
	if len(args) != 2 {
		return fmt.Errorf("kernel-sleepers wants busybox and a number, got %q", args)
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	// They die with the thread that starts them, whatever becomes of this process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	group := 0
	defer func() {
		if group == 0 {
			return
		}
		err = errors.Join(err, syscall.Kill(-group, syscall.SIGKILL))
		for {
			if _, waitErr := syscall.Wait4(-group, nil, 0, nil); waitErr != nil && !errors.Is(waitErr, syscall.EINTR) {
				return // none is left
			}
		}
	}()
	for range n {
		pid, err := syscall.ForkExec(args[0], []string{"busybox", "sleep", "600"}, &syscall.ProcAttr{Env: []string{},
			Files: []uintptr{null.Fd(), null.Fd(), null.Fd()}, Sys: &syscall.SysProcAttr{Setpgid: true, Pgid: group, Pdeathsig: syscall.SIGKILL}})
		if err != nil {
			return err
		}
		if group == 0 {
			group = pid
		}
	}
	if err := talk.Say("ready"); err != nil {
		return err
	}
	for {
		if _, ok := talk.Hear(); !ok {
			return nil
		}
	}
}

// quantile returns the value that a share q of all is not above.
func quantile(values []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)-1, int(math.Ceil(q*float64(len(sorted)))))]
}
