package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/testudo-sec/testudo/bench/bar"
	"github.com/testudo-sec/testudo/bench/proc"
)

func execRefused() bar.Bar {
	return bar.Bar{
		Name: "kernel-exec-refused", Part: "kernel", Unit: "effects", Bound: bar.AtMost(0), Limit: 20 * time.Minute,
		What: "side effects of 10,000 tries to run a program that a rule in the kernel's maps refuses: each try is to make a file, and none may be there",
		Run:  runExecRefused,
	}
}

// runExecRefused runs the test that tries it: it ends at the first file that is there.
func runExecRefused(ctx context.Context, env *bar.Env) (m bar.Measure, err error) {
	if err := needRoot(); err != nil {
		return m, err
	}
	began := time.Now()
	long := "TESTUDO_LONG=1"
	times := 10_000
	if env.Short {
		long, times = "TESTUDO_LONG=", 500
	}
	out, err := goTest(ctx, env, "./kernel/enforce", "^TestRefusedProgramNeverRuns$", long)
	switch {
	case strings.Contains(out, "--- SKIP"):
		return m, errors.New("the test was skipped: " + lastLine(out))
	case err != nil && strings.Contains(out, "--- FAIL"):
		m.Value = 1
		m.Detail = "at least one: " + lastLine(out)
		return m, nil
	case err != nil:
		return m, fmt.Errorf("%w: %s", err, lastLine(out))
	case !strings.Contains(out, "--- PASS"):
		return m, errors.New("the test did not run: " + lastLine(out))
	}
	m.Detail = fmt.Sprintf("%d tries in %.0f s", times, time.Since(began).Seconds())
	return m, nil
}

// goTest runs a test of testudo's, and returns what it says.
func goTest(ctx context.Context, env *bar.Env, pkg, name string, settings ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "-C", env.Module, "test", pkg, "-run", name, "-v", "-count=1", "-timeout=20m")
	cmd.Env = append(os.Environ(), settings...)
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return string(out), err
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.TrimSpace(lines[max(0, len(lines)-2)] + " " + lines[len(lines)-1])
}

// Rules that only the whole judge can decide: by what a file's name contains, which the gate of the file system can ask about before the program runs,
// and by its arguments, which nobody knows before.
const (
	gateRule = "bench-gate"
	killRule = "bench-kill"
)

func judgeRules(gated, killed string) map[string]string {
	rule := func(id, when string) string {
		return "id: " + id + "\ntitle: A program of the bench\nseverity: low\non: process_activity\nwhen: activity_id == 1 && " + when +
			"\nthen: deny\nwhy: it is measured\nfix: none\ntests:\n  - name: x\n    event: {activity_id: 1}\n    fires: false\n"
	}
	return map[string]string{
		gateRule: rule(gateRule, "process.file.path.contains("+strconv.Quote(gated)+")"),
		killRule: rule(killRule, "process.cmd_line.contains("+strconv.Quote(killed)+")"),
	}
}

// judged is a plane with rules that refuse, and a file system of our own with programs on it.
type judged struct {
	plane *proc.Child
	dir   string // the file system
}

// startJudged mounts a file system, so that nothing else is asked about, and starts a plane whose rules refuse programs by these names.
func startJudged(ctx context.Context, env *bar.Env, gated, killed string) (*judged, error) {
	if err := needRoot(); err != nil {
		return nil, err
	}
	j := &judged{dir: filepath.Join(env.Dir, "programs")}
	rules, data := filepath.Join(env.Dir, "rules"), filepath.Join(env.Dir, "data")
	for _, dir := range []string{j.dir, rules, data} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, err
		}
	}
	for id, text := range judgeRules(gated, killed) {
		if err := os.WriteFile(filepath.Join(rules, id+".yaml"), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	if err := syscall.Mount("testudo-bench", j.dir, "tmpfs", 0, "size=16m"); err != nil {
		return nil, fmt.Errorf("a file system for the programs: %w", err)
	}
	var err error
	if j.plane, _, err = proc.StartRole(ctx, nil, env.Self, "kernel-plane", data, "judge", rules); err != nil {
		return nil, errors.Join(err, syscall.Unmount(j.dir, syscall.MNT_DETACH))
	}
	return j, nil
}

func (j *judged) stop() {
	j.plane.Stop()
	_ = syscall.Unmount(j.dir, syscall.MNT_DETACH)
}

// program copies sleep, which does nothing and can do it for long.
func (j *judged) program(name string) (string, error) {
	from, err := exec.LookPath("sleep")
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(from)
	if err != nil {
		return "", err
	}
	path := filepath.Join(j.dir, name)
	return path, os.WriteFile(path, text, 0o755)
}

func execToVerdict() bar.Bar {
	return bar.Bar{
		Name: "kernel-exec-to-verdict", Part: "kernel", Unit: "ms", Bound: bar.AtMost(1), Limit: 5 * time.Minute,
		What: "time of trying to run a program that the judge refuses by a rule that the kernel cannot decide, asked by fanotify before it runs: fork, question through the socket, verdict, EPERM; median. It never runs",
		Run:  runExecToVerdict,
	}
}

func runExecToVerdict(ctx context.Context, env *bar.Env) (m bar.Measure, err error) {
	const name = "gated-program-of-the-bench"
	j, err := startJudged(ctx, env, name, "no-such-argument-of-the-bench")
	if err != nil {
		return m, err
	}
	defer j.stop()
	refused, err := j.program(name)
	if err != nil {
		return m, err
	}
	allowed, err := j.program("program")
	if err != nil {
		return m, err
	}
	tries := 300
	if env.Short {
		tries = 100
	}
	// Nobody who started the sensor is asked about, lest the judge waits for itself.
	starter, _, err := proc.StartRole(ctx, nil, env.Self, "kernel-starts")
	if err != nil {
		return m, err
	}
	defer starter.Stop()
	start := func(path, want string) (float64, error) {
		answer, err := starter.Ask(path)
		if err != nil {
			return 0, err
		}
		took, how, _ := strings.Cut(answer, " ")
		if how != want {
			return 0, fmt.Errorf("%s: %q, want %q", filepath.Base(path), how, want)
		}
		ns, err := strconv.ParseFloat(took, 64)
		return ns / 1e6, err
	}
	var unasked, asked, times []float64
	for range tries {
		took, err := start(allowed, "ran")
		if err != nil {
			return m, err
		}
		unasked = append(unasked, took)
	}
	if _, err := j.plane.Ask("guard " + j.dir); err != nil {
		return m, err
	}
	for range tries {
		took, err := start(allowed, "ran")
		if err != nil {
			return m, err
		}
		asked = append(asked, took)
		if took, err = start(refused, "refused"); err != nil {
			return m, err
		}
		times = append(times, took)
	}
	m.Value = bar.Median(times)
	m.Detail = fmt.Sprintf("%d tries, each EPERM: %.3f ms refused; a program that may run takes %.3f ms to start, asked about, and %.3f ms without a gate", tries,
		m.Value, bar.Median(asked), bar.Median(unasked))
	return m, nil
}

// startPrograms is the role of a program that starts others: each path that it hears, with the argument 0. It answers with the nanoseconds that the start took, and
// whether the program ran or was refused.
func startPrograms(ctx context.Context, talk *proc.Talk, _ []string) error {
	if err := talk.Say("ready"); err != nil {
		return err
	}
	for {
		path, ok := talk.Hear()
		if !ok {
			return nil
		}
		cmd := exec.CommandContext(ctx, path, "0")
		began := time.Now()
		err := cmd.Start()
		took, how := time.Since(began), "refused"
		if err == nil {
			how = "ran"
			err = cmd.Wait()
		}
		if errors.Is(err, syscall.EPERM) {
			err = nil
		}
		if err == nil {
			err = talk.Say("%d %s", took.Nanoseconds(), how)
		} else {
			err = talk.Fail(err)
		}
		if err != nil {
			return err
		}
	}
}

func execToKill() bar.Bar {
	return bar.Bar{
		Name: "kernel-exec-to-kill", Part: "kernel", Unit: "ms", Bound: bar.AtMost(1), Limit: 10 * time.Minute,
		What: "time from the start of a program that the judge refuses by its arguments, which no gate knows before, until it has ended by the kill, both by the kernel's clock, while another process has a thousand files a second told of, median",
		Run:  runExecToKill,
	}
}

func runExecToKill(ctx context.Context, env *bar.Env) (m bar.Measure, err error) {
	const name = "killed-program-of-the-bench"
	j, err := startJudged(ctx, env, "no-such-file-of-the-bench", name)
	if err != nil {
		return m, err
	}
	defer j.stop()
	path, err := j.program(name)
	if err != nil {
		return m, err
	}
	if _, err := j.plane.Ask("tap " + path); err != nil {
		return m, err
	}
	tries := 300
	if env.Short {
		tries = 100
	}
	file := filepath.Join(env.Dir, "token")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return m, err
	}
	others, _, err := proc.StartRole(ctx, nil, env.Self, "kernel-opens", file, "1")
	if err != nil {
		return m, err
	}
	defer others.Stop()
	busy := make(chan error, 1)
	go func() {
		_, err := others.Ask(fmt.Sprint("1000 ", float64(tries)*0.025))
		busy <- err
	}()
	for range tries {
		cmd := exec.CommandContext(ctx, path, "10")
		if err := cmd.Start(); err != nil {
			return m, err
		}
		err := cmd.Wait()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			return m, fmt.Errorf("the program that is to be killed ends by itself: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err := <-busy; err != nil {
		return m, err
	}
	answer, err := j.plane.Ask("lived")
	if err != nil {
		return m, err
	}
	var times, read, ordered []float64
	for field := range strings.FieldsSeq(answer) {
		var ns [3]float64
		if _, err := fmt.Sscanf(field, "%f/%f/%f", &ns[0], &ns[1], &ns[2]); err != nil {
			return m, err
		}
		read, ordered, times = append(read, ns[0]/1e6), append(ordered, ns[1]/1e6), append(times, ns[2]/1e6)
	}
	if len(times) < tries*9/10 {
		return m, fmt.Errorf("start and end of %d of %d programs were told of", len(times), tries)
	}
	m.Value = bar.Median(times)
	m.Detail = fmt.Sprintf("%d programs, all killed: median %.2f ms, a tenth took longer than %.2f ms; the plane had read of it after %.2f ms, the kill was ordered after %.2f ms (medians)",
		len(times), m.Value, quantile(times, 0.9), bar.Median(read), bar.Median(ordered))
	return m, nil
}
