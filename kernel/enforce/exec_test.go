//go:build linux

package enforce

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

// What counts is the file that the kernel opened, however the caller named it.
func TestFileThatWasOpenedIsJudged(t *testing.T) {
	e, _ := begin(t, Options{})
	dir := realDir(t)
	bad := victim(t, dir+"/sub/bad")
	odd := victim(t, dir+"/a\x1b[31m\n\xff\xfe\tb")
	other := victim(t, dir+"/other")
	mover := victim(t, dir+"/mover")
	if err := os.Symlink(bad, dir+"/link"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir+"/sub", dir+"/folder"); err != nil {
		t.Fatal(err)
	}
	victim(t, dir+"/tree/x/y/deep")
	victim(t, dir+"/named/thatname")
	victim(t, dir+"/interpreter")
	write(t, dir+"/script", "#!"+dir+"/interpreter\n")
	write(t, dir+"/badscript", "#!"+other+" touch\n")
	guard(t, e, kernel.GuardRule{Rule: "r", Hook: kernel.HookExec, Enforce: true, Exe: kernel.Paths{
		Exact:  []string{bad, odd, dir + "/moved", dir + "/interpreter", dir + "/badscript"},
		Prefix: []string{dir + "/tree/"}, Name: []string{"thatname"}}})

	relative := actor("./bad", "touch", dir+"/marker")
	relative.Dir = dir + "/sub"
	t.Run("refused", func(t *testing.T) {
		for name, cmd := range map[string]*exec.Cmd{
			"by its name":             actor(bad, "touch", dir+"/marker"),
			"by a link":               actor(dir+"/link", "touch", dir+"/marker"),
			"by a folder's link":      actor(dir+"/folder/bad", "touch", dir+"/marker"),
			"by dots":                 actor(dir+"/sub/../sub/./bad", "touch", dir+"/marker"),
			"relative":                relative,
			"control characters":      actor(odd, "touch", dir+"/marker"),
			"below a folder":          actor(dir+"/tree/x/y/deep", "touch", dir+"/marker"),
			"by its last component":   actor(dir+"/named/thatname", "touch", dir+"/marker"),
			"a script's interpreter":  actor(dir+"/script", "touch", dir+"/marker"),
			"a script":                actor(dir+"/badscript", dir+"/marker"),
			"by a descriptor":         actor(other, "execveat", bad, "touch", dir+"/marker"),
			"by one that is replaced": actor(other, "exec", bad, "touch", dir+"/marker"),
		} {
			t.Run(name, func(t *testing.T) {
				if out, err := cmd.Output(); err == nil && strings.TrimSpace(string(out)) == "EPERM" && e.Gate(kernel.HookExec) == record.GateLSM {
					absent(t, dir+"/marker") // the actor lived on to tell
					return
				} else if err == nil && strings.HasPrefix(cmd.Args[0], other) {
					t.Fatalf("it ran: %s", out)
				}
				again := exec.Command(cmd.Path, cmd.Args[1:]...)
				again.Args, again.Env, again.Dir = cmd.Args, cmd.Env, cmd.Dir
				refused(t, e, again)
				absent(t, dir+"/marker")
			})
		}
	})
	t.Run("renamed", func(t *testing.T) {
		ran(t, actor(mover, "touch", dir+"/1"))
		if err := os.Rename(mover, dir+"/moved"); err != nil {
			t.Fatal(err)
		}
		refused(t, e, actor(dir+"/moved", "touch", dir+"/marker"))
		if err := os.Rename(dir+"/moved", mover); err != nil {
			t.Fatal(err)
		}
		ran(t, actor(mover, "touch", dir+"/2"))
	})
	t.Run("another hard link is another path", func(t *testing.T) {
		if err := os.Link(bad, dir+"/hard"); err != nil {
			t.Fatal(err)
		}
		ran(t, actor(dir+"/hard", "touch", dir+"/3"))
		refused(t, e, actor(bad, "touch", dir+"/marker"))
	})
	t.Run("names that only begin or end alike", func(t *testing.T) {
		for _, name := range []string{"/sub/bad2", "/sub/ba", "/tre", "/named/xthatname", "/named/thatname2"} {
			ran(t, actor(victim(t, dir+name), "touch", dir+"/4"))
		}
	})
}

// Paths longer than any buffer: their beginning still counts, and no end of them is taken for a whole.
func TestLongPaths(t *testing.T) {
	e, s := begin(t, Options{})
	top := realDir(t)
	guard(t, e, kernel.GuardRule{Rule: "r", Hook: kernel.HookExec, Enforce: true, Exe: kernel.Paths{Prefix: []string{top + "/in/"}}})
	for _, root := range []string{"/in/", "/out/"} {
		folder := top + root
		if err := os.Mkdir(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		fd, err := unix.Open(folder, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.Repeat("n", 200)
		for range 30 { // 6,000 bytes
			if err := unix.Mkdirat(fd, name, 0o755); err != nil {
				t.Fatal(err)
			}
			next, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
			if err != nil {
				t.Fatal(err)
			}
			unix.Close(fd)
			fd = next
		}
		source := victim(t, top+"/source"+strings.Trim(root, "/"))
		if err := unix.Linkat(unix.AT_FDCWD, source, fd, "program", 0); err != nil {
			t.Fatal(err)
		}
		file, err := unix.Openat(fd, "program", unix.O_RDONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(file)
		unix.Close(fd)
		cmd := actor(fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), file), "touch", top+root+"marker")
		if root == "/out/" {
			ran(t, cmd)
			continue
		}
		refused(t, e, cmd)
		absent(t, top+root+"marker")
		r := s.wait(t, enforced)
		if !strings.HasPrefix(string(r.Path), top+"/in/nnn") || r.Flags&record.FlagTruncated == 0 {
			t.Errorf("told of %.80q, flags %b", r.Path, r.Flags)
		}
	}
}

func TestCallerAndWorkload(t *testing.T) {
	e, s := begin(t, Options{})
	if !e.plan.able.caller {
		t.Log("who calls is not seen here: tested with fanotify")
		left := e.Residue([]kernel.GuardRule{{Hook: kernel.HookExec, Parent: exactly("/bin/x")}})
		if len(left) != 1 {
			t.Fatalf("residue %v", left)
		}
		return
	}
	dir := realDir(t)
	server, shell, admin := victim(t, dir+"/server"), victim(t, dir+"/shell"), victim(t, dir+"/admin")
	inside, id := cgroup(t, "exec")
	guard(t, e,
		kernel.GuardRule{Rule: "shell of the server", Hook: kernel.HookExec, Enforce: true, Parent: exactly(server), Exe: kernel.Paths{Name: []string{"shell"}}},
		kernel.GuardRule{Rule: "in the workload", Hook: kernel.HookExec, Enforce: true, Cgroups: []uint64{id}, Exe: exactly(admin), UIDs: []uint32{0}},
		kernel.GuardRule{Rule: "of nobody", Hook: kernel.HookExec, Enforce: true, Cgroups: []uint64{id}, UIDs: []uint32{4711}})
	if out := says(t, actor(server, "spawn", shell, "touch", dir+"/marker")); out == "done" {
		t.Error("the server's shell ran")
	}
	absent(t, dir+"/marker")
	ran(t, actor(server, "exec", shell, "touch", dir+"/fine")) // its parent is this test: rules see it so
	ran(t, actor(admin, "spawn", shell, "touch", dir+"/fine"))
	ran(t, actor(server, "spawn", admin, "touch", dir+"/fine"))
	refused(t, e, within(t, inside, actor(admin, "touch", dir+"/marker")))
	absent(t, dir+"/marker")
	ran(t, within(t, inside, actor(shell, "touch", dir+"/fine")))
	if r := s.wait(t, func(r record.Record) bool { return enforced(r) && r.Nums[0] == 1 }); r.Cgroup != id {
		t.Errorf("cgroup %d, want %d", r.Cgroup, id)
	}

	// Who may make cgroups below his own does not get out of it.
	below := filepath.Join(inside, "below")
	if err := os.Mkdir(below, 0o755); err != nil {
		t.Fatal(err)
	}
	refused(t, e, within(t, below, actor(admin, "touch", dir+"/marker")))
	if err := os.Remove(below); err != nil {
		t.Error(err)
	}
}

func TestHostIsWhatIsInNoContainer(t *testing.T) {
	e, _ := begin(t, Options{})
	dir := realDir(t)
	bad := victim(t, dir+"/bad")
	guard(t, e, kernel.GuardRule{Rule: "host", Hook: kernel.HookExec, Enforce: true, Host: true, Exe: exactly(bad)})
	dev, err := rootDevice()
	require.Part(t, "host-root", err == nil && sameRoot(t, dev), fmt.Sprint("run the tests on the root file system of process 1, in no container: ", err))
	refused(t, e, actor(bad, "touch", dir+"/marker"))
	absent(t, dir+"/marker")
	contained := actor(bad, "touch", dir+"/fine")
	contained.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	ran(t, contained)

	// A user does not leave the host by namespaces of his own.
	user := actor(bad, "touch", dir+"/marker")
	mapping := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}
	user.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID | syscall.CLONE_NEWNS, UidMappings: mapping, GidMappings: mapping}
	refused(t, e, user)
	absent(t, dir+"/marker")
}

// sameRoot: is our root file system the host's?
func sameRoot(t *testing.T, dev uint32) bool {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat("/", &st); err != nil {
		t.Fatal(err)
	}
	return unix.Major(st.Dev)<<20|unix.Minor(st.Dev) == dev
}

func TestMemoryAndUpperLayer(t *testing.T) {
	e, s := begin(t, Options{})
	dir := realDir(t)
	helper := victim(t, dir+"/helper")
	inside, id := cgroup(t, "memory")
	lower := victim(t, dir+"/lower/program")
	for _, d := range []string{"/upper", "/work", "/merged"} {
		if err := os.Mkdir(dir+d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	guard(t, e, kernel.GuardRule{Rule: "fileless", Hook: kernel.HookExec, Enforce: true, Memory: true, Cgroups: []uint64{id}},
		kernel.GuardRule{Rule: "drift", Hook: kernel.HookExec, Enforce: true, Upper: true, Exe: kernel.Paths{Prefix: []string{dir + "/merged/"}}})
	cmd := within(t, inside, actor(helper, "memfd", helper, "touch", dir+"/marker"))
	out, err := cmd.Output()
	if err == nil && strings.TrimSpace(string(out)) != "EPERM" {
		t.Errorf("a program in memory: %s", out)
	}
	absent(t, dir+"/marker")
	r := s.wait(t, enforced)
	if r.Flags&record.FlagMemory == 0 || !strings.HasPrefix(string(r.Path), "/memfd:hidden") {
		t.Errorf("told of %q, flags %b", r.Path, r.Flags)
	}
	ran(t, within(t, inside, actor(helper, "touch", dir+"/fine")))

	err = unix.Mount("overlay", dir+"/merged", "overlay", 0, "lowerdir="+filepath.Dir(lower)+",upperdir="+dir+"/upper,workdir="+dir+"/work")
	require.Part(t, "overlay", err == nil, fmt.Sprint("a kernel that mounts overlays: ", err))
	defer func() {
		if err := unix.Unmount(dir+"/merged", unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	ran(t, actor(dir+"/merged/program", "touch", dir+"/fine"))
	body, err := os.ReadFile(helper)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/merged/dropped", string(body))
	refused(t, e, actor(dir+"/merged/dropped", "touch", dir+"/marker"))
	absent(t, dir+"/marker")
}

func TestWatchingChangesNothing(t *testing.T) {
	e, s := begin(t, Options{})
	dir := realDir(t)
	bad := victim(t, dir+"/bad")
	guard(t, e, kernel.GuardRule{Rule: "watched", Hook: kernel.HookExec, Exe: exactly(bad)})
	ran(t, actor(bad, "touch", dir+"/fine"))
	r := s.wait(t, func(r record.Record) bool { return r.Kind == record.KindEnforced })
	if record.Gate(r.Nums[1]) != record.GateNone || r.Ret != 0 || string(r.Path) != bad {
		t.Errorf("gate %d, %d, %q", r.Nums[1], r.Ret, r.Path)
	}
	if n, err := e.Counts(); err != nil || n.Refused != 0 || n.Fired != 1 {
		t.Errorf("%+v, %v", n, err)
	}
}

// Testudo itself, and whom it names, is spared, and it is told that they were.
func TestSpared(t *testing.T) {
	e, s := begin(t, Options{})
	dir := realDir(t)
	secret := dir + "/secret"
	write(t, secret, "x")
	if e.Gate(kernel.HookOpen) == record.GateNone { // connect is there in any case
		guard(t, e, kernel.GuardRule{Rule: "r", Hook: kernel.HookConnect, Enforce: true, Exe: kernel.Paths{Exact: []string{self(t)}}, Ports: []uint16{9}})
		if err := reach("datagram", "127.0.0.1", "9", false); errors.Is(err, syscall.EPERM) {
			t.Errorf("this process was refused: %v", err)
		}
	} else {
		guard(t, e, kernel.GuardRule{Rule: "r", Hook: kernel.HookOpen, Enforce: true, File: exactly(secret)})
		if _, err := os.ReadFile(secret); err != nil {
			t.Errorf("this process was refused: %v", err)
		}
	}
	if r := s.wait(t, func(r record.Record) bool { return r.Kind == record.KindEnforced }); record.Gate(r.Nums[1]) != record.GateNone {
		t.Errorf("gate %d", r.Nums[1])
	}
	if n, err := e.Counts(); err != nil || n.Spared == 0 || n.Refused != 0 {
		t.Errorf("%+v, %v", n, err)
	}
}

// TestNothingIsEnforcedWhereItCouldNotSpareItself: in a PID namespace of its own this process does not know the number that the kernel has for it.
func TestNothingIsEnforcedWhereItCouldNotSpareItself(t *testing.T) {
	require.Root(t)
	cmd := exec.Command(self(t))
	cmd.Env = append(os.Environ(), "TESTUDO_ENFORCE_ROLE=features")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	out, err := cmd.CombinedOutput()
	for _, want := range []string{"left open,connect", "unable true", "enforcing in the kernel false", "PID namespace of its own", "--pid=host"} {
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%v, without %q: %s", err, want, out)
		}
	}
}

func self(t testing.TB) string {
	t.Helper()
	path, err := os.Executable()
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOpen(t *testing.T) {
	e, s := begin(t, Options{})
	dir := realDir(t)
	program := victim(t, dir+"/program")
	secret, diary, plain := dir+"/secret", dir+"/diary", dir+"/plain"
	for _, path := range []string{secret, diary, plain} {
		write(t, path, "x")
	}
	rules := []kernel.GuardRule{{Rule: "secret", Hook: kernel.HookOpen, Enforce: true, File: exactly(secret)},
		{Rule: "diary", Hook: kernel.HookOpen, Enforce: true, File: exactly(diary), Write: true, Exe: exactly(program)}}
	if e.Gate(kernel.HookOpen) == record.GateNone {
		err := e.Guard(t.Context(), kernel.Guard{Rules: rules})
		var left *ResidueError
		if !errors.As(err, &left) || len(left.Residue) != 2 || !errors.Is(err, kernel.ErrUnable) {
			t.Errorf("residue %v", err)
		}
		return
	}
	guard(t, e, rules...)
	for _, c := range []struct{ verb, path, want string }{
		{"read", secret, "EPERM"}, {"append", secret, "EPERM"}, {"read", diary, "done"}, {"append", diary, "EPERM"}, {"append", plain, "done"},
	} {
		if got := says(t, actor(program, c.verb, c.path)); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.verb, c.path, got, c.want)
		}
	}
	if r := s.wait(t, enforced); string(r.Path) != secret || r.Call != record.CallOpenat || record.Gate(r.Nums[1]) != record.GateLSM {
		t.Errorf("told of %s %q, gate %d", r.Call, r.Path, r.Nums[1])
	}
	var denied *fs.PathError
	if _, err := os.Open(secret); errors.As(err, &denied) {
		t.Errorf("testudo itself is spared: %v", err)
	}
}

// Each form that this kernel has does its work, also where a better one makes it needless.
func TestFormsThatAreNotTheBest(t *testing.T) {
	require.Root(t)
	for _, f := range forms() {
		if os.Getenv("TESTUDO_ENFORCE_GUEST") != "" && f.gate == record.GateLSM {
			continue // the other tests there are of these
		}
		t.Run(f.feature, func(t *testing.T) {
			var others []string
			for _, o := range forms() {
				if o.feature != f.feature {
					others = append(others, o.feature)
				}
			}
			e, s := begin(t, Options{skip: others})
			if e.Gate(f.hook) == record.GateNone {
				t.Log("not on this kernel: ", e.plan.able.why[f.hook])
				return
			}
			dir := realDir(t)
			bad := victim(t, dir+"/bad")
			switch f.hook {
			case kernel.HookExec:
				guard(t, e, kernel.GuardRule{Rule: "r", Hook: f.hook, Enforce: true, Exe: exactly(bad)})
				for range long(20, 500) {
					refused(t, e, actor(bad, "touch", dir+"/marker"))
				}
				absent(t, dir+"/marker")
			case kernel.HookOpen:
				guard(t, e, kernel.GuardRule{Rule: "r", Hook: f.hook, Enforce: true, File: exactly(bad)})
				if got := says(t, actor(victim(t, dir+"/program"), "read", bad)); got != "EPERM" {
					t.Error(got)
				}
			case kernel.HookConnect:
				guard(t, e, kernel.GuardRule{Rule: "r", Hook: f.hook, Enforce: true, Exe: exactly(bad), Ports: []uint16{9}})
				for _, c := range [][]string{{"tcp", "127.0.0.1"}, {"tcp", "::1"}, {"datagram", "127.0.0.1"}, {"datagram", "::1"}, {"fastopen", "127.0.0.1"}} {
					if got := says(t, actor(bad, append(c, "9")...)); got != "EPERM" {
						t.Errorf("%v: %s", c, got)
					}
				}
			}
			r := s.wait(t, enforced)
			if record.Gate(r.Nums[1]) != f.gate {
				t.Errorf("gate %d, want %d", r.Nums[1], f.gate)
			}
			if f.hook == kernel.HookExec && !strings.Contains(string(r.Args), "touch\x00"+dir+"/marker\x00") {
				t.Errorf("arguments %q", r.Args)
			}
		})
	}
}
