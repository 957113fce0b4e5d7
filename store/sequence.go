package store

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/testudo-sec/testudo/signal"
)

// ErrTooMuchAtOnce says that the order of a query could not be made within the memory that a scan may take.
var ErrTooMuchAtOnce = errors.New("too many events have to be put into order at once: ask for fewer classes or a shorter time")

// maxTailBytes bounds the events of the tail that are held to be put between those of the lake.
const maxTailBytes = 512 << 20

// sequencer puts the events of the tail between those of the lake, which come in order.
type sequencer struct {
	held  []found
	size  int
	at    int
	event signal.Event
	yield func(*signal.Event) bool
	fault error
}

// hold keeps an event of the tail.
func (s *sequencer) hold(e *signal.Event) bool {
	frame := e.AppendFrame(nil)
	if s.size += len(frame); s.size > maxTailBytes {
		s.fault = fmt.Errorf("%w; %d events are not in the lake yet", ErrTooMuchAtOnce, len(s.held))
		return false
	}
	s.held = append(s.held, found{seq: e.Seq, frame: frame})
	return true
}

// sort puts what is held into order.
func (s *sequencer) sort() {
	slices.SortStableFunc(s.held, func(a, b found) int { return cmp.Compare(a.seq, b.seq) })
}

// next hands an event of the lake on, after those of the tail that come before it.
func (s *sequencer) next(e *signal.Event) bool { return s.until(e.Seq) && s.yield(e) }

// until hands on what is held up to a number.
func (s *sequencer) until(seq uint64) bool {
	for s.at < len(s.held) && s.held[s.at].seq <= seq {
		frames := signal.ReadFrames(s.held[s.at].frame)
		s.held[s.at].frame = nil
		s.at++
		if !frames.Next(&s.event) {
			s.fault = frames.Err()
			return false
		}
		if !s.yield(&s.event) {
			return false
		}
	}
	return true
}
