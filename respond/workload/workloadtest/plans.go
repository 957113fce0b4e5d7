package workloadtest

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/testudo-sec/testudo/respond"
	"github.com/testudo-sec/testudo/respond/respondtest"
	"github.com/testudo-sec/testudo/respond/workload"
	"github.com/testudo-sec/testudo/signal"
)

// Contract checks that a responder that can be undone keeps the contract of responders on a machine.
func Contract(t *testing.T, kind string, newPart func(*Machine) respond.Part) {
	t.Helper()
	respondtest.Run(t, func(*testing.T) respondtest.Subject {
		m := New()
		return respondtest.Subject{Part: newPart(m), World: m.World,
			Good: []respond.Request{Person(kind, "web"), Person(kind, "host")}, Bad: []respond.Request{Person(kind, "nobody"), Person(kind, "../x")}}
	})
}

// Orders checks that a responder asks the hand of a machine for do when it applies an action, and for undo when it undoes it, with the action's
// id and target, and that it hands on the errors of the hand.
func Orders(t *testing.T, m *Machine, r respond.Responder, do, undo workload.Order) {
	t.Helper()
	a := &signal.Action{ID: "one", Target: m.Known["web"].Target}
	if err := errors.Join(r.Apply(t.Context(), a), r.Undo(t.Context(), a)); err != nil {
		t.Error(err)
	}
	do.ID, do.Target, undo.ID, undo.Target = a.ID, a.Target, a.ID, a.Target
	if diff := cmp.Diff([]workload.Order{do, undo}, m.Orders, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Error(diff)
	}
	m.Err = errors.New("no hand")
	_, err := r.Plan(t.Context(), respond.Request{Target: "web", Actor: "person:ann"})
	for what, err := range map[string]error{"planned": err, "applied": r.Apply(t.Context(), a), "undone": r.Undo(t.Context(), a)} {
		if !errors.Is(err, m.Err) {
			t.Errorf("without a hand it is %s: %v", what, err)
		}
	}
}

// Plans checks what a responder plans, and that plans change nothing of the machine.
func Plans(t *testing.T, m *Machine, r respond.Responder, plans ...Plan) {
	t.Helper()
	before := m.World()
	for _, c := range plans {
		p, err := r.Plan(context.Background(), c.Request)
		if err != nil {
			t.Errorf("%+v: %v", c.Request, err)
			continue
		}
		text := p.Radius.Summary + "\n" + strings.Join(p.Radius.Warnings, "\n")
		for _, want := range c.Says {
			if !strings.Contains(text, want) {
				t.Errorf("%s says\n%s\nwithout %q", c.Request.Target, text, want)
			}
		}
		for _, not := range c.SaysNot {
			if strings.Contains(text, not) {
				t.Errorf("%s says\n%s\nwith %q", c.Request.Target, text, not)
			}
		}
		if p.Radius.Summary == "" || strings.Contains(text, "\x1b") {
			t.Errorf("%s says %q", c.Request.Target, text)
		}
		if (p.Refusal == "") != (c.Refusal == "") || !strings.Contains(p.Refusal, c.Refusal) || p.Forceable != c.Forceable {
			t.Errorf("%s is refused: %q, %v; want %q, %v", c.Request.Target, p.Refusal, p.Forceable, c.Refusal, c.Forceable)
		}
	}
	if m.World() != before || len(m.Orders) > 0 {
		t.Error("plans changed something: ", m.World(), m.Orders)
	}
}
