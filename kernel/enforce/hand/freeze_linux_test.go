package hand

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel"
)

// world is all that freezing may change of a cgroup.
func world(t *testing.T, g *group) string {
	t.Helper()
	asked, err := g.asked()
	if err != nil {
		t.Fatal(err)
	}
	owners, err := g.owners()
	if err != nil {
		t.Fatal(err)
	}
	still, err := g.isFrozen()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(append(owners, "asked", map[bool]string{true: "frozen", false: "runs"}[asked], map[bool]string{true: "still", false: "moves"}[still]), " ")
}

func TestFreeze(t *testing.T) {
	h := New()
	for name, root := range map[string]string{"v2": h.v2, "v1": h.v1} {
		t.Run(name, func(t *testing.T) {
			dir := newGroup(t, root)
			id := filepath.Base(dir)
			g := group{dir: dir, path: "/" + id, v2: root == h.v2}
			file := filepath.Join(t.TempDir(), "count")
			counter := start(t, []string{dir}, nil, "as-counter", file)
			moves := func() bool {
				before, _ := os.Stat(file)
				time.Sleep(30 * time.Millisecond)
				after, _ := os.Stat(file)
				return after.Size() > before.Size()
			}
			before := world(t, &g)
			if !moves() {
				t.Fatal("it does nothing from the beginning")
			}
			freeze := kernel.Order{Verb: kernel.VerbFreeze, ID: "one", PID: uint32(counter.Process.Pid), Start: startOf(t, counter.Process.Pid)}
			if d := do(t, h, freeze); d.Count != 1 || d.Cgroup != "/"+id {
				t.Errorf("%+v", d)
			}
			if moves() {
				t.Error("it is frozen and goes on")
			}
			once := world(t, &g)
			do(t, New(), freeze) // after a restart
			if now := world(t, &g); now != once {
				t.Errorf("%q after a second time, %q after the first", now, once)
			}
			// Somebody else thaws it: freezing again makes sure.
			if err := g.set(false); err != nil {
				t.Fatal(err)
			}
			do(t, h, freeze)
			if moves() || world(t, &g) != once {
				t.Error("it is not frozen again: ", world(t, &g))
			}
			// Another action on the same: each undoes its own.
			do(t, h, kernel.Order{Verb: kernel.VerbFreeze, ID: "two", Container: id})
			do(t, h, kernel.Order{Verb: kernel.VerbThaw, ID: "one"})
			if moves() {
				t.Error("the second action's freezing was undone with the first's")
			}
			do(t, h, kernel.Order{Verb: kernel.VerbThaw, ID: "two"})
			if now := world(t, &g); now != before || !moves() {
				t.Errorf("%q, and was %q", now, before)
			}
			do(t, h, kernel.Order{Verb: kernel.VerbThaw, ID: "two"}) // no error, and nothing more
			// What was frozen before stays so.
			if err := g.set(true); err != nil {
				t.Fatal(err)
			}
			eventually(t, "it stands still", func() bool { still, _ := g.isFrozen(); return still })
			before = world(t, &g)
			do(t, h, kernel.Order{Verb: kernel.VerbFreeze, ID: "three", Container: id})
			do(t, h, kernel.Order{Verb: kernel.VerbThaw, ID: "three"})
			if now := world(t, &g); now != before {
				t.Errorf("%q, and was %q: what the runtime paused was thawed", now, before)
			}
			// What is frozen can be killed.
			do(t, h, kernel.Order{Verb: kernel.VerbKill, Container: id})
			if alive(counter.Process.Pid) {
				t.Error("it lives")
			}
		})
	}
}

// The process that the order named ends, what else was frozen with it is thawed all the same; a cgroup that is gone is no error.
func TestThawOutlivesItsTarget(t *testing.T) {
	h := New()
	dir := newGroup(t, h.v2)
	named, rest := start(t, []string{dir}, nil, "as-sleeper"), start(t, []string{dir}, nil, "as-sleeper")
	do(t, h, kernel.Order{Verb: kernel.VerbFreeze, ID: "one", PID: uint32(named.Process.Pid), Start: startOf(t, named.Process.Pid)})
	_ = named.Process.Kill()
	_ = named.Wait()
	do(t, h, kernel.Order{Verb: kernel.VerbThaw, ID: "one"})
	g := group{dir: dir, path: "/x", v2: true}
	if w := world(t, &g); w != "asked runs moves" {
		t.Error(w)
	}
	do(t, h, kernel.Order{Verb: kernel.VerbFreeze, ID: "two", Container: filepath.Base(dir)})
	_ = rest.Process.Kill()
	_ = rest.Wait()
	eventually(t, "the folder is removed", func() bool { return os.Remove(dir) == nil })
	if d := do(t, h, kernel.Order{Verb: kernel.VerbThaw, ID: "two"}); d.Detail != "nothing is frozen by this action" {
		t.Errorf("%+v", d)
	}
	if err := os.Mkdir(dir, 0o755); err != nil { // for the clean-up
		t.Fatal(err)
	}
}

func TestGroupByNumber(t *testing.T) {
	h := New()
	dir := newGroup(t, h.v2)
	p := start(t, []string{dir}, nil, "as-sleeper")
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	d := do(t, h, kernel.Order{Verb: kernel.VerbRadius, For: kernel.VerbKill, Cgroup: st.Ino})
	if d.Cgroup != "/"+filepath.Base(dir) || d.Count != 1 || d.Processes[0].PID != uint32(p.Process.Pid) {
		t.Errorf("%+v", d)
	}
	refuses(t, h, kernel.Order{Verb: kernel.VerbFreeze, ID: "a", Cgroup: 1}, "the whole machine")
	refuses(t, h, kernel.Order{Verb: kernel.VerbKill, Cgroup: 1 << 50}, "there is none")
}
