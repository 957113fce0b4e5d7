package store

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/testudo-sec/testudo/signal"
)

const (
	syncPatience = 2 * time.Second  // how long a search waits for what was just recorded
	tailPatience = 30 * time.Second // how long a search may keep the bus from forgetting
	maxNewest    = 100_000          // events that a search for the newest holds in memory
)

// ErrTooSlow says that a search took so long over the events of the bus that these moved
// into the lake meanwhile.
var ErrTooSlow = errors.New("the search was overtaken by the archiver: try again, or ask for less at a time")

// ErrNotFound says that no event has the id.
var ErrNotFound = errors.New("no such event")

// History reads the lake and the batches that are not yet in it as one, each event once,
// while both change. It is safe for concurrent use.
type History struct {
	bus      Log
	lake     Lake
	recorder *Recorder // nil where nothing is recorded in this process

	mu    sync.Mutex
	tails map[*time.Time]struct{} // scans that read the bus, by when they began
}

func newHistory(bus Log, lake Lake, recorder *Recorder) *History {
	return &History{bus: bus, lake: lake, recorder: recorder, tails: make(map[*time.Time]struct{})}
}

// Scan visits the events that the query asks for, everything included that was recorded
// before the call. The event is valid only during yield, which may return false to end the
// scan. Damaged files and missing records do not end it; the statistics name them, and the
// answer is then inexact. It returns ctx's error where that ended it.
func (h *History) Scan(ctx context.Context, q Query, yield func(e *signal.Event) bool) (ScanStats, error) {
	var stats ScanStats
	if q.Newest {
		return h.newest(ctx, q, yield)
	}
	handed := 0
	err := h.scan(ctx, &q, &stats, func(e *signal.Event) bool {
		handed++
		return yield(e) && (q.Limit == 0 || handed < q.Limit)
	})
	return stats, err
}

// scan visits tail and lake, without order and limit.
func (h *History) scan(ctx context.Context, q *Query, stats *ScanStats, yield func(*signal.Event) bool) error {
	if h.recorder != nil {
		patient, cancel := context.WithTimeout(ctx, syncPatience)
		if err := h.recorder.Sync(patient); err != nil && ctx.Err() == nil {
			stats.Unsynced = err
		}
		cancel()
	}
	stopped := false
	order := sequencer{yield: yield}
	view, err := h.tail(ctx, q, stats, func(e *signal.Event) bool {
		if q.Sequenced {
			stopped = !order.hold(e)
		} else {
			stopped = !yield(e)
		}
		return !stopped
	})
	defer view.Release()
	if ctx.Err() != nil || stopped || errors.Is(err, ErrTooSlow) {
		return cmp.Or(err, order.fault, ctx.Err())
	}
	if err != nil { // the lake can be read without the bus
		stats.Unsynced = err
	}
	if !q.Sequenced {
		return view.Scan(ctx, q, stats, yield)
	}
	order.sort()
	err = view.Scan(ctx, q, stats, func(e *signal.Event) bool {
		stopped = !order.next(e)
		return !stopped
	})
	if err == nil && !stopped {
		order.until(math.MaxUint64)
	}
	return cmp.Or(err, order.fault)
}

// tail visits the events that are on the bus and not in the view of the lake that it returns.
// While it reads, the archiver does not trim the bus.
func (h *History) tail(ctx context.Context, q *Query, stats *ScanStats, yield func(*signal.Event) bool) (View, error) {
	pin := h.pin()
	defer h.unpin(pin)
	gapsHeld := h.lake.GapsHeld() // before the view: a gap may be told twice, and not be left out
	view := h.lake.View()
	first, last, err := h.bus.Bounds(ctx)
	if err != nil {
		return view, fmt.Errorf("bus: %w", err)
	}
	t := tail{q: q, stats: stats, view: view, yield: yield, gapsHeld: gapsHeld}
	next := first
	var failed error
	err = h.bus.Read(ctx, first, func(seq uint64, payload []byte) bool {
		if seq != next && h.trimmedUnder(ctx, seq) {
			failed = ErrTooSlow
			return false
		}
		next = seq + 1
		return seq <= last && t.batch(seq, payload) && ctx.Err() == nil
	})
	if err := cmp.Or(failed, err); err != nil {
		return view, err
	}
	if !t.stopped && ctx.Err() == nil && next <= last && h.trimmedUnder(ctx, last+1) {
		return view, ErrTooSlow
	}
	return view, ctx.Err()
}

// trimmedUnder reports whether batches before seq are missing because they were trimmed.
func (h *History) trimmedUnder(ctx context.Context, seq uint64) bool {
	first, _, err := h.bus.Bounds(ctx)
	return err != nil || first >= seq
}

// LastBatch returns the last batch that was published, 0 where there is none: what is recorded after the call is in
// a later one.
func (h *History) LastBatch(ctx context.Context) (uint64, error) {
	_, last, err := h.bus.Bounds(ctx)
	if err != nil {
		return 0, fmt.Errorf("bus: %w", err)
	}
	return last, nil
}

// tail is the state of reading the bus.
type tail struct {
	q        *Query
	stats    *ScanStats
	view     View
	yield    func(*signal.Event) bool
	gapsHeld uint64
	newest   int64 // greatest time of the batch before
	buf      []byte
	event    signal.Event
	held     map[Partition]uint64
	stopped  bool
}

// batch visits the events of one batch and reports whether to go on.
func (t *tail) batch(seq uint64, payload []byte) bool {
	if seq <= t.q.Behind {
		return true
	}
	head, body, err := parseBatch(payload)
	if err != nil { // the archiver makes it a dead letter
		t.gap(seq, append(head.gaps, Gap{FirstTime: t.newest, LastTime: max(t.newest, time.Now().UnixNano())}))
		return true
	}
	t.newest = head.lastTime
	t.gap(seq, head.gaps)
	from, to := t.q.Range()
	if head.lastTime < from || head.firstTime >= to {
		return true
	}
	raw, err := head.frames(t.buf, body)
	if err != nil {
		t.gap(seq, []Gap{head.lost(head.count)})
		return true
	}
	t.buf = raw
	read := 0
	if t.held == nil {
		t.held = make(map[Partition]uint64)
	}
	frames := signal.ReadFrames(raw)
	for frames.Next(&t.event) {
		read++
		e := &t.event
		p := PartitionOf(e)
		held, known := t.held[p]
		if !known {
			held = t.view.Held(p)
			t.held[p] = held
		}
		if seq <= held {
			continue
		}
		t.stats.Events++
		t.stats.Tail++
		if len(t.q.Masks) > 0 && t.q.inRange(e) {
			t.stats.Masked.add(e, t.q.Masks)
		}
		if !t.q.chooses(e) {
			continue
		}
		t.stats.Matched++
		if !t.yield(e) {
			t.stopped = true
			return false
		}
	}
	if frames.Err() != nil {
		t.gap(seq, []Gap{head.lost(head.count - read)})
	}
	return true
}

// gap tells of missing records, unless the view of the lake does.
func (t *tail) gap(seq uint64, gaps []Gap) {
	from, to := t.q.Range()
	for _, g := range gaps {
		if seq > t.gapsHeld && g.LastTime >= from && g.FirstTime < to {
			t.stats.Gaps = append(t.stats.Gaps, g)
		}
	}
}

// inRange reports whether the event is of the query's times and classes.
func (q *Query) inRange(e *signal.Event) bool {
	from, to := q.Range()
	return e.Time >= from && e.Time < to && q.Wants(e.Class)
}

// chooses reports whether the query chooses a complete event.
func (q *Query) chooses(e *signal.Event) bool {
	return q.inRange(e) && (q.ID.IsZero() || e.ID == q.ID) && (q.Where == nil || q.Where(e))
}

func (h *History) pin() *time.Time {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tails[&now] = struct{}{}
	return &now
}

func (h *History) unpin(pin *time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.tails, pin)
}

// trim lets the bus forget batches, and reports whether it did: not while a scan reads the
// bus, unless that has been at it for too long.
func (h *History) trim(ctx context.Context, through uint64) (bool, error) {
	h.mu.Lock() // scans that begin now see the bus as it is afterwards
	defer h.mu.Unlock()
	for began := range h.tails {
		if time.Since(*began) < tailPatience {
			return false, nil
		}
	}
	return true, h.bus.Trim(ctx, through)
}

// newest yields the newest events of a query, newest first.
func (h *History) newest(ctx context.Context, q Query, yield func(*signal.Event) bool) (ScanStats, error) {
	var stats ScanStats
	if q.Limit <= 0 || q.Limit > maxNewest {
		return stats, fmt.Errorf("a search for the newest events needs a limit of 1 to %d", maxNewest)
	}
	best := make(newestHeap, 0, min(q.Limit, 1024))
	since, _ := q.Range()
	q.Floor = func() int64 {
		if len(best) < q.Limit {
			return since
		}
		return max(since, best[0].time)
	}
	err := h.scan(ctx, &q, &stats, func(e *signal.Event) bool {
		if len(best) < q.Limit {
			heap.Push(&best, found{time: e.Time, seq: e.Seq, frame: e.AppendFrame(nil)})
		} else if f := (found{time: e.Time, seq: e.Seq}); f.newer(&best[0]) {
			f.frame = e.AppendFrame(best[0].frame[:0])
			best[0] = f
			heap.Fix(&best, 0)
		}
		return true
	})
	if err != nil {
		return stats, err
	}
	slices.SortFunc(best, func(a, b found) int {
		return cmp.Or(cmp.Compare(b.time, a.time), cmp.Compare(b.seq, a.seq))
	})
	var e signal.Event
	for i := range best {
		if frames := signal.ReadFrames(best[i].frame); !frames.Next(&e) {
			return stats, frames.Err()
		}
		if !yield(&e) {
			break
		}
	}
	return stats, nil
}

// found is an event that may be among the newest.
type found struct {
	time  int64
	seq   uint64
	frame []byte
}

func (f *found) newer(g *found) bool {
	return f.time > g.time || f.time == g.time && f.seq > g.seq
}

// newestHeap has the oldest on top.
type newestHeap []found

func (h newestHeap) Len() int           { return len(h) }
func (h newestHeap) Less(i, j int) bool { return h[j].newer(&h[i]) }
func (h newestHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *newestHeap) Push(x any)        { *h = append(*h, x.(found)) }
func (h *newestHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}

// Get returns a copy of the event of that id, or ErrNotFound. It looks around the time that the
// id holds first, and everywhere then.
func (h *History) Get(ctx context.Context, id signal.ID) (*signal.Event, error) {
	if id.IsZero() {
		return nil, ErrNotFound
	}
	var ms int64
	for _, b := range id[:6] {
		ms = ms<<8 | int64(b)
	}
	at := time.UnixMilli(ms)
	for _, q := range []Query{{ID: id, Since: at.Add(-time.Hour), Until: at.Add(time.Hour)}, {ID: id}} {
		var e *signal.Event
		_, err := h.Scan(ctx, q, func(found *signal.Event) bool {
			e = detach(found)
			return false
		})
		if e != nil || err != nil {
			return e, err
		}
	}
	return nil, fmt.Errorf("event %s: %w", id, ErrNotFound)
}
