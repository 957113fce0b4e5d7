package history

import (
	"context"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/testudo-sec/testudo/scan"
)

const (
	maxNested      = 200 // submodules
	maxNestedDepth = 4   // of submodules in each other
	maxLinkEntries = 5_000_000
)

// nested offers the files of the submodules in a tree, as the commits that it names have them: where their worktrees are checked out, a scan
// of the folder reads them too. One that cannot be read is left out: what is in it then counts as new.
func (w *reading) nested(ctx context.Context, tree id, folder, prefix string, depth int) error {
	top, err := filepath.EvalSymlinks(w.repo.top)
	if err != nil || depth >= maxNestedDepth || w.repo.bare {
		return nil
	}
	links, left := map[string]string{}, maxLinkEntries
	w.links(tree, "", 0, links, &left)
	for at, commit := range links {
		shown := at
		if folder != "" {
			rest, ok := cutFolder(at, folder)
			if !ok {
				continue
			}
			shown = rest
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		root := filepath.Join(top, filepath.FromSlash(at))
		if real, err := filepath.EvalSymlinks(root); err != nil || real != root {
			continue // a link may lead anywhere
		}
		if _, err := os.Lstat(filepath.Join(root, ".git")); err != nil {
			continue // not checked out
		}
		if err := w.submodule(ctx, root, commit, prefix+shown+"/", depth+1); err != nil {
			return err
		}
	}
	return nil
}

// submodule offers the files of one.
func (w *reading) submodule(ctx context.Context, root, commit, prefix string, depth int) error {
	in, err := begin(root, w.config, w.scan, prefixed{w.v, prefix})
	if err != nil {
		return nil
	}
	defer in.repo.close() // what is bad with it is no fault of the base's
	in.given, in.prefix = map[string][]byte{}, prefix
	o, err := in.rd.revision(commit)
	if err != nil {
		return nil
	}
	tree := in.treeOf(o)
	files, links := in.flattened(ctx, tree)
	in.aside(links)
	if err := in.give(ctx, files, func(string, id) bool { return true }); err != nil {
		return err
	}
	in.rd = newReader(in.repo, &in.budget, treeCache)
	in.v = w.v
	return in.nested(ctx, tree, "", prefix, depth)
}

func cutFolder(name, folder string) (string, bool) {
	if len(name) > len(folder) && name[:len(folder)] == folder && name[len(folder)] == '/' {
		return name[len(folder)+1:], true
	}
	return "", false
}

// links finds the submodules of a tree: their paths, and the commits that it names.
func (w *reading) links(t id, dir string, depth int, out map[string]string, left *int) {
	if t == none || depth > w.scan.MaxDepth || *left <= 0 || len(out) >= maxNested || w.spent() {
		return
	}
	kind, data, err := w.rd.read(t, maxTreeSize)
	if err != nil || kind != treeObject {
		return
	}
	type folder struct {
		name string
		tree id
	}
	var below []folder
	for len(data) > 0 && *left > 0 {
		e, rest, ok := nextEntry(data, w.repo.hash)
		if !ok {
			break
		}
		data = rest
		*left--
		switch {
		case len(dir)+1+len(e.name) > maxPath:
		case e.isTree():
			if o, ok := w.repo.findName(e.object); ok {
				below = append(below, folder{join(dir, string(e.name)), o})
			}
		case string(e.mode) == "160000" && len(out) < maxNested && fs.ValidPath(join(dir, string(e.name))):
			out[join(dir, string(e.name))] = hex.EncodeToString(e.object)
		}
	}
	for _, f := range below {
		w.links(f.tree, f.name, depth+1, out, left)
	}
}

// prefixed is a visitor of files in a folder of what it visits.
type prefixed struct {
	scan.Visitor
	prefix string
}

func (p prefixed) Wants(path string, info fs.FileInfo) bool {
	return p.Visitor.Wants(p.prefix+path, info)
}

func (p prefixed) File(ctx context.Context, f *scan.File) {
	f.Path, f.Name = p.prefix+f.Path, p.prefix+f.Name
	p.Visitor.File(ctx, f)
}

func (p prefixed) Skip(why scan.Skipped, path, reason string) {
	p.Visitor.Skip(why, p.prefix+path, reason)
}

// Shallow reports whether a folder's repository is a clone that lacks a part of the history.
func Shallow(root string) bool {
	r, err := open(root, false)
	if err != nil {
		return false
	}
	defer r.close()
	return len(r.shallow) > 0
}

// Bare reports whether a folder is itself a repository without a worktree.
func Bare(root string) bool { return isBare(root) }
