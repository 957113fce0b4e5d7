package assembly

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/cmd/testudo/hostrules"
	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/process"
	"github.com/testudo-sec/testudo/kernel/record"
	"github.com/testudo-sec/testudo/signal"
)

type noSink struct{}

func (noSink) Event(context.Context, *signal.Event) (signal.Verdict, error) {
	return signal.Verdict{}, nil
}

type noSensor struct{ kernel.Sensor }

// TestCensus: processes stand with their container, below who started them; ended ones when they are asked for; what is sought with what it came from.
func TestCensus(t *testing.T) {
	plane, err := kernel.New(kernel.DefaultConfig(), kernel.Deps{Sensor: noSensor{}, Sink: noSink{}, Host: "test", Boot: "3f2a91c4-0000", Redact: redactor()})
	if err != nil {
		t.Fatal(err)
	}
	table := plane.Table()
	start := uint64(10 * time.Second)
	run := func(pid, ppid, pidns uint32, args ...string) {
		start += uint64(time.Second)
		r := record.Record{Kind: record.KindExec, Time: start, Start: start, PID: pid, TID: pid, PPID: ppid, PIDNS: pidns, Cgroup: uint64(pidns), Comm: []byte("x"),
			Path: []byte(args[0]), Args: []byte(strings.Join(args, "\x00") + "\x00")}
		table.Apply(&r)
	}
	run(1, 0, 7, "/sbin/init")
	run(100, 1, 7, "/usr/bin/runtime")
	run(200, 100, 8, "/srv/shop", "--password=hunter2hunter2")
	run(201, 200, 8, "/bin/sh", "-c", "id")
	run(202, 201, 8, "/usr/bin/id")
	at, _ := table.ByPID(202)
	start += uint64(time.Second)
	table.Apply(&record.Record{Kind: record.KindExit, Time: start, Start: at.Start, PID: 202, TID: 202, Ret: 3 << 8})

	draw := func(q console.ProcessQuery) (out []string) {
		for _, g := range newCensus(plane, q).list().Groups {
			name := "host"
			if g.Container != nil {
				name = "container"
			}
			for _, p := range g.Processes {
				line := fmt.Sprintf("%s %d %s", name, p.Depth, p.Exe)
				if p.Other {
					line += " other"
				}
				if !p.Ended.IsZero() {
					line += fmt.Sprintf(" exit %d", p.Code)
				}
				out = append(out, line)
			}
			if g.More > 0 {
				out = append(out, fmt.Sprintf("%s %d more", name, g.More))
			}
		}
		return out
	}
	for _, c := range []struct {
		name string
		q    console.ProcessQuery
		want []string
	}{
		{"running", console.ProcessQuery{}, []string{"host 0 /sbin/init", "host 1 /usr/bin/runtime", "container 0 /srv/shop", "container 1 /bin/sh"}},
		{"all", console.ProcessQuery{All: true, Container: "host"}, []string{"host 0 /sbin/init", "host 1 /usr/bin/runtime"}},
		{"ended", console.ProcessQuery{All: true, Text: "/USR/bin/id"}, []string{"container 0 /srv/shop other", "container 1 /bin/sh other", "container 2 /usr/bin/id exit 3"}},
		{"by number", console.ProcessQuery{Text: "100"}, []string{"host 0 /sbin/init other", "host 1 /usr/bin/runtime"}},
		{"bounded", console.ProcessQuery{Limit: 1}, []string{"host 0 /sbin/init", "host 1 more", "container 0 /srv/shop", "container 1 more"}},
		{"none", console.ProcessQuery{Text: "nothing-like-this"}, nil},
		{"a secret finds nothing", console.ProcessQuery{Text: "hunter2hunter2"}, nil},
	} {
		if d := cmp.Diff(c.want, draw(c.q)); d != "" {
			t.Errorf("%s: (-want +got)\n%s", c.name, d)
		}
	}
	for _, g := range newCensus(plane, console.ProcessQuery{}).list().Groups {
		for _, p := range g.Processes {
			if strings.Contains(p.CmdLine, "hunter2") {
				t.Errorf("a secret is shown: %s", p.CmdLine)
			}
		}
	}

	m := &Machine{kernel: &kernelPlane{plane: plane}}
	shell, _ := table.ByPID(201)
	d, err := hostView{m}.Process(t.Context(), shell.Key)
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Tree) != 2 || len(d.Lineage) != 3 || d.Tree[1].Exe != "/usr/bin/id" || d.Lineage[0].Exe != "/srv/shop" || d.Container == nil {
		t.Errorf("the shell's page: %+v", d)
	}
	if _, err := (hostView{m}).Process(t.Context(), process.Key("3f2a91c4", 201, 1)); !errors.Is(err, console.ErrNotFound) {
		t.Errorf("another process of the number: %v, want ErrNotFound", err)
	}
}

// TestHostRulesShown: each rule is stopped by the earliest gate that works here, and by a later one as to what the kernel cannot tell.
func TestHostRulesShown(t *testing.T) {
	plan := &hostrules.Plan{
		Clauses: []hostrules.Clause{{Rule: kernel.GuardRule{Rule: "b", Hook: kernel.HookConnect}}, {Rule: kernel.GuardRule{Rule: "a", Hook: kernel.HookExec}}},
		Residue: []hostrules.Residue{{Rule: "a", Hook: kernel.HookExec, Why: "the command line"}, {Rule: "c", Hook: kernel.HookOpen, Why: "the name", Ask: true}},
	}
	enforces := func(id string) bool { return id != "b" }
	for _, c := range []struct {
		name  string
		works []record.Gate
		want  []console.HostRule
	}{
		{"nothing works", nil, []console.HostRule{
			{Rule: "a", Hook: "exec", Enforced: true, By: []string{"kill"}, Why: []string{"the command line"}}, {Rule: "b", Hook: "connect", By: []string{"kill"}},
			{Rule: "c", Hook: "open", Enforced: true, By: []string{"kill"}, Why: []string{"the name"}}}},
		{"without LSM", []record.Gate{record.GateCgroup, record.GateFanotify, record.GateExecKill, record.GateKill}, []console.HostRule{
			{Rule: "a", Hook: "exec", Enforced: true, By: []string{"fanotify", "kill"}, Why: []string{"the command line"}}, {Rule: "b", Hook: "connect", By: []string{"cgroup-connect"}},
			{Rule: "c", Hook: "open", Enforced: true, By: []string{"fanotify"}, Why: []string{"the name"}}}},
		{"with LSM", []record.Gate{record.GateLSM, record.GateCgroup, record.GateFanotify, record.GateKill}, []console.HostRule{
			{Rule: "a", Hook: "exec", Enforced: true, By: []string{"bpf-lsm", "kill"}, Why: []string{"the command line"}}, {Rule: "b", Hook: "connect", By: []string{"bpf-lsm"}},
			{Rule: "c", Hook: "open", Enforced: true, By: []string{"fanotify"}, Why: []string{"the name"}}}},
	} {
		if d := cmp.Diff(c.want, hostRulesShown(plan, c.works, enforces)); d != "" {
			t.Errorf("%s: (-want +got)\n%s", c.name, d)
		}
	}
}

func TestPace(t *testing.T) {
	var p pace
	at := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		after time.Duration
		n     uint64
		want  float64
	}{{10 * time.Second, 1000, 100}, {10*time.Second + 200*time.Millisecond, 1100, 100}, {12 * time.Second, 1200, 100}, {14 * time.Second, 100, 50}} {
		if got := p.rate(at, at.Add(c.after), c.n); got != c.want {
			t.Errorf("after %s: %g a second, want %g", c.after, got, c.want)
		}
	}
}
