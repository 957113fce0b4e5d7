package freeze_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/respond"
	"github.com/testudo-sec/testudo/respond/freeze"
	"github.com/testudo-sec/testudo/respond/respondtest"
	"github.com/testudo-sec/testudo/respond/workload"
	"github.com/testudo-sec/testudo/respond/workload/workloadtest"
	"github.com/testudo-sec/testudo/signal"
)

func newResponder(t *testing.T, m *workloadtest.Machine) *freeze.Responder {
	t.Helper()
	f, err := freeze.New(freeze.DefaultConfig(), workload.DefaultProtection(), m)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func person(target string) respond.Request { return workloadtest.Person(freeze.Kind, target) }
func rule(target string) respond.Request   { return workloadtest.Rule(freeze.Kind, target) }

func TestContract(t *testing.T) {
	respondtest.Run(t, func(t *testing.T) respondtest.Subject {
		m := workloadtest.New()
		return respondtest.Subject{Part: newResponder(t, m).Part(respond.Needs{}), World: m.World,
			Good: []respond.Request{person("web"), person("host")}, Bad: []respond.Request{person("nobody"), person("../x")}}
	})
}

func TestPlans(t *testing.T) {
	m := workloadtest.New()
	workloadtest.Plans(t, m, newResponder(t, m),
		workloadtest.Plan{Request: rule("web"), Says: []string{"Has all 2 processes of container web (a1b2c3d4a1b2) of shop/web stand still until they are let go on: nginx (77), sh?[2J",
			"3 connections wait and may time out"}, SaysNot: []string{"liveness"}},
		workloadtest.Plan{Request: rule("host"), Says: []string{"of its unit"}, SaysNot: []string{"container", "connection"}},
		workloadtest.Plan{Request: rule("pod"), Says: []string{"in pod shop/app-1", "a liveness probe that gets no answer restarts the container"}},
		workloadtest.Plan{Request: rule("ended"), Refusal: "it has ended", Says: []string{"Touches nothing"}},
		workloadtest.Plan{Request: rule("init"), Refusal: "process 1 is the machine's own"},
		workloadtest.Plan{Request: person("dns"), Refusal: `lists "kube-system"`},
		workloadtest.Plan{Request: rule("sshd"), Refusal: "respond.protect.executables lists /usr/sbin/sshd", Forceable: true},
		workloadtest.Plan{Request: rule("crowd"), Refusal: "respond.freeze.max_processes lets rules touch 200", Forceable: true},
		workloadtest.Plan{Request: person("crowd"), Says: []string{"5000 processes", "and 4995 more"}},
	)
}

// What is asked of the hand, and what becomes of its answers.
func TestOrders(t *testing.T) {
	m := workloadtest.New()
	f := newResponder(t, m)
	a := &signal.Action{ID: "one", Target: m.Known["web"].Target}
	if err := errors.Join(f.Apply(t.Context(), a), f.Undo(t.Context(), a)); err != nil {
		t.Error(err)
	}
	want := []workload.Order{{Verb: workload.Freeze, ID: "one", Target: a.Target}, {Verb: workload.Thaw, ID: "one", Target: a.Target}}
	if diff := cmp.Diff(want, m.Orders); diff != "" {
		t.Error(diff)
	}
	m.Err = errors.New("no hand")
	if err := f.Apply(t.Context(), a); !errors.Is(err, m.Err) {
		t.Errorf("without a hand it is applied: %v", err)
	}
	if err := f.Undo(t.Context(), a); !errors.Is(err, m.Err) {
		t.Errorf("without a hand it is undone: %v", err)
	}
	if _, err := f.Plan(t.Context(), person("web")); !errors.Is(err, m.Err) {
		t.Errorf("without a hand it is planned: %v", err)
	}
}

func TestConfig(t *testing.T) {
	good := freeze.DefaultConfig()
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for want, bad := range map[string]freeze.Config{
		"default: 0s":    {},
		"default: 1h0m":  {Default: time.Hour, Max: time.Minute, MaxProcesses: 5},
		"max: 876000h":   {Default: time.Hour, Max: 100 * 365 * 24 * time.Hour, MaxProcesses: 5},
		"max_processes:": {Default: time.Hour, Max: time.Hour},
	} {
		err := bad.Validate()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", bad, err, want)
		}
		if _, err := freeze.New(bad, workload.Protection{}, workloadtest.New()); err == nil || !strings.HasPrefix(err.Error(), "respond.freeze: ") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	part := newResponder(t, workloadtest.New()).Part(respond.Needs{})
	if part.Kind != freeze.Kind || part.Momentary || part.Default != good.Default || part.Max != good.Max {
		t.Errorf("%+v", part)
	}
}
