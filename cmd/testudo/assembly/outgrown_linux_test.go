package assembly

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/signal"
)

// postgres runs Debian's PostgreSQL for the test, and returns the address of its one database.
func postgres(t *testing.T) string {
	t.Helper()
	// initdb refuses to run as root: the server is the user postgres then.
	who, err := user.Lookup("postgres")
	require.Part(t, "postgresql", os.Geteuid() != 0 || err == nil, "there is no user postgres: as root, install the package postgresql")
	bin := filepath.Dir(require.Program(t, "postgresql", "initdb", "/usr/lib/postgresql/*/bin/initdb"))
	dir, err := os.MkdirTemp("", "pg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	attr := &syscall.SysProcAttr{}
	if os.Geteuid() == 0 {
		uid, _ := strconv.Atoi(who.Uid)
		gid, _ := strconv.Atoi(who.Gid)
		attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	data := filepath.Join(dir, "data")
	initdb := exec.CommandContext(t.Context(), filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	initdb.SysProcAttr, initdb.Dir = attr, dir
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	// The shell stops the server when its input ends, so also when the tests are killed.
	cmd := exec.Command("/bin/sh", "-c", `"$0" "$@" & pid=$!; read -r end; kill -INT $pid; wait $pid`,
		filepath.Join(bin, "postgres"), "-D", data, "-k", dir, "-c", "listen_addresses=", "-c", "fsync=off")
	cmd.SysProcAttr, cmd.Dir = attr, dir
	var in io.WriteCloser
	if in, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	eventually(t, "PostgreSQL listens", func() bool {
		_, err := os.Stat(filepath.Join(dir, ".s.PGSQL.5432"))
		return err == nil
	})
	return "postgres:///postgres?user=postgres&host=" + dir
}

// TestOutgrown: with PostgreSQL and an external NATS server, each by one setting, everything is as
// with the embedded ones, also over a restart.
func TestOutgrown(t *testing.T) {
	nats, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	nats.Start()
	t.Cleanup(func() { nats.Shutdown(); nats.WaitForShutdown() })
	if !nats.ReadyForConnections(patience) {
		t.Fatal("the NATS server is not ready")
	}
	cfg, dir := testSettings(upstream(t)), dataDir(t)
	cfg.Store.State.URL = postgres(t)
	cfg.Store.Bus.URL = nats.ClientURL()
	var s *system
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) { // the server may still be starting
		m, err := New(t.Context(), cfg, Options{Dir: dir, Logger: discard(), Offline: true})
		if err == nil {
			m.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	s = start(t, cfg, dir)
	s.signIn()
	for range 3 {
		if a := s.get(from(t, attacker), injection); a.status != http.StatusForbidden {
			t.Fatalf("an attack got %d", a.status)
		}
	}
	eventually(t, "the block is in force", func() bool { return len(s.actions("state=active")) == 1 })
	eventually(t, "the finding is stored", func() bool { return len(s.findings("rule=edge-waf-attack")) == 1 })
	eventually(t, "the events are in the lake", func() bool { return s.m.storage.Lake.Stats().Files > 0 })
	if got := s.readyz(); got != "ok" {
		t.Errorf("the node is %s: %v", got, s.m.Health().Reasons)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	s = start(t, cfg, dir)
	s.signIn2()
	if a := s.get(from(t, attacker), "/"); a.status != http.StatusForbidden {
		t.Errorf("after the restart a blocked client got %d", a.status)
	}
	if len(s.findings("rule=edge-waf-attack")) != 1 {
		t.Error("the finding is gone")
	}
	denied := 0
	for _, e := range s.events("plane=edge") {
		if console.DecisionOf(e) == signal.Deny && e.Str(signal.FieldEdgeError) == "" {
			denied++
		}
	}
	if denied < 3 {
		t.Errorf("%d of 3 attacks are in the history", denied)
	}

	// Without its bus the node says so, and the edge goes on.
	nats.Shutdown()
	nats.WaitForShutdown()
	honest := from(t, "")
	eventually(t, "the node says that its bus is gone", func() bool {
		if a := s.get(honest, "/"); a.status != http.StatusOK {
			t.Fatalf("without a bus the edge answers %d", a.status)
		}
		return s.readyz() == "degraded"
	})
}
