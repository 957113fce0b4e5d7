package process

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/testudo-sec/testudo/internal/bytesize"
	"github.com/testudo-sec/testudo/kernel/record"
)

const (
	second = uint64(time.Second)
	bootID = "3f2a91c4-dead-4beef-8000-000000000000"
)

func newTable(t testing.TB, change func(*Config)) *Table {
	t.Helper()
	cfg := Default()
	if change != nil {
		change(&cfg)
	}
	return New(cfg, bootID, newClock(func() (int64, int64) { return 0, 1_700_000_000_000_000_000 }))
}

// rec makes a record of the process's first thread.
func rec(kind record.Kind, pid, ppid uint32, start, at uint64, comm string) *record.Record {
	return &record.Record{Kind: kind, PID: pid, TID: pid, PPID: ppid, Start: start, Time: at, Comm: []byte(comm), Cgroup: 7, LoginUID: record.NoLogin, PIDNS: 1, MntNS: 2}
}

func exec(pid, ppid uint32, start, at uint64, path string, args ...string) *record.Record {
	r := rec(record.KindExec, pid, ppid, start, at, path[strings.LastIndexByte(path, '/')+1:])
	r.Path, r.Args, r.Cwd = []byte(path), []byte(strings.Join(args, "\x00")+"\x00"), []byte("/srv")
	r.HasCreds, r.Creds = true, record.Creds{UID: 5, VPID: pid, Session: 10, Group: pid}
	return r
}

// family is init (1), a shop (10), its shell (11), and curl (12), which the shell became.
func family(t testing.TB, table *Table) {
	t.Helper()
	init := exec(1, 0, 0, second, "/sbin/init", "/sbin/init")
	init.Flags |= record.FlagSeeded
	for _, r := range []*record.Record{
		init,
		rec(record.KindFork, 10, 1, 2*second, 2*second, "init"),
		exec(10, 1, 2*second, 2*second+5, "/srv/shop", "/srv/shop", "-listen", ":80"),
		rec(record.KindFork, 11, 10, 3*second, 3*second, "shop"),
		exec(11, 10, 3*second, 3*second+5, "/bin/dash", "sh", "-c", "id; sleep 1"),
		rec(record.KindFork, 12, 11, 4*second, 4*second, "dash"),
		exec(12, 11, 4*second, 4*second+5, "/usr/bin/curl", "curl", "http://x"),
	} {
		if table.Apply(r) == nil {
			t.Fatalf("%s of %d gave no process", r.Kind, r.PID)
		}
	}
}

func TestWhatAProcessCameFrom(t *testing.T) {
	table := newTable(t, nil)
	family(t, table)
	p := table.Apply(rec(record.KindConnect, 12, 11, 4*second, 5*second, "curl"))
	if diff := cmp.Diff([]string{"/bin/dash", "/srv/shop", "/sbin/init"}, p.Lineage.Paths); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"dash", "shop", "init"}, p.Lineage.Names); diff != "" {
		t.Error(diff)
	}
	if p.Exe != "/usr/bin/curl" || p.CmdLine != "curl http://x" || p.Cwd != "/srv" || p.Parent().CmdLine != "sh -c id; sleep 1" {
		t.Errorf("%+v, parent %+v", p, p.Parent())
	}
	shell, _ := table.ByPID(11)
	if diff := cmp.Diff([]string{"sh", "-c", "id; sleep 1"}, shell.Args()); diff != "" {
		t.Error(diff)
	}
	if s := table.Leader(p); s == nil || s.Exe != "/srv/shop" {
		t.Errorf("leader of the session: %+v", s)
	}
	if !table.Wall(p.Start).Equal(time.Unix(1_700_000_004, 0)) {
		t.Errorf("began at %v", table.Wall(p.Start))
	}
}

func TestHistoryOutlivesProcesses(t *testing.T) {
	table := newTable(t, nil)
	family(t, table)
	shop, _ := table.ByPID(10)
	for _, pid := range []uint32{11, 12} {
		r := rec(record.KindExit, pid, 1, uint64(pid-8)*second, 6*second, "x")
		r.Ret = 3 << 8
		if p := table.Apply(r); p.Alive() {
			t.Errorf("%d lives", pid)
		}
	}
	root, left, ok := table.Tree(shop.Key, 100)
	if !ok || left != 0 || len(root.Children) != 1 || len(root.Children[0].Children) != 1 {
		t.Fatalf("tree %+v, %d left out", root, left)
	}
	curl := root.Children[0].Children[0]
	if code, signal := curl.ExitCode(); curl.Exe != "/usr/bin/curl" || code != 3 || signal != 0 || curl.Exited != 6*second {
		t.Errorf("%+v", curl.Process)
	}
	if _, ok := table.ByPID(12); ok {
		t.Error("an ended process counts as living")
	}
	// What comes late is still of the process that ended, and does not bring it back.
	if p := table.Apply(rec(record.KindFlow, 12, 1, 4*second, 7*second, "")); p.Key != curl.Key || p.Exe != "/usr/bin/curl" {
		t.Errorf("late: %+v", p)
	}
	if s := table.Stats(); s.Live != 2 || s.Exited != 2 || s.Unseen != 0 {
		t.Errorf("%+v", s)
	}
}

func TestProcessIDsAreUsedAgain(t *testing.T) {
	table := newTable(t, nil)
	family(t, table)
	old, _ := table.ByPID(12)
	p := table.Apply(rec(record.KindCall, 12, 1, 9*second, 9*second, "other"))
	if p.Key == old.Key || p.Exe != "" || p.State != Unknown {
		t.Errorf("%+v", p)
	}
	if q, ok := table.Get(old.Key); !ok || q.Alive() || q.Exe != "/usr/bin/curl" {
		t.Errorf("the one before: %+v, %v", q, ok)
	}
	// A record of the one before that was overtaken is not the new one's.
	if q := table.Apply(rec(record.KindCall, 12, 1, 4*second, 8*second, "curl")); q.Key != old.Key {
		t.Errorf("%+v", q)
	}
	if s := table.Stats(); s.Unseen != 1 {
		t.Errorf("%+v", s)
	}
}

func TestStartsAgreeWithProc(t *testing.T) {
	// What eBPF reads is exact; /proc rounds down to a tick, in a shifted time namespace to the one beside it.
	const exact = 7*second + 123_456_789
	for _, seeded := range []uint64{exact / Tick * Tick, exact/Tick*Tick - Tick, exact/Tick*Tick + Tick} {
		table := newTable(t, nil)
		r := exec(50, 1, seeded, 8*second, "/bin/x", "x")
		r.Flags = record.FlagSeeded
		first := table.Apply(r)
		p := table.Apply(rec(record.KindCall, 50, 1, exact, 9*second, "x"))
		if p.Key != first.Key || p.Exe != "/bin/x" || table.Stats().Live != 1 {
			t.Errorf("seeded %d: %+v", seeded, p)
		}
		table.Apply(rec(record.KindExit, 50, 1, exact, 9*second, "x"))
		if q := table.Apply(rec(record.KindFlow, 50, 1, exact, 9*second, "x")); q.Key != first.Key {
			t.Errorf("after the end, seeded %d: %+v", seeded, q)
		}
	}
	if a, b := makeKey("b", 5, exact), makeKey("b", 5, exact/Tick*Tick); a != b {
		t.Errorf("keys %s and %s", a, b)
	}
}

func TestSeedsCompleteAndDoNotOverride(t *testing.T) {
	table := newTable(t, nil)
	child := table.Apply(rec(record.KindCall, 21, 20, 3*second, 5*second, "worker"))
	if child.State != Unknown || child.Lineage.Whole || child.Parent().PID != 20 {
		t.Fatalf("%+v", child)
	}
	seed := func(pid, ppid uint32, start, at uint64, path string) *Process {
		r := exec(pid, ppid, start, at, path, path)
		r.Flags = record.FlagSeeded
		return table.Apply(r)
	}
	seed(1, 0, 0, 5*second, "/sbin/init")
	seed(20, 1, 2*second, 5*second, "/srv/server")
	seed(21, 20, 3*second, 5*second, "/srv/worker")
	p := table.Apply(rec(record.KindCall, 21, 20, 3*second, 6*second, "worker"))
	if diff := cmp.Diff([]string{"/srv/server", "/sbin/init"}, p.Lineage.Paths); diff != "" || p.Exe != "/srv/worker" || !p.Lineage.Whole {
		t.Errorf("%+v %s", p, diff)
	}
	// An exec that was seen after /proc was read stands; what /proc told before it does not come back.
	table.Apply(exec(21, 20, 3*second, 7*second, "/bin/sh", "sh"))
	if p := seed(21, 20, 3*second, 6*second, "/srv/worker"); p.Exe != "/bin/sh" {
		t.Errorf("%+v", p)
	}
	// But an exec whose record was lost is known by a seed after it.
	if p := seed(21, 20, 3*second, 8*second, "/bin/dash"); p.Exe != "/bin/dash" {
		t.Errorf("%+v", p)
	}
	// Nor does a seed bring back what has ended.
	table.Apply(rec(record.KindExit, 21, 20, 3*second, 9*second, "sh"))
	if p := seed(21, 20, 3*second, 8*second, "/bin/sh"); p.Alive() {
		t.Errorf("%+v", p)
	}
}

func TestADescendantLearnsOfItsAncestors(t *testing.T) {
	table := newTable(t, nil)
	table.Apply(rec(record.KindCall, 30, 1, 2*second, 5*second, "bash"))
	table.Apply(rec(record.KindFork, 31, 30, 3*second, 5*second, "bash"))
	table.Apply(exec(31, 30, 3*second, 5*second, "/usr/bin/env", "env"))
	table.Apply(rec(record.KindFork, 32, 31, 4*second, 5*second, "env"))
	r := exec(30, 1, 2*second, 6*second, "/bin/bash", "bash")
	r.Flags = record.FlagSeeded
	table.Apply(r)
	p := table.Apply(rec(record.KindCall, 32, 31, 4*second, 7*second, "env"))
	if diff := cmp.Diff([]string{"/usr/bin/env", "/bin/bash", ""}, p.Lineage.Paths); diff != "" {
		t.Error(diff)
	}
}

func TestLongLineagesEndAndLoopsCannotBe(t *testing.T) {
	table := newTable(t, nil)
	for pid := uint32(100); pid < 200; pid++ {
		table.Apply(rec(record.KindFork, pid, pid-1, uint64(pid)*second, uint64(pid)*second, "chain"))
	}
	if p, _ := table.ByPID(199); len(p.Lineage.Ancestors) != MaxLineage || p.Lineage.Ancestors[0].PID != 198 {
		t.Errorf("%d ancestors", len(p.Lineage.Ancestors))
	}
	// Two processes that claim each other as parents, and one that is its own.
	table.Apply(rec(record.KindCall, 300, 301, 5*second, 6*second, "a"))
	table.Apply(rec(record.KindCall, 301, 300, 5*second, 6*second, "b"))
	table.Apply(rec(record.KindCall, 302, 302, 5*second, 6*second, "c"))
	for _, pid := range []uint32{300, 301, 302} {
		table.turn++
		table.Apply(rec(record.KindCall, pid, 601-pid, 5*second, 7*second, "a"))
	}
	if _, left := table.Forest(1000); left != 0 {
		t.Errorf("%d left", left)
	}
	for _, p := range table.Live() {
		if _, _, ok := table.Tree(p.Key, 1000); !ok {
			t.Errorf("no tree of %d", p.PID)
		}
	}
}

func TestTheTableIsBounded(t *testing.T) {
	table := newTable(t, func(c *Config) { c.Live, c.Exited, c.Keep, c.Texts = 100, 50, time.Minute, bytesize.MiB })
	long := strings.Repeat("x", 8000)
	for i := range uint32(500) {
		pid, at := 1000+i, 10*second+uint64(i)
		r := exec(pid, 1, 5*second+uint64(i)*Tick, at, fmt.Sprintf("/tmp/%d", i), "bomb", fmt.Sprint(i), long)
		p := table.Apply(r)
		if len(p.CmdLine) < 8000 {
			t.Fatalf("the exec of %d says only %d bytes", pid, len(p.CmdLine))
		}
	}
	s := table.Stats()
	if s.Live != 100 || s.Refused != 400 || s.Cut != 100 || s.Texts > int64(bytesize.MiB) {
		t.Errorf("%+v", s)
	}
	for i := range uint32(100) { // more than are remembered
		table.Apply(rec(record.KindExit, 1000+i, 1, 5*second+uint64(i)*Tick, 20*second+uint64(i), "bomb"))
	}
	if s = table.Stats(); s.Live != 0 || s.Exited != 50 || s.Forgotten != 50 {
		t.Errorf("%+v", s)
	}
	if last := table.Ended(1); len(last) != 1 || last[0].PID != 1099 {
		t.Errorf("%+v", last)
	}
	table.Apply(rec(record.KindCall, 1, 0, 0, 200*second, "init"))
	if s = table.Stats(); s.Exited != 0 || s.Live != 1 {
		t.Errorf("an hour later: %+v", s)
	}
	if p, _ := table.ByPID(1); s.Texts != p.size() {
		t.Errorf("%d bytes counted, %d are there", s.Texts, p.size())
	}
}

func TestSweep(t *testing.T) {
	table := newTable(t, nil)
	family(t, table)
	if n := table.Sweep(50*second, func(pid uint32, _ uint64) bool { return pid != 12 }); n != 1 {
		t.Fatalf("%d", n)
	}
	if p := table.Ended(5); len(p) != 1 || p[0].PID != 12 || p[0].Exited != 50*second {
		t.Errorf("%+v", p)
	}
}

func TestHostileTexts(t *testing.T) {
	table := newTable(t, nil)
	r := exec(40, 1, second, second, "/tmp/a\xff\x1b[2J", "a\xff", "", "b c")
	r.Comm = []byte("\xff\xfe)x")
	p := table.Apply(r)
	if diff := cmp.Diff([]string{`a\xff`, "", "b c"}, p.Args()); diff != "" || p.Exe != "/tmp/a\\xff\x1b[2J" || p.Name != `\xff\xfe)x` {
		t.Errorf("%q %q %s", p.Exe, p.Name, diff)
	}
	q := rec(record.KindCall, 40, 1, second, 2*second, "\xff\xfe)x")
	q.UID, q.GID = p.UID, p.GID
	if got := table.Apply(q); got != p {
		t.Error("a name that is not UTF-8 makes a copy with every record")
	}
}

func TestReadersWhileWriting(t *testing.T) {
	table := newTable(t, func(c *Config) { c.Exited = 100 })
	family(t, table)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				for _, n := range table.ByCgroup() {
					for _, p := range n.Processes {
						_ = p.Lineage.Paths
						if q, ok := table.Get(p.Key); ok && q.PID != p.PID {
							t.Errorf("%d is %d", p.PID, q.PID)
						}
					}
				}
				table.Forest(100)
				table.Find(rec(record.KindCall, 12, 11, 4*second, 5*second, "curl"))
			}
		})
	}
	for i := range uint32(2000) {
		pid, start := 100+i%50, 10*second+uint64(i)*Tick
		table.Apply(rec(record.KindFork, pid, 10, start, start, "shop"))
		table.Apply(exec(pid, 10, start, start+1, "/bin/true", "true"))
		if i%2 == 0 {
			table.Apply(rec(record.KindExit, pid, 10, start, start+2, "true"))
		}
	}
	close(stop)
	readers.Wait()
}

func BenchmarkApplyKnown(b *testing.B) {
	table := newTable(b, nil)
	var all []*record.Record
	for i := range uint32(10000) {
		table.Apply(exec(100+i, 1, uint64(i)*Tick+second, uint64(i)*Tick+second, "/usr/bin/worker", "worker", fmt.Sprint(i)))
		r := rec(record.KindCall, 100+i, 1, uint64(i)*Tick+second, uint64(i)*Tick+second, "a thread")
		r.TID = r.PID + 1
		all = append(all, r)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if p := table.Apply(all[i]); len(p.Lineage.Paths) == 0 {
			b.Fatal("no lineage")
		}
		if i++; i == len(all) {
			i = 0
		}
	}
}

// TestMemoryOfAProcess holds what a living process costs, and what one that ended does, below 2 KB.
func TestMemoryOfAProcess(t *testing.T) {
	const n = 10000
	table := newTable(t, nil)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range uint32(n) {
		parent := uint32(1)
		if i > 0 {
			parent = 99 + i/4 + 1 // chains of some length
		}
		start := second + uint64(i)*Tick
		table.Apply(rec(record.KindFork, 100+i, parent, start, start, "worker"))
		table.Apply(exec(100+i, parent, start, start, "/usr/bin/worker", "/usr/bin/worker", "--listen", fmt.Sprintf("127.0.0.1:%d", i), "--config", "/etc/worker/worker.conf", "--verbose"))
	}
	each := (heap() - before) / n
	t.Logf("%d bytes a living process", each)
	if each > 2048 {
		t.Errorf("%d bytes a process", each)
	}
	for i := range uint32(n) {
		table.Apply(rec(record.KindExit, 100+i, 1, second+uint64(i)*Tick, 500*second, "worker"))
	}
	each = (heap() - before) / n
	t.Logf("%d bytes a process that ended", each)
	if s := table.Stats(); each > 2048 || s.Exited != n || s.Live != 0 {
		t.Errorf("%d bytes a process, %+v", each, s)
	}
	runtime.KeepAlive(table)
}

// TestFindTakesAnUnknownChildForAFork: a gate asks before the record of the fork is there.
// TestFindByAStartOfProc: a gate knows the start of a process to a tick. It is the process that the kernel tells of to the nanosecond, whichever comes first, and does not
// end it.
func TestFindByAStartOfProc(t *testing.T) {
	for _, first := range []string{"the gate", "the fork"} {
		table := New(Default(), "boot", NewClock())
		table.Apply(&record.Record{Kind: record.KindExec, PID: 10, TID: 10, Start: 1e9, PPID: 1, Time: 1e9, Path: []byte("/bin/sh"), Args: []byte("sh\x00"), Comm: []byte("sh")})
		fork := &record.Record{Kind: record.KindFork, PID: 11, TID: 11, Start: 2e9 + 1_234_567, PPID: 10, Time: 2e9 + 1_234_567, Comm: []byte("sh")}
		ask := &record.Record{Kind: record.KindExec, Flags: record.FlagSeeded, PID: 11, TID: 11, Start: 2e9, PPID: 10, Time: 2e9 + 2e6, Comm: []byte("sh")}
		if first == "the fork" {
			table.Apply(fork)
		}
		p := table.Find(ask)
		if p.Exe != "/bin/sh" || len(p.Lineage.Paths) == 0 || p.Lineage.Paths[0] != "/bin/sh" {
			t.Errorf("%s first: executable %q, lineage %q", first, p.Exe, p.Lineage.Paths)
		}
		if first == "the gate" {
			table.Apply(fork)
		}
		if q := table.Find(ask); q.Key != p.Key || !q.Alive() {
			t.Errorf("%s first: asked again it is %s, it was %s; alive: %t", first, q.Key, p.Key, q.Alive())
		}
		table.Apply(&record.Record{Kind: record.KindExit, PID: 11, TID: 11, Start: fork.Start, PPID: 10, Time: 2e9 + 9e6, Ret: 126 << 8})
		if q, ok := table.Get(p.Key); !ok || q.Exited != 2e9+9e6 || q.Status != 126<<8 {
			t.Errorf("%s first: it ended at %d with %d", first, q.Exited, q.Status)
		}
	}
}

// TestGuessedForkIsMended: a gate may ask before it is known what the parent runs by now. The fork's own record, which comes after that, has the last word.
func TestGuessedForkIsMended(t *testing.T) {
	table := New(Default(), "boot", NewClock())
	exec := func(at uint64, path string) *record.Record {
		return &record.Record{Kind: record.KindExec, PID: 10, TID: 10, Start: 1e9, PPID: 1, Time: at, Path: []byte(path), Args: []byte(path + "\x00"), Comm: []byte(path[5:])}
	}
	table.Apply(exec(1e9, "/bin/shop"))
	ask := &record.Record{Kind: record.KindExec, Flags: record.FlagSeeded, PID: 11, TID: 11, Start: 2e9, PPID: 10, Time: 2e9 + 2e6, Comm: []byte("sh")}
	guess := table.Find(ask)
	table.Apply(exec(1.5e9, "/bin/dash"))
	table.Apply(&record.Record{Kind: record.KindFork, PID: 11, TID: 11, Start: 2e9 + 1_234_567, PPID: 10, Time: 2e9 + 1_234_567, Comm: []byte("sh")})
	p := table.Find(ask)
	if p.Key != guess.Key || p.Exe != "/bin/dash" || p.Lineage.Paths[0] != "/bin/dash" || p.Parent().Name != "dash" {
		t.Errorf("%s of %q below %q, was %s", p.Key, p.Exe, p.Lineage.Paths, guess.Key)
	}
}

func TestFindTakesAnUnknownChildForAFork(t *testing.T) {
	table := New(Default(), "boot", NewClock())
	table.Apply(&record.Record{Kind: record.KindExec, PID: 10, TID: 10, Start: 1e9, PPID: 1, Time: 1e9, Path: []byte("/bin/sh"), Args: []byte("sh\x00"), Comm: []byte("sh")})
	ask := &record.Record{Kind: record.KindExec, PID: 11, TID: 11, Start: 2e9, PPID: 10, Time: 2e9, Comm: []byte("sh")}
	p := table.Find(ask)
	if p.Exe != "/bin/sh" || len(p.Lineage.Paths) == 0 || p.Lineage.Paths[0] != "/bin/sh" {
		t.Errorf("executable %q, lineage %q", p.Exe, p.Lineage.Paths)
	}
	// The record of the fork, which comes later, changes nothing.
	if q := table.Apply(&record.Record{Kind: record.KindFork, PID: 11, TID: 11, Start: 2e9, PPID: 10, Time: 2e9, Comm: []byte("sh")}); q.Key != p.Key || q.Exe != p.Exe {
		t.Errorf("after its fork it is %q, it was %q", q.Exe, p.Exe)
	}
	// Of a process without a known parent nothing is made up.
	if p := table.Find(&record.Record{Kind: record.KindExec, PID: 21, TID: 21, Start: 3e9, PPID: 20}); p.Exe != "" {
		t.Errorf("executable %q", p.Exe)
	}
}
