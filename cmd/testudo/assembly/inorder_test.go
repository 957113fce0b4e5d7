package assembly

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

// heard keeps in which order things came.
type heard struct {
	mu   sync.Mutex
	all  []string
	mark uint64
	came chan string
}

func (h *heard) say(what string) {
	h.mu.Lock()
	h.all = append(h.all, what)
	h.mu.Unlock()
	if h.came != nil {
		h.came <- what
	}
}

func (h *heard) Records(batch []byte) {
	var r record.Record
	for len(batch) > 0 {
		n, err := record.Decode(batch, &r)
		if err != nil {
			h.say("malformed")
			return
		}
		what := r.Kind.String()
		if r.Flags&record.FlagMarked != 0 {
			what += " announced"
		}
		if r.Kind == record.KindMark {
			h.mark = r.Time
		}
		h.say(what)
		batch = batch[n:]
	}
}

func (h *heard) Ask(_ context.Context, rec []byte, _ record.Gate) kernel.Answer {
	var r record.Record
	if _, err := record.Decode(rec, &r); err != nil || r.Flags&record.FlagMarked == 0 || r.Time > h.mark || h.mark == 0 {
		h.say("a question without its mark")
	} else if r.Flags&record.FlagPartial != 0 {
		h.say("question of which not all is known")
	} else {
		h.say("question")
	}
	return kernel.Answer{Deny: true}
}

// handsOn is eyes that have something in their ring.
type handsOn struct {
	to  kernel.Receiver
	err error
}

func (f *handsOn) Flush(context.Context) error {
	fork := record.Record{Kind: record.KindFork, PID: 5}
	f.to.Records(fork.Append(nil))
	return f.err
}

// TestGatesSpeakInOrder: what was seen comes before the question, and before the decision; where that is not certain, so does what /proc knows.
func TestGatesSpeakInOrder(t *testing.T) {
	ask := record.Record{Kind: record.KindExec, PID: 5, Time: 7}
	decision := record.Record{Kind: record.KindEnforced, PID: 5, Time: 7, NumLen: 3, Nums: [6]uint64{0, uint64(record.GateLSM), 1}}
	seeded := record.Record{Kind: record.KindExec, PID: 5, Flags: record.FlagSeeded}
	for _, c := range []struct {
		name string
		eyes func(to kernel.Receiver) flusher
		want []string
	}{
		{"seen", func(to kernel.Receiver) flusher { return &handsOn{to, nil} }, []string{"fork", "mark", "question"}},
		{"not all was seen", func(to kernel.Receiver) flusher { return &handsOn{to, errors.New("records were lost")} }, []string{"fork", "exec", "mark", "question of which not all is known"}},
		{"not seen yet", func(to kernel.Receiver) flusher { return &handsOn{to, kernel.ErrUnable} }, []string{"fork", "exec", "mark", "question"}},
		{"nothing is seen", func(kernel.Receiver) flusher { return nil }, []string{"exec", "mark", "question"}},
	} {
		h := &heard{}
		now := uint64(100)
		o := &inOrder{Receiver: h, eyes: c.eyes(h), now: func() uint64 { now++; return now }, decided: make(chan []byte, 1),
			known: func(b []byte, pid uint32) []byte {
				if pid != 5 {
					t.Errorf("asked about %d", pid)
				}
				return seeded.Append(b)
			}}
		if a := o.Ask(t.Context(), ask.Append(nil), record.GateFanotify); !a.Deny || !slices.Equal(h.all, c.want) {
			t.Errorf("%s: %q, %+v", c.name, h.all, a)
		}
	}

	h := &heard{came: make(chan string, 8)}
	o := &inOrder{Receiver: h, eyes: &handsOn{h, nil}, decided: make(chan []byte, 1)}
	o.Records(decision.Append(nil)) // it waits for nothing
	o.Records(decision.Append(nil)) // there is no room for this one: it is told as it comes
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); o.tell(ctx) }()
	want := []string{"enforced announced", "enforced", "fork", "enforced"}
	for _, w := range want {
		if got := <-h.came; got != w {
			t.Errorf("%q, want %q", got, w)
		}
	}
	cancel()
	<-done
}
