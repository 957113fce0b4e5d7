package privilege

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/internal/require"
)

// TestMain lets this binary be the processes that the tests start.
func TestMain(m *testing.M) {
	if act := os.Getenv("TESTUDO_TEST_ACT"); act != "" {
		os.Exit(acts(act))
	}
	os.Exit(m.Run())
}

// acts is what a process under the filter tries. It exits with 0 where what it tried went as it should.
func acts(act string) int {
	fail := func(format string, args ...any) int { fmt.Printf(format+"\n", args...); return 1 }
	before, err := os.CreateTemp("", "filter")
	if err != nil {
		return fail("%v", err)
	}
	defer os.Remove(before.Name())
	if err := Filter(); err != nil {
		return fail("%v", err)
	}
	switch act {
	case "run": // what the runtime and the sensor do
		done := make(chan error)
		for range 20 { // threads
			go func() {
				time.Sleep(time.Millisecond)
				_, err := os.ReadFile("/proc/self/status")
				done <- err
			}()
		}
		for range 20 {
			if err := <-done; err != nil {
				return fail("reading: %v", err)
			}
		}
		for _, network := range []string{"unix", "unixpacket"} {
			ln, err := net.Listen(network, filepath.Join(os.TempDir(), fmt.Sprintf("filter%d", os.Getpid())))
			if err == nil {
				ln.Close()
				return fail("it listens on a socket of the file system")
			}
		}
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
		if err != nil {
			return fail("netlink: %v", err)
		}
		unix.Close(fd)
	case "network":
		for _, family := range []int{unix.AF_INET, unix.AF_INET6, unix.AF_PACKET, unix.AF_VSOCK, unix.AF_ALG} {
			if fd, err := unix.Socket(family, unix.SOCK_STREAM, 0); err == nil || !errors.Is(err, unix.EAFNOSUPPORT) {
				return fail("socket of family %d: descriptor %d, %v", family, fd, err)
			}
		}
	case "fork":
		if pid, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0); errno != unix.EPERM {
			if errno == 0 && pid == 0 {
				os.Exit(0)
			}
			return fail("a process is started: %d, %v", pid, errno)
		}
		if _, _, errno := syscall.RawSyscall(unix.SYS_CLONE3, 0, 0, 0); errno != unix.ENOSYS {
			return fail("clone3: %v", errno)
		}
	case "unlisted":
		if err := unix.Acct(""); !errors.Is(err, unix.EPERM) {
			return fail("acct: %v", err)
		}
		if _, _, errno := syscall.RawSyscall(newest+10, 0, 0, 0); errno != unix.ENOSYS {
			return fail("a call of the future: %v", errno)
		}
		if err := os.Chmod(before.Name(), 0o777); err == nil {
			return fail("a file's mode is changed")
		}
		if err := os.Rename(before.Name(), before.Name()+"x"); err == nil {
			return fail("a file is renamed")
		}
		if _, err := os.Create(before.Name() + "y"); err == nil {
			os.Remove(before.Name() + "y") // the limit on sizes keeps it empty: see limits
		}
	case "threads": // the filter holds for threads that were there before it
		result := make(chan error, 1)
		go func() { _, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0); result <- err }()
		if err := <-result; !errors.Is(err, unix.EAFNOSUPPORT) {
			return fail("another thread: %v", err)
		}
	case "execve":
		_ = syscall.Exec("/bin/true", []string{"true"}, nil)
		return fail("it goes on after execve")
	case "ptrace":
		_, _, _ = syscall.RawSyscall(unix.SYS_PTRACE, 0, 0, 0)
		return fail("it goes on after ptrace")
	case "module":
		_, _, _ = syscall.RawSyscall(unix.SYS_INIT_MODULE, 0, 0, 0)
		return fail("it goes on after init_module")
	}
	return 0
}

func TestFilter(t *testing.T) {
	for act, killed := range map[string]bool{"run": false, "network": false, "fork": false, "unlisted": false, "threads": false,
		"execve": true, "ptrace": true, "module": true} {
		t.Run(act, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
			cmd.Env = append(os.Environ(), "TESTUDO_TEST_ACT="+act)
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if killed {
				if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGSYS {
					t.Errorf("%v, want death by SIGSYS\n%s", err, out)
				}
				return
			}
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// The filter names no call twice, and none that is both allowed and deadly.
func TestFilterLists(t *testing.T) {
	seen := map[uintptr]bool{unix.SYS_SOCKET: true, unix.SYS_CLONE: true, unix.SYS_CLONE3: true}
	for _, list := range [][]uintptr{calls[:], machineCalls[:], deadly[:]} {
		for _, c := range list {
			if seen[c] {
				t.Errorf("call %d is listed twice", c)
			}
			seen[c] = true
			if c >= newest {
				t.Errorf("call %d is not below newest", c)
			}
		}
	}
	for _, s := range assemble() {
		if s.Code&7 == unix.BPF_JMP && int(s.Jt) > 10 {
			t.Errorf("a jump of %d", s.Jt)
		}
	}
}

// What the thread gives up stays given up, and the other threads keep theirs.
func TestBecome(t *testing.T) {
	require.Root(t)
	target := &Target{UID: 61234, GID: 61235, Groups: []uint32{61235, 61236}}
	var status string
	err := onThread(func() error {
		if err := become(target, true); err != nil {
			return err
		}
		b, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/status", unix.Gettid()))
		status = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Uid:\t61234\t61234\t61234\t61234\n", "Gid:\t61235\t61235\t61235\t61235\n", "Groups:\t61235 61236 \n", "NoNewPrivs:\t1\n",
		"CapEff:\t0000000000000400\n", "CapPrm:\t0000000000000400\n", "CapBnd:\t0000000000000400\n", "CapAmb:\t0000000000000400\n"} {
		if !strings.Contains(status, want) {
			t.Errorf("%q is not in\n%s", want, status)
		}
	}
	if os.Geteuid() != 0 {
		t.Error("the process has changed its user")
	}
	if has, err := permitted(); err != nil || has == 1<<capNetBindService {
		t.Errorf("the process has lost its capabilities: %x, %v", has, err)
	}
}

// Who is given a data directory, and whose stays what it is.
func TestAdopt(t *testing.T) {
	require.Root(t)
	target := &Target{UID: 61234, GID: 61235}
	owner := func(path string) uint32 {
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			t.Fatal(err)
		}
		return st.Uid
	}
	for _, c := range []struct {
		name    string
		spoil   func(dir string) error
		adopted bool
		err     string
	}{
		{"as an earlier run left it", func(string) error { return nil }, true, ""},
		{"a second name of another file", func(dir string) error {
			other := filepath.Join(filepath.Dir(dir), "secret")
			return errors.Join(os.WriteFile(other, nil, 0o600), os.Link(other, filepath.Join(dir, "lake", "x")))
		}, false, "lake/x has 2 names"},
		{"a symbolic link within", func(dir string) error { return os.Symlink("/etc/shadow", filepath.Join(dir, "x")) }, false, "x is neither file nor folder"},
		{"a file of somebody else", func(dir string) error {
			return errors.Join(os.WriteFile(filepath.Join(dir, "x"), nil, 0o600), os.Chown(filepath.Join(dir, "x"), 61299, 61299))
		}, false, "x belongs to uid 61299"},
		{"a folder that is not testudo's", func(dir string) error { return os.Remove(filepath.Join(dir, "lock")) }, false, ""},
		{"a folder that others can read", func(dir string) error { return os.Chmod(dir, 0o755) }, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "d")
			for _, sub := range []string{"", "ledger", "lake/a"} {
				if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			for _, f := range []string{"lock", "state.db", "lake/a/b.parquet"} {
				if err := os.WriteFile(filepath.Join(dir, f), []byte("x"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.spoil(dir); err != nil {
				t.Fatal(err)
			}
			err := adopt(dir, target)
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Fatalf("error %v, want %q", err, c.err)
			}
			for _, f := range []string{"", "state.db", "lake/a/b.parquet"} {
				if got := owner(filepath.Join(dir, f)) == target.UID; got != c.adopted {
					t.Errorf("%q given away: %v", f, got)
				}
			}
		})
	}
	t.Run("through a symbolic link", func(t *testing.T) {
		base := t.TempDir()
		real := filepath.Join(base, "real", "d")
		if err := errors.Join(os.MkdirAll(filepath.Join(real, "ledger"), 0o700), os.WriteFile(filepath.Join(real, "lock"), nil, 0o600),
			os.Symlink(filepath.Join(base, "real"), filepath.Join(base, "link"))); err != nil {
			t.Fatal(err)
		}
		if err := adopt(filepath.Join(base, "link", "d"), target); err != nil || owner(real) != 0 {
			t.Errorf("%v, owner %d", err, owner(real))
		}
	})
	t.Run("a new one", func(t *testing.T) {
		base := t.TempDir()
		if err := os.Chmod(base, 0o755); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(base, "new")
		if err := adopt(dir, target); err != nil || owner(dir) != target.UID {
			t.Errorf("%v", err)
		}
	})
	t.Run("a new one where others may write", func(t *testing.T) {
		base := t.TempDir()
		if err := os.Chmod(base, 0o777); err != nil {
			t.Fatal(err)
		}
		if err := adopt(filepath.Join(base, "new"), target); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(filepath.Join(base, "new")); err == nil {
			t.Error("root makes a folder where somebody else may")
		}
	})
}

func TestLastWords(t *testing.T) {
	var w lastWords
	fmt.Fprint(&w, "panic: \x1b[31mno\n\n")
	fmt.Fprint(&w, strings.Repeat("x", 3*maxWords))
	if got := w.String(); len(got) > maxWords || !strings.HasPrefix(got, "panic:  [31mno\n\nxx") {
		t.Errorf("%.40q, %d bytes", got, len(got))
	}
}

// Descriptors that the shell left open reach nobody.
func TestCloseOnExec(t *testing.T) {
	fd, err := unix.Open("/dev/null", unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := closeOnExec(); err != nil {
		t.Fatal(err)
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("descriptor %d stays open: %d, %v", fd, flags, err)
	}
}

func TestTrimLosesNothing(t *testing.T) {
	Trim()
	if got := strings.Repeat("ab", 3); got != "ababab" || len(Capabilities()) == 0 {
		t.Error(got)
	}
	maps, err := programMaps()
	if err != nil || len(maps) == 0 {
		t.Errorf("no mapping of this program is found: %v", err)
	}
}
