// Package workloadtest is a hand on a machine that is made up, for the tests of the responders that act on processes and containers.
package workloadtest

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/respond"
	"github.com/testudo-sec/testudo/respond/workload"
)

// Machine is a workload.Hand whose processes and containers are made up: "web" is a container of two processes, "77" one of them, "host" a
// process of the machine with one that it started, "sshd" and "fake" are called alike, "init" is refused, "dns" is protected, "crowd" is
// large, "ended" has ended. It is for one goroutine.
type Machine struct {
	Known  map[string]workload.Done
	Frozen map[string]string // target by id of the action
	Cut    map[string]string // likewise
	Killed []string
	Keep   []netip.AddrPort // of the last isolation
	Orders []workload.Order // all that came, looks apart
	Err    error            // of every order, if set
}

// New returns a machine on which nothing was done yet.
func New() *Machine {
	web := workload.Container{ID: strings.Repeat("a1b2c3d4", 8), Name: "web", Image: "shop/web"}
	one := workload.Process{PID: 77, Name: "nginx", Exe: "/usr/sbin/nginx"}
	return &Machine{Frozen: map[string]string{}, Cut: map[string]string{}, Known: map[string]workload.Done{
		"web":   {Target: web.ID, Container: web, Processes: []workload.Process{one, {PID: 78, Name: "sh\x1b[2J", Exe: "/bin/busybox"}}, Count: 2, Connections: 3},
		"77":    {Target: "b00t-77-1z", Container: web, Processes: []workload.Process{one}, Count: 1},
		"host":  {Target: "b00t-90-1z", Processes: []workload.Process{{PID: 90, Name: "x", Exe: "/tmp/x"}, {PID: 91, Name: "y", Exe: "/tmp/y"}}, Count: 2},
		"sshd":  {Target: "b00t-91-1z", Processes: []workload.Process{{PID: 91, Name: "sshd", Exe: "/usr/sbin/sshd"}}, Count: 1},
		"fake":  {Target: "b00t-92-1z", Container: web, Processes: []workload.Process{{PID: 92, Name: "sshd", Exe: "/usr/sbin/sshd"}}, Count: 1},
		"init":  {Target: "b00t-1-0", Processes: []workload.Process{{PID: 1, Name: "init"}}, Count: 1, Refusal: "process 1 is the machine's own"},
		"dns":   {Target: "0123456789abcdef", Container: workload.Container{ID: "0123456789abcdef", Name: "coredns", Pod: "coredns-1", Namespace: "kube-system"}, Count: 1, Processes: []workload.Process{{PID: 5, Name: "coredns"}}},
		"crowd": {Target: "fedcba9876543210", Container: workload.Container{ID: "fedcba9876543210"}, Count: 5000, Processes: slices.Repeat([]workload.Process{one}, 256), Sharing: []workload.Process{{PID: 6, Name: "pause"}}},
		"pod":   {Target: "00112233445566aa", Container: workload.Container{ID: "00112233445566aa", Name: "app", Pod: "app-1", Namespace: "shop"}, Count: 1, Processes: []workload.Process{one}},
	}}
}

// Do implements workload.Hand.
func (m *Machine) Do(_ context.Context, o workload.Order) (workload.Done, error) {
	if o.Verb != workload.Radius {
		m.Orders = append(m.Orders, o)
	}
	if m.Err != nil {
		return workload.Done{}, m.Err
	}
	d, ok := m.Known[o.Target]
	if !ok {
		for _, one := range m.Known {
			if one.Target == o.Target {
				d, ok = one, true
			}
		}
	}
	switch {
	case o.Verb == workload.Thaw:
		delete(m.Frozen, o.ID)
	case o.Verb == workload.Join:
		delete(m.Cut, o.ID)
	case o.Target == "ended":
		return d, fmt.Errorf("process 7: %w", workload.ErrGone)
	case !ok:
		return d, fmt.Errorf("%q is no process and no container", o.Target)
	case o.Verb == workload.Kill:
		m.Killed = append(m.Killed, d.Target)
	case o.Verb == workload.Freeze:
		m.Frozen[o.ID] = d.Target
	case o.Verb == workload.Isolate:
		m.Cut[o.ID], m.Keep = d.Target, o.Keep
	}
	return d, nil
}

// World describes all that was done.
func (m *Machine) World() string { return fmt.Sprint(m.Frozen, m.Cut, m.Killed) }

// Person returns what a person asks for.
func Person(kind, target string) respond.Request {
	return respond.Request{Kind: kind, Target: target, Actor: "person:ann", For: time.Hour}
}

// Rule returns what a rule asks for.
func Rule(kind, target string) respond.Request {
	return respond.Request{Kind: kind, Target: target, Actor: "rule:shell"}
}

// Plan is a request and what is expected of its plan.
type Plan struct {
	Request respond.Request
	// Says are pieces of the summary and the warnings, each of which must be there; SaysNot must not.
	Says, SaysNot []string
	// Refusal is a piece of the refusal; "" is for none.
	Refusal   string
	Forceable bool
}
