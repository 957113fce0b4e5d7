package console

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// endless replays until it is told to stop, and says so as sources do.
type endless struct{ ReplaySource }

func (endless) WhatIf(ctx context.Context, _ WhatIfQuery, _ func(float64)) (WhatIfReport, error) {
	<-ctx.Done()
	return WhatIfReport{}, ctx.Err()
}

// TestWhatIfIsBounded: a replay for a page ends in the time that a page has, and only so many run at once.
func TestWhatIfIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &Desk{sources: Sources{Replay: endless{}}, replays: make(chan struct{}, 1)}
		ctx := WithCaller(t.Context(), Caller{Identity: Identity{Name: "ola", Role: RoleOperator}})
		began := time.Now()
		first := make(chan error)
		go func() {
			_, err := d.WhatIf(ctx, WhatIfQuery{})
			first <- err
		}()
		synctest.Wait()
		var busy *LimitedError
		if _, err := d.WhatIf(ctx, WhatIfQuery{}); !errors.As(err, &busy) {
			t.Errorf("a second one: %v", err)
		}
		if err := <-first; !errors.Is(err, ErrTooLong) {
			t.Errorf("one that takes too long: %v", err)
		}
		if took := time.Since(began); took != pageReplayTime || took >= answerTime {
			t.Errorf("it ended after %v; the page's own time is %v", took, answerTime)
		}

		gone, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := d.WhatIf(gone, WhatIfQuery{}); !errors.Is(err, context.Canceled) {
			t.Errorf("for somebody who is gone: %v", err)
		}
		if len(d.replays) != 0 {
			t.Error("a replay that is over holds its place")
		}
		viewer := WithCaller(t.Context(), Caller{Identity: Identity{Role: RoleViewer}})
		var no *forbidden
		if _, err := d.WhatIf(viewer, WhatIfQuery{}); !errors.As(err, &no) {
			t.Errorf("a viewer: %v", err)
		}
		if _, err := (&Desk{}).WhatIf(ctx, WhatIfQuery{}); !errors.Is(err, ErrUnavailable) {
			t.Errorf("without a lake: %v", err)
		}
		var input *InputError
		if _, err := d.WhatIf(ctx, WhatIfQuery{Files: []RuleText{{Text: strings.Repeat("x", maxRuleText)}, {Text: "x"}}}); !errors.As(err, &input) {
			t.Errorf("too much text: %v", err)
		}
	})
}

func TestRuleFileName(t *testing.T) {
	for text, want := range map[string]string{
		"id: x\nwhen: true\n": "rule.yaml", "package main\n\ndeny contains m if { m := 1 }": "rule.rego", "# about\r\npackage a.b[\"c\"]\r\n": "rule.rego",
		"- rule: package manager\n  desc: a package main thing\n": "rule.yaml", "": "rule.yaml",
	} {
		if got := RuleFileName(text); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}
