package history_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/scan/history"
)

// TestFork: a change is compared with where it began, not with what the base became since.
func TestFork(t *testing.T) {
	r := newRepository(t)
	r.write("policy.yaml", "fail_on: high\n")
	r.write("a.txt", "one\n")
	r.commit("first")
	r.git("branch", "-M", "main")
	r.git("checkout", "-q", "-b", "change")
	r.write("a.txt", "changed\n")
	r.write("policy.yaml", "fail_on: never\n")
	r.commit("mine")
	r.git("checkout", "-q", "main")
	r.write("b.txt", "of others\n")
	r.commit("theirs")
	r.git("checkout", "-q", "change")
	f := &history.Fork{Root: r.dir, Base: "main", Config: history.DefaultConfig(), Scan: scan.DefaultConfig()}
	if got := collect(t, f).paths(); got != "a.txt=one\n policy.yaml=fail_on: high\n" {
		t.Errorf("the state that the change began at has %s", got)
	}
	for name, want := range map[string]string{"policy.yaml": "fail_on: high\n", "a.txt": "one\n", "b.txt": "of others\n", "../a.txt": ""} {
		got, err := f.ReadFile(t.Context(), name, 1<<20)
		if err != nil || string(got) != want {
			t.Errorf("%s: %q, %v, want %q", name, got, err, want)
		}
	}
	if _, err := f.ReadFile(t.Context(), "a.txt", 2); err == nil {
		t.Error("a file above the limit is read")
	}
	f.Base = "nowhere"
	if _, err := f.ReadFile(t.Context(), "a.txt", 2); err == nil {
		t.Error("a base that is not there")
	}
}

// TestForkOfOld: a change does not choose an older state of its base to be compared with, by merging that.
func TestForkOfOld(t *testing.T) {
	r := newRepository(t)
	r.write("a.txt", "bad\n")
	old := r.commit("bad")
	r.git("branch", "-M", "main")
	r.git("checkout", "-q", "-b", "side")
	r.write("c.txt", "side\n")
	side := r.commit("side")
	r.git("checkout", "-q", "main")
	r.write("a.txt", "mended\n")
	mended := r.commit("mended")
	r.git("merge", "-q", "--no-ff", "-m", "theirs", side)
	tip := r.git("rev-parse", "HEAD")
	r.write("a.txt", "bad\n")
	r.git("add", "-A")
	tree := r.git("write-tree")
	for name, c := range map[string]struct {
		parents []string
		max     int
		want    string
	}{
		"old first":                  {[]string{old, tip}, 0, "a.txt=mended\n c.txt=side\n"},
		"old last":                   {[]string{tip, old}, 0, "a.txt=mended\n c.txt=side\n"},
		"an old one alone":           {[]string{mended}, 0, "a.txt=mended\n"},
		"two lines":                  {[]string{old, side, mended}, 0, "a.txt=mended\n c.txt=side\n"},
		"more commits than are read": {[]string{old, tip}, 4, "a.txt=mended\n c.txt=side\n"},
		"a base of more commits":     {[]string{old, tip}, 2, "a.txt=mended\n c.txt=side\n"},
	} {
		args := []string{"commit-tree", "-m", name}
		for _, p := range c.parents {
			args = append(args, "-p", p)
		}
		f := &history.Fork{Root: r.dir, Base: "main", Revision: r.git(append(args, tree)...), Config: history.DefaultConfig(), Scan: scan.DefaultConfig()}
		if c.max > 0 {
			f.Config.MaxCommits = c.max
		}
		if got := collect(t, f).paths(); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// TestForkBeside: who reads a file of the base can look at what stands beside it, as in a folder, and at files of packages that are large.
func TestForkBeside(t *testing.T) {
	sub := newRepository(t)
	sub.write("in/lib.txt", "one\n")
	sub.commit("first")
	r := newRepository(t)
	r.write("a.txt", "a\n")
	r.write("d/b.txt", "b\n")
	r.write("d/e/large.lock", strings.Repeat("x", 3000))
	r.write("d/large.txt", strings.Repeat("y", 3000))
	if err := os.Symlink("b.txt", filepath.Join(r.dir, "d/aside.lock")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("e/large.lock", filepath.Join(r.dir, "d/same.lock")); err != nil {
		t.Fatal(err)
	}
	r.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", sub.dir, "d/sub")
	r.commit("first")
	r.git("branch", "-M", "main")
	f := &history.Fork{Root: r.dir, Base: "main", Config: history.DefaultConfig(), Scan: scan.DefaultConfig()}
	f.Scan.MaxFileSize = 1000
	for below, want := range map[string]struct{ own, nested string }{
		"":  {".gitmodules a.txt d/b.txt d/e/large.lock d/large.txt", "d/sub/in/lib.txt"},
		"d": {"b.txt e/large.lock large.txt", "sub/in/lib.txt"},
	} {
		f.Below = below
		seen := 0
		c := &collector{wants: ".lock"}
		c.onFile = func(file *scan.File) {
			names := want.own
			if strings.HasSuffix(file.Path, "lib.txt") {
				names = want.nested
			}
			if err := fstest.TestFS(file.FS, strings.Fields(names)...); err != nil {
				t.Errorf("below %q: beside %s: %v", below, file.Path, err)
			}
			if !strings.Contains(" "+names+" ", " "+file.Name+" ") {
				t.Errorf("below %q: %s is not in its tree", below, file.Name)
			}
			if strings.HasSuffix(file.Path, ".lock") {
				content := make([]byte, 3001)
				n, _ := file.Content.ReadAt(content, 0)
				if seen++; n != 3000 || file.Data != nil || file.Info.Size() != 3000 {
					t.Errorf("%s: %d bytes, %d to be searched, size %d", file.Path, n, len(file.Data), file.Info.Size())
				}
			}
		}
		if err := f.Files(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		slices.Sort(c.skips)
		if seen != 1 || len(c.skips) != 2 || !strings.Contains(c.skips[0], "aside.lock → b.txt: a link") || !strings.Contains(c.skips[1], "large.txt: object") {
			t.Errorf("below %q: %d large files, skipped %q", below, seen, c.skips)
		}
	}
}

func TestForkTracked(t *testing.T) {
	r := newRepository(t)
	for _, name := range []string{"d/build/in/lock", "d/in/build.txt", "d/e/a.log", "d/e/kept.log", "d/kept", "build/x"} {
		r.write(name, "x")
	}
	r.commit("first")
	ignores := map[string][]byte{".gitignore": []byte("build/\n*.log\n"), "e/.gitignore": []byte("!kept.log\n")}
	for below, want := range map[string]string{"d": "build build/in build/in/lock e e/a.log", "": "build build/x d d/build d/build/in d/build/in/lock d/e d/e/a.log d/e/kept.log"} {
		f := &history.Fork{Root: r.dir, Base: "nowhere", Below: below, Config: history.DefaultConfig(), Scan: scan.DefaultConfig()}
		out, err := f.Tracked(t.Context(), ignores)
		if got := strings.Join(slices.Sorted(maps.Keys(out)), " "); err != nil || got != want {
			t.Errorf("below %q: %s, %v", below, got, err)
		}
	}
}

// TestForkNested: submodules that are checked out count with the commits that the state names.
func TestForkNested(t *testing.T) {
	sub := newRepository(t)
	sub.write("lib.txt", "one\n")
	sub.commit("first")
	r := newRepository(t)
	r.write("a.txt", "a\n")
	r.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", sub.dir, "deep/sub")
	r.commit("first")
	r.git("branch", "-M", "main")
	r.git("checkout", "-q", "-b", "change")
	in := filepath.Join(r.dir, "deep/sub")
	if err := os.WriteFile(filepath.Join(in, "lib.txt"), []byte("two\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.in(in, "commit", "-q", "-a", "-m", "second")
	r.commit("newer")
	f := &history.Fork{Root: r.dir, Base: "main", Config: history.DefaultConfig(), Scan: scan.DefaultConfig()}
	got := collect(t, f).paths()
	if !strings.Contains(got, "deep/sub/lib.txt=one\n") || !strings.Contains(got, "a.txt=a\n") {
		t.Errorf("%q", got)
	}
	f.Below = "deep"
	if got := collect(t, f).paths(); got != "sub/lib.txt=one\n" {
		t.Errorf("below: %q", got)
	}
	// One that is a link now leads nowhere.
	if err := os.RemoveAll(in); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(sub.dir, in); err != nil {
		t.Fatal(err)
	}
	if got := collect(t, f).paths(); got != "" {
		t.Errorf("a link is followed: %q", got)
	}
}
