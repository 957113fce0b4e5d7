package storetest_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/testudo-sec/testudo/internal/bytesize"
	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store/storetest"
)

// crashChild names the directory, and crashFrom the first sequence, in the process that is killed.
const (
	crashChild = "TESTUDO_TEST_CRASH_DIR"
	crashFrom  = "TESTUDO_TEST_CRASH_FROM"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashChild); dir != "" {
		crashMain(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

// crashConfig makes lake files, compactions and trims as often as can be, so that a kill meets each.
func crashConfig() storetest.Config {
	cfg := storetest.DefaultConfig()
	cfg.Store.ArchiveAge = 100 * time.Millisecond
	cfg.Store.ArchiveRows = 2000
	cfg.Lake.CompactAfter = 0
	cfg.Lake.CompactSize = 4 * bytesize.MiB
	return cfg
}

// crashMain records until it is killed, and writes the last sequence up to which everything is acknowledged.
func crashMain(dir string) {
	from, _ := strconv.ParseUint(os.Getenv(crashFrom), 10, 64)
	n, err := storetest.Open(context.Background(), dir, crashConfig(), slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
	if err != nil {
		fmt.Fprintln(os.Stderr, "the start after a crash fails:", err)
		os.Exit(1)
	}
	fmt.Println("READY")
	go func() { // compact without waiting for the minute's tick
		for {
			_, a := n.Stats()
			_ = n.Lake.Maintain(context.Background(), time.Now(), a.Trimmed)
			time.Sleep(50 * time.Millisecond)
		}
	}()
	var e signal.Event
	for seq := from; ; {
		for range 200 {
			// Events of two classes, in this hour and in two past ones, which are compacted.
			storetest.HTTPEvent(&e, time.Now().Add(-time.Duration(seq%3)*2*time.Hour), seq)
			if seq%5 == 0 {
				e.Class = signal.ClassAPIActivity
			}
			if n.Record(&e) {
				seq++
			}
		}
		if err := n.Sync(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println("ACK", seq-1)
	}
}

// TestKillAnywhere kills a process that records, at random moments, and starts it again; then
// every acknowledged event must be there, once, and no event twice. TESTUDO_CRASHES says
// how often; 20 is the bar, 6 the default.
func TestKillAnywhere(t *testing.T) {
	rounds := 6
	if n, err := strconv.Atoi(os.Getenv("TESTUDO_CRASHES")); err == nil {
		rounds = n
	}
	dir := t.TempDir()
	acked, recorded := make(map[uint64]bool), uint64(1)
	// A machine so busy that nothing is acknowledged before the kill gets more rounds.
	for round := 0; round < rounds || len(acked) == 0 && round < 10*rounds; round++ {
		// Each round numbers its events anew, so that unacknowledged ones of the last are not mistaken for its own.
		from := recorded + 1_000_000
		last := crashRound(t, dir, from, time.Duration(20+rand.IntN(900))*time.Millisecond)
		for seq := from; seq <= last; seq++ {
			acked[seq] = true
		}
		recorded = max(last, from)
		t.Logf("round %d: %d events acknowledged", round+1, len(acked))
	}
	n, err := storetest.Open(t.Context(), dir, crashConfig(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	for _, moment := range []string{"at once", "when all is archived and compacted"} {
		seen := make(map[uint64]int)
		stats, err := n.Scan(t.Context(), storeQuery(), func(e *signal.Event) bool { seen[e.Seq]++; return true })
		if err != nil || len(stats.Damaged) > 0 {
			t.Fatalf("%s: error %v, stats %+v", moment, err, stats)
		}
		lost, twice := 0, 0
		for seq := range acked {
			if seen[seq] == 0 {
				lost++
			}
		}
		for _, times := range seen {
			if times > 1 {
				twice++
			}
		}
		if lost > 0 || twice > 0 || len(acked) == 0 {
			t.Fatalf("%s: of %d acknowledged events %d are lost; %d of %d events are there twice", moment, len(acked), lost, twice, len(seen))
		}
		deadline := time.Now().Add(time.Minute)
		for _, a := n.Stats(); a.Open > 0 || a.Done == 0; _, a = n.Stats() {
			if time.Now().After(deadline) {
				t.Fatal("the archiver does not come to an end")
			}
			time.Sleep(10 * time.Millisecond)
		}
		_, a := n.Stats()
		if err := n.Lake.Maintain(t.Context(), time.Now(), a.Trimmed); err != nil {
			t.Fatal(err)
		}
	}
	if s := n.Lake.Stats(); s.Damaged > 0 || s.Files == 0 {
		t.Errorf("lake %+v", s)
	}
}

// crashRound starts the child, kills it after that long and returns the last acknowledged sequence.
func crashRound(t *testing.T, dir string, from uint64, life time.Duration) uint64 {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashChild+"="+dir, crashFrom+"="+strconv.FormatUint(from, 10))
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	ready, _ := lines.ReadString('\n')
	if ready != "READY\n" {
		_ = cmd.Wait()
		t.Fatalf("the child does not start: %s", complaints.String())
	}
	timer := time.AfterFunc(life, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	last := from - 1
	for {
		line, err := lines.ReadString('\n')
		if err == io.EOF || err != nil {
			break
		}
		if seq, err := strconv.ParseUint(strings.TrimSpace(strings.TrimPrefix(line, "ACK ")), 10, 64); err == nil {
			last = seq
		}
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.Exited() {
		t.Fatalf("the child ended by itself: %v: %s", err, complaints.String())
	}
	return last
}

func lakeFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "lake", "class=*", "hour=*", "*.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}
