package assembly

import (
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/edge"
	"github.com/testudo-sec/testudo/internal/bytesize"
	"github.com/testudo-sec/testudo/signal"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// tryNew opens a machine that is expected not to start.
func tryNew(t *testing.T, s Settings, dir string) error {
	t.Helper()
	m, err := New(t.Context(), s, Options{Dir: dir, Logger: discard(), Console: true, Edge: true, Firewall: sharedFirewall})
	if err == nil {
		m.Close()
		t.Fatal("it started")
	}
	return err
}

// filled runs a node over the directory until it has recorded something, and stops it.
func filled(t *testing.T, dir, app string) {
	t.Helper()
	s := start(t, testSettings(app), dir)
	s.signIn()
	for range 3 {
		s.get(from(t, attacker), injection)
	}
	s.get(from(t, ""), "/kept")
	eventually(t, "the block is in force", func() bool { return len(s.actions("state=active")) == 1 })
	eventually(t, "the events are in the lake", func() bool { return s.m.storage.Lake.Stats().Files > 0 })
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
}

// scribble changes bytes in the middle of a file.
func scribble(t *testing.T, path string, at int64, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte(text), at); err != nil {
		t.Fatal(err)
	}
}

func TestDamagedState(t *testing.T) {
	dir := dataDir(t)
	filled(t, dir, upstream(t))
	file := filepath.Join(dir, "state.db")
	for at := int64(4096); at < size(t, file); at += 512 {
		scribble(t, file, at, strings.Repeat("damage! ", 16))
	}
	_ = os.Remove(file + "-wal")
	err := tryNew(t, testSettings(upstream(t)), dir)
	if !strings.Contains(err.Error(), "state.db") || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("the error names neither file nor fault: %v", err)
	}
	// A file that never was a database.
	if err := os.WriteFile(file, []byte(strings.Repeat("not a database\n", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := tryNew(t, testSettings(upstream(t)), dir); !strings.Contains(err.Error(), "state.db") {
		t.Errorf("the error does not name the file: %v", err)
	}
}

func size(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// TestDamagedParquet: one damaged file is told and passed over, the others are read.
func TestDamagedParquet(t *testing.T) {
	dir, app := dataDir(t), upstream(t)
	filled(t, dir, app)
	filled2 := start(t, testSettings(app), dir)
	filled2.signIn2()
	files := filled2.m.storage.Lake.Stats().Files
	filled2.get(from(t, ""), "/second")
	eventually(t, "another file", func() bool { return filled2.m.storage.Lake.Stats().Files > files })
	if err := filled2.stop(); err != nil {
		t.Fatal(err)
	}
	var damaged string
	if err := filepath.WalkDir(filepath.Join(dir, lakeFolder), func(path string, d fs.DirEntry, err error) error {
		if err == nil && damaged == "" && strings.HasSuffix(path, ".parquet") {
			damaged = path
		}
		return err
	}); err != nil || damaged == "" {
		t.Fatalf("no lake file: %v", err)
	}
	scribble(t, damaged, size(t, damaged)/3, strings.Repeat("damage! ", 40))
	scribble(t, damaged, size(t, damaged)-64, strings.Repeat("damage! ", 4))

	s := start(t, testSettings(app), dir)
	s.signIn2()
	if got := s.get(from(t, ""), "/third"); got.status != http.StatusOK {
		t.Errorf("the edge answers %d", got.status)
	}
	eventually(t, "the node reads what is whole", func() bool { return len(s.events("plane=edge")) >= 2 })
	eventually(t, "the damage is told", func() bool { return s.readyz() == "degraded" })
	var sys console.System
	s.call(http.MethodGet, "/api/v1/system", nil, &sys)
	if text := strings.Join(sys.Health.Reasons, "; "); !strings.Contains(text, filepath.Base(damaged)) {
		t.Errorf("the reasons do not name %s: %s", filepath.Base(damaged), text)
	}
}

// signIn2 signs the admin in, who has a password already.
func (s *system) signIn2() {
	s.t.Helper()
	var in struct {
		Me struct {
			CSRF string `json:"csrf"`
		} `json:"me"`
	}
	s.call(http.MethodPost, "/api/v1/session", map[string]string{"name": console.LocalAdmin, "password": password}, &in)
	s.csrf = in.Me.CSRF
}

// TestDamagedLedger: where what is done cannot be recorded, nothing is done; the rest runs.
func TestDamagedLedger(t *testing.T) {
	dir, app := dataDir(t), upstream(t)
	s := start(t, testSettings(app), dir)
	s.signIn()
	var order signal.Action
	s.call(http.MethodPost, "/api/v1/actions", map[string]any{"kind": "block", "target": "203.0.113.7", "for": "1h"}, &order)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	var log string
	at := -1
	if err := filepath.WalkDir(LedgerDir(dir), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || at >= 0 {
			return err
		}
		text, err := os.ReadFile(path)
		log, at = path, strings.Index(string(text), "203.0.113.7")
		return err
	}); err != nil || at < 0 {
		t.Fatalf("no file of the ledger holds the order: %v", err)
	}
	scribble(t, log, int64(at), "198.51.100.7")

	again := start(t, testSettings(app), dir)
	if a := again.call(http.MethodPost, "/api/v1/session", map[string]string{"name": console.LocalAdmin, "password": password}, nil); a.status < 500 {
		t.Logf("sign-in: %d", a.status)
	}
	if got := again.readyz(); got != "degraded" {
		t.Errorf("the node is %s", got)
	}
	if got := again.get(from(t, ""), "/"); got.status != http.StatusOK {
		t.Errorf("the edge answers %d", got.status)
	}
	if got := again.get(from(t, attacker), injection); got.status != http.StatusForbidden {
		t.Errorf("an attack gets %d", got.status)
	}
	if got := again.get(from(t, attacker), "/x?ip=203.0.113.7"); got.status != http.StatusOK {
		t.Errorf("the edge answers %d", got.status)
	}
	if h := again.m.Health(); !strings.Contains(strings.Join(h.Reasons, "; "), "ledger") {
		t.Errorf("reasons: %v", h.Reasons)
	}
	// What was in force stays in force, and nothing new can be ordered.
	if list := again.m.host.List(); len(list) != 1 || list[0].Target != "203.0.113.7" {
		t.Errorf("in force: %+v", list)
	}
	desk := orders{again.m}
	by := console.Identity{Name: "uid:0", Role: console.RoleAdmin, Kind: console.KindLocal}
	if a, err := desk.Order(t.Context(), console.Order{Kind: "block", Target: "203.0.113.8"}, by); err == nil {
		t.Errorf("an order was carried out without a record: %+v", a)
	} else if !strings.Contains(err.Error(), "ledger") {
		t.Errorf("the refusal does not say why: %v", err)
	}
	if len(again.m.host.List()) != 1 {
		t.Error("the order is in force")
	}
}

// TestReadOnly: a data directory that cannot be written is a clear error at the start, and a
// degraded state where it becomes so later.
func TestReadOnly(t *testing.T) {
	dir := mounted(t, "size=256m")
	app := upstream(t)
	filled(t, dir, app)
	remount(t, dir, true)
	err := tryNew(t, testSettings(app), dir)
	if !strings.Contains(err.Error(), "read-only") || !strings.Contains(err.Error(), dir) {
		t.Errorf("the error names neither folder nor fault: %v", err)
	}
	remount(t, dir, false)
	s := start(t, testSettings(app), dir)
	s.signIn2()
	if got := s.readyz(); got != "ok" {
		t.Fatalf("the node is %s: %v", got, s.m.Health().Reasons)
	}
}

// TestFullDisk: the edge goes on, nothing that was stored is lost, the state is told, and it
// ends by itself when there is room again.
func TestFullDisk(t *testing.T) {
	dir := mounted(t, "size=48m")
	app := upstream(t)
	cfg := testSettings(app)
	cfg.Store.Bus.MaxSize = 16 * bytesize.MiB
	s := start(t, cfg, dir)
	s.signIn()
	if got := s.get(from(t, ""), "/before"); got.status != http.StatusOK {
		t.Fatalf("the edge answers %d", got.status)
	}
	eventually(t, "the event is in the lake", func() bool { return s.m.storage.Lake.Stats().Files > 0 })

	filler := filepath.Join(dir, "filler")
	f, err := os.Create(filler)
	if err != nil {
		t.Fatal(err)
	}
	for block := make([]byte, 1<<16); ; {
		if _, err := f.Write(block); err != nil {
			if len(block) == 1 {
				break
			}
			block = block[:len(block)/2]
		}
	}
	f.Close()
	honest := from(t, "")
	eventually(t, "the node says that it is degraded", func() bool {
		if got := s.get(honest, "/during"); got.status != http.StatusOK {
			t.Fatalf("with a full disk the edge answers %d", got.status)
		}
		return s.readyz() == "degraded"
	})
	if got := s.get(from(t, attacker), injection); got.status != http.StatusForbidden {
		t.Errorf("with a full disk an attack gets %d", got.status)
	}
	t.Logf("reasons: %v", s.m.Health().Reasons)
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node is well again", func() bool {
		s.get(honest, "/after")
		return s.readyz() == "ok"
	})
	eventually(t, "what came before and after is recorded", func() bool {
		return len(s.events("text=/before")) >= 1 && len(s.events("text=/after")) >= 1
	})
	eventually(t, "the finding of the attack under the full disk is stored", func() bool { return len(s.findings("rule=edge-waf-attack")) == 1 })
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	again := start(t, cfg, dir)
	again.signIn2()
	if len(again.events("text=/before")) < 1 || len(again.events("text=/after")) < 1 {
		t.Error("events are lost")
	}
}

// TestSecondProcess: one directory, one node.
func TestSecondProcess(t *testing.T) {
	dir := dataDir(t)
	start(t, testSettings(upstream(t)), dir)
	err := tryNew(t, testSettings(upstream(t)), dir)
	if !strings.Contains(err.Error(), "in use by process") || !strings.Contains(err.Error(), "--data") {
		t.Errorf("the error does not say by whom, and what to do: %v", err)
	}
}

// TestBusyPorts: what is taken is told, and the rest runs.
func TestBusyPorts(t *testing.T) {
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	busy := taken.Addr().String()

	cfg := testSettings(upstream(t))
	cfg.Edge.Listen = []edge.Listener{{Address: busy}}
	s := start(t, cfg, dataDir(t))
	notes := s.m.Notes()
	if len(notes) != 1 || notes[0].What != "edge" || !strings.Contains(notes[0].Text, busy) {
		t.Errorf("notes: %+v", notes)
	}
	if s.m.EdgeURL() != "" || s.m.ConsoleURL() == "" {
		t.Errorf("edge at %q, console at %q", s.m.EdgeURL(), s.m.ConsoleURL())
	}
	if got := s.readyz(); got != "degraded" {
		t.Errorf("without its edge the node is %s", got)
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}

	cfg = testSettings(upstream(t))
	cfg.Console.Listen = busy
	s = start(t, cfg, dataDir(t))
	notes = s.m.Notes()
	if len(notes) != 1 || notes[0].What != "console" || !strings.Contains(notes[0].Text, busy) {
		t.Errorf("notes: %+v", notes)
	}
	if got := s.get(from(t, ""), "/"); got.status != http.StatusOK {
		t.Errorf("the edge answers %d", got.status)
	}
}

// TestNothingToProtect: a node without a route says so and runs the rest.
func TestNothingToProtect(t *testing.T) {
	s := start(t, testSettings(""), dataDir(t))
	notes := s.m.Notes()
	if len(notes) != 1 || notes[0].What != "edge" || !strings.Contains(notes[0].Text, "--protect") {
		t.Errorf("notes: %+v", notes)
	}
	if got := s.readyz(); got != "ok" {
		t.Errorf("the node is %s", got)
	}
}

// TestUpstreamFaults: an application that is down or hangs is told, with an event.
func TestUpstreamFaults(t *testing.T) {
	hanging, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer hanging.Close()
	go func() {
		for {
			c, err := hanging.Accept()
			if err != nil {
				return
			}
			defer c.Close()
		}
	}()
	for _, c := range []struct {
		name, upstream string
		status         int
		failure        string
	}{
		{"down", "http://" + freePort(t), http.StatusBadGateway, "upstream"},
		{"hanging", "http://" + hanging.Addr().String(), http.StatusGatewayTimeout, "upstream-timeout"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := testSettings(c.upstream)
			cfg.Edge.Routes[0].Timeouts.Response = 300 * time.Millisecond
			s := start(t, cfg, dataDir(t))
			s.signIn()
			if a := s.get(from(t, ""), "/"); a.status != c.status {
				t.Errorf("status %d, want %d", a.status, c.status)
			}
			eventually(t, "an event tells of it", func() bool {
				for _, e := range s.events("plane=edge") {
					if strings.HasPrefix(e.Str(signal.FieldEdgeError), c.failure) && e.Int(signal.FieldHTTPResponseCode) == int64(c.status) && !e.Parent.IsZero() {
						return true
					}
				}
				return false
			})
		})
	}
}

// TestOpenSurfaces: what answers without sign-in tells a state and no more.
func TestOpenSurfaces(t *testing.T) {
	s := start(t, testSettings(upstream(t)), dataDir(t))
	eventually(t, "ready", func() bool { return s.readyz() == "ok" })
	if a := s.call(http.MethodGet, "/livez", nil, nil); a.status != http.StatusOK || a.body != "ok\n" {
		t.Errorf("/livez: %d %q", a.status, a.body)
	}
	if a := s.call(http.MethodGet, "/metrics", nil, nil); a.status != http.StatusOK || !strings.Contains(a.body, "testudo_node_events_judged_total") || !strings.Contains(a.body, "testudo_edge_") {
		t.Errorf("/metrics on loopback: %d %.200s", a.status, a.body)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.m.ConsoleURL()+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Forwarded-For", "203.0.113.9")
	if a := ask(t, s.api, r); a.status == http.StatusOK || strings.Contains(a.body, "testudo_") {
		t.Errorf("/metrics for somebody behind a proxy: %d", a.status)
	}
	for _, path := range []string{"/api/v1/events", "/api/v1/findings", "/api/v1/actions", "/api/v1/system", "/api/v1/overview", "/api/v1/rules", "/api/v1/hunt?condition=true", "/api/v1/ledger/entries", "/api/v1/people"} {
		if a := s.call(http.MethodGet, path, nil, nil); a.status != http.StatusUnauthorized {
			t.Errorf("%s without sign-in: %d", path, a.status)
		}
	}
	s.signIn()
	if a := s.call(http.MethodGet, "/api/v1/events/"+signal.NewID(time.Now()).String(), nil, nil); a.status != http.StatusNotFound {
		t.Errorf("an event that is not there: %d %s", a.status, a.body)
	}
	if a := s.call(http.MethodPut, "/api/v1/session/password", map[string]string{"current": password, "password": "another passphrase 8"}, nil); a.status != http.StatusOK {
		t.Errorf("change the password: %d %s", a.status, a.body)
	}
}

// TestBadRulesStopTheStart: a node must not start with fewer rules than it was told.
func TestBadRulesStopTheStart(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "bad.yaml"), []byte("id: x\ntitle: X\nseverity: high\non: http_activity\nwhen: http_request.url.pth == \"/\"\nthen: deny\nwhy: x\ntests: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := testSettings(upstream(t))
	cfg.Policy.Rules = []string{folder}
	if err := tryNew(t, cfg, dataDir(t)); !strings.Contains(err.Error(), "bad.yaml:") {
		t.Errorf("the error does not name the file and line: %v", err)
	}
}
