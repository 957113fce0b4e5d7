package kernel

import "sync"

// inbox holds batches of records that wait. Whoever puts waits while it is full: what does not fit then is
// dropped in the kernel, where it is counted by kind.
type inbox struct {
	mu     sync.Mutex
	space  sync.Cond // there is room, or it is closed
	items  [][]byte
	free   [][]byte
	bytes  int
	limit  int
	closed bool
	ready  chan struct{} // there is something to take
}

// maxFree is how many emptied buffers are kept.
const maxFree = 16

func newInbox(limit int) *inbox {
	q := &inbox{limit: limit, ready: make(chan struct{}, 1)}
	q.space.L = &q.mu
	return q
}

// put copies the batch. It reports false when the inbox is closed.
func (q *inbox) put(batch []byte) bool {
	q.mu.Lock()
	for q.bytes > 0 && q.bytes+len(batch) > q.limit && !q.closed {
		q.space.Wait()
	}
	if q.closed {
		q.mu.Unlock()
		return false
	}
	var b []byte
	if n := len(q.free); n > 0 {
		b, q.free = q.free[n-1], q.free[:n-1]
	}
	q.items = append(q.items, append(b[:0], batch...))
	q.bytes += len(batch)
	q.mu.Unlock()
	select {
	case q.ready <- struct{}{}:
	default:
	}
	return true
}

// take returns the batch that came first, nil where there is none. It is given back by done.
func (q *inbox) take() []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) == 0 {
		return nil
	}
	b := q.items[0]
	q.items[0] = nil
	if q.items = q.items[1:]; len(q.items) == 0 {
		q.items = nil
	}
	return b
}

// done gives back what take returned.
func (q *inbox) done(b []byte) {
	q.mu.Lock()
	q.bytes -= len(b)
	if len(q.free) < maxFree && cap(b) <= 1<<20 {
		q.free = append(q.free, b)
	}
	q.mu.Unlock()
	q.space.Broadcast()
}

func (q *inbox) size() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes
}

func (q *inbox) open() {
	q.mu.Lock()
	q.closed = false
	q.mu.Unlock()
}

func (q *inbox) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.space.Broadcast()
}
