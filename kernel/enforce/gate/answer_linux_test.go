package gate

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

func TestNoAnswer(t *testing.T) {
	for closed, want := range map[bool]string{false: opened, true: refused} {
		t.Run(fmt.Sprint("closed ", closed), func(t *testing.T) {
			dir := tmpfs(t)
			create(t, dir+"/a", dir+"/b")
			release := make(chan struct{})
			j := &judge{says: func(*record.Record) bool { <-release; return !closed }}
			cfg := Config{Deadline: 50 * time.Millisecond, Waiting: 1}
			g, _ := begin(t, cfg, j, closed, kernel.AskScope{Hook: kernel.HookOpen, Mount: dir, Files: kernel.Paths{All: true}})
			if got := run(t, "as-opener", dir+"/a"); got != want {
				t.Error(got)
			}
			// The judge still holds the only place: the next is not asked about at all.
			if got := run(t, "as-opener", dir+"/b"); got != want {
				t.Error(got)
			}
			if f, err := os.Open(dir + "/a"); err != nil { // the judge does not wait for itself
				t.Error(err)
			} else {
				_ = f.Close()
			}
			close(release)
			if c := g.Counts(); c.Late != 1 || c.Full != 1 || c.Allowed+c.Denied != 0 {
				t.Errorf("%+v", c)
			}
		})
	}
}

func TestJudgesAreNotAskedAbout(t *testing.T) {
	dir := tmpfs(t)
	create(t, dir+"/a")
	cmd := exec.Command("/proc/self/exe", "as-waiter", dir+"/a")
	in, _ := cmd.StdinPipe()
	var out strings.Builder
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	g, err := New(DefaultConfig(), nil, cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if err := g.Guard(t.Context(), []kernel.AskScope{{Hook: kernel.HookOpen, Mount: dir, Files: kernel.Paths{All: true}}}, true); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	j := &judge{says: func(*record.Record) bool { return true }}
	go func() { done <- g.Run(ctx, j) }()
	for run(t, "as-opener", dir+"/a") != refused { // until it runs
		time.Sleep(time.Millisecond)
	}
	_, _ = in.Write([]byte("x"))
	if err := cmd.Wait(); err != nil || !strings.Contains(out.String(), opened) {
		t.Errorf("%s %v", out.String(), err)
	}
	if g.judges(int32(cmd.Process.Pid)) {
		t.Error("a process that has ended still counts as the judge")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Killed while somebody waits for an answer, it lets go, though its guard is closed: that is this gate's nature, and its limit.
func TestDeathLetsGo(t *testing.T) {
	dir := tmpfs(t)
	create(t, dir+"/a")
	gate := exec.Command("/proc/self/exe", "as-gate", dir)
	said, err := gate.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := gate.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = gate.Process.Kill() }()
	result := make(chan string)
	go func() {
		var got string
		for range 1000 { // the first ones may come before it asks
			got = run(t, "as-opener", dir+"/a")
			if gate.ProcessState != nil || !alive(gate.Process.Pid) {
				break
			}
		}
		result <- got
	}()
	b := make([]byte, 6)
	if _, err := said.Read(b); err != nil || string(b) != "asked\n" {
		t.Fatalf("%q %v", b, err)
	}
	_ = gate.Process.Kill()
	if got := <-result; got != opened {
		t.Error(got)
	}
	_ = gate.Wait()
}
