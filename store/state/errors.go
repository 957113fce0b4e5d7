package state

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

var (
	// ErrDamaged is wrapped by errors about a SQLite file that is not whole.
	ErrDamaged = errors.New("the state is damaged")
	// ErrNewer is wrapped by the error about a schema that a newer testudo made.
	ErrNewer = errors.New("the state was made by a newer testudo")
	// ErrFull is wrapped by errors about a table that holds all it may.
	ErrFull = errors.New("the state is full")
	// ErrQuery is wrapped by errors about a query that makes no sense: a wrong cursor, a
	// text that is too long, a document that is no JSON.
	ErrQuery = errors.New("not a query")
	// ErrCursor is wrapped, beside ErrQuery, by errors about a cursor that no page of the list returned.
	ErrCursor = fmt.Errorf("%w: wrong cursor", ErrQuery)
)

// wrap says what was being done, and adds to a database's terse error what to do about it.
func (db *DB) wrap(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrFull), errors.Is(err, ErrQuery), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("state: %s: %w", what, err)
	}
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		switch lite.Code() & 0xff {
		case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
			db.damaged.Store(true)
			return db.damage(err.Error())
		case sqlite3.SQLITE_FULL:
			return fmt.Errorf("state: %s: no room on the disk of %s: free some; nothing was changed: %w", what, db.where, err)
		case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH:
			return fmt.Errorf("state: %s: %s cannot be written: check its owner and mode, those of its directory, and whether the file system is read-only: %w", what, db.where, err)
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
			return fmt.Errorf("state: %s: %s is in use by another process: stop that one, or give this one a data directory of its own: %w", what, db.where, err)
		case sqlite3.SQLITE_INTERRUPT:
			return fmt.Errorf("state: %s: interrupted: %w", what, context.Canceled)
		}
	}
	return fmt.Errorf("state: %s: %s: %w", what, db.where, err)
}

func (db *DB) damage(detail string) error {
	return fmt.Errorf("%w: %s: %s: stop testudo, move %s, %s-wal and %s-shm aside together, and put a backup in "+
		"their place, or start without them: then findings and actions begin anew, and the lake and the ledger are kept",
		ErrDamaged, db.where, detail, db.where, db.where, db.where)
}

// isRetryable reports whether PostgreSQL undid a transaction that may succeed when it is
// tried again: serialization failure, deadlock, or a row that another one inserted first.
func isRetryable(err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return false
	}
	switch pg.Code {
	case "40001", "40P01", "23505":
		return true
	}
	return false
}
