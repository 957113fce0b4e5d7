package sealed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/testudo-sec/testudo/internal/bytesize"
	"github.com/testudo-sec/testudo/signal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a time that a test sets.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	c.at = c.at.Add(d)
	c.mu.Unlock()
}

type bench struct {
	*Box
	t     testing.TB
	clock clock
	dir   string
	key   string

	metrics *prometheus.Registry
}

func newBench(t testing.TB, max bytesize.Size) *bench {
	t.Helper()
	root := t.TempDir()
	b := &bench{t: t, dir: filepath.Join(root, "sealed"), key: filepath.Join(root, "sealed.key"), clock: clock{at: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)}}
	b.reopen(max)
	return b
}

func (b *bench) reopen(max bytesize.Size) {
	b.t.Helper()
	b.metrics = prometheus.NewRegistry()
	var err error
	if b.Box, err = Open(b.dir, b.key, Config{MaxSize: max}, Options{Now: b.clock.now, Metrics: b.metrics}); err != nil {
		b.t.Fatal(err)
	}
}

// keep keeps a request and waits until it is on disk: Run seals what waits when it ends.
func (b *bench) keep(d time.Duration, text string) signal.ID {
	b.t.Helper()
	id := signal.NewID(b.clock.now())
	b.Keep(id, d, []byte(text))
	b.flush()
	return id
}

func (b *bench) flush() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := b.Run(ctx); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) reader() *Reader {
	b.t.Helper()
	r, err := NewReader(b.t.Context(), b.dir, b.key, b.clock.now)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(r.Close)
	return r
}

func (b *bench) sweepNow() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sweep()
}

func (b *bench) files(suffix string) []string {
	var out []string
	_ = filepath.WalkDir(b.dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, suffix) {
			out = append(out, path)
		}
		return nil
	})
	return out
}

const secret = "POST /pay card=4111111111111111 password=hunter2"

func TestKeep(t *testing.T) {
	b := newBench(t, bytesize.MiB)
	var ids []signal.ID
	for i := range 50 {
		ids = append(ids, b.keep(time.Hour, fmt.Sprintf("%s %d", secret, i)))
	}
	empty := b.keep(2*time.Hour, "")
	r := b.reader()
	for i, id := range ids {
		if got, err := r.Get(id); err != nil || string(got) != fmt.Sprintf("%s %d", secret, i) {
			t.Fatalf("%d: %q %v", i, got, err)
		}
	}
	if got, err := r.Get(empty); err != nil || len(got) != 0 || r.Len() != 51 || len(r.Damaged()) != 0 {
		t.Errorf("%q %v, %v, %v", got, err, r, r.Damaged())
	}
	if _, err := r.Get(signal.NewID(b.clock.now())); !errors.Is(err, ErrNotKept) {
		t.Errorf("what was not kept: %v", err)
	}
	nonces := map[string]bool{}
	for _, path := range b.files("") {
		info, err := os.Stat(path)
		text, _ := os.ReadFile(path)
		if err != nil || info.Mode().Perm() != 0o600 || bytes.Contains(text, []byte("hunter2")) || bytes.Contains(text, []byte("/pay")) {
			t.Errorf("%s, mode %v: %q", path, info.Mode(), text)
		}
	}
	for _, p := range r.at {
		text, _ := os.ReadFile(r.segments[p.segment].path(b.dir))
		nonces[string(text[p.offset+headSize:][:nonceSize])] = true
	}
	if len(nonces) != 51 {
		t.Errorf("%d nonces of 51", len(nonces))
	}
}

// TestTime: nothing is kept longer than was asked, over restarts too, and the key of a day goes with the last of it.
func TestTime(t *testing.T) {
	b := newBench(t, bytesize.MiB)
	short, long := b.keep(time.Hour, "short"), b.keep(30*time.Hour, "long")
	b.clock.add(59 * time.Minute)
	b.sweepNow()
	if _, err := b.reader().Get(short); err != nil {
		t.Error(err)
	}
	b.clock.add(time.Minute)
	b.sweepNow()
	r := b.reader()
	if _, err := r.Get(short); !errors.Is(err, ErrNotKept) {
		t.Errorf("after its time: %v", err)
	}
	if got, err := r.Get(long); err != nil || string(got) != "long" {
		t.Errorf("before its time: %q %v", got, err)
	}
	b.clock.add(29 * time.Hour) // nobody runs
	b.reopen(bytesize.MiB)
	if left := b.files(""); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if days, _ := os.ReadDir(b.dir); len(days) != 0 {
		t.Errorf("left: %v", days)
	}
	// It goes on after that, and a time in the future, of a clock that was wrong, is no reason to keep something forever.
	id := b.keep(time.Hour, "more")
	if _, err := b.reader().Get(id); err != nil {
		t.Error(err)
	}
	b.clock.add(-30 * 24 * time.Hour)
	b.reopen(bytesize.MiB)
	if left := b.files(suffix); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	// What is kept longest is bounded.
	b.keep(1000*time.Hour, "x")
	if files := b.files(suffix); len(files) != 1 || !strings.Contains(files[0], "-604800-") {
		t.Errorf("%v", files)
	}
}

// TestOverWithoutARun: what is over its time is not read, though no node ran to remove it; nor by a reader that was made before.
func TestOverWithoutARun(t *testing.T) {
	b := newBench(t, bytesize.MiB)
	short, long := b.keep(time.Hour, "short"), b.keep(30*time.Hour, "long")
	before := b.reader()
	b.clock.add(time.Hour)
	for _, r := range []*Reader{before, b.reader()} {
		if text, err := r.Get(short); !errors.Is(err, ErrNotKept) {
			t.Errorf("after its time: %q %v", text, err)
		}
		if text, err := r.Get(long); err != nil || string(text) != "long" {
			t.Errorf("before its time: %q %v", text, err)
		}
	}
	if len(b.files(suffix)) != 2 || b.reader().Len() != 1 {
		t.Errorf("%v, of which %v", b.files(suffix), b.reader())
	}
}

// TestNotRemoved: what cannot be removed is tried again, its key is destroyed meanwhile, and it counts against the bound.
func TestNotRemoved(t *testing.T) {
	b := newBench(t, bytesize.MiB)
	b.keep(time.Hour, strings.Repeat("x", 700<<10))
	path := b.files(suffix)[0]
	if err := errors.Join(os.Remove(path), os.MkdirAll(filepath.Join(path, "in the way"), 0o700)); err != nil {
		t.Fatal(err)
	}
	b.clock.add(25 * time.Hour)
	b.sweepNow()
	if len(b.segments) != 1 || b.size < 700<<10 {
		t.Errorf("it is forgotten: %d files, %d bytes", len(b.segments), b.size)
	}
	if keys := b.files("/key"); len(keys) != 0 {
		t.Errorf("%v: what is over its time can be read still", keys)
	}
	b.Keep(signal.NewID(b.clock.now()), time.Hour, make([]byte, 600<<10))
	b.flush()
	if got := b.lostBy("full"); got != 1 || b.size > int64(bytesize.MiB) {
		t.Errorf("%v lost, %d bytes", got, b.size)
	}
	if err := os.Remove(filepath.Join(path, "in the way")); err != nil {
		t.Fatal(err)
	}
	b.clock.add(time.Hour)
	b.sweepNow()
	if left := b.files(suffix); len(left) != 0 || len(b.segments) != 0 || b.size != 0 {
		t.Errorf("%v, %d files, %d bytes", left, len(b.segments), b.size)
	}
}

// TestBoundOfManyTimes: routes that keep for different times have a file each, which is being written; together they stay within the bound.
func TestBoundOfManyTimes(t *testing.T) {
	b := newBench(t, bytesize.MiB)
	var last signal.ID
	for i := range 12 {
		last = signal.NewID(b.clock.now())
		b.Keep(last, time.Duration(i+1)*time.Hour, make([]byte, 200<<10))
		b.clock.add(time.Second)
	}
	b.Keep(signal.NewID(b.clock.now()), time.Hour, make([]byte, 2<<20)) // more than all may take
	b.flush()
	if u, err := Look(b.dir); err != nil || u.Bytes > int64(bytesize.MiB) || u.Bytes < 600<<10 || u.Bytes != b.size {
		t.Errorf("%+v %v, counted %d", u, err, b.size)
	}
	if _, err := b.reader().Get(last); err != nil {
		t.Error(err)
	}
	if got := b.lostBy("full"); got != 1 {
		t.Errorf("%v lost", got)
	}
}

// TestShredding: without the key of a day that day is gone, and no other; without the master key all is.
func TestShredding(t *testing.T) {
	b := newBench(t, bytesize.MiB)
	first := b.keep(48*time.Hour, "one")
	b.clock.add(24 * time.Hour)
	second := b.keep(48*time.Hour, "two")
	keys := b.files("/key")
	if len(keys) != 2 {
		t.Fatal(keys)
	}
	if a, _ := os.ReadFile(keys[0]); len(a) == 0 {
		t.Fatal("an empty key")
	}
	if err := os.Remove(keys[0]); err != nil {
		t.Fatal(err)
	}
	r := b.reader()
	var damage *Damage
	if _, err := r.Get(first); !errors.As(err, &damage) || damage.File != "2026-11-23/key" || !strings.Contains(damage.What, "is gone") {
		t.Errorf("%v", err)
	}
	if got, err := r.Get(second); err != nil || string(got) != "two" {
		t.Errorf("%q %v", got, err)
	}
	if err := os.Remove(b.key); err != nil {
		t.Fatal(err)
	}
	if r = b.reader(); r.Len() != 0 || len(r.Damaged()) != 1 || !strings.Contains(r.Damaged()[0].What, "master key is gone") {
		t.Errorf("%v %v", r, r.Damaged())
	}
	// A new master key opens nothing of before. Today's key is not written over: somebody may have the old one still.
	b.reopen(bytesize.MiB)
	b.keep(time.Hour, "three")
	r = b.reader()
	if _, err := r.Get(second); !errors.As(err, &damage) || damage.File != "2026-11-24/key" {
		t.Errorf("%v", err)
	}
	b.clock.add(24 * time.Hour)
	fourth := b.keep(time.Hour, "four")
	if got, err := b.reader().Get(fourth); err != nil || string(got) != "four" {
		t.Errorf("the next day: %q %v", got, err)
	}
}

// TestDamage: each changed byte, each cut and each swap is refused by the name of the file.
func TestDamage(t *testing.T) {
	b := newBench(t, bytesize.MiB)
	id := b.keep(time.Hour, "a request")
	other := b.keep(2*time.Hour, "another")
	files := b.files(suffix)
	path := files[slices.IndexFunc(files, func(f string) bool { return strings.Contains(f, "-3600-") })]
	swapped := files[slices.IndexFunc(files, func(f string) bool { return strings.Contains(f, "-7200-") })]
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	put := func(path string, text []byte) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(what string) {
		t.Helper()
		r := b.reader()
		defer r.Close()
		text, err := r.Get(id)
		var damage *Damage
		if err == nil || errors.As(err, &damage) != (len(r.Damaged()) > 0) && !errors.Is(err, ErrNotKept) {
			t.Errorf("%s: %q %v", what, text, err)
		}
		if len(r.Damaged()) == 0 && !strings.Contains(what, "byte 4 ") && !errors.Is(err, ErrNotKept) {
			t.Errorf("%s: no file is named", what)
		}
		for _, d := range r.Damaged() {
			if d.File != filepath.Base(filepath.Dir(path))+"/"+filepath.Base(path) {
				t.Errorf("%s: %v", what, d)
			}
		}
	}
	for i := range whole {
		changed := slices.Clone(whole)
		changed[i] ^= 0x41
		put(path, changed)
		refused(fmt.Sprintf("byte %d changed", i))
	}
	for n := range whole {
		put(path, whole[:n])
		refused(fmt.Sprintf("cut at byte %d", n))
	}
	elsewhere, err := os.ReadFile(swapped)
	if err != nil {
		t.Fatal(err)
	}
	put(path, elsewhere) // the other's record in this file
	put(swapped, whole)
	r := b.reader()
	for _, id := range []signal.ID{id, other} {
		var damage *Damage
		if _, err := r.Get(id); !errors.As(err, &damage) || !strings.Contains(damage.What, "another file's") {
			t.Errorf("swapped: %v", err)
		}
	}
	put(path, whole)
	put(swapped, elsewhere)
	if got, err := b.reader().Get(id); err != nil || string(got) != "a request" {
		t.Errorf("as it was: %q %v", got, err)
	}
}

// TestBounds: the oldest goes first, what is too much is dropped and counted, and a disk that takes nothing stops nobody.
func TestBounds(t *testing.T) {
	b := newBench(t, bytesize.MiB)
	body := strings.Repeat("x", 300<<10)
	var ids []signal.ID
	for range 6 {
		ids = append(ids, b.keep(time.Hour, body))
		b.clock.add(time.Minute)
	}
	r := b.reader()
	for i, id := range ids {
		if _, err := r.Get(id); (err == nil) != (i >= 3) {
			t.Errorf("%d: %v", i, err)
		}
	}
	if u, err := Look(b.dir); err != nil || u.Bytes > int64(bytesize.MiB) || u.Bytes != b.size || u.Oldest.IsZero() {
		t.Errorf("%+v %v, counted %d", u, err, b.size)
	}
	b.Keep(ids[0], time.Hour, make([]byte, maxRequest+1))
	for range maxWaiting + 10 {
		b.Keep(ids[0], time.Hour, []byte("x"))
	}
	b.flush()
	if got := b.lostBy("size"); got != 1 {
		t.Errorf("too long: %v", got)
	}
	if got := b.lostBy("busy"); got != 10 {
		t.Errorf("too many: %v", got)
	}
	for range 10 {
		b.Keep(ids[0], time.Hour, make([]byte, 4<<20))
	}
	if got := b.lostBy("busy"); got != 12 {
		t.Errorf("too much: %v", got)
	}
	if b.flush(); b.held.Load() != 0 {
		t.Errorf("%d bytes are held of nothing", b.held.Load())
	}
	// A folder that cannot be written: as a full disk.
	b.clock.add(time.Hour)
	b.sweepNow()
	if err := os.RemoveAll(b.dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b.Keep(ids[0], time.Hour, []byte("x"))
	b.flush()
	if got := b.lostBy("disk"); got != 1 {
		t.Errorf("a full disk: %v", got)
	}
	if err := os.Remove(b.dir); err != nil {
		t.Fatal(err)
	}
	again := b.keep(time.Hour, "again")
	if got, err := b.reader().Get(again); err != nil || string(got) != "again" {
		t.Errorf("there is room again: %q %v", got, err)
	}
}

// lostBy returns how many requests were lost for a reason.
func (b *bench) lostBy(reason string) float64 {
	families, err := b.metrics.Gather()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "testudo_sealed_lost_total" && m.GetLabel()[0].GetValue() == reason {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

func FuzzReader(f *testing.F) {
	f.Add([]byte{0, 0, 0, 60})
	f.Add(bytes.Repeat([]byte{0}, 200))
	f.Fuzz(func(t *testing.T, text []byte) {
		root := t.TempDir()
		dir, key := filepath.Join(root, "sealed"), filepath.Join(root, "key")
		if _, err := Open(dir, key, DefaultConfig(), Options{}); err != nil {
			t.Fatal(err)
		}
		day := filepath.Join(dir, time.Now().UTC().Format(time.DateOnly))
		if err := os.Mkdir(day, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(day, fmt.Sprintf("%d-3600-0%s", time.Now().Unix(), suffix)), text, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := NewReader(t.Context(), dir, key, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range r.at {
			if _, err := r.Get(p.id); err == nil {
				t.Error("something that nobody sealed was opened")
			}
		}
		r.Close()
	})
}
