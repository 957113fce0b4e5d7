//go:build linux

package enforce

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/kernel"
)

// another starts a process that refuses to run a program, and returns when it does.
type another struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startAnother(t *testing.T, pins, bad string, closed bool) *another {
	t.Helper()
	cmd := exec.Command(self(t))
	cmd.Env = append(os.Environ(), "TESTUDO_ENFORCE_ROLE=daemon", "PINS="+pins, "REFUSE="+bad)
	if closed {
		cmd.Env = append(cmd.Env, "CLOSED=1")
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	a := &another{cmd, in, bufio.NewReader(out)}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	a.says(t, "ready <nil>")
	return a
}

func (a *another) says(t *testing.T, want string) {
	t.Helper()
	line, err := a.out.ReadString('\n')
	if err != nil || strings.TrimSpace(line) != want {
		t.Fatalf("the other process says %q, %v; want %q", line, err, want)
	}
}

func (a *another) kill(t *testing.T) {
	t.Helper()
	if err := a.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = a.cmd.Wait()
}

func (a *another) end(t *testing.T) {
	t.Helper()
	a.in.Close()
	a.says(t, "closed <nil>")
	if err := a.cmd.Wait(); err != nil {
		t.Fatal(err)
	}
}

// runs reports whether the program runs in the end: links are taken away a moment after their last holder.
func runs(t *testing.T, bad, marker string) bool {
	t.Helper()
	for range 50 {
		if err := actor(bad, "touch", marker).Run(); err == nil {
			return true
		}
		absent(t, marker)
		time.Sleep(20 * time.Millisecond)
	}
	return false
}

func TestOpenWhenItDies(t *testing.T) {
	e, _ := begin(t, Options{}) // for what refusal looks like here
	pins, dir := bpffs(t), realDir(t)
	bad := victim(t, dir+"/bad")
	a := startAnother(t, pins, bad, false)
	refused(t, e, actor(bad, "touch", dir+"/marker"))
	absent(t, dir+"/marker")
	a.kill(t)
	if !runs(t, bad, dir+"/marker") {
		t.Error("it is refused although its guard died fail-open")
	}
}

func TestClosedWhenItDies(t *testing.T) {
	e, _ := begin(t, Options{})
	pins, dir := bpffs(t), realDir(t)
	bad := victim(t, dir+"/bad")
	for name, end := range map[string]func(*another){
		"killed": func(a *another) { a.kill(t) },
		"ended":  func(a *another) { a.end(t) },
	} {
		t.Run(name, func(t *testing.T) {
			end(startAnother(t, pins, bad, true))
			for range 20 {
				refused(t, e, actor(bad, "touch", dir+"/marker"))
			}
			absent(t, dir+"/marker")
			left, err := Pinned(pins)
			if err != nil || len(left) != 1 {
				t.Fatalf("pinned %v, %v", left, err)
			}
			if err := Release(pins); err != nil {
				t.Fatal(err)
			}
			if left, err := Pinned(pins); err != nil || len(left) != 0 {
				t.Errorf("pinned %v, %v", left, err)
			}
			if !runs(t, bad, dir+"/fine-"+name) {
				t.Error("it is refused after the release")
			}
		})
	}
}

// The next start takes over: what was left stays in force until its own rules stand, and is gone then.
func TestNextStartReplacesWhatWasLeft(t *testing.T) {
	pins, dir := bpffs(t), realDir(t)
	bad, worse := victim(t, dir+"/bad"), victim(t, dir+"/worse")
	startAnother(t, pins, bad, true).kill(t)
	// What another version left, too: whatever is in its folder.
	if err := os.MkdirAll(filepath.Join(pins, "testudo", "guard-1-1", "of", "another"), 0o700); err != nil {
		t.Fatal(err)
	}

	e, _ := begin(t, Options{Config: Config{Pins: pins}})
	refused(t, e, actor(bad, "touch", dir+"/marker"))
	if err := e.Guard(t.Context(), kernel.Guard{Rules: []kernel.GuardRule{{Hook: kernel.HookExec, Exe: kernel.Paths{End: []string{"x"}}}}}); err == nil {
		t.Error("residue was taken")
	}
	refused(t, e, actor(bad, "touch", dir+"/marker"))
	rules := []kernel.GuardRule{{Rule: "bad", Hook: kernel.HookExec, Enforce: true, Exe: exactly(bad, worse)}}
	if err := e.Guard(t.Context(), kernel.Guard{Closed: true, Rules: rules}); err != nil {
		t.Fatal(err)
	}
	refused(t, e, actor(bad, "touch", dir+"/marker"))
	refused(t, e, actor(worse, "touch", dir+"/marker"))
	absent(t, dir+"/marker")
	if left, err := Pinned(pins); err != nil || len(left) != 0 {
		t.Errorf("pinned %v, %v", left, err)
	}
	// A second one beside it leaves the first's pins alone.
	startAnother(t, pins, dir+"/third", true).end(t)
	if err := Release(pins); err != nil {
		t.Fatal(err)
	}
	refused(t, e, actor(bad, "touch", dir+"/marker"))
	if err := e.Guard(t.Context(), kernel.Guard{}); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(filepath.Join(pins, "testudo")); err != nil || len(entries) != 0 {
		t.Errorf("%v, %v", entries, err)
	}
	if !runs(t, bad, dir+"/fine") {
		t.Error("it is refused although no rule says so")
	}
}

func TestPinsOfSomebodyElse(t *testing.T) {
	pins := bpffs(t)
	if err := os.Mkdir(filepath.Join(pins, "testudo"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(pins, "testudo"), 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := newPins(pins); err == nil || !strings.Contains(err.Error(), "only this user may write") {
		t.Error(err)
	}
	if err := Release("/none"); err != nil {
		t.Error(err)
	}
	if _, err := newPins("/none"); !errors.Is(err, errNoPins) || !errors.Is(err, syscall.ENOENT) {
		t.Error(err)
	}
}

// TestNothingToEnforceEndsWhatWasLeft: who starts testudo again because its rules refuse too much has none of them from then on.
func TestNothingToEnforceEndsWhatWasLeft(t *testing.T) {
	pins, dir := bpffs(t), realDir(t)
	bad := victim(t, dir+"/bad")
	startAnother(t, pins, bad, true).kill(t)
	e, _ := begin(t, Options{Config: Config{Pins: pins}})
	refused(t, e, actor(bad, "touch", dir+"/marker"))
	if err := e.Guard(t.Context(), kernel.Guard{Closed: true}); err != nil {
		t.Fatal(err)
	}
	if !runs(t, bad, dir+"/fine") {
		t.Error("it is refused although no rule says so")
	}
	if left, err := Pinned(pins); err != nil || len(left) != 0 {
		t.Errorf("pinned %v, %v", left, err)
	}
}
