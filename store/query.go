package store

import (
	"time"

	"github.com/testudo-sec/testudo/signal"
)

// Query says which events a scan visits and what it reads of them.
type Query struct {
	Since, Until time.Time      // Since inclusive, Until exclusive, by the events' time; zero: unbounded
	Classes      []signal.Class // nil: all
	ID           signal.ID      // only the event of that id; zero: all

	// Behind, where it is not 0, leaves out what only batches up to that one hold: see History.LastBatch.
	// Some of their events may be visited all the same.
	Behind uint64

	// Columns are the fields that yield reads; an event may hold more. nil: all of
	// them. Class and time are always there.
	Columns []signal.Field
	// Unmapped says that yield reads attributes outside of the field table too. It
	// has a meaning only where Columns is not nil.
	Unmapped bool

	// Where, where it is not nil, chooses the events that yield gets. It is called with
	// events that hold at least the fields of WhereColumns (nil: all) and, where WhereUnmapped
	// is set, the attributes outside of the table. Fields that only yield needs are
	// read for chosen events alone, so a selective Where makes a scan cheap.
	Where         func(*signal.Event) bool
	WhereColumns  []signal.Field
	WhereUnmapped bool

	// Filter, where it is not nil, answers for Where as far as columns can tell, so that Where is asked only about
	// events that it leaves open. It is not looked at where ID is set.
	Filter *Filter

	// Masks are text fields whose masked forms are counted over all events of the range, chosen
	// or not: see ScanStats.Masked.
	Masks []signal.Field

	// Newest asks for the Limit newest events that Where chooses, newest first. Without it
	// events come in no promised order, roughly as they were recorded.
	Newest bool
	// Limit bounds the events yielded; 0 is no bound, and not allowed with Newest,
	// whose results are held in memory.
	Limit int

	// Sequenced asks for the events in the order of their numbers (metadata.sequence), in which their judge
	// judged them; those of several judges come between each other. It does not go together with Newest or ID.
	Sequenced bool

	// Progress, where it is not nil, is called now and then with how many parts of the lake are still to be read.
	Progress func(left int)

	// Floor, where it is not nil, is a time in nanoseconds that rises while the scan runs:
	// events before it are of no interest any more and may be left out.
	Floor func() int64
}

// Wants reports whether the query's classes hold c.
func (q *Query) Wants(c signal.Class) bool {
	if q.Classes == nil {
		return true
	}
	for _, want := range q.Classes {
		if want == c {
			return true
		}
	}
	return false
}

// Range returns the query's times in nanoseconds, the lower one inclusive, the upper one
// exclusive, Floor included.
func (q *Query) Range() (from, to int64) {
	from, to = minTime, maxTime
	if !q.Since.IsZero() {
		from = clampNano(q.Since)
	}
	if !q.Until.IsZero() {
		to = clampNano(q.Until)
	}
	if q.Floor != nil {
		from = max(from, q.Floor())
	}
	return from, to
}

const (
	minTime = -1 << 63
	maxTime = 1<<63 - 1
)

// clampNano returns nanoseconds since the epoch, at the bounds for times they cannot hold.
func clampNano(t time.Time) int64 {
	switch s := t.Unix(); {
	case s < minTime/int64(time.Second)+1:
		return minTime
	case s > maxTime/int64(time.Second)-1:
		return maxTime
	}
	return t.UnixNano()
}

// ScanStats says what a scan did and how far its answer can be relied on.
type ScanStats struct {
	Files    int      // lake files that were opened
	Skipped  int      // lake files and row groups that time, id, class or statistics ruled out unread
	Events   int64    // events that were looked at, tail included
	Tail     int64    // of them, events that were not yet in the lake
	Matched  int64    // events that Where or Filter chose
	Masked   Masked   // events of the range in which one of the query's Masks was masked
	Damaged  []string // lake files that could not be read
	Gaps     []Gap    // records that are missing from the range
	Unsynced error    // why the latest events may be missing: the bus had not acknowledged them in time
}
