package respond_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/testudo-sec/testudo/respond"
	"github.com/testudo-sec/testudo/respond/respondtest"
	"github.com/testudo-sec/testudo/signal"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctx = context.Background()

// door is a responder that locks doors, named by lower-case letters.
type door struct {
	mu     sync.Mutex
	locked map[string]time.Time // by id of the action
	names  map[string]string
	apply  error
	undo   error
	hits   uint64
}

func newDoor() *door { return &door{locked: map[string]time.Time{}, names: map[string]string{}} }

func (d *door) part() respond.Part {
	return respond.Part{Kind: "lock", Default: 10 * time.Minute, Max: time.Hour, Responder: d}
}

func (d *door) Plan(_ context.Context, r respond.Request) (respond.Plan, error) {
	name := strings.ToLower(r.Target)
	p := respond.Plan{Target: name, Radius: signal.Radius{Summary: "locks " + name}, Group: name[:1]}
	switch {
	case strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789") != "":
		return p, errors.New("no door")
	case strings.HasPrefix(name, "exit"):
		p.Refusal, p.Forceable = "it is the way out", true
	case name == "vault":
		p.Refusal = "it is never locked"
	}
	return p, nil
}

func (d *door) Apply(_ context.Context, a *signal.Action) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.apply != nil {
		return d.apply
	}
	d.locked[a.ID], d.names[a.ID] = a.Until, a.Target
	return nil
}

func (d *door) Undo(_ context.Context, a *signal.Action) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.undo != nil {
		return d.undo
	}
	delete(d.locked, a.ID)
	return nil
}

func (d *door) Hits(*signal.Action) uint64 { return d.hits }

func (d *door) world() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var lines []string
	for id := range maps.Keys(d.locked) {
		lines = append(lines, d.names[id]+" "+d.locked[id].Format(time.RFC3339))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func (d *door) isLocked(name string) bool { return strings.Contains("\n"+d.world(), "\n"+name+" ") }

func TestDoorKeepsTheContract(t *testing.T) {
	respondtest.Run(t, func(*testing.T) respondtest.Subject {
		d := newDoor()
		return respondtest.Subject{
			Part: d.part(), World: d.world,
			Good: []respond.Request{{Kind: "lock", Target: "Front", Actor: "person:ann"}, {Kind: "lock", Target: "back", Actor: "person:ann"}},
			Bad:  []respond.Request{{Kind: "lock", Target: "../x", Actor: "person:ann"}},
		}
	})
}

// stage is a host with what it stands on.
type stage struct {
	*respond.Host
	door      *door
	store     *respondtest.Store
	ledger    *respondtest.Ledger
	now       time.Time
	published []signal.Action
	metrics   *prometheus.Registry
}

func newStage(t testing.TB, change ...func(*respond.Config)) *stage {
	s := &stage{door: newDoor(), store: respondtest.NewStore(), ledger: respondtest.NewLedger(), now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	s.restart(t, change...)
	return s
}

// restart forgets what was in force, as the end of the process does.
func (s *stage) restart(t testing.TB, change ...func(*respond.Config)) {
	cfg := respond.DefaultConfig()
	for _, f := range change {
		f(&cfg)
	}
	s.door.locked = map[string]time.Time{}
	s.metrics = prometheus.NewRegistry()
	var err error
	s.Host, err = respond.New(cfg, []respond.Part{s.door.part(), {Kind: "nowhere", Needs: respond.Needs{OS: []string{"plan9"}}, Default: 1, Max: 1, Responder: s.door}},
		respond.Options{Store: s.store, Ledger: s.ledger, Now: func() time.Time { return s.now }, Metrics: s.metrics,
			Publish: func(a signal.Action) { s.published = append(s.published, a) }})
	if err != nil {
		t.Fatal(err)
	}
}

// metric returns the sum of a metric where a label has that value.
func (s *stage) metric(t testing.TB, name, label string) (sum float64) {
	t.Helper()
	families, err := s.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			wanted := label == ""
			for _, l := range m.GetLabel() {
				wanted = wanted || l.GetValue() == label
			}
			if f.GetName() == name && wanted {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

func lock(target string, change ...func(*respond.Request)) respond.Request {
	r := respond.Request{Kind: "lock", Target: target, Actor: "person:ann", Reason: "because"}
	for _, f := range change {
		f(&r)
	}
	return r
}

func rule(r *respond.Request)  { r.Actor = "rule:edge.waf" }
func force(r *respond.Request) { r.Force = true }

func (s *stage) mustOrder(t testing.TB, r respond.Request) signal.Action {
	t.Helper()
	a, err := s.Order(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (s *stage) stored(id string) signal.Action {
	a, _, _ := s.store.Action(ctx, id)
	return a
}

func TestOrderAndUndo(t *testing.T) {
	s := newStage(t)
	var order []string
	s.store.Writes = func(a signal.Action) {
		order = append(order, fmt.Sprintf("%d in the ledger, %s committed, locked %v, %d published", len(s.ledger.Entries()), a.State, s.door.isLocked("front"), len(s.published)))
	}
	a := s.mustOrder(t, lock("FRONT"))
	want := signal.Action{ID: a.ID, Kind: "lock", Target: "front", Actor: "person:ann", Reason: "because", Radius: signal.Radius{Summary: "locks front"},
		State: signal.ActionActive, Start: s.now, Until: s.now.Add(10 * time.Minute)}
	if diff := cmp.Diff(want, a); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want, s.stored(a.ID)); diff != "" {
		t.Error("the state has", diff)
	}
	if !s.door.isLocked("front") || s.metric(t, "testudo_respond_active_actions", "") != 1 || s.metric(t, "testudo_respond_orders_total", "done") != 1 {
		t.Error("not in force, or not counted")
	}
	s.now = s.now.Add(time.Minute)
	s.door.hits = 7
	u, err := s.Undo(ctx, a.ID, "person:bob", "a mistake")
	if err != nil || u.State != signal.ActionUndone || u.UndoneBy != "person:bob" || !u.End.Equal(s.now) || u.Hits != 7 {
		t.Errorf("%+v %v", u, err)
	}
	if s.door.world() != "" || s.Active() != 0 {
		t.Error("still in force")
	}
	if diff := cmp.Diff(u, s.stored(a.ID)); diff != "" {
		t.Error("the state has", diff)
	}
	if again, err := s.Undo(ctx, a.ID, "person:eve", ""); err != nil || again.UndoneBy != "person:bob" {
		t.Errorf("a second undo: %+v %v", again, err)
	}
	if diff := cmp.Diff([]string{"person:ann lock.apply front", "person:bob lock.undo front"}, s.ledger.Lines()); diff != "" {
		t.Error(diff)
	}
	detail := s.ledger.Entries()[0].Detail
	if detail["id"] != a.ID || detail["radius"] != "locks front" || detail["until"] != "2026-03-01T12:10:00Z" || detail["reason"] != "because" {
		t.Errorf("%v", detail)
	}
	// Ledger, then state, then force, then the world hears of it; and back.
	if diff := cmp.Diff([]string{"1 in the ledger, active committed, locked false, 0 published", "1 in the ledger, undone committed, locked false, 1 published"}, order); diff != "" {
		t.Error(diff)
	}
	if len(s.published) != 2 || s.published[1].State != signal.ActionUndone {
		t.Errorf("published %+v", s.published)
	}
	if _, err := s.Undo(ctx, "none", "person:ann", ""); !errors.Is(err, respond.ErrNotFound) {
		t.Errorf("undo of nothing: %v", err)
	}
}

func TestRequestsThatMakeNoSense(t *testing.T) {
	s := newStage(t)
	for name, c := range map[string]struct {
		r    respond.Request
		want error
	}{
		"no actor":        {lock("a", func(r *respond.Request) { r.Actor = "" }), respond.ErrRequest},
		"unknown actor":   {lock("a", func(r *respond.Request) { r.Actor = "root" }), respond.ErrRequest},
		"nameless actor":  {lock("a", func(r *respond.Request) { r.Actor = "person:" }), respond.ErrRequest},
		"no target":       {lock(""), respond.ErrRequest},
		"bad target":      {lock("../x"), respond.ErrRequest},
		"endless target":  {lock(strings.Repeat("a", 1000)), respond.ErrRequest},
		"negative":        {lock("a", func(r *respond.Request) { r.For = -1 }), respond.ErrRequest},
		"too long":        {lock("a", func(r *respond.Request) { r.For = 61 * time.Minute }), respond.ErrRequest},
		"unknown kind":    {lock("a", func(r *respond.Request) { r.Kind = "melt" }), respond.ErrUnavailable},
		"not on this one": {lock("a", func(r *respond.Request) { r.Kind = "nowhere" }), respond.ErrUnavailable},
	} {
		if _, err := s.Order(ctx, c.r); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := s.Preview(ctx, c.r); !errors.Is(err, c.want) {
			t.Errorf("preview, %s: %v", name, err)
		}
	}
	if len(s.store.All()) != 0 || len(s.ledger.Entries()) != 0 {
		t.Error("something was recorded")
	}
	if diff := cmp.Diff([]respond.PartStatus{{Kind: "lock"}, {Kind: "nowhere", Missing: s.Parts()[1].Missing}}, s.Parts()); diff != "" || !strings.Contains(s.Parts()[1].Missing, "plan9") {
		t.Errorf("%s %+v", diff, s.Parts())
	}
}

func TestProtectedTargets(t *testing.T) {
	s := newStage(t)
	for _, c := range []struct {
		r       respond.Request
		refused bool
	}{
		{lock("exit1", rule), true}, {lock("exit1", rule, force), true}, {lock("exit1"), true}, {lock("exit1", force), false},
		{lock("vault"), true}, {lock("vault", force), true}, {lock("front"), false},
	} {
		a, err := s.Order(ctx, c.r)
		if errors.Is(err, respond.ErrRefused) != c.refused || !c.refused && err != nil {
			t.Errorf("%+v: %v", c.r, err)
		}
		if c.refused && (a.State != signal.ActionRefused || a.Error == "" || s.door.isLocked(a.Target)) {
			t.Errorf("%+v: %+v", c.r, a)
		}
		if !c.refused && !s.door.isLocked(a.Target) {
			t.Errorf("%+v is not in force", c.r)
		}
	}
	all := s.store.All()
	// The rule's second order was the same and is not recorded again.
	if len(all) != 6 || !slices.ContainsFunc(all, func(a signal.Action) bool {
		return slices.Contains(a.Radius.Warnings, "forced by person:ann although it is the way out")
	}) {
		t.Errorf("%d actions are stored: %+v", len(all), all)
	}
	s.now = s.now.Add(11 * time.Minute)
	if _, err := s.Order(ctx, lock("exit1", rule)); !errors.Is(err, respond.ErrRefused) || len(s.store.All()) != 7 {
		t.Errorf("after Config.RefusalEvery: %d actions are stored, %v", len(s.store.All()), err)
	}
}

func TestSameTargetLastsLonger(t *testing.T) {
	s := newStage(t)
	a := s.mustOrder(t, lock("front"))
	start := s.now
	for _, c := range []struct {
		name  string
		after time.Duration
		r     respond.Request
		until time.Duration
		lines int
	}{
		{"a shorter one changes nothing", 0, lock("front", func(r *respond.Request) { r.For = time.Minute }), 10 * time.Minute, 1},
		{"a rule's small gain is not written", 30 * time.Second, lock("front", rule), 10 * time.Minute, 1},
		{"a rule's large gain is", 5 * time.Minute, lock("Front", rule), 15 * time.Minute, 2},
		{"a person's small gain is", 5*time.Minute + time.Second, lock("front"), 15*time.Minute + time.Second, 3},
	} {
		s.now = start.Add(c.after)
		if v, err := s.Preview(ctx, c.r); err != nil || v.Extends != a.ID {
			t.Errorf("%s: preview %+v %v", c.name, v, err)
		}
		got := s.mustOrder(t, c.r)
		if got.ID != a.ID || !got.Until.Equal(start.Add(c.until)) || got.Actor != "person:ann" {
			t.Errorf("%s: %+v", c.name, got)
		}
		if stored := s.stored(a.ID); !stored.Until.Equal(got.Until) {
			t.Errorf("%s: stored until %v", c.name, stored.Until)
		}
		if n := len(s.ledger.Entries()); n != c.lines {
			t.Errorf("%s: %d records, want %d", c.name, n, c.lines)
		}
	}
	if s.ledger.Lines()[1] != "rule:edge.waf lock.extend front" || s.Active() != 1 {
		t.Errorf("%v", s.ledger.Lines())
	}
	// Its limit has passed, though nobody ended it: the next order is a new action.
	s.now = start.Add(time.Hour)
	b := s.mustOrder(t, lock("front"))
	if b.ID == a.ID || s.stored(a.ID).State != signal.ActionExpired || s.Active() != 1 || !s.door.isLocked("front") {
		t.Errorf("%+v after %+v", b, s.stored(a.ID))
	}
}

func TestRestart(t *testing.T) {
	s := newStage(t)
	short := s.mustOrder(t, lock("short", func(r *respond.Request) { r.For = time.Minute }))
	long := s.mustOrder(t, lock("long", rule))
	forbidden := s.mustOrder(t, lock("exit2", force))
	forbidden.Target = "vault" // since then, the configuration says never
	foreign := signal.Action{ID: "foreign", Kind: "nowhere", Target: "x", State: signal.ActionActive, Until: s.now.Add(time.Hour)}
	if err := s.store.PutActions(ctx, &forbidden, &foreign); err != nil {
		t.Fatal(err)
	}
	long.Hits = 4
	if err := s.store.PutActions(ctx, &long); err != nil {
		t.Fatal(err)
	}
	s.now = s.now.Add(2 * time.Minute)
	s.door.hits = 3
	s.restart(t)
	s.store.Fail(errors.New("locked"))
	if _, err := s.Order(ctx, lock("front")); err == nil || !strings.Contains(err.Error(), "not known yet") || len(s.Health().Degraded) != 1 {
		t.Errorf("an order before the state is read: %v", err)
	}
	s.store.Fail(nil)
	if n, err := s.Expire(ctx); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	list := s.List()
	if len(list) != 1 || list[0].ID != long.ID || list[0].Hits != 7 || s.door.world() != "long 2026-03-01T12:10:00Z" {
		t.Errorf("in force %q, listed %+v", s.door.world(), list)
	}
	if got := s.stored(short.ID); got.State != signal.ActionExpired || !got.End.Equal(short.Until) {
		t.Errorf("%+v", got)
	}
	if got := s.stored(forbidden.ID); got.State != signal.ActionUndone || got.UndoneBy != "system" {
		t.Errorf("%+v", got)
	}
	if got := s.stored("foreign"); got.State != signal.ActionActive || s.Health().Unmanaged != 1 {
		t.Errorf("%+v", got)
	}
	if _, err := s.Undo(ctx, "foreign", "person:ann", ""); !errors.Is(err, respond.ErrUnavailable) {
		t.Errorf("undo of what does not run here: %v", err)
	}
	// It is the same action still.
	if a := s.mustOrder(t, lock("long")); a.ID != long.ID {
		t.Errorf("%+v", a)
	}
	if _, err := s.Undo(ctx, long.ID, "person:ann", ""); err != nil || s.door.world() != "" {
		t.Errorf("undo after a restart: %v", err)
	}
	broken := s.mustOrder(t, lock("front"))
	s.door.apply = errors.New("stuck")
	s.restart(t)
	if _, err := s.Expire(ctx); err != nil || s.stored(broken.ID).State != signal.ActionFailed || s.Active() != 0 {
		t.Errorf("%+v %v", s.stored(broken.ID), err)
	}
}

func TestRunEndsActionsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		h, err := respond.New(respond.DefaultConfig(), []respond.Part{s.door.part()}, respond.Options{Store: s.store, Ledger: s.ledger})
		if err != nil {
			t.Fatal(err)
		}
		run, cancel := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- h.Run(run) }()
		for i, target := range []string{"one", "two", "three"} {
			if _, err := h.Order(ctx, lock(target, func(r *respond.Request) { r.For = time.Duration(3-i) * 10 * time.Minute })); err != nil {
				t.Fatal(err)
			}
		}
		for i, want := range []int{3, 2, 1, 0} {
			synctest.Wait()
			if h.Active() != want || len(strings.Fields(s.door.world())) != 2*want {
				t.Errorf("after %d minutes: %d are in force: %s", 10*i, h.Active(), s.door.world())
			}
			time.Sleep(10 * time.Minute)
		}
		// What rules submit is carried out, once.
		for range 5 {
			if !h.Submit(lock("four", rule)) {
				t.Error("not queued")
			}
		}
		synctest.Wait()
		if h.Active() != 1 {
			t.Errorf("%d are in force", h.Active())
		}
		if h.Submit(lock("five")) {
			t.Error("a person's order was queued")
		}
		s.door.hits = 9
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		a := h.List()[0]
		if got := s.stored(a.ID); got.Hits != 9 || got.State != signal.ActionActive {
			t.Errorf("after the run: %+v", got)
		}
	})
}

// Whatever is ordered, lifted and left to end, in whatever order and with whatever restarts: what
// is in force is what the state says, and never outlasts its limit.
func TestForceAndStateAgree(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newStage(t)
		var ids []string
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			switch rapid.IntRange(0, 5).Draw(rt, "step") {
			case 0, 1:
				r := lock(rapid.SampledFrom([]string{"a", "b", "c", "exit", "vault"}).Draw(rt, "target"), func(r *respond.Request) {
					r.For = time.Duration(rapid.IntRange(0, 60).Draw(rt, "minutes")) * time.Minute
					r.Force = rapid.Bool().Draw(rt, "force")
					if rapid.Bool().Draw(rt, "rule") {
						rule(r)
					}
				})
				if a, err := s.Order(ctx, r); err == nil {
					ids = append(ids, a.ID)
				}
			case 2:
				if len(ids) > 0 {
					if _, err := s.Undo(ctx, rapid.SampledFrom(ids).Draw(rt, "id"), "person:ann", ""); err != nil {
						rt.Fatal(err)
					}
				}
			case 3:
				s.now = s.now.Add(time.Duration(rapid.IntRange(0, 40).Draw(rt, "wait")) * time.Minute)
			case 4:
				s.restart(t)
			case 5:
				s.door.apply = map[bool]error{true: errors.New("stuck")}[rapid.IntRange(0, 3).Draw(rt, "stuck") == 0]
			}
		}
		if _, err := s.Expire(ctx); err != nil {
			rt.Fatal(err)
		}
		var want []string
		active, _ := s.store.ActiveActions(ctx)
		for _, a := range active {
			want = append(want, a.Target+" "+a.Until.Format(time.RFC3339))
			if !s.now.Before(a.Until) {
				rt.Fatalf("%+v outlasts its limit", a)
			}
		}
		slices.Sort(want)
		if got := s.door.world(); got != strings.Join(want, "\n") {
			rt.Fatalf("in force:\n%s\nthe state says:\n%s", got, strings.Join(want, "\n"))
		}
		if s.Active() != len(want) {
			rt.Fatalf("%d are listed, %d in the state", s.Active(), len(want))
		}
	})
}
