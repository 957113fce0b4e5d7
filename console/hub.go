package console

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"strconv"
	"strings"
	"sync"

	"github.com/testudo-sec/testudo/signal"
)

// ringSize is how many events a slow reader may lag behind, and how far a
// reader that lost its connection can resume.
const ringSize = 4096

// hub fans events out. It keeps one ring, which readers read at their own
// pace by position: a reader costs the writer nothing, and one that is overtaken
// knows by how much.
type hub struct {
	epoch string // names this run, so that a position of an earlier one is not mistaken

	mu     sync.Mutex
	ring   [ringSize]*signal.Event
	next   uint64           // position of the next event
	topics map[Topic]uint64 // how often each list has changed
	wake   chan struct{}    // closed at the next change
	lost   uint64           // events that did not even reach the ring
	ended  bool
}

func newHub() *hub {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand
	return &hub{epoch: hex.EncodeToString(b[:]), topics: make(map[Topic]uint64), wake: make(chan struct{})}
}

func (h *hub) publish(batch []*signal.Event, lost uint64) {
	if len(batch) == 0 && lost == 0 {
		return
	}
	h.mu.Lock()
	h.lost += lost
	for _, e := range batch {
		h.ring[h.next%ringSize] = e
		h.next++
	}
	h.stir()
	h.mu.Unlock()
}

func (h *hub) change(t Topic) {
	h.mu.Lock()
	h.topics[t]++
	h.stir()
	h.mu.Unlock()
}

// stir wakes the readers. The caller holds mu.
func (h *hub) stir() {
	if !h.ended {
		close(h.wake)
		h.wake = make(chan struct{})
	}
}

// end tells readers to go. A channel that stays closed wakes each that still comes.
func (h *hub) end() {
	h.mu.Lock()
	if !h.ended {
		h.ended = true
		close(h.wake)
	}
	h.mu.Unlock()
}

// reader is a place in the ring, for one goroutine.
type reader struct {
	h      *hub
	pos    uint64
	lost   uint64 // of hub.lost, what the reader knows of
	topics map[Topic]uint64
}

// reader returns one that begins at the end of the ring, or behind lastID, which an
// earlier reader's id returned. missed is how many events lie between that can no longer
// be had; resumed is false where it cannot be known.
func (h *hub) reader(lastID string) (r *reader, missed uint64, resumed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r = &reader{h: h, pos: h.next, lost: h.lost, topics: make(map[Topic]uint64, len(h.topics))}
	for t, n := range h.topics {
		r.topics[t] = n
	}
	if lastID == "" {
		return r, 0, true
	}
	epoch, n, ok := strings.Cut(lastID, "-")
	pos, err := strconv.ParseUint(n, 10, 64)
	if !ok || err != nil || epoch != h.epoch || pos > h.next {
		return r, 0, false
	}
	if oldest := h.oldest(); pos < oldest {
		missed, pos = oldest-pos, oldest
	}
	r.pos = pos
	return r, missed, true
}

func (h *hub) oldest() uint64 {
	if h.next > ringSize {
		return h.next - ringSize
	}
	return 0
}

// take returns the events since the last take (appended to into[:0]), how many were lost
// because the reader was overtaken or the hub's source was behind, the lists that changed, what to wait on for more, and whether the
// hub has ended.
func (r *reader) take(into []*signal.Event) (events []*signal.Event, lost uint64, changed []Topic, wake <-chan struct{}, ended bool) {
	h := r.h
	h.mu.Lock()
	defer h.mu.Unlock()
	if oldest := h.oldest(); r.pos < oldest {
		lost, r.pos = oldest-r.pos, oldest
	}
	lost += h.lost - r.lost
	r.lost = h.lost
	events = into[:0]
	for ; r.pos < h.next; r.pos++ {
		events = append(events, h.ring[r.pos%ringSize])
	}
	for t, n := range h.topics {
		if r.topics[t] != n {
			r.topics[t] = n
			changed = append(changed, t)
		}
	}
	return events, lost, changed, h.wake, h.ended
}

// id names the reader's place for Last-Event-ID.
func (r *reader) id() string { return r.h.epoch + "-" + strconv.FormatUint(r.pos, 10) }

// feed returns a watch of the source that publishes here.
func (h *hub) feed(live LiveSource) func(context.Context) error {
	return func(ctx context.Context) error { return live.Watch(ctx, h.publish) }
}
