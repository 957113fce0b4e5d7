package shell

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	Child()
	goleak.VerifyTestMain(m)
}

func runner(t *testing.T, limit time.Duration) *Runner {
	t.Helper()
	r, err := New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r.maxTime = limit
	return r
}

func run(t *testing.T, r *Runner, line string) Result {
	t.Helper()
	res, err := r.Run(t.Context(), line)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return res
}

func TestRealShell(t *testing.T) {
	r := runner(t, MaxTime)
	res := run(t, r, `echo to out; echo to err >&2; exit 3`)
	if res.ExitCode != 3 || res.TimedOut || res.Truncated || string(res.Output) != "to out\nto err\n" {
		t.Errorf("result %+v %q", res, res.Output)
	}
	res = run(t, r, `ps -o comm= -p $$ 2>/dev/null || cat /proc/$$/comm`)
	if strings.TrimSpace(string(res.Output)) != "sh" {
		t.Errorf("the child is %q, not a shell", res.Output)
	}
	// The shop's memory and environment hold nothing that the shell may see.
	t.Setenv("SHOP_TEST_SECRET", "do-not-pass-on")
	if res = run(t, r, `env; pwd`); strings.Contains(string(res.Output), "do-not-pass-on") || !strings.Contains(string(res.Output), r.dir) {
		t.Errorf("environment: %s", res.Output)
	}
}

// A command takes memory to hand over, which the program has no more of once it is under the shell's limits.
func TestLongCommand(t *testing.T) {
	r := runner(t, MaxTime)
	line := "echo done #" + strings.Repeat("x", 120<<10)
	for range 20 {
		if res := run(t, r, line); string(res.Output) != "done\n" {
			t.Fatalf("%d, %.300q", res.ExitCode, res.Output)
		}
	}
}

func TestLimits(t *testing.T) {
	r := runner(t, MaxTime)
	res := run(t, r, `ulimit -c; ulimit -t; ulimit -n; grep NoNewPrivs /proc/self/status`)
	if got := strings.Fields(string(res.Output)); strings.Join(got, " ") != "0 5 64 NoNewPrivs: 1" {
		t.Errorf("limits: %q", got)
	}
	if res = run(t, r, `head -c 9000000 /dev/zero > big; stat -c %s big`); !strings.Contains(string(res.Output), "8388608") {
		t.Errorf("a file of any size can be written: %q", res.Output)
	}
}

func TestTimeEndsIt(t *testing.T) {
	r := runner(t, 300*time.Millisecond)
	res := run(t, r, `echo begun; sleep 600`)
	if !res.TimedOut || res.ExitCode != -1 || string(res.Output) != "begun\n" {
		t.Errorf("result %+v %q", res, res.Output)
	}
}

func TestOutputEndsIt(t *testing.T) {
	r := runner(t, time.Minute)
	res := run(t, r, `while :; do echo 0123456789012345678901234567890123456789; done`)
	if !res.Truncated || res.TimedOut || len(res.Output) != MaxOutput {
		t.Errorf("truncated %v timed out %v, %d bytes", res.Truncated, res.TimedOut, len(res.Output))
	}
}

func TestNothingOutlivesTheShell(t *testing.T) {
	for name, line := range map[string]string{
		"background job":      `sleep 600 & echo $! > pid`,
		"own session":         `setsid sh -c 'echo $$ > pid; exec sleep 600' >/dev/null 2>&1 & while [ ! -s pid ]; do sleep 0.01; done`,
		"own session, forked": `setsid sh -c '(setsid sh -c "echo \$\$ > pid; sleep 600; :") & sleep 600' >/dev/null 2>&1 & while [ ! -s pid ]; do sleep 0.01; done`,
		"deaf to signals":     `trap "" TERM HUP INT; sleep 600 & echo $! > pid; sleep 600`,
	} {
		r := runner(t, 700*time.Millisecond)
		run(t, r, line)
		text, err := os.ReadFile(filepath.Join(r.dir, "pid"))
		if err != nil {
			t.Errorf("%s: it never ran: %v", name, err)
			continue
		}
		if _, err := os.Stat("/proc/" + strings.TrimSpace(string(text))); err == nil {
			t.Errorf("%s: process %s is still there", name, text)
		}
	}
}

func TestStraysOfOthersAreSpared(t *testing.T) {
	p, err := os.StartProcess("/bin/sh", []string{"sh", "-c", "sleep 600"}, &os.ProcAttr{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { p.Kill(); p.Wait() }()
	run(t, runner(t, MaxTime), `true`)
	if err := p.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("a child that was there before was ended: %v", err)
	}
}

func TestQueueIsBounded(t *testing.T) {
	r := runner(t, time.Minute)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, MaxWaiting+1)
	for range MaxWaiting + 1 {
		go func() { _, err := r.Run(ctx, `sleep 600`); done <- err }()
	}
	for len(r.queue) < MaxWaiting+1 {
		time.Sleep(time.Millisecond)
	}
	if _, err := r.Run(ctx, `true`); !errors.Is(err, ErrBusy) {
		t.Errorf("one more: %v, want ErrBusy", err)
	}
	cancel()
	for range MaxWaiting + 1 {
		<-done
	}
	if _, err := r.Run(t.Context(), `true`); err != nil {
		t.Errorf("after the rush: %v", err)
	}
}
