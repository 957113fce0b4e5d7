package respond_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/respond"
	"github.com/testudo-sec/testudo/respond/respondtest"
)

func TestBudgets(t *testing.T) {
	s := newStage(t, func(c *respond.Config) { c.RulePerMinute, c.GroupPerMinute = 6, 3 })
	order := func(target string) error {
		_, err := s.Order(ctx, lock(target, rule))
		return err
	}
	for i := range 5 { // one network: three, then no more
		if err := order(fmt.Sprintf("a%d", i)); (i >= 3) != errors.Is(err, respond.ErrBudget) {
			t.Errorf("a%d: %v", i, err)
		}
	}
	for i, name := range []string{"b1", "c1", "d1", "e1", "f1"} { // what one was denied is there for the others
		if err := order(name); (i >= 3) != errors.Is(err, respond.ErrBudget) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.Order(ctx, lock("g1", func(r *respond.Request) { r.Actor = "rule:other" })); err != nil {
		t.Errorf("another rule: %v", err)
	}
	s.mustOrder(t, lock("a4")) // a person has no budget
	h := s.Health()
	if len(h.Dropped) != 1 || h.Dropped[0].Count != 4 || h.Dropped[0].Rule != "rule:edge.waf" || len(h.Degraded) != 1 {
		t.Errorf("%+v", h)
	}
	s.now = s.now.Add(time.Minute)
	if err := order("a9"); err != nil {
		t.Errorf("a minute later: %v", err)
	}
	s.now = s.now.Add(time.Hour)
	if h := s.Health(); len(h.Degraded) != 0 {
		t.Errorf("an hour later: %+v", h)
	}
}

func TestManyNetworksShareTheRest(t *testing.T) {
	s := newStage(t, func(c *respond.Config) { c.RulePerMinute, c.GroupPerMinute = 1_000_000, 1 })
	dropped := 0
	for i := range 5000 {
		if err := s.Take(fmt.Sprintf("network %d", i)); err != nil {
			dropped++
		}
	}
	if dropped != 5000-4096-1 {
		t.Errorf("%d dropped", dropped)
	}
}

func TestBoundsOnWhatIsInForce(t *testing.T) {
	s := newStage(t, func(c *respond.Config) { c.MaxActive, c.MaxAutomatic = 3, 2 })
	for i, c := range []struct {
		r    respond.Request
		want error
	}{
		{lock("a", rule), nil}, {lock("b", rule), nil}, {lock("c", rule), respond.ErrBudget},
		{lock("d"), nil}, {lock("e"), respond.ErrRefused},
	} {
		if _, err := s.Order(ctx, c.r); !errors.Is(err, c.want) {
			t.Errorf("%d: %v", i, err)
		}
	}
	if len(s.List()) != 3 || s.Active() != 3 || len(s.Health().Dropped) != 1 {
		t.Errorf("%+v %+v", s.List(), s.Health())
	}
	for _, a := range s.List() {
		if _, err := s.Undo(ctx, a.ID, "person:ann", ""); err != nil {
			t.Error(err)
		}
	}
	s.mustOrder(t, lock("c", rule))
}

func TestQueueIsBounded(t *testing.T) {
	s := newStage(t, func(c *respond.Config) { c.Queue = 2 })
	for i, want := range []bool{true, true, false} {
		if got := s.Submit(lock(fmt.Sprintf("q%d", i), rule)); got != want {
			t.Errorf("%d: %v", i, got)
		}
	}
	if !s.Submit(lock("q1", rule)) {
		t.Error("what waits already is not taken for queued")
	}
	if h := s.Health(); h.QueueFull != 1 || h.Queued != 2 || s.metric(t, "testudo_respond_dropped_total", "queue_full") != 1 {
		t.Errorf("%+v", h)
	}
}

func TestConfig(t *testing.T) {
	for want, change := range map[string]func(*respond.Config){
		"":                 func(*respond.Config) {},
		"max_active":       func(c *respond.Config) { c.MaxActive = 0 },
		"max_automatic":    func(c *respond.Config) { c.MaxAutomatic = c.MaxActive + 1 },
		"rule_per_minute":  func(c *respond.Config) { c.RulePerMinute = -1 },
		"group_per_minute": func(c *respond.Config) { c.GroupPerMinute = 0 },
		"queue":            func(c *respond.Config) { c.Queue = 1 << 30 },
		"refusal_every":    func(c *respond.Config) { c.RefusalEvery = 0 },
	} {
		c := respond.DefaultConfig()
		change(&c)
		if err := c.Validate(); (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	ok := newDoor().part()
	for name, parts := range map[string][]respond.Part{
		"two of a kind": {ok, ok},
		"no kind":       {{Default: 1, Max: 1, Responder: newDoor()}},
		"odd kind":      {{Kind: "Lock it", Default: 1, Max: 1, Responder: newDoor()}},
		"no limit":      {{Kind: "lock", Responder: newDoor()}},
		"no responder":  {{Kind: "lock", Default: 1, Max: 1}},
	} {
		if _, err := respond.New(respond.DefaultConfig(), parts, respond.Options{Store: respondtest.NewStore(), Ledger: respondtest.NewLedger()}); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
