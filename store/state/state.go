// Package state keeps what testudo knows now: findings, actions, assets and their
// relations, small documents of other rooms, and the counters that pages draw. It is
// one SQLite file in the data directory, or a PostgreSQL database by one setting; both
// pass the same test suite.
//
// What is promised: a method that returned without an error has committed, and what it
// wrote survives a crash of the process and of the machine. A method that returned an
// error has changed nothing. Every method is safe for concurrent use. Text is
// made valid UTF-8 without NUL before it is stored, since the name of an attacked
// file must not be able to keep its finding out.
//
// What is not promised: this is no place for events; those are in the lake. Values that are
// secret must be masked by the caller.
package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// FileName is the SQLite file within the data directory. Beside it stand, while it is
// open and after a crash, a -wal and a -shm file: the three belong together.
const FileName = "state.db"

// Config says where the state is kept, and for how long.
type Config struct {
	// URL chooses the database: empty for a SQLite file in the data directory, or
	// postgres://user@host:5432/testudo?sslmode=verify-full for PostgreSQL. Leave the
	// password out of it: PGPASSWORD, or the file that PGPASSFILE names, gives it.
	URL string `yaml:"url"`
	// KeepResolved is how long a resolved finding is kept after it was last seen.
	KeepResolved time.Duration `yaml:"keep_resolved"`
	// KeepActions is how long an action is kept after it began, if it is not in force.
	KeepActions time.Duration `yaml:"keep_actions"`
	// KeepAssets is how long an asset is kept after it was last seen.
	KeepAssets time.Duration `yaml:"keep_assets"`
	// MaxFindings bounds the findings. When they are full, the oldest resolved ones make
	// room; where there is none, a new finding is refused, and the health page says so.
	MaxFindings int64 `yaml:"max_findings"`
	// MaxActions bounds the actions. When they are full, the oldest that are not in force make room.
	MaxActions int64 `yaml:"max_actions"`
	// MaxAssets bounds the assets. When they are full, those not seen for longest make room.
	MaxAssets int64 `yaml:"max_assets"`
	// MaxPackages bounds the packages of all assets together. An inventory that finds no room is refused.
	MaxPackages int64 `yaml:"max_packages"`
}

// DefaultConfig returns the configuration that is used where nothing is set.
func DefaultConfig() Config {
	const day = 24 * time.Hour
	return Config{
		KeepResolved: 90 * day, KeepActions: 365 * day, KeepAssets: 90 * day,
		MaxFindings: 500_000, MaxActions: 200_000, MaxAssets: 200_000, MaxPackages: 2_000_000,
	}
}

// Validate names the first setting that makes no sense.
func (c *Config) Validate() error {
	if c.URL != "" {
		// The address itself is not repeated: it may hold a password.
		u, err := url.Parse(c.URL)
		if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
			return errors.New("url: want nothing for SQLite, or postgres://user@host:5432/name for PostgreSQL")
		}
	}
	for _, keep := range []struct {
		name string
		d    time.Duration
	}{{"keep_resolved", c.KeepResolved}, {"keep_actions", c.KeepActions}, {"keep_assets", c.KeepAssets}} {
		if keep.d < time.Hour {
			return fmt.Errorf("%s: %v is too short: want 1h or more", keep.name, keep.d)
		}
	}
	for _, most := range []struct {
		name string
		n    int64
	}{{"max_findings", c.MaxFindings}, {"max_actions", c.MaxActions}, {"max_assets", c.MaxAssets}, {"max_packages", c.MaxPackages}} {
		if most.n < 1000 {
			return fmt.Errorf("%s: %d is too few: want 1000 or more", most.name, most.n)
		}
	}
	return nil
}

// DB is an open state. It is safe for concurrent use.
type DB struct {
	cfg     Config
	dialect dialect
	write   *sql.DB // SQLite: one connection
	read    *sql.DB // SQLite: connections that cannot write; PostgreSQL: the same as write
	where   string  // file, or host and name, without credentials
	schema  int64
	log     *slog.Logger
	now     func() time.Time

	unchecked atomic.Bool // the file was too large to be checked whole at the start
	damaged   atomic.Bool
	findings  sizeOf
	actions   sizeOf
	assets    sizeOf
	packages  sizeOf
}

// Open opens the state and brings its schema up to date. dataDir must exist; it is
// not used with PostgreSQL. The errors that a caller may want to tell apart are ErrDamaged and
// ErrNewer; all of them say what to do.
func Open(ctx context.Context, cfg Config, dataDir string, logger *slog.Logger) (*DB, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	db := &DB{cfg: cfg, log: logger, now: time.Now}
	var err error
	if cfg.URL == "" {
		err = db.openSQLite(ctx, dataDir)
	} else {
		err = db.openPostgres(ctx)
	}
	if err == nil {
		err = db.migrate(ctx)
	}
	if err == nil {
		err = db.measure(ctx)
	}
	if err != nil {
		_ = db.Close()
		return nil, err
	}
	return db, nil
}

// Close closes the state. What was committed is safe before.
func (db *DB) Close() error {
	var errs []error
	if db.read != nil && db.read != db.write {
		errs = append(errs, db.read.Close())
	}
	if db.write != nil {
		errs = append(errs, db.write.Close())
	}
	return errors.Join(errs...)
}

// Where names the file, or the host and database, without credentials.
func (db *DB) Where() string { return db.where }

// dialect is what differs between the databases.
type dialect struct {
	name      string
	forUpdate string // appended to a SELECT whose rows are about to change
	numbered  bool   // parameters are $1, $2
}

func sqliteDialect() dialect { return dialect{name: "sqlite"} }

func postgresDialect() dialect {
	return dialect{name: "postgres", forUpdate: " FOR UPDATE", numbered: true}
}

// sql turns the question marks of a query into the dialect's parameters. No query here
// has a question mark elsewhere: values are never part of a query's text.
func (d dialect) sql(query string) string {
	if !d.numbered {
		return query
	}
	var b strings.Builder
	n := 0
	for {
		i := strings.IndexByte(query, '?')
		if i < 0 {
			b.WriteString(query)
			return b.String()
		}
		n++
		fmt.Fprintf(&b, "%s$%d", query[:i], n)
		query = query[i+1:]
	}
}

// tx is a transaction that writes.
type tx struct {
	*sql.Tx
	d dialect
}

func (t tx) exec(ctx context.Context, query string, args ...any) (affected int64, err error) {
	r, err := t.ExecContext(ctx, t.d.sql(query), args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

func (t tx) row(ctx context.Context, query string, args ...any) *sql.Row {
	return t.QueryRowContext(ctx, t.d.sql(query), args...)
}

// update runs f in a transaction and commits. Where PostgreSQL undoes it for the sake of
// another one, it is tried again, so f may run several times.
func (db *DB) update(ctx context.Context, what string, f func(tx) error) error {
	const tries = 5
	for try := 1; ; try++ {
		err := db.updateOnce(ctx, f)
		if err == nil {
			return nil
		}
		if try == tries || !isRetryable(err) || ctx.Err() != nil {
			return db.wrap(what, err)
		}
	}
}

func (db *DB) updateOnce(ctx context.Context, f func(tx) error) error {
	t, err := db.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(tx{t, db.dialect}); err != nil {
		_ = t.Rollback()
		return err
	}
	return t.Commit()
}

// rows runs a query and calls scan for each row of its answer.
func (db *DB) rows(ctx context.Context, what, query string, args []any, scan func(*sql.Rows) error) error {
	rows, err := db.read.QueryContext(ctx, db.dialect.sql(query), args...)
	if err != nil {
		return db.wrap(what, err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return db.wrap(what, err)
		}
	}
	return db.wrap(what, rows.Err())
}

// row runs a query for one row. ok is false where there is none.
func (db *DB) row(ctx context.Context, what, query string, args []any, into ...any) (ok bool, err error) {
	err = db.read.QueryRowContext(ctx, db.dialect.sql(query), args...).Scan(into...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, db.wrap(what, err)
}
