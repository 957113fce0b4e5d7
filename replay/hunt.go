package replay

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
)

// A History holds what was recorded; store.History is one.
type History interface {
	Scan(ctx context.Context, q store.Query, yield func(*signal.Event) bool) (store.ScanStats, error)
}

// A Condition chooses events. Match is called from one goroutine at a time, with an event that
// holds at least Fields, in their recorded form; it must not keep the event.
type Condition interface {
	Match(e *signal.Event) bool
	// Fields are the fields that Match reads, header fields included or not; nil means that
	// it may read any. Unmapped reports whether it reads attributes outside of the field table.
	Fields() []signal.Field
	Unmapped() bool
	// Classes are the classes of events that Match can choose; nil for any.
	Classes() []signal.Class
}

// Query says where to look and how much to return.
type Query struct {
	Since, Until time.Time // Since inclusive, Until exclusive, by the events' time; zero: unbounded
	Limit        int       // the newest so many, 1 to MaxLimit; 0 is DefaultLimit
}

// Bounds of the results of a hunt.
const (
	DefaultLimit = 50
	MaxLimit     = 10_000
)

// Stats says what a hunt did and how far its answer can be relied on.
type Stats struct {
	Files    int           // lake files that were read
	Skipped  int           // lake files and row groups that were ruled out unread
	Events   int64         // events that were looked at
	Tail     int64         // of them, events not yet in the lake
	Returned int           // events that were handed out
	More     bool          // the condition chose more events than were handed out
	Elapsed  time.Duration //

	// Inexact holds the reasons why the answer may lack events, or hold some that it should not, a
	// sentence each; nil where it is exact.
	Inexact []string
}

// Hunt yields the newest events that the condition chooses, newest first, until
// yield returns false. The event is valid only during the call. An error is ctx's, or says
// that the store could not be read at all.
func Hunt(ctx context.Context, h History, c Condition, q Query, yield func(e *signal.Event) bool) (Stats, error) {
	began := time.Now()
	if q.Limit == 0 {
		q.Limit = DefaultLimit
	}
	if q.Limit < 0 || q.Limit > MaxLimit {
		return Stats{}, fmt.Errorf("limit %d: want 1 to %d", q.Limit, MaxLimit)
	}
	if !q.Until.IsZero() && !q.Since.Before(q.Until) {
		return Stats{}, fmt.Errorf("since %s is not before until %s", q.Since.Format(time.RFC3339), q.Until.Format(time.RFC3339))
	}
	masks := newMasks(c.Fields())
	chosen := 0
	scan := store.Query{
		Since: q.Since, Until: q.Until, Classes: c.Classes(),
		WhereColumns: c.Fields(), WhereUnmapped: c.Unmapped(),
		Where: func(e *signal.Event) bool {
			masks.note(e)
			if !c.Match(e) {
				return false
			}
			chosen++
			return true
		},
		Newest: true, Limit: q.Limit,
	}
	if c.Fields() == nil {
		scan.WhereColumns = nil
	} else if len(scan.WhereColumns) == 0 {
		scan.WhereColumns = []signal.Field{} // not nil: nothing, instead of everything
	}
	var stats Stats
	got, err := h.Scan(ctx, scan, func(e *signal.Event) bool {
		stats.Returned++
		return yield(e)
	})
	stats.Files, stats.Skipped, stats.Events, stats.Tail = got.Files, got.Skipped, got.Events, got.Tail
	stats.More = chosen > q.Limit
	stats.Elapsed = time.Since(began)
	stats.Inexact = append(masks.reasons(), reasons(&got)...)
	return stats, err
}

// masks notes which fields of the condition were masked in the events it saw.
type masks struct {
	fields []signal.Field // string fields that the condition reads; nil: any
	seen   map[signal.Field]int
}

func newMasks(fields []signal.Field) *masks {
	m := &masks{seen: make(map[signal.Field]int)}
	if fields != nil {
		m.fields = make([]signal.Field, 0, len(fields))
		for _, f := range fields {
			if f.Kind() == signal.KindString && !f.IsHeader() && !slices.Contains(m.fields, f) {
				m.fields = append(m.fields, f)
			}
		}
	}
	return m
}

func (m *masks) note(e *signal.Event) {
	if m.fields == nil {
		e.Each(func(f signal.Field) bool {
			if e.IsMasked(f) {
				m.seen[f]++
			}
			return true
		})
		return
	}
	for _, f := range m.fields {
		if e.IsMasked(f) {
			m.seen[f]++
		}
	}
}

func (m *masks) reasons() []string {
	fields := make([]signal.Field, 0, len(m.seen))
	for f := range m.seen {
		fields = append(fields, f)
	}
	slices.Sort(fields)
	var out []string
	for _, f := range fields {
		out = append(out, fmt.Sprintf("%s was masked when it was recorded in %d of the events", f.Name(), m.seen[f]))
	}
	return out
}

// reasons says what a scan lacked.
func reasons(s *store.ScanStats) []string {
	var out []string
	if s.Unsynced != nil {
		out = append(out, fmt.Sprintf("the latest events may be missing: %v", s.Unsynced))
	}
	for _, g := range s.Gaps {
		what := fmt.Sprintf("%d events", g.Count)
		if g.Count == 0 {
			what = "an unknown number of events"
		}
		if p := g.Plane.String(); p != "" {
			what += " of the " + p + " plane"
		}
		out = append(out, fmt.Sprintf("%s between %s and %s were judged and not recorded", what, moment(g.FirstTime), moment(g.LastTime)))
		if len(out) == maxReasons {
			return append(out, fmt.Sprintf("and %d more gaps", len(s.Gaps)-maxReasons))
		}
	}
	if n := len(s.Damaged); n > 0 {
		out = append(out, fmt.Sprintf("%d lake files could not be read: %s", n, strings.Join(s.Damaged[:min(n, 5)], ", ")))
	}
	return out
}

// maxReasons bounds the gaps that are named.
const maxReasons = 20

func moment(ns int64) string { return time.Unix(0, ns).UTC().Format("2006-01-02 15:04:05.000") }
