//go:build linux

package bpf

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

const sharedVariable = "TESTUDO_BPF_TEST_SHARED" // the helper stays in the mount namespace of the test

// helperIn runs a helper in a folder. It lives until its steps are done and end was called.
func helperIn(t *testing.T, name, dir string, own bool) (pid uint32, end func()) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestAsHelper$")
	cmd.Env = append(os.Environ(), helperVariable+"="+name, "GORACE=atexit_sleep_ms=0")
	cmd.Dir = dir
	if own {
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	} else {
		cmd.Env = append(cmd.Env, sharedVariable+"=1")
	}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	end = func() {
		if ended {
			return
		}
		ended = true
		_ = stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the helper %s: %v\n%s", name, err, out.String())
		}
	}
	t.Cleanup(end)
	return uint32(cmd.Process.Pid), end
}

// waitForEnd holds a helper until the test has seen what it wanted.
func waitForEnd() { _, _ = io.Copy(io.Discard, os.Stdin) }

// arena makes a folder "watched" and one beside it.
func arena(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o755))
	for _, d := range []string{"watched", "watched/deep", "other", "other/deep"} {
		must(t, os.MkdirAll(in(dir, d), 0o755))
	}
	return dir
}

// others has nothing told of this process, which looks at files itself.
func others() Options { return Options{Exclude: []uint32{uint32(os.Getpid())}} }

func watchedOf(dirs ...string) kernel.Interest {
	var p kernel.Paths
	for _, d := range dirs {
		p.Prefix = append(p.Prefix, d+"/")
	}
	return kernel.Interest{Calls: allCalls(), Reads: p, Writes: p, Changes: p}
}

// evasion is a way to reach a file of the folder "watched" by a name that does not say so.
type evasion struct {
	name string
	do   func(t *testing.T)
	call record.Call
	path string // below the arena, as Path or Path2 has to say
	// unsure: that it is told of is all that can be asked for.
	unsure bool
}

func gone(t *testing.T, names ...string) {
	t.Helper()
	for _, n := range names {
		must(t, unix.Unlink(n))
	}
}

// through makes a link, uses it, and is rid of it.
func through(link, target string, use func() error) func(*testing.T) {
	return func(t *testing.T) {
		t.Helper()
		must(t, unix.Symlink(target, link))
		must(t, use())
		gone(t, link)
	}
}

func file(t *testing.T, name string) {
	t.Helper()
	must(t, os.WriteFile(name, nil, 0o644))
}

// evasions are done in the arena, in one process.
func evasions() []evasion {
	at, _ := os.Getwd()
	return []evasion{
		{name: "rename into", call: record.CallRenameat, path: "watched/moved", do: func(t *testing.T) {
			file(t, "a")
			through("l1", "watched", func() error { return unix.Rename("a", "l1/moved") })(t)
		}},
		{name: "rename out of", call: record.CallRenameat, path: "watched/moved", do: through("l2", "watched", func() error { return unix.Rename("l2/moved", "back") })},
		{name: "link that leads elsewhere after", call: record.CallRenameat, path: "watched/swapped", do: func(t *testing.T) {
			must(t, unix.Symlink("watched", "l3"))
			must(t, unix.Rename("back", "l3/swapped"))
			must(t, unix.Symlink("other", "next"))
			must(t, unix.Rename("next", "l3"))
		}},
		{name: "exchanged link", call: record.CallMkdirat, path: "watched/exchanged", do: func(t *testing.T) {
			must(t, unix.Symlink("watched", "x1"))
			must(t, unix.Symlink("other", "x2"))
			must(t, unix.Renameat2(unix.AT_FDCWD, "x1", unix.AT_FDCWD, "x2", unix.RENAME_EXCHANGE))
			must(t, unix.Mkdir("x2/exchanged", 0o755))
			gone(t, "x1", "x2")
		}},
		{name: "folder in the place of the link after", call: record.CallMkdirat, path: "watched/made", do: func(t *testing.T) {
			through("l4", "watched", func() error { return unix.Mkdir("l4/made", 0o755) })(t)
			must(t, unix.Mkdir("l4", 0o755))
			must(t, unix.Mkdir("l4/made", 0o755))
		}},
		{name: "mknod", call: record.CallMknodat, path: "watched/pipe", do: through("l5", "watched", func() error { return unix.Mknod("l5/pipe", unix.S_IFIFO|0o600, 0) })},
		{name: "unlink", call: record.CallUnlinkat, path: "watched/pipe", do: through("l6", "watched", func() error { return unix.Unlink("l6/pipe") })},
		{name: "symlink", call: record.CallSymlinkat, path: "watched/soft", do: through("l7", "watched", func() error { return unix.Symlink("nowhere", "l7/soft") })},
		{name: "link", call: record.CallLinkat, path: "watched/hard", do: func(t *testing.T) {
			file(t, "b")
			through("l8", "watched", func() error { return unix.Link("b", "l8/hard") })(t)
		}},
		{name: "chmod of a link", call: record.CallFchmodat, path: "watched/hard", do: through("l9", "watched/hard", func() error { return unix.Chmod("l9", 0o777) })},
		{name: "chown of a link", call: record.CallFchownat, path: "watched/hard", do: through("l10", "watched/hard", func() error { return unix.Chown("l10", 1, 1) })},
		{name: "truncate of a link", call: record.CallTruncate, path: "watched/hard", do: through("l11", "watched/hard", func() error { return unix.Truncate("l11", 7) })},
		{name: "link to a link", call: record.CallMkdirat, path: "watched/twice", do: func(t *testing.T) {
			must(t, unix.Symlink("watched", "l12"))
			through("l13", "./l12", func() error { return unix.Mkdir("l13/twice", 0o755) })(t)
			gone(t, "l12")
		}},
		{name: "link with another name", call: record.CallMkdirat, path: "watched/renamed", do: func(t *testing.T) {
			must(t, unix.Symlink("watched", "l14"))
			must(t, unix.Rename("l14", "l15"))
			must(t, unix.Mkdir("l15/renamed", 0o755))
			gone(t, "l15")
		}},
		{name: "hard link of a link", call: record.CallMkdirat, path: "watched/linked", do: func(t *testing.T) {
			must(t, unix.Symlink("watched", "l16"))
			must(t, unix.Link("l16", "l17"))
			gone(t, "l16")
			must(t, unix.Mkdir("l17/linked", 0o755))
			gone(t, "l17")
		}},
		{name: "up after a link", call: record.CallMkdirat, path: "watched/up", do: through("l18", "watched/deep", func() error { return unix.Mkdir("l18/../up", 0o755) })},
		{name: "link in a folder by descriptor", call: record.CallMkdirat, path: "watched/by", do: func(t *testing.T) {
			fd, err := unix.Open("other", unix.O_DIRECTORY, 0)
			must(t, err)
			must(t, unix.Symlinkat("../watched", fd, "l19"))
			must(t, unix.Mkdirat(fd, "l19/by", 0o755))
			must(t, unix.Unlinkat(fd, "l19", 0))
			must(t, unix.Close(fd))
		}},
		{name: "folder by descriptor through a link", call: record.CallMkdirat, path: "watched/descriptor", do: func(t *testing.T) {
			must(t, unix.Symlink("watched", "l20"))
			fd, err := unix.Open("l20", unix.O_DIRECTORY, 0)
			must(t, err)
			gone(t, "l20")
			must(t, unix.Mkdirat(fd, "descriptor", 0o755))
			must(t, unix.Close(fd))
		}},
		{name: "root of procfs", call: record.CallMkdirat, path: "watched/proc", do: func(t *testing.T) { must(t, unix.Mkdir("/proc/self/root"+at+"/watched/proc", 0o755)) }},
		{name: "root of procfs by number", call: record.CallMkdirat, path: "watched/number", do: func(t *testing.T) {
			must(t, unix.Mkdir(fmt.Sprintf("/proc/%d/root%s/watched/number", os.Getpid(), at), 0o755))
		}},
		{name: "working directory of procfs", call: record.CallMkdirat, path: "watched/cwd", do: func(t *testing.T) { must(t, unix.Mkdir("/proc/thread-self/cwd/watched/cwd", 0o755)) }},
		{name: "descriptor of procfs", call: record.CallMkdirat, path: "watched/fd", unsure: true, do: func(t *testing.T) {
			fd, err := unix.Open("watched", unix.O_PATH, 0)
			must(t, err)
			must(t, unix.Mkdir("/proc/self/fd/"+strconv.Itoa(fd)+"/fd", 0o755))
			must(t, unix.Close(fd))
		}},
		{name: "link that was there before", call: record.CallMkdirat, path: "watched/old", do: func(t *testing.T) { must(t, unix.Mkdir("before/old", 0o755)) }},
		{name: "link that was there before, and is gone", call: record.CallMkdirat, path: "watched/older", unsure: true, do: func(t *testing.T) {
			must(t, unix.Mkdir("doomed/older", 0o755))
			gone(t, "doomed")
		}},
		{name: "folder in the place of a link that was there before", call: record.CallMkdirat, path: "watched/oldest", unsure: true, do: func(t *testing.T) {
			must(t, unix.Mkdir("replaced/oldest", 0o755))
			gone(t, "replaced")
			must(t, unix.Mkdir("replaced", 0o755))
			must(t, unix.Mkdir("replaced/oldest", 0o755))
		}},
	}
}

func helpEvade(t *testing.T) {
	for _, e := range evasions() {
		t.Run(e.name, e.do)
	}
	waitForEnd()
}

// told reports whether a record is of the call and the path, as orOld has it.
func told(pid uint32, dir string, e evasion) func(*record.Record) bool {
	want := in(dir, e.path)
	return orOld(of(pid, e.call, func(r *record.Record) bool {
		if string(r.Path) == want || string(r.Path2) == want {
			return true
		}
		last := e.path[strings.LastIndexByte(e.path, '/'):]
		return e.unsure && r.Flags&record.FlagUnsure != 0 && strings.HasSuffix(string(r.Path), last)
	}))
}

// A name that leads to a watched folder is told of, whatever it says.
func TestNamesThatLeadThere(t *testing.T) {
	dir := arena(t)
	for _, l := range []string{"before", "doomed", "replaced"} {
		must(t, unix.Symlink("watched", in(dir, l)))
	}
	_, s := start(t, others(), watchedOf(in(dir, "watched")))
	pid, end := helperIn(t, "evade", dir, false)
	defer end()
	for _, e := range evasions() {
		t.Run(e.name, func(t *testing.T) { s.wait(t, e.name, told(pid, dir, e)) })
	}
}

// evasionsWithin need mounts of their own.
func evasionsWithin() []evasion {
	return []evasion{
		{name: "link on an overlay", call: record.CallMkdirat, path: "merged/watched/overlaid", do: func(t *testing.T) { must(t, unix.Mkdir("merged/before/overlaid", 0o755)) }},
		{name: "procfs elsewhere", call: record.CallMkdirat, path: "watched/elsewhere", do: func(t *testing.T) {
			at, err := os.Getwd()
			must(t, err)
			must(t, os.Mkdir("p", 0o755))
			must(t, unix.Mount("proc", "p", "proc", 0, ""))
			must(t, unix.Mkdir("p/self/root"+at+"/watched/elsewhere", 0o755))
		}},
	}
}

// evasionsOfRoot are done in another root than that of the mount namespace.
func evasionsOfRoot() []evasion {
	return []evasion{
		{name: "another root", call: record.CallMkdirat, path: "watched/jail/deep/jailed", do: func(t *testing.T) {
			must(t, os.MkdirAll("watched/jail/deep", 0o755))
			must(t, unix.Symlink("/deep", "watched/jail/l"))
			must(t, unix.Chroot("watched/jail"))
			must(t, unix.Mkdir("/l/../../l/jailed", 0o755))
		}},
	}
}

func helpEvadeRoot(t *testing.T) {
	for _, e := range evasionsOfRoot() {
		t.Run(e.name, e.do)
	}
	waitForEnd()
}

func TestNamesThatLeadThereFromAnotherRoot(t *testing.T) {
	dir := arena(t)
	_, s := start(t, others(), watchedOf(in(dir, "watched")))
	pid, end := helperIn(t, "evade root", dir, false)
	defer end()
	for _, e := range evasionsOfRoot() {
		t.Run(e.name, func(t *testing.T) { s.wait(t, e.name, told(pid, dir, e)) })
	}
}

func helpEvadeWithin(t *testing.T) {
	for _, d := range []string{"lower/watched", "upper", "work", "merged"} {
		must(t, os.MkdirAll(d, 0o755))
	}
	must(t, unix.Mount("tmpfs", "upper", "tmpfs", 0, ""))
	must(t, os.MkdirAll("upper/up", 0o755))
	must(t, os.MkdirAll("upper/work", 0o755))
	must(t, unix.Symlink("watched", "lower/before"))
	must(t, unix.Mount("overlay", "merged", "overlay", 0, "lowerdir=lower,upperdir=upper/up,workdir=upper/work"))
	for _, e := range evasionsWithin() {
		t.Run(e.name, e.do)
	}
	waitForEnd()
}

func TestNamesThatLeadThereWithin(t *testing.T) {
	dir := arena(t)
	_, s := start(t, others(), watchedOf(in(dir, "watched"), in(dir, "merged", "watched")))
	pid, end := helperIn(t, "evade within", dir, true)
	defer end()
	for _, e := range evasionsWithin() {
		t.Run(e.name, func(t *testing.T) { s.wait(t, e.name, told(pid, dir, e)) })
	}
}

// swings is how often the race is run.
const swings = 400

// helpSwing makes folders through a link that another thread has lead elsewhere all the time.
func helpSwing(t *testing.T) {
	stop := swinging(t, "watched", "other")
	for i := range swings {
		must(t, unix.Mkdir("swing/"+strconv.Itoa(i), 0o755))
	}
	stop()
	waitForEnd()
}

// What was made in a watched folder while the link swung is told of, each.
func TestLinkThatSwings(t *testing.T) {
	dir := arena(t)
	_, s := start(t, others(), watchedOf(in(dir, "watched")))
	pid, end := helperIn(t, "swing", dir, false)
	defer end()
	mkdir := func(name string) func(*record.Record) bool {
		return orOld(of(pid, record.CallMkdirat, func(r *record.Record) bool {
			return strings.HasSuffix(string(r.Name), "swing/"+name) && string(r.Path) == in(dir, "watched", name)
		}))
	}
	there := 0
	for i := range swings {
		name := strconv.Itoa(i)
		for { // until it is made, wherever
			if _, err := os.Stat(in(dir, "other", name)); err == nil {
				break
			}
			if _, err := os.Stat(in(dir, "watched", name)); err == nil {
				there++
				s.wait(t, name, mkdir(name))
				break
			}
		}
	}
	t.Logf("%d of %d were made in the watched folder", there, swings)
}

// helpAhead changes what is not watched, by names that are not told of.
func helpAhead(t *testing.T) {
	for i := range 50 {
		n := strconv.Itoa(i)
		must(t, os.Mkdir("other/deep/"+n, 0o755))
		must(t, unix.Mkdir("other/deep/"+n+"/in", 0o755))
		file(t, "other/deep/"+n+"/file")
		must(t, unix.Chmod("other/deep/"+n+"/file", 0o600))
		must(t, unix.Rename("other/deep/"+n+"/file", "other/deep/"+n+"/moved"))
		must(t, unix.Unlink("other/deep/"+n+"/moved"))
		must(t, unix.Rmdir("other/deep/"+n+"/in"))
		must(t, unix.Rmdir("other/deep/"+n))
		must(t, unix.Mkdir("before/kept"+n, 0o755))
	}
	must(t, unix.Mkdir("watched/last", 0o755))
	waitForEnd()
}

// What leads nowhere near is not told of.
func TestNamesThatLeadElsewhere(t *testing.T) {
	dir := arena(t)
	must(t, unix.Symlink("other", in(dir, "before")))
	l, s := start(t, others(), watchedOf(in(dir, "watched")))
	seen := l.names.seen.Load()
	pid, end := helperIn(t, "ahead", dir, false)
	defer end()
	s.wait(t, "the last", orOld(of(pid, record.CallMkdirat, at(in(dir, "watched", "last")))))
	s.mu.Lock()
	defer s.mu.Unlock()
	unsure := 0
	for i := range s.all {
		r := &s.all[i]
		if r.Kind != record.KindCall || r.PID != pid || strings.HasPrefix(string(r.Path), in(dir, "watched")) || !strings.HasPrefix(string(r.Path), dir) {
			continue
		}
		if r.Flags&record.FlagUnsure == 0 {
			t.Errorf("%s of %s is told of", r.Call, r.Path)
		}
		if strings.HasSuffix(string(r.Path), "/file") { // which is gone when it is looked at: who changed its mode may have done so through a link
			continue
		}
		unsure++
	}
	if unsure > 8 { // folders that are removed while it is looked at them
		t.Errorf("of %d names it is not certain where they led", unsure)
	}
	if n := l.names.seen.Load() - seen; n < 200 {
		t.Errorf("%d names were looked at: the test did not reach them", n)
	}
}
