package store

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/testudo-sec/testudo/signal"
)

// Bounds of the live view.
const (
	maxSubscribers = 256
	liveQueue      = 64       // batches that wait for subscribers
	recentBytes    = 16 << 20 // of batches that are kept for Recent
)

// Live shows events as they pass, in their recorded form. It costs the recorder one pointer for a batch;
// batches are decoded only while someone looks.
type Live struct {
	keep    int
	batches chan []byte
	missed  atomic.Uint64 // events that no subscriber saw, because the live view was behind

	mu    sync.Mutex
	ring  []recentBatch // oldest first
	count int           // events in ring
	bytes int
	subs  map[*Subscription]struct{}
}

type recentBatch struct {
	payload []byte
	count   int
}

// Subscription is one listener of the live view.
type Subscription struct {
	live    *Live
	filter  func(*signal.Event) bool
	events  chan *signal.Event
	dropped atomic.Uint64
}

func newLive(keep int) *Live {
	return &Live{keep: keep, batches: make(chan []byte, liveQueue), subs: make(map[*Subscription]struct{})}
}

// offer shows a batch that is about to be published. The payload must not change any more.
func (l *Live) offer(payload []byte, count int) {
	l.mu.Lock()
	listeners := len(l.subs)
	if l.keep > 0 {
		l.ring = append(l.ring, recentBatch{payload, count})
		l.count += count
		l.bytes += len(payload)
		for len(l.ring) > 1 && (l.count-l.ring[0].count >= l.keep || l.bytes > recentBytes) {
			l.count -= l.ring[0].count
			l.bytes -= len(l.ring[0].payload)
			l.ring[0] = recentBatch{}
			l.ring = l.ring[1:]
		}
	}
	l.mu.Unlock()
	if listeners == 0 {
		return
	}
	select {
	case l.batches <- payload:
	default:
		l.missed.Add(uint64(count))
	}
}

// run hands batches to subscribers until ctx is done.
func (l *Live) run(ctx context.Context) {
	var e signal.Event
	var buf []byte
	for {
		select {
		case <-ctx.Done():
			return
		case payload := <-l.batches:
			buf = walk(payload, buf, &e, func() bool {
				l.hand(&e)
				return true
			})
		}
	}
}

// walk decodes a batch that this process made and calls yield for each event in e. It
// returns the buffer for the next walk.
func walk(payload, buf []byte, e *signal.Event, yield func() bool) []byte {
	head, body, err := parseBatch(payload)
	if err != nil {
		return buf
	}
	raw, err := head.frames(buf, body)
	if err != nil {
		return buf
	}
	for frames := signal.ReadFrames(raw); frames.Next(e); {
		if !yield() {
			break
		}
	}
	return raw
}

// hand gives the event to the subscribers whose filter takes it.
func (l *Live) hand(e *signal.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var copied *signal.Event
	for s := range l.subs {
		if s.filter != nil && !s.filter(e) {
			continue
		}
		if copied == nil {
			copied = detach(e)
		}
		select {
		case s.events <- copied:
		default:
			s.dropped.Add(1)
		}
	}
}

// detach copies an event that shares the memory of a whole batch.
func detach(e *signal.Event) *signal.Event {
	copied := new(signal.Event)
	signal.ReadFrames(e.AppendFrame(nil)).Next(copied)
	return copied
}

// Subscribe begins to listen: events that filter takes (nil: all) arrive on
// Events until Close, in the order of recording; where the buffer is full they are dropped and
// counted. The filter must be quick and must not keep the event. Events that arrive
// are shared between subscribers and must not be changed. It returns nil where there are
// too many listeners.
func (l *Live) Subscribe(buffer int, filter func(*signal.Event) bool) *Subscription {
	s := &Subscription{live: l, filter: filter, events: make(chan *signal.Event, max(buffer, 1))}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.subs) >= maxSubscribers {
		return nil
	}
	l.subs[s] = struct{}{}
	return s
}

// Events returns the channel on which events arrive. It is closed by Close.
func (s *Subscription) Events() <-chan *signal.Event { return s.events }

// Dropped returns how many events did not fit into the buffer.
func (s *Subscription) Dropped() uint64 { return s.dropped.Load() }

// Close ends the subscription. It may be called twice.
func (s *Subscription) Close() {
	s.live.mu.Lock()
	defer s.live.mu.Unlock()
	if _, open := s.live.subs[s]; open {
		delete(s.live.subs, s)
		close(s.events)
	}
}

// Missed returns how many events no subscriber saw because the live view was behind.
func (l *Live) Missed() uint64 { return l.missed.Load() }

// Recent returns up to n of the latest events that filter takes (nil: all), newest first.
func (l *Live) Recent(n int, filter func(*signal.Event) bool) []*signal.Event {
	l.mu.Lock()
	ring := l.ring[:len(l.ring):len(l.ring)]
	batches := make([][]byte, len(ring))
	for i, b := range ring {
		batches[i] = b.payload
	}
	l.mu.Unlock()
	var out []*signal.Event
	var e signal.Event
	var buf []byte
	for i := len(batches) - 1; i >= 0 && len(out) < n; i-- {
		from := len(out)
		buf = walk(batches[i], buf, &e, func() bool {
			if filter == nil || filter(&e) {
				out = append(out, detach(&e))
			}
			return true
		})
		for a, b := from, len(out)-1; a < b; a, b = a+1, b-1 {
			out[a], out[b] = out[b], out[a]
		}
	}
	return out[:min(n, len(out))]
}
