package gate

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

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
