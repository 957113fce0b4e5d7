package assembly

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

// flusher is what of the eyes can say that all is handed on that was seen until now. kernel.ErrUnable: they do not see what happens, or not yet, and /proc is what there is.
type flusher interface {
	Flush(ctx context.Context) error
}

// inOrder is the receiver of the gates. What they ask and tell comes behind what was seen before it, and so is judged by who does it and what that one came from: a program that was
// started a moment ago, by one that was started a moment before.
type inOrder struct {
	kernel.Receiver
	eyes flusher // nil where none can
	// known appends what /proc knows of a process and of those that it came from; it stands in where what was seen is late, or was lost.
	known func(batch []byte, pid uint32) []byte
	now   func() uint64 // clock of records

	decided chan []byte

	marking sync.Mutex // held while a mark is made and sent, so that their times grow in the order of the stream
}

// Bounds of waiting for the eyes: a question has its own deadline.
const (
	flushWithin  = 200 * time.Millisecond
	maxDecisions = 1024 // batches of them that wait
)

// flush has all that was seen until now handed on.
func (o *inOrder) flush(ctx context.Context) error {
	if o.eyes == nil {
		return kernel.ErrUnable
	}
	ctx, cancel := context.WithTimeout(ctx, flushWithin)
	defer cancel()
	return o.eyes.Flush(ctx)
}

// Records implements kernel.Receiver for what the kernel decided by itself. It is announced at once, so that the call which comes back refused is not taken for another attempt, and
// told when what was seen before is known. It waits for nothing: the eyes wait for it.
func (o *inOrder) Records(batch []byte) {
	select {
	case o.decided <- bytes.Clone(batch):
		o.Receiver.Records(announced(batch))
	default: // too many: they are told as they come
		o.Receiver.Records(batch)
	}
}

// announced returns the decisions of a batch, marked as such that come again.
func announced(batch []byte) (marked []byte) {
	var r record.Record
	for len(batch) > 0 {
		n, err := record.Decode(batch, &r)
		if err != nil {
			break
		}
		if r.Kind == record.KindEnforced {
			r.Flags |= record.FlagMarked
			marked = r.Append(marked)
		}
		batch = batch[n:]
	}
	return marked
}

// tell tells of decisions, each behind what was seen before it, until ctx ends; then of those that are left.
func (o *inOrder) tell(ctx context.Context) {
	for {
		var batch []byte
		select {
		case batch = <-o.decided:
		case <-ctx.Done():
			for {
				select {
				case batch = <-o.decided:
					o.Receiver.Records(batch)
				default:
					return
				}
			}
		}
		for more := true; more; { // one look at what was seen is enough for all
			select {
			case b := <-o.decided:
				batch = append(batch, b...)
			default:
				more = false
			}
		}
		_ = o.flush(ctx)
		o.Receiver.Records(batch)
	}
}

// Ask implements kernel.Receiver. The question's time becomes that of its mark: what has a later one was sent later, too.
func (o *inOrder) Ask(ctx context.Context, rec []byte, gate record.Gate) kernel.Answer {
	var r record.Record
	if _, err := record.Decode(rec, &r); err != nil {
		return o.Receiver.Ask(ctx, rec, gate)
	}
	var before []byte
	r.Flags |= record.FlagMarked
	if err := o.flush(ctx); err != nil {
		if o.known != nil {
			before = o.known(nil, r.PID)
		}
		if !errors.Is(err, kernel.ErrUnable) { // who has ended is not in /proc, nor is a request
			r.Flags |= record.FlagPartial
		}
	}
	o.marking.Lock()
	r.Time = o.now() // what was read of /proc has a time before
	mark := record.Record{Kind: record.KindMark, Time: r.Time}
	o.Receiver.Records(mark.Append(before)) // in one piece: nothing that was read earlier comes between
	o.marking.Unlock()
	return o.Receiver.Ask(ctx, r.Append(nil), gate)
}
