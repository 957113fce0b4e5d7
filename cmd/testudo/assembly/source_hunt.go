package assembly

import (
	"context"
	"fmt"
	"time"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
)

// hunts searches everything that is kept.
type hunts struct{ m *Machine }

func (s hunts) Hunt(ctx context.Context, q console.HuntQuery, yield func(*signal.Event) error) (console.HuntStats, error) {
	return Hunt(ctx, s.m.storage.Store.History, q, yield)
}

// Hunt searches a history for the console and the command.
func Hunt(ctx context.Context, history *store.History, q console.HuntQuery, yield func(*signal.Event) error) (console.HuntStats, error) {
	c, err := Condition(q.Condition)
	if err != nil {
		return console.HuntStats{}, &console.InputError{Field: "condition", Reason: err.Error()}
	}
	started := time.Now()
	query := store.Query{Since: q.Since, Until: q.Until, Classes: c.Classes(), Where: c.Match, WhereColumns: c.Fields(),
		Newest: q.Limit > 0, Limit: q.Limit}
	var failed error
	st, err := history.Scan(ctx, query, func(e *signal.Event) bool {
		failed = yield(e)
		return failed == nil
	})
	if err == nil {
		err = failed
	}
	stats := console.HuntStats{Matched: uint64(st.Matched), Scanned: uint64(st.Events), Files: st.Files, Skipped: st.Skipped,
		Tail: uint64(st.Tail), ElapsedMS: time.Since(started).Milliseconds(), Truncated: q.Limit > 0 && st.Matched > int64(q.Limit)}
	for _, name := range st.Damaged {
		stats.Problems = append(stats.Problems, name+" is damaged and was left out")
	}
	for _, g := range st.Gaps {
		stats.Problems = append(stats.Problems, fmt.Sprintf("%d events of the %s plane are missing from the record", g.Count, g.Plane))
	}
	stats.Inexact = len(stats.Problems) > 0
	return stats, err
}
