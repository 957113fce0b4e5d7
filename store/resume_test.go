package store

import (
	"slices"
	"testing"

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
