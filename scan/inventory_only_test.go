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

// byName wants files by name, whatever their size.
type byName struct{}

func (byName) Name() string                          { return "by name" }
func (byName) Wants(path string, _ fs.FileInfo) bool { return filepath.Base(path) == "lock" }
func (byName) Extract(_ context.Context, f *File) ([]Package, error) {
	return []Package{{PURL: "pkg:generic/" + f.Path, Name: f.Path, Version: "1", Path: f.Path}}, nil
}

// beginnings is an opener that looks at how files begin.
type beginnings struct{ seen chan string }

func (b beginnings) Open(f *File) Source { b.seen <- f.Path; return nil }

type quietScanner struct{}

func (quietScanner) Name() string                              { return "quiet" }
func (quietScanner) Scan(context.Context, *File, Report) error { return nil }

// TestLargeAndUnread: a large file that nobody would read is not left out of a list of packages; of a search for secrets it is.
func TestLargeAndUnread(t *testing.T) {
	dir := t.TempDir()
	for name, size := range map[string]int{"bundle.js": 3000, "lock": 3000, "small.js": 10} {
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		scanners []Scanner
		tooLarge uint64
		files    uint64
	}{"packages": {nil, 0, 3}, "secrets too": {[]Scanner{quietScanner{}}, 1, 2}} {
		o := Options{Root: dir, Config: DefaultConfig(), Scanners: c.scanners, Extractors: []Extractor{byName{}}, Openers: []Opener{beginnings{make(chan string, 10)}}}
		o.Config.MaxFileSize = 1000
		stats, err := Run(context.Background(), o, func(signal.Finding) {})
		if err != nil || stats.TooLarge != c.tooLarge || stats.Files != c.files || stats.Packages != 1 {
			t.Errorf("%s: %+v, %v", name, stats, err)
		}
		if n := len(o.Openers[0].(beginnings).seen); n != 2 { // the small one, and the one that is wanted
			t.Errorf("%s: %d files were looked into", name, n)
		}
	}
}
