package freeze_test

import (
	"strings"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/respond"
	"github.com/testudo-sec/testudo/respond/freeze"
	"github.com/testudo-sec/testudo/respond/workload"
	"github.com/testudo-sec/testudo/respond/workload/workloadtest"
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
	workloadtest.Contract(t, freeze.Kind, func(m *workloadtest.Machine) respond.Part { return newResponder(t, m).Part(respond.Needs{}) })
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

func TestOrders(t *testing.T) {
	m := workloadtest.New()
	workloadtest.Orders(t, m, newResponder(t, m), workload.Order{Verb: workload.Freeze}, workload.Order{Verb: workload.Thaw})
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
