package respond_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/respond"
	"github.com/testudo-sec/testudo/signal"
)

func TestWhatCannotBeRecordedIsNotDone(t *testing.T) {
	broken := errors.New("disk full")
	s := newStage(t)
	s.ledger.Fail(broken)
	if _, err := s.Order(ctx, lock("front")); !errors.Is(err, broken) || !strings.Contains(err.Error(), "was not done") {
		t.Errorf("no ledger: %v", err)
	}
	s.ledger.Fail(nil)
	if s.door.world() != "" || len(s.store.All()) != 0 || len(s.published) != 0 {
		t.Error("no ledger, and yet something was done")
	}
	s = newStage(t)
	s.mustOrder(t, lock("back")) // the state is read
	s.store.Fail(broken)
	if _, err := s.Order(ctx, lock("front")); !errors.Is(err, broken) || !strings.Contains(err.Error(), "was not done") {
		t.Errorf("no state: %v", err)
	}
	if s.door.isLocked("front") || s.Active() != 1 || len(s.published) != 1 {
		t.Error("no state, and yet something was done")
	}
	if got := s.ledger.Lines(); got[len(got)-1] != "system lock.fail front" {
		t.Errorf("the ledger does not say that it failed: %v", got)
	}
	a := s.List()[0]
	if _, err := s.Order(ctx, lock("back", func(r *respond.Request) { r.For = time.Hour })); !errors.Is(err, broken) {
		t.Errorf("longer without state: %v", err)
	}
	if got := s.List()[0]; !got.Until.Equal(a.Until) {
		t.Error("it lasts longer")
	}
	s.store.Fail(nil)
	s.door.apply = errors.New("stuck")
	f, err := s.Order(ctx, lock("front"))
	if err == nil || f.State != signal.ActionFailed || f.Error != "stuck" || s.stored(f.ID).State != signal.ActionFailed || s.Active() != 1 {
		t.Errorf("%+v %v", f, err)
	}
	if _, err := s.Order(ctx, lock("back", func(r *respond.Request) { r.For = time.Hour })); err == nil || !s.stored(a.ID).Until.Equal(a.Until) {
		t.Errorf("longer though stuck: %v", err)
	}
	s.door.apply = nil
	s.mustOrder(t, lock("front"))
}

func TestLiftingIsAlwaysPossible(t *testing.T) {
	broken := errors.New("disk full")
	s := newStage(t)
	a, b := s.mustOrder(t, lock("front")), s.mustOrder(t, lock("back"))
	s.store.Fail(broken)
	s.ledger.Fail(broken)
	u, err := s.Undo(ctx, a.ID, "person:ann", "mistake")
	if !errors.Is(err, respond.ErrUnrecorded) || u.State != signal.ActionUndone || s.door.isLocked("front") {
		t.Fatalf("%+v %v", u, err)
	}
	if got, err := s.Get(ctx, a.ID); err != nil || got.State != signal.ActionUndone {
		t.Errorf("what is owed is not shown: %+v %v", got, err)
	}
	s.now = b.Until
	if n, err := s.Expire(ctx); n != 1 || !errors.Is(err, respond.ErrUnrecorded) {
		t.Errorf("expiry: %d %v", n, err)
	}
	if h := s.Health(); h.Owed != 4 || len(h.Degraded) != 1 || s.door.world() != "" {
		t.Errorf("%+v, in force %q", h, s.door.world())
	}
	s.ledger.Fail(nil)
	s.store.Fail(nil)
	if _, err := s.Expire(ctx); err != nil {
		t.Fatal(err)
	}
	if h := s.Health(); h.Owed != 0 || len(h.Degraded) != 0 {
		t.Errorf("%+v", h)
	}
	if s.stored(a.ID).State != signal.ActionUndone || s.stored(b.ID).State != signal.ActionExpired {
		t.Errorf("%+v", s.store.All())
	}
	entries := s.ledger.Entries()
	if len(entries) != 4 || entries[2].Verb != "lock.undo" || entries[2].Actor != "person:ann" || entries[2].Detail["at"] != "2026-03-01T12:00:00Z" {
		t.Errorf("%+v", entries[2:])
	}
}

func TestOlderDebtsDoNotComeBack(t *testing.T) {
	broken := errors.New("disk full")
	for _, brokenStill := range []bool{false, true} {
		s := newStage(t)
		a := s.mustOrder(t, lock("front"))
		// Making it longer fails half way: the old limit is owed to the state.
		s.store.FailAfter(1, broken)
		s.door.apply = errors.New("stuck")
		if _, err := s.Order(ctx, lock("front", func(r *respond.Request) { r.For = time.Hour })); err == nil || s.Health().Owed != 1 {
			t.Errorf("%v, %d owed", err, s.Health().Owed)
		}
		want := 1 // the action is owed once, as it is now
		if !brokenStill {
			s.store.Fail(nil)
			want = 0
		}
		if _, err := s.Undo(ctx, a.ID, "person:ann", ""); errors.Is(err, respond.ErrUnrecorded) != brokenStill {
			t.Fatal(err)
		}
		if owed := s.Health().Owed; owed != want {
			t.Errorf("%d owed, want %d", owed, want)
		}
		s.store.Fail(nil)
		if _, err := s.Expire(ctx); err != nil {
			t.Fatal(err)
		}
		if got := s.stored(a.ID); got.State != signal.ActionUndone {
			t.Errorf("%+v came back", got)
		}
	}
}

func TestUndoThatFailsKeepsItInForce(t *testing.T) {
	s := newStage(t)
	a := s.mustOrder(t, lock("front"))
	s.door.undo = errors.New("jammed")
	if _, err := s.Undo(ctx, a.ID, "person:ann", ""); err == nil || errors.Is(err, respond.ErrUnrecorded) || s.Active() != 1 {
		t.Errorf("%v", err)
	}
	s.now = a.Until
	if n, err := s.Expire(ctx); n != 0 || err == nil {
		t.Errorf("%d %v", n, err)
	}
	s.door.undo = nil
	if n, err := s.Expire(ctx); n != 0 || err != nil {
		t.Errorf("tried again at once: %d %v", n, err)
	}
	s.now = s.now.Add(5 * time.Second)
	if n, err := s.Expire(ctx); n != 1 || err != nil || s.stored(a.ID).State != signal.ActionExpired {
		t.Errorf("%d %v", n, err)
	}
}

func TestARequestThatGoesAwayIsNotCutInTwo(t *testing.T) {
	s := newStage(t)
	c, cancel := context.WithCancel(ctx)
	s.store.Writes = func(signal.Action) { cancel() }
	a, err := s.Order(c, lock("front"))
	if err != nil || !s.door.isLocked("front") || s.stored(a.ID).State != signal.ActionActive {
		t.Errorf("%+v %v", a, err)
	}
}
