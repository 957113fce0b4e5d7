package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"golang.org/x/mod/sumdb/tlog"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("TESTUDO_LEDGER_CHILD"); dir != "" {
		childAppends(dir)
		return
	}
	if dir := os.Getenv("TESTUDO_LEDGER_FULL"); dir != "" {
		if err := childFills(dir); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

func clock() func() time.Time {
	t := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var mu sync.Mutex
	return func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		t = t.Add(1500 * time.Millisecond)
		return t
	}
}

// testOptions skip fsync, which only a loss of power would miss; TestKill, the
// disk errors and the benchmarks have it.
func testOptions() Options {
	return Options{Origin: "example.org/ledger", Now: clock(), wrap: func(_ string, f file) file { return unsynced{f} }}
}

func openLog(t testing.TB, dir string, opts Options) *Log {
	t.Helper()
	l, err := Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func entry(i int) Entry {
	return Entry{Actor: "person:ann", Verb: "block.apply", Subject: fmt.Sprintf("address:127.0.0.%d", i),
		Detail: map[string]string{"why": "crs 942100", "for": "10m"}}
}

func appendN(t testing.TB, l *Log, n int) {
	t.Helper()
	for i := range n {
		if _, err := l.Append(t.Context(), entry(i)); err != nil {
			t.Fatal(err)
		}
	}
}

// makeLedger returns the directory of a closed ledger with n entries, each
// under a head of its own.
func makeLedger(t testing.TB, n int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "ledger")
	l := openLog(t, dir, testOptions())
	appendN(t, l, n)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func copyLedger(t testing.TB, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.Mkdir(to, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{entriesFile, headsFile, keyFile, pubFile} {
		b := read(t, from, name)
		if err := os.WriteFile(filepath.Join(to, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func read(t testing.TB, dir, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t testing.TB, dir, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestAppendReadReopen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ledger")
	l := openLog(t, dir, testOptions())
	if h := l.Head(); h.Size != 0 || h.Number != 0 || len(h.Checkpoint) == 0 {
		t.Fatalf("head of a new ledger: %+v", h)
	}
	const n = 200 // three blocks and a bit
	var receipts []Receipt
	for i := range n {
		r, err := l.Append(t.Context(), entry(i))
		if err != nil {
			t.Fatal(err)
		}
		receipts = append(receipts, r)
	}
	check := func(l *Log, n int) {
		t.Helper()
		if got := l.Head().Size; got != uint64(n) {
			t.Fatalf("size %d, want %d", got, n)
		}
		for _, from := range []int{0, 1, 63, 64, 65, 127, 128, n - 1, n, n + 5} {
			for _, limit := range []int{1, 2, 64, 100, 0} {
				got, err := l.Entries(t.Context(), uint64(from), limit)
				if err != nil {
					t.Fatal(err)
				}
				want := max(0, min(n-from, limit))
				if limit == 0 {
					want = max(0, n-from)
				}
				if len(got) != want {
					t.Fatalf("Entries(%d, %d) gave %d, want %d", from, limit, len(got), want)
				}
				for i, rec := range got {
					if rec.Index != uint64(from+i) || rec.Hash != receipts[from+i].Hash {
						t.Fatalf("entry %d came back as %d", from+i, rec.Index)
					}
					if rec.Subject != entry(from+i).Subject || !cmp.Equal(rec.Detail, entry(0).Detail) {
						t.Fatalf("entry %d: %+v", from+i, rec)
					}
				}
			}
		}
	}
	check(l, n)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal("second close:", err)
	}
	if _, err := l.Append(t.Context(), entry(0)); !errors.Is(err, ErrClosed) {
		t.Fatal("append after close:", err)
	}
	if _, err := l.Entries(t.Context(), 0, 1); !errors.Is(err, ErrClosed) {
		t.Fatal("read after close:", err)
	}

	l = openLog(t, dir, Options{})
	if r := l.Recovered(); r.Any() {
		t.Fatalf("mended after a close: %+v", r)
	}
	check(l, n)
	for _, name := range []string{entriesFile, headsFile, keyFile} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", name, info.Mode(), err)
		}
	}
}

func TestReferenceTree(t *testing.T) {
	// The state's tree must be RFC 6962's, whatever it keeps in memory.
	var hashes []Hash
	ref := tlog.HashReaderFunc(func(ix []int64) ([]Hash, error) {
		var out []Hash
		for _, i := range ix {
			out = append(out, hashes[i])
		}
		return out, nil
	})
	var s state
	for n := range int64(300) {
		data := fmt.Appendf(nil, "leaf %d", n)
		more, err := tlog.StoredHashes(n, data, ref)
		if err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, more...)
		if err := s.add(leafHash(data), len(data)+1); err != nil {
			t.Fatal(err)
		}
		want, _ := tlog.TreeHash(n+1, ref)
		if got, err := s.root(); err != nil || got != want {
			t.Fatalf("root of %d: %v, %v", n+1, got, err)
		}
	}
}

func TestProofs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ledger")
	l := openLog(t, dir, testOptions())
	heads := []Head{l.Head()}
	for i := range 150 {
		if _, err := l.Append(t.Context(), entry(i)); err != nil {
			t.Fatal(err)
		}
		heads = append(heads, l.Head())
	}
	lines := bytes.Split(read(t, dir, entriesFile), []byte("\n"))
	for i := range uint64(150) {
		p, err := l.Inclusion(i)
		if err != nil {
			t.Fatal(err)
		}
		if p.Leaf != leafHash(lines[i]) || p.Check() != nil {
			t.Fatalf("proof of %d does not hold", i)
		}
		p.Index = (p.Index + 1) % 150
		if p.Check() == nil {
			t.Fatalf("proof of %d holds for its neighbour", i)
		}
	}
	if _, err := l.Inclusion(150); err == nil {
		t.Fatal("proof of an entry that is not there")
	}
	for _, old := range heads {
		c, err := l.Consistency(old)
		if err != nil || c.Check() != nil {
			t.Fatalf("from %d: %v", old.Size, err)
		}
		old.Hash[3] ^= 1
		var d *Damage
		if _, err := l.Consistency(old); !errors.As(err, &d) {
			t.Fatalf("from another history of %d: %v", old.Size, err)
		}
	}
	var d *Damage
	if _, err := l.Consistency(Head{Size: 151}); !errors.As(err, &d) {
		t.Fatal("from a longer history:", err)
	}
	for _, h := range heads {
		if got, err := OpenHead(h.Checkpoint, l.PublicKey()); err != nil || got.Size != h.Size || got.Hash != h.Hash {
			t.Fatalf("OpenHead(%d): %+v, %v", h.Size, got, err)
		}
	}
}

func TestGroupCommit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ledger")
	var syncs int
	var mu sync.Mutex
	opts := testOptions()
	opts.Metrics = prometheus.NewRegistry()
	opts.wrap = func(_ string, f file) file {
		return faulty{file: f, sync: func() error { mu.Lock(); syncs++; mu.Unlock(); return nil }}
	}
	l := openLog(t, dir, opts)
	const writers, each = 32, 25
	var wg sync.WaitGroup
	seen := make([]bool, writers*each)
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				e := entry(i)
				e.Detail = map[string]string{"w": fmt.Sprint(w), "i": fmt.Sprint(i)}
				r, err := l.Append(context.Background(), e)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if seen[r.Index] {
					t.Errorf("index %d twice", r.Index)
				}
				seen[r.Index] = true
				mu.Unlock()
				if i%7 == 0 {
					if _, err := l.Inclusion(r.Index); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	if l.Head().Size != writers*each {
		t.Fatalf("size %d", l.Head().Size)
	}
	if syncs >= 2*writers*each {
		t.Errorf("%d syncs for %d appends: no commit was shared", syncs, writers*each)
	}
	l.Close()
	if r, err := Verify(dir, VerifyOptions{}); err != nil || r.Head.Size != writers*each {
		t.Fatalf("%+v, %v", r, err)
	}
}

func TestAppendRefuses(t *testing.T) {
	l := openLog(t, filepath.Join(t.TempDir(), "l"), testOptions())
	many := map[string]string{}
	for i := range MaxDetails + 1 {
		many[fmt.Sprint("k", i)] = ""
	}
	for name, e := range map[string]Entry{
		"no actor":     {Verb: "a"},
		"no verb":      {Actor: "a"},
		"verb":         {Actor: "a", Verb: "Block\n"},
		"long verb":    {Actor: "a", Verb: strings.Repeat("a", MaxVerb+1)},
		"many details": {Actor: "a", Verb: "a", Detail: many},
		"detail key":   {Actor: "a", Verb: "a", Detail: map[string]string{"a b": ""}},
		"year":         {Actor: "a", Verb: "a", Time: time.Date(10001, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		if _, err := l.Append(t.Context(), e); !errors.Is(err, ErrEntry) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Append(ctx, entry(0)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if l.Head().Size != 0 {
		t.Errorf("%d refused entries were kept", l.Head().Size)
	}
}

func TestHostileStrings(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "l")
	l := openLog(t, dir, testOptions())
	hostile := []string{"", "a\nb", "\x00\x1b[31m", "\"}\\", "\xff\xfe", "\u202e\u200b\u2028", "ünïcode 日本", "\U000e0041\U0001f600", "\ufffd",
		strings.Repeat("A", 1<<20), strings.Repeat("\n", 1<<16), strings.Repeat("日", 5000)}
	for _, s := range hostile {
		detail := map[string]string{}
		for i := range MaxDetails {
			detail[fmt.Sprintf("k%02d", i)] = s
		}
		if _, err := l.Append(t.Context(), Entry{Actor: "x" + s, Verb: "v", Subject: s, Detail: detail}); err != nil {
			t.Fatalf("%.20q: %v", s, err)
		}
	}
	recs, err := l.Entries(t.Context(), 0, 0)
	if err != nil || len(recs) != len(hostile) {
		t.Fatal(len(recs), err)
	}
	if got := recs[6].Subject; got != hostile[6] {
		t.Errorf("%q", got)
	}
	if got := recs[4].Subject; got != `\xff\xfe` {
		t.Errorf("%q", got)
	}
	if got := recs[9].Subject; len(got) > MaxSubject || !strings.HasSuffix(got, " bytes]") || !strings.HasPrefix(got, "AAAA") {
		t.Errorf("%d bytes, ends in %q", len(got), got[len(got)-40:])
	}
	raw := read(t, dir, entriesFile)
	for _, bad := range []string{"\x1b", "\x00", "\u202e", "\u2028", "\U000e0041"} {
		if bytes.Contains(raw, []byte(bad)) {
			t.Errorf("%q stands unescaped in the file", bad)
		}
	}
	if n := bytes.Count(raw, []byte("\n")); n != len(hostile) {
		t.Errorf("%d lines for %d entries", n, len(hostile))
	}
	l.Close()
	if _, err := Verify(dir, VerifyOptions{}); err != nil {
		t.Error(err)
	}
}

func TestOneProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "l")
	l := openLog(t, dir, testOptions())
	if _, err := Open(dir, testOptions()); !errors.Is(err, ErrLocked) {
		t.Fatal(err)
	}
	l.Close()
	openLog(t, dir, testOptions())
}

func TestOpenRefusesForeignHands(t *testing.T) {
	for name, spoil := range map[string]func(dir string) error{
		"directory open to others": func(d string) error { return os.Chmod(d, 0o755) },
		"key open to others":       func(d string) error { return os.Chmod(filepath.Join(d, keyFile), 0o644) },
		"entries open to others":   func(d string) error { return os.Chmod(filepath.Join(d, entriesFile), 0o622) },
		"key gone":                 func(d string) error { return os.Remove(filepath.Join(d, keyFile)) },
		"heads gone":               func(d string) error { return os.Remove(filepath.Join(d, headsFile)) },
		"entries gone":             func(d string) error { return os.Remove(filepath.Join(d, entriesFile)) },
		"entries a link": func(d string) error {
			p := filepath.Join(d, entriesFile)
			return errors.Join(os.Rename(p, p+".old"), os.Symlink(p+".old", p))
		},
		"another key": func(d string) error {
			k, err := newKey("example.org/ledger")
			return errors.Join(err, os.WriteFile(filepath.Join(d, keyFile), k, 0o600))
		},
		"another public key": func(d string) error {
			return os.WriteFile(filepath.Join(d, pubFile), []byte("x+00000000+AAAA\n"), 0o600)
		},
		"a fifo": func(d string) error {
			p := filepath.Join(d, keyFile)
			return errors.Join(os.Remove(p), syscall.Mkfifo(p, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := makeLedger(t, 3)
			if err := spoil(dir); err != nil {
				t.Fatal(err)
			}
			if l, err := Open(dir, testOptions()); err == nil {
				l.Close()
				t.Fatal("opened")
			} else if strings.Contains(err.Error(), "PRIVATE") {
				t.Fatal("the error shows the key:", err)
			}
		})
	}
}

// faulty is a disk whose operations fail on demand.
type faulty struct {
	file
	write    func(p []byte) (int, error) // how much is still written, and the error
	sync     func() error
	truncate func() error
}

func (f faulty) WriteAt(p []byte, off int64) (int, error) {
	if f.write != nil {
		if n, err := f.write(p); err != nil {
			f.file.WriteAt(p[:n], off)
			return n, err
		}
	}
	return f.file.WriteAt(p, off)
}

func (f faulty) Sync() error {
	if f.sync != nil {
		if err := f.sync(); err != nil {
			return err
		}
	}
	return f.file.Sync()
}

func (f faulty) Truncate(n int64) error {
	if f.truncate != nil {
		if err := f.truncate(); err != nil {
			return err
		}
	}
	return f.file.Truncate(n)
}

func TestDiskErrors(t *testing.T) {
	for _, name := range []string{entriesFile, headsFile} {
		for _, op := range []string{"write", "sync", "truncate"} {
			t.Run(name+" "+op, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "l")
				broken := ""
				fail := func(what string) error {
					if broken == what || broken == "write" && what == "truncate" && op == "truncate" {
						return syscall.ENOSPC
					}
					return nil
				}
				opts := testOptions()
				opts.wrap = func(n string, f file) file {
					if n != name {
						return f
					}
					return faulty{file: f,
						write:    func(p []byte) (int, error) { return len(p) / 2, fail("write") },
						sync:     func() error { return fail("sync") },
						truncate: func() error { return fail("truncate") },
					}
				}
				l := openLog(t, dir, opts)
				appendN(t, l, 2)
				before := l.Head()
				broken = op
				if op == "truncate" {
					broken = "write"
				}
				// Longer than what comes after: nothing of it may be left.
				long := entry(7)
				long.Subject = strings.Repeat("x", 2000)
				for range 3 {
					if _, err := l.Append(t.Context(), long); !errors.Is(err, syscall.ENOSPC) {
						t.Fatal(err)
					}
				}
				if diff := cmp.Diff(before, l.Head()); diff != "" {
					t.Fatal(diff)
				}
				if recs, err := l.Entries(t.Context(), 0, 0); err != nil || len(recs) != 2 {
					t.Fatal(len(recs), err)
				}
				broken = ""
				r, err := l.Append(t.Context(), entry(8))
				if err != nil || r.Index != 2 {
					t.Fatal(r, err)
				}
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				rep, err := Verify(dir, VerifyOptions{Against: before.Checkpoint})
				if err != nil || rep.Head.Size != 3 {
					t.Fatalf("%+v %v", rep, err)
				}
			})
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	l := openLog(b, filepath.Join(b.TempDir(), "l"), Options{})
	b.ReportAllocs()
	b.SetParallelism(64)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := l.Append(context.Background(), entry(1)); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(l.Head().Size)/float64(max(1, l.Head().Number)), "entries/commit")
}

func BenchmarkAppendAlone(b *testing.B) {
	l := openLog(b, filepath.Join(b.TempDir(), "l"), Options{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.Append(context.Background(), entry(1)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen opens and verifies a ledger of 20,000 entries.
func BenchmarkOpen(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "l")
	l := openLog(b, dir, Options{wrap: func(_ string, f file) file { return unsynced{f} }})
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			for i := range 200 {
				l.Append(context.Background(), entry(i+rand.IntN(9)))
			}
		})
	}
	wg.Wait()
	l.Close()
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			l, err := Open(dir, Options{})
			if err != nil {
				b.Fatal(err)
			}
			l.Close()
		}
	})
	b.Run("verify", func(b *testing.B) {
		for b.Loop() {
			if _, err := Verify(dir, VerifyOptions{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

type unsynced struct{ file }

func (unsynced) Sync() error { return nil }
