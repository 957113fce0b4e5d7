package process_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel/process"
	"github.com/testudo-sec/testudo/kernel/record"
)

// clone makes a record that outlives the call.
func clone(r *record.Record) *record.Record {
	c := *r
	c.Comm, c.Path, c.Cwd, c.Args, c.Env = slices.Clone(r.Comm), slices.Clone(r.Path), slices.Clone(r.Cwd), slices.Clone(r.Args), slices.Clone(r.Env)
	return &c
}

func seedAll(t testing.TB, root string) map[uint32]*record.Record {
	t.Helper()
	all := map[uint32]*record.Record{}
	if err := process.Seed(t.Context(), root, func(r *record.Record) { all[r.PID] = clone(r) }); err != nil {
		t.Fatal(err)
	}
	return all
}

// sleeper starts a program that waits until the test ends.
func sleeper(t testing.TB, change func(*exec.Cmd)) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", "read line", "an argument", "")
	cmd.Dir = "/usr"
	cmd.Env = []string{"PATH=/bin", "TOKEN=hunter2"}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(cmd)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

func TestSeedOfThisHost(t *testing.T) {
	// Streams of the test's own: what /dev/null is, and what the test was started with, differ from place to place.
	device, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cmd := sleeper(t, func(c *exec.Cmd) { c.Stdout, c.Stderr = device, file })
	pid, self := uint32(cmd.Process.Pid), uint32(os.Getpid())
	awaitExec(t, cmd.Process.Pid)
	all := seedAll(t, "/")
	r := all[pid]
	if r == nil || all[self] == nil || all[1] == nil {
		t.Fatalf("%d processes, without ours", len(all))
	}
	if r.PPID != self || string(r.Args) != "/bin/sh\x00-c\x00read line\x00an argument\x00\x00" || string(r.Cwd) != "/usr" {
		t.Errorf("%+v", r)
	}
	if string(r.Env) != "PATH\x00TOKEN\x00" {
		t.Errorf("environment %q", r.Env)
	}
	if exe, _ := filepath.EvalSymlinks("/bin/sh"); string(r.Path) != exe {
		t.Errorf("%q, want %q", r.Path, exe)
	}
	if r.Stdio[0].Type != record.StreamPipe || r.Stdio[1].Type != record.StreamDevice || r.Stdio[2].Type != record.StreamFile || r.Stdio[0].Inode == 0 {
		t.Errorf("%+v", r.Stdio)
	}
	if !r.HasInode || r.Inode.Number == 0 || r.Inode.Mode&0o111 == 0 || r.MntNS == 0 || r.PIDNS == 0 || r.MntNS != all[self].MntNS {
		t.Errorf("%+v", r)
	}
	if r.Start == 0 || r.Start > r.Time || r.Start%process.Tick != 0 {
		t.Errorf("began at %d, read at %d", r.Start, r.Time)
	}
	// A session that began outside of the test's PID namespace reads as 0.
	if sid, err := unix.Getsid(int(pid)); err != nil || r.Creds.Session != uint32(sid) {
		t.Errorf("session %d, want %d (%v)", r.Creds.Session, sid, err)
	}
	if r.Creds.VPID == 0 || r.UID != uint32(os.Geteuid()) {
		t.Errorf("%+v", r.Creds)
	}
	if process.CgroupMount("/") != "" && r.Cgroup == 0 {
		t.Error("no cgroup")
	}
	boot, err := process.BootID("/")
	if err != nil {
		t.Fatal(err)
	}
	clock := process.NewClock()
	table := process.New(process.Default(), boot, clock)
	if err := process.Seed(t.Context(), "/", func(r *record.Record) { table.Apply(r) }); err != nil {
		t.Fatal(err)
	}
	p, ok := table.ByPID(pid)
	if !ok || p.State != process.Seeded || !p.Lineage.Whole || p.Parent().PID != self || p.Lineage.Ancestors[len(p.Lineage.Ancestors)-1].PID != 1 {
		t.Errorf("%+v", p)
	}
	if began := table.Wall(p.Start); time.Since(began) < -time.Second || time.Since(began) > time.Minute {
		t.Errorf("began at %v", began)
	}
	if alive := process.Alive("/"); !alive(pid, p.Start) || alive(pid, p.Start+uint64(time.Hour)) {
		t.Error("which processes live")
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if process.Alive("/")(pid, p.Start) {
		t.Error("an ended process lives")
	}
}

// awaitExec waits until the child of a fork runs its own program.
func awaitExec(t testing.TB, pid int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); strings.Contains(string(b), "read line") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the child does not begin")
		}
	}
}

func TestSeedTellsSocketsOnStandardStreams(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	f, err := c.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := sleeper(t, func(cmd *exec.Cmd) { cmd.Stdout = f })
	awaitExec(t, cmd.Process.Pid)
	r := seedAll(t, "/")[uint32(cmd.Process.Pid)]
	if r.Stdio[1].Type != record.StreamSocket || r.Flags&record.FlagSocket == 0 || r.Stdio[1].Inode == 0 {
		t.Errorf("%+v", r.Stdio)
	}
}

func TestSeedTellsDeletedExecutables(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sh (deleted)")
	src, err := os.Open("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	dst, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(dst, src); err != nil {
		t.Fatal(err)
	}
	if err := dst.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := sleeper(t, func(cmd *exec.Cmd) { cmd.Path = path })
	awaitExec(t, cmd.Process.Pid)
	if r := seedAll(t, "/")[uint32(cmd.Process.Pid)]; r.Flags&record.FlagDeleted != 0 || string(r.Path) != path {
		t.Errorf("%q, flags %b", r.Path, r.Flags)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if r := seedAll(t, "/")[uint32(cmd.Process.Pid)]; r.Flags&record.FlagDeleted == 0 || string(r.Path) != path {
		t.Errorf("%q, flags %b", r.Path, r.Flags)
	}
}

func TestSeedOfAnotherRoot(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(root, "proc", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	stat := func(pid, ppid, start int, comm string, flags int) string {
		return fmt.Sprintf("%d (%s) S %d 0 0 0 -1 %d 0 0 0 0 0 0 0 0 20 0 1 0 %d 0 0\n", pid, comm, ppid, flags, start)
	}
	// 5 is the child of 90, which has the higher id and the same tick.
	write("5/stat", stat(5, 90, 100, "child) R 1 (", 0))
	write("5/cmdline", "child\x00-x")
	write("90/stat", stat(90, 1, 100, "parent", 0))
	write("1/stat", stat(1, 0, 0, "init", 0))
	write("2/stat", stat(2, 0, 0, "kthreadd", 0x00208040))
	write("7/stat", stat(7, 8, 7, "a", 0)) // each other's parents, as no kernel has it
	write("8/stat", stat(8, 7, 7, "b", 0))
	write("6/stat", "broken")
	write("9/cmdline", "gone meanwhile")
	write("self/stat", stat(5, 1, 1, "self", 0))
	var order []uint32
	all := map[uint32]*record.Record{}
	if err := process.Seed(t.Context(), root, func(r *record.Record) { order, all[r.PID] = append(order, r.PID), clone(r) }); err != nil {
		t.Fatal(err)
	}
	if len(all) != 6 || slices.Index(order, 5) < slices.Index(order, 90) || slices.Index(order, 90) < slices.Index(order, 1) {
		t.Errorf("order %v", order)
	}
	if r := all[5]; r == nil || string(r.Comm) != "child) R 1 (" || string(r.Args) != "child\x00-x" || r.Flags&record.FlagKernel != 0 {
		t.Errorf("%+v", r)
	}
	if all[2].Flags&record.FlagKernel == 0 {
		t.Error("kthreadd is a thread of the kernel")
	}
	if err := process.Seed(t.Context(), t.TempDir(), func(*record.Record) {}); err == nil {
		t.Error("a root without proc is no error")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := process.Seed(ctx, root, func(*record.Record) { t.Error("told after the end") }); err == nil {
		t.Error("no error after the end")
	}
}

func BenchmarkSeed(b *testing.B) {
	for b.Loop() {
		n := 0
		if err := process.Seed(b.Context(), "/", func(*record.Record) { n++ }); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(n), "processes")
	}
}

// TestAncestryIsOfTheProcessAndTheTableBelievesTheForkMore: what is read of who asks says what it runs and who started it, parents first; who started it, the record of its fork
// says better, as the kernel names another when that one has ended.
func TestAncestryIsOfTheProcessAndTheTableBelievesTheForkMore(t *testing.T) {
	cmd := sleeper(t, nil)
	awaitExec(t, cmd.Process.Pid)
	pid := uint32(cmd.Process.Pid)
	table := process.New(process.Default(), "boot", process.NewClock())
	reader := process.NewReader("/")
	var r record.Record
	var pids []uint32
	for b := reader.Ancestry(nil, pid, process.MaxLineage); len(b) > 0; {
		n, err := record.Decode(b, &r)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, r.PID)
		table.Apply(&r)
		b = b[n:]
	}
	if len(pids) < 2 || pids[len(pids)-1] != pid || pids[len(pids)-2] != uint32(os.Getpid()) {
		t.Fatalf("read: %v", pids)
	}
	p := table.Find(&r)
	self, _ := os.Executable()
	if p.CmdLine != "/bin/sh -c read line an argument " || p.Parent() == nil || p.Parent().PID != uint32(os.Getpid()) || p.Lineage.Paths[0] != self {
		t.Errorf("%q below %+v", p.CmdLine, p.Parent())
	}
	if b := reader.Ancestry(nil, pid, 0); len(b) == 0 || record.KindOf(b) != record.KindExec {
		t.Error("nothing of the process itself")
	} else if n, _ := record.Size(b); n != len(b) {
		t.Error("more than was asked for")
	}
	// Its starter was another, which has ended: the fork's record comes late.
	table.Apply(&record.Record{Kind: record.KindExec, PID: 4_000_000, TID: 4_000_000, PPID: 1, Start: 1e9, Time: 1e9, Path: []byte("/bin/starter"), Args: []byte("starter\x00"), Comm: []byte("starter")})
	fork := record.Record{Kind: record.KindFork, PID: pid, TID: pid, PPID: 4_000_000, Start: r.Start + 1234, Time: r.Start + 1234, Comm: []byte("starter")}
	table.Apply(&fork)
	q := table.Find(&r)
	if q.Key != p.Key || q.CmdLine != p.CmdLine || q.Parent().Exe != "/bin/starter" || q.Start != fork.Start {
		t.Errorf("%s of %q below %+v, it was %s", q.Key, q.CmdLine, q.Parent(), p.Key)
	}
	if all := reader.Ancestry(nil, 4_000_000, 3); all != nil {
		t.Error("of a process that is not there: ", len(all))
	}
}
