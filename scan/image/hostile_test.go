package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/internal/bytesize"
	"github.com/testudo-sec/testudo/internal/require"
)

// TestHostileEntries holds that names, links, devices and sparse files of a layer do no harm, and are labels at most.
func TestHostileEntries(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	write(t, outside, []byte("NEEDLE-outside"))
	m := &made{layers: [][]byte{
		tarOf(t, file{name: "../../../up", data: "NEEDLE-up"}, file{name: "/absolute", data: "NEEDLE-absolute"}, file{name: "a//b/./c", data: "NEEDLE-clean"},
			file{name: "link", sort: tar.TypeSymlink, link: outside}, file{name: "hard", sort: tar.TypeLink, link: outside}, file{name: "hard2", sort: tar.TypeLink, link: "../../x"},
			file{name: "loop/packages", sort: tar.TypeLink, link: "loop/packages"}, file{name: "null", sort: tar.TypeChar}, file{name: "pipe", sort: tar.TypeFifo},
			file{name: ".wh.", data: "x"}, file{name: ".wh...", data: "x"}, file{name: strings.Repeat("n/", 3000) + "long", data: "NEEDLE-long"},
			file{name: "etc/os-release", sort: tar.TypeSymlink, link: "/etc/os-release"}, file{name: "db/packages", data: "bash"},
			file{name: "esc\x1b[31m", data: "NEEDLE-escape"}, file{name: "bytes\xff", data: "NEEDLE-bytes"}, file{name: "twice", data: "NEEDLE-first"}, file{name: "twice", data: "NEEDLE-second"}),
	}}
	o := options()
	o.Cache = openCache(t, t.TempDir(), bytesize.MiB)
	for range 2 { // read, then from the cache
		got := scanned(t, m.saved(t), o)
		var titles []string
		for _, f := range got.findings {
			if f.Rule == "needle" {
				titles = append(titles, f.Location.Path+" "+f.Title)
			}
		}
		slices.Sort(titles)
		titles = slices.Compact(titles)
		want := []string{`a/b/c Needle clean`, `absolute Needle absolute`, `bytes\xff Needle bytes`, `esc\x1b[31m Needle escape`, "twice Needle first", "twice Needle second"}
		if !slices.Equal(titles, want) {
			t.Errorf("%q, want %q", titles, want)
		}
		// The list cannot be judged: which distribution it is leads in a circle.
		if got.stats.Special != 5 || got.stats.Failed != 1 || len(got.packages) != 0 {
			t.Errorf("%+v %+v", got.stats, got.packages)
		}
	}
}

// TestBrokenLayers holds that what is wrong with one layer is said of it, and that the others are read.
func TestBrokenLayers(t *testing.T) {
	good := tarOf(t, file{name: "etc/os-release", data: "x"}, file{name: "good", data: "NEEDLE-good"})
	bad := tarOf(t, file{name: "bad", data: "NEEDLE-bad"}, file{name: "worse", data: strings.Repeat("x", 100_000)})
	set := func(key string, value any) func(map[string]any) {
		return func(m map[string]any) { m["layers"].([]map[string]any)[1][key] = value }
	}
	for name, c := range map[string]struct {
		blob   func(name string)
		change func(m map[string]any)
		want   string
		judged bool // what could be read of the layer is
	}{
		"missing":    {blob: func(name string) { os.Remove(name) }, want: "does not hold it"},
		"changed":    {blob: func(name string) { write(t, name, gz(t, good)) }, want: "not what its digest says"},
		"cut":        {blob: func(name string) { os.Truncate(name, 150) }, want: "unexpected EOF", judged: true},
		"a link out": {blob: func(name string) { os.Remove(name); os.Symlink("/etc/passwd", name) }, want: "escapes"},
		"a pipe":     {blob: func(name string) { os.Remove(name); mkfifo(t, name) }, want: "not a regular file"},
		"no tar":     {blob: func(name string) { write(t, name, bytes.Repeat([]byte("x"), 2000)) }, want: "invalid tar header"},
		"encrypted":  {change: set("mediaType", "application/vnd.oci.image.layer.v1.tar+gzip+encrypted"), want: "encrypted"},
		"foreign":    {blob: func(name string) { os.Remove(name) }, change: set("urls", []string{"http://127.0.0.1:1/"}), want: "foreign layer"},
		"zstd, huge window": {blob: func(name string) {
			write(t, name, []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xf8, 0, 0, 0})
		}, want: "window"},
	} {
		t.Run(name, func(t *testing.T) {
			m := &made{layers: [][]byte{good, bad}, change: c.change}
			again := m.layout(t)
			if c.blob != nil {
				c.blob(filepath.Join(again, "blobs", "sha256", sum(gz(t, bad))[7:]))
			}
			o := options()
			o.Cache = openCache(t, t.TempDir(), bytesize.MiB)
			got := scanned(t, again, o)
			if len(got.stats.Skipped) != 1 || !strings.HasPrefix(got.stats.Skipped[0].Path, "layer 2 of 2 (sha256:") || !strings.Contains(got.stats.Skipped[0].Reason, c.want) {
				t.Errorf("%+v, want %q", got.stats.Skipped, c.want)
			}
			found := strings.Join(got.lines("needle"), "\n")
			if !strings.Contains(found, "Needle good") || strings.Contains(found, "Needle bad") != c.judged {
				t.Errorf("%s", found)
			}
			if second := scanned(t, again, o); second.image.Cached() != 1 || len(second.stats.Skipped) != 1 {
				t.Errorf("a layer that could not be read whole was kept: %d cached, %+v", second.image.Cached(), second.stats.Skipped)
			}
		})
	}
}

// TestHostileDescriptions holds that what cannot be an image is refused with the reason.
func TestHostileDescriptions(t *testing.T) {
	layer := tarOf(t, file{name: "a", data: "a"})
	for want, change := range map[string]func(m *made){
		"the manifest names 2 layers, the configuration 1": func(m *made) {
			m.change = func(x map[string]any) { l := x["layers"].([]map[string]any); x["layers"] = append(l, l[0]) }
		},
		"max_layers": func(m *made) { m.layers = slices.Repeat([][]byte{layer}, 600) },
		"something else": func(m *made) {
			m.change = func(x map[string]any) {
				x["config"].(map[string]any)["mediaType"] = "application/vnd.cncf.helm.config.v1+json"
			}
		},
		"the limit (max_manif": func(m *made) { m.config = map[string]any{"Env": []string{strings.Repeat("x", 10<<20)}} },
		"is no digest": func(m *made) {
			m.change = func(x map[string]any) { x["layers"].([]map[string]any)[0]["digest"] = "sha256:.." }
		},
		"configuration: json": func(m *made) { m.config = map[string]any{"Env": 5} },
	} {
		m := &made{layers: [][]byte{layer}}
		change(m)
		i, err := Open(t.Context(), m.layout(t), options())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if err == nil {
			i.Close()
		}
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "text"), []byte("no image"))
	write(t, filepath.Join(dir, "other.tar"), tarOf(t, file{name: "a", data: "b"}))
	write(t, filepath.Join(dir, "torn.tar"), tarOf(t, file{name: "a", data: strings.Repeat("x", 5000)}, file{name: "b"})[:3000])
	for ref, want := range map[string]string{
		filepath.Join(dir, "text"): "not an image", filepath.Join(dir, "other.tar"): "neither a manifest.json", filepath.Join(dir, "torn.tar"): "damaged",
		filepath.Join(dir, "none"): "no such file", "./none.tar": "no such file", "A B": "neither a file here nor the name of an image", "pid:x": "no process id", "pid:-1": "no process id",
		"container:*": "no id of a container", "container:../../../../etc": "no id", "container:0123456789ab": "no runtime", "rootfs:" + dir + "/none": "no such file",
	} {
		o := options()
		o.system = dir
		i, err := Open(t.Context(), ref, o)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", ref, err, want)
		}
		if err == nil {
			i.Close()
		}
	}
}

// TestBombs holds that what unpacks to more than the limits ends there, is said, and leaves memory bounded.
func TestBombs(t *testing.T) {
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	w := tar.NewWriter(z)
	_ = w.WriteHeader(&tar.Header{Name: "first", Size: 12, Mode: 0o644})
	_, _ = io.WriteString(w, "NEEDLE-first")
	const size = 128 << 20
	_ = w.WriteHeader(&tar.Header{Name: "zeros.bin", Size: size, Mode: 0o644})
	zeros := make([]byte, 1<<20)
	for range size >> 20 {
		_, _ = w.Write(zeros)
	}
	_ = w.Close()
	_ = z.Close()
	m := &made{layers: [][]byte{tarOf(t)}, pack: func(testing.TB, []byte) []byte { return b.Bytes() }}
	o := options()
	o.Config.MaxUnpacked = 64 * bytesize.MiB
	peak, stop := heapPeak()
	got := scanned(t, m.layout(t), o)
	stop()
	if len(got.stats.Skipped) != 1 || !strings.Contains(got.stats.Skipped[0].Reason, "max_unpacked") {
		t.Errorf("%+v", got.stats.Skipped)
	}
	if peak.Load() > 150<<20 {
		t.Errorf("%d MiB of memory for an image that is refused at 64 MiB", peak.Load()>>20)
	}

	o = options()
	o.Config.MaxEntries = 3
	five := &made{layers: [][]byte{tarOf(t, file{name: "1", data: "NEEDLE-1"}, file{name: "2"}), tarOf(t, file{name: "3"}, file{name: "4"}, file{name: "5", data: "NEEDLE-5"})}}
	got = scanned(t, five.layout(t), o)
	if got.stats.Unreadable < 1 || !strings.Contains(got.stats.Skipped[0].Reason, "max_entries") {
		t.Errorf("%+v", got.stats)
	}
}

// heapPeak watches the memory until stop is called.
func heapPeak() (peak *atomic.Uint64, stop func()) {
	debug.FreeOSMemory()
	peak = &atomic.Uint64{}
	done, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak.Store(max(peak.Load(), m.HeapInuse))
			select {
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return peak, func() { close(done); <-gone }
}

// TestManyEntries holds the memory that names need: of so many that the largest number allowed stays below 300 MiB.
func TestManyEntries(t *testing.T) {
	layers, names := 4, 45_000/require.Stride(4)
	m := &made{}
	for l := range layers {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for n := range names {
			h := tar.Header{Name: fmt.Sprintf("node_modules/package-%d-%03d/lib/file-%06d.js", l, n%500, n), Mode: 0o644, Typeflag: tar.TypeReg}
			if err := w.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
		}
		_ = w.Close()
		m.layers = append(m.layers, b.Bytes())
	}
	dir := m.layout(t)
	m.layers = nil
	peak, stop := heapPeak()
	before := peak.Load()
	got := scanned(t, dir, options())
	stop()
	if want := uint64(layers*names + 1); got.stats.Files != want { // and the history
		t.Errorf("%d files, want %d; %+v", got.stats.Files, want, got.stats)
	}
	grown := peak.Load() - before
	t.Logf("%d MiB for %d names", grown>>20, layers*names)
	if all := DefaultConfig().MaxEntries; !require.Race && grown/uint64(layers*names)*uint64(all) > 300<<20 {
		t.Errorf("%d MiB for %d names: %d of them would take more than 300 MiB", grown>>20, layers*names, all)
	}
}
