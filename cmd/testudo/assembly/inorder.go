package assembly

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

// flusher is what of the eyes can say that all is handed on that was seen until now.
type flusher interface {
	Flush(ctx context.Context) bool
}

// inOrder is the receiver of the gates. What they ask and tell comes behind what was seen before it, and so is judged by who does it and what that one came from: a program that was
// started a moment ago, by one that was started a moment before.
type inOrder struct {
	kernel.Receiver
	eyes flusher // nil where none can
	// known appends what /proc knows of a process and of those that it came from; it stands in where what was seen is late, or was lost.
	known func(batch []byte, pid uint32) []byte
	now   func() uint64 // clock of records

	late atomic.Int64 // when the eyes last took too long, nanoseconds of the Unix epoch
}

// Bounds of waiting for the eyes: a question has its own deadline, and what is refused already is only told of.
const (
	flushWithin = 100 * time.Millisecond
	flushPause  = time.Second // without another try, after one took too long
)

// flush reports whether all that was seen until now was handed on.
func (o *inOrder) flush(ctx context.Context) bool {
	if o.eyes == nil || time.Now().UnixNano()-o.late.Load() < int64(flushPause) {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, flushWithin)
	defer cancel()
	whole := o.eyes.Flush(ctx)
	if ctx.Err() != nil {
		o.late.Store(time.Now().UnixNano())
	}
	return whole
}

// Records implements kernel.Receiver.
func (o *inOrder) Records(batch []byte) {
	o.flush(context.Background())
	o.Receiver.Records(batch)
}

// Ask implements kernel.Receiver. The question's time becomes that of its mark: what has a later one was sent later, too.
func (o *inOrder) Ask(ctx context.Context, rec []byte, gate record.Gate) kernel.Answer {
	var r record.Record
	if _, err := record.Decode(rec, &r); err != nil {
		return o.Receiver.Ask(ctx, rec, gate)
	}
	var before []byte
	if !o.flush(ctx) && o.known != nil {
		before = o.known(nil, r.PID)
	}
	// What is read of /proc has its own time, which the mark's is not before.
	if len(before) > 0 {
		o.Receiver.Records(before)
	}
	r.Time = o.now()
	r.Flags |= record.FlagMarked
	mark := record.Record{Kind: record.KindMark, Time: r.Time}
	o.Receiver.Records(mark.Append(nil))
	return o.Receiver.Ask(ctx, r.Append(nil), gate)
}
