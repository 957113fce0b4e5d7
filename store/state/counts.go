package state

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"time"
)

const (
	keepMinutes = 48 * time.Hour
	keepHours   = 31 * 24 * time.Hour
	maxSeries   = 1000 // of one call
)

// Point is the count of one minute.
type Point struct {
	Minute time.Time `json:"minute"`
	Count  int64     `json:"count"`
}

// AddCounts adds to the counters of the minute of at, one for each series, as in
// "edge.requests" or "edge.blocked". Counters are kept for 48 hours. The names must be
// the program's own: an attacker who can make up series could fill the table.
func (db *DB) AddCounts(ctx context.Context, at time.Time, counts map[string]uint64) error {
	return db.addCounts(ctx, "add counts", len(counts), func(t tx) error {
		for _, name := range slices.Sorted(maps.Keys(counts)) {
			if _, err := t.exec(ctx, "INSERT INTO minute_counts (series, minute, count) VALUES (?, ?, ?) "+
				"ON CONFLICT (series, minute) DO UPDATE SET count = minute_counts.count + excluded.count",
				clean(name, maxID), at.Unix()/60, counted(counts[name])); err != nil {
				return err
			}
		}
		return nil
	})
}

func (db *DB) addCounts(ctx context.Context, what string, n int, f func(tx) error) error {
	switch {
	case n == 0:
		return nil
	case n > maxSeries:
		return db.wrap(what, fmt.Errorf("%w: %d counters at once, at most %d", ErrQuery, n, maxSeries))
	}
	return db.update(ctx, what, f)
}

// Counts returns the counters of the series from since on, oldest first. Minutes in which
// nothing was counted are left out.
func (db *DB) Counts(ctx context.Context, since time.Time, series ...string) (map[string][]Point, error) {
	points := make(map[string][]Point, len(series))
	for _, name := range series {
		err := db.rows(ctx, "read counts", "SELECT minute, count FROM minute_counts WHERE series = ? AND minute >= ? ORDER BY minute",
			[]any{clean(name, maxID), since.Unix() / 60}, func(r *sql.Rows) error {
				var minute, n int64
				if err := r.Scan(&minute, &n); err != nil {
					return err
				}
				points[name] = append(points[name], Point{time.Unix(minute*60, 0).UTC(), n})
				return nil
			})
		if err != nil {
			return nil, err
		}
	}
	return points, nil
}

// RuleHits says how often a rule fired, and when it did last.
type RuleHits struct {
	Count int64     `json:"count"`
	Last  time.Time `json:"last"`
}

// AddRuleHits adds to the counters of rules in the hour of at, which is also when they
// fired last. They are kept for 31 days.
func (db *DB) AddRuleHits(ctx context.Context, at time.Time, hits map[string]uint64) error {
	return db.addCounts(ctx, "add rule hits", len(hits), func(t tx) error {
		for _, rule := range slices.Sorted(maps.Keys(hits)) {
			if _, err := t.exec(ctx, "INSERT INTO rule_hits (rule, hour, count, last) VALUES (?, ?, ?, ?) "+
				"ON CONFLICT (rule, hour) DO UPDATE SET count = rule_hits.count + excluded.count, "+
				"last = CASE WHEN excluded.last > rule_hits.last THEN excluded.last ELSE rule_hits.last END",
				clean(rule, maxID), at.Unix()/3600, counted(hits[rule]), nanos(at)); err != nil {
				return err
			}
		}
		return nil
	})
}

// RuleHits returns what each rule counted in the hours from since on.
func (db *DB) RuleHits(ctx context.Context, since time.Time) (map[string]RuleHits, error) {
	hits := map[string]RuleHits{}
	err := db.rows(ctx, "read rule hits", "SELECT rule, CAST(sum(count) AS BIGINT), max(last) FROM rule_hits WHERE hour >= ? GROUP BY rule",
		[]any{since.Unix() / 3600}, func(r *sql.Rows) error {
			var rule string
			var n, last int64
			if err := r.Scan(&rule, &n, &last); err != nil {
				return err
			}
			hits[rule] = RuleHits{Count: n, Last: moment(last)}
			return nil
		})
	return hits, err
}
