package assembly

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestLogScanReadsPipes: what is no regular file is read once, from its beginning.
func TestLogScanReadsPipes(t *testing.T) {
	dir := t.TempDir()
	pipe, file := filepath.Join(dir, "pipe"), filepath.Join(dir, "auth.log")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
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

// TestLogScanPassesOverWhatIsClosed: a folder that nobody may look into does not keep the others from being read. To
// root none is closed: there the test runs as another user.
func TestLogScanPassesOverWhatIsClosed(t *testing.T) {
	if os.Geteuid() == 0 {
		runAs(t, 65534)
		return
	}
	dir := t.TempDir()
	closed := filepath.Join(dir, "a-closed")
	if err := os.Mkdir(closed, 0); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "auth.log"), guesses("203.0.113.9", time.Date(2026, 2, 3, 8, 0, 0, 0, time.UTC), 20))
	sum, at := scanned(t, dir)
	if len(at) != 1 || len(sum.Unread) != 1 || !strings.HasPrefix(sum.Unread[0], closed+": permission denied") {
		t.Errorf("%v, not read: %v", at, sum.Unread)
	}
}

// runAs runs this test alone in a process of that user, from a copy of the program that the user can reach.
func runAs(t *testing.T, uid uint32) {
	t.Helper()
	dir, err := os.MkdirTemp("", "testudo-as-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	path := filepath.Join(dir, "tests")
	copied, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(copied, self)
	if shut := copied.Close(); err == nil {
		err = shut
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "-test.v", "-test.run", "^"+t.Name()+"$")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "TMPDIR="+dir, "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("as user %d: %v\n%s", uid, err, out)
	}
}
