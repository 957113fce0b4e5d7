package image

import (
	"archive/tar"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/internal/bytesize"
	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/signal"
)

// shop is an image of four layers in which everything happens that layers do to each other.
func shop(t testing.TB) *made {
	return &made{
		layers: [][]byte{
			tarOf(t, file{name: "etc/", sort: tar.TypeDir, mode: 0o755}, file{name: "usr/lib/os-release", data: "ID=debian\nVERSION_ID=\"12\"\n"},
				file{name: "etc/os-release", sort: tar.TypeSymlink, link: "../usr/lib/os-release"},
				file{name: "db/packages", data: "bash libc"}, file{name: "opt/a", data: "a"}, file{name: "opt/old/packages", data: "gone"}, file{name: "srv/packages", data: "hidden"}),
			tarOf(t, file{name: "app/key", data: "NEEDLE-key"}, file{name: "app/conf", data: "NEEDLE-conf"}, file{name: "app/kept", data: "NEEDLE-kept"},
				file{name: "app/linked", data: "NEEDLE-linked"}, file{name: "app/link", sort: tar.TypeLink, link: "app/linked"}, file{name: "dir/x/deep", data: "NEEDLE-deep"},
				file{name: "db/packages", data: "bash curl libc"}),
			tarOf(t, file{name: "app/.wh.key"}, file{name: "app/conf", data: "clean"}, file{name: "app/.wh.linked"}, file{name: "dir/x", data: "a file now"},
				file{name: "opt/.wh..wh..opq"}, file{name: "srv/.wh.packages"}, file{name: ".wh..wh.aufs", data: "x"}),
			tarOf(t, file{name: "db/packages", data: "bash curl git"}, file{name: "home/packages", data: "late"}, file{name: "./app/../../escape", data: "NEEDLE-escape"}),
		},
		by: []string{`/bin/sh -c #(nop) ADD file:0123 in / `, "COPY app /app # buildkit", "RUN /bin/sh -c rm -rf /app/key # buildkit", "RUN |1 TOKEN=hunter22 /bin/sh -c apt-get install git # buildkit"},
	}
}

// TestLayers holds what is said of files that layers bring, change and take away, in every form of an image.
func TestLayers(t *testing.T) {
	forms := map[string]func(m *made) string{
		"layout, gzip": func(m *made) string { return m.layout(t) },
		"layout, zstd": func(m *made) string { m.pack = zst; return "oci:" + m.layout(t) },
		"layout, tar":  func(m *made) string { m.pack = func(_ testing.TB, b []byte) []byte { return b }; return m.layout(t) },
		"docker save":  func(m *made) string { return m.saved(t) },
		"docker save, packed": func(m *made) string {
			name := m.saved(t)
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			write(t, name, gz(t, data))
			return "archive:" + name
		},
		"layout in an archive": func(m *made) string { return archived(t, m.layout(t)) },
	}
	for form, make := range forms {
		t.Run(form, func(t *testing.T) {
			m := shop(t)
			got := scanned(t, make(m), options())
			layer := func(n int) string { return "layer: " + string(rune('0'+n)) + " of 4, " + sum(m.layers[n-1]) }
			brought := layer(2) + "; instruction: COPY app /app"
			rm := " in layer 3 of 4 by RUN rm -rf /app/key; still in the image"
			want := []string{
				"app/conf Needle conf; " + brought + "; overwritten:" + rm,
				"app/kept Needle kept; " + brought, // of the scanner for code
				"app/kept Needle kept; " + brought,
				"app/key Needle key; " + brought + "; deleted:" + rm,
				"app/linked Needle linked; " + brought, // under its other name it is there
				"app/linked Needle linked; " + brought,
				"dir/x/deep Needle deep; " + brought + "; deleted:" + rm,
			}
			if diff := cmp.Diff(want, got.lines("needle")); diff != "" {
				t.Errorf("findings:\n%s", diff)
			}
			var packages []string
			for _, p := range got.packages {
				packages = append(packages, p.PURL+" "+p.Path+" "+p.Ecosystem+" | "+p.Instruction)
				if p.Layer == "" {
					t.Errorf("%s has no layer", p.PURL)
				}
			}
			debian := "ID=debian\nVERSION_ID=\"12\""
			wantPackages := []string{
				"pkg:deb/bash db/packages " + debian + " | ADD file:0123 in /",
				"pkg:deb/curl db/packages " + debian + " | COPY app /app",
				"pkg:deb/git db/packages " + debian + " | RUN apt-get install git",
				"pkg:deb/late home/packages " + debian + " | RUN apt-get install git",
			}
			if diff := cmp.Diff(wantPackages, packages); diff != "" {
				t.Errorf("packages:\n%s", diff)
			}
			if got.stats.Special != 1 || got.stats.Failed+got.stats.Unreadable != 0 {
				t.Errorf("%+v", got.stats)
			}
			if got.image.Name == "" || got.image.Platform != "linux/amd64" || len(got.image.Layers) != 4 {
				t.Errorf("%+v", got.image)
			}
		})
	}
}

// archived makes a tar file of a folder.
func archived(t *testing.T, dir string) string {
	t.Helper()
	var files []file
	if err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(p)
		rel, _ := filepath.Rel(dir, p)
		files = append(files, file{name: rel, data: string(data)})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "layout.tar")
	write(t, name, tarOf(t, files...))
	return name
}

// TestSecondScan holds that what the cache knows comes out as if it had been read, that a shared layer is not read again, and that one whose base is another
// is not taken for the same.
func TestSecondScan(t *testing.T) {
	o := options()
	o.Cache = openCache(t, t.TempDir(), bytesize.MiB)
	m := shop(t)
	first := scanned(t, m.layout(t), o)
	second := scanned(t, m.saved(t), o) // another form of the same layers
	if first.image.Cached() != 0 || second.image.Cached() != 4 {
		t.Errorf("%d and %d layers from the cache, want 0 and 4", first.image.Cached(), second.image.Cached())
	}
	same := func(a, b outcome) string {
		for _, o := range []*outcome{&a, &b} {
			o.stats.Elapsed = 0
			for i := range o.findings {
				o.findings[i].First, o.findings[i].Last = o.findings[0].First, o.findings[0].First
			}
		}
		// What leads out of the image keeps its layer from being kept whole, so it is not said of an archive alone.
		return cmp.Diff(ids(a.findings), ids(b.findings)) + cmp.Diff(a.packages, b.packages)
	}
	if diff := same(first, second); diff != "" {
		t.Errorf("second scan (-first +second):\n%s", diff)
	}
	if first.stats.Files != second.stats.Files || first.stats.Bytes != second.stats.Bytes || second.stats.Special != 1 {
		t.Errorf("first %+v, second %+v", first.stats, second.stats)
	}

	// The lower layers cannot be read any more: only the new one is.
	m.layers = append(m.layers[:3:3], tarOf(t, file{name: "db/packages", data: "bash curl vim"}, file{name: "new", data: "NEEDLE-new"}))
	layout := m.layout(t)
	for _, l := range m.layers[:3] {
		if err := os.Remove(filepath.Join(layout, "blobs", "sha256", sum(gz(t, l))[7:])); err != nil {
			t.Fatal(err)
		}
	}
	third := scanned(t, layout, o)
	if third.image.Cached() != 3 || third.stats.Unreadable != 0 || len(third.packages) != 3 || third.packages[2].Name != "vim" ||
		third.packages[0].Ecosystem != "ID=debian\nVERSION_ID=\"12\"" || third.packages[0].Layer != sum(m.layers[0]) {
		t.Errorf("third: %d cached, %+v, %+v", third.image.Cached(), third.stats, third.packages)
	}

	// The same layer on another base: its files are known, what its packages are depends on the base.
	moved := &made{layers: [][]byte{tarOf(t, file{name: "etc/os-release", data: "ID=alpine"}), m.layers[1]}}
	fourth := scanned(t, moved.layout(t), o)
	if len(fourth.packages) != 3 || fourth.packages[0].Ecosystem != "ID=alpine" || len(fourth.lines("needle")) != 10 {
		t.Errorf("fourth: %+v, %q", fourth.packages, fourth.lines("needle"))
	}

	// Other judges know nothing of it.
	o.Judges = "other"
	if fifth := scanned(t, m.saved(t), o); fifth.image.Cached() != 0 {
		t.Errorf("results of other judges were taken")
	}
}

func ids(findings []signal.Finding) (out []string) {
	for _, f := range findings {
		s := f.ID + f.Title
		for _, e := range f.Evidence {
			s += "; " + e.Name + "=" + e.Value
		}
		out = append(out, s)
	}
	return out
}

// TestLargeArtifacts holds that files above the limit reach those who want them, whole, from any layer, and that others are said.
func TestLargeArtifacts(t *testing.T) {
	program := strings.Repeat("0123456789abcdef", 1<<20) // 16 MiB: above what is held in memory
	m := &made{layers: [][]byte{tarOf(t, file{name: "etc/os-release", data: "x"}, file{name: "a.bin", data: program}, file{name: "other", data: program[:12<<20]},
		file{name: "b.bin", sort: tar.TypeLink, link: "a.bin"}, file{name: "small.bin", data: "s"})}}
	for form, ref := range map[string]string{"packed": m.layout(t), "plain": m.saved(t)} {
		got := scanned(t, ref, options())
		var paths []string
		for _, p := range got.packages {
			paths = append(paths, p.Path+" "+p.PURL)
		}
		want := []string{"small.bin pkg:generic/" + sum([]byte("s"))[7:], "a.bin pkg:generic/" + sum([]byte(program))[7:], "b.bin pkg:generic/" + sum([]byte(program))[7:]}
		if diff := cmp.Diff(want, paths, cmp.Transformer("sorted", sortedSet)); diff != "" {
			t.Errorf("%s:\n%s", form, diff)
		}
		if got.stats.TooLarge != 1 || len(got.stats.Skipped) != 1 || got.stats.Skipped[0].Path != "other" {
			t.Errorf("%s: %+v", form, got.stats)
		}
	}
}

func sortedSet(in []string) map[string]bool {
	out := map[string]bool{}
	for _, s := range in {
		out[s] = true
	}
	return out
}

// TestExclude holds that the user's exclusions count in images.
func TestExclude(t *testing.T) {
	o := options()
	o.Scan.Exclude = []string{"/app/", "home/packages"}
	got := scanned(t, shop(t).saved(t), o)
	for _, l := range got.lines("needle") {
		if !strings.HasPrefix(l, "dir/") {
			t.Errorf("not left out: %s", l)
		}
	}
	if len(got.packages) != 3 {
		t.Errorf("%+v", got.packages)
	}
}

// TestRootFolder holds that a root filesystem is read as such: links stay inside, what the kernel shows is no file.
func TestRootFolder(t *testing.T) {
	dir := t.TempDir()
	for name, data := range map[string]string{"etc/os-release": "ID=debian", "db/packages": "bash", "proc/1/packages": "not", "app/x": "NEEDLE-x", ".gitignore": "app"} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), []byte(data))
	}
	for _, ref := range []string{dir, "rootfs:" + dir} {
		got := scanned(t, ref, options())
		if len(got.packages) != 1 || len(got.lines("needle")) != 2 || got.image.Configuration != nil {
			t.Errorf("%s: %+v %q", ref, got.packages, got.lines("needle"))
		}
	}
}

func openCache(t testing.TB, dir string, size bytesize.Size) *Cache {
	t.Helper()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	c, err := OpenCache(dir, size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

var _ scan.Source = source{}
