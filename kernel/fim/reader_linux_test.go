package fim

import (
	"context"
	"crypto/md5" //nolint:gosec // what dpkg records
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/software"
)

// tree makes files below a root of the test: a path that ends with a slash is a folder, "a -> b" a link.
func tree(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		link, target, isLink := strings.Cut(name, " -> ")
		at := filepath.Join(root, link)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch {
		case isLink:
			err = os.Symlink(target, at)
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(at, 0o755)
		default:
			err = os.WriteFile(at, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func readerOf(root string, change func(*Config)) *Reader {
	cfg := Default()
	cfg.Paths = []string{"/etc", "/usr/bin", "/bin"}
	if change != nil {
		change(&cfg)
	}
	return NewReader(cfg, root, software.New(software.Default(), root))
}

// all pages through what is watched.
func all(t *testing.T, r *Reader, limit int) (files []kernel.File, full bool) {
	t.Helper()
	var after kernel.FilePath
	for range 1000 {
		a, err := r.Examine(t.Context(), kernel.ExamineRequest{After: after, Limit: limit})
		if err != nil {
			t.Fatal(err)
		}
		files, full = append(files, a.Files...), full || a.Full
		if after = a.After; after == "" {
			return files, full
		}
		if len(a.Files) != limit {
			t.Fatalf("a page of %d files, want %d", len(a.Files), limit)
		}
	}
	t.Fatal("the pages do not end")
	return nil, false
}

func TestReaderPages(t *testing.T) {
	root := t.TempDir()
	odd := "etc/\xff\x1b[2J\n\u202e"
	tree(t, root, map[string]string{"etc/passwd": "root", "etc/a/b": "1", "etc/a-b": "2", "etc/a.swp": "x", "etc/mtab": "x", odd: "3", "usr/bin/ls": "4",
		"bin -> usr/bin": "", "etc/link -> /root/secret": "", "etc/empty/": "", "root/secret": "no"})
	if err := unix.Mkfifo(filepath.Join(root, "etc/pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := []string{"/bin", "/etc", "/etc/a", "/etc/a/b", "/etc/a-b", "/etc/empty", "/etc/link", "/etc/passwd", "/etc/pipe", "/" + odd, "/usr/bin", "/usr/bin/ls"}
	slices.SortFunc(want, comparePaths)
	for _, limit := range []int{1, 2, 3, 5, 100} {
		if limit == 100 {
			limit = kernel.MaxExamined
		}
		var got []string
		files, full := func() ([]kernel.File, bool) {
			if limit < kernel.MaxExamined {
				return all(t, readerOf(root, nil), limit)
			}
			a, err := readerOf(root, nil).Examine(t.Context(), kernel.ExamineRequest{Limit: 1 << 30})
			if err != nil {
				t.Fatal(err)
			}
			return a.Files, a.Full
		}()
		for i := range files {
			f := &files[i]
			got = append(got, string(f.Path))
			switch string(f.Path) {
			case "/etc/passwd":
				if f.SHA256 != Digest([]byte("root")) || f.Mode != typeFile|0o644 || f.Size != 4 || f.Unread != "" {
					t.Errorf("%+v", f)
				}
			case "/etc/link":
				if f.Target != "/root/secret" || f.SHA256 != "" {
					t.Errorf("%+v", f)
				}
			case "/etc/pipe":
				if f.SHA256 != "" || f.Mode&typeMask != 0o010000 {
					t.Errorf("%+v", f)
				}
			}
		}
		if d := cmp.Diff(want, got); d != "" || full {
			t.Errorf("pages of %d, full %v (-want +got):\n%s", limit, full, d)
		}
	}
}

// What is not watched is not answered, however it is asked for.
func TestReaderStaysInside(t *testing.T) {
	root := t.TempDir()
	tree(t, root, map[string]string{"etc/a/f": "1", "etc/mtab": "x", "root/secret": "no", "etc/out -> ../root": "", "etc/way -> a": "", "etc/abs -> /root/secret": "", "etcetera/x": "1"})
	r := readerOf(root, nil)
	for _, p := range []kernel.FilePath{"/root/secret", "/etc/../root/secret", "/etcetera/x", "/etc/mtab", "/etc/", "etc/a/f", "", "/", "/etc//a/f", "/etc/./a"} {
		if a, err := r.Examine(t.Context(), kernel.ExamineRequest{Paths: []kernel.FilePath{p}}); err == nil {
			t.Errorf("%q is answered: %+v", p, a.Files)
		}
	}
	many := slices.Repeat([]kernel.FilePath{"/etc/a/f"}, kernel.MaxExamined+1)
	if _, err := r.Examine(t.Context(), kernel.ExamineRequest{Paths: many}); err == nil {
		t.Error("more files than the limit are answered")
	}
	a, err := r.Examine(t.Context(), kernel.ExamineRequest{Paths: []kernel.FilePath{"/etc/out/secret", "/etc/way/f", "/etc/abs", "/etc/nothing", "/etc/a/f/x", "/etc/a/f"}})
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range a.Files {
		switch i {
		case 2:
			if f.SHA256 != "" || f.Target != "/root/secret" {
				t.Errorf("a link is followed: %+v", f)
			}
		case 5:
			if f.SHA256 != Digest([]byte("1")) {
				t.Errorf("%+v", f)
			}
		default:
			if f.Exists || f.SHA256 != "" {
				t.Errorf("%s is followed: %+v", f.Path, f)
			}
		}
	}
}

func TestReaderLimits(t *testing.T) {
	root := t.TempDir()
	files := map[string]string{"etc/large": strings.Repeat("x", 4096)}
	for i := range 30 {
		files[fmt.Sprintf("etc/many/%02d", i)] = ""
	}
	tree(t, root, files)
	got, full := all(t, readerOf(root, func(c *Config) { c.MaxSize, c.MaxFiles = 1024, 10 }), 4)
	if !full || len(got) != 13 { // the folders, the large one, and ten of the many
		t.Errorf("%d files, full %v", len(got), full)
	}
	for _, f := range got {
		if f.Path == "/etc/large" && (f.SHA256 != "" || !strings.Contains(f.Unread, "larger than 1KiB")) {
			t.Errorf("%+v", f)
		}
		if f.Path == "/etc/many/10" {
			t.Error("not the first ones by name are kept")
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := readerOf(root, nil).Examine(ctx, kernel.ExamineRequest{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// A file that changes while it is read is read again; one that never stands still says so.
func TestReaderOfChangingFiles(t *testing.T) {
	root := t.TempDir()
	tree(t, root, map[string]string{"etc/f": "0"})
	at := filepath.Join(root, "etc/f")
	r := readerOf(root, nil)
	real := r.programs
	var n atomic.Int64
	r.programs = programFunc(func(ctx context.Context, ref kernel.FileRef) (kernel.Executable, error) {
		if n.Add(1) == 1 { // between the look at its inode and the one at its content
			if err := os.WriteFile(at, []byte("other"), 0o644); err != nil {
				t.Error(err)
			}
		}
		return real.Executable(ctx, ref)
	})
	ask := kernel.ExamineRequest{Paths: []kernel.FilePath{"/etc/f"}}
	a, err := r.Examine(t.Context(), ask)
	if err != nil || a.Files[0].SHA256 != Digest([]byte("other")) || a.Files[0].Size != 5 {
		t.Errorf("%+v %v", a.Files, err)
	}
	r.programs = programFunc(func(ctx context.Context, ref kernel.FileRef) (kernel.Executable, error) {
		if err := os.WriteFile(at, fmt.Appendf(nil, "%d", n.Add(1)*1000), 0o644); err != nil {
			t.Error(err)
		}
		return real.Executable(ctx, ref)
	})
	a, err = r.Examine(t.Context(), ask)
	if err != nil || a.Files[0].SHA256 != "" || a.Files[0].Unread == "" || !a.Files[0].Exists {
		t.Errorf("%+v %v", a.Files, err)
	}
}

type programFunc func(context.Context, kernel.FileRef) (kernel.Executable, error)

func (f programFunc) Executable(ctx context.Context, r kernel.FileRef) (kernel.Executable, error) {
	return f(ctx, r)
}

func TestReaderKnowsPackages(t *testing.T) {
	root := t.TempDir()
	sum := func(s string) string { h := md5.Sum([]byte(s)); return hex.EncodeToString(h[:]) } //nolint:gosec // what dpkg records
	tree(t, root, map[string]string{
		"usr/bin/good": "good", "usr/bin/bad": "changed", "usr/bin/own": "own", "bin -> usr/bin": "",
		"var/lib/dpkg/status":            "Package: tool\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.2-3\n\n",
		"var/lib/dpkg/info/tool.list":    "/.\n/usr\n/usr/bin\n/usr/bin/good\n/usr/bin/bad\n",
		"var/lib/dpkg/info/tool.md5sums": sum("good") + "  usr/bin/good\n" + sum("bad") + "  usr/bin/bad\n",
	})
	a, err := readerOf(root, nil).Examine(t.Context(), kernel.ExamineRequest{Paths: []kernel.FilePath{"/usr/bin/good", "/usr/bin/bad", "/usr/bin/own"}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range a.Files {
		got = append(got, fmt.Sprintf("%s %q %v", f.Path, f.Package, f.Altered))
	}
	if d := cmp.Diff([]string{`/usr/bin/good "tool 1.2-3" false`, `/usr/bin/bad "tool 1.2-3" true`, `/usr/bin/own "" false`}, got); d != "" {
		t.Error(d)
	}
}
