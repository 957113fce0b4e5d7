package testudo

import (
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/testudo-sec/testudo/signal"
)

// Senders counts the requests of the last minutes by their senders' address, so that who is
// about to be blocked can be told what that would stop. Its memory is bounded.
type Senders struct {
	mu      sync.Mutex
	minutes [senderMinutes]senderMinute
}

const (
	senderMinutes = 64
	maxSenders    = 10_000 // addresses counted in one minute
)

type senderMinute struct {
	at   int64 // minutes since the Unix epoch
	sent map[netip.Addr]sentBy
	more bool // there were more senders than are counted
}

type sentBy struct{ total, good uint64 }

// ErrTooMany says that there were more senders than are counted.
var ErrTooMany = errors.New("more addresses sent requests than are counted")

// add counts a request that was judged.
func (s *Senders) add(e *signal.Event) {
	from := e.IP(signal.FieldSrcEndpointIP)
	if !from.IsValid() {
		return
	}
	minute := e.Time / int64(time.Minute)
	s.mu.Lock()
	defer s.mu.Unlock()
	m := &s.minutes[uint64(minute)%senderMinutes]
	switch {
	case m.at < minute:
		*m = senderMinute{at: minute, sent: map[netip.Addr]sentBy{}}
	case m.at > minute:
		return
	}
	by, known := m.sent[from]
	if !known && len(m.sent) >= maxSenders {
		m.more = true
		return
	}
	by.total += times(e)
	if e.Int(signal.FieldActionID) == 1 { // OCSF: allowed
		by.good++
	}
	m.sent[from] = by
}

// Recent returns how many requests came from the prefix within the window before now, of an hour at the
// most and by whole minutes, and how many of them were allowed. The error wraps ErrTooMany where
// none of them is known, but might have been there.
func (s *Senders) Recent(now time.Time, prefix netip.Prefix, window time.Duration) (total, good uint64, err error) {
	since := now.Add(-min(window, time.Hour)).UnixNano() / int64(time.Minute)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.minutes {
		m := &s.minutes[i]
		if m.at < since {
			continue
		}
		if prefix.IsSingleIP() {
			by := m.sent[prefix.Addr()]
			total, good = total+by.total, good+by.good
		} else {
			for a, by := range m.sent {
				if prefix.Contains(a) {
					total, good = total+by.total, good+by.good
				}
			}
		}
		if m.more && total == 0 {
			err = ErrTooMany
		}
	}
	if total > 0 {
		err = nil
	}
	return total, good, err
}
