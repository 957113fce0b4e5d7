package store

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/signal"
)

// TestArchiverGoesOn begins where a process was killed: some partitions' files are ahead of
// what the bus was told to forget.
func TestArchiverGoesOn(t *testing.T) {
	bus, lake := newMemoryBus(), &memoryLake{}
	for n := 1; n <= 9; n++ {
		bus.payloads = append(bus.payloads, appendBatch(nil, &batchHead{count: 1, firstTime: event(n).Time, lastTime: event(n).Time}, event(n).AppendFrame(nil)))
	}
	held := memoryFile{p: PartitionOf(event(1)), first: 1, last: 5} // the others, of each third event, are on the bus alone
	for _, n := range []int{1, 2, 4, 5} {
		held.events = append(held.events, event(n))
	}
	lake.files = append(lake.files, held)
	seen, _ := seqs(t, ReadOnly(bus, lake), Query{})
	wantEach(t, seen, 1, 9)

	s := newStore(t, DefaultConfig(), bus, lake)
	stop := runStore(t, s)
	eventually(t, "the end of the bus", func() bool { _, a := s.Stats(); return a.Done == 9 })
	stop()
	if _, a := s.Stats(); a.Repeated != 4 || a.Events != 5 || a.Trimmed != 9 {
		t.Errorf("stats %+v: want 4 events left out and 5 archived", a)
	}
	seen, stats := seqs(t, ReadOnly(bus, lake), Query{})
	if wantEach(t, seen, 1, 9); stats.Tail != 0 {
		t.Errorf("%d events are still on the bus", stats.Tail)
	}
}

// TestNewestOfEqualTimes: of events of one moment the later ones in the judge's sequence are the newer ones.
func TestNewestOfEqualTimes(t *testing.T) {
	s := newStore(t, DefaultConfig(), newMemoryBus(), &memoryLake{})
	runStore(t, s)
	for _, n := range []uint64{3, 1, 5, 2, 4} {
		e := event(1)
		e.Seq = n
		s.Record(e)
		if err := s.Sync(t.Context()); err != nil { // a batch each
			t.Fatal(err)
		}
	}
	var got []uint64
	if _, err := s.Scan(t.Context(), Query{Newest: true, Limit: 2}, func(e *signal.Event) bool { got = append(got, e.Seq); return true }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, []uint64{5, 4}) {
		t.Errorf("newest: %v", got)
	}
}

func TestUnreadableBatches(t *testing.T) {
	bus, lake := newMemoryBus(), &memoryLake{}
	for i := range 6 {
		batch := appendBatch(nil, &batchHead{count: 1, firstTime: event(i + 1).Time, lastTime: event(i + 1).Time}, event(i+1).AppendFrame(nil))
		bus.payloads = append(bus.payloads, batch)
	}
	bus.payloads[1] = []byte("garbage")
	bus.payloads[2][len(bus.payloads[2])-9] ^= 1
	bus.payloads[3] = nil               // lost
	bus.payloads = append(bus.payloads, // one whose second event is cut
		appendBatch(nil, &batchHead{count: 2, firstTime: event(7).Time, lastTime: event(7).Time}, append(event(7).AppendFrame(nil), 0x85, 0x80, 0, 1)))
	if _, tail := seqs(t, ReadOnly(bus, lake), Query{}); len(tail.Gaps) != 3 {
		t.Errorf("on the bus: gaps %v: a search over unreadable batches is not exact", tail.Gaps)
	}
	if _, tail := seqs(t, ReadOnly(bus, lake), Query{Until: time.Unix(0, event(1).Time)}); len(tail.Gaps) != 0 {
		t.Errorf("before them: gaps %v", tail.Gaps)
	}
	dir := t.TempDir()
	s, err := New(DefaultConfig(), dir, bus, lake, quiet(), nil)
	if err != nil {
		t.Fatal(err)
	}
	stop := runStore(t, s)
	eventually(t, "the end of the bus", func() bool { _, a := s.Stats(); return a.Done == 7 })
	stop()
	_, a := s.Stats()
	if a.DeadLetters != 3 || a.Lost != 1 || a.Gaps != 1 {
		t.Errorf("stats %+v", a)
	}
	seen, scan := seqs(t, ReadOnly(bus, lake), Query{})
	if diff := cmp.Diff(map[uint64]int{1: 1, 5: 1, 6: 1, 7: 1}, seen); diff != "" || len(scan.Gaps) == 0 || scan.Gaps[0].FirstTime != event(1).Time {
		t.Errorf("(-want +got):\n%s gaps %v", diff, scan.Gaps)
	}
	letters, _ := filepath.Glob(filepath.Join(dir, "deadletter", "*.batch"))
	if len(letters) != 3 {
		t.Fatalf("letters %v", letters)
	}
	if raw, err := os.ReadFile(letters[0]); err != nil || string(raw) != "garbage" {
		t.Errorf("%q, %v", raw, err)
	}
	full := &deadLetters{dir: filepath.Join(dir, "deadletter"), limit: 10}
	if err := full.keep(9, []byte("0123456789")); err != nil || full.lost.Load() != 1 {
		t.Errorf("a full folder: error %v, %d lost", err, full.lost.Load())
	}
}
