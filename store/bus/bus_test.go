package bus

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/goleak"

	"github.com/testudo-sec/testudo/internal/bytesize"
)

func TestMain(m *testing.M) {
	if os.Getenv(tracedChild) != "" {
		tracedMain()
		return
	}
	goleak.VerifyTestMain(m)
}

// testConfig gives a busy machine time.
func testConfig() Config {
	cfg := DefaultConfig()
	cfg.Timeout = time.Minute
	return cfg
}

func start(t testing.TB, cfg Config, o Options) *Bus {
	t.Helper()
	b, err := Open(context.Background(), cfg, o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func publish(t testing.TB, b *Bus, id, payload string) uint64 {
	t.Helper()
	seq, err := b.Publish(t.Context(), id, []byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	return seq
}

func read(t testing.TB, b *Bus, from uint64) string {
	t.Helper()
	var out []string
	err := b.Read(t.Context(), from, func(seq uint64, payload []byte) bool {
		out = append(out, fmt.Sprintf("%d=%s", seq, payload))
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(out, " ")
}

func TestPublishReadTrim(t *testing.T) {
	dir := t.TempDir()
	b := start(t, testConfig(), Options{Dir: dir})
	if first, last, err := b.Bounds(t.Context()); first != 1 || last != 0 || err != nil {
		t.Errorf("empty: bounds %d %d, error %v", first, last, err)
	}
	for i := range 5 {
		if seq := publish(t, b, fmt.Sprint("id", i), fmt.Sprint("batch", i)); seq != uint64(i+1) {
			t.Errorf("sequence %d, want %d", seq, i+1)
		}
	}
	if seq := publish(t, b, "id3", "batch3"); seq != 4 {
		t.Errorf("the repeated publication has sequence %d, want 4", seq)
	}
	if got := read(t, b, 0); got != "1=batch0 2=batch1 3=batch2 4=batch3 5=batch4" {
		t.Error(got)
	}
	if err := b.Trim(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	if got := read(t, b, 1); got != "4=batch3 5=batch4" {
		t.Error(got)
	}
	b.Close()
	b = start(t, testConfig(), Options{Dir: dir, After: 3})
	if got := read(t, b, 5); got != "5=batch4" {
		t.Error("after a restart:", got)
	}
	if seq := publish(t, b, "id4", "batch4"); seq != 5 {
		t.Errorf("repeated after a restart: sequence %d, want 5", seq)
	}
	if err := b.Trim(t.Context(), 5); err != nil {
		t.Fatal(err)
	}
	if first, last, err := b.Bounds(t.Context()); first != 6 || last != 5 || err != nil {
		t.Errorf("trimmed: bounds %d %d, error %v", first, last, err)
	}
}

// TestSequenceGoesOn removes the stream's folder, as the message for a damaged one advises: sequences
// must not begin again, because the lake's file names hold them.
func TestSequenceGoesOn(t *testing.T) {
	dir := t.TempDir()
	b := start(t, testConfig(), Options{Dir: dir, After: 41})
	if seq := publish(t, b, "a", "x"); seq != 42 {
		t.Errorf("sequence %d, want 42", seq)
	}
	if err := b.Trim(t.Context(), 42); err != nil {
		t.Fatal(err)
	}
	b.Close()
	b = start(t, testConfig(), Options{Dir: dir, After: 99}) // an empty stream that is behind
	if seq := publish(t, b, "b", "y"); seq != 100 {
		t.Errorf("sequence %d, want 100", seq)
	}
	b.Close()
	if _, err := Open(t.Context(), testConfig(), Options{Dir: dir, After: 500}, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "another one than the lake") {
		t.Errorf("a stream with batches from before the lake's end: error %v", err)
	}
}

func TestFullStreamRefuses(t *testing.T) {
	cfg := testConfig()
	cfg.MaxSize = 16 * bytesize.MiB
	b := start(t, cfg, Options{Dir: t.TempDir()})
	payload := make([]byte, 900<<10)
	var err error
	n := 0
	for ; n < 40 && err == nil; n++ {
		_, err = b.Publish(t.Context(), fmt.Sprint(n), payload)
	}
	if err == nil || n < 10 {
		t.Fatalf("%d publications, error %v: want a refusal when the stream is full", n, err)
	}
	first, last, err := b.Bounds(t.Context())
	if err != nil || first != 1 || last != uint64(n-1) {
		t.Errorf("bounds %d %d, error %v: a full stream must not delete", first, last, err)
	}
	if err := b.Trim(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Publish(t.Context(), "again", payload); err != nil {
		t.Errorf("after a trim: %v", err)
	}
}

func TestDamagedStream(t *testing.T) {
	dir := t.TempDir()
	b := start(t, testConfig(), Options{Dir: dir})
	publish(t, b, "a", "x")
	b.Close()
	meta := filepath.Join(dir, "jetstream", "$G", "streams", "TESTUDO_EVENTS", "meta.inf")
	if err := os.WriteFile(meta, []byte("{ this is not"), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := Open(t.Context(), testConfig(), Options{Dir: dir}, slog.New(slog.DiscardHandler))
	if err == nil {
		b.Close()
		t.Fatal("a damaged stream was opened as if it were empty")
	}
	if !strings.Contains(err.Error(), filepath.Dir(meta)) || !strings.Contains(err.Error(), "move the folder away") {
		t.Errorf("error %q: want the folder and what to do", err)
	}
}

func TestUnwritableDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), testConfig(), Options{Dir: filepath.Join(file, "bus")}, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("error %v: want one that names %s", err, file)
	}
}

// TestExternalServer runs against a server that listens, with a user of its own.
func TestExternalServer(t *testing.T) {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	defer func() { s.Shutdown(); s.WaitForShutdown() }()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server is not ready")
	}
	cfg := testConfig()
	cfg.URL = s.ClientURL()
	b := start(t, cfg, Options{After: 7})
	if seq := publish(t, b, "a", "x"); seq != 8 {
		t.Errorf("sequence %d, want 8", seq)
	}
	if got := read(t, b, 1); got != "8=x" || b.Health() != nil {
		t.Errorf("read %q, health %v", got, b.Health())
	}
	s.Shutdown()
	s.WaitForShutdown()
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := b.Publish(short, "b", []byte("y")); err == nil {
		t.Error("a publication to a server that is gone succeeded")
	}
	for range 3000 { // the client notices on its own time
		if b.Health() != nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err := b.Health(); err == nil || !strings.Contains(err.Error(), cfg.URL) {
		t.Errorf("health %v: want the address", err)
	}
}

func TestNobodyThere(t *testing.T) {
	cfg := testConfig()
	cfg.URL, cfg.Timeout = "nats://127.0.0.1:1", 200*time.Millisecond
	if _, err := Open(t.Context(), cfg, Options{}, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), cfg.URL) {
		t.Errorf("error %v: want the address", err)
	}
}

func TestConfig(t *testing.T) {
	good := testConfig()
	good.URL = "tls://a.example:4222, tls://b.example:4222"
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Config){
		"stream: ":      func(c *Config) { c.Stream = "a.b" },
		"max_size: ":    func(c *Config) { c.MaxSize = 1 },
		"timeout: ":     func(c *Config) { c.Timeout = 0 },
		"certificate ":  func(c *Config) { c.Certificate = "x" },
		"credentials, ": func(c *Config) { c.CA = "x" },
		"url: scheme":   func(c *Config) { c.URL = "http://x:1" },
		"url: holds":    func(c *Config) { c.URL = "nats://u:secret@x:1" },
		"url: want":     func(c *Config) { c.URL = "x" },
	} {
		c := testConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: error %v", want, err)
		}
	}
}

// BenchmarkPublish publishes batches of 40 KB, which is what some 300 compressed events take.
func BenchmarkPublish(b *testing.B) {
	bus := start(b, testConfig(), Options{Dir: b.TempDir()})
	payload := make([]byte, 40<<10)
	for i := range payload {
		payload[i] = byte(rand.Uint32())
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		seq, err := bus.Publish(b.Context(), fmt.Sprint(i), payload)
		if err != nil {
			b.Fatal(err)
		}
		if seq%512 == 0 {
			if err := bus.Trim(b.Context(), seq); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	for i := 0; b.Loop(); i++ {
		bus, err := Open(b.Context(), testConfig(), Options{Dir: filepath.Join(b.TempDir(), fmt.Sprint(i))}, slog.New(slog.DiscardHandler))
		if err != nil {
			b.Fatal(err)
		}
		bus.Close()
	}
}
