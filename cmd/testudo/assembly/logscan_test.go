package assembly

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// guesses returns sshd's lines about failed sign-ins from one address, a second apart.
func guesses(from string, at time.Time, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%s web sshd[7]: Failed password for root from %s port 40000 ssh2\n", at.Add(time.Duration(i)*time.Second).Format("2006-01-02T15:04:05Z07:00"), from)
	}
	return b.String()
}

// scanned judges files by the rules that ship, and returns the summary and the paths of what was found.
func scanned(t *testing.T, files ...string) (*LogSummary, []string) {
	t.Helper()
	settings := testSettings("")
	var at []string
	s := LogScan{Files: files, Builtin: true, Policy: &settings.Policy, Found: func(d Detection) { at = append(at, d.Hit.Rule+" "+filepath.Base(d.At.String())) }}
	sum, err := s.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return sum, at
}

// TestLogScanReadsRotatedLogsInTime: rules that count over time see the oldest file first, however the files are named
// and listed.
func TestLogScanReadsRotatedLogsInTime(t *testing.T) {
	dir := t.TempDir()
	day := time.Date(2026, 2, 3, 8, 0, 0, 0, time.UTC)
	// The guessing begins in the older file and ends in the newer one.
	write(t, filepath.Join(dir, "auth.log.1"), guesses("203.0.113.9", day, 12))
	write(t, filepath.Join(dir, "auth.log"), guesses("203.0.113.9", day.Add(12*time.Second), 12))
	for _, files := range [][]string{{dir}, {filepath.Join(dir, "auth.log*")}, {filepath.Join(dir, "auth.log"), filepath.Join(dir, "auth.log.1")}} {
		sum, at := scanned(t, files...)
		if len(at) != 1 || at[0] != "credential-signin-guessing auth.log:8" || sum.Late != 0 {
			t.Errorf("%v: %v, %d late", files, at, sum.Late)
		}
	}
	// What cannot be put in order is said.
	write(t, filepath.Join(dir, "overlap.log"), guesses("203.0.113.9", day.Add(20*time.Minute), 1)+guesses("203.0.113.9", day.Add(15*time.Minute), 1))
	if sum, _ := scanned(t, dir); sum.Late == 0 {
		t.Error("nothing was late")
	}
}

// TestLogScanSaysWhatBroke: what a file held before it breaks off is judged, and the file is named.
func TestLogScanSaysWhatBroke(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write([]byte(guesses("203.0.113.9", time.Date(2026, 2, 3, 8, 0, 0, 0, time.UTC), 5000)))
	_ = z.Close()
	path := filepath.Join(t.TempDir(), "auth.log.gz")
	write(t, path, packed.String()[:packed.Len()-200])
	sum, at := scanned(t, path)
	if sum.Files != 1 || len(at) == 0 || len(sum.Unread) != 1 || !strings.Contains(sum.Unread[0], "breaks off, what comes before that was judged: unexpected EOF") {
		t.Errorf("%d files, %d detections, not read: %v", sum.Files, len(at), sum.Unread)
	}
}
