package scan

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/testudo-sec/testudo/signal"
)

// namesOnly wants files by name, and settles by taking out the second package.
type namesOnly struct{ t *testing.T }

func (namesOnly) Name() string { return "names" }
func (n namesOnly) Wants(path string, info fs.FileInfo) bool {
	if info.Size() != 1 || !info.Mode().IsRegular() || info.IsDir() {
		n.t.Errorf("%s: asked with %d bytes, %s", path, info.Size(), info.Mode())
	}
	return filepath.Base(path) == "lock" || info.Mode()&0o100 != 0
}
func (n namesOnly) Extract(_ context.Context, f *File) ([]Package, error) {
	if f.Data != nil || f.Content == nil {
		n.t.Errorf("%s: read though no scanner runs", f.Path)
	}
	return []Package{{PURL: "pkg:generic/" + f.Path, Name: f.Path, Version: "1", Path: f.Path}}, nil
}
func (namesOnly) Settle(inv *Inventory) { inv.Packages = inv.Packages[:1] }

func TestInventoryOnly(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]fs.FileMode{"a/lock": 0o600, "a/tool": 0o700, "a/none": 0o600} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), mode); err != nil {
			t.Fatal(err)
		}
	}
	var got []Package
	stats, err := Run(context.Background(), Options{Root: dir, Config: DefaultConfig(), Extractors: []Extractor{namesOnly{t}},
		Inventory: func(inv *Inventory) { got = inv.Packages }}, func(signal.Finding) {})
	if err != nil || stats.Files != 3 || stats.Packages != 1 || len(got) != 1 || got[0].Path != "a/lock" {
		t.Errorf("%+v, %v, %+v", stats, err, got)
	}
}
