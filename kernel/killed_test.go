package kernel

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/kernel/record"
	"github.com/testudo-sec/testudo/signal"
)

// afterwards returns the events that say what became of kills, by the number of the process.
func afterwards(all []*signal.Event) map[int64]*signal.Event {
	told := map[int64]*signal.Event{}
	for _, e := range all {
		if e.Class == signal.ClassBaseEvent && e.Str(signal.FieldMetadataEventCode) == "kill" {
			told[e.Int(signal.FieldProcessPID)] = e
		}
	}
	return told
}

// TestKillsAreRecordedAsTheyEnded: the event that was judged knows only that a kill was ordered; what became of it is an event of its own.
func TestKillsAreRecordedAsTheyEnded(t *testing.T) {
	for _, c := range []struct {
		name, outcome, detail string
		status                int64
		err                   error
	}{
		{name: "killed", outcome: "killed", detail: "killed x (91)", status: 1},
		{name: "not possible", outcome: "failed", detail: "operation not permitted", status: 2, err: errors.New("kill: process 91: operation not permitted")},
		{name: "no sensor", outcome: "failed", detail: "not possible here", status: 2, err: fmt.Errorf("the sensor does not run: %w", ErrUnable)},
		{name: "ended before", outcome: "ended", detail: "it has ended", status: 2, err: fmt.Errorf("process 91: %w", ErrGone)},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := DefaultConfig()
			cfg.Mode = ModeEnforce
			h := run(t, cfg, func(d *Deps) { d.Chain = oneRequest(7) })
			h.sink.judge = refuse("deny-x", "/tmp/x")
			h.sensor.do = func(o Order) (Done, error) {
				return Done{Count: 1, Detail: fmt.Sprintf("killed x (%d)", o.PID)}, c.err
			}
			bad := execOf(91, 90, "/tmp/x", "x", "--password", "hunter2")
			bad.Token = 7
			h.send(bad)
			all := h.wait(t, 2)
			e := afterwards(all)[91]
			if e == nil {
				t.Fatalf("nothing says what became of it: %s", mustJSON(t, all[1]))
			}
			if e.Str(signal.FieldKernelOutcome) != c.outcome || e.Str(signal.FieldKernelGate) != "kill" || e.Str(signal.FieldKernelMode) != "enforce" || e.Int(signal.FieldStatusID) != c.status ||
				!strings.Contains(e.Str(signal.FieldStatusDetail), c.detail) {
				t.Errorf("%s", mustJSON(t, e))
			}
			if e.Parent != all[0].ID || e.Str(signal.FieldProcessUID) != all[0].Str(signal.FieldProcessUID) || e.Str(signal.FieldHTTPRequestUID) != "the-request" || e.Plane != signal.PlaneKernel {
				t.Errorf("it does not say of what: %s", mustJSON(t, e))
			}
			if s := mustJSON(t, e); strings.Contains(s, "hunter2") {
				t.Errorf("it tells a secret: %s", s)
			}
			if all[0].Has(signal.FieldKernelGate) {
				t.Errorf("the event that was judged says more than is known: %s", mustJSON(t, all[0]))
			}
		})
	}
}

// TestKillsThatCannotWaitAreRecorded: neither a flood nor the end of testudo leaves the record with a kill that nobody knows the end of.
func TestKillsThatCannotWaitAreRecorded(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Mode = ModeEnforce
	h := run(t, cfg, nil)
	h.sink.judge = refuse("deny-x", "/tmp/x")
	release := make(chan struct{})
	h.sensor.doCtx = func(ctx context.Context, o Order) (Done, error) {
		select {
		case <-release:
			return Done{Count: 1}, nil
		case <-ctx.Done():
			return Done{}, ctx.Err()
		}
	}
	const n = killers + 40
	for i := range uint32(n) {
		h.send(execOf(1000+i, 90, "/tmp/x", "x"))
	}
	h.wait(t, n+20) // those that found no room say so at once
	missed := 0
	for _, e := range afterwards(h.sink.all()) {
		if e.Str(signal.FieldKernelOutcome) != "failed" || !strings.Contains(e.Str(signal.FieldStatusDetail), "too many") {
			t.Fatalf("%s", mustJSON(t, e))
		}
		missed++
	}
	all := h.ended()
	told := afterwards(all)
	if missed == 0 || len(told) != n {
		t.Errorf("%d of %d kills have an end in the record, %d of them missed", len(told), n, missed)
	}
	for _, e := range told {
		if o := e.Str(signal.FieldKernelOutcome); o != "failed" {
			t.Errorf("%s", mustJSON(t, e))
		}
	}
	close(release)
}

// TestNobodyIsKilledForWhatBecameOfAKill: the judge sees that event as any other, and may refuse it.
func TestNobodyIsKilledForWhatBecameOfAKill(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Mode = ModeEnforce
	h := run(t, cfg, nil)
	h.sink.judge = func(*signal.Event) signal.Verdict {
		return signal.Verdict{Decision: signal.Deny, Hits: []signal.Hit{{Rule: "deny-all", Decision: signal.Deny}}}
	}
	h.send(callOf(91, record.CallUnlink, 0, "/tmp/x"))
	h.wait(t, 2)
	if all := h.ended(); len(all) != 2 || len(h.sensor.orders) != 1 {
		t.Errorf("%d events, orders %v", len(all), h.sensor.orders)
	}
}
