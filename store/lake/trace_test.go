package lake

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/signal"
)

// tracedChild names the lake in the process that is traced.
const tracedChild = "TESTUDO_TEST_TRACED_LAKE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(tracedChild); dir != "" {
		if err := tracedMain(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// tracedMain commits a file and says so on standard output.
func tracedMain(dir string) error {
	l, err := Open(dir, DefaultConfig(), slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	p := hourOf(signal.ClassHTTPActivity)
	part, err := l.Create(p)
	if err != nil {
		return err
	}
	defer part.Discard()
	for _, e := range requests(0, 10) {
		if err := part.Append(e); err != nil {
			return err
		}
	}
	if err := part.Commit(1, 4); err != nil {
		return err
	}
	_, err = fmt.Fprintln(os.Stdout, "COMMITTED")
	return err
}

// TestCommittedMeansSynced traces the system calls of a commit: the file is synced after its last write, then
// renamed, then its folder is synced, and only then is it said to be committed, upon which the bus may forget.
func TestCommittedMeansSynced(t *testing.T) {
	strace := require.Program(t, "strace", "strace")
	dir := t.TempDir()
	trace := filepath.Join(dir, "trace")
	cmd := exec.Command(strace, "-f", "-y", "-o", trace,
		"-e", "trace=write,pwrite64,writev,fsync,fdatasync,rename,renameat,renameat2", os.Args[0])
	cmd.Env = append(os.Environ(), tracedChild+"="+filepath.Join(dir, "lake"))
	if out, err := cmd.CombinedOutput(); err != nil {
		if strings.Contains(string(out), "ptrace") {
			require.Part(t, "strace", false, "tracing is not permitted here: "+string(out))
		}
		t.Fatalf("%v: %s", err, out)
	}
	raw, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	if got := commitSteps(string(raw)); got != "write sync rename folder committed" {
		t.Errorf("the steps of a commit are %q\n%s", got, raw)
	}
}

var (
	tracedWrite  = regexp.MustCompile(`(?:write|pwrite64|writev)\(\d+<[^>]*/\.new-[^>]*>`)
	tracedSync   = regexp.MustCompile(`f(?:data)?sync\(\d+<[^>]*/\.new-[^>]*>`)
	tracedRename = regexp.MustCompile(`rename(?:at2?)?\(.*/\.new-.*\.parquet"`)
	tracedFolder = regexp.MustCompile(`f(?:data)?sync\(\d+<[^>]*/hour=[^/>]*>`)
	tracedSaid   = regexp.MustCompile(`write\(1<.*COMMITTED`)
)

// commitSteps names the steps of a commit in the order in which they begin, each as often as it changes. The
// process that commits does one at a time, so that what begins later has seen the end of what began before.
func commitSteps(trace string) string {
	var steps []string
	for line := range strings.Lines(trace) {
		for _, s := range []struct {
			name string
			call *regexp.Regexp
		}{{"write", tracedWrite}, {"sync", tracedSync}, {"rename", tracedRename}, {"folder", tracedFolder}, {"committed", tracedSaid}} {
			if s.call.MatchString(line) && (len(steps) == 0 || steps[len(steps)-1] != s.name) {
				steps = append(steps, s.name)
			}
		}
	}
	return strings.Join(steps, " ")
}
