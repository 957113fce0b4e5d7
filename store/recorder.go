package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/testudo-sec/testudo/signal"
)

// Bounds of how long a publication may take and how soon a failed one is tried again.
const (
	publishTimeout = 10 * time.Second
	firstBackoff   = 50 * time.Millisecond
	lastBackoff    = 2 * time.Second
	stopGrace      = 5 * time.Second
	planes         = 16
)

// Recorder takes judged events and sends them to the bus in batches. Record may be called from
// any goroutine; it does not block on the disk or the network.
type Recorder struct {
	cfg    Config
	pub    Publisher
	live   *Live
	log    *slog.Logger
	nonce  string    // with the batch's number the id of a publication
	frames sync.Pool // *[]byte: events are encoded outside of the lock

	scratch   []byte        // the packer's
	wake      chan struct{} // something is to be packed
	ready     chan struct{} // something is to be sent
	published chan struct{} // something was sent

	mu      sync.Mutex
	cur     *buffer
	queue   []*buffer // sealed, oldest first
	packed  []packet  // compressed, oldest first
	free    *buffer
	held    int64  // bytes of events and packets that the bus has not acknowledged
	sealed  uint64 // number of the last sealed batch
	acked   uint64 // number of the last acknowledged batch
	changed chan struct{}
	gaps    [planes]Gap // what was dropped since the last sealed batch
	stopped bool
	failure error
	stats   RecorderStats
}

// buffer is a batch being gathered.
type buffer struct {
	frames []byte
	head   batchHead
	born   time.Time
	number uint64
}

// packet is a batch as it goes to the bus. Compressed, a batch waits in a sixth of the memory.
type packet struct {
	payload []byte
	count   int
	number  uint64
}

// RecorderStats counts events since the start. Dropped events were judged but are not stored.
type RecorderStats struct {
	Recorded  uint64         // events taken
	Acked     uint64         // of them, events on disk
	Batches   uint64         // batches on disk
	Bytes     uint64         // bytes of these batches, compressed
	Retries   uint64         // publications that had to be repeated
	Pending   int64          // bytes waiting for the bus
	Oversize  uint64         // events dropped because they were too large
	Full      uint64         // events dropped because the memory was full, or the recorder had stopped
	DroppedBy [planes]uint64 // dropped events by plane
	LastSeq   uint64         // sequence of the bus that was acknowledged last
}

// Dropped returns the number of dropped events.
func (s *RecorderStats) Dropped() uint64 { return s.Oversize + s.Full }

func newRecorder(cfg Config, pub Publisher, live *Live, log *slog.Logger) *Recorder {
	var nonce [9]byte
	_, _ = rand.Read(nonce[:]) // never fails, by its documentation
	return &Recorder{
		cfg: cfg, pub: pub, live: live, log: log, nonce: hex.EncodeToString(nonce[:]) + "-",
		frames: sync.Pool{New: func() any { b := make([]byte, 0, 4096); return &b }},
		wake:   make(chan struct{}, 1), ready: make(chan struct{}, 1), published: make(chan struct{}, 1),
		changed: make(chan struct{}), cur: &buffer{},
	}
}

// Record takes a copy of the event's recorded form and reports whether it fitted. It
// does not allocate but for the memory of batches. An event that did not fit is counted and
// leaves a gap in the history.
func (r *Recorder) Record(e *signal.Event) bool {
	scratch := r.frames.Get().(*[]byte)
	frame := e.AppendFrame((*scratch)[:0])
	r.mu.Lock()
	ok, wake := r.put(e, frame)
	r.mu.Unlock()
	if cap(frame) <= maxBatch {
		*scratch = frame
		r.frames.Put(scratch)
	}
	if wake {
		notify(r.wake)
	}
	return ok
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// put appends a frame to the current batch and reports whether it did and whether
// the sender should look.
func (r *Recorder) put(e *signal.Event, frame []byte) (ok, wake bool) {
	size := int64(len(frame))
	if size > int64(r.cfg.MaxEvent) {
		r.stats.Oversize++
		r.drop(e)
		return false, false
	}
	if r.stopped || r.held+size > int64(r.cfg.Memory) {
		r.stats.Full++
		r.drop(e)
		return false, false
	}
	if len(r.cur.frames)+len(frame) > maxBatch {
		r.seal()
		wake = true
	}
	b := r.cur
	if b.head.count == 0 {
		b.born, wake = time.Now(), true // the packer must know how long it may wait
		b.head.firstSeq, b.head.lastSeq, b.head.firstTime, b.head.lastTime = e.Seq, e.Seq, e.Time, e.Time
	}
	h := &b.head
	h.count++
	h.firstSeq, h.lastSeq = min(h.firstSeq, e.Seq), max(h.lastSeq, e.Seq)
	h.firstTime, h.lastTime = min(h.firstTime, e.Time), max(h.lastTime, e.Time)
	before := len(b.frames)
	b.frames = append(b.frames, frame...)
	r.held += size
	r.stats.Recorded++
	limit := int(r.cfg.BatchSize)
	return true, wake || before < limit && len(b.frames) >= limit
}

// drop notes that an event did not fit.
func (r *Recorder) drop(e *signal.Event) {
	plane := min(int(e.Plane), planes-1)
	r.stats.DroppedBy[plane]++
	g := &r.gaps[plane]
	if g.Count == 0 {
		*g = Gap{Plane: e.Plane, FirstSeq: e.Seq, LastSeq: e.Seq, FirstTime: e.Time, LastTime: e.Time}
	}
	g.Count++
	g.FirstSeq, g.LastSeq = min(g.FirstSeq, e.Seq), max(g.LastSeq, e.Seq)
	g.FirstTime, g.LastTime = min(g.FirstTime, e.Time), max(g.LastTime, e.Time)
}

// seal ends the current batch, with the gaps since the last one, if it holds anything. It is called with mu held.
func (r *Recorder) seal() {
	b := r.cur
	b.head.gaps = b.head.gaps[:0]
	for i := range r.gaps {
		if r.gaps[i].Count > 0 {
			b.head.gaps = append(b.head.gaps, r.gaps[i])
			r.gaps[i] = Gap{}
		}
	}
	if b.head.count == 0 && len(b.head.gaps) == 0 {
		return
	}
	r.sealed++
	b.number = r.sealed
	r.queue = append(r.queue, b)
	if r.cur, r.free = r.free, nil; r.cur == nil {
		r.cur = &buffer{}
	}
}

// take returns the batch to be packed now, or nil and how long to wait for the current one; 0 is
// until something happens. While packets wait for the bus, batches grow to their full size: the
// slower the disk, the more goes with each sync.
func (r *Recorder) take() (*buffer, time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == 0 && r.cur.head.count > 0 && len(r.packed) == 0 {
		age := time.Since(r.cur.born)
		if len(r.cur.frames) < int(r.cfg.BatchSize) && age < r.cfg.BatchAge {
			return nil, max(r.cfg.BatchAge-age, time.Microsecond)
		}
		r.seal()
	}
	if len(r.queue) == 0 {
		return nil, 0
	}
	b := r.queue[0]
	r.queue[0] = nil
	r.queue = r.queue[1:]
	return b, 0
}

// run packs and sends batches until ctx is done and then what is left, for a few seconds at the most.
func (r *Recorder) run(ctx context.Context) {
	sending, stopSending := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSending()
	allPacked := make(chan struct{})
	var sender sync.WaitGroup
	sender.Go(func() { r.send(sending, allPacked) })
	r.pack(ctx)
	close(allPacked)
	grace := time.AfterFunc(stopGrace, stopSending)
	sender.Wait()
	grace.Stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.acked < r.sealed {
		r.log.Error("events were lost at the stop because the bus did not take them", "bytes", r.held, "error", r.failure)
	}
}

// pack compresses batches that are due until ctx is done, and then all.
func (r *Recorder) pack(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		b, wait := r.take()
		if b != nil {
			r.compress(b)
			continue
		}
		due := timer.C
		if wait > 0 {
			timer.Reset(wait)
		} else {
			due = nil
		}
		select {
		case <-ctx.Done():
		case <-r.wake:
		case <-due:
		}
	}
	r.mu.Lock()
	r.stopped = true
	r.seal()
	left := r.queue
	r.queue = nil
	r.mu.Unlock()
	for _, b := range left {
		r.compress(b)
	}
}

// compress turns a batch into a packet and shows it to the live view.
func (r *Recorder) compress(b *buffer) {
	// The encoder needs room for what does not compress; what waits must not keep that room.
	r.scratch = appendBatch(r.scratch[:0], &b.head, b.frames)
	p := packet{payload: bytes.Clone(r.scratch), count: b.head.count, number: b.number}
	if p.count > 0 {
		r.live.offer(p.payload, p.count)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held += int64(len(p.payload) - len(b.frames))
	r.packed = append(r.packed, p)
	if r.free == nil {
		*b = buffer{frames: b.frames[:0], head: batchHead{gaps: b.head.gaps[:0]}}
		r.free = b
	}
	notify(r.ready)
}

// send publishes packets in order, each as often as it takes, until ctx is done or everything is
// packed and sent.
func (r *Recorder) send(ctx context.Context, allPacked <-chan struct{}) {
	for ctx.Err() == nil {
		p, ok := r.nextPacket()
		if ok {
			r.deliver(ctx, p)
			continue
		}
		select {
		case <-ctx.Done():
		case <-r.ready:
		case <-allPacked:
			if p, ok = r.nextPacket(); !ok {
				return
			}
			r.deliver(ctx, p)
		}
	}
}

func (r *Recorder) nextPacket() (p packet, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.packed) == 0 {
		return p, false
	}
	p = r.packed[0]
	r.packed[0] = packet{}
	r.packed = r.packed[1:]
	if len(r.packed) == 0 {
		notify(r.wake)
	}
	return p, true
}

// deliver publishes a packet, as often as it takes, unless ctx is done.
func (r *Recorder) deliver(ctx context.Context, p packet) {
	id := r.nonce + strconv.FormatUint(p.number, 36)
	for backoff := firstBackoff; ; backoff = min(2*backoff, lastBackoff) {
		seq, err := r.publish(ctx, id, p.payload)
		if err == nil {
			r.acknowledge(p, seq)
			return
		}
		r.fail(err)
		if pause(ctx, backoff); ctx.Err() != nil {
			return
		}
	}
}

func (r *Recorder) publish(ctx context.Context, id string, payload []byte) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	return r.pub.Publish(ctx, id, payload)
}

func (r *Recorder) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failure == nil {
		r.log.Error("the bus does not take events; they wait in memory", "error", err)
	}
	r.failure = err
	r.stats.Retries++
}

func (r *Recorder) acknowledge(p packet, seq uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failure != nil {
		r.log.Info("the bus takes events again", "waiting_bytes", r.held)
	}
	r.failure = nil
	r.held -= int64(len(p.payload))
	r.acked = p.number
	r.stats.Acked += uint64(p.count)
	r.stats.Batches++
	r.stats.Bytes += uint64(len(p.payload))
	r.stats.LastSeq = seq
	close(r.changed)
	r.changed = make(chan struct{})
	notify(r.published)
}

// Sync waits until everything recorded before the call is acknowledged, which is to say on disk.
func (r *Recorder) Sync(ctx context.Context) error {
	r.mu.Lock()
	if !r.stopped {
		r.seal()
	}
	target := r.sealed
	for r.acked < target {
		changed := r.changed
		r.mu.Unlock()
		notify(r.wake)
		select {
		case <-ctx.Done():
			return cmpErr(ctx.Err(), r.Health())
		case <-changed:
		}
		r.mu.Lock()
	}
	r.mu.Unlock()
	return nil
}

func cmpErr(err, reason error) error {
	if reason == nil {
		return fmt.Errorf("the bus has not acknowledged all events: %w", err)
	}
	return fmt.Errorf("%w: %w", reason, err)
}

// Health returns nil, or why events are not reaching the disk.
func (r *Recorder) Health() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failure == nil {
		return nil
	}
	waiting := "no event was dropped yet"
	if n := r.stats.Full; n > 0 {
		waiting = strconv.FormatUint(n, 10) + " events were dropped"
	}
	return fmt.Errorf("the bus does not take events (%d bytes wait, %s): %w", r.held, waiting, r.failure)
}

// Stats returns the counters.
func (r *Recorder) Stats() RecorderStats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	s.Pending = r.held
	return s
}
