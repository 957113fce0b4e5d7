package image

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"github.com/testudo-sec/testudo/internal/cmdmask"
	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/signal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A file is a tar entry of a layer that a test makes.
type file struct {
	name, data, link string
	sort             byte // tar.TypeReg if 0
	mode             int64
}

func tarOf(t testing.TB, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Linkname: f.link, Typeflag: cmp.Or(f.sort, tar.TypeReg), Mode: cmp.Or(f.mode, 0o644), Size: int64(len(f.data))}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gz(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(data)
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zst(t testing.TB, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(data, nil)
}

func sum(data []byte) string {
	s := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(s[:])
}

// A made image is one that a test builds by hand, so that it can be wrong in any way.
type made struct {
	layers [][]byte // tar files
	by     []string // the instruction of each
	config map[string]any
	empty  []string // instructions without a layer, after the others
	pack   func(testing.TB, []byte) []byte
	media  string
	// change is called with the manifest before it is written.
	change      func(m map[string]any)
	history     []map[string]any
	annotations map[string]string
}

func (m *made) configuration(t testing.TB) []byte {
	t.Helper()
	ids, history := []string{}, []map[string]any{}
	for n, l := range m.layers {
		ids = append(ids, sum(l))
		by := fmt.Sprintf("COPY %d /", n)
		if n < len(m.by) {
			by = m.by[n]
		}
		history = append(history, map[string]any{"created_by": by})
	}
	for _, by := range m.empty {
		history = append(history, map[string]any{"created_by": by, "empty_layer": true})
	}
	if m.history != nil {
		history = m.history
	}
	config := m.config
	if config == nil {
		config = map[string]any{"User": "10001", "Healthcheck": map[string]any{"Test": []string{"CMD", "true"}}}
	}
	out, err := json.Marshal(map[string]any{"os": "linux", "architecture": "amd64", "config": config, "history": history,
		"rootfs": map[string]any{"type": "layers", "diff_ids": ids}})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// layout writes an OCI layout.
func (m *made) layout(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	put := func(data []byte) map[string]any {
		digest := sum(data)
		at := filepath.Join(dir, "blobs", "sha256", digest[7:])
		if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return map[string]any{"digest": digest, "size": len(data)}
	}
	pack := m.pack
	if pack == nil {
		pack = gz
	}
	var layers []map[string]any
	for _, l := range m.layers {
		d := put(pack(t, l))
		d["mediaType"] = cmp.Or(m.media, "application/vnd.oci.image.layer.v1.tar+gzip")
		layers = append(layers, d)
	}
	config := put(m.configuration(t))
	config["mediaType"] = "application/vnd.oci.image.config.v1+json"
	manifest := map[string]any{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": layers}
	if m.annotations != nil {
		manifest["annotations"] = m.annotations
	}
	if m.change != nil {
		m.change(manifest)
	}
	text, _ := json.Marshal(manifest)
	d := put(text)
	d["mediaType"] = manifest["mediaType"]
	index, _ := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []any{d}})
	write(t, filepath.Join(dir, "index.json"), index)
	write(t, filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`))
	return dir
}

func write(t testing.TB, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// saved writes an archive as docker save does.
func (m *made) saved(t testing.TB) string {
	t.Helper()
	config := m.configuration(t)
	id := sum(config)[7:]
	files := []file{{name: id + ".json", data: string(config)}}
	names := []string{}
	for _, l := range m.layers {
		name := sum(l)[7:] + "/layer.tar"
		files = append(files, file{name: name, data: string(l)})
		names = append(names, name)
	}
	manifest, _ := json.Marshal([]any{map[string]any{"Config": id + ".json", "RepoTags": []string{"shop:1"}, "Layers": names}})
	files = append(files, file{name: "manifest.json", data: string(manifest)})
	name := filepath.Join(t.TempDir(), "image.tar")
	write(t, name, tarOf(t, files...))
	return name
}

// words finds lines that begin with NEEDLE, under the name that a part is known by.
type words struct{ name string }

func (w words) Name() string { return w.name }
func (w words) Scan(_ context.Context, f *scan.File, report scan.Report) error {
	for n, line := range strings.Split(string(f.Data), "\n") {
		if _, word, ok := strings.Cut(line, "NEEDLE-"); ok {
			report(signal.Finding{ID: signal.Fingerprint(w.name, f.Path, word), Rule: "needle", Title: "Needle " + word, Severity: signal.SeverityHigh, Fix: "Pull.",
				Location: signal.Location{Line: n + 1, Column: 1}}, scan.High)
		}
	}
	return nil
}

// lists names a package for each line of files that are called "packages", in the distribution that etc/release names, and one for each program.
type lists struct {
	mu    sync.Mutex
	asked []string
}

func (*lists) Name() string { return "lists" }
func (*lists) Wants(p string, _ fs.FileInfo) bool {
	return strings.HasSuffix(p, "packages") || strings.HasSuffix(p, ".bin")
}
func (l *lists) Extract(_ context.Context, f *scan.File) ([]scan.Package, error) {
	l.mu.Lock()
	l.asked = append(l.asked, f.Path)
	l.mu.Unlock()
	if strings.HasSuffix(f.Path, ".bin") {
		h := sha256.New()
		if _, err := io.Copy(h, io.NewSectionReader(f.Content, 0, f.Info.Size())); err != nil {
			return nil, err
		}
		return []scan.Package{{PURL: "pkg:generic/" + hex.EncodeToString(h.Sum(nil)), Path: f.Path}}, nil
	}
	release, err := fs.ReadFile(f.FS, "etc/os-release")
	if err != nil {
		return nil, err
	}
	var out []scan.Package
	for n, line := range strings.Fields(string(f.Data)) {
		out = append(out, scan.Package{PURL: "pkg:deb/" + line, Ecosystem: strings.TrimSpace(string(release)), Name: line, Path: f.Path, Line: n + 1})
	}
	return out, nil
}

// outcome is what a scan gave.
type outcome struct {
	findings []signal.Finding
	packages []scan.Package
	stats    scan.Stats
	image    *Image
}

func options() Options { return Options{Config: DefaultConfig(), Scan: scan.DefaultConfig()} }

// scanned scans an image with the parts above.
func scanned(t testing.TB, ref string, o Options) outcome {
	t.Helper()
	i, err := Open(t.Context(), ref, o)
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	return scanOpen(t, i)
}

func scanOpen(t testing.TB, i *Image) outcome {
	t.Helper()
	out := outcome{image: i}
	c := scan.DefaultConfig()
	c.Confidence = "low"
	stats, err := scan.Run(t.Context(), scan.Options{Source: i.Source(), Config: c, Scanners: []scan.Scanner{words{"secret"}, words{"code"}}, Extractors: []scan.Extractor{&lists{}},
		Inventory: func(inv *scan.Inventory) { out.packages = inv.Packages }}, func(f signal.Finding) { out.findings = append(out.findings, f) })
	if err != nil {
		t.Fatal(err)
	}
	out.stats = stats
	slices.SortFunc(out.findings, func(a, b signal.Finding) int {
		return cmp.Or(cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Location.Path, b.Location.Path), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// lines writes the findings of a rule in short.
func (o *outcome) lines(rule string) []string {
	out := []string{}
	for _, f := range o.findings {
		if f.Rule != rule {
			continue
		}
		s := f.Location.Path + " " + f.Title
		for _, e := range f.Evidence {
			if e.Name != "confidence" {
				s += "; " + e.Name + ": " + e.Value
			}
		}
		out = append(out, s)
	}
	return out
}

func maskNothing() *cmdmask.Masker { return cmdmask.New(nil, nil) }

func osDir(dir string) fs.FS { return os.DirFS(dir) }
