package hand

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/kernel"
)

func TestKillTakesAlongWhatWasStarted(t *testing.T) {
	h := New()
	family, bystander := start(t, nil, nil, "as-family", "3"), start(t, nil, nil, "as-sleeper")
	pid := family.Process.Pid
	o := kernel.Order{Verb: kernel.VerbRadius, For: kernel.VerbKill, PID: uint32(pid), Start: startOf(t, pid)}
	radius := do(t, h, o)
	if radius.Count != 16 || len(radius.Processes) != 16 || radius.Refusal != "" || radius.Processes[0].PID != uint32(pid) { // 1 + 3·(1 + 2·(1 + 1·1))
		t.Fatalf("%d processes: %+v", radius.Count, radius)
	}
	o.Verb, o.For = kernel.VerbKill, ""
	done := do(t, h, o)
	if done.Count != 16 || !strings.Contains(done.Detail, "and 15 that it started") {
		t.Errorf("%+v", done)
	}
	for _, p := range radius.Processes {
		eventually(t, "it is dead", func() bool { return !alive(int(p.PID)) })
	}
	if !alive(bystander.Process.Pid) {
		t.Error("another child of the test was killed")
	}
	if err := family.Wait(); err == nil || family.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Error(family.ProcessState)
	}
	refuses(t, h, o, "it has ended")
}

// What starts others all the time leaves none behind.
func TestKillIsFasterThanForks(t *testing.T) {
	h := New()
	for range 5 {
		file := filepath.Join(t.TempDir(), "forks")
		forker := start(t, nil, &syscall.SysProcAttr{Setsid: true}, "as-forker", file)
		eventually(t, "it has started some", func() bool { st, err := os.Stat(file); return err == nil && st.Size() > 20 })
		pid := forker.Process.Pid
		done := do(t, h, kernel.Order{Verb: kernel.VerbKill, PID: uint32(pid), Start: startOf(t, pid)})
		if done.Count < 5 {
			t.Errorf("%d killed", done.Count)
		}
		var left []string
		eventually(t, "all of its session are dead", func() bool {
			left = left[:0]
			_ = eachProcess(func(p uint32) {
				if b, err := os.ReadFile("/proc/" + itoa(int(p)) + "/cmdline"); err == nil && strings.Contains(string(b), file) && alive(int(p)) {
					left = append(left, string(b))
				}
			})
			return len(left) == 0
		})
	}
}

func TestKillNeverHitsAnother(t *testing.T) {
	h := New()
	p := start(t, nil, nil, "as-sleeper")
	pid, began := uint32(p.Process.Pid), startOf(t, p.Process.Pid)
	refuses(t, h, kernel.Order{Verb: kernel.VerbKill, PID: pid, Start: began + tick}, "it has ended")
	refuses(t, h, kernel.Order{Verb: kernel.VerbKill, PID: pid, Start: began - tick}, "it has ended")
	if _, err := h.Do(t.Context(), kernel.Order{Verb: kernel.VerbKill, PID: pid}); err == nil || !strings.Contains(err.Error(), "say when it began") {
		t.Error(err)
	}
	if !alive(int(pid)) {
		t.Fatal("killed by another's beginning")
	}
	do(t, h, kernel.Order{Verb: kernel.VerbKill, PID: pid, Start: began + tick - 1}) // the kernel knows nanoseconds, /proc hundredths
	eventually(t, "it is dead", func() bool { return !alive(int(pid)) })
}

// kernelThread is the one that starts all others; in a PID namespace, where there are none, a number that no process has.
func kernelThread() int {
	if comm, err := os.ReadFile("/proc/2/comm"); err == nil && string(comm) == "kthreadd\n" {
		return 2
	}
	return 1 << 30
}

func TestProtected(t *testing.T) {
	h := New()
	sleeper := start(t, nil, nil, "as-sleeper")
	for _, c := range []struct {
		pid   int
		words string
	}{{1, "process 1 "}, {kernelThread(), "part of the kernel"}, {os.Getpid(), "testudo itself"}, {os.Getppid(), "started testudo"}} {
		s, err := readStat(uint32(c.pid))
		if err != nil {
			t.Logf("process %d cannot be seen from here: %v", c.pid, err)
			continue
		}
		refuses(t, h, kernel.Order{Verb: kernel.VerbKill, ID: "a", PID: uint32(c.pid), Start: s.start*tick + 1}, c.words)
	}
	for _, o := range []kernel.Order{
		{}, {Verb: "burn", PID: 5}, {Verb: kernel.VerbKill}, {Verb: kernel.VerbKill, PID: 5, Start: 1, Container: "x"},
		{Verb: kernel.VerbFreeze, PID: 5, Start: 1}, {Verb: kernel.VerbFreeze, ID: "../x", Container: "x"},
		{Verb: kernel.VerbKill, Container: "../../etc"}, {Verb: kernel.VerbKill, Container: "no-such-container-at-all"},
	} {
		if _, err := h.Do(t.Context(), o); err == nil {
			t.Errorf("%+v is carried out", o)
		}
	}
	if !alive(sleeper.Process.Pid) {
		t.Error("the bystander is dead")
	}
}

func TestOwnGroupIsProtected(t *testing.T) {
	require.Root(t)
	h := New()
	for name, root := range map[string]string{"v2": h.v2, "v1": h.v1} {
		t.Run(name, func(t *testing.T) {
			dir := newGroup(t, root)
			sub := subgroup(t, dir, "testudo-0123456789abcdef")
			// The hand is told that it is the program within: what it is itself must not be moved about.
			p := start(t, []string{sub}, nil, "as-sleeper")
			inside := &Hand{self: uint32(p.Process.Pid), v2: h.v2, v1: h.v1}
			for _, id := range []string{filepath.Base(dir), "testudo-0123456789abcdef"} {
				for _, verb := range []kernel.Verb{kernel.VerbKill, kernel.VerbFreeze} {
					refuses(t, inside, kernel.Order{Verb: verb, ID: "a", Container: id}, "testudo itself")
				}
			}
			if !alive(p.Process.Pid) {
				t.Error("killed")
			}
		})
	}
}

func TestKillGroup(t *testing.T) {
	h := New()
	for name, root := range map[string]string{"v2": h.v2, "v1": h.v1} {
		t.Run(name, func(t *testing.T) {
			dir := newGroup(t, root)
			one, two := subgroup(t, dir, "0123456789abcdef0"), subgroup(t, dir, "0123456789abcdef1")
			first, deep := start(t, []string{one}, nil, "as-family", "2"), start(t, []string{subgroup(t, one, "deep")}, nil, "as-sleeper")
			other := start(t, []string{two}, nil, "as-sleeper")
			refuses(t, h, kernel.Order{Verb: kernel.VerbKill, Container: "0123456789abcdef"}, "give its whole id")
			o := kernel.Order{Verb: kernel.VerbRadius, For: kernel.VerbKill, Container: "0123456789abcdef0"}
			if d := do(t, h, o); d.Count != 6 || len(d.Processes) != 6 || d.Refusal != "" || !strings.HasSuffix(d.Cgroup, "/0123456789abcdef0") {
				t.Errorf("%+v", d)
			}
			o.Verb = kernel.VerbKill
			if d := do(t, h, o); d.Count != 6 {
				t.Errorf("%+v", d)
			}
			for _, cmd := range []int{first.Process.Pid, deep.Process.Pid} {
				if alive(cmd) {
					t.Errorf("%d lives", cmd)
				}
			}
			if !alive(other.Process.Pid) {
				t.Error("the container beside it was killed")
			}
		})
	}
}

func TestNamed(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	for _, c := range []struct {
		folder, id string
		want       bool
	}{
		{id, id, true}, {"docker-" + id + ".scope", id, true}, {"cri-containerd-" + id + ".scope", id, true}, {"crio-" + id + ".scope", id[:12], true},
		{"crio-conmon-" + id + ".scope", id, false}, {id, id[:12], true}, {id, id[:11], false}, {"box", "box", true}, {"boxes", "box", false},
		{"docker-" + id + ".scope", id[1:13], false}, {"user@0.service", "user", false},
	} {
		if named(c.folder, c.id) != c.want {
			t.Errorf("%s, %s: %v", c.folder, c.id, !c.want)
		}
	}
}

func FuzzStat(f *testing.F) {
	f.Add([]byte("1 (systemd) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 25 0 0"))
	f.Add([]byte("7 (a) b ) (\n) R 1 1 1 0 -1 64 1 2 3 4 5 6 7 8 20 0 1 0 18446744073709551615 0 0"))
	f.Add([]byte(") (S"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, ok := parseStat(b); ok && (s.state == 0 || len(s.name) > len(b)) {
			t.Errorf("%q: %+v", b, s)
		}
	})
}
