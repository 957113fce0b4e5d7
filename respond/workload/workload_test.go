package workload_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/respond"
	"github.com/testudo-sec/testudo/respond/freeze"
	"github.com/testudo-sec/testudo/respond/isolate"
	"github.com/testudo-sec/testudo/respond/kill"
	"github.com/testudo-sec/testudo/respond/respondtest"
	"github.com/testudo-sec/testudo/respond/workload"
	"github.com/testudo-sec/testudo/signal"
)

var ctx = context.Background()

// machine is a hand whose processes and containers are made up.
type machine struct {
	known  map[string]workload.Done
	frozen map[string]string // by id of the action
	cut    map[string]string
	killed []string
	keep   []netip.AddrPort
	err    error
}

func newMachine() *machine {
	web := workload.Container{ID: strings.Repeat("a1b2c3d4", 8), Name: "web", Image: "shop/web"}
	one := workload.Process{PID: 77, Name: "nginx", Exe: "/usr/sbin/nginx"}
	return &machine{frozen: map[string]string{}, cut: map[string]string{}, known: map[string]workload.Done{
		"web":   {Target: web.ID, Container: web, Processes: []workload.Process{one, {PID: 78, Name: "sh\x1b[2J", Exe: "/bin/busybox"}}, Count: 2, Connections: 3},
		"77":    {Target: "b00t-77-1z", Container: web, Processes: []workload.Process{one}, Count: 1},
		"host":  {Target: "b00t-90-1z", Processes: []workload.Process{{PID: 90, Name: "x", Exe: "/tmp/x"}, {PID: 91, Name: "y", Exe: "/tmp/y"}}, Count: 2},
		"sshd":  {Target: "b00t-91-1z", Processes: []workload.Process{{PID: 91, Name: "sshd", Exe: "/usr/sbin/sshd"}}, Count: 1},
		"fake":  {Target: "b00t-92-1z", Container: web, Processes: []workload.Process{{PID: 92, Name: "sshd", Exe: "/usr/sbin/sshd"}}, Count: 1},
		"init":  {Target: "b00t-1-0", Processes: []workload.Process{{PID: 1, Name: "init"}}, Count: 1, Refusal: "process 1 is the machine's own"},
		"dns":   {Target: "0123456789abcdef", Container: workload.Container{ID: "0123456789abcdef", Name: "coredns", Pod: "coredns-1", Namespace: "kube-system"}, Count: 1, Processes: []workload.Process{{PID: 5, Name: "coredns"}}},
		"crowd": {Target: "fedcba9876543210", Container: workload.Container{ID: "fedcba9876543210"}, Count: 5000, Processes: slices.Repeat([]workload.Process{one}, 256), Sharing: []workload.Process{{PID: 6, Name: "pause"}}},
	}}
}

func (m *machine) Do(_ context.Context, o workload.Order) (workload.Done, error) {
	if m.err != nil {
		return workload.Done{}, m.err
	}
	d, ok := m.known[o.Target]
	if !ok {
		for _, one := range m.known {
			if one.Target == o.Target {
				d, ok = one, true
			}
		}
	}
	switch {
	case o.Verb == workload.Thaw:
		delete(m.frozen, o.ID)
	case o.Verb == workload.Join:
		delete(m.cut, o.ID)
	case o.Target == "ended":
		return d, fmt.Errorf("process 7: %w", workload.ErrGone)
	case !ok:
		return d, fmt.Errorf("%q is no process and no container", o.Target)
	case o.Verb == workload.Kill:
		m.killed = append(m.killed, d.Target)
	case o.Verb == workload.Freeze:
		m.frozen[o.ID] = d.Target
	case o.Verb == workload.Isolate:
		m.cut[o.ID], m.keep = d.Target, o.Keep
	}
	return d, nil
}

func (m *machine) world() string {
	return fmt.Sprint(m.frozen, m.cut, m.killed)
}

func person(kind, target string) respond.Request {
	return respond.Request{Kind: kind, Target: target, Actor: "person:ann", For: time.Hour}
}

// parts are the three responders on one machine.
func parts(t testing.TB, m *machine) map[string]respond.Part {
	t.Helper()
	protect := workload.DefaultProtection()
	k, err1 := kill.New(kill.DefaultConfig(), protect, m)
	f, err2 := freeze.New(freeze.DefaultConfig(), protect, m)
	cfg := isolate.DefaultConfig()
	cfg.Keep = []string{"10.0.0.5:443", "[::ffff:10.0.0.6]:0"}
	i, err3 := isolate.New(cfg, protect, m)
	for _, err := range []error{err1, err2, err3} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return map[string]respond.Part{"kill": k.Part(respond.Needs{}), "freeze": f.Part(respond.Needs{}), "isolate": i.Part(respond.Needs{})}
}

func TestContract(t *testing.T) {
	for _, kind := range []string{freeze.Kind, isolate.Kind} {
		t.Run(kind, func(t *testing.T) {
			respondtest.Run(t, func(t *testing.T) respondtest.Subject {
				m := newMachine()
				return respondtest.Subject{Part: parts(t, m)[kind], World: m.world,
					Good: []respond.Request{person(kind, "web"), person(kind, "host")}, Bad: []respond.Request{person(kind, "nobody"), person(kind, "../x")}}
			})
		})
	}
}

func TestPlans(t *testing.T) {
	m := newMachine()
	all := parts(t, m)
	rule := func(kind, target string) respond.Request {
		return respond.Request{Kind: kind, Target: target, Actor: "rule:shell"}
	}
	for _, c := range []struct {
		r         respond.Request
		summary   []string // pieces of it, and of the warnings
		refusal   string
		forceable bool
	}{
		{r: rule("kill", "77"), summary: []string{"Kills nginx (77). It runs in container web (a1b2c3d4a1b2) of shop/web. This cannot be undone."}},
		{r: rule("kill", "web"), summary: []string{"Kills all 2 processes of container web (a1b2c3d4a1b2) of shop/web: nginx (77), sh?[2J (78, /bin/busybox).", "Ends 3 connections.", "cannot be undone", "may start the container again"}},
		{r: rule("kill", "host"), summary: []string{"Kills x (90) and 1 process that it started: y (91)."}},
		{r: rule("freeze", "web"), summary: []string{"Has all 2 processes of container web", "stand still until they are let go on", "3 connections wait"}},
		{r: rule("freeze", "host"), summary: []string{"of its unit"}},
		{r: rule("isolate", "web"), summary: []string{"Lets nothing in or out of the network of container web", "Still reachable: [10.0.0.5:443 10.0.0.6:0].", "3 established connections fall silent"}},
		{r: person("isolate", "crowd"), summary: []string{"1 other process shares this network and will be cut off too: pause (6)"}},
		{r: rule("kill", "ended"), refusal: "it has ended"},
		{r: rule("kill", "init"), refusal: "process 1 is the machine's own"},
		{r: person("freeze", "dns"), refusal: `lists "kube-system"`},
		{r: rule("kill", "sshd"), refusal: "respond.protect.executables lists /usr/sbin/sshd", forceable: true},
		{r: rule("kill", "fake")}, // a name within a container is anybody's to give
		{r: rule("kill", "crowd"), refusal: "respond.kill.max_processes lets rules touch 200", forceable: true},
		{r: person("kill", "crowd"), summary: []string{"and 4995 more"}},
		{r: rule("isolate", "crowd"), refusal: "respond.isolate.max_processes", forceable: true},
	} {
		p, err := all[c.r.Kind].Responder.Plan(ctx, c.r)
		if err != nil {
			t.Errorf("%+v: %v", c.r, err)
			continue
		}
		text := p.Radius.Summary + "\n" + strings.Join(p.Radius.Warnings, "\n")
		for _, want := range c.summary {
			if !strings.Contains(text, want) {
				t.Errorf("%s %s says\n%s\nwithout %q", c.r.Kind, c.r.Target, text, want)
			}
		}
		if p.Radius.Summary == "" || strings.Contains(text, "\x1b") {
			t.Errorf("%s %s says %q", c.r.Kind, c.r.Target, text)
		}
		if (p.Refusal == "") != (c.refusal == "") || !strings.Contains(p.Refusal, c.refusal) || p.Forceable != c.forceable {
			t.Errorf("%s %s is refused: %q, %v", c.r.Kind, c.r.Target, p.Refusal, p.Forceable)
		}
	}
	if m.world() != newMachine().world() {
		t.Error("plans changed something: ", m.world())
	}
}

func TestKillThroughTheHost(t *testing.T) {
	m := newMachine()
	store, ledger := respondtest.NewStore(), respondtest.NewLedger()
	h, err := respond.New(respond.DefaultConfig(), []respond.Part{parts(t, m)["kill"]}, respond.Options{Store: store, Ledger: ledger})
	if err != nil {
		t.Fatal(err)
	}
	a, err := h.Order(ctx, respond.Request{Kind: "kill", Target: "77", Actor: "rule:shell"})
	if err != nil || a.State != signal.ActionDone || a.Target != "b00t-77-1z" || fmt.Sprint(m.killed) != "[b00t-77-1z]" || h.Active() != 0 {
		t.Errorf("%+v %v %v", a, err, m.killed)
	}
	if got := fmt.Sprint(ledger.Lines()); got != "[rule:shell kill.apply b00t-77-1z]" {
		t.Error(got)
	}
	for _, force := range []bool{false, true} {
		_, err := h.Order(ctx, respond.Request{Kind: "kill", Target: "init", Actor: "person:ann", Force: force})
		if err == nil || !strings.Contains(err.Error(), "the machine's own") {
			t.Error(force, err)
		}
		_, err = h.Order(ctx, respond.Request{Kind: "kill", Target: "sshd", Actor: "person:ann", Force: force})
		if (err == nil) != force {
			t.Error(force, err)
		}
	}
	if len(m.killed) != 2 {
		t.Error(m.killed)
	}
	m.err = fmt.Errorf("%w: no sensor", respond.ErrUnavailable)
	if _, err := h.Order(ctx, person("kill", "77")); err == nil {
		t.Error("without a hand it is done")
	}
}

func TestConfigs(t *testing.T) {
	for _, bad := range []isolate.Config{{}, {Default: time.Hour, Max: time.Minute, MaxProcesses: 1}, {Default: 1, Max: 2, MaxProcesses: 1},
		{Default: time.Hour, Max: time.Hour, MaxProcesses: 1, Keep: []string{"10.0.0.1"}}, {Default: time.Hour, Max: time.Hour, MaxProcesses: 1, Keep: []string{"[fe80::1%eth0]:1"}},
		{Default: time.Hour, Max: time.Hour, MaxProcesses: 1, Keep: slices.Repeat([]string{"10.0.0.1:1"}, 65)}} {
		if bad.Validate() == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
	for _, bad := range []freeze.Config{{}, {Default: time.Hour, Max: time.Hour}, {Default: time.Hour, Max: 100 * 365 * 24 * time.Hour, MaxProcesses: 5}} {
		if bad.Validate() == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
	for _, bad := range []workload.Protection{{Executables: []string{"sshd"}}, {Executables: []string{"/usr/[bin"}}, {Containers: []string{""}}, {Containers: []string{" x"}}} {
		if bad.Validate() == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
	good := workload.DefaultProtection()
	if err := good.Validate(); err != nil || (&kill.Config{}).Validate() == nil {
		t.Error(err)
	}
}
