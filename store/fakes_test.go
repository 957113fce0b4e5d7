package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/testudo-sec/testudo/signal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// memoryBus is a bus in memory whose publications can be made to fail.
type memoryBus struct {
	mu       sync.Mutex
	first    uint64 // sequence of payloads[0]
	payloads [][]byte
	ids      map[string]uint64
	fail     error
	onlyAck  error // stores, and then says this
	broken   error // what reading says
	block    chan struct{}
	onRead   func(seq uint64) // called before a batch is handed out, without the lock
}

func newMemoryBus() *memoryBus { return &memoryBus{first: 1, ids: make(map[string]uint64)} }

func (b *memoryBus) set(change func(*memoryBus)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(b)
}

func (b *memoryBus) Publish(ctx context.Context, id string, payload []byte) (uint64, error) {
	b.mu.Lock()
	block := b.block
	b.mu.Unlock()
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		return 0, b.fail
	}
	seq, known := b.ids[id]
	if !known {
		b.payloads = append(b.payloads, append([]byte(nil), payload...))
		seq = b.first + uint64(len(b.payloads)) - 1
		b.ids[id] = seq
	}
	return seq, b.onlyAck
}

func (b *memoryBus) Bounds(context.Context) (uint64, uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.broken != nil {
		return 0, 0, b.broken
	}
	return b.first, b.first + uint64(len(b.payloads)) - 1, nil
}

func (b *memoryBus) Read(_ context.Context, from uint64, yield func(uint64, []byte) bool) error {
	_, last, _ := b.Bounds(context.Background())
	for seq := from; seq <= last; seq++ {
		b.mu.Lock()
		hook := b.onRead
		b.mu.Unlock()
		if hook != nil {
			hook(seq)
		}
		b.mu.Lock()
		seq = max(seq, b.first)
		if seq > last || seq-b.first >= uint64(len(b.payloads)) {
			b.mu.Unlock()
			return nil
		}
		payload := b.payloads[seq-b.first]
		b.mu.Unlock()
		if payload != nil && !yield(seq, payload) {
			return nil
		}
	}
	return nil
}

func (b *memoryBus) Trim(_ context.Context, through uint64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.first <= through && len(b.payloads) > 0 {
		b.payloads = b.payloads[1:]
		b.first++
	}
	return nil
}

// memoryLake is a lake in memory.
type memoryLake struct {
	mu       sync.Mutex
	files    []memoryFile
	gaps     []Gap
	gapsTo   uint64
	failures int // Commit fails that often
	commits  int
}

type memoryFile struct {
	p           Partition
	first, last uint64
	events      []*signal.Event
}

func (l *memoryLake) Held(p Partition) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return heldOf(l.files, p)
}

func heldOf(files []memoryFile, p Partition) (last uint64) {
	for _, f := range files {
		if f.p == p {
			last = max(last, f.last)
		}
	}
	return last
}

func (l *memoryLake) Create(p Partition) (Part, error) {
	return &memoryPart{lake: l, file: memoryFile{p: p}}, nil
}

func (l *memoryLake) RecordGaps(last uint64, gaps []Gap) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gaps, l.gapsTo = append(l.gaps, gaps...), last
	return nil
}

func (l *memoryLake) GapsHeld() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.gapsTo
}

func (l *memoryLake) View() View {
	l.mu.Lock()
	defer l.mu.Unlock()
	return &memoryView{files: l.files[:len(l.files):len(l.files)], gaps: l.gaps[:len(l.gaps):len(l.gaps)]}
}

func (l *memoryLake) Maintain(context.Context, time.Time, uint64) error { return nil }

type memoryPart struct {
	lake *memoryLake
	file memoryFile
}

func (p *memoryPart) Append(e *signal.Event) error {
	if PartitionOf(e) != p.file.p {
		return errors.New("an event of another partition")
	}
	p.file.events = append(p.file.events, detach(e))
	return nil
}
func (p *memoryPart) Rows() int   { return len(p.file.events) }
func (p *memoryPart) Size() int64 { return 0 }
func (p *memoryPart) Discard()    {}

func (p *memoryPart) Commit(first, last uint64) error {
	p.lake.mu.Lock()
	defer p.lake.mu.Unlock()
	if p.lake.failures > 0 {
		p.lake.failures--
		return errors.New("no space left on device")
	}
	if held := heldOf(p.lake.files, p.file.p); first <= held || last < first {
		return fmt.Errorf("range %d to %d overlaps what is held, %d", first, last, held)
	}
	p.file.first, p.file.last = first, last
	p.lake.files = append(p.lake.files, p.file)
	p.lake.commits++
	return nil
}

type memoryView struct {
	files []memoryFile
	gaps  []Gap
}

func (v *memoryView) Held(p Partition) uint64 { return heldOf(v.files, p) }
func (v *memoryView) Release()                {}
func (v *memoryView) Scan(ctx context.Context, q *Query, stats *ScanStats, yield func(*signal.Event) bool) error {
	from, to := q.Range()
	for _, g := range v.gaps {
		if g.LastTime >= from && g.FirstTime < to {
			stats.Gaps = append(stats.Gaps, g)
		}
	}
	for _, f := range v.files {
		for _, e := range f.events {
			if stats.Events++; q.chooses(e) && !yield(e) {
				return nil
			}
		}
	}
	return ctx.Err()
}

var epoch = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

// event makes the n-th event: one a second, every third of another class.
func event(n int) *signal.Event {
	e := new(signal.Event)
	at := epoch.Add(time.Duration(n) * time.Second)
	e.ID, e.Time, e.Class, e.Plane, e.Seq = signal.NewID(at), at.UnixNano(), signal.ClassHTTPActivity, signal.PlaneEdge, uint64(n)
	if n%3 == 0 {
		e.Class = signal.ClassProcessActivity
	}
	e.SetMasked(signal.FieldHTTPRequestURLQueryString, "password=hunter2", "password=***")
	return e
}

func runStore(t testing.TB, s *Store) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	var once sync.Once
	stop = func() { once.Do(func() { cancel(); <-done }) }
	t.Cleanup(stop)
	return stop
}

func newStore(t testing.TB, cfg Config, bus Bus, lake Lake) *Store {
	t.Helper()
	s, err := New(cfg, t.TempDir(), bus, lake, quiet(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// seqs scans and returns how often each sequence was seen.
func seqs(t testing.TB, h *History, q Query) (map[uint64]int, ScanStats) {
	t.Helper()
	seen := make(map[uint64]int)
	stats, err := h.Scan(context.Background(), q, func(e *signal.Event) bool {
		seen[e.Seq]++
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return seen, stats
}

func wantEach(t testing.TB, seen map[uint64]int, from, to int) {
	t.Helper()
	for n := from; n <= to; n++ {
		if seen[uint64(n)] != 1 {
			t.Fatalf("event %d was seen %d times, want once (%d events in all)", n, seen[uint64(n)], len(seen))
		}
	}
	if len(seen) != to-from+1 {
		t.Fatalf("%d events, want %d", len(seen), to-from+1)
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal("never came: " + what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
