//go:build linux

package bpf

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel/record"
)

const helperVariable = "TESTUDO_BPF_TEST_HELPER"

// helper runs one of the functions below in a process of its own, in a new folder, and returns its process id and the folder.
func helper(t testing.TB, name string) (pid uint32, dir string) {
	t.Helper()
	dir = t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestAsHelper$")
	cmd.Env = append(os.Environ(), helperVariable+"="+name, "GORACE=atexit_sleep_ms=0") // else its end takes a second under the race detector
	cmd.Dir = dir
	// Mounts, host names and namespaces are its own.
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC, Unshareflags: 0}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("the helper %s: %v\n%s", name, err, out)
	}
	return uint32(cmd.Process.Pid), dir
}

// TestAsHelper is no test: it is what a helper process runs.
func TestAsHelper(t *testing.T) {
	name := os.Getenv(helperVariable)
	if name == "" {
		return
	}
	runtime.LockOSThread()
	if os.Getenv(sharedVariable) == "" {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Fatal(err)
		}
	}
	steps := map[string]func(*testing.T){"files": helpFiles, "calls": helpCalls, "memory": helpMemory, "overlay": helpOverlay, "race": helpRace, "deny": helpDeny, "spin": helpSpin, "names": helpNames, "evade": helpEvade, "evade within": helpEvadeWithin, "evade root": helpEvadeRoot, "swing": helpSwing, "ahead": helpAhead}
	steps[name](t)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// helpFiles changes files in every way that is told of.
func helpFiles(t *testing.T) {
	must(t, os.WriteFile("a", []byte("x"), 0o600))
	_, err := os.ReadFile("a")
	must(t, err)
	must(t, unix.Rename("a", "b"))
	must(t, unix.Renameat2(unix.AT_FDCWD, "b", unix.AT_FDCWD, "c", unix.RENAME_NOREPLACE))
	must(t, unix.Link("c", "hard"))
	must(t, unix.Symlink("c", "soft"))
	must(t, unix.Mkdir("dir", 0o700))
	dir, err := unix.Open("dir", unix.O_DIRECTORY|unix.O_RDONLY, 0)
	must(t, err)
	must(t, unix.Mkdirat(dir, "in", 0o700))
	must(t, unix.Unlinkat(dir, "in", unix.AT_REMOVEDIR))
	must(t, unix.Rmdir("./dir/../dir"))
	must(t, unix.Chmod("c", 0o4755))
	fd, err := unix.Open("c", unix.O_RDWR, 0)
	must(t, err)
	must(t, unix.Fchmod(fd, 0o600))
	must(t, unix.Fchown(fd, 1, 1))
	must(t, unix.Ftruncate(fd, 3))
	must(t, unix.Chown("c", 2, 2))
	must(t, unix.Lchown("soft", 3, 3))
	must(t, unix.Truncate("c", 1))
	must(t, unix.Mknod("fifo", unix.S_IFIFO|0o600, 0))
	_ = unix.Setxattr("c", "user.testudo", []byte("1"), 0)
	if err := unix.Unlink("missing"); err != unix.ENOENT {
		t.Fatal(err)
	}
	must(t, unix.Unlink("c"))
	must(t, os.WriteFile("odd\nname\xff", nil, 0o600))
	// Behind another mount: the same folder at another place, and a file system on it.
	must(t, os.Mkdir("mounted", 0o700))
	must(t, unix.Mount("tmpfs", "mounted", "tmpfs", 0, ""))
	must(t, os.Mkdir("mounted/deep", 0o700))
	must(t, os.Mkdir("bound", 0o700))
	must(t, unix.Mount("mounted/deep", "bound", "", unix.MS_BIND, ""))
	must(t, os.WriteFile("bound/file", nil, 0o600))
	how := unix.OpenHow{Flags: unix.O_RDONLY, Resolve: unix.RESOLVE_NO_SYMLINKS}
	_, err = unix.Openat2(unix.AT_FDCWD, "bound/file", &how)
	must(t, err)
	_, err = os.ReadFile("absent")
	if !os.IsNotExist(err) {
		t.Fatal(err)
	}
	must(t, os.Symlink("bound/file", "link"))
	_, err = os.ReadFile("link")
	must(t, err)
}

// helpCalls makes system calls that are told of for what they are.
func helpCalls(t *testing.T) {
	calls := func(nr uintptr, args ...uintptr) {
		a := [6]uintptr{}
		copy(a[:], args)
		_, _, _ = unix.Syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
	}
	text := func(s string) uintptr { return uintptr(unsafe.Pointer(unsafe.StringData(s + "\x00"))) }
	calls(unix.SYS_SETREUID, 0, 0)
	calls(unix.SYS_SETRESUID, 0, 0, 0)
	calls(unix.SYS_SETFSUID, 0)
	calls(unix.SYS_SETRESGID, 0, 0, 0)
	calls(unix.SYS_CAPSET, 0, 0)
	calls(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 1)
	calls(unix.SYS_PTRACE, unix.PTRACE_DETACH, 1)
	calls(unix.SYS_PROCESS_VM_READV, uintptr(os.Getpid()), 0, 0, 0, 0, 0)
	calls(unix.SYS_DELETE_MODULE, text("testudo_none"), 0)
	calls(unix.SYS_INIT_MODULE, 0, 0, text("option=1"))
	must(t, os.Mkdir("here", 0o700))
	calls(unix.SYS_MOUNT, text("testudo"), text("here"), text("tmpfs"), 0, 0)
	calls(unix.SYS_UMOUNT2, text("here"), 0)
	fs, err := unix.Fsopen("tmpfs", 0)
	must(t, err)
	must(t, unix.FsconfigCreate(fs))
	mounted, err := unix.Fsmount(fs, 0, 0)
	must(t, err)
	must(t, unix.MoveMount(mounted, "", unix.AT_FDCWD, "here", unix.MOVE_MOUNT_F_EMPTY_PATH))
	ns, err := unix.Open("/proc/self/ns/uts", unix.O_RDONLY, 0)
	must(t, err)
	must(t, unix.Setns(ns, 0))
	must(t, unix.Unshare(unix.CLONE_NEWUTS))
	must(t, unix.Sethostname([]byte("testudo-test")))
	calls(unix.SYS_BPF, 99, 0, 0)
	_, err = unix.MemfdCreate("in memory", 0)
	must(t, err)
	calls(unix.SYS_USERFAULTFD, 0)
	child := exec.Command("sleep", "60")
	must(t, child.Start())
	must(t, unix.Kill(child.Process.Pid, 0))
	pidfd, err := unix.PidfdOpen(child.Process.Pid, 0)
	must(t, err)
	must(t, unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0))
	_ = child.Wait()
	calls(unix.SYS_KEYCTL, 0, ^uintptr(2), 0)
	calls(unix.SYS_ADD_KEY, text("user"), text("testudo"), text("x"), 1, ^uintptr(2))
	calls(unix.SYS_PERF_EVENT_OPEN, 0, 0, 0, 0, 0)
	calls(unix.SYS_IO_URING_SETUP, 1, 0)
	calls(unix.SYS_MPROTECT, 0, 0, unix.PROT_EXEC)
	calls(unix.SYS_EXECVE, text("./not/there"), 0, 0)
	must(t, os.Mkdir("new", 0o700))
	calls(unix.SYS_CHROOT, text("new/none"))

	l, err := net.Listen("tcp4", "127.0.0.1:0")
	must(t, err)
	go func() { _, _ = l.Accept() }()
	c, err := net.Dial("tcp4", l.Addr().String())
	must(t, err)
	raw, err := c.(*net.TCPConn).SyscallConn()
	must(t, err)
	must(t, raw.Control(func(fd uintptr) { must(t, unix.Dup3(int(fd), 0, 0)) }))
}

// helpMemory runs a program that is in memory only.
func helpMemory(t *testing.T) {
	fd, err := unix.MemfdCreate("payload", 0)
	must(t, err)
	program, err := os.ReadFile("/bin/true")
	must(t, err)
	_, err = unix.Write(fd, program)
	must(t, err)
	must(t, exec.Command(fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd)).Run())
}

// helpOverlay runs a program that was written over an overlay, and one that was there before.
func helpOverlay(t *testing.T) {
	must(t, os.Mkdir("all", 0o700))
	must(t, unix.Mount("tmpfs", "all", "tmpfs", 0, ""))
	for _, d := range []string{"lower", "upper", "work", "merged"} {
		must(t, os.Mkdir("all/"+d, 0o755))
	}
	program, err := os.ReadFile("/bin/true")
	must(t, err)
	must(t, os.WriteFile("all/lower/before", program, 0o755))
	must(t, unix.Mount("overlay", "all/merged", "overlay", 0, "lowerdir=all/lower,upperdir=all/upper,workdir=all/work"))
	must(t, os.WriteFile("all/merged/dropped", program, 0o4755))
	must(t, unix.Chmod("all/merged/dropped", 0o4755))
	must(t, exec.Command("all/merged/before").Run())
	must(t, exec.Command("all/merged/dropped").Run())
}

// helpRace opens a name that leads to two files by turns.
func helpRace(t *testing.T) {
	must(t, os.WriteFile("one", []byte("1"), 0o600))
	must(t, os.WriteFile("two", []byte("2"), 0o600))
	stop := swinging(t, "one", "two")
	opened := map[uint64]bool{} // a busy machine may let nothing swing for a while
	for i := 0; i < 500 || len(opened) < 2; i++ {
		fd, err := unix.Open("swing", unix.O_RDONLY, 0)
		must(t, err)
		var s unix.Stat_t
		must(t, unix.Fstat(fd, &s))
		opened[s.Ino] = true
		_ = unix.Close(fd)
	}
	stop()
}

// swinging has the link "swing" lead to the one and the other name by turns, until the returned function has returned.
func swinging(t *testing.T, one, other string) (stop func()) {
	must(t, os.Symlink(one, "swing"))
	end, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-end:
				return
			default:
			}
			_ = os.Symlink([]string{one, other}[i%2], "next")
			_ = os.Rename("next", "swing")
		}
	}()
	return func() { close(end); <-done }
}

// helpDeny does what fails.
const creatAMD64 = 85 // SYS_CREAT, which package unix has on that machine alone

func helpDeny(t *testing.T) {
	must(t, os.Mkdir("sub", 0o700))
	must(t, os.WriteFile("sub/secret", nil, 0o600))
	must(t, os.Chmod(".", 0o755))
	must(t, unix.Setresuid(65534, 65534, 65534))
	if _, err := os.ReadFile("sub/secret"); !os.IsPermission(err) {
		t.Fatal(err)
	}
	if runtime.GOARCH == "amd64" { // the only one of ours that has creat
		name, err := unix.BytePtrFromString("sub/secret")
		must(t, err)
		if _, _, err := unix.RawSyscall(creatAMD64, uintptr(unsafe.Pointer(name)), 0o600, 0); err != unix.EACCES {
			t.Fatal(err)
		}
	}
	if err := exec.Command("sub/program").Run(); err == nil {
		t.Fatal("it ran")
	}
	if err := unix.Kill(1, 0); err != unix.EPERM {
		t.Fatal(err)
	}
	time.Sleep(time.Millisecond)
}

// helpSpin makes as many calls that are told of as the file "count" says, as fast as it can.
func helpSpin(t *testing.T) {
	b, err := os.ReadFile(os.Getenv(countVariable))
	must(t, err)
	n, err := strconv.Atoi(string(b))
	must(t, err)
	for range n {
		_, _, _ = unix.RawSyscall6(unix.SYS_PRCTL, unix.PR_GET_DUMPABLE, 0, 0, 0, 0, 0)
	}
}

// helpNames makes as many changes by names as the file says, of the kind that it says.
func helpNames(t *testing.T) {
	b, err := os.ReadFile(os.Getenv(countVariable))
	must(t, err)
	kind, count, _ := strings.Cut(string(b), " ")
	n, err := strconv.Atoi(count)
	must(t, err)
	must(t, os.MkdirAll("a/b", 0o700))
	must(t, os.WriteFile("a/b/file", nil, 0o600))
	must(t, os.WriteFile("a/b/file0", nil, 0o600))
	for i := range n {
		switch kind {
		case "plain":
			must(t, unix.Mknod("a/b/pipe"+strconv.Itoa(i), unix.S_IFIFO|0o600, 0))
		case "chmod":
			must(t, unix.Chmod("a/b/file", 0o600))
		case "rename":
			must(t, unix.Rename("a/b/file"+strconv.Itoa(i), "a/b/file"+strconv.Itoa(i+1)))
		}
	}
}

const countVariable = "TESTUDO_BPF_TEST_COUNT"

// of matches records of a call by a process.
func of(pid uint32, call record.Call, more ...func(*record.Record) bool) func(*record.Record) bool {
	return func(r *record.Record) bool {
		if r.Kind != record.KindCall || r.Call != call || r.PID != pid {
			return false
		}
		for _, m := range more {
			if !m(r) {
				return false
			}
		}
		return true
	}
}

func at(path string) func(*record.Record) bool {
	return func(r *record.Record) bool { return string(r.Path) == path }
}

func in(dir string, names ...string) string {
	return filepath.Join(append([]string{dir}, names...)...)
}
