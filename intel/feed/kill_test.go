//go:build unix

package feed_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/intel"
	"github.com/testudo-sec/testudo/intel/feed"
)

// TestKilled ends an update with SIGKILL while it downloads: the old database works, and the next update cleans up and
// takes all in. The process that is killed is this test again.
func TestKilled(t *testing.T) {
	if url := os.Getenv("FEED_KILLED_URL"); url != "" {
		c := intel.DefaultConfig()
		c.Source, c.Timeout = url, time.Minute
		_, err := feed.Update(context.Background(), feed.Options{Config: c, Path: os.Getenv("FEED_KILLED_PATH")})
		t.Fatal("the update ended: ", err)
	}
	b := newBench(t)
	b.update(t)
	b.m.fill("npm", 120, nil)
	full := b.m.files["npm/all.zip"]
	entered := make(chan struct{})
	var once sync.Once
	b.m.mu.Lock()
	b.m.spoil = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "npm/all.zip") {
			return false
		}
		w.Header().Set("Content-Length", "1000000")
		_, _ = w.Write(full[:len(full)/2])
		w.(http.Flusher).Flush()
		once.Do(func() { close(entered) })
		<-r.Context().Done()
		return true
	}
	b.m.mu.Unlock()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
	cmd.Env = append(os.Environ(), "FEED_KILLED_URL="+b.m.URL, "FEED_KILLED_PATH="+b.path)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-entered
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("it was not killed: %v", err)
	}
	if b.count(t, "npm") != 60 {
		t.Error("the old database does not work")
	}
	b.m.mu.Lock()
	b.m.spoil = nil
	b.m.mu.Unlock()
	if b.update(t); b.count(t, "npm") != 120 {
		t.Error("the next update did not take all in")
	}
	left, err := os.ReadDir(b.path + ".work")
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v %v", left, err)
	}
}
