package testudo

import (
	"context"
	"log/slog"
	"slices"
	"testing"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

// TestKernelVerdictsSayWhatBecame holds what is recorded of what rules refuse on a host.
func TestKernelVerdictsSayWhatBecame(t *testing.T) {
	ends := func(suffix string) match.Expr {
		return match.Text(match.Operand{Field: signal.FieldProcessFilePath}, match.OpSuffix, false, suffix)
	}
	set, err := policy.NewSet([]*policy.Rule{
		{ID: "deny-miner", Severity: signal.SeverityHigh, Then: signal.Deny, Condition: ends("/xmrig")},
		{ID: "deny-shell", Severity: signal.SeverityHigh, Then: signal.Deny, Condition: ends("/sh")},
		{ID: "tell-nc", Severity: signal.SeverityLow, Then: signal.Alert, Condition: ends("/nc")},
	})
	if err != nil {
		t.Fatal(err)
	}
	const allowed, observed, denied = 1, 3, 2
	for _, c := range []struct {
		name, path, gate, before string // before: outcome that the plane knew
		wantGate, mode, outcome  string
		action                   int64
	}{
		{name: "nothing fires", path: "/bin/ls", action: allowed},
		{name: "an alert", path: "/bin/nc", action: observed},
		{name: "seen, and enforced: to be killed", path: "/tmp/xmrig", wantGate: "kill", mode: "enforce", outcome: "ordered", action: observed},
		{name: "what became of it: killed", gate: "kill", before: "killed", wantGate: "kill", outcome: "killed", action: denied},
		{name: "what became of it: not killed", gate: "kill", before: "failed", wantGate: "kill", outcome: "failed", action: allowed},
		{name: "a gate asked, and refuses", path: "/tmp/xmrig", gate: "fanotify", wantGate: "fanotify", mode: "enforce", outcome: "refused", action: denied},
		{name: "seen, and only told of", path: "/bin/sh", wantGate: "none", mode: "monitor", outcome: "watched", action: observed},
		{name: "a gate asked about what is only told of", path: "/bin/sh", gate: "seccomp", wantGate: "seccomp", mode: "monitor", outcome: "watched", action: observed},
		{name: "nobody can kill init", path: "/tmp/xmrig", gate: "none", wantGate: "none", mode: "enforce", outcome: "watched", action: observed},
		{name: "the kernel refused by itself", path: "/tmp/xmrig", gate: "bpf-lsm", before: "refused", wantGate: "bpf-lsm", outcome: "refused", action: denied},
		{name: "and the rule is gone since", path: "/bin/ls", gate: "exec-kill", before: "killed", wantGate: "exec-kill", outcome: "killed", action: denied},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newParts()
			n := NewNode(Deps{ID: "judge-1", Engine: policy.NewEngine(set), Recorder: p, Orders: p, State: p, Now: p.Now, Logger: slog.New(slog.DiscardHandler),
				Enforces: func(rule string) bool { return slices.Contains([]string{"deny-miner"}, rule) }})
			e := &signal.Event{Class: signal.ClassProcessActivity, Activity: 1, Plane: signal.PlaneKernel}
			e.SetString(signal.FieldProcessFilePath, c.path)
			e.SetInt(signal.FieldStatusID, 1)
			for f, v := range map[signal.Field]string{signal.FieldKernelGate: c.gate, signal.FieldKernelOutcome: c.before} {
				if v != "" {
					e.SetString(f, v)
				}
			}
			if _, err := n.Event(context.Background(), e); err != nil {
				t.Fatal(err)
			}
			got := p.events[0]
			if got.Str(signal.FieldKernelGate) != c.wantGate || got.Str(signal.FieldKernelMode) != c.mode || got.Str(signal.FieldKernelOutcome) != c.outcome ||
				got.Int(signal.FieldActionID) != c.action {
				t.Errorf("gate %q, mode %q, outcome %q, action %d; want %q, %q, %q, %d", got.Str(signal.FieldKernelGate), got.Str(signal.FieldKernelMode),
					got.Str(signal.FieldKernelOutcome), got.Int(signal.FieldActionID), c.wantGate, c.mode, c.outcome, c.action)
			}
			// What nobody knew when it was judged: it did not happen.
			if refused := c.before == "" && c.outcome == "refused"; (got.Int(signal.FieldStatusID) == 2) != refused || (got.Str(signal.FieldStatusCode) == "EPERM") != refused {
				t.Errorf("status %d, %q", got.Int(signal.FieldStatusID), got.Str(signal.FieldStatusCode))
			}
		})
	}
}
