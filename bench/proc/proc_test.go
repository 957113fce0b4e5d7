package proc

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test binary be a child in a role.
func TestMain(m *testing.M) {
	roles := []Role{{Name: "echo", Run: func(_ context.Context, talk *Talk, args []string) error {
		if err := talk.Say("%s", strings.Join(args, " ")); err != nil {
			return err
		}
		for {
			line, ok := talk.Hear()
			switch {
			case !ok:
				return nil
			case line == "burn":
				for end := time.Now().Add(60 * time.Millisecond); time.Now().Before(end); {
				}
			case line == "die":
				_, _ = os.Stderr.WriteString("out of luck\n")
				os.Exit(3)
			}
			if err := talk.Say("heard %s", line); err != nil {
				return err
			}
		}
	}}}
	if status, played := Play(context.Background(), roles, os.Args[1:]); played {
		os.Exit(status)
	}
	os.Exit(m.Run())
}

func echo(t *testing.T) *Child {
	t.Helper()
	c, first, err := StartRole(t.Context(), nil, os.Args[0], "echo", "a", "b")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	if first != "a b" {
		t.Fatalf("first line %q, want its arguments", first)
	}
	return c
}

func TestChildAnswersAndIsCharged(t *testing.T) {
	c := echo(t)
	before, err := CPU(c.PID())
	if err != nil {
		t.Fatal(err)
	}
	busy, err := Busy()
	if err != nil {
		t.Fatal(err)
	}
	// Sixty milliseconds of CPU, however long the machine takes to give them, move a clock of ten.
	for range 3 {
		if answer, err := c.Ask("burn"); err != nil || answer != "heard burn" {
			t.Fatalf("answer %q, error %v", answer, err)
		}
	}
	if rss, err := RSS(c.PID()); err != nil || rss < 1<<20 {
		t.Errorf("resident memory %d, error %v: want a megabyte at least", rss, err)
	}
	whole, err := c.Close()
	if err != nil {
		t.Fatal(err)
	}
	if after, err := Busy(); err != nil || after <= busy {
		t.Errorf("the machine was busy for %s before and %s after, error %v: want more", busy, after, err)
	}
	if whole <= before {
		t.Errorf("CPU of its life %s, at its beginning %s: want more", whole, before)
	}
}

func TestChildThatDiesSaysWhy(t *testing.T) {
	c := echo(t)
	if _, err := c.Ask("die"); err == nil || !strings.Contains(err.Error(), "out of luck") {
		t.Errorf("error %v, want what it said last", err)
	}
}

func TestChildEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c, _, err := StartRole(ctx, nil, os.Args[0], "echo")
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	<-c.Ended()
	c.Stop()
	if _, err := CPU(c.PID()); err == nil {
		t.Errorf("process %d is still there", c.PID())
	}
}

func TestUnknownRole(t *testing.T) {
	if _, _, err := StartRole(t.Context(), nil, os.Args[0], "none"); err == nil || !strings.Contains(err.Error(), `no role is called "none"`) {
		t.Errorf("error %v, want the role's name", err)
	}
}

func TestCost(t *testing.T) {
	if _, err := Cost(t.Context(), 1, "sh", "-c", "exit 1"); err != nil {
		t.Errorf("a status that is allowed: %v", err)
	}
	if _, err := Cost(t.Context(), 1, "sh", "-c", "echo broken >&2; exit 2"); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("error %v, want what it said", err)
	}
	if _, err := Cost(t.Context(), 1, "sh", "-c", "kill -9 $$"); err == nil {
		t.Error("a child that was killed counts as measured")
	}
	if _, err := Cost(t.Context(), 1, "/nonexistent/program"); err == nil {
		t.Error("a program that is not there counts as measured")
	}
}
