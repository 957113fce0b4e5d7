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

// TestACrowdIsAskedAbout: who asks thousands of things at once, so that one of them passes unasked, waits longer; all of them are judged.
func TestACrowdIsAskedAbout(t *testing.T) {
	dir := tmpfs(t)
	create(t, dir+"/a")
	j := &judge{says: func(*record.Record) bool { return true }}
	g, _ := begin(t, Config{Deadline: 10 * time.Second, Waiting: 8}, j, false, kernel.AskScope{Hook: kernel.HookOpen, Mount: dir, Files: kernel.Paths{All: true}})
	const n = 2000
	if got := run(t, "as-crowd", dir+"/a", fmt.Sprint(n)); got != fmt.Sprint(n, 0) {
		t.Error("refused, opened: ", got)
	}
	if c := g.Counts(); c.Denied != n || c.Full+c.Late+c.Lost+c.Unread > 0 {
		t.Errorf("%+v", c)
	}
}

// TestOthersWaitNoLongerThanTheDeadline: while a judge answers nobody, each is decided by the guard in its time, however many came before.
func TestOthersWaitNoLongerThanTheDeadline(t *testing.T) {
	dir := tmpfs(t)
	create(t, dir+"/a")
	release := make(chan struct{})
	j := &judge{says: func(*record.Record) bool { <-release; return false }}
	defer close(release)
	g, _ := begin(t, Config{Deadline: 100 * time.Millisecond, Waiting: 4}, j, true, kernel.AskScope{Hook: kernel.HookOpen, Mount: dir, Files: kernel.Paths{All: true}})
	const n = 200
	if got := run(t, "as-crowd", dir+"/a", fmt.Sprint(n)); got != fmt.Sprint(n, 0) {
		t.Error("refused, opened: ", got)
	}
	if c := g.Counts(); c.Late != 4 || c.Full != n-4 {
		t.Errorf("%+v", c)
	}
	if !g.stuck.Load() {
		t.Error("it does not know that nobody answers")
	}
}

// tired is a judge who gives up when the question's time is over.
type tired struct{ judge }

func (j *tired) Ask(ctx context.Context, _ []byte, _ record.Gate) kernel.Answer {
	<-ctx.Done()
	return kernel.Answer{}
}

// TestWhoGivesUpIsLate: an answer without a verdict that comes with the deadline is none, and counted as that.
func TestWhoGivesUpIsLate(t *testing.T) {
	dir := tmpfs(t)
	create(t, dir+"/a")
	g, _ := begin(t, Config{Deadline: 20 * time.Millisecond, Waiting: 64}, new(tired), true, kernel.AskScope{Hook: kernel.HookOpen, Mount: dir, Files: kernel.Paths{All: true}})
	const n = 40
	if got := run(t, "as-crowd", dir+"/a", fmt.Sprint(n)); got != fmt.Sprint(n, 0) {
		t.Error("refused, opened: ", got)
	}
	if c := g.Counts(); c.Late != n || c.Allowed+c.Denied != 0 {
		t.Errorf("%+v", c)
	}
}

// TestOneHardQuestionStopsNobody: while others are answered, it is the question that takes long and not the judge.
func TestOneHardQuestionStopsNobody(t *testing.T) {
	dir := tmpfs(t)
	create(t, dir+"/a", dir+"/hard")
	release, hard := make(chan struct{}), make(chan struct{})
	j := &judge{says: func(r *record.Record) bool {
		if strings.HasSuffix(string(r.Path), "/hard") {
			hard <- struct{}{}
			<-release
		}
		return true
	}}
	defer close(release)
	g, _ := begin(t, Config{Deadline: 5 * time.Second, Waiting: 4}, j, true, kernel.AskScope{Hook: kernel.HookOpen, Mount: dir, Files: kernel.Paths{All: true}})
	late := make(chan string)
	go func() { late <- run(t, "as-opener", dir+"/hard") }()
	<-hard
	if got := run(t, "as-opener", dir+"/a"); got != refused {
		t.Error(got)
	}
	if got := <-late; got != refused { // as the guard is closed
		t.Error(got)
	}
	if c := g.Counts(); c.Late != 1 || g.stuck.Load() {
		t.Errorf("one question has it give up on all: %+v", c)
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
