package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/testudo-sec/testudo/internal/require"
	"go.uber.org/goleak"
)

// server is a PostgreSQL of the tests' own, started when the first of them asks for it.
type server struct {
	once sync.Once
	dir  string
	cmd  *exec.Cmd
	in   io.Closer
	err  error
	next atomic.Int64
}

var testServer server

func TestMain(m *testing.M) {
	code := m.Run()
	testServer.stop()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// database returns the address of a new, empty PostgreSQL database.
func (s *server) database(t testing.TB) string {
	t.Helper()
	// initdb refuses to run as root: the server is the user postgres then.
	who, err := user.Lookup("postgres")
	require.Part(t, "postgresql", os.Geteuid() != 0 || err == nil, "there is no user postgres: as root, install the package postgresql")
	bin := filepath.Dir(require.Program(t, "postgresql", "initdb", "/usr/lib/postgresql/*/bin/initdb"))
	s.once.Do(func() { s.err = s.start(bin, who) })
	if s.err != nil {
		t.Fatal(s.err)
	}
	name := fmt.Sprintf("t%d", s.next.Add(1))
	cfg, err := pgx.ParseConfig(s.url("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	db := stdlib.OpenDB(*cfg)
	defer db.Close()
	if _, err := db.Exec("CREATE DATABASE " + name + " ENCODING 'UTF8' TEMPLATE template0"); err != nil {
		t.Fatal(err)
	}
	return s.url(name)
}

func (s *server) url(name string) string {
	return "postgres:///" + name + "?user=postgres&host=" + s.dir
}

func (s *server) start(bin string, who *user.User) (err error) {
	if s.dir, err = os.MkdirTemp("", "pg"); err != nil {
		return err
	}
	attr := &syscall.SysProcAttr{}
	if os.Geteuid() == 0 {
		uid, _ := strconv.Atoi(who.Uid)
		gid, _ := strconv.Atoi(who.Gid)
		attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(s.dir, uid, gid); err != nil {
			return err
		}
	}
	data := filepath.Join(s.dir, "data")
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	initdb.SysProcAttr, initdb.Dir = attr, s.dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	// The shell stops the server when its input ends, so also when the tests are killed.
	s.cmd = exec.Command("/bin/sh", "-c", `"$0" "$@" & pid=$!; read -r end; kill -INT $pid; wait $pid`,
		filepath.Join(bin, "postgres"), "-D", data, "-k", s.dir, "-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=200")
	s.cmd.SysProcAttr, s.cmd.Dir = attr, s.dir
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	cfg, err := pgx.ParseConfig(s.url("postgres"))
	if err != nil {
		return err
	}
	db := stdlib.OpenDB(*cfg)
	defer db.Close()
	for range 1200 {
		if err = db.Ping(); err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("PostgreSQL does not answer: %w", err)
}

func (s *server) stop() {
	if s.cmd != nil && s.cmd.Process != nil {
		_ = s.in.Close()
		_ = s.cmd.Wait()
	}
	if s.dir != "" {
		_ = os.RemoveAll(s.dir)
	}
}

// onBoth runs a test on each database. open opens the same state again and again; the test
// need not close it.
func onBoth(t *testing.T, f func(t *testing.T, open func(change ...func(*Config)) *DB)) {
	t.Run("sqlite", func(t *testing.T) {
		dir := t.TempDir()
		f(t, func(change ...func(*Config)) *DB { return mustOpen(t, dir, change...) })
	})
	t.Run("postgres", func(t *testing.T) {
		url := testServer.database(t)
		f(t, func(change ...func(*Config)) *DB {
			return mustOpen(t, "", append([]func(*Config){func(c *Config) { c.URL = url }}, change...)...)
		})
	})
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func mustOpen(t testing.TB, dir string, change ...func(*Config)) *DB {
	t.Helper()
	cfg := DefaultConfig()
	for _, f := range change {
		f(&cfg)
	}
	db, err := Open(context.Background(), cfg, dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// count asks the database itself.
func (db *DB) count(t testing.TB, query string, args ...any) (n int64) {
	t.Helper()
	err := db.read.QueryRow(db.dialect.sql(query), args...).Scan(&n)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		t.Fatal(err)
	}
	return n
}
