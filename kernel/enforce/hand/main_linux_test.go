package hand

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/kernel"
)

// TestMain is also the programs that tests kill: they do what their first argument says.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], "as-") {
		actor(os.Args[1], os.Args[2:])
		return
	}
	runtime.LockOSThread()                       // tests that enter a namespace throw their thread away, and the first one is the process's
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0") // of the programs that tests start: each would wait a second at its end
	goleak.VerifyTestMain(m)
}

// start starts a program of the test in these cgroups (folders), and ends it when the test does.
func start(t *testing.T, groups []string, attr *syscall.SysProcAttr, role string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", append([]string{role}, args...)...)
	cmd.SysProcAttr = attr
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = in.Close(); _ = cmd.Wait() })
	for _, dir := range groups {
		if err := write(dir, "cgroup.procs", itoa(cmd.Process.Pid)); err != nil {
			t.Fatal(err)
		}
	}
	// It acts only now that it is where it should be.
	if _, err := io.WriteString(in, "go\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 3)); err != nil {
		t.Fatal("the program of the test does not begin: ", err)
	}
	return cmd
}

// newGroup makes a cgroup of the test's own.
func newGroup(t *testing.T, root string) string {
	t.Helper()
	require.Root(t)
	require.Part(t, "cgroup", root != "", "mount cgroup version 2, or the freezer of version 1")
	dir, err := os.MkdirTemp(root, "testudo-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g := group{dir: dir, v2: root == New().v2}
		_ = g.set(false)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := wait(ctx, func() (bool, error) { return removeTree(dir) == nil, nil }); err != nil {
			t.Error("the cgroup of the test is left: ", dir)
		}
	})
	return dir
}

func removeTree(dir string) error {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			_ = removeTree(filepath.Join(dir, e.Name()))
		}
	}
	return os.Remove(dir)
}

func subgroup(t *testing.T, dir, name string) string {
	t.Helper()
	sub := filepath.Join(dir, name)
	if err := os.Mkdir(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	return sub
}

func startOf(t *testing.T, pid int) uint64 {
	t.Helper()
	s, err := readStat(uint32(pid))
	if err != nil {
		t.Fatal(err)
	}
	return s.start * tick
}

func do(t *testing.T, h *Hand, o kernel.Order) kernel.Done {
	t.Helper()
	d, err := h.Do(context.Background(), o)
	if err != nil {
		t.Fatalf("%+v: %v", o, err)
	}
	return d
}

// refuses checks that an order fails with these words, and that its radius says so before.
func refuses(t *testing.T, h *Hand, o kernel.Order, words string) {
	t.Helper()
	if d, err := h.Do(context.Background(), o); err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("%+v: %+v, %v; want %q", o, d, err, words)
	}
	o.For, o.Verb = o.Verb, kernel.VerbRadius
	if d, err := h.Do(context.Background(), o); err == nil && !strings.Contains(d.Refusal, words) || err != nil && !strings.Contains(err.Error(), words) {
		t.Errorf("radius of %+v: %q, %v; want %q", o, d.Refusal, err, words)
	}
}

func alive(pid int) bool {
	s, err := readStat(uint32(pid))
	return err == nil && s.state != 'Z' && s.state != 'X'
}

func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if wait(ctx, func() (bool, error) { return so(), nil }) != nil {
		t.Fatal("never: " + what)
	}
}
