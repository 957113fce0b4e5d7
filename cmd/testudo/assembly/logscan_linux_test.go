package assembly

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestLogScanReadsPipes: what is no regular file is read once, from its beginning.
func TestLogScanReadsPipes(t *testing.T) {
	dir := t.TempDir()
	pipe, file := filepath.Join(dir, "pipe"), filepath.Join(dir, "auth.log")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skip(err)
	}
	day := time.Date(2026, 2, 3, 8, 0, 0, 0, time.UTC)
	write(t, file, guesses("203.0.113.9", day, 1))
	done := make(chan error, 1)
	go func() { done <- os.WriteFile(pipe, []byte(guesses("203.0.113.8", day, 20)), 0o600) }()
	sum, at := scanned(t, file, pipe)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if len(at) != 1 || at[0] != "credential-signin-guessing pipe:20" || sum.Events != 21 {
		t.Errorf("%v of %d events", at, sum.Events)
	}
}
