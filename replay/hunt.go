package replay

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
)

// A History holds what was recorded; store.History is one.
type History interface {
	Scan(ctx context.Context, q store.Query, yield func(*signal.Event) bool) (store.ScanStats, error)
}

// A Condition chooses events; match.Condition is one.
type Condition interface {
	// Eval reports whether the event is chosen. A fault is no match. It sees recorded forms and,
	// of the event's fields, at least the header's, those of Fields and the ones outside of the
	// field table. It does not keep the event.
	Eval(e *signal.Event) (bool, error)
	// Fields returns the fields that Eval reads; none where it is empty.
	Fields() []signal.Field
}

// An Expression is a Condition that can be searched for column by column. [match.Condition] is one.
type Expression interface {
	Condition
	Expr() match.Expr // Eval's answer is that of match.Eval
}

// Query says where to look and how much to return.
type Query struct {
	Since, Until time.Time      // Since inclusive, Until exclusive, by the events' time; zero: unbounded
	Classes      []signal.Class // nil: all
	Limit        int            // the newest so many, 1 to MaxLimit; 0 is DefaultLimit
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
	Faults   int64         // events on which the condition could not be evaluated, as by a division by zero
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
	var stats Stats
	scan := store.Query{
		Since: q.Since, Until: q.Until, Classes: q.Classes,
		WhereColumns: slices.Concat(headerFields(), c.Fields()), WhereUnmapped: true,
		Where: func(e *signal.Event) bool {
			ok, err := c.Eval(e)
			if err != nil {
				stats.Faults++
			}
			return ok && err == nil
		},
		Masks: maskable(c.Fields()), Newest: true, Limit: q.Limit,
	}
	if x, ok := c.(Expression); ok {
		scan.Filter = filterOf(x.Expr())
	}
	got, err := h.Scan(ctx, scan, func(e *signal.Event) bool {
		stats.Returned++
		return yield(e)
	})
	stats.Files, stats.Skipped, stats.Events, stats.Tail = got.Files, got.Skipped, got.Events, got.Tail
	stats.More = got.Matched > int64(q.Limit)
	stats.Elapsed = time.Since(began)
	stats.Inexact = append(maskReasons(got.Masked), reasons(&got)...)
	return stats, err
}

// headerFields are the fields of the event's header that a condition may read without naming them.
func headerFields() []signal.Field {
	return []signal.Field{
		signal.FieldActivityID, signal.FieldSeverityID, signal.FieldMetadataUID, signal.FieldMetadataSequence,
		signal.FieldMetadataCorrelationUID, signal.FieldMetadataLogProvider,
	}
}

// maskable returns the fields whose recorded form may be another than what was seen.
func maskable(fields []signal.Field) []signal.Field {
	var out []signal.Field
	for _, f := range fields {
		if f.Kind() == signal.KindString && !f.IsHeader() && !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	return out
}

// maskReasons says which fields were masked.
func maskReasons(masked store.Masked) []string {
	sums := make(map[signal.Field]int64)
	for f, n := range masked {
		sums[f.Field] += n
	}
	var out []string
	for _, f := range slices.Sorted(maps.Keys(sums)) {
		out = append(out, fmt.Sprintf("%s was masked when it was recorded in %d of the events", f.Name(), sums[f]))
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
