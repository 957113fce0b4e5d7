package assembly

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/fim"
	"github.com/testudo-sec/testudo/kernel/process"
	"github.com/testudo-sec/testudo/kernel/software"
	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/trust/ledger"
)

// noted keeps the events of changed files.
type noted struct {
	mu  sync.Mutex
	all map[string]*signal.Event // by path
}

func (n *noted) Event(_ context.Context, e *signal.Event) (signal.Verdict, error) {
	if _, ok := e.Unmapped(fim.AttrChange); ok {
		c := &signal.Event{}
		e.CopyTo(c)
		n.mu.Lock()
		n.all[e.Str(signal.FieldFilePath)] = c
		n.mu.Unlock()
	}
	return signal.Verdict{}, nil
}

// wait returns the event of a path, once it is there.
func (n *noted) wait(t *testing.T, path string) *signal.Event {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		n.mu.Lock()
		e := n.all[path]
		delete(n.all, path)
		n.mu.Unlock()
		if e != nil {
			return e
		}
	}
	t.Fatalf("that %q changed is not told of", path)
	return nil
}

// TestFilesOnTheRealKernel: programs change files, and the monitor says which program did what, from what the kernel tells; the baseline is signed
// in a real ledger.
func TestFilesOnTheRealKernel(t *testing.T) {
	require.Root(t)
	require.HostPIDs(t)
	root, data := filepath.Join(t.TempDir(), "watched"), t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(root, name) }
	for _, name := range []string{"kept", "written", "moded", "owned", "gone", "moved", "sub/deep"} {
		if err := os.WriteFile(at(name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cfg := fim.Default()
	cfg.Paths, cfg.Settle = []string{root}, 50*time.Millisecond
	log := slog.New(slog.DiscardHandler)
	eyes := &tracing{log: log}
	if err := eyes.Open(t.Context()); err != nil {
		require.Part(t, "bpf", false, "a kernel with BTF and the permission to load eBPF programs: "+err.Error())
	}
	if err := eyes.Close(); err != nil {
		t.Fatal(err)
	}
	reader := software.New(software.Default(), "/")
	s := newSensor(sensorParts{eyes: eyes, programs: reader, files: examinerOf(cfg, reader), seed: seed, log: log})
	book, err := ledger.Open(LedgerDir(data), ledger.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer book.Close()
	sink := &noted{all: map[string]*signal.Event{}}
	deps := fim.Deps{Examiner: s, Sink: sink, Book: bookOf(book), File: filepath.Join(data, baselineFile), Host: "h"}
	m, err := fim.New(cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	boot, err := process.BootID("/")
	if err != nil {
		t.Fatal(err)
	}
	plane, err := kernel.New(kernel.DefaultConfig(), kernel.Deps{Sensor: s, Sink: m, Host: "h", Boot: boot})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() { _ = plane.Run(ctx) })
	if err := plane.SetInterest(t.Context(), cfg.Interest()); err != nil && !errors.Is(err, kernel.ErrUnable) {
		t.Fatal(err)
	}
	wait.Go(func() { _ = m.Run(ctx) })
	defer wait.Wait()
	defer cancel()

	// The eyes are open once what is done is seen.
	for end := time.Now().Add(30 * time.Second); ; {
		if err := exec.Command("/bin/sh", "-c", `echo x >>"$1"`, "sh", at("probe")).Run(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		sink.mu.Lock()
		e := sink.all[at("probe")]
		delete(sink.all, at("probe"))
		sink.mu.Unlock()
		if e != nil && e.Str(signal.FieldActorProcessName) != "" {
			break
		}
		if time.Now().After(end) {
			t.Fatal("nothing is seen of files")
		}
	}
	if st := m.Status(); st.Problem != nil || st.Files < 8 {
		t.Fatalf("the first baseline: %+v", st)
	}

	odd := at("odd \x1b[2J\n\u202egnp.sh")
	for _, c := range []struct{ script, path, what, by string }{
		{`echo more >>"$1"`, at("written"), "content", "sh"},
		{`exec chmod 4755 "$1"`, at("moded"), "mode", "chmod"},
		{`exec chown 1:1 "$1"`, at("owned"), "owner", "chown"},
		{`exec rm "$1"`, at("gone"), "removed", "rm"},
		{`exec touch "$1"`, at("made"), "created", "touch"},
		{`exec mv "$1" "$1.new"`, at("moved"), "removed", "mv"},
		{`exec truncate -s 2 "$1"`, at("sub/deep"), "content", "truncate"},
		{`exec ln -s /root/secret "$1"`, at("link"), "created", "ln"},
		{`exec touch "$1"`, odd, "created", "touch"},
	} {
		cmd := exec.Command("/bin/sh", "-c", c.script, "sh", c.path)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v %s", c.script, err, out)
		}
		e := sink.wait(t, c.path)
		what, _ := e.Unmapped(fim.AttrChange)
		seen, _ := e.Unmapped(fim.AttrSeen)
		if what != c.what || seen != "true" || e.Str(signal.FieldActorProcessName) != c.by || e.Int(signal.FieldActorProcessPID) != int64(cmd.Process.Pid) || e.Parent.IsZero() {
			t.Errorf("%s: %q by %q (%d), seen %s, because of %v; want %q by %q (%d)", c.script, what, e.Str(signal.FieldActorProcessName),
				e.Int(signal.FieldActorProcessPID), seen, e.Parent, c.what, c.by, cmd.Process.Pid)
		}
	}
	if e := sink.wait(t, at("moved.new")); e.Str(signal.FieldActorProcessName) != "mv" {
		t.Errorf("the new name: %s", e.Str(signal.FieldActorProcessName))
	}

	// Accepted differences are in the baseline that the ledger has, in the name of whoever accepted them.
	if taken, err := m.Accept(t.Context(), "person:ann", fim.Selection{Paths: []kernel.FilePath{kernel.FilePath(root)}}); err != nil || len(taken) < 9 {
		t.Errorf("%d accepted: %v", len(taken), err)
	}
	subject, ok, err := deps.Book.Newest(t.Context(), fim.Verb)
	text, rerr := os.ReadFile(deps.File)
	if err != nil || rerr != nil || !ok || subject != fim.Digest(text) {
		t.Errorf("the ledger has %q, the file is %q: %v %v", subject, fim.Digest(text), err, rerr)
	}
	if b, err := fim.ParseBaseline(text); err != nil {
		t.Error(err)
	} else if f, ok := b.Find(odd); !ok || !f.Exists {
		t.Errorf("%q is not in the baseline", odd)
	}
	if strings.Contains(string(text), "\x1b") {
		t.Error("the baseline holds a control character")
	}
}

// bookOf is a ledger without the rest of a data directory.
func bookOf(l *ledger.Log) book { return book{&Storage{Ledger: l}} }
