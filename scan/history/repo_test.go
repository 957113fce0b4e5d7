package history_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/scan/history"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// repository is a real one that a test makes.
type repository struct {
	t     *testing.T
	dir   string
	clock int64
}

func newRepository(t *testing.T, args ...string) *repository {
	t.Helper()
	_, err := exec.LookPath("git")
	require.Part(t, "git", err == nil, "the tests make repositories with it: install the package git")
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := &repository{t: t, dir: filepath.Join(dir, "repo"), clock: 1_600_000_000}
	r.in(dir, append([]string{"init", "-q", "-b", "main"}, append(args, "repo")...)...)
	return r
}

// in runs git in a folder.
func (r *repository) in(dir string, args ...string) string {
	r.t.Helper()
	return r.feed(dir, "", args...)
}

func (r *repository) feed(dir, input string, args ...string) string {
	r.t.Helper()
	c := exec.Command("git", args...)
	c.Dir = dir
	date := fmt.Sprintf("%d +0000", r.clock)
	c.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_SYSTEM="+os.DevNull, "GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com",
		"GIT_COMMITTER_NAME=Bo", "GIT_COMMITTER_EMAIL=bo@example.com", "GIT_AUTHOR_DATE="+date, "GIT_COMMITTER_DATE="+date, "GIT_TERMINAL_PROMPT=0", "LC_ALL=C")
	c.Stdin = strings.NewReader(input)
	out, err := c.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func (r *repository) git(args ...string) string { r.t.Helper(); return r.in(r.dir, args...) }

func (r *repository) write(name, text string) {
	r.t.Helper()
	at := filepath.Join(r.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// commit takes everything in the worktree, an hour after the last one, and returns its name.
func (r *repository) commit(subject string) string {
	r.t.Helper()
	r.clock += 3600
	r.git("add", "-A")
	r.git("commit", "-q", "--allow-empty", "-m", subject)
	return r.git("rev-parse", "HEAD")
}

// sight is a file that a source gave.
type sight struct {
	Path, Data, Commit, Author, Was string
	Current                         bool
}

// collector is a visitor that remembers all it is given.
type collector struct {
	mu      sync.Mutex
	seen    []sight
	orders  map[string]int
	skips   []string
	counts  map[scan.Skipped]uint64
	found   int
	onFile  func(f *scan.File)
	discard bool
	wants   string // the ending of files that are wanted however large
}

func (c *collector) Found(n int, _ bool) { c.mu.Lock(); c.found += n; c.mu.Unlock() }
func (c *collector) Wants(path string, _ fs.FileInfo) bool {
	return c.wants != "" && strings.HasSuffix(path, c.wants)
}
func (c *collector) File(_ context.Context, f *scan.File) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.onFile != nil {
		c.onFile(f)
	}
	if c.discard {
		return
	}
	s := sight{Path: f.Path, Data: string(f.Data), Commit: f.Commit, Current: f.Current}
	for _, e := range f.Evidence {
		switch e.Name {
		case "author":
			s.Author = e.Value
		case "path in that commit":
			s.Was = e.Value
		}
	}
	if c.orders == nil {
		c.orders = map[string]int{}
	}
	c.orders[f.Commit] = f.Order
	c.seen = append(c.seen, s)
}
func (c *collector) Skip(why scan.Skipped, path, reason string) {
	c.Count(why, 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.skips = append(c.skips, path+": "+reason)
}
func (c *collector) Count(why scan.Skipped, n uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil {
		c.counts = map[scan.Skipped]uint64{}
	}
	c.counts[why] += n
}

func (c *collector) sorted() []sight {
	slices.SortFunc(c.seen, func(a, b sight) int { return strings.Compare(a.Path+"\x00"+a.Data, b.Path+"\x00"+b.Data) })
	return c.seen
}

// paths lists "path=data", sorted.
func (c *collector) paths() string {
	var out []string
	for _, s := range c.sorted() {
		out = append(out, s.Path+"="+s.Data)
	}
	return strings.Join(out, " ")
}

func collect(t *testing.T, s scan.Source) *collector {
	t.Helper()
	c := &collector{}
	if err := s.Files(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return c
}

func whole(dir string) *history.History {
	return &history.History{Root: dir, Config: history.DefaultConfig(), Scan: scan.DefaultConfig()}
}
