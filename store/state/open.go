package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"modernc.org/sqlite"
)

// checkAtOpen bounds the check of a SQLite file before it is used, so that a large file does
// not delay the start; Run checks it whole where that was not enough.
const checkAtOpen = time.Second

const (
	readers     = 4 // connections that read a SQLite file
	connections = 8 // connections to PostgreSQL
)

func (db *DB) openSQLite(ctx context.Context, dataDir string) error {
	db.dialect = sqliteDialect()
	path, err := filepath.Abs(filepath.Join(dataDir, FileName))
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	db.where = path
	// SQLite would make the file by the umask; its companions take over the file's mode.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		err = errors.Join(f.Chmod(0o600), f.Close())
	}
	if err != nil {
		return fmt.Errorf("state: %w: check the owner and mode of the data directory, or name another one", err)
	}
	if db.write, err = openSQLiteFile(path, "_txlock=immediate", 1); err != nil {
		return db.wrap("open", err)
	}
	if db.read, err = openSQLiteFile(path, "_pragma=query_only(1)", readers); err != nil {
		return db.wrap("open", err)
	}
	limited, cancel := context.WithTimeout(ctx, checkAtOpen)
	defer cancel()
	err = db.check(limited)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		db.unchecked.Store(true)
		return nil
	}
	return err
}

func openSQLiteFile(path, param string, most int) (*sql.DB, error) {
	// synchronous(FULL): committed means on disk, also after a power cut.
	dsn := (&url.URL{Scheme: "file", Path: path}).String() +
		"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)" +
		"&_pragma=journal_size_limit(67108864)&" + param
	connector, err := sqlite.NewConnector(dsn)
	if err != nil {
		return nil, err
	}
	pool := sql.OpenDB(connector)
	pool.SetMaxOpenConns(most)
	pool.SetMaxIdleConns(most)
	return pool, nil
}

// check looks for damage in a SQLite file.
func (db *DB) check(ctx context.Context) error {
	var found string
	if err := db.write.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&found); err != nil {
		return db.wrap("check", err)
	}
	if found != "ok" {
		db.damaged.Store(true)
		return db.damage(found)
	}
	return nil
}

func (db *DB) openPostgres(ctx context.Context) error {
	db.dialect = postgresDialect()
	cfg, err := pgx.ParseConfig(db.cfg.URL)
	if err != nil {
		// The parser's error quotes the address; it hides the password in most, not all, of its forms.
		return errors.New("state: url is not a PostgreSQL address: want postgres://user@host:5432/name?sslmode=verify-full")
	}
	db.where = net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port))) + "/" + cfg.Database
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "testudo"
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 5 * time.Second
	}
	db.write = stdlib.OpenDB(*cfg)
	db.write.SetMaxOpenConns(connections)
	db.write.SetMaxIdleConns(connections)
	db.write.SetConnMaxIdleTime(5 * time.Minute)
	db.read = db.write
	if err := db.write.PingContext(ctx); err != nil {
		return fmt.Errorf("state: PostgreSQL at %s does not let us in: start it, or mend state.url: %w", db.where, err)
	}
	var encoding string
	if err := db.write.QueryRowContext(ctx, "SHOW server_encoding").Scan(&encoding); err != nil {
		return db.wrap("ask for the encoding", err)
	}
	if encoding != "UTF8" {
		return fmt.Errorf("state: the database %s is in %s: make one with CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0", db.where, encoding)
	}
	return nil
}
