package assembly

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/kernel"
)

// slowEyes open when they are let, and take note of what they are asked to watch.
type slowEyes struct {
	let     chan struct{}
	watched chan kernel.Interest
	refuse  error
}

func (e *slowEyes) Open(ctx context.Context) error {
	select {
	case <-e.let:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
func (e *slowEyes) Run(ctx context.Context, _ func([]byte)) error { <-ctx.Done(); return nil }
func (e *slowEyes) Watch(_ context.Context, want kernel.Interest) error {
	e.watched <- want
	return e.refuse
}
func (e *slowEyes) Status() (kernel.Status, error) { return kernel.Status{}, nil }
func (e *slowEyes) Close() error                   { return nil }

// TestWatchWaitsForTheEyes: who asks before the eyes are open hears when they see, and that they do not: files are gone through once it is
// said that changes are seen.
func TestWatchWaitsForTheEyes(t *testing.T) {
	for name, refuse := range map[string]error{"seen": nil, "not seen": errors.New("no")} {
		t.Run(name, func(t *testing.T) {
			eyes := &slowEyes{let: make(chan struct{}), watched: make(chan kernel.Interest, 1), refuse: refuse}
			s := newSensor(sensorParts{eyes: eyes, log: slog.New(slog.DiscardHandler)})
			answer := make(chan error, 1)
			go func() { answer <- s.Watch(t.Context(), kernel.Interest{}) }() // before Run, as over the socket
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- s.Run(ctx, nil) }()
			select {
			case err := <-answer:
				t.Fatalf("answered before the eyes are open: %v", err)
			case <-time.After(50 * time.Millisecond):
			}
			close(eyes.let)
			if err := <-answer; !errors.Is(err, refuse) {
				t.Errorf("%v, want %v", err, refuse)
			}
			if len(eyes.watched) != 1 {
				t.Error("the eyes were not asked")
			}
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestWatchEnds: whoever waits for eyes that never open is let go.
func TestWatchEnds(t *testing.T) {
	s := newSensor(sensorParts{eyes: &slowEyes{}, log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := s.Watch(ctx, kernel.Interest{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}
