package store

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/testudo-sec/testudo/internal/bytesize"
	"github.com/testudo-sec/testudo/signal"
)

func TestRecordSyncScan(t *testing.T) {
	bus, lake := newMemoryBus(), &memoryLake{}
	s := newStore(t, DefaultConfig(), bus, lake)
	stop := runStore(t, s)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for n := g*250 + 1; n <= g*250+250; n++ {
				if !s.Record(event(n)) {
					t.Error("dropped")
				}
			}
		})
	}
	wg.Wait()
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r, _ := s.Stats(); r.Recorded != 1000 || r.Acked != 1000 || r.Pending != 0 || r.Batches == 0 || r.Batches > 1000 {
		t.Errorf("stats %+v", r)
	}
	seen, stats := seqs(t, s.History, Query{})
	wantEach(t, seen, 1, 1000)
	if stats.Tail != 1000 {
		t.Errorf("stats %+v: want the events from the bus", stats)
	}
	stop()
	seen, stats = seqs(t, ReadOnly(bus, lake), Query{})
	wantEach(t, seen, 1, 1000)
	if stats.Tail != 0 || len(bus.payloads) != 0 {
		t.Errorf("after the stop %d events are on the bus, %d batches", stats.Tail, len(bus.payloads))
	}
	if s.Record(event(1001)) {
		t.Error("an event was taken after the stop")
	}
}

// TestSecretsStayOut looks for the raw form of a masked field in what reaches the bus.
func TestSecretsStayOut(t *testing.T) {
	bus := newMemoryBus()
	s := newStore(t, DefaultConfig(), bus, &memoryLake{})
	runStore(t, s)
	s.Record(event(1))
	if _, err := s.Scan(t.Context(), Query{}, func(e *signal.Event) bool {
		if v := e.Str(signal.FieldHTTPRequestURLQueryString); v != "password=***" || !e.IsMasked(signal.FieldHTTPRequestURLQueryString) {
			t.Errorf("got %q", v)
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	for _, e := range s.Live().Recent(10, nil) {
		if strings.Contains(string(e.AppendJSON(nil)), "hunter2") || e.Str(signal.FieldHTTPRequestURLQueryString) != "password=***" {
			t.Error("the live view shows a raw form")
		}
	}
}

// TestDropsLeaveGaps fills the memory while the bus is blocked.
func TestDropsLeaveGaps(t *testing.T) {
	bus, lake := newMemoryBus(), &memoryLake{}
	cfg := DefaultConfig()
	cfg.Memory = 2 * bytesize.MiB
	cfg.ArchiveAge = 100 * time.Millisecond
	s := newStore(t, cfg, bus, lake)
	bus.block = make(chan struct{})
	stop := runStore(t, s)
	var taken, dropped []uint64
	noise := rand.New(rand.NewPCG(1, 2)) // a batch that compresses well takes little memory
	big := make([]byte, 1000)
	for n := 1; n <= 4000; n++ {
		for i := range big {
			big[i] = byte(noise.Uint32())
		}
		e := event(n)
		e.SetString(signal.FieldMessage, string(big))
		if s.Record(e) {
			taken = append(taken, e.Seq)
		} else {
			dropped = append(dropped, e.Seq)
		}
	}
	r, _ := s.Stats()
	lost := uint64(len(dropped))
	if lost == 0 || r.Full != lost || r.DroppedBy[signal.PlaneEdge] != lost || r.Pending > int64(cfg.Memory) {
		t.Fatalf("%d taken, %d dropped, stats %+v", len(taken), lost, r)
	}
	close(bus.block)
	bus.set(func(b *memoryBus) { b.block = nil })
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	check := func(h *History) {
		t.Helper()
		seen, stats := seqs(t, h, Query{})
		for _, seq := range taken {
			if seen[seq] != 1 {
				t.Fatalf("event %d was seen %d times, want once", seq, seen[seq])
			}
		}
		// Packing makes a little room in between, so there may be several gaps.
		var missing uint64
		first, last := uint64(math.MaxUint64), uint64(0)
		for _, g := range stats.Gaps {
			missing += g.Count
			first, last = min(first, g.FirstSeq), max(last, g.LastSeq)
			if g.Plane != signal.PlaneEdge {
				t.Errorf("gap %+v", g)
			}
		}
		if len(seen) != len(taken) || missing != lost || first != dropped[0] || last != dropped[lost-1] {
			t.Errorf("%d events, want %d; gaps %+v, want %d events from %d to %d", len(seen), len(taken), stats.Gaps, lost, dropped[0], dropped[lost-1])
		}
		if _, stats := seqs(t, h, Query{Until: epoch}); len(stats.Gaps) != 0 {
			t.Errorf("gaps outside of the range: %+v", stats.Gaps)
		}
	}
	check(s.History)
	stop()
	check(ReadOnly(bus, lake))
}

func TestOversize(t *testing.T) {
	s := newStore(t, DefaultConfig(), newMemoryBus(), &memoryLake{})
	e := event(1)
	e.SetString(signal.FieldRawData, strings.Repeat("x", 600<<10))
	if s.Record(e) {
		t.Error("an event above max_event was taken")
	}
	if r, _ := s.Stats(); r.Oversize != 1 || r.Dropped() != 1 {
		t.Errorf("stats %+v", r)
	}
}

// TestPacketsAreTight checks that a batch that waits takes the memory that it is counted with.
func TestPacketsAreTight(t *testing.T) {
	s := newStore(t, DefaultConfig(), newMemoryBus(), &memoryLake{})
	for n := 1; n <= 2000; n++ {
		s.Record(event(n))
	}
	s.seal()
	b, _ := s.take()
	s.compress(b)
	p, _ := s.nextPacket()
	if cap(p.payload) > len(p.payload)+len(p.payload)/4+1024 {
		t.Errorf("a packet of %d bytes holds %d", len(p.payload), cap(p.payload))
	}
}

// TestBusComesBack lets publications fail, one of them after the batch was stored.
func TestBusComesBack(t *testing.T) {
	bus := newMemoryBus()
	s := newStore(t, DefaultConfig(), bus, &memoryLake{})
	runStore(t, s)
	bus.set(func(b *memoryBus) { b.onlyAck = errors.New("the answer was lost") })
	for n := 1; n <= 10; n++ {
		s.Record(event(n))
	}
	eventually(t, "a degraded state", func() bool { return s.Health() != nil })
	if err := s.Health(); !strings.Contains(err.Error(), "the answer was lost") || !strings.Contains(err.Error(), "no event was dropped yet") {
		t.Errorf("health %v", err)
	}
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := s.Sync(short); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "the answer was lost") {
		t.Errorf("sync while the bus is broken: %v", err)
	}
	bus.set(func(b *memoryBus) { b.onlyAck = nil })
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	seen, _ := seqs(t, s.History, Query{})
	wantEach(t, seen, 1, 10)
	if err := s.Health(); err != nil {
		t.Errorf("health %v after the bus came back", err)
	}
}

// TestArchiverTakesUp fails commits, and damages and loses batches.
func TestArchiverTakesUp(t *testing.T) {
	bus, lake := newMemoryBus(), &memoryLake{failures: 1}
	cfg := DefaultConfig()
	cfg.ArchiveAge = 100 * time.Millisecond
	s := newStore(t, cfg, bus, lake)
	stop := runStore(t, s)
	for n := 1; n <= 300; n++ {
		s.Record(event(n))
		if n%50 == 0 {
			if err := s.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	eventually(t, "a commit", func() bool { _, a := s.Stats(); return a.Commits >= 2 && a.Retries >= 1 && a.Open == 0 })
	stop()
	seen, stats := seqs(t, ReadOnly(bus, lake), Query{})
	wantEach(t, seen, 1, 300)
	if stats.Tail != 0 {
		t.Errorf("%d events are still on the bus", stats.Tail)
	}
}

// TestOnceWhileArchiving scans again and again while events are recorded and archived.
func TestOnceWhileArchiving(t *testing.T) {
	bus, lake := newMemoryBus(), &memoryLake{}
	cfg := DefaultConfig()
	cfg.ArchiveAge, cfg.ArchiveRows, cfg.BatchAge = 100*time.Millisecond, 1000, time.Millisecond
	s := newStore(t, cfg, bus, lake)
	stop := runStore(t, s)
	const total = 20_000
	recorded := make(chan struct{})
	var at sync.Mutex
	done := 0
	go func() {
		defer close(recorded)
		for n := 1; n <= total; n++ {
			at.Lock()
			s.Record(event(n))
			done = n
			at.Unlock()
		}
	}()
	for running := true; running; {
		select {
		case <-recorded:
			running = false
		default:
		}
		at.Lock()
		least := done
		at.Unlock()
		seen, stats := seqs(t, s.History, Query{})
		for n := range len(seen) {
			if seen[uint64(n+1)] != 1 {
				t.Fatalf("event %d was seen %d times while the archiver ran", n+1, seen[uint64(n+1)])
			}
		}
		if len(seen) < least || stats.Unsynced != nil {
			t.Fatalf("%d events, want at least %d that were recorded before (%v)", len(seen), least, stats.Unsynced)
		}
	}
	stop()
	if lake.commits < 3 {
		t.Errorf("%d commits: the archiver hardly ran", lake.commits)
	}
	seen, _ := seqs(t, ReadOnly(bus, lake), Query{})
	wantEach(t, seen, 1, total)
}

// TestOvertaken trims the bus under a scan that has been at it for too long.
func TestOvertaken(t *testing.T) {
	bus, lake := newMemoryBus(), &memoryLake{}
	for n := range 4 {
		bus.payloads = append(bus.payloads, appendBatch(nil, &batchHead{count: 1, firstTime: 0, lastTime: math.MaxInt64}, event(n+1).AppendFrame(nil)))
	}
	h := ReadOnly(bus, lake)
	bus.onRead = func(seq uint64) {
		if seq == 2 {
			bus.onRead = nil
			if ok, err := h.trim(t.Context(), 3); ok || err != nil {
				t.Errorf("trimmed under a scan that has just begun: %v, error %v", ok, err)
			}
			_ = bus.Trim(t.Context(), 3)
		}
	}
	if _, err := h.Scan(t.Context(), Query{}, func(*signal.Event) bool { return true }); !errors.Is(err, ErrTooSlow) {
		t.Errorf("error %v, want ErrTooSlow: events are missing", err)
	}
	if ok, err := h.trim(t.Context(), 4); !ok || err != nil {
		t.Errorf("not trimmed after the scan: %v", err)
	}
}

func TestNewestAndLimit(t *testing.T) {
	bus, lake := newMemoryBus(), &memoryLake{}
	s := newStore(t, DefaultConfig(), bus, lake)
	stop := runStore(t, s)
	for _, n := range []int{5, 9, 1, 7} {
		s.Record(event(n))
	}
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop() // these are in the lake
	s = newStore(t, DefaultConfig(), bus, lake)
	runStore(t, s)
	for _, n := range []int{2, 8, 4} {
		s.Record(event(n))
	}
	order := func(q Query) (got []uint64) {
		t.Helper()
		if _, err := s.Scan(t.Context(), q, func(e *signal.Event) bool { got = append(got, e.Seq); return true }); err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := order(Query{Newest: true, Limit: 3}); !slices.Equal(got, []uint64{9, 8, 7}) {
		t.Errorf("newest: %v", got)
	}
	if got := order(Query{Newest: true, Limit: 100, Where: func(e *signal.Event) bool { return e.Seq%2 == 0 }}); !slices.Equal(got, []uint64{8, 4, 2}) {
		t.Errorf("newest even: %v", got)
	}
	if got := order(Query{Newest: true, Limit: 2, Until: epoch.Add(7 * time.Second), Classes: []signal.Class{signal.ClassHTTPActivity}}); !slices.Equal(got, []uint64{5, 4}) {
		t.Errorf("newest of a class before: %v", got)
	}
	if got := order(Query{Limit: 2}); len(got) != 2 {
		t.Errorf("limit: %v", got)
	}
	if _, err := s.Scan(t.Context(), Query{Newest: true}, nil); err == nil {
		t.Error("newest without a limit was accepted")
	}
}

// TestLakeWithoutBus reads on where the bus cannot be read, and says so.
func TestLakeWithoutBus(t *testing.T) {
	bus, lake := newMemoryBus(), &memoryLake{}
	s := newStore(t, DefaultConfig(), bus, lake)
	stop := runStore(t, s)
	s.Record(event(1))
	stop()
	bus.broken = errors.New("the bus is gone")
	seen, stats := seqs(t, ReadOnly(bus, lake), Query{})
	wantEach(t, seen, 1, 1)
	if stats.Unsynced == nil || !strings.Contains(stats.Unsynced.Error(), "the bus is gone") {
		t.Errorf("stats %+v: want the reason why events may be missing", stats)
	}
}

func TestGet(t *testing.T) {
	bus, lake := newMemoryBus(), &memoryLake{}
	s := newStore(t, DefaultConfig(), bus, lake)
	runStore(t, s)
	now, old := event(1), event(2)
	old.Time = epoch.Add(-1000 * time.Hour).UnixNano() // its id is of another time
	s.Record(now)
	s.Record(old)
	for _, want := range []*signal.Event{now, old} {
		got, err := s.Get(t.Context(), want.ID)
		if err != nil || got.Seq != want.Seq || got.Time != want.Time {
			t.Errorf("got %v, error %v", got, err)
		}
	}
	for _, id := range []signal.ID{{}, signal.NewID(epoch)} {
		if _, err := s.Get(t.Context(), id); !errors.Is(err, ErrNotFound) {
			t.Errorf("an id that no event has: %v", err)
		}
	}
}

func TestLive(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Recent = 5
	s := newStore(t, cfg, newMemoryBus(), &memoryLake{})
	runStore(t, s)
	even := s.Live().Subscribe(100, func(e *signal.Event) bool { return e.Seq%2 == 0 })
	slow := s.Live().Subscribe(1, nil)
	for n := 1; n <= 8; n++ {
		s.Record(event(n))
		if err := s.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []uint64{2, 4, 6, 8} {
		select {
		case e := <-even.Events():
			if e.Seq != want {
				t.Errorf("event %d, want %d", e.Seq, want)
			}
		case <-time.After(time.Minute):
			t.Fatalf("event %d never came", want)
		}
	}
	eventually(t, "a counted drop", func() bool { return slow.Dropped() == 7 })
	var got []uint64
	for _, e := range s.Live().Recent(3, nil) {
		got = append(got, e.Seq)
	}
	if !slices.Equal(got, []uint64{8, 7, 6}) {
		t.Errorf("recent %v", got)
	}
	if n := len(s.Live().Recent(100, nil)); n != 5 {
		t.Errorf("%d events are remembered, want 5", n)
	}
	even.Close()
	even.Close()
	if _, open := <-even.Events(); open {
		t.Error("the channel is open after Close")
	}
	slow.Close()
	var subs []*Subscription
	for {
		sub := s.Live().Subscribe(1, nil)
		if sub == nil {
			break
		}
		subs = append(subs, sub)
	}
	if len(subs) != maxSubscribers {
		t.Errorf("%d subscriptions", len(subs))
	}
}

func TestPartition(t *testing.T) {
	for _, ns := range []int64{0, 1, -1, math.MaxInt64, math.MinInt64 + int64(time.Hour), epoch.UnixNano()} {
		for _, class := range []signal.Class{signal.ClassHTTPActivity, 0, 9999} {
			p := Partition{class, HourOf(ns)}
			back, err := ParsePartition(p.String())
			if err != nil || back != p {
				t.Errorf("%s: %v, error %v", p, back, err)
			}
		}
	}
	if p := (Partition{signal.ClassHTTPActivity, HourOf(epoch.UnixNano())}); p.String() != "class=http_activity/hour=2026-11-22T10" {
		t.Error(p)
	}
	for _, bad := range []string{"", "class=http_activity", "class=x/hour=2026-11-22T10", "class=class_99999/hour=2026-11-22T10", "class=http_activity/hour=2026-11-22"} {
		if p, err := ParsePartition(bad); err == nil {
			t.Errorf("%q: %v", bad, p)
		}
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	release, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(dir); err == nil || !strings.Contains(err.Error(), "process "+strconv.Itoa(os.Getpid())) || !strings.Contains(err.Error(), dir) {
		t.Errorf("error %v: want the directory and the holder", err)
	}
	release()
	again, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	again()
	if _, err := Lock(filepath.Join(dir, "none")); err == nil {
		t.Error("a directory that is not there was locked")
	}
}

func TestMetricsAndConfig(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	s, err := New(DefaultConfig(), t.TempDir(), newMemoryBus(), &memoryLake{}, quiet(), reg)
	if err != nil {
		t.Fatal(err)
	}
	runStore(t, s)
	s.Record(event(1))
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, f := range families {
		if f.GetName() == "testudo_store_recorded_events_total" {
			found = f.GetMetric()[0].GetCounter().GetValue() == 1
		}
	}
	if !found {
		t.Error("the counter of recorded events is not 1")
	}
	for name, change := range map[string]func(*Config){
		"batch_size": func(c *Config) { c.BatchSize = 1 }, "batch_age": func(c *Config) { c.BatchAge = 0 },
		"memory": func(c *Config) { c.Memory = 1 }, "max_event": func(c *Config) { c.MaxEvent = 1 << 30 },
		"recent": func(c *Config) { c.Recent = -1 }, "archive_age": func(c *Config) { c.ArchiveAge = 0 },
		"archive_rows": func(c *Config) { c.ArchiveRows = 1 }, "archive_size": func(c *Config) { c.ArchiveSize = 1 },
		"dead_letters": func(c *Config) { c.DeadLetters = -1 },
	} {
		c := DefaultConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), name+": ") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func FuzzBatch(f *testing.F) {
	gaps := []Gap{{Plane: signal.PlaneEdge, Count: 3, FirstSeq: 1, LastSeq: 9, FirstTime: -5, LastTime: 7}}
	f.Add(appendBatch(nil, &batchHead{count: 1, firstSeq: 1, lastSeq: 1, gaps: gaps}, event(1).AppendFrame(nil)))
	f.Add(appendBatch(nil, &batchHead{}, nil))
	f.Add([]byte(batchMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		head, body, err := parseBatch(b)
		if err != nil {
			return
		}
		raw, err := head.frames(nil, body)
		if err != nil {
			return
		}
		again, _, err := parseBatch(appendBatch(nil, &head, raw))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(head, again, cmp.AllowUnexported(batchHead{})); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestBatchDamage(t *testing.T) {
	good := appendBatch(nil, &batchHead{count: 1, gaps: []Gap{{Count: 2}}}, event(1).AppendFrame(nil))
	if _, _, err := parseBatch(good); err != nil {
		t.Fatal(err)
	}
	for i := range good {
		bad := slices.Clone(good)
		bad[i] ^= 0x10
		if _, _, err := parseBatch(bad); err == nil {
			t.Errorf("a changed byte %d was not noticed", i)
		}
		if _, _, err := parseBatch(good[:i]); err == nil {
			t.Errorf("a batch cut at byte %d was not noticed", i)
		}
	}
}

func BenchmarkRecord(b *testing.B) {
	bus := &discardBus{memoryBus: newMemoryBus()}
	cfg := DefaultConfig()
	cfg.Memory = bytesize.GiB
	s := newStore(b, cfg, bus, &memoryLake{})
	runStore(b, s)
	e := event(1)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			s.Record(e)
		}
	})
}

// discardBus acknowledges and forgets.
type discardBus struct{ *memoryBus }

func (b *discardBus) Publish(context.Context, string, []byte) (uint64, error) { return 1, nil }
