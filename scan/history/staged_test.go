package history_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/scan/history"
)

// TestStaged holds that what is staged is given, as it is staged, and nothing else.
func TestStaged(t *testing.T) {
	for name, prepare := range map[string]func(r *repository){
		"version 2": func(*repository) {},
		"version 4": func(r *repository) { r.git("update-index", "--index-version=4") },
		"packed":    func(r *repository) { r.git("gc", "-q") },
		"sha256":    nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var r *repository
			if prepare == nil {
				r = newRepository(t, "--object-format=sha256")
			} else {
				r = newRepository(t)
			}
			staged := func() *history.Staged {
				return &history.Staged{Root: r.dir, Config: history.DefaultConfig(), Scan: scan.DefaultConfig()}
			}
			if got := collect(t, staged()).paths(); got != "" {
				t.Errorf("nothing was ever staged: %q", got)
			}
			r.write("first", "1")
			r.git("add", "first")
			if got := collect(t, staged()).paths(); got != "first=1" {
				t.Errorf("before the first commit: %q", got)
			}
			for _, f := range []string{"a", "b", "deep/folder/c", "gone", "skip.gen", "deep/folder/moved"} {
				r.write(f, "old "+f)
			}
			r.commit("1")
			if got := collect(t, staged()).paths(); got != "" {
				t.Errorf("nothing is staged: %q", got)
			}
			r.write("a", "staged")
			r.write("deep/folder/new", "new")
			r.write("skip.gen", "skip")
			r.write(".testudoignore", "*.gen")
			r.git("add", "-A")
			r.git("rm", "-q", "gone")
			r.git("mv", "deep/folder/moved", "moved")
			r.write("a", "edited since")
			r.write("b", "not staged")
			r.write("intended", "not yet")
			r.git("add", "-N", "intended")
			if err := os.Symlink("a", filepath.Join(r.dir, "link")); err != nil {
				t.Fatal(err)
			}
			r.git("add", "link")
			if prepare != nil {
				prepare(r)
			}
			c := collect(t, staged())
			if got := c.paths(); got != ".testudoignore=*.gen a=staged deep/folder/new=new moved=old deep/folder/moved" {
				t.Errorf("%q", got)
			}
			if c.counts[scan.Ignored] != 1 || c.counts[scan.Special] != 1 || len(c.skips) > 0 || c.seen[0].Commit != "" {
				t.Errorf("%v, %v", c.counts, c.skips)
			}
			r.git("update-index", "--split-index")
			if err := staged().Files(t.Context(), &collector{}); err == nil || !strings.Contains(err.Error(), "git update-index --no-split-index") {
				t.Errorf("split index: %v", err)
			}
		})
	}
}

// TestStagedConflict holds that every side of a conflict is given.
func TestStagedConflict(t *testing.T) {
	r := newRepository(t)
	r.write("a", "base")
	r.commit("1")
	r.git("checkout", "-q", "-b", "side")
	r.write("a", "theirs")
	r.commit("2")
	r.git("checkout", "-q", "main")
	r.write("a", "ours")
	r.commit("3")
	r.git("-c", "merge.conflictStyle=merge", "rerere", "clear")
	_ = os.WriteFile(filepath.Join(r.dir, "merge.sh"), nil, 0o600)
	r.feed(r.dir, strings.NewReplacer("BASE", r.git("rev-parse", "main~1:a"), "OURS", r.git("rev-parse", "main:a"), "THEIRS", r.git("rev-parse", "side:a")).Replace(
		"0 0000000000000000000000000000000000000000\ta\n100644 BASE 1\ta\n100644 OURS 2\ta\n100644 THEIRS 3\ta\n"), "update-index", "--index-info")
	c := collect(t, &history.Staged{Root: r.dir, Config: history.DefaultConfig(), Scan: scan.DefaultConfig()})
	if got := c.paths(); got != "a=base a=theirs" {
		t.Errorf("%q", got)
	}
}

// TestChanges holds that the files of a branch are given that are not the same where it left its base.
func TestChanges(t *testing.T) {
	r := newRepository(t)
	r.write("same", "same")
	r.write("a", "1")
	r.write("b", "1")
	r.write("gone", "1")
	r.commit("1")
	r.git("checkout", "-q", "-b", "feature")
	r.write("a", "2")
	r.write("d/new", "new")
	r.write("d/copy", "same")
	r.write("left.gen", "x")
	r.write("d/.testudoignore", "")
	r.write(".testudoignore", "*.gen")
	r.git("rm", "-q", "gone")
	r.commit("2")
	r.git("checkout", "-q", "main")
	r.write("b", "2")
	r.write("main-only", "x")
	r.commit("3")
	r.git("checkout", "-q", "feature")
	changes := func(base, revision string) *history.Changes {
		return &history.Changes{Root: r.dir, Base: base, Revision: revision, Config: history.DefaultConfig(), Scan: scan.DefaultConfig()}
	}
	const want = ".testudoignore=*.gen a=2 d/.testudoignore= d/copy=same d/new=new"
	if got := collect(t, changes("main", "")).paths(); got != want {
		t.Errorf("%q", got)
	}
	paths, err := changes("main", "").Paths(t.Context())
	if got := strings.Join(paths, " "); err != nil || got != ".testudoignore a d/.testudoignore d/copy d/new left.gen" {
		t.Errorf("%q, %v", got, err)
	}
	r.clock += 3600
	r.git("merge", "-q", "--no-edit", "main")
	if got := collect(t, changes("main", "")).paths(); got != want {
		t.Errorf("after a merge of the base: %q", got)
	}
	if got := collect(t, changes("feature", "main")).paths(); got != "" {
		t.Errorf("nothing that is not in the base: %q", got)
	}
	if got := collect(t, changes("HEAD", "")).paths(); got != "" {
		t.Errorf("against itself: %q", got)
	}
	// A clone of depth one knows no common commit: the two are compared as they are.
	shallow := filepath.Join(filepath.Dir(r.dir), "shallow")
	r.in(filepath.Dir(r.dir), "clone", "-q", "--no-local", "--depth=1", "--no-single-branch", "file://"+r.dir, shallow)
	r.git("checkout", "-q", "main")
	c := changes("origin/main", "origin/feature")
	c.Root = shallow
	if got := collect(t, c).paths(); got != want {
		t.Errorf("shallow: %q", got)
	}
	if err := changes("nope", "").Files(t.Context(), &collector{}); err == nil || !strings.Contains(err.Error(), "nope: no such branch") {
		t.Errorf("%v", err)
	}
	s := &history.Snapshot{Root: r.dir, Revision: "main~1", Config: history.DefaultConfig(), Scan: scan.DefaultConfig()}
	if got := collect(t, s).paths(); got != "a=1 b=1 gone=1 same=same" {
		t.Errorf("snapshot: %q", got)
	}
}
