package respond_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/respond"
	"github.com/testudo-sec/testudo/respond/respondtest"
	"github.com/testudo-sec/testudo/signal"
)

// bell rings once and cannot be undone.
type bell struct {
	rung []string
	err  error
	die  func() // called when it has rung
}

func (b *bell) Plan(_ context.Context, r respond.Request) (respond.Plan, error) {
	return respond.Plan{Target: r.Target, Radius: signal.Radius{Summary: "Rings " + r.Target + "."}}, nil
}

func (b *bell) Apply(_ context.Context, a *signal.Action) error {
	if b.err == nil {
		b.rung = append(b.rung, a.Target)
	}
	if b.die != nil {
		b.die()
	}
	return b.err
}

func (b *bell) Undo(context.Context, *signal.Action) error { return nil }

func TestMomentary(t *testing.T) {
	b := &bell{}
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	store, ledger := respondtest.NewStore(), respondtest.NewLedger()
	start := func() *respond.Host {
		h, err := respond.New(respond.DefaultConfig(), []respond.Part{{Kind: "ring", Momentary: true, Default: time.Minute, Max: time.Minute, Responder: b}},
			respond.Options{Store: store, Ledger: ledger, Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	h := start()
	ring := respond.Request{Kind: "ring", Target: "front", Actor: "person:ann", For: 24 * time.Hour} // how long means nothing here
	a, err := h.Order(ctx, ring)
	if err != nil || a.State != signal.ActionDone || !a.End.Equal(now) || !a.Until.Equal(now.Add(time.Minute)) || h.Active() != 0 {
		t.Fatalf("%+v %v", a, err)
	}
	if got, _, _ := store.Action(ctx, a.ID); got.State != signal.ActionDone {
		t.Errorf("%+v", got)
	}
	if u, err := h.Undo(ctx, a.ID, "person:ann", ""); !errors.Is(err, respond.ErrMomentary) || u.State != signal.ActionDone {
		t.Errorf("%+v %v", u, err)
	}
	// The same again is done again: there is nothing in force to make longer.
	if again, err := h.Order(ctx, ring); err != nil || again.ID == a.ID || fmt.Sprint(b.rung) != "[front front]" {
		t.Errorf("%+v %v %v", again, err, b.rung)
	}
	now = now.Add(time.Hour)
	if n, err := h.Expire(ctx); n != 0 || err != nil {
		t.Errorf("%d ended, %v", n, err)
	}
	// What fails is a failure.
	b.err = errors.New("stuck")
	if f, err := h.Order(ctx, ring); err == nil || f.State != signal.ActionFailed {
		t.Errorf("%+v %v", f, err)
	}
	b.err = nil
	// The state cannot be written when it is done: it is owed, and done.
	b.die = func() { store.Fail(errors.New("disk full")) }
	if d, err := h.Order(ctx, ring); err != nil || d.State != signal.ActionDone || h.Health().Owed != 1 {
		t.Errorf("%+v %v %+v", d, err, h.Health())
	}
	store.Fail(nil)
	b.die = nil
	// testudo ended between: it is not done a second time, and not called done.
	before := len(b.rung)
	h = start()
	if _, err := h.Expire(ctx); err != nil {
		t.Fatal(err)
	}
	var failed int
	for _, a := range store.All() {
		if a.State == signal.ActionActive {
			t.Errorf("still in force: %+v", a)
		}
		if a.State == signal.ActionFailed {
			failed++
		}
	}
	if len(b.rung) != before || failed != 2 || h.Active() != 0 {
		t.Errorf("rung %v, %d failed", b.rung, failed)
	}
}

// sleepy is a door whose hand does not answer.
type sleepy struct {
	*door
	away bool
}

func (s *sleepy) Apply(ctx context.Context, a *signal.Action) error {
	if s.away {
		return fmt.Errorf("nobody is there: %w", respond.ErrUnavailable)
	}
	return s.door.Apply(ctx, a)
}

func (s *sleepy) Undo(ctx context.Context, a *signal.Action) error {
	if s.away {
		return fmt.Errorf("nobody is there: %w", respond.ErrUnavailable)
	}
	return s.door.Undo(ctx, a)
}

// What a restart cannot put in force again, because who does it is not there yet, is not forgotten: it is lifted at its limit.
func TestRestartWithoutTheHand(t *testing.T) {
	d := &sleepy{door: newDoor()}
	part := d.part()
	part.Responder = d
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	store, ledger := respondtest.NewStore(), respondtest.NewLedger()
	start := func() *respond.Host {
		h, err := respond.New(respond.DefaultConfig(), []respond.Part{part}, respond.Options{Store: store, Ledger: ledger, Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	a, err := start().Order(ctx, lock("front"))
	if err != nil {
		t.Fatal(err)
	}
	d.away = true
	h := start()
	if _, err := h.Expire(ctx); err != nil || h.Active() != 1 {
		t.Fatalf("%d in force, %v", h.Active(), err)
	}
	now = a.Until
	if n, err := h.Expire(ctx); n != 0 || err == nil || !d.isLocked("front") {
		t.Errorf("%d ended, %v", n, err)
	}
	d.away = false
	now = now.Add(time.Minute)
	if n, err := h.Expire(ctx); n != 1 || err != nil || d.isLocked("front") {
		t.Errorf("%d ended, %v", n, err)
	}
}
