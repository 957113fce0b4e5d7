package bus

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/internal/require"
)

// tracedChild names the directory in the process that the test traces.
const tracedChild = "TESTUDO_TEST_BUS_DIR"

const (
	tracedBatches = 5
	tracedPayload = "traced-batch-payload"
)

// tracedMain publishes batches and writes a line to standard output after each acknowledgement.
func tracedMain() {
	b, err := Open(context.Background(), testConfig(), Options{Dir: os.Getenv(tracedChild)}, slog.New(slog.DiscardHandler))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer b.Close()
	for i := range tracedBatches {
		if _, err := b.Publish(context.Background(), fmt.Sprint(i), fmt.Appendf(nil, "%s-%d", tracedPayload, i)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Fprintf(os.Stdout, "ACK-%d\n", i)
	}
}

// TestAcknowledgedMeansSynced traces the system calls of a process and checks for each batch that, before
// its acknowledgement is seen, the file it was written to was either synced after the
// write or had been opened to be synced by every write.
func TestAcknowledgedMeansSynced(t *testing.T) {
	strace := require.Program(t, "strace", "strace")
	dir := t.TempDir()
	trace := filepath.Join(dir, "trace")
	cmd := exec.Command(strace, "-f", "-y", "-s", "65536", "-o", trace,
		"-e", "trace=openat,open,write,pwrite64,writev,pwritev,pwritev2,fsync,fdatasync,sync_file_range", os.Args[0])
	cmd.Env = append(os.Environ(), tracedChild+"="+filepath.Join(dir, "bus"))
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
	for i := range tracedBatches {
		if err := checkOrder(string(raw), fmt.Sprintf("%s-%d", tracedPayload, i), fmt.Sprintf(`"ACK-%d\n"`, i)); err != nil {
			t.Errorf("batch %d: %v", i, err)
		}
	}
	if err := checkOrder("1 pwrite64(5</x/1.blk>, \"batch\", 5, 0) = 5\n1 write(1<pipe>, \"ACK\") = 3\n", "batch", "ACK"); err == nil {
		t.Error("the check accepts a batch that was not synced")
	}
}

var (
	writeCall = regexp.MustCompile(`^\d+ +p?write(?:64|v|v2)?\((\d+)<([^>]+)>`)
	syncCall  = regexp.MustCompile(`^\d+ +(?:fsync|fdatasync)\(\d+<([^>]+)>\) += 0`)
	syncStart = regexp.MustCompile(`^(\d+) +(?:fsync|fdatasync)\(\d+<([^>]+)> <unfinished`)
	syncEnd   = regexp.MustCompile(`^(\d+) +<\.\.\. (?:fsync|fdatasync) resumed>\) += 0`)
	syncOpen  = regexp.MustCompile(`^\d+ +open(?:at)?\(.*O_D?SYNC.*= \d+<([^>]+)>`)
)

// checkOrder looks for the write of the payload to a file below a streams folder, a sync of that
// file (or its opening with O_SYNC), and the acknowledgement, in this order.
func checkOrder(trace, payload, ack string) error {
	synced := make(map[string]bool)    // opened so that every write is synced
	running := make(map[string]string) // process -> file whose sync has begun behind the write
	file, safe := "", false
	for line := range strings.Lines(trace) {
		if m := syncOpen.FindStringSubmatch(line); m != nil {
			synced[m[1]] = true
		}
		switch m := writeCall.FindStringSubmatch(line); {
		case m != nil && m[1] == "1" && strings.Contains(line, ack):
			switch {
			case file == "":
				return fmt.Errorf("acknowledged before it was written to a file")
			case !safe:
				return fmt.Errorf("acknowledged before %s was synced", file)
			}
			return nil
		case m != nil && strings.HasSuffix(m[2], ".blk") && strings.Contains(line, payload):
			file, safe = m[2], synced[m[2]]
		}
		if m := syncCall.FindStringSubmatch(line); m != nil && m[1] == file {
			safe = true
		}
		if m := syncStart.FindStringSubmatch(line); m != nil {
			running[m[1]] = m[2]
		}
		if m := syncEnd.FindStringSubmatch(line); m != nil && file != "" && running[m[1]] == file {
			safe = true
		}
	}
	return fmt.Errorf("no acknowledgement in the trace")
}
