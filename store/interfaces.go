package store

import (
	"context"
	"time"

	"github.com/testudo-sec/testudo/signal"
)

// A Publisher takes batches. Publish returns the batch's sequence, a number that rises
// by one with each, after the batch is on disk. Publishing the same id again within two
// minutes does not store the batch twice and returns the first one's sequence. The payload
// is not kept. An error leaves it open whether the batch was stored.
type Publisher interface {
	Publish(ctx context.Context, id string, payload []byte) (seq uint64, err error)
}

// A Log holds the published batches until they are trimmed. It is safe for concurrent use.
type Log interface {
	// Bounds returns the sequences of the first and the last batch; where there is none,
	// first is the next one's and last is first-1.
	Bounds(ctx context.Context) (first, last uint64, err error)
	// Read calls yield for each batch from that sequence on, in order, until the last that
	// was there when Read began, or until yield returns false. The payload may be kept.
	Read(ctx context.Context, from uint64, yield func(seq uint64, payload []byte) bool) error
	// Trim forgets batches up to and including that sequence.
	Trim(ctx context.Context, through uint64) error
}

// A Lake holds events in files by partition.
type Lake interface {
	// Held returns the last batch sequence that the partition's files hold, 0 for none.
	Held(p Partition) uint64
	// Create begins a file of a partition. It appears when it is committed.
	Create(p Partition) (Part, error)
	// RecordGaps keeps, durably, that records are missing; last is the last batch that said
	// so. GapsHeld returns the greatest last.
	RecordGaps(last uint64, gaps []Gap) error
	GapsHeld() uint64
	// View returns the files as they are now. They stay readable until its Release.
	View() View
	// Maintain compacts and expires; trimmed is the last sequence that the bus has forgotten.
	Maintain(ctx context.Context, now time.Time, trimmed uint64) error
}

// A Part is a lake file being written, for one goroutine. After an error it can only be discarded.
type Part interface {
	// Append adds an event of the part's partition. It may keep the event's strings until Commit.
	Append(e *signal.Event) error
	// Rows and Size return the number of events and about how many bytes the file will have.
	Rows() int
	Size() int64
	// Commit makes the file durable and visible as holding the batches first to last.
	Commit(first, last uint64) error
	// Discard forgets the part; after Commit it does nothing.
	Discard()
}

// A View is the lake at one moment. It is safe for concurrent use until Release.
type View interface {
	Held(p Partition) uint64
	// Scan visits the view's events as the query says; order and limits by Newest are
	// the caller's, but Scan begins with the newest hours where Newest is set, and may leave
	// out all but the Limit newest events of a row group. Damaged files are skipped and named
	// in stats.
	Scan(ctx context.Context, q *Query, stats *ScanStats, yield func(*signal.Event) bool) error
	Release()
}
