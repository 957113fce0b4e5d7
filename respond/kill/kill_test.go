package kill_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/respond"
	"github.com/testudo-sec/testudo/respond/kill"
	"github.com/testudo-sec/testudo/respond/respondtest"
	"github.com/testudo-sec/testudo/respond/workload"
	"github.com/testudo-sec/testudo/respond/workload/workloadtest"
	"github.com/testudo-sec/testudo/signal"
)

func newResponder(t *testing.T, m *workloadtest.Machine) *kill.Responder {
	t.Helper()
	k, err := kill.New(kill.DefaultConfig(), workload.DefaultProtection(), m)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func person(target string) respond.Request { return workloadtest.Person(kill.Kind, target) }
func rule(target string) respond.Request   { return workloadtest.Rule(kill.Kind, target) }

func TestPlans(t *testing.T) {
	m := workloadtest.New()
	workloadtest.Plans(t, m, newResponder(t, m),
		workloadtest.Plan{Request: rule("77"), Says: []string{"Kills nginx (77). It runs in container web (a1b2c3d4a1b2) of shop/web. This cannot be undone."}, SaysNot: []string{"start the container again"}},
		workloadtest.Plan{Request: rule("web"), Says: []string{"Kills all 2 processes of container web (a1b2c3d4a1b2) of shop/web: nginx (77), sh?[2J (78, /bin/busybox).", "Ends 3 connections.",
			"cannot be undone", "may start the container again"}, SaysNot: []string{"It runs in"}},
		workloadtest.Plan{Request: rule("host"), Says: []string{"Kills x (90) and 1 process that it started: y (91)."}, SaysNot: []string{"container", "Ends"}},
		workloadtest.Plan{Request: rule("fake")}, // a name within a container is anybody's to give
		workloadtest.Plan{Request: rule("ended"), Refusal: "it has ended", Says: []string{"Touches nothing"}},
		workloadtest.Plan{Request: rule("init"), Refusal: "process 1 is the machine's own"},
		workloadtest.Plan{Request: person("dns"), Refusal: `lists "kube-system"`},
		workloadtest.Plan{Request: rule("sshd"), Refusal: "respond.protect.executables lists /usr/sbin/sshd", Forceable: true},
		workloadtest.Plan{Request: rule("crowd"), Refusal: "respond.kill.max_processes lets rules touch 200", Forceable: true},
		workloadtest.Plan{Request: person("crowd"), Says: []string{"and 4995 more"}},
	)
}

func TestThroughTheHost(t *testing.T) {
	m := workloadtest.New()
	ledger := respondtest.NewLedger()
	part := newResponder(t, m).Part(respond.Needs{})
	if !part.Momentary {
		t.Error("it is something that can be taken back")
	}
	h, err := respond.New(respond.DefaultConfig(), []respond.Part{part}, respond.Options{Store: respondtest.NewStore(), Ledger: ledger})
	if err != nil {
		t.Fatal(err)
	}
	a, err := h.Order(t.Context(), rule("77"))
	if err != nil || a.State != signal.ActionDone || a.Target != "b00t-77-1z" || h.Active() != 0 {
		t.Errorf("%+v %v", a, err)
	}
	if diff := cmp.Diff([]workload.Order{{Verb: workload.Kill, ID: a.ID, Target: "b00t-77-1z"}}, m.Orders); diff != "" {
		t.Error(diff)
	}
	if got := fmt.Sprint(ledger.Lines()); got != "[rule:shell kill.apply b00t-77-1z]" {
		t.Error(got)
	}
	for _, force := range []bool{false, true} {
		for target, want := range map[string]bool{"init": false, "sshd": force} {
			r := person(target)
			r.Force = force
			if _, err := h.Order(t.Context(), r); (err == nil) != want {
				t.Errorf("%s, forced %v: %v", target, force, err)
			}
		}
	}
	if len(m.Killed) != 2 {
		t.Error(m.Killed)
	}
	if _, err := h.Undo(t.Context(), a.ID, "person:ann", ""); err == nil || len(m.Orders) != 2 {
		t.Errorf("a kill is undone: %v, %v", err, m.Orders)
	}
	m.Err = fmt.Errorf("%w: no sensor", respond.ErrUnavailable)
	if a, err := h.Order(t.Context(), person("77")); err == nil {
		t.Errorf("without a hand it is done: %+v", a)
	}
	if err := newResponder(t, m).Apply(t.Context(), &a); !errors.Is(err, respond.ErrUnavailable) {
		t.Errorf("without a hand it is done: %v", err)
	}
}

func TestConfig(t *testing.T) {
	good := kill.DefaultConfig()
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for _, n := range []int{-1, 0, 1_000_001} {
		bad := kill.Config{MaxProcesses: n}
		if err := bad.Validate(); err == nil || !strings.HasPrefix(err.Error(), "max_processes: ") {
			t.Errorf("%d: %v", n, err)
		}
		if _, err := kill.New(bad, workload.Protection{}, workloadtest.New()); err == nil || !strings.HasPrefix(err.Error(), "respond.kill: ") {
			t.Errorf("%d: %v", n, err)
		}
	}
}
