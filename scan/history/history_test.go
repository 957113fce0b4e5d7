package history_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/detect"
	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/scan/history"
	"github.com/testudo-sec/testudo/scan/secret"
	"github.com/testudo-sec/testudo/signal"
)

// story is a repository with what a history can have, and what must be found in it.
func story(t *testing.T, args ...string) (*repository, []sight) {
	r := newRepository(t, args...)
	long := strings.Repeat("a line that makes deltas worth while\n", 50)
	r.write("a.txt", "one"+long)
	r.write("dir/b.txt", "b")
	r.write("gone.env", "gone")
	r.write("empty", "")
	if err := os.Symlink("a.txt", filepath.Join(r.dir, "link")); err != nil {
		t.Fatal(err)
	}
	first := r.commit("first")
	r.git("checkout", "-q", "-b", "side")
	r.write("side.txt", "side")
	side := r.commit("side")
	r.git("checkout", "-q", "main")
	r.write("a.txt", "two"+long)
	r.git("mv", "dir/b.txt", "moved.txt")
	r.git("rm", "-q", "gone.env")
	second := r.commit("second")
	r.clock += 3600
	r.git("merge", "-q", "--no-edit", "side")
	r.write("a.txt", "one"+long) // as it was
	r.write("copy/a.txt", "one"+long)
	r.commit("back")
	r.git("checkout", "-q", "--detach")
	r.write("tagged.txt", "tagged")
	tagged := r.commit("tagged")
	r.git("tag", "-a", "-m", "tag", "v1")
	r.git("tag", "-a", "-m", "tag of a tag", "v2", "v1")
	r.git("checkout", "-q", "main")
	r.write("a.txt", "stashed"+long)
	r.clock += 3600
	r.git("stash", "-q")
	stash := r.git("rev-parse", "refs/stash")
	return r, []sight{
		{Path: "a.txt", Data: "one" + long, Commit: first, Author: "Ada, 2020-09-13", Current: true},
		{Path: "a.txt", Data: "stashed" + long, Commit: stash, Author: "Ada, 2020-09-13"},
		{Path: "a.txt", Data: "two" + long, Commit: second, Author: "Ada, 2020-09-13"},
		{Path: "empty", Data: "", Commit: first, Author: "Ada, 2020-09-13", Current: true},
		{Path: "gone.env", Data: "gone", Commit: first, Author: "Ada, 2020-09-13"},
		{Path: "moved.txt", Data: "b", Commit: first, Author: "Ada, 2020-09-13", Was: "dir/b.txt", Current: true},
		{Path: "side.txt", Data: "side", Commit: side, Author: "Ada, 2020-09-13", Current: true},
		{Path: "tagged.txt", Data: "tagged", Commit: tagged, Author: "Ada, 2020-09-13"},
	}
}

// TestLayouts holds that the same is found however the repository is stored.
func TestLayouts(t *testing.T) {
	layouts := map[string]struct {
		init []string
		make func(r *repository) string // returns what to scan
	}{
		"loose":  {nil, func(r *repository) string { return r.dir }},
		"packed": {nil, func(r *repository) string { r.git("gc", "-q", "--aggressive"); return r.dir }},
		"names of bases": {nil, func(r *repository) string {
			r.git("-c", "repack.useDeltaBaseOffset=false", "repack", "-adfq")
			return r.dir
		}},
		"index of version 1": {nil, func(r *repository) string {
			r.git("-c", "pack.indexVersion=1", "repack", "-adq")
			return r.dir
		}},
		"several packs": {nil, func(r *repository) string {
			r.git("repack", "-dq")
			r.write("later", "later")
			r.git("update-ref", "refs/heads/later", r.git("rev-parse", "HEAD"))
			r.git("reset", "-q", "--hard")
			r.git("multi-pack-index", "write")
			return r.dir
		}},
		"below the top": {nil, func(r *repository) string { r.git("pack-refs", "--all"); return filepath.Join(r.dir, "copy") }},
		"sha256":        {[]string{"--object-format=sha256"}, func(r *repository) string { r.git("gc", "-q"); return r.dir }},
		"sha256, loose": {[]string{"--object-format=sha256"}, func(r *repository) string { return r.dir }},
		"the .git folder itself": {nil, func(r *repository) string {
			return filepath.Join(r.dir, ".git")
		}},
		"bare": {nil, func(r *repository) string {
			r.in(filepath.Dir(r.dir), "clone", "-q", "--mirror", r.dir, "bare")
			return filepath.Join(filepath.Dir(r.dir), "bare")
		}},
		"worktree": {nil, func(r *repository) string {
			r.git("worktree", "add", "-q", "../tree", "main", "--force")
			return filepath.Join(filepath.Dir(r.dir), "tree")
		}},
		"alternates inside": {nil, func(r *repository) string {
			r.git("gc", "-q")
			if err := os.Rename(filepath.Join(r.dir, ".git/objects/pack"), filepath.Join(r.dir, "store-pack")); err != nil {
				r.t.Fatal(err)
			}
			r.write("store/pack/x", "")
			os.RemoveAll(filepath.Join(r.dir, "store/pack"))
			if err := os.Rename(filepath.Join(r.dir, "store-pack"), filepath.Join(r.dir, "store/pack")); err != nil {
				r.t.Fatal(err)
			}
			r.write(".git/objects/info/alternates", "../../store\n")
			return r.dir
		}},
		"replaced objects": {nil, func(r *repository) string {
			r.git("replace", r.git("rev-parse", "main~2"), r.git("rev-parse", "v1^{commit}"))
			return r.dir
		}},
	}
	for name, l := range layouts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, want := story(t, l.init...)
			got := collect(t, whole(l.make(r)))
			if d := cmp.Diff(want, got.sorted()); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
			if len(got.skips) > 0 || got.counts[scan.Special] == 0 || got.found != len(want) {
				t.Errorf("%d found, skipped %v, %v", got.found, got.skips, got.counts)
			}
		})
	}
}

// TestAgainstGit draws histories and asks git itself which files they hold, which are in HEAD, and which commits have them.
func TestAgainstGit(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 1))
			r := newRepository(t)
			var commits []string
			for i := range 25 {
				for range 1 + random.IntN(3) {
					name := []string{"a", "b", "d/a", "d/b", "d/e/a", "f/a", "f/d/b"}[random.IntN(7)]
					if random.IntN(4) == 0 {
						os.RemoveAll(filepath.Join(r.dir, strings.Split(name, "/")[0]))
						continue
					}
					if info, err := os.Stat(filepath.Join(r.dir, strings.Split(name, "/")[0])); err == nil && strings.Contains(name, "/") != info.IsDir() {
						continue
					}
					r.write(name, fmt.Sprint("content ", random.IntN(12), strings.Repeat(" and more", random.IntN(40))))
				}
				commits = append(commits, r.commit(fmt.Sprint(i)))
				switch random.IntN(6) {
				case 0:
					r.git("checkout", "-q", "--detach", commits[random.IntN(len(commits))])
				case 1:
					r.clock += 3600
					r.git("merge", "-q", "-s", "ours", "--no-edit", commits[random.IntN(len(commits))])
					commits = append(commits, r.git("rev-parse", "HEAD"))
				}
				r.git("branch", "-f", fmt.Sprint("b", i))
			}
			if seed%2 == 0 {
				r.git("repack", "-adfq", "--depth=50")
			}
			checkAgainstGit(t, r)
		})
	}
}

func checkAgainstGit(t *testing.T, r *repository) {
	t.Helper()
	at := map[string]map[string]string{} // by commit: content by path
	contents := map[string]bool{}
	list := func(commit string) map[string]string {
		out := map[string]string{}
		for line := range strings.Lines(r.git("ls-tree", "-r", commit)) {
			what, name, ok := strings.Cut(strings.TrimSpace(line), "\t")
			if ok {
				out[name] = strings.Fields(what)[2]
				contents[strings.Fields(what)[2]] = true
			}
		}
		return out
	}
	all := strings.Fields(r.git("rev-list", "--all"))
	for _, c := range all {
		at[c] = list(c)
	}
	head := list("HEAD")
	got := collect(t, whole(r.dir))
	if len(got.seen) != len(contents) {
		t.Errorf("%d files given, git knows %d", len(got.seen), len(contents))
	}
	for _, s := range got.seen {
		object := r.feed(r.dir, s.Data, "hash-object", "--stdin")
		path := s.Path
		if s.Was != "" {
			path = s.Was
		}
		inHead := false
		for _, o := range head {
			inHead = inHead || o == object
		}
		if at[s.Commit][path] != object || inHead != s.Current || inHead && head[s.Path] != object {
			t.Errorf("%s in %s: the commit has %q there; current %v, in HEAD %v", path, s.Commit, at[s.Commit][path], s.Current, inHead)
		}
		for _, c := range strings.Fields(r.git("rev-list", s.Commit))[1:] {
			for p, o := range at[c] {
				if o == object {
					t.Errorf("%s was in %s before, at %s", path, c, p)
				}
			}
			if got.orders[c] > got.orders[s.Commit] {
				t.Errorf("%s comes after its descendant %s", c, s.Commit)
			}
		}
	}
}

func TestRanges(t *testing.T) {
	r := newRepository(t)
	r.write("a", "1")
	r.write("same", "same")
	r.commit("1")
	r.git("tag", "v1")
	r.write("a", "2")
	r.commit("2")
	r.git("checkout", "-q", "-b", "other", "v1")
	r.write("o", "o")
	other := r.commit("other")
	r.git("checkout", "-q", "main")
	r.clock += 3600
	r.git("merge", "-q", "--no-edit", "other")
	r.write("a", "3")
	r.write("again", "same")
	r.commit("3")
	for text, want := range map[string]string{
		"v1..":            "a=2 a=3 o=o",
		"v1..main":        "a=2 a=3 o=o",
		"v1..HEAD~1":      "a=2 o=o",
		"refs/tags/v1..@": "a=2 a=3 o=o",
		"other..main":     "a=2 a=3",
		"main..other":     "",
		"v1":              "a=1 same=same",
		other[:9]:         "a=1 o=o same=same",
		other[:8] + "..":  "a=2 a=3",
		"HEAD^..HEAD":     "a=3",
		"HEAD~1^2":        "a=1 o=o same=same",
		"main~2":          "a=1 a=2 same=same",
	} {
		h := whole(r.dir)
		h.Range = text
		if got := collect(t, h).paths(); got != want {
			t.Errorf("%s gives %q, want %q", text, got, want)
		}
	}
	h := whole(r.dir)
	h.Since = time.Unix(1_600_000_000+2*3600, 0)
	if got := collect(t, h).paths(); got != "a=2 a=3 o=o" {
		t.Errorf("since the second commit: %q", got)
	}
	for text, want := range map[string]string{"nope": "nope: no such branch, tag or commit", "v1..nope..x": "no such branch", "v1...main": "two dots",
		"v1~9": "no such parent", "v1^2": "no such parent", "v1^{tree}": "only ~N and ^N", "../../etc/passwd": "no such", "-x": "no such", "ffff": "no such"} {
		h := whole(r.dir)
		h.Range = text
		if err := h.Files(t.Context(), &collector{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// TestUnreachable holds that what no reference leads to is read only if asked for.
func TestUnreachable(t *testing.T) {
	for _, packed := range []bool{false, true} {
		r := newRepository(t)
		r.write("a", "kept")
		r.commit("kept")
		r.write("b", "amended")
		r.commit("to be amended")
		r.write("c", "staged once")
		r.git("add", "c")
		r.git("rm", "-q", "-f", "--cached", "c")
		os.Remove(filepath.Join(r.dir, "c"))
		r.git("reset", "-q", "--hard", "HEAD~1")
		dropped := r.feed(r.dir, "staged once", "hash-object", "--stdin")
		if packed {
			all := r.git("cat-file", "--batch-check=%(objectname)", "--batch-all-objects")
			r.feed(r.dir, all+"\n", "pack-objects", "-q", ".git/objects/pack/pack")
			r.git("prune-packed", "-q")
		}
		if got := collect(t, whole(r.dir)).paths(); got != "a=kept" {
			t.Errorf("reachable: %q", got)
		}
		h := whole(r.dir)
		h.Config.Unreachable = true
		want := "a=kept b=amended unreachable/" + dropped + "=staged once"
		if got := collect(t, h).paths(); got != want {
			t.Errorf("packed %v: unreachable too: %q, want %q", packed, got, want)
		}
		os.RemoveAll(filepath.Join(r.dir, ".git/logs"))
		if got := collect(t, h).paths(); got != want {
			t.Errorf("packed %v: without reflogs: %q, want %q", packed, got, want)
		}
	}
}

// TestIgnored holds that .testudoignore files and excluded patterns leave out paths of the history.
func TestIgnored(t *testing.T) {
	r := newRepository(t)
	r.write("vendor/x", "x")
	r.write("a.gen", "gen")
	r.write("keep", "keep")
	r.write("sub/skip", "skip")
	r.write("sub/keep", "keep too")
	r.commit("1")
	r.git("mv", "vendor", "third")
	r.write("sub/.testudoignore", "/skip\n")
	r.commit("2")
	r.write(".testudoignore", "vendor/\n") // not committed
	h := whole(r.dir)
	h.Scan.Exclude = []string{"*.gen"}
	c := collect(t, h)
	if got := c.paths(); got != "keep=keep sub/.testudoignore=/skip\n sub/keep=keep too third/x=x" || c.counts[scan.Ignored] == 0 {
		t.Errorf("%q, %v", got, c.counts)
	}
	h.Scan.Ignore = false
	if got := collect(t, h).paths(); !strings.Contains(got, "sub/skip") || strings.Contains(got, "a.gen") {
		t.Errorf("without ignore files: %q", got)
	}
}

// TestLimits holds that each limit is said where it is hit.
func TestLimits(t *testing.T) {
	r := newRepository(t)
	r.write("small", "small")
	r.write("large", strings.Repeat("large", 1000))
	r.write("d/d/d/d/deep", "deep")
	r.commit("1")
	r.write("large", strings.Repeat("large", 1001))
	r.commit("2")
	for _, packed := range []bool{false, true} {
		if packed {
			r.git("repack", "-adfq")
		}
		for name, c := range map[string]struct {
			set   func(h *history.History)
			why   scan.Skipped
			count uint64
			files int
		}{
			"size":    {func(h *history.History) { h.Scan.MaxFileSize = 1000 }, scan.TooLarge, 2, 2},
			"depth":   {func(h *history.History) { h.Scan.MaxDepth = 3 }, scan.TooDeep, 1, 3},
			"commits": {func(h *history.History) { h.Config.MaxCommits = 1 }, scan.TooLarge, 1, 3},
			"files":   {func(h *history.History) { h.Config.MaxFiles = 2 }, scan.NoRoom, 1, 2},
		} {
			h := whole(r.dir)
			c.set(h)
			got := collect(t, h)
			if got.counts[c.why] != c.count || len(got.seen) != c.files || len(got.skips) == 0 {
				t.Errorf("%s, packed %v: %d files, %v, %v", name, packed, len(got.seen), got.counts, got.skips)
			}
		}
	}
	h := whole(r.dir)
	h.Config.MaxCommits = 0
	if err := h.Files(t.Context(), &collector{}); err == nil || !strings.Contains(err.Error(), "max_commits") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := whole(r.dir).Files(ctx, &collector{}); err == nil {
		t.Error("an ended context is no error")
	}
}

// TestSameIDs holds that a secret has the same id in the history as in the tree, and is reported once
// though many commits have it.
func TestSameIDs(t *testing.T) {
	r := newRepository(t)
	token, err := detect.Expand("{{github ghp_}}", "history")
	if err != nil {
		t.Fatal(err)
	}
	password, err := detect.Expand("postgres://shop:{{base62 16}}@db.corp.net/shop", "history")
	if err != nil {
		t.Fatal(err)
	}
	var commits []string
	for i := range 5 {
		r.write("deploy.env", fmt.Sprintf("# %d\nTOKEN=%s\nURL=%s\n", i, token, password))
		r.write("old.env", fmt.Sprintf("# %d\nTOKEN=%s\n", i, token))
		commits = append(commits, r.commit(fmt.Sprint(i)))
	}
	r.git("rm", "-q", "old.env")
	r.commit("gone")
	set, err := detect.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	find := func(source scan.Source) map[string]signal.Finding {
		out := map[string]signal.Finding{}
		_, err := scan.Run(t.Context(), scan.Options{Root: r.dir, Source: source, Scanners: []scan.Scanner{secret.New(set)}, Config: scan.DefaultConfig()},
			func(f signal.Finding) {
				if _, twice := out[f.ID]; twice {
					t.Errorf("%s is reported twice", f.Location.Path)
				}
				out[f.ID] = f
			})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	tree, past := find(nil), find(whole(r.dir))
	if len(tree) != 2 || len(past) != 3 {
		t.Fatalf("%d in the tree, %d in the history", len(tree), len(past))
	}
	for id := range tree {
		if _, ok := past[id]; !ok {
			t.Errorf("%s has another id in the history", tree[id].Rule)
		}
	}
	for id, f := range past {
		_, current := tree[id]
		want := fmt.Sprintf("{author Ada, 2020-09-13} {in HEAD %s}", map[bool]string{true: "yes", false: "no"}[current])
		if f.Location.Commit != commits[0] || !strings.Contains(fmt.Sprint(f.Evidence), want) {
			t.Errorf("%s in %s: %v, want %s", f.Location.Path, f.Location.Commit, f.Evidence, want)
		}
	}
}

// TestManyCommits holds that commits are read in memory that does not grow with them: 15,000, and in the long form 100,000.
func TestManyCommits(t *testing.T) {
	n, limit := 15_000, int64(80<<20)
	if os.Getenv("TESTUDO_LONG") != "" {
		n, limit = 100_000, 200<<20
	}
	t.Parallel()
	r := newRepository(t)
	var in strings.Builder
	for i := range n {
		fmt.Fprintf(&in, "commit refs/heads/main\ncommitter A <a@example.com> %d +0000\ndata 1\nx\nM 100644 inline d%d/f%d\ndata 8\n%08d\n", 1_500_000_000+i, i%40, i%1000, i/10)
	}
	r.feed(r.dir, in.String(), "fast-import", "--quiet")
	in.Reset()
	runtime.GC()
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	most := uint64(0)
	files := 0
	c := &collector{discard: true, onFile: func(*scan.File) {
		if files++; files%200 == 0 {
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapAlloc)
		}
	}}
	if err := whole(r.dir).Files(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if files != n/10 || len(c.skips) > 0 {
		t.Errorf("%d files, skipped %v", files, c.skips)
	}
	if used := int64(most) - int64(before.HeapAlloc); used > limit {
		t.Errorf("%d MiB of memory", used>>20)
	} else {
		t.Logf("%d MiB of memory", used>>20)
	}
}
