package respondtest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/respond"
	"github.com/testudo-sec/testudo/signal"
)

// Subject is a responder under test, and the world that it acts on.
type Subject struct {
	Part respond.Part
	// Good are at least two requests of a person for different targets, overlapping ones where
	// the kind has such.
	Good []respond.Request
	// Bad are requests whose targets make no sense.
	Bad []respond.Request
	// World describes everything that the responder could have changed, counters of hits
	// apart: the same text means the same world.
	World func() string
}

// Run checks that a responder keeps its contract. fresh returns a new one in a world of its own.
func Run(t *testing.T, fresh func(t *testing.T) Subject) {
	ctx := context.Background()
	start := time.Now().UTC().Round(0)
	// plan returns the action that each good request makes.
	plan := func(t *testing.T, s Subject) []*signal.Action {
		t.Helper()
		if len(s.Good) < 2 || len(s.Bad) < 1 || s.World == nil {
			t.Fatal("the subject needs two good requests, a bad one and its world")
		}
		var actions []*signal.Action
		for i, r := range s.Good {
			p, err := s.Part.Responder.Plan(ctx, r)
			if err != nil || p.Refusal != "" {
				t.Fatalf("plan of %+v: %q %v", r, p.Refusal, err)
			}
			actions = append(actions, &signal.Action{
				ID: fmt.Sprintf("action-%d", i), Kind: s.Part.Kind, Target: p.Target, Actor: r.Actor, Radius: p.Radius,
				State: signal.ActionActive, Start: start, Until: start.Add(s.Part.Default),
			})
		}
		return actions
	}
	apply := func(t *testing.T, s Subject, actions ...*signal.Action) {
		t.Helper()
		for _, a := range actions {
			if err := s.Part.Responder.Apply(ctx, a); err != nil {
				t.Fatalf("apply %s: %v", a.Target, err)
			}
		}
	}
	undo := func(t *testing.T, s Subject, actions ...*signal.Action) {
		t.Helper()
		for _, a := range actions {
			if err := s.Part.Responder.Undo(ctx, a); err != nil {
				t.Fatalf("undo %s: %v", a.Target, err)
			}
		}
	}
	same := func(t *testing.T, s Subject, want, when string) {
		t.Helper()
		if got := s.World(); got != want {
			t.Errorf("%s: the world is\n%s\nwant\n%s", when, got, want)
		}
	}

	t.Run("states its radius and changes nothing", func(t *testing.T) {
		s := fresh(t)
		before := s.World()
		for i, a := range plan(t, s) {
			if a.Target == "" || a.Radius.Summary == "" {
				t.Errorf("plan of %+v has no target or no summary: %+v", s.Good[i], a)
			}
			again, err := s.Part.Responder.Plan(ctx, respond.Request{Kind: s.Part.Kind, Target: a.Target, Actor: a.Actor})
			if err != nil || again.Target != a.Target {
				t.Errorf("the canonical target %q is planned as %q, %v", a.Target, again.Target, err)
			}
		}
		for _, r := range s.Bad {
			if p, err := s.Part.Responder.Plan(ctx, r); err == nil {
				t.Errorf("a target that makes no sense, %q, is planned as %+v", r.Target, p)
			}
		}
		same(t, s, before, "after plans")
	})

	t.Run("undo restores an equal state", func(t *testing.T) {
		s := fresh(t)
		before := s.World()
		for _, a := range plan(t, s) {
			apply(t, s, a)
			if s.World() == before {
				t.Errorf("apply %s changed nothing", a.Target)
			}
			undo(t, s, a)
			same(t, s, before, "after undo of "+a.Target)
			undo(t, s, a)
			same(t, s, before, "after a second undo of "+a.Target)
		}
	})

	t.Run("apply is idempotent", func(t *testing.T) {
		s := fresh(t)
		before := s.World()
		a := plan(t, s)[0]
		apply(t, s, a)
		once := s.World()
		apply(t, s, a)
		same(t, s, once, "after a second apply")
		longer := *a
		longer.Until = a.Until.Add(time.Minute)
		apply(t, s, &longer)
		undo(t, s, &longer)
		same(t, s, before, "after undo of what was made longer")
	})

	t.Run("undo of one leaves the others", func(t *testing.T) {
		for leave := range plan(t, fresh(t)) {
			s := fresh(t)
			actions := plan(t, s)
			apply(t, s, actions[leave])
			want := s.World()
			others := slices.Delete(slices.Clone(actions), leave, leave+1)
			apply(t, s, others...)
			undo(t, s, others...)
			same(t, s, want, "with only "+actions[leave].Target+" in force")
		}
	})

	t.Run("survives a restart", func(t *testing.T) {
		s := fresh(t)
		actions := plan(t, s)
		apply(t, s, actions...)
		again := fresh(t)
		slices.Reverse(actions)
		apply(t, again, actions...)
		same(t, again, s.World(), "after a restart")
	})

	t.Run("ends at its time limit", func(t *testing.T) {
		s := fresh(t)
		before := s.World()
		now := start
		store, ledger := NewStore(), NewLedger()
		h, err := respond.New(respond.DefaultConfig(), []respond.Part{s.Part}, respond.Options{Store: store, Ledger: ledger, Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range s.Good {
			r.For = 2 * time.Minute
			if _, err := h.Order(ctx, r); err != nil {
				t.Fatal(err)
			}
		}
		now = start.Add(2*time.Minute - 1)
		if n, err := h.Expire(ctx); n != 0 || err != nil {
			t.Errorf("%d actions ended before their limit, %v", n, err)
		}
		if s.World() == before {
			t.Error("nothing is in force")
		}
		now = start.Add(2 * time.Minute)
		if n, err := h.Expire(ctx); n != len(s.Good) || err != nil {
			t.Errorf("%d actions of %d ended, %v", n, len(s.Good), err)
		}
		same(t, s, before, "after the time limit")
	})
}
