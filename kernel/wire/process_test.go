package wire

import (
	"os/exec"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/internal/require"
)

// startSleep starts a process of the test's own.
func startSleep(t *testing.T) int {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), require.Program(t, "coreutils", "sleep"), "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd.Process.Pid
}

func (o *outbox) full() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.pending) > outboxLimit/2
}

// nudge lets the goroutines of the ends run.
func (o *outbox) nudge() { time.Sleep(100 * time.Microsecond) }
