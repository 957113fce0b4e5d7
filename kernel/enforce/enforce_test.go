//go:build linux

package enforce

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

func TestMain(m *testing.M) {
	switch os.Getenv("TESTUDO_ENFORCE_ROLE") {
	case "daemon":
		daemon()
		return
	case "features":
		features()
		return
	case "actor":
		act()
		return
	}
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0") // of the programs that tests start: each would wait a second at its end
	goleak.VerifyTestMain(m)
}

// seen collects what an enforcer tells of.
type seen struct {
	mu   sync.Mutex
	all  []record.Record
	wake chan struct{}
}

func (s *seen) receive(batch []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(batch) > 0 {
		var r record.Record
		n, err := record.Decode(bytes.Clone(batch), &r)
		if err != nil {
			panic(err)
		}
		s.all, batch = append(s.all, r), batch[n:]
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// wait returns the first record that fits.
func (s *seen) wait(t testing.TB, fits func(record.Record) bool) record.Record {
	t.Helper()
	limit := time.After(10 * time.Second)
	for {
		s.mu.Lock()
		i := slices.IndexFunc(s.all, fits)
		if i >= 0 {
			defer s.mu.Unlock()
			return s.all[i]
		}
		s.mu.Unlock()
		select {
		case <-s.wake:
		case <-limit:
			t.Fatalf("no such record among %d", len(s.all))
		}
	}
}

func (s *seen) count(fits func(record.Record) bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, r := range s.all {
		if fits(r) {
			n++
		}
	}
	return n
}

// begin loads and runs an enforcer until the test ends. Its pins are in a bpffs of the test's own.
func begin(t testing.TB, o Options) (*Enforcer, *seen) {
	t.Helper()
	require.Root(t)
	require.HostPIDs(t)
	var e *Enforcer
	inGuest := os.Getenv("TESTUDO_ENFORCE_GUEST") != "" && o.Pins == "" && o.skip == nil // where loading takes seconds
	if o.Pins == "" {
		o.Pins = t.TempDir()
	}
	if inGuest {
		e = loadOnce(o)
	} else {
		e = New(o)
	}
	err := e.Load()
	require.Part(t, "bpf", err == nil, fmt.Sprint("a kernel with BTF and the permission to load eBPF programs: ", err))
	s := &seen{wake: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx, s.receive) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if inGuest {
			guard(t, e)
		} else if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e, s
}

var (
	once   sync.Once
	shared *Enforcer
)

func loadOnce(o Options) *Enforcer {
	once.Do(func() { shared = New(o) })
	return shared
}

// bpffs mounts a file system for pins.
func bpffs(t testing.TB) string {
	t.Helper()
	require.Root(t)
	dir := t.TempDir()
	if err := unix.Mount("bpf", dir, "bpf", 0, "mode=0700"); err != nil {
		require.Part(t, "bpf", false, "bpffs cannot be mounted: "+err.Error())
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// cgroup makes a cgroup of the test's own and returns its folder and id.
func cgroup(t testing.TB, name string) (string, uint64) {
	t.Helper()
	root, err := cgroupRoot()
	require.Part(t, "cgroup2", err == nil, "a cgroup2 hierarchy")
	dir := filepath.Join(root, fmt.Sprintf("testudo-enforce-%s-%d", name, os.Getpid()))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for range 100 {
			if err = os.Remove(dir); err == nil || errors.Is(err, os.ErrNotExist) {
				return
			}
			time.Sleep(10 * time.Millisecond) // the processes in it are still being taken away
		}
		t.Error(err)
	})
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	return dir, st.Ino
}

// victim puts the test binary there by another name: a program that makes the file it is told to (act).
func victim(t testing.TB, path string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(self, path); err == nil {
		return path
	}
	body, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, string(body))
	return path
}

// actor is a command that does one thing (act).
func actor(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "TESTUDO_ENFORCE_ROLE=actor", "GORACE=exitcode=0 atexit_sleep_ms=0")
	return cmd
}

// within starts the command in a cgroup.
func within(t testing.TB, dir string, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(f.Fd())}
	return cmd
}

// says runs an actor and returns how it says it went.
func says(t testing.TB, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s", cmd, err, out)
	}
	return strings.TrimSpace(string(out))
}

func write(t testing.TB, path, body string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	// Written under a lock of fork: a child of another test that has the file open for writing makes exec fail.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, []byte(body), 0o755); err != nil {
		t.Fatal(err)
	}
}

// realDir is a folder by the name that the kernel has for it.
func realDir(t testing.TB) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// refused runs a command that is to be refused: it fails, by EPERM or SIGKILL as the gate has it.
func refused(t testing.TB, e *Enforcer, cmd *exec.Cmd) {
	t.Helper()
	err := cmd.Run()
	var status *exec.ExitError
	switch {
	case err == nil:
		t.Fatalf("%s ran", cmd.Path)
	case e.Gate(kernel.HookExec) == record.GateLSM:
		if !errors.Is(err, syscall.EPERM) {
			t.Fatalf("%s: %v, want EPERM", cmd.Path, err)
		}
	case !errors.As(err, &status) || status.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL:
		t.Fatalf("%s: %v, want a kill", cmd.Path, err)
	}
}

func absent(t testing.TB, path string) {
	t.Helper()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the refused program ran: %s is there (%v)", path, err)
	}
}

func ran(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	if out := says(t, cmd); out != "done" {
		t.Fatalf("%s: %s", cmd.Path, out)
	}
}

func guard(t testing.TB, e *Enforcer, rules ...kernel.GuardRule) {
	t.Helper()
	if err := e.Guard(context.Background(), kernel.Guard{Rules: rules}); err != nil {
		t.Fatal(err)
	}
}

func exactly(paths ...string) kernel.Paths { return kernel.Paths{Exact: paths} }

func enforced(r record.Record) bool {
	return r.Kind == record.KindEnforced && record.Gate(r.Nums[1]) != record.GateNone
}

// long is how often something is tried: fewer times in the guest, where each takes ten times as long.
func long(short, long int) int {
	if os.Getenv("TESTUDO_ENFORCE_GUEST") != "" {
		return max(short/10, 1)
	}
	if os.Getenv("TESTUDO_LONG") != "" {
		return long
	}
	return short
}

func TestRefusedProgramNeverRuns(t *testing.T) {
	e, s := begin(t, Options{})
	dir := realDir(t)
	bad, good := victim(t, dir+"/bad"), victim(t, dir+"/good")
	guard(t, e, kernel.GuardRule{Rule: "other", Hook: kernel.HookExec, Enforce: true, Exe: exactly(dir + "/none")},
		kernel.GuardRule{Rule: "bad", Hook: kernel.HookExec, Enforce: true, Exe: exactly(bad)})
	times := long(500, 10_000)
	for i := range times {
		marker := dir + "/marker" + strconv.Itoa(i)
		refused(t, e, actor(bad, "touch", marker))
		absent(t, marker)
	}
	ran(t, actor(good, "touch", dir+"/fine"))
	if _, err := os.Stat(dir + "/fine"); err != nil {
		t.Error("a program that no rule names did not run")
	}
	r := s.wait(t, enforced)
	if string(r.Path) != bad || r.Nums[0] != 1 || record.Gate(r.Nums[1]) != e.Gate(kernel.HookExec) || r.Ret != -1 || r.Call != record.CallExecve {
		t.Errorf("told of %s: rule %d, gate %d, %d", r.Path, r.Nums[0], r.Nums[1], r.Ret)
	}
	if args := strings.Split(string(r.Args), "\x00"); len(args) < 3 || args[0] != bad || !strings.HasPrefix(args[2], dir+"/marker") {
		t.Errorf("arguments %q", r.Args)
	}
	if r.PPID != uint32(os.Getpid()) || r.PID == 0 || !r.HasInode || r.Inode.Mode != 0o100755 {
		t.Errorf("process %d of %d, inode %+v", r.PID, r.PPID, r.Inode)
	}
	n, err := e.Counts()
	if err != nil || n.Refused < uint64(times) || n.Failed != 0 || n.Unable != 0 {
		t.Errorf("%+v, %v", n, err)
	}
	guard(t, e)
	ran(t, actor(bad, "touch", dir+"/again"))
}
