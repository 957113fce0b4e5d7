package assembly

import (
	"context"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/replay"
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
	limit := q.Limit
	if limit == 0 || limit > replay.MaxLimit {
		limit = replay.MaxLimit
	}
	var failed error
	st, err := replay.Hunt(ctx, history, c, replay.Query{Since: q.Since, Until: q.Until, Classes: c.Classes(), Limit: limit},
		func(e *signal.Event) bool {
			failed = yield(e)
			return failed == nil
		})
	if err == nil {
		err = failed
	}
	return console.HuntStats{Matched: uint64(st.Returned), Scanned: uint64(st.Events), Files: st.Files, Skipped: st.Skipped,
		Tail: uint64(st.Tail), ElapsedMS: st.Elapsed.Milliseconds(), Truncated: st.More, Inexact: len(st.Inexact) > 0, Problems: st.Inexact}, err
}
