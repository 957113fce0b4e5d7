package gate

import (
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
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

// TestMain is also the programs that the gate asks about: what this process opens itself is never asked about.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && strings.HasPrefix(os.Args[1], "as-") {
		actor(os.Args[1], os.Args[2:])
		return
	}
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0") // of the programs that tests start: each would wait a second at its end
	goleak.VerifyTestMain(m)
}

func actor(role string, args []string) {
	switch role {
	case "as-opener": // opens each and says what became of it
		for _, path := range args {
			_, err := os.Open(path)
			fmt.Println(err == nil, errors.Is(err, os.ErrPermission))
		}
	case "as-timer": // says the nanoseconds that an open takes, of many the middle one
		took := make([]time.Duration, 2000)
		for i := range took {
			began := time.Now()
			fd, err := unix.Open(args[0], unix.O_RDONLY|unix.O_CLOEXEC, 0)
			took[i] = time.Since(began)
			if err != nil {
				fmt.Println(err)
				return
			}
			_ = unix.Close(fd)
		}
		slices.Sort(took)
		fmt.Println(took[len(took)/2].Nanoseconds())
	case "as-runner": // runs a program so many times, each with a file's name of its own, and says how often it was refused, and how often it ran
		n, _ := strconv.Atoi(args[1])
		no, ran := 0, 0
		for i := range n {
			name := fmt.Sprintf("%s/%d", args[2], i)
			if err := exec.Command(args[0], name).Run(); errors.Is(err, syscall.EPERM) {
				no++
			}
			if _, err := os.Stat(name); err == nil {
				ran++
			}
		}
		fmt.Println(no, ran)
	case "as-elsewhere": // as opener, in a mount namespace of its own
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			fmt.Println(err)
			return
		}
		actor("as-opener", args)
	case "as-deep": // goes down and opens what is there
		for range 20 {
			if err := os.Chdir(args[0]); err != nil {
				fmt.Println(err)
				return
			}
		}
		actor("as-opener", args[1:])
	case "as-waiter": // opens when its standard input says so
		fmt.Println("ready")
		_, _ = os.Stdin.Read(make([]byte, 1))
		actor("as-opener", args)
	case "as-gate": // a testudo that never answers, to be killed
		g, err := New(Config{Deadline: 10 * time.Second, Waiting: 10}, nil)
		if err == nil {
			err = g.Guard(context.Background(), []kernel.AskScope{{Hook: kernel.HookOpen, Mount: args[0], Files: kernel.Paths{All: true}}}, true)
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		_ = g.Run(context.Background(), &judge{says: func(*record.Record) bool { fmt.Println("asked"); select {} }})
	}
}

// run starts a program of the test and returns what it says.
func run(t *testing.T, role string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "/proc/self/exe", append([]string{role}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", role, args, err, out)
	}
	return strings.TrimSpace(string(out))
}

const (
	opened  = "true false"
	refused = "false true"
)

// judge answers what its function says, and keeps what it was asked.
type judge struct {
	says func(*record.Record) bool
	mu   sync.Mutex
	got  []record.Record
}

func (j *judge) Records([]byte) {}

func (j *judge) Ask(_ context.Context, rec []byte, gate record.Gate) kernel.Answer {
	var r record.Record
	if n, err := record.Decode(rec, &r); err != nil || n != len(rec) || gate != record.GateFanotify {
		panic(fmt.Sprint(n, err, gate))
	}
	r.Path, r.Comm = append([]byte(nil), r.Path...), append([]byte(nil), r.Comm...)
	j.mu.Lock()
	j.got = append(j.got, r)
	j.mu.Unlock()
	return kernel.Answer{Deny: j.says(&r)}
}

func (j *judge) asked() (paths []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, r := range j.got {
		paths = append(paths, string(r.Path))
	}
	j.got = nil
	return paths
}

// tmpfs mounts a file system of the test's own.
func tmpfs(t testing.TB) string {
	t.Helper()
	require.Root(t)
	fd, _, err := newGroup()
	require.Part(t, "fanotify", err == nil, fmt.Sprintf("a kernel with permission events, and CAP_SYS_ADMIN: %v", err))
	_ = unix.Close(fd)
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("testudo-test", dir, "tmpfs", 0, "size=64m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error("the file system of the test is held: ", err)
			_ = unix.Unmount(dir, unix.MNT_DETACH)
		}
	})
	return dir
}

func create(t testing.TB, paths ...string) {
	t.Helper()
	for _, p := range paths {
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// begin runs a gate until the returned function is called, or the test ends.
func begin(t testing.TB, cfg Config, j *judge, closed bool, scopes ...kernel.AskScope) (*Gate, func()) {
	t.Helper()
	g, err := New(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Guard(context.Background(), scopes, closed); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx, j) }()
	for { // it answers from when it reads
		g.mu.Lock()
		on := g.now != nil || len(scopes) == 0 && g.to != nil
		g.mu.Unlock()
		if on {
			break
		}
		time.Sleep(time.Millisecond)
	}
	end := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		g.Close()
	})
	t.Cleanup(end)
	return g, end
}

func TestOpen(t *testing.T) {
	dir := tmpfs(t)
	secret, other := dir+"/etc/shadow", dir+"/etc/hosts"
	create(t, secret, other)
	j := &judge{says: func(*record.Record) bool { return true }}
	g, end := begin(t, DefaultConfig(), j, false, kernel.AskScope{Hook: kernel.HookOpen, Mount: dir, Files: kernel.Paths{Exact: []string{secret}}})
	if got := run(t, "as-opener", secret, other); got != refused+"\n"+opened {
		t.Fatal(got)
	}
	r := j.got[0]
	if len(j.got) != 1 || r.Kind != record.KindCall || r.Call != record.CallOpenat || string(r.Path) != secret || !r.HasInode || r.Inode.Mode&0o777 != 0o600 ||
		r.PID == 0 || r.PPID != uint32(os.Getpid()) || r.Start == 0 || r.Time < r.Start || r.Cgroup == 0 || r.MntNS == 0 || string(r.Comm) == "" || r.UID != 0 {
		t.Errorf("%+v", j.got)
	}
	j.asked()
	// By whatever name: what is judged is what the kernel opened.
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(secret, link); err != nil {
		t.Fatal(err)
	}
	if got := run(t, "as-opener", link, dir+"/etc/../etc//shadow"); got != refused+"\n"+refused {
		t.Error(got)
	}
	// What nobody asked about a moment ago is asked about under its new name: nothing was marked to be ignored.
	if err := os.Rename(secret, dir+"/gone"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other, secret); err != nil {
		t.Fatal(err)
	}
	if got := run(t, "as-opener", dir+"/gone", secret); got != opened+"\n"+refused {
		t.Error(got)
	}
	// From another mount namespace: the file system is the same.
	if got := run(t, "as-elsewhere", secret); got != refused {
		t.Error(got)
	}
	// By this process itself, never.
	j.asked()
	if f, err := os.Open(secret); err != nil || len(j.asked()) > 0 {
		t.Error(err)
	} else {
		_ = f.Close()
	}
	if c := g.Counts(); c.Denied != 5 || c.Own == 0 || c.Passed < 2 || c.Late+c.Full+c.Lost+c.Unknown > 0 {
		t.Errorf("%+v", c)
	}
	end()
	if got := run(t, "as-opener", secret); got != opened {
		t.Errorf("after its end: %s", got)
	}
}

// A program that is refused never runs: what it would do never happens.
func TestExec(t *testing.T) {
	dir := tmpfs(t)
	evil, good := dir+"/evil", dir+"/good"
	for _, p := range []string{evil, good} {
		b, err := os.ReadFile("/bin/touch")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	j := &judge{says: func(r *record.Record) bool {
		return r.Kind == record.KindExec && strings.HasSuffix(string(r.Path), "/evil")
	}}
	begin(t, DefaultConfig(), j, false, kernel.AskScope{Hook: kernel.HookExec, Mount: dir, Files: kernel.Paths{All: true}})
	if got := run(t, "as-runner", evil, "300", t.TempDir()); got != "300 0" {
		t.Error("refused, ran: ", got)
	}
	if got := run(t, "as-runner", good, "3", t.TempDir()); got != "0 3" {
		t.Error("refused, ran: ", got)
	}
	// A script: it, and its interpreter, are opened to be run.
	script := dir + "/script"
	if err := os.WriteFile(script, []byte("#!"+evil+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	j.asked()
	if got := run(t, "as-runner", script, "1", t.TempDir()); got != "1 0" {
		t.Error(got)
	}
	if got := j.asked(); len(got) != 2 || got[0] != script || got[1] != evil {
		t.Error(got)
	}
	// It is opened to be read, which nobody asks about here.
	if got := run(t, "as-opener", evil); got != opened || len(j.asked()) > 0 {
		t.Error(got)
	}
}

func TestNoAnswer(t *testing.T) {
	for closed, want := range map[bool]string{false: opened, true: refused} {
		t.Run(fmt.Sprint("closed ", closed), func(t *testing.T) {
			dir := tmpfs(t)
			create(t, dir+"/a", dir+"/b")
			release := make(chan struct{})
			j := &judge{says: func(*record.Record) bool { <-release; return !closed }}
			cfg := Config{Deadline: 50 * time.Millisecond, Waiting: 1}
			g, _ := begin(t, cfg, j, closed, kernel.AskScope{Hook: kernel.HookOpen, Mount: dir, Files: kernel.Paths{All: true}})
			if got := run(t, "as-opener", dir+"/a"); got != want {
				t.Error(got)
			}
			// The judge still holds the only place: the next is not asked about at all.
			if got := run(t, "as-opener", dir+"/b"); got != want {
				t.Error(got)
			}
			if f, err := os.Open(dir + "/a"); err != nil { // the judge does not wait for itself
				t.Error(err)
			} else {
				_ = f.Close()
			}
			close(release)
			if c := g.Counts(); c.Late != 1 || c.Full != 1 || c.Allowed+c.Denied != 0 {
				t.Errorf("%+v", c)
			}
		})
	}
}

func TestPathsThatCannotBeTold(t *testing.T) {
	dir := tmpfs(t)
	part := strings.Repeat("d", 250)
	deep, here := "", dir
	for range 20 { // 5,000 bytes, by pieces
		here = filepath.Join(here, part)
		deep = filepath.Join(deep, part)
	}
	fd, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if err := unix.Mkdirat(fd, part, 0o755); err != nil {
			t.Fatal(err)
		}
		down, err := unix.Openat(fd, part, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		_ = unix.Close(fd)
		if fd = down; err != nil {
			t.Fatal(err)
		}
	}
	f, err := unix.Openat(fd, "file", unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(f)
	_ = unix.Close(fd)
	j := &judge{says: func(*record.Record) bool { return false }}
	g, _ := begin(t, DefaultConfig(), j, true, kernel.AskScope{Hook: kernel.HookOpen, Mount: dir, Files: kernel.Paths{Prefix: []string{dir + "/ddd"}}})
	cmd := exec.Command("/proc/self/exe", "as-deep", part, "file")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != refused {
		t.Errorf("%s %v", out, err)
	}
	if c := g.Counts(); c.Unknown != 1 {
		t.Errorf("%+v", c)
	}
}

// A name that looks like the kernel's words for a deleted file, and a pipe that nobody writes to.
func TestOddFiles(t *testing.T) {
	dir := tmpfs(t)
	odd := dir + "/x (deleted)"
	create(t, odd, dir+"/y")
	if err := unix.Mkfifo(dir+"/pipe", 0o600); err != nil {
		t.Fatal(err)
	}
	j := &judge{says: func(r *record.Record) bool { return string(r.Path) == odd }}
	begin(t, DefaultConfig(), j, false, kernel.AskScope{Hook: kernel.HookOpen, Mount: dir, Files: kernel.Paths{All: true}})
	pipe := exec.Command("/proc/self/exe", "as-opener", dir+"/pipe")
	if err := pipe.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pipe.Process.Kill(); _ = pipe.Wait() }()
	if got := run(t, "as-opener", odd, dir+"/y"); got != refused+"\n"+opened {
		t.Error(got)
	}
	// Opened again by its descriptor when it has no name any more.
	f, err := os.Open(dir + "/y")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Remove(dir + "/y"); err != nil {
		t.Fatal(err)
	}
	j.mu.Lock()
	j.got = nil
	j.mu.Unlock()
	cmd := exec.Command("/proc/self/exe", "as-opener", "/proc/self/fd/3")
	cmd.ExtraFiles = []*os.File{f}
	if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != opened {
		t.Errorf("%s %v", out, err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.got) != 1 || string(j.got[0].Path) != dir+"/y" || j.got[0].Flags&(record.FlagDeleted|record.FlagMemory) != record.FlagDeleted|record.FlagMemory {
		t.Errorf("%+v", j.got)
	}
}

func TestGuardHoldsAsAWhole(t *testing.T) {
	dir := tmpfs(t)
	create(t, dir+"/a", dir+"/b")
	var yes atomic.Bool
	j := &judge{says: func(*record.Record) bool { return !yes.Load() }}
	scope := func(name string) kernel.AskScope {
		return kernel.AskScope{Hook: kernel.HookOpen, Mount: dir, Files: kernel.Paths{Name: []string{name}}}
	}
	g, _ := begin(t, DefaultConfig(), j, false, scope("a"))
	both := func() string { return strings.ReplaceAll(run(t, "as-opener", dir+"/a", dir+"/b"), "\n", ", ") }
	if got := both(); got != refused+", "+opened {
		t.Fatal(got)
	}
	for _, bad := range []kernel.AskScope{{Hook: kernel.HookOpen, Mount: "/proc"}, {Hook: kernel.HookOpen, Mount: "/sys/kernel"}, {Hook: kernel.HookOpen, Mount: dir + "/none"},
		{Hook: kernel.HookConnect, Mount: dir}, {Hook: kernel.HookOpen, Mount: "relative"}, {Hook: kernel.HookExec}} {
		if err := g.Guard(t.Context(), []kernel.AskScope{scope("b"), bad}, true); err == nil {
			t.Errorf("%+v is taken", bad)
		}
		if got := both(); got != refused+", "+opened || g.closed.Load() {
			t.Errorf("after %+v: %s", bad, got)
		}
	}
	if err := g.Guard(t.Context(), []kernel.AskScope{scope("b")}, false); err != nil {
		t.Fatal(err)
	}
	if got := both(); got != opened+", "+refused {
		t.Error(got)
	}
	yes.Store(true)
	if got := both(); got != opened+", "+opened {
		t.Error(got)
	}
	yes.Store(false)
	if err := g.Guard(t.Context(), nil, false); err != nil {
		t.Fatal(err)
	}
	if got := both(); got != opened+", "+opened {
		t.Error(got)
	}
	if err := g.Run(t.Context(), j); err == nil {
		t.Error("it runs twice")
	}
}

// While one guard is put in the place of another again and again, nothing slips through, and nothing is left behind.
func TestChangesLeaveNoGap(t *testing.T) {
	dir := tmpfs(t)
	create(t, dir+"/a")
	j := &judge{says: func(*record.Record) bool { return true }}
	scope := kernel.AskScope{Hook: kernel.HookOpen, Mount: dir, Files: kernel.Paths{All: true}}
	g, end := begin(t, DefaultConfig(), j, false, scope)
	before, _ := os.ReadDir("/proc/self/fd")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := g.Guard(context.Background(), []kernel.AskScope{scope}, false); err != nil {
				t.Error(err)
			}
		}
	})
	for range 10 {
		if got := run(t, "as-opener", slices.Repeat([]string{dir + "/a"}, 200)...); strings.Contains(got, "true false") {
			t.Fatal("one slipped through")
		}
	}
	close(stop)
	wg.Wait()
	after, _ := os.ReadDir("/proc/self/fd")
	if len(after) > len(before)+2 {
		t.Errorf("%d descriptors, and were %d", len(after), len(before))
	}
	end()
}

// A file system that is mounted below a scope's path later is asked about too, as a container's.
func TestMountsAreFollowed(t *testing.T) {
	dir := tmpfs(t)
	create(t, dir+"/sub dir/x")
	j := &judge{says: func(r *record.Record) bool { return strings.HasSuffix(string(r.Path), "/a") }}
	_, end := begin(t, DefaultConfig(), j, false, kernel.AskScope{Hook: kernel.HookOpen, Mount: dir, Files: kernel.Paths{All: true}})
	if err := unix.Mount("testudo-test", dir+"/sub dir", "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		end()
		if err := unix.Unmount(dir+"/sub dir", 0); err != nil {
			t.Error(err)
		}
	}()
	create(t, dir+"/sub dir/a", dir+"/sub dir/b")
	for until := time.Now().Add(10 * time.Second); run(t, "as-opener", dir+"/sub dir/a") != refused; {
		if time.Now().After(until) {
			t.Fatal("it is never asked about")
		}
	}
	if got := run(t, "as-opener", dir+"/sub dir/b"); got != opened {
		t.Error(got)
	}
}

// TestRootsOfProcesses: the file system that a container's process has its root on is asked about; a process that has ended meanwhile is no error, and a root
// in a user namespace, where anybody may serve files himself, is left alone.
func TestRootsOfProcesses(t *testing.T) {
	busybox, err := exec.LookPath("busybox")
	require.Part(t, "busybox", err == nil, "busybox-static, a program that runs on an empty file system")
	program, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	start := func(flags uintptr) (root, place string, stop func()) {
		root = tmpfs(t)
		if err := os.WriteFile(root+"/busybox", program, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(root, 0o755); err != nil {
			t.Fatal(err)
		}
		create(t, root+"/file")
		cmd := exec.Command("/busybox", "sleep", "60")
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Cloneflags: flags}
		if flags&syscall.CLONE_NEWUSER != 0 {
			own := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}
			cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = own, own
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		stop = sync.OnceFunc(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		t.Cleanup(stop)
		return root, fmt.Sprintf("/proc/%d/root", cmd.Process.Pid), stop
	}
	_, gone, stop := start(0)
	stop()
	mine, ofContainer, _ := start(0)
	users, ofUser, _ := start(syscall.CLONE_NEWUSER)
	j := &judge{says: func(*record.Record) bool { return true }}
	all := kernel.Paths{Name: []string{"file"}}
	_, end := begin(t, DefaultConfig(), j, false, kernel.AskScope{Hook: kernel.HookOpen, Mount: gone, Files: all}, kernel.AskScope{Hook: kernel.HookOpen, Mount: ofContainer, Files: all},
		kernel.AskScope{Hook: kernel.HookOpen, Mount: ofUser, Files: all})
	defer end()
	if got := run(t, "as-opener", mine+"/file", users+"/file"); got != refused+"\n"+opened {
		t.Error(got)
	}
}

func TestJudgesAreNotAskedAbout(t *testing.T) {
	dir := tmpfs(t)
	create(t, dir+"/a")
	cmd := exec.Command("/proc/self/exe", "as-waiter", dir+"/a")
	in, _ := cmd.StdinPipe()
	var out strings.Builder
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	g, err := New(DefaultConfig(), nil, cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if err := g.Guard(t.Context(), []kernel.AskScope{{Hook: kernel.HookOpen, Mount: dir, Files: kernel.Paths{All: true}}}, true); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	j := &judge{says: func(*record.Record) bool { return true }}
	go func() { done <- g.Run(ctx, j) }()
	for run(t, "as-opener", dir+"/a") != refused { // until it runs
		time.Sleep(time.Millisecond)
	}
	_, _ = in.Write([]byte("x"))
	if err := cmd.Wait(); err != nil || !strings.Contains(out.String(), opened) {
		t.Errorf("%s %v", out.String(), err)
	}
	if g.judges(int32(cmd.Process.Pid)) {
		t.Error("a process that has ended still counts as the judge")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Killed while somebody waits for an answer, it lets go, though its guard is closed: that is this gate's nature, and its limit.
func TestDeathLetsGo(t *testing.T) {
	dir := tmpfs(t)
	create(t, dir+"/a")
	gate := exec.Command("/proc/self/exe", "as-gate", dir)
	said, err := gate.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := gate.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = gate.Process.Kill() }()
	result := make(chan string)
	go func() {
		var got string
		for range 1000 { // the first ones may come before it asks
			got = run(t, "as-opener", dir+"/a")
			if gate.ProcessState != nil || !alive(gate.Process.Pid) {
				break
			}
		}
		result <- got
	}()
	b := make([]byte, 6)
	if _, err := said.Read(b); err != nil || string(b) != "asked\n" {
		t.Fatalf("%q %v", b, err)
	}
	_ = gate.Process.Kill()
	if got := <-result; got != opened {
		t.Error(got)
	}
	_ = gate.Wait()
}

func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(b), ") Z ")
}

func TestConfig(t *testing.T) {
	for _, c := range []Config{{}, {Deadline: time.Second}, {Waiting: 10}, {Deadline: time.Minute, Waiting: 10}, {Deadline: time.Second, Waiting: 1 << 20}} {
		if _, err := New(c, nil); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}
