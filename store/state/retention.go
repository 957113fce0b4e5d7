package state

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/testudo-sec/testudo/signal"
)

// pruneEvery is how often Run removes what is too old.
const pruneEvery = time.Hour

// sizeOf holds the number of rows of a table as this process knows it. With
// PostgreSQL others may add rows too; Prune counts anew.
type sizeOf struct {
	table string
	most  int64
	evict string // which rows make room, the first to go first
	n     atomic.Int64
}

func (s *sizeOf) add(n int64) { s.n.Add(n) }

// room makes room for one more row, where added ones are not yet in the count.
func (s *sizeOf) room(ctx context.Context, t tx, added int64) error {
	if s.n.Load()+added < s.most {
		return nil
	}
	// A hundredth at once, so that a full table does not pay for this at every row.
	gone, err := t.exec(ctx, "DELETE FROM "+s.table+" WHERE id IN (SELECT id FROM "+s.table+" "+s.evict+" LIMIT ?)", max(s.most/100, 1))
	if err != nil {
		return err
	}
	// The count runs low if this transaction is undone, until Prune counts anew: the
	// bound is then passed by a hundredth at the most.
	s.n.Add(-gone)
	if s.n.Load()+added >= s.most {
		return fmt.Errorf("%w: %d %s, none of which may go: resolve some, or raise state.max_%s", ErrFull, s.most, s.table, s.table)
	}
	return nil
}

// measure counts the rows of the bounded tables.
func (db *DB) measure(ctx context.Context) error {
	db.findings.table, db.findings.most = "findings", db.cfg.MaxFindings
	db.findings.evict = "WHERE state = '" + string(signal.FindingResolved) + "' ORDER BY last_seen, id"
	db.actions.table, db.actions.most = "actions", db.cfg.MaxActions
	db.actions.evict = "WHERE state <> '" + string(signal.ActionActive) + "' ORDER BY started, id"
	db.assets.table, db.assets.most = "assets", db.cfg.MaxAssets
	db.assets.evict = "ORDER BY last_seen, id"
	db.packages.table, db.packages.most = "packages", db.cfg.MaxPackages
	return db.recount(ctx)
}

func (db *DB) recount(ctx context.Context) error {
	for _, s := range []*sizeOf{&db.findings, &db.actions, &db.assets, &db.packages} {
		var n int64
		if _, err := db.row(ctx, "count "+s.table, "SELECT count(*) FROM "+s.table, nil, &n); err != nil {
			return err
		}
		s.n.Store(n)
	}
	return nil
}

// Prune removes what is older than the configuration keeps. Run calls it every hour.
func (db *DB) Prune(ctx context.Context) error {
	now := db.now()
	err := db.update(ctx, "prune", func(t tx) error {
		for _, d := range []struct {
			query string
			args  []any
		}{
			{"DELETE FROM findings WHERE state = ? AND last_seen < ?", []any{string(signal.FindingResolved), nanos(now.Add(-db.cfg.KeepResolved))}},
			{"DELETE FROM actions WHERE state <> ? AND started < ?", []any{string(signal.ActionActive), nanos(now.Add(-db.cfg.KeepActions))}},
			{"DELETE FROM assets WHERE last_seen < ?", []any{nanos(now.Add(-db.cfg.KeepAssets))}},
			{"DELETE FROM minute_counts WHERE minute < ?", []any{now.Add(-keepMinutes).Unix() / 60}},
			{"DELETE FROM rule_hits WHERE hour < ?", []any{now.Add(-keepHours).Unix() / 3600}},
		} {
			if _, err := t.exec(ctx, d.query, d.args...); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return db.recount(ctx)
}

// Run prunes every hour, and first checks a SQLite file whole that was too large for
// that at the start. It returns nil when ctx is done.
func (db *DB) Run(ctx context.Context) error {
	if db.unchecked.Load() {
		if err := db.check(ctx); err != nil && ctx.Err() == nil {
			db.log.Error("state check found damage", "error", err)
		}
		db.unchecked.Store(false)
	}
	tick := time.NewTicker(pruneEvery)
	defer tick.Stop()
	for {
		if err := db.Prune(ctx); err != nil && ctx.Err() == nil {
			db.log.Error("state is not pruned", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Health is how the state is.
type Health struct {
	Driver string `json:"driver"` // sqlite or postgres
	Where  string `json:"where"`  // the file, or host and database
	Schema int64  `json:"schema"` // version of the schema
	Err    error  `json:"-"`      // why it cannot be read or written; nil: it can
}

// Health reads and writes a row, so that a full disk shows before something is lost.
func (db *DB) Health(ctx context.Context) Health {
	h := Health{Driver: db.dialect.name, Where: db.where, Schema: db.schema}
	if db.damaged.Load() {
		h.Err = db.damage("damage was found earlier")
		return h
	}
	if h.Err = db.Ping(ctx); h.Err == nil {
		h.Err = db.update(ctx, "write the health row", func(t tx) error {
			_, err := t.exec(ctx, "UPDATE health SET at = ? WHERE one = 1", nanos(db.now()))
			return err
		})
	}
	return h
}

// Ping reads a row.
func (db *DB) Ping(ctx context.Context) error {
	var at int64
	_, err := db.row(ctx, "read the health row", "SELECT at FROM health WHERE one = 1", nil, &at)
	return err
}
