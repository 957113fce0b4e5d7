package storetest_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/internal/bytesize"
	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
	"github.com/testudo-sec/testudo/store/storetest"
)

func storeQuery() store.Query { return store.Query{} }

func eventually(t *testing.T, what string, ok func() bool, n ...*storetest.Node) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never came: " + what + lastState(n...))
		}
	}
}

// smallDisk mounts a file system of that size for the test.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	require.Root(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		require.Part(t, "mount", false, "mounting a tmpfs is not permitted here: "+err.Error())
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func record(t *testing.T, n *storetest.Node, from, to uint64) (taken uint64) {
	t.Helper()
	var e signal.Event
	for seq := from; seq <= to; seq++ {
		storetest.HTTPEvent(&e, time.Now(), seq)
		if n.Record(&e) {
			taken++
		}
	}
	return taken
}

func count(t *testing.T, n *storetest.Node) (events int, twice int) {
	t.Helper()
	seen := make(map[uint64]int)
	if _, err := n.Scan(t.Context(), storeQuery(), func(e *signal.Event) bool { seen[e.Seq]++; return true }); err != nil {
		t.Fatal(err)
	}
	for _, times := range seen {
		if times > 1 {
			twice++
		}
	}
	return len(seen), twice
}

// TestFullDisk fills the disk under the store, looks at its health, and makes room again.
func TestFullDisk(t *testing.T) {
	dir := smallDisk(t, "48m")
	cfg := storetest.DefaultConfig()
	cfg.Store.ArchiveAge = 200 * time.Millisecond
	cfg.Store.Memory = 2 * bytesize.MiB
	cfg.Bus.MaxSize = 64 * bytesize.MiB
	cfg.Bus.Timeout = time.Second
	n, err := storetest.Open(t.Context(), dir, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	closed := false
	defer func() {
		if !closed {
			n.Close()
		}
	}()
	record(t, n, 1, 1000)
	if err := n.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(dir, "ballast")
	fill(t, ballast)
	seq := uint64(1000)
	eventually(t, "a degraded state", func() bool {
		record(t, n, seq+1, seq+2000)
		seq += 2000
		return n.Recorder.Health() != nil
	})
	t.Logf("after %d events: %v", seq, n.Health())
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a healthy state", func() bool { return n.Health() == nil }, n)
	patient, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := n.Sync(patient); err != nil {
		t.Fatal(err)
	}
	r, _ := n.Stats()
	events, twice := count(t, n)
	if uint64(events) != r.Recorded || r.Acked != r.Recorded || twice != 0 {
		t.Errorf("%d events, %d twice, stats %+v: want every event that was taken", events, twice, r)
	}
	n.Close()
	closed = true
	n, err = storetest.Open(t.Context(), dir, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal("the start after a full disk: ", err)
	}
	closed = false
	if again, twice := count(t, n); again != events || twice != 0 {
		t.Errorf("%d events after a restart, %d twice, want %d", again, twice, events)
	}
}

// fill writes until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	chunk := make([]byte, 64<<10)
	for len(chunk) > 0 {
		if _, err := f.Write(chunk); err != nil {
			chunk = chunk[:len(chunk)/2]
		}
	}
}

// TestReadOnlyLake makes the disk read-only under a store that runs.
func TestReadOnlyLake(t *testing.T) {
	dir := smallDisk(t, "64m")
	data := t.TempDir()
	cfg := storetest.DefaultConfig()
	cfg.Store.ArchiveAge = 100 * time.Millisecond
	if err := os.Symlink(dir, filepath.Join(data, "lake")); err != nil {
		t.Fatal(err)
	}
	n, err := storetest.Open(t.Context(), data, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	record(t, n, 1, 500)
	eventually(t, "a degraded state", func() bool { return n.Health() != nil })
	if err := n.Sync(t.Context()); err != nil { // a search itself waits for a short while only
		t.Fatal(err)
	}
	if err := n.Health(); !strings.Contains(err.Error(), "read-only") {
		t.Errorf("health %v: want the reason", err)
	}
	if events, twice := count(t, n); events != 500 || twice != 0 {
		t.Errorf("%d events while the lake is read-only, %d twice", events, twice)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the events in the lake", func() bool { _, a := n.Stats(); return n.Health() == nil && a.Commits > 0 && a.Open == 0 })
	if events, twice := count(t, n); events != 500 || twice != 0 {
		t.Errorf("%d events afterwards, %d twice", events, twice)
	}
	if files := lakeFiles(t, data); len(files) == 0 {
		t.Error("no lake files")
	}
}

func TestSecondProcess(t *testing.T) {
	dir := t.TempDir()
	n, err := storetest.Open(t.Context(), dir, storetest.DefaultConfig(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if second, err := storetest.Open(t.Context(), dir, storetest.DefaultConfig(), slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "in use by process") {
		second.Close()
		t.Errorf("a second store on the directory: error %v", err)
	}
}

// lastState says where the nodes stand.
func lastState(nodes ...*storetest.Node) string {
	var b strings.Builder
	for _, n := range nodes {
		r, a := n.Stats()
		fmt.Fprintf(&b, "; health %v, bus %v, recorder %+v, archiver %+v", n.Health(), n.Bus.Health(), r, a)
	}
	return b.String()
}
