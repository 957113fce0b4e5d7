//go:build linux

package feed_test

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/intel"
	"github.com/testudo-sec/testudo/intel/feed"
	"github.com/testudo-sec/testudo/internal/require"
)

// TestKilledAnywhere ends updates with SIGKILL at twenty moments, spread over the time that one takes: whatever is there then is whole, and
// either all old or all new. The process that is killed is this test again.
func TestKilledAnywhere(t *testing.T) {
	if url := os.Getenv("FEED_ANYWHERE_URL"); url != "" {
		c := intel.DefaultConfig()
		c.Source, c.Timeout = url, time.Minute
		if _, err := feed.Update(context.Background(), feed.Options{Config: c, Path: os.Getenv("FEED_ANYWHERE_PATH"), Full: true}); err != nil {
			t.Fatal(err)
		}
		return
	}
	b := newBench(t)
	b.m.fill("npm", 300, nil)
	b.o.Config.Timeout = time.Minute
	b.update(t)
	start := func() *exec.Cmd {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledAnywhere$")
		cmd.Env = append(os.Environ(), "FEED_ANYWHERE_URL="+b.m.URL, "FEED_ANYWHERE_PATH="+b.path)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	b.m.fill("npm", 400, nil)
	began := time.Now()
	if err := start().Wait(); err != nil || b.count(t, "npm") != 400 {
		t.Fatal("an update that nobody kills: ", err)
	}
	whole := time.Since(began)
	kills := 20 / require.Stride(4)
	killed, old := 0, int64(400)
	for i := range kills {
		next := int64(401 + i)
		b.m.fill("npm", int(next), nil)
		cmd := start()
		time.Sleep(time.Duration(float64(whole) * (float64(i) + rand.Float64()) / float64(kills))) // the moment is what is tried
		_ = cmd.Process.Kill()
		if cmd.Wait() != nil {
			killed++
		}
		switch n := b.count(t, "npm"); n {
		case old, next:
			old = n
		default:
			t.Fatalf("%d advisories: neither the old %d nor the new %d", n, old, next)
		}
		if b.count(t, "Rocky Linux") != 30 {
			t.Fatal("the other ecosystem is not whole")
		}
	}
	if killed == 0 {
		t.Error("all updates ended before they were killed")
	}
	if b.update(t); b.count(t, "npm") != int64(400+kills) {
		t.Error("the next update did not take all in")
	}
	if left, err := os.ReadDir(b.path + ".work"); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// TestHalfForgotten: what an update that was killed left of downloads does not stay: neither a note beside a download that is gone, nor a download that the next update
// does without, as it asks for what changed only.
func TestHalfForgotten(t *testing.T) {
	b := newBench(t)
	b.update(t)
	work := b.path + ".work"
	leave := func(names ...string) {
		for _, name := range names {
			if err := os.WriteFile(filepath.Join(work, name), []byte("{}"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	rest := func() (names []string) {
		left, err := os.ReadDir(work)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range left {
			names = append(names, e.Name())
		}
		return names
	}
	leave("npm-6e706d.zip.part.json")
	b.update(t)
	if got := rest(); !slices.Equal(got, []string{"lock"}) {
		t.Errorf("a note: %q", got)
	}
	of := []string{"npm-6e706d.zip.part", "npm-6e706d.zip.part.json", "kev.part", "kev.part.json", "of-none-that-is-wanted.zip.part"}
	leave(of...)
	b.m.fill("npm", 301, nil)
	b.update(t)
	if got := rest(); !slices.Equal(got, []string{"lock"}) {
		t.Errorf("downloads: %q", got)
	}
	// What could not be asked for is gone on with later.
	leave(of[:2]...)
	b.o.Only = []string{"Rocky Linux"}
	b.update(t)
	if got := rest(); !slices.Equal(got, []string{"lock", of[0], of[1]}) {
		t.Errorf("downloads of others: %q", got)
	}
}

// TestFullDisk updates on disks with less and less room: the old database stays whole, nothing that fills the disk stays, and with room
// again the next update succeeds.
func TestFullDisk(t *testing.T) {
	require.Root(t)
	dir := t.TempDir()
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64m")
	require.Part(t, "mount", err == nil, fmt.Sprint("a file system of the test's own: ", err))
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	b := newBench(t)
	b.path = filepath.Join(dir, "db")
	b.o.Path, b.o.Config.Timeout = b.path, time.Minute
	b.update(t)
	b.m.fill("npm", 1500, nil)
	var stat syscall.Statfs_t
	used := func() int64 {
		if err := syscall.Statfs(dir, &stat); err != nil {
			t.Fatal(err)
		}
		return (int64(stat.Blocks) - int64(stat.Bfree)) * stat.Bsize
	}
	before, failed := used(), 0
	for room := int64(0); ; room = max(8<<10, room*2) {
		if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, fmt.Sprintf("size=%d", before+room)); err != nil {
			t.Fatal(err)
		}
		_, err := feed.Update(context.Background(), b.o)
		if err == nil {
			break
		}
		failed++
		if !strings.Contains(err.Error(), "no space left") {
			t.Errorf("with %d bytes: %v", room, err)
		}
		if b.count(t, "npm") != 60 || b.count(t, "Rocky Linux") != 30 {
			t.Fatalf("with %d bytes the old database is gone", room)
		}
		if left := used() - before; left > 64<<10 {
			t.Errorf("with %d bytes, %d stay behind", room, left)
		}
		if room > 64<<20 {
			t.Fatal("it never succeeds")
		}
	}
	if failed < 3 || b.count(t, "npm") != 1500 {
		t.Errorf("%d updates failed, now %d", failed, b.count(t, "npm"))
	}
}

// TestHeavy: advisories that are small in a file and large in memory are refused, and those of 200 MB, before they cost much.
func TestHeavy(t *testing.T) {
	many := func(n int, head, one, tail string) []byte {
		return []byte(head + strings.Repeat(one+",", n-1) + one + tail)
	}
	n := 5_000_000 / require.Stride(10)
	heavy := map[string][]byte{
		"affected.json": many(n, `{"id":"H-1","affected":[`, `{}`, `]}`),
		"ranges.json":   many(n, `{"id":"H-2","affected":[{"package":{"ecosystem":"npm","name":"p"},"ranges":[`, `{}`, `]}]}`),
		"events.json":   many(n, `{"id":"H-3","affected":[{"package":{"ecosystem":"npm","name":"p"},"ranges":[{"type":"SEMVER","events":[`, `{}`, `]}]}]}`),
		"versions.json": many(n, `{"id":"H-4","affected":[{"package":{"ecosystem":"npm","name":"p"},"versions":[`, `""`, `]}]}`),
		"aliases.yaml":  []byte("id: H-5\naliases:\n" + strings.Repeat("- a\n", 250_000)),
		"large.json":    many(200<<20/8/require.Stride(10), `{"id":"H-6","aliases":[`, `"aaaaa"`, `]}`),
	}
	b := newBench(t)
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	for i := range 40 {
		id, text := osv("npm", i, 0)
		w, _ := z.Create(id + ".json")
		_, _ = w.Write(text)
	}
	for name, text := range heavy {
		w, _ := z.Create(name)
		_, _ = w.Write(text)
	}
	_ = z.Close()
	clear(heavy)
	b.m.put("npm/all.zip", buf.Bytes())
	b.m.put("ecosystems.txt", []byte("npm\n"))
	b.o.Config.MaxLoss = 50
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	peak := peakHeap(t, func() { b.update(t) })
	runtime.ReadMemStats(&after)
	if b.count(t, "npm") < 40 || b.count(t, "npm") > 42 {
		t.Errorf("%d advisories", b.count(t, "npm"))
	}
	if grown := int64(peak) - int64(before.HeapAlloc); grown > 500<<20 && !require.Race {
		t.Errorf("%d MB on top", grown>>20)
	}
}

// peakHeap is the most that the heap held while f ran, about.
func peakHeap(t *testing.T, f func()) uint64 {
	t.Helper()
	stop, peak := make(chan struct{}), make(chan uint64)
	go func() {
		most := uint64(0)
		for tick := time.NewTicker(5 * time.Millisecond); ; {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
			select {
			case <-stop:
				tick.Stop()
				peak <- most
				return
			case <-tick.C:
			}
		}
	}()
	f()
	close(stop)
	return <-peak
}

// TestSize: a server that lies about the size.
func TestSize(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(w http.ResponseWriter, full []byte)
		want  string
	}{
		"too much": {func(w http.ResponseWriter, full []byte) {
			w.Header().Set("Content-Length", fmt.Sprint(5<<30))
			_, _ = w.Write(full)
		}, "larger than what is downloaded"},
		"without end": {func(w http.ResponseWriter, full []byte) {
			w.(http.Flusher).Flush() // no length
			for piece := bytes.Repeat([]byte{0}, 64<<10); ; {
				if _, err := w.Write(piece); err != nil {
					return
				}
			}
		}, "larger than what is downloaded"},
		"another part": {func(w http.ResponseWriter, full []byte) {
			w.Header().Set("Content-Range", "bytes 7-9/10")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(full[:3])
		}, "another part"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.update(t)
			b.m.fill("npm", 120, nil)
			full := b.m.files["npm/all.zip"]
			b.o.Config.Retries, b.o.Config.MaxDownload, b.o.Config.Timeout = 0, 2<<20, time.Minute
			b.m.mu.Lock()
			b.m.spoil = func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "npm/all.zip") {
					return false
				}
				w.Header().Del("Digest")
				c.spoil(w, full)
				return true
			}
			b.m.mu.Unlock()
			b.fails(t, c.want)
			if b.count(t, "npm") != 60 {
				t.Error("the old ones are gone")
			}
		})
	}
}
