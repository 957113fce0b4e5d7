package assembly

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/signal"
)

// TestScanResolves: what a scan found is open until a scan finds it gone.
func TestScanResolves(t *testing.T) {
	repo, dir := t.TempDir(), dataDir(t)
	file := filepath.Join(repo, "config.py")
	secret := []byte("aws_access_key_id = \"" + "AKIA" + "Q3EGWDNZLM5XKTBV" + "\"\n")
	if err := os.WriteFile(file, secret, 0o600); err != nil {
		t.Fatal(err)
	}
	scanned := func() []signal.Finding {
		t.Helper()
		s := start(t, testSettings(""), dir, repo)
		eventually(t, "the scan ends", func() bool { return len(s.m.ScanResults()) == 1 })
		if r := s.m.ScanResults()[0]; r.Err != nil {
			t.Fatal(r.Err)
		}
		all, err := findings{s.m}.Findings(t.Context(), console.FindingQuery{Plane: signal.PlaneScan, Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
		return all.Items
	}
	first := scanned()
	if len(first) != 1 || first[0].State != signal.FindingOpen || !strings.HasSuffix(first[0].Location.Path, "config.py") {
		t.Fatalf("found %+v", first)
	}
	again := scanned()
	if len(again) != 1 || again[0].ID != first[0].ID || again[0].State != signal.FindingOpen || !again[0].First.Equal(first[0].First) {
		t.Errorf("the same secret, scanned again: %+v", again)
	}
	if err := os.WriteFile(file, []byte("# from the environment\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if gone := scanned(); len(gone) != 1 || gone[0].State != signal.FindingResolved {
		t.Errorf("the secret is gone, and its finding is %+v", gone)
	}
	if err := os.WriteFile(file, secret, 0o600); err != nil {
		t.Fatal(err)
	}
	if back := scanned(); len(back) != 1 || back[0].State != signal.FindingOpen {
		t.Errorf("the secret is back, and its finding is %+v", back)
	}
}

// TestScanOfNothing: a folder that is not there is an error in the log, and no reason to stop.
func TestScanOfNothing(t *testing.T) {
	s := start(t, testSettings(""), dataDir(t), filepath.Join(t.TempDir(), "missing"))
	eventually(t, "the scan ends", func() bool { return len(s.m.ScanResults()) == 1 })
	if r := s.m.ScanResults()[0]; r.Err == nil {
		t.Error("a scan of nothing succeeded")
	}
	if !strings.Contains(s.logs.String(), "missing") {
		t.Error("the log does not name the folder")
	}
	if got := s.readyz(); got != "ok" {
		t.Errorf("the node is %s", got)
	}
}

// TestOwner: another user's folder is not written to.
func TestOwner(t *testing.T) {
	require.Root(t)
	dir := dataDir(t)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, 12345, -1); err != nil {
		t.Fatal(err)
	}
	err := tryNew(t, testSettings(""), dir)
	if !strings.Contains(err.Error(), "belongs to uid 12345 and testudo runs as uid 0") {
		t.Errorf("the error does not say whose it is: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("something was written: %v %v", left, err)
	}
}
