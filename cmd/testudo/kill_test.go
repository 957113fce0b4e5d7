package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/signal"
)

// process is a testudo of its own.
type process struct {
	cmd  *exec.Cmd
	edge string
	out  *strings.Builder
	done chan struct{}
}

var edgeLine = regexp.MustCompile(`edge +(http://\S+)`)

// startProcess runs testudo up on the directory until it says where its edge is.
func startProcess(t *testing.T, dir, upstream string, more ...string) *process {
	t.Helper()
	p := &process{out: new(strings.Builder), done: make(chan struct{})}
	args := append([]string{"up", "--data", dir, "--edge", "127.0.0.1:0", "--console", "127.0.0.1:0", "--protect", upstream, "--no-kernel"}, more...)
	p.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), "testudo", args...)
	p.cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "XDG_CONFIG_HOME=", "XDG_STATE_HOME=", "XDG_RUNTIME_DIR=")
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stdout, p.cmd.Stderr = write, write
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	t.Cleanup(p.kill)
	found := make(chan string, 1)
	go func() {
		defer close(p.done)
		defer read.Close()
		lines := bufio.NewScanner(read)
		for lines.Scan() {
			if m := edgeLine.FindStringSubmatch(lines.Text()); m != nil {
				found <- m[1]
			}
			p.out.WriteString(lines.Text() + "\n")
		}
	}()
	select {
	case p.edge = <-found:
	case <-p.done:
		t.Fatalf("testudo up ended:\n%s", p.out)
	case <-time.After(time.Minute):
		t.Fatal("testudo up did not say where its edge is")
	}
	return p
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
	_ = p.cmd.Wait()
}

// TestKill: however often the process is killed under load, each start after it succeeds, the
// block and the ledger are whole, and no event shows twice. What was recorded before the last
// moments before a kill is there.
func TestKill(t *testing.T) {
	kills := 3
	if os.Getenv("TESTUDO_LONG") != "" {
		kills = 20
	}
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	defer app.Close()
	short, err := os.MkdirTemp("", "t")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(short)
	dir := filepath.Join(short, "d")
	settled := map[string]bool{} // answered long enough before the kill to be on disk
	for round := range kills {
		p := startProcess(t, dir, app.URL)
		if round == 0 {
			if out, err := exec.CommandContext(t.Context(), "testudo", "block", "203.0.113.7", "--for", "1h", "--data", dir).CombinedOutput(); err != nil {
				t.Fatalf("block: %v\n%s", err, out)
			}
		}
		answered := load(t, p.edge, round, time.Duration(300+rand.IntN(500))*time.Millisecond, func() []string {
			// What the node itself shows as recorded is what it has acknowledged.
			return hunt(t, dir)
		}, p.kill)
		for _, path := range answered {
			settled[path] = true
		}
	}
	p := startProcess(t, dir, app.URL)
	seen := map[string]int{}
	for _, path := range hunt(t, dir) {
		seen[path]++
	}
	for path := range settled {
		if seen[path] != 1 {
			t.Errorf("%s was recorded before a kill and is there %d times after it", path, seen[path])
		}
	}
	for path, n := range seen {
		if n != 1 {
			t.Errorf("%s is there %d times", path, n)
		}
	}
	if len(settled) < 100 {
		t.Errorf("only %d events were recorded before the kills", len(settled))
	}
	out, err := exec.CommandContext(t.Context(), "testudo", "block", "list", "--data", dir).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "203.0.113.7") {
		t.Errorf("the block after %d kills: %v\n%s", kills, err, out)
	}
	out, err = exec.CommandContext(t.Context(), "testudo", "ledger", "verify", "--data", dir).CombinedOutput()
	if err != nil {
		t.Errorf("the ledger after %d kills: %v\n%s", kills, err, out)
	}
	// It stops as it should, too.
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	<-p.done
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("stop: %v\n%s", err, p.out)
	}
	t.Logf("%d events recorded before %d kills, %d in all", len(settled), kills, len(seen))
}

// load sends requests for a while, however slow the machine is at least 50 of them, asks what is recorded meanwhile, and kills in the middle
// of it.
func load(t *testing.T, edge string, round int, after time.Duration, recorded func() []string, kill func()) []string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var answered atomic.Int64
	for n := range 4 {
		wg.Go(func() {
			tr := &http.Transport{DialContext: new(net.Dialer).DialContext}
			defer tr.CloseIdleConnections()
			c := &http.Client{Transport: tr, Timeout: time.Minute}
			for i := 0; ctx.Err() == nil; i++ {
				r, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/k/%d/%d/%d", edge, round, n, i), nil)
				if err != nil {
					return
				}
				resp, err := c.Do(r)
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				answered.Add(1)
			}
		})
	}
	time.Sleep(after)
	for until := time.Now().Add(2 * time.Minute); answered.Load() < 50; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Errorf("%d requests were answered", answered.Load())
			break
		}
	}
	known := recorded()
	kill()
	cancel()
	wg.Wait()
	return known
}

// hunt returns the paths of the requests that the node has recorded.
func hunt(t *testing.T, dir string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "testudo", "hunt", `http_request.url.path.startsWith("/k/") && http_response.code == 0`, "--limit", "0", "--json", "--data", dir)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("hunt: %v", err)
	}
	var paths []string
	for line := range strings.Lines(string(out)) {
		var e signal.Event
		if err := e.UnmarshalJSON([]byte(line)); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		paths = append(paths, e.Str(signal.FieldHTTPRequestURLPath))
	}
	return paths
}
