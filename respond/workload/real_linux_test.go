package workload_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/enforce/hand"
	"github.com/testudo-sec/testudo/respond"
	"github.com/testudo-sec/testudo/respond/freeze"
	"github.com/testudo-sec/testudo/respond/isolate"
	"github.com/testudo-sec/testudo/respond/kill"
	"github.com/testudo-sec/testudo/respond/respondtest"
	"github.com/testudo-sec/testudo/respond/workload"
	"github.com/testudo-sec/testudo/respond/workload/workloadtest"
)

// realHand is the hand of the kernel plane. Its targets are containers alone.
type realHand struct{ *hand.Hand }

func (h realHand) Do(ctx context.Context, o workload.Order) (workload.Done, error) {
	order := kernel.Order{Verb: kernel.Verb(o.Verb), For: kernel.Verb(o.For), ID: o.ID, Container: o.Target, Keep: o.Keep}
	if o.Verb == workload.Thaw || o.Verb == workload.Join {
		order.Container = ""
	}
	d, err := h.Hand.Do(ctx, order)
	if err == nil && d.Gone {
		err = errors.Join(workload.ErrGone, errors.New(d.Refusal))
	}
	done := workload.Done{Target: o.Target, Container: workload.Container{ID: o.Target}, Count: d.Count, Connections: d.Connections, Refusal: d.Refusal, Detail: d.Detail}
	for _, p := range d.Processes {
		done.Processes = append(done.Processes, workload.Process{PID: p.PID, Name: p.Name, Exe: p.Exe})
	}
	return done, err
}

// box is a cgroup with processes that sleep, in a network of their own.
type box struct {
	id, dir   string
	processes []*exec.Cmd
}

func newBox(t *testing.T, name string, processes int) *box {
	t.Helper()
	require.Root(t)
	sleep := require.Program(t, "coreutils", "sleep")
	root := ""
	for _, dir := range []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		if _, err := os.Stat(dir + "/cgroup.procs"); err == nil && root == "" {
			root = dir
		}
	}
	require.Part(t, "cgroup2", root != "", "mount cgroup2 at /sys/fs/cgroup/unified")
	b := &box{id: fmt.Sprintf("testudo-respond-%s-%d", name, os.Getpid())}
	b.dir = filepath.Join(root, b.id)
	if err := os.Mkdir(b.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	group, err := os.Open(b.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer group.Close()
	t.Cleanup(func() {
		_ = os.WriteFile(b.dir+"/cgroup.freeze", []byte("0"), 0)
		_ = os.WriteFile(b.dir+"/cgroup.kill", []byte("1"), 0)
		for _, p := range b.processes {
			_ = p.Wait()
		}
		eventually(t, "its cgroup is removed", func() bool { return os.Remove(b.dir) == nil })
	})
	for range processes {
		p := exec.Command(sleep, "120")
		p.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd()), Cloneflags: unix.CLONE_NEWNET}
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		b.processes = append(b.processes, p)
	}
	return b
}

func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for until := time.Now().Add(30 * time.Second); !so(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("never: " + what)
		}
	}
}

// frozen is what the kernel says, once it has done what it was asked for.
func (b *box) frozen(t *testing.T) bool {
	t.Helper()
	asked, err := os.ReadFile(b.dir + "/cgroup.freeze")
	if err != nil {
		t.Fatal(err)
	}
	want := "frozen " + strings.TrimSpace(string(asked))
	eventually(t, want, func() bool {
		events, err := os.ReadFile(b.dir + "/cgroup.events")
		return err == nil && strings.Contains(string(events), want)
	})
	return want == "frozen 1"
}

// tables are the packet filters of its network.
func (b *box) tables(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("nsenter", "-t", strconv.Itoa(b.processes[0].Process.Pid), "-n", "nft", "list", "ruleset").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

func (b *box) alive() (n int) {
	for _, p := range b.processes {
		if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Process.Pid)); err == nil && !strings.Contains(string(stat), ") Z ") {
			n++
		}
	}
	return n
}

// TestContractOnTheKernel: what can be undone keeps the contract of responders on cgroups and networks that are real.
func TestContractOnTheKernel(t *testing.T) {
	one, two := newBox(t, "one", 2), newBox(t, "two", 1)
	require.Program(t, "nftables", "nft")
	require.Program(t, "util-linux", "nsenter")
	for kind, world := range map[string]func(*testing.T, *box) string{
		freeze.Kind:  func(t *testing.T, b *box) string { return fmt.Sprint("frozen ", b.frozen(t)) },
		isolate.Kind: func(t *testing.T, b *box) string { return b.tables(t) },
	} {
		t.Run(kind, func(t *testing.T) {
			respondtest.Run(t, func(t *testing.T) respondtest.Subject {
				h := realHand{hand.New()}
				for i := range 2 { // what a former world left in force
					for _, verb := range []string{workload.Thaw, workload.Join} {
						if _, err := h.Do(t.Context(), workload.Order{Verb: verb, ID: fmt.Sprint("action-", i)}); err != nil {
							t.Fatal(err)
						}
					}
				}
				return respondtest.Subject{Part: part(t, kind, h), World: func() string { return world(t, one) + "\n" + world(t, two) },
					Good: []respond.Request{workloadtest.Person(kind, one.id), workloadtest.Person(kind, two.id)},
					Bad:  []respond.Request{workloadtest.Person(kind, "../x")}}
			})
		})
	}
	if one.alive() != 2 || two.alive() != 1 {
		t.Errorf("%d and %d processes live", one.alive(), two.alive())
	}
}

func part(t *testing.T, kind string, h workload.Hand) respond.Part {
	t.Helper()
	var p interface {
		Part(respond.Needs) respond.Part
	}
	var err error
	switch kind {
	case freeze.Kind:
		p, err = freeze.New(freeze.DefaultConfig(), workload.Protection{}, h)
	case isolate.Kind:
		p, err = isolate.New(isolate.DefaultConfig(), workload.Protection{}, h)
	default:
		p, err = kill.New(kill.DefaultConfig(), workload.Protection{}, h)
	}
	if err != nil {
		t.Fatal(err)
	}
	return p.Part(respond.Needs{})
}

// TestKillOnTheKernel: all of the container ends, frozen or not, and nobody else; what has ended is refused.
func TestKillOnTheKernel(t *testing.T) {
	target, beside := newBox(t, "target", 3), newBox(t, "beside", 1)
	h, err := respond.New(respond.DefaultConfig(), []respond.Part{part(t, kill.Kind, realHand{hand.New()}), part(t, freeze.Kind, realHand{hand.New()})},
		respond.Options{Store: respondtest.NewStore(), Ledger: respondtest.NewLedger()})
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{freeze.Kind, kill.Kind} {
		r := workloadtest.Person(kind, target.id)
		if kind == kill.Kind {
			r.For = 0
		}
		if a, err := h.Order(t.Context(), r); err != nil || a.Target != target.id {
			t.Fatalf("%+v %v", a, err)
		}
	}
	eventually(t, "all of them end", func() bool { return target.alive() == 0 })
	if beside.alive() != 1 {
		t.Error("the container beside it was killed")
	}
	r := workloadtest.Person(kill.Kind, target.id)
	r.For = 0
	if a, err := h.Order(t.Context(), r); err == nil || !strings.Contains(err.Error(), "ended") {
		t.Errorf("what has ended is killed again: %+v %v", a, err)
	}
}
