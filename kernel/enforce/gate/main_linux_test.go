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
	"unsafe"

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
	case "as-loader": // runs what is named by its arguments, and says how it ended
		fmt.Println(exec.Command(args[0], args[1:]...).Run())
	case "as-exec": // becomes a program in a way, which makes the file that its argument names; says why it does not
		fmt.Println(become(args[0], args[1], args[2]))
	case "as-crowd": // opens one file so many times at once, and says how often it was refused, and opened
		n, _ := strconv.Atoi(args[1])
		var no, yes atomic.Int64
		var start, wait sync.WaitGroup
		start.Add(1)
		for range n {
			wait.Go(func() {
				start.Wait()
				fd, err := unix.Open(args[0], unix.O_RDONLY|unix.O_CLOEXEC, 0)
				if err == nil {
					yes.Add(1)
					_ = unix.Close(fd)
				} else if errors.Is(err, unix.EPERM) {
					no.Add(1)
				}
			})
		}
		start.Done()
		wait.Wait()
		fmt.Println(no.Load(), yes.Load())
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

// become runs a program in another way than by its name.
func become(way, program, arg string) error {
	argv := []string{program, arg}
	at := func(fd int) error {
		empty, _ := unix.BytePtrFromString("")
		list, _ := syscall.SlicePtrFromStrings(argv)
		_, _, errno := unix.Syscall6(unix.SYS_EXECVEAT, uintptr(fd), uintptr(unsafe.Pointer(empty)), uintptr(unsafe.Pointer(&list[0])), 0, unix.AT_EMPTY_PATH, 0)
		return errno
	}
	switch way {
	case "descriptor", "descriptor of a path", "procfs":
		flags := unix.O_RDONLY
		if way == "descriptor of a path" {
			flags = unix.O_PATH
		}
		fd, err := unix.Open(program, flags, 0)
		if err != nil {
			return err
		}
		if way == "procfs" {
			return unix.Exec(fmt.Sprintf("/proc/self/fd/%d", fd), argv, nil)
		}
		return at(fd)
	case "memory":
		fd, err := unix.MemfdCreate("x", 0)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(program)
		if err != nil {
			return err
		}
		if _, err := unix.Write(fd, text); err != nil {
			return err
		}
		return at(fd)
	case "dots":
		return unix.Exec(filepath.Dir(program)+"/../"+filepath.Base(filepath.Dir(program))+"/./"+filepath.Base(program), argv, nil)
	case "relative":
		if err := os.Chdir(filepath.Dir(program)); err != nil {
			return err
		}
		return unix.Exec(filepath.Base(program), argv, nil)
	case "another root":
		if err := unix.Chroot(filepath.Dir(program)); err != nil {
			return err
		}
		return unix.Exec("/"+filepath.Base(program), argv, nil)
	}
	return unix.Exec(program, argv, nil)
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
func begin(t testing.TB, cfg Config, j kernel.Receiver, closed bool, scopes ...kernel.AskScope) (*Gate, func()) {
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

func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(b), ") Z ")
}
