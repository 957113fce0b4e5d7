package storetest

import (
	"log/slog"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
)

// TestBehind: what was recorded behind a batch is found wherever it is by now, and what is older is not read again.
func TestBehind(t *testing.T) {
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	start := time.Now().Add(-2 * time.Hour).Truncate(time.Hour)
	open := func() *Node {
		t.Helper()
		n, err := Open(t.Context(), dir, DefaultConfig(), log)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	record := func(n *Node, from, to int) uint64 {
		t.Helper()
		var e signal.Event
		for i := from; i <= to; i++ {
			HTTPEvent(&e, start.Add(time.Duration(i)*time.Second), uint64(i))
			n.Record(&e)
		}
		if err := n.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		last, err := n.LastBatch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return last
	}
	behind := func(n *Node, batch uint64, from, to int) store.ScanStats {
		t.Helper()
		seen := map[uint64]int{}
		stats, err := n.Scan(t.Context(), store.Query{Behind: batch, Where: func(e *signal.Event) bool { return e.Seq >= uint64(from) },
			WhereColumns: []signal.Field{signal.FieldMetadataSequence}}, func(e *signal.Event) bool {
			seen[e.Seq]++
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		for i := from; i <= to; i++ {
			if seen[uint64(i)] != 1 {
				t.Fatalf("event %d behind batch %d came %d times", i, batch, seen[uint64(i)])
			}
		}
		if len(seen) != to+1-from {
			t.Errorf("%d events behind batch %d, want %d", len(seen), batch, to+1-from)
		}
		return stats
	}
	n := open()
	first := record(n, 1, 1000)
	n.Close() // into the lake
	n = open()
	if last, err := n.LastBatch(t.Context()); err != nil || last != first {
		t.Errorf("after a restart the last batch is %d, want %d (%v)", last, first, err)
	}
	second := record(n, 1001, 1100)
	record(n, 1101, 1200)
	for batch, from := range map[uint64]int{first: 1001, second: 1101} {
		if stats := behind(n, batch, from, 1200); stats.Files != 0 || stats.Skipped == 0 || stats.Tail != int64(1201-from) {
			t.Errorf("behind batch %d: %+v", batch, stats)
		}
	}
	n.Close()
	n = open()
	defer n.Close()
	if stats := behind(n, first, 1001, 1200); stats.Files != 1 || stats.Skipped == 0 || stats.Events != 200 {
		t.Errorf("from the lake: %+v", stats)
	}
	behind(n, second, 1101, 1200)
}
