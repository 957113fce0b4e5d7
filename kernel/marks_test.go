package kernel

import (
	"strings"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/kernel/record"
	"github.com/testudo-sec/testudo/signal"
)

// TestAQuestionWaitsForWhatWasSeenBefore: it comes by another way than the records, and is judged when those before its mark are known: who asks was made, and became what it is, a moment ago.
func TestAQuestionWaitsForWhatWasSeenBefore(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Mode = ModeEnforce
	h := run(t, cfg, nil)
	h.sink.judge = func(e *signal.Event) signal.Verdict {
		if e.Str(signal.FieldProcessParentProcessFilePath) != "/bin/bad" || !strings.Contains(e.Str(signal.FieldProcessParentProcessCmdLine), "word") {
			return signal.Verdict{}
		}
		return signal.Verdict{Decision: signal.Deny, Hits: []signal.Hit{{Rule: "by-parent", Decision: signal.Deny}}}
	}
	h.send(execOf(90, 1, "/bin/sh", "sh"))
	h.wait(t, 1)
	ask := execOf(96, 1, "/bin/x") // its parent has ended: the kernel names another
	ask.Start, ask.Time, ask.Flags = 103*second, 104*second, record.FlagMarked|record.FlagSeeded
	answers := make(chan Answer, 1)
	go func() { answers <- h.Ask(t.Context(), ask.Append(nil), record.GateFanotify) }()
	eventually(t, "the question to wait", func() bool {
		h.marks.mu.Lock()
		defer h.marks.mu.Unlock()
		return h.marks.changed != nil
	})
	fork := record.Record{Kind: record.KindFork, PID: 95, TID: 95, PPID: 90, Start: 100 * second, Time: 100 * second, Comm: []byte("sh")}
	became := execOf(95, 90, "/bin/bad", "bad", "word")
	became.Start, became.Time = fork.Start, 101*second
	second := fork
	second.PID, second.TID, second.PPID, second.Start, second.Time = 96, 96, 95, ask.Start, ask.Start
	ended := record.Record{Kind: record.KindExit, PID: 95, TID: 95, PPID: 90, Start: fork.Start, Time: ask.Start + 1}
	early := record.Record{Kind: record.KindMark, Time: ask.Time - 1}
	h.send(fork, early, became, second, ended, record.Record{Kind: record.KindMark, Time: ask.Time})
	if a := <-answers; !a.Deny || a.Rule != "by-parent" {
		t.Errorf("%+v", a)
	}
	// What is known is not waited for.
	if a := h.Ask(t.Context(), ask.Append(nil), record.GateFanotify); !a.Deny {
		t.Errorf("%+v", a)
	}
	if n := h.metrics.unmarked.Load(); n != 0 {
		t.Errorf("%d were judged early", n)
	}
}

// TestAMarkThatDoesNotCome: the question is judged all the same, in time, and what no rule refuses then is let through, or refused by a guard that is closed.
func TestAMarkThatDoesNotCome(t *testing.T) {
	for _, closed := range []bool{false, true} {
		cfg := DefaultConfig()
		cfg.Mode = ModeEnforce
		h := run(t, cfg, nil)
		h.sink.judge = refuse("deny-x", "/tmp/x")
		if err := h.SetGuard(t.Context(), Guard{Closed: closed}); err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]Answer{"/tmp/x": {Deny: true, Rule: "deny-x"}, "/tmp/y": {Deny: closed}} {
			ask := execOf(96, 1, path)
			for _, flags := range []record.Flags{record.FlagMarked, record.FlagPartial} { // its mark does not come; something was lost before it
				ask.Flags = flags
				ask.Time = uint64(time.Now().UnixNano())
				if a := h.Ask(t.Context(), ask.Append(nil), record.GateFanotify); a != want {
					t.Errorf("closed %t, %s: %+v, want %+v", closed, path, a, want)
				}
			}
		}
		if n := h.metrics.unmarked.Load(); n != 4 {
			t.Errorf("%d were counted", n)
		}
	}
}
