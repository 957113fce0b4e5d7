package kernel

import (
	"context"
	"sync"
	"time"
)

// marks says up to when what was seen has been taken note of. A gate's question comes by another way than what was seen before it, and must not overtake that: who asks, and
// what started it, would be somebody else.
type marks struct {
	mu      sync.Mutex
	till    uint64        // time of the last mark, nanoseconds since boot
	changed chan struct{} // closed when till grows; nil while nobody waits
}

// markWithin is how long a question waits for its mark. It leaves the gate's deadline some time for the judge.
const markWithin = 700 * time.Millisecond

// reach says that all is known that was seen before that time.
func (m *marks) reach(till uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if till <= m.till {
		return
	}
	if m.till = till; m.changed != nil {
		close(m.changed)
		m.changed = nil
	}
}

// wait waits until all is known that was seen before a time. False: it took too long.
func (m *marks) wait(ctx context.Context, at uint64) bool {
	var late <-chan time.Time
	for {
		m.mu.Lock()
		if m.till >= at {
			m.mu.Unlock()
			return true
		}
		if m.changed == nil {
			m.changed = make(chan struct{})
		}
		changed := m.changed
		m.mu.Unlock()
		if late == nil {
			timer := time.NewTimer(markWithin)
			defer timer.Stop()
			late = timer.C
		}
		select {
		case <-changed:
		case <-late:
			return false
		case <-ctx.Done():
			return false
		}
	}
}
