//go:build linux

package bpf

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

// execOf runs a command and returns the records of its start and its end.
func execOf(t *testing.T, s *seen, cmd *exec.Cmd) (e, x record.Record) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := uint32(cmd.Process.Pid)
	_ = cmd.Wait()
	e = s.wait(t, "exec", func(r *record.Record) bool { return r.Kind == record.KindExec && r.PID == pid })
	x = s.wait(t, "exit", func(r *record.Record) bool { return r.Kind == record.KindExit && r.PID == pid })
	return e, x
}

func TestExec(t *testing.T) {
	_, s := start(t, Options{}, kernel.Interest{})
	dir := t.TempDir()
	link := filepath.Join(dir, "a\nname\xff")
	if err := os.Symlink("/bin/sh", link); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(link, "-c", "exit 7", "\x01\xff\t")
	cmd.Dir = "/usr"
	cmd.Env = []string{"SECRET=hunter2", "PATH=/bin", "NOVALUE", "EMPTY="}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	cmd.Stdin = r
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65533}}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	e, x := execOf(t, s, cmd)
	real, err := filepath.EvalSymlinks("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(real, &st); err != nil {
		t.Fatal(err)
	}
	if string(e.Path) != real || string(e.Name) != link || string(e.Cwd) != "/usr" {
		t.Errorf("path %q, name %q, folder %q", e.Path, e.Name, e.Cwd)
	}
	if want := link + "\x00-c\x00exit 7\x00\x01\xff\t\x00"; string(e.Args) != want {
		t.Errorf("arguments %q, want %q", e.Args, want)
	}
	if string(e.Env) != "SECRET\x00PATH\x00EMPTY\x00" {
		t.Errorf("environment %q", e.Env)
	}
	i := e.Inode
	if i.Number != st.Ino || i.Size != st.Size || i.Mode != st.Mode || i.Modified != st.Mtim.Nano() || i.Changed != st.Ctim.Nano() ||
		i.Device != uint64(unix.Major(st.Dev))<<32|uint64(unix.Minor(st.Dev)) || uint64(i.Links) != uint64(st.Nlink) {
		t.Errorf("inode %+v, want %+v", i, st)
	}
	if e.Creds.UID != 65534 || e.Creds.EGID != 65533 || e.Creds.Effective != 0 || e.Creds.Bounding == 0 || e.Creds.VPID != e.PID || e.UID != 65534 || e.GID != 65533 {
		t.Errorf("credentials %+v", e.Creds)
	}
	if e.Stdio[0].Type != record.StreamPipe || e.Stdio[1].Type != record.StreamDevice {
		t.Errorf("streams %+v", e.Stdio)
	}
	if e.Flags&(record.FlagWritable|record.FlagMemory|record.FlagDeleted|record.FlagSetuid|record.FlagSocket|record.FlagTruncated|record.FlagThread) != 0 {
		t.Errorf("flags %b", e.Flags)
	}
	var ns unix.Stat_t
	if err := unix.Stat("/proc/self/ns/mnt", &ns); err != nil {
		t.Fatal(err)
	}
	if uint64(e.MntNS) != ns.Ino || string(e.Comm) == "" || int(e.PPID) != os.Getpid() {
		t.Errorf("namespace %d, want %d; name %q; parent %d", e.MntNS, ns.Ino, e.Comm, e.PPID)
	}
	if x.Ret != 7<<8 || x.NumLen != 1 || x.Nums[0] == 0 || x.Nums[0] != x.Time-x.Start || x.Start != e.Start {
		t.Errorf("end with %d after %v ns", x.Ret, x.Nums)
	}
}

func TestLongArgumentsAreCut(t *testing.T) {
	_, s := start(t, Options{}, kernel.Interest{})
	e, _ := execOf(t, s, exec.Command("/bin/true", strings.Repeat("x", 128<<10-1)))
	if len(e.Args) != record.MaxText || e.Flags&record.FlagTruncated == 0 || !bytes.HasPrefix(e.Args, []byte("/bin/true\x00xxx")) {
		t.Errorf("%d bytes of arguments, flags %b", len(e.Args), e.Flags)
	}
	if string(e.Path) != mustEval(t, "/bin/true") || !bytes.Contains(e.Env, []byte("PATH\x00")) {
		t.Errorf("what follows is lost: %q %q", e.Path, e.Env)
	}
}

func mustEval(t *testing.T, path string) string {
	t.Helper()
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		t.Fatal(err)
	}
	return real
}

func TestScript(t *testing.T) {
	_, s := start(t, Options{}, kernel.Interest{})
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nkill -9 $$\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	e, x := execOf(t, s, exec.Command(script))
	if string(e.Path) != mustEval(t, "/bin/sh") || string(e.Name) != script {
		t.Errorf("path %q, name %q", e.Path, e.Name)
	}
	if x.Ret != 9 {
		t.Errorf("status %d, want that of signal 9", x.Ret)
	}
}

func TestProgramInMemory(t *testing.T) {
	_, s := start(t, Options{}, kernel.Interest{})
	helper(t, "memory")
	e := s.wait(t, "exec from memory", func(r *record.Record) bool { return r.Kind == record.KindExec && string(r.Path) == "/memfd:payload" })
	if e.Flags&(record.FlagMemory|record.FlagDeleted) != record.FlagMemory|record.FlagDeleted {
		t.Errorf("flags %b", e.Flags)
	}
}

func TestProgramOnOverlay(t *testing.T) {
	_, s := start(t, Options{}, kernel.Interest{})
	_, dir := helper(t, "overlay")
	ran := func(name string) record.Record {
		return s.wait(t, name, func(r *record.Record) bool {
			return r.Kind == record.KindExec && string(r.Path) == in(dir, "all/merged", name)
		})
	}
	if e := ran("before"); e.Flags&(record.FlagUpper|record.FlagSetuid) != 0 || e.Flags&record.FlagWritable == 0 || e.Inode.FilesystemID != unix.OVERLAYFS_SUPER_MAGIC {
		t.Errorf("flags %b of a program of the lower layer", e.Flags)
	}
	if e := ran("dropped"); e.Flags&(record.FlagUpper|record.FlagSetuid) != record.FlagUpper|record.FlagSetuid {
		t.Errorf("flags %b of a program that was dropped", e.Flags)
	}
}

// A program that starts more processes than anybody can look at.
func TestManyForks(t *testing.T) {
	l, s := start(t, Options{}, kernel.Interest{})
	const forks = 2000
	cmd := exec.Command("/bin/sh", "-c", "i=0; while [ $i -lt 2000 ]; do (:) ; i=$((i+1)); done")
	_, x := execOf(t, s, cmd)
	lost, err := l.Lost()
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	started, ended := map[uint32]uint64{}, 0
	for i := range s.all {
		r := &s.all[i]
		switch {
		case r.Kind == record.KindFork && r.PPID == x.PID:
			started[r.PID] = r.Start
			if r.NumLen != 2 || uint32(r.Nums[0]) != x.PID || r.Nums[1] != x.Start {
				t.Fatalf("forked by %v, want %d", r.Nums, x.PID)
			}
		case r.Kind == record.KindExit && started[r.PID] == r.Start && r.Start != 0:
			ended++
		}
	}
	if n := uint64(len(started)); n+lost[record.KindFork] < forks {
		t.Errorf("%d forks are told of and %d are lost, of %d", n, lost[record.KindFork], forks)
	}
	if n := uint64(ended); n+lost[record.KindExit] < forks {
		t.Errorf("%d ends are told of and %d are lost, of %d", n, lost[record.KindExit], forks)
	}
}

// What does not fit is counted, and told of.
func TestLossIsCounted(t *testing.T) {
	l, s := start(t, Options{Ring: 4096}, kernel.Interest{})
	for range 50 {
		if err := exec.Command("/bin/true", strings.Repeat("y", 8<<10)).Run(); err != nil {
			t.Fatal(err)
		}
	}
	lost, err := l.Lost()
	if err != nil {
		t.Fatal(err)
	}
	if lost[record.KindExec] < 50 {
		t.Errorf("lost %v: no record of an exec fits into the ring", lost)
	}
	s.wait(t, "the loss", func(r *record.Record) bool {
		return r.Kind == record.KindLost && r.Nums[0] > 0 && r.Nums[1] == uint64(record.KindExec)
	})
	st, err := l.Status()
	if err != nil {
		t.Fatal(err)
	}
	if st.Lost[record.KindExec] < 50 || st.Records == 0 || st.Bytes == 0 || st.Mode != "ebpf" || st.Kernel == "" {
		t.Errorf("status %+v", st)
	}
}

func TestExcluded(t *testing.T) {
	_, s := start(t, Options{Exclude: []uint32{uint32(os.Getpid())}}, everything())
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", ": > "+filepath.Join(dir, "other"))
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	s.wait(t, "another's file", of(uint32(cmd.Process.Pid), record.CallOpenat, at(filepath.Join(dir, "other"))))
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.all {
		if string(s.all[i].Path) == filepath.Join(dir, "mine") {
			t.Error("what the excluded process did is told of")
		}
	}
}

// What somebody waits for comes at once, though the reader has just looked.
func TestUrgent(t *testing.T) {
	l, s := start(t, Options{}, kernel.Interest{})
	if err := l.Urgent(record.KindExec); err != nil {
		t.Fatal(err)
	}
	execOf(t, s, exec.Command("/bin/true"))
	if err := l.Urgent(); err != nil {
		t.Fatal(err)
	}
	execOf(t, s, exec.Command("/bin/true"))
}
