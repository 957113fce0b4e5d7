package history

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"

	"github.com/testudo-sec/testudo/scan"
)

// Snapshot is the files of one commit.
type Snapshot struct {
	Root     string
	Revision string // a branch, a tag or a commit; HEAD if empty
	Config   Config
	Scan     scan.Config
}

// Files implements scan.Source.
func (s *Snapshot) Files(ctx context.Context, v scan.Visitor) error {
	w, err := begin(s.Root, s.Config, s.Scan, v)
	if err != nil {
		return err
	}
	defer w.end()
	o, err := w.rd.revision(orHead(s.Revision))
	if err != nil {
		return fmt.Errorf("scan a commit of %s: %w", scan.Printable(s.Root), err)
	}
	return w.give(ctx, w.flatten(ctx, w.treeOf(o)), func(string, id) bool { return true })
}

// Changes is the files of a commit that are not the same where its branch left another: what a merge would bring. Where the two
// have no commit in common, or the clone is too shallow to know, they are compared as they are.
type Changes struct {
	Root     string
	Base     string // what it would be merged into: a branch, a tag or a commit
	Revision string // HEAD if empty
	Config   Config
	Scan     scan.Config
}

// Files implements scan.Source.
func (c *Changes) Files(ctx context.Context, v scan.Visitor) error {
	w, err := begin(c.Root, c.Config, c.Scan, v)
	if err != nil {
		return err
	}
	defer w.end()
	now, bases, err := c.resolve(ctx, w)
	if err != nil {
		return fmt.Errorf("scan the changes in %s: %w", scan.Printable(c.Root), err)
	}
	if len(bases) == 0 {
		v.Found(0, true)
		return ctx.Err()
	}
	var before []map[string]id
	for _, b := range bases {
		before = append(before, w.flatten(ctx, b))
	}
	return w.give(ctx, w.flatten(ctx, now), func(at string, o id) bool {
		return !slices.ContainsFunc(before, func(m map[string]id) bool { was, ok := m[at]; return ok && was == o })
	})
}

// Paths returns what is changed, sorted, ignore files aside.
func (c *Changes) Paths(ctx context.Context) ([]string, error) {
	w, err := begin(c.Root, c.Config, c.Scan, nobody{})
	if err != nil {
		return nil, err
	}
	defer w.end()
	now, bases, err := c.resolve(ctx, w)
	if err != nil {
		return nil, fmt.Errorf("list the changes in %s: %w", scan.Printable(c.Root), err)
	}
	var out []string
	var before []map[string]id
	for _, b := range bases {
		before = append(before, w.flatten(ctx, b))
	}
	if len(bases) > 0 {
		for at, o := range w.flatten(ctx, now) {
			if !slices.ContainsFunc(before, func(m map[string]id) bool { was, ok := m[at]; return ok && was == o }) {
				out = append(out, at)
			}
		}
	}
	slices.Sort(out)
	return out, ctx.Err()
}

// resolve returns the tree of the commit, and those that it is to be compared with; none if it brings nothing.
func (c *Changes) resolve(ctx context.Context, w *reading) (now id, before []id, err error) {
	base, err := w.rd.revision(c.Base)
	if err != nil {
		return none, nil, err
	}
	to, err := w.rd.revision(orHead(c.Revision))
	if err != nil {
		return none, nil, err
	}
	g := newGraph(w.rd, time.Time{}, c.Config.MaxCommits, func(string, error) {}) // a shallow clone lacks much, and may
	if err := g.add(ctx, base, true); err != nil {
		return none, nil, err
	}
	if err := g.add(ctx, to, false); err != nil {
		return none, nil, err
	}
	order, _ := g.order()
	if n, ok := g.index[to]; ok && n >= 0 && g.commits[n].hidden {
		return none, nil, nil
	}
	if !g.full { // else it is not known where it left the base
		before = g.forks(order)
	}
	if len(before) == 0 {
		before = []id{w.treeOf(base)}
	}
	return w.treeOf(to), before, nil
}

// forks returns the trees of the hidden commits that the others stand on, the newest of each line alone: who merges an old state of the base
// into a branch that has a newer one began at the newer one.
func (g *graph) forks(order []int32) (trees []id) {
	edge, older := make([]bool, len(g.commits)), make([]bool, len(g.commits))
	for i := range g.commits {
		if !g.commits[i].hidden {
			for _, p := range g.commits[i].parents {
				edge[p] = g.commits[p].hidden
			}
		}
	}
	for _, n := range slices.Backward(order) { // children first
		c := &g.commits[n]
		if edge[n] && !older[n] && c.tree != none && !slices.Contains(trees, c.tree) && len(trees) < maxForks {
			trees = append(trees, c.tree)
		}
		if edge[n] || older[n] {
			for _, p := range c.parents {
				older[p] = true
			}
		}
	}
	return trees
}

// maxForks bounds the states that a commit is compared with.
const maxForks = 100

// give offers files of a tree.
func (w *reading) give(ctx context.Context, tree map[string]id, wanted func(path string, o id) bool) error {
	var list, ignores []version
	for at, o := range tree {
		f := version{object: o, commit: -1, path: at}
		if isIgnoreFile(at) && len(ignores) < 1000 {
			ignores = append(ignores, f)
		}
		if wanted(at, o) {
			list = append(list, f)
		}
	}
	w.files = newTreeFiles(w, tree)
	return w.offer(ctx, nil, w.keep(w.ignoreLists(ignores), list))
}

func isIgnoreFile(at string) bool { return path.Base(at) == ignoreFile }

func orHead(revision string) string {
	if revision == "" {
		return "HEAD"
	}
	return revision
}

// nobody is a visitor for those who only look.
type nobody struct{}

func (nobody) Found(int, bool)                   {}
func (nobody) Wants(string, fs.FileInfo) bool    { return false }
func (nobody) File(context.Context, *scan.File)  {}
func (nobody) Skip(scan.Skipped, string, string) {}
func (nobody) Count(scan.Skipped, uint64)        {}
