package scan_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/testudo-sec/testudo/internal/bytesize"
	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/signal"
)

func write(t *testing.T, root, name, text string) {
	t.Helper()
	at := filepath.Join(root, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestFilesNamed holds that of named files those are read that a walk over the tree would read, and no others.
func TestFilesNamed(t *testing.T) {
	top := t.TempDir()
	root, outside := filepath.Join(top, "root"), filepath.Join(top, "outside")
	for name, text := range map[string]string{"a": "NEEDLE", "dir/b": "NEEDLE", "dir/deep/c": "NEEDLE", "build/d": "NEEDLE", "dir/e.log": "NEEDLE", "dir/not": "NEEDLE",
		".gitignore": "build/\n", "dir/.testudoignore": "*.log\n", ".git/config": "NEEDLE", "large": strings.Repeat("NEEDLE", 1000)} {
		write(t, root, name, text)
	}
	write(t, outside, "f", "NEEDLE")
	for link, target := range map[string]string{"link": "../outside/f", "folder": "../outside"} {
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	config := scan.DefaultConfig()
	config.MaxFileSize = 5000
	m := &marker{}
	paths := []string{"a", "./a", filepath.Join(root, "dir/b"), "dir/deep/c", "build/d", "dir/e.log", ".git/config", "link", "folder/f", "../outside/f",
		filepath.Join(outside, "f"), "dir", "missing", "large"}
	stats, err := scan.Run(t.Context(), scan.Options{Source: &scan.Files{Root: root, Paths: paths, Config: config}, Scanners: []scan.Scanner{m}, Config: config}, func(signal.Finding) {})
	if err != nil {
		t.Fatal(err)
	}
	if stats.Files != 3 || m.seen["a"] == "" || m.seen["dir/b"] == "" || m.seen["dir/deep/c"] == "" || m.fails != "" {
		t.Errorf("read: %v", m.seen)
	}
	// Ignored: build/d, dir/e.log, .git/config; special: link, dir; unreadable: folder/f, two outside, missing.
	if stats.Ignored != 3 || stats.Special != 2 || stats.Unreadable != 4 || stats.TooLarge != 1 {
		t.Errorf("%+v", stats)
	}
	if _, err := scan.Run(t.Context(), scan.Options{Source: &scan.Files{Root: filepath.Join(top, "none"), Config: config}, Scanners: []scan.Scanner{m}, Config: config}, nil); err == nil {
		t.Error("no error for a folder that is not there")
	}
}

// TestStream holds that a stream is one file, and that of a long one the beginning is read and the rest said.
func TestStream(t *testing.T) {
	for _, c := range []struct {
		text      string
		limit     bytesize.Size
		seen      int
		truncated uint64
	}{{"NEEDLE", 6, 6, 0}, {"NEEDLE and more", 6, 6, 1}, {"", 6, 0, 0}} {
		config := scan.DefaultConfig()
		config.MaxFileSize = c.limit
		m := &marker{}
		source := &scan.Stream{Name: "in.env", Reader: iotest.OneByteReader(strings.NewReader(c.text)), Config: config}
		stats, err := scan.Run(t.Context(), scan.Options{Source: source, Scanners: []scan.Scanner{m}, Config: config}, func(signal.Finding) {})
		if err != nil || len(m.seen["in.env"]) != c.seen || stats.TooLarge != c.truncated || stats.Files != 1 {
			t.Errorf("%q: %v, %v, %+v", c.text, err, m.seen, stats)
		}
	}
	config := scan.DefaultConfig()
	source := &scan.Stream{Name: "in", Reader: iotest.ErrReader(os.ErrClosed), Config: config}
	if _, err := scan.Run(t.Context(), scan.Options{Source: source, Scanners: []scan.Scanner{&marker{}}, Config: config}, nil); err == nil {
		t.Error("no error for a stream that cannot be read")
	}
}
