package state

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/signal"
)

func TestValidate(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"":              func(*Config) {},
		"url: want":     func(c *Config) { c.URL = "mysql://user:hunter2@host/db" },
		"keep_resolved": func(c *Config) { c.KeepResolved = 0 },
		"keep_actions":  func(c *Config) { c.KeepActions = time.Minute },
		"keep_assets":   func(c *Config) { c.KeepAssets = -time.Hour },
		"max_findings":  func(c *Config) { c.MaxFindings = 1 },
		"max_actions":   func(c *Config) { c.MaxActions = -1 },
		"max_assets":    func(c *Config) { c.MaxAssets = 0 },
		"max_packages":  func(c *Config) { c.MaxPackages = 0 },
	} {
		c := DefaultConfig()
		change(&c)
		err := c.Validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("want an error that begins with %q, have %v", want, err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("a password in %v", err)
		}
	}
}

func TestFilesAreForTheOwnerAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "odd ?#%41 name")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	db := mustOpen(t, dir)
	mustPut(t, db, finding("f", 0))
	files, _ := os.ReadDir(dir)
	if len(files) != 3 {
		t.Errorf("files %v", files)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v %v", f.Name(), info.Mode(), err)
		}
	}
	for pragma, want := range map[string]int64{"synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000} {
		var got int64
		if err := db.write.QueryRow("PRAGMA " + pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %d, want %d, %v", pragma, got, want, err)
		}
	}
	if _, err := db.read.Exec("DELETE FROM findings"); err == nil {
		t.Error("a connection for reading can write")
	}
}

func TestOldSchemasAreBroughtUpToDate(t *testing.T) {
	onBoth(t, func(t *testing.T, open func(...func(*Config)) *DB) {
		db := open()
		p, err := db.provider()
		if err != nil {
			t.Fatal(err)
		}
		_, newest, err := p.GetVersions(ctx)
		if err != nil || newest < 2 {
			t.Fatal(newest, err)
		}
		for old := newest - 1; old >= 1; old-- {
			if _, err := p.DownTo(ctx, 0); err != nil {
				t.Fatal(err)
			}
			if _, err := p.UpTo(ctx, old); err != nil {
				t.Fatal(err)
			}
			mustPut(t, db, finding("kept", 0))
			again := open()
			if f, ok, err := again.Finding(ctx, "kept"); !ok || err != nil || f.Title != "AWS key in code" {
				t.Errorf("from schema %d: %+v %v %v", old, f, ok, err)
			}
			if h := again.Health(ctx); h.Err != nil || h.Schema != newest {
				t.Errorf("from schema %d: %+v", old, h)
			}
			if err := again.AddCounts(ctx, epoch, map[string]uint64{"s": 1}); err != nil {
				t.Error(err)
			}
			_ = again.Close()
		}
	})
}

func TestNewerSchemaIsRefused(t *testing.T) {
	for _, kind := range []string{"sqlite", "postgres"} {
		t.Run(kind, func(t *testing.T) {
			dir, cfg := t.TempDir(), DefaultConfig()
			if kind == "postgres" {
				cfg.URL = testServer.database(t)
			}
			db, err := Open(ctx, cfg, dir, quiet())
			if err != nil {
				t.Fatal(err)
			}
			if err := db.update(ctx, "age", func(t tx) error {
				_, err := t.exec(ctx, "INSERT INTO "+versionTable+" (version_id, is_applied) VALUES (?, ?)", 900, true)
				return err
			}); err != nil {
				t.Fatal(err)
			}
			_ = db.Close()
			_, err = Open(ctx, cfg, dir, quiet())
			if !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "has schema 900, this one knows up to 3: run the newer testudo") {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestMigrationsOfBothDatabasesAreAlike(t *testing.T) {
	lists := map[string][]string{}
	for _, dialect := range []string{"sqlite", "postgres"} {
		files, err := migrations.ReadDir("migrations/" + dialect)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			lists[dialect] = append(lists[dialect], f.Name())
		}
	}
	if got, want := fmt.Sprint(lists["sqlite"]), fmt.Sprint(lists["postgres"]); got != want || len(lists["sqlite"]) == 0 {
		t.Errorf("sqlite has %s, postgres %s", got, want)
	}
	var _ = goose.DialectSQLite3
}

func TestDamagedFile(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(b []byte) []byte
	}{
		{"no database at all", func([]byte) []byte { return []byte(strings.Repeat("not a database ", 1000)) }},
		{"overwritten in the middle", func(b []byte) []byte {
			for i := len(b) / 4; i < 3*len(b)/4; i++ {
				b[i] = 0xA5
			}
			return b
		}},
		{"cut off", func(b []byte) []byte { return b[:len(b)/2] }},
		{"header only", func(b []byte) []byte { return b[:100] }},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			db := mustOpen(t, dir)
			var batch []*signal.Finding
			for i := range 300 {
				batch = append(batch, finding(fmt.Sprintf("f%d", i), i))
			}
			if _, _, err := db.PutFindings(ctx, batch); err != nil {
				t.Fatal(err)
			}
			_ = db.Close()
			path := filepath.Join(dir, FileName)
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			bad := c.damage(append([]byte(nil), whole...))
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err = Open(ctx, DefaultConfig(), dir, quiet())
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "aside") {
				t.Errorf("%v", err)
			}
			// What is there is left as it is: someone may still mend it.
			if now, _ := os.ReadFile(path); string(now) != string(bad) {
				t.Error("the damaged file was changed")
			}
			for _, name := range []string{path, path + "-wal", path + "-shm"} {
				_ = os.Rename(name, name+".aside")
			}
			mustPut(t, mustOpen(t, dir), finding("new", 0))
		})
	}
}

func TestDamageFoundLaterShows(t *testing.T) {
	dir := t.TempDir()
	db := mustOpen(t, dir)
	var batch []*signal.Finding
	for i := range 300 {
		batch = append(batch, finding(fmt.Sprintf("f%d", i), i))
	}
	if _, _, err := db.PutFindings(ctx, batch); err != nil {
		t.Fatal(err)
	}
	if _, err := db.write.Exec("PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, FileName)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	info, _ := f.Stat()
	for off := int64(8192); off < info.Size(); off += 4096 {
		if _, err := f.WriteAt([]byte(strings.Repeat("\xa5", 4096)), off); err != nil {
			t.Fatal(err)
		}
	}
	_ = f.Close()
	other := mustRead(t, path)
	defer other.Close()
	other.unchecked.Store(true)
	run, cancel := context.WithCancel(ctx)
	done := make(chan error)
	go func() { done <- other.Run(run) }()
	for other.unchecked.Load() {
		runtime.Gosched()
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if h := other.Health(ctx); !errors.Is(h.Err, ErrDamaged) {
		t.Errorf("health %+v", h)
	}
}

// mustRead opens a file without the check at the start, as where there was no time for it.
func mustRead(t *testing.T, path string) *DB {
	t.Helper()
	db := &DB{cfg: DefaultConfig(), log: quiet(), now: time.Now, dialect: sqliteDialect(), where: path}
	var err error
	if db.write, err = openSQLiteFile(path, "_txlock=immediate", 1); err != nil {
		t.Fatal(err)
	}
	db.read = db.write
	return db
}

func TestDiskFull(t *testing.T) {
	db := mustOpen(t, t.TempDir())
	mustPut(t, db, finding("before", 0))
	var pages int64
	if err := db.write.QueryRow("PRAGMA page_count").Scan(&pages); err != nil {
		t.Fatal(err)
	}
	// SQLite then answers as it does on a full disk.
	if _, err := db.write.Exec(fmt.Sprintf("PRAGMA max_page_count = %d", pages+4)); err != nil {
		t.Fatal(err)
	}
	var batch []*signal.Finding
	for i := range 200 {
		batch = append(batch, finding(fmt.Sprintf("f%d", i), i))
	}
	_, _, err := db.PutFindings(ctx, batch)
	if err == nil || !strings.Contains(err.Error(), "no room on the disk") || !strings.Contains(err.Error(), "nothing was changed") {
		t.Errorf("%v", err)
	}
	if n := db.count(t, "SELECT count(*) FROM findings"); n != 1 {
		t.Errorf("%d findings: a part of the batch was stored", n)
	}
	if _, err := db.write.Exec("PRAGMA max_page_count = 1000000"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := db.PutFindings(ctx, batch); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

func TestRealFullDisk(t *testing.T) {
	require.Root(t)
	dir := t.TempDir()
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=400k")
	require.Part(t, "mount", err == nil, fmt.Sprintf("mounting a small file system needs CAP_SYS_ADMIN: %v", err))
	defer func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }()
	db := mustOpen(t, dir)
	stored := 0
	for i := range 1000 {
		var batch []*signal.Finding
		for j := range 10 {
			batch = append(batch, finding(fmt.Sprintf("f%d.%d", i, j), i))
		}
		if _, _, err = db.PutFindings(ctx, batch); err != nil {
			break
		}
		stored += len(batch)
	}
	if err == nil || !strings.Contains(err.Error(), "no room on the disk") {
		t.Errorf("after %d findings: %v", stored, err)
	}
	if n := db.count(t, "SELECT count(*) FROM findings"); n != int64(stored) || stored == 0 {
		t.Errorf("%d findings, %d were acknowledged", n, stored)
	}
	_ = db.Close()
	if again, err := Open(ctx, DefaultConfig(), dir, quiet()); err != nil {
		t.Logf("open on the full disk: %v", err)
	} else {
		if n := again.count(t, "SELECT count(*) FROM findings"); n != int64(stored) {
			t.Errorf("%d findings after a restart, %d were acknowledged", n, stored)
		}
		_ = again.Close()
	}
}

func TestDirectoryThatCannotBeWritten(t *testing.T) {
	_, err := Open(ctx, DefaultConfig(), filepath.Join(t.TempDir(), "none"), quiet())
	if err == nil || !strings.Contains(err.Error(), "owner and mode of the data directory") {
		t.Errorf("no directory: %v", err)
	}
	dir := t.TempDir()
	db := mustOpen(t, dir)
	_ = db.Close()
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(dir, 0o755)
	// Root writes anywhere: the thread gives up its rights over files, and ends with its goroutine.
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if os.Geteuid() == 0 {
			_, _, _ = syscall.RawSyscall(syscall.SYS_SETFSUID, 65534, 0, 0)
		}
		db, err := Open(ctx, DefaultConfig(), dir, quiet())
		if err == nil {
			_ = db.Close()
		}
		done <- err
	}()
	if err := <-done; err == nil || !strings.Contains(err.Error(), FileName) || !strings.Contains(err.Error(), "owner and mode") {
		t.Errorf("read-only directory: %v", err)
	}
}

func TestTwoProcessesOpenTheSameNewState(t *testing.T) {
	onBoth(t, func(t *testing.T, open func(...func(*Config)) *DB) {
		dir, cfg := t.TempDir(), DefaultConfig()
		if t.Name() != "TestTwoProcessesOpenTheSameNewState/sqlite" {
			cfg.URL = testServer.database(t)
		}
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() {
				db, err := Open(ctx, cfg, dir, quiet())
				if err != nil {
					t.Error(err)
					return
				}
				defer db.Close()
				if _, _, err := db.PutFinding(ctx, finding(fmt.Sprint(i), i)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
}

func TestHealth(t *testing.T) {
	onBoth(t, func(t *testing.T, open func(...func(*Config)) *DB) {
		db := open()
		if h := db.Health(ctx); h.Err != nil || h.Schema != 3 || h.Driver != db.dialect.name || h.Where == "" {
			t.Errorf("%+v", h)
		}
		cancelled, cancel := context.WithCancel(ctx)
		cancel()
		if err := db.Ping(cancelled); !errors.Is(err, context.Canceled) {
			t.Errorf("a cancelled ping: %v", err)
		}
		if _, _, err := db.PutFinding(cancelled, finding("f", 0)); !errors.Is(err, context.Canceled) {
			t.Errorf("a cancelled write: %v", err)
		}
		_ = db.Close()
		if h := db.Health(ctx); h.Err == nil {
			t.Error("a closed state is healthy")
		}
	})
}

func TestPostgresAddress(t *testing.T) {
	cfg := DefaultConfig()
	cfg.URL = "postgres://ann:hunter2@127.0.0.1:1/testudo?connect_timeout=2"
	_, err := Open(ctx, cfg, "", quiet())
	if err == nil || !strings.Contains(err.Error(), "127.0.0.1:1/testudo does not let us in") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("nobody listens: %v", err)
	}
	cfg.URL = "postgres://ann:hunter2@127.0.0.1:1/testudo?sslmode=perhaps"
	if _, err = Open(ctx, cfg, "", quiet()); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a wrong address: %v", err)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	db := mustOpen(t, t.TempDir())
	run, cancel := context.WithCancel(ctx)
	done := make(chan error)
	go func() { done <- db.Run(run) }()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
