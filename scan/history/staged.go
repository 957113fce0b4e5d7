package history

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"github.com/testudo-sec/testudo/scan"
)

// Staged is what the next commit would bring: the files in the index that are not the same in HEAD, as they are
// staged, which may not be as they are in the worktree.
type Staged struct {
	Root   string // a folder of a worktree
	Config Config
	Scan   scan.Config
}

// Files implements scan.Source.
func (s *Staged) Files(ctx context.Context, v scan.Visitor) error {
	w, err := begin(s.Root, s.Config, s.Scan, v)
	if err != nil {
		return err
	}
	defer w.end()
	if w.repo.bare {
		return fmt.Errorf("scan what is staged in %s: the repository is bare, nothing can be staged in it", scan.Printable(s.Root))
	}
	content, err := readFile(w.repo.git, "index", maxIndexFile)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("scan what is staged in %s: index: %w", scan.Printable(s.Root), plain(err))
		}
		v.Found(0, true)
		return nil // nothing was ever staged
	}
	before := w.flatten(ctx, w.head())
	var list, ignores []version
	var missing []staged
	err = parseIndexFile(content, w.repo.hash, func(e staged) {
		o, ok := w.repo.find(e.object)
		switch {
		case e.mode>>12 == 0o16 || e.mode>>12 == 0o12: // a submodule, a link
			if !ok || before[e.path] != o {
				v.Count(scan.Special, 1)
			}
			return
		case e.intent || e.mode>>12 != 0o10: // nothing staged yet; a folder of a sparse checkout, which is as in HEAD
			return
		case !ok:
			missing = append(missing, e)
			return
		}
		f := version{object: o, commit: -1, path: e.path}
		if isIgnoreFile(e.path) && len(ignores) < 1000 {
			ignores = append(ignores, f)
		}
		if was, there := before[e.path]; !there || was != o {
			list = append(list, f)
		}
	})
	if err != nil {
		return fmt.Errorf("scan what is staged in %s: %w", scan.Printable(s.Root), err)
	}
	for _, e := range missing {
		w.tell(e.path, fmt.Errorf("object %s is %w", e.object.text(w.repo.hash), errMissing))
	}
	return w.offer(ctx, nil, w.keep(w.ignoreLists(ignores), list))
}

// keep leaves out of a list what ignore files leave out, and what is there twice.
func (w *reading) keep(l lists, list []version) []version {
	slices.SortStableFunc(list, func(a, b version) int { return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(a.object, b.object)) })
	list = slices.CompactFunc(list, func(a, b version) bool { return a.path == b.path && a.object == b.object })
	if l.none() {
		return list
	}
	folders := map[string]bool{}
	return slices.DeleteFunc(list, func(f version) bool {
		if folderLeftOut(&l, path.Dir(f.path), folders, 0) || l.leaveOut(f.path, false) {
			w.v.Count(scan.Ignored, 1)
			return true
		}
		return false
	})
}

// folderLeftOut reports whether a folder or one above it is left out.
func folderLeftOut(l *lists, dir string, known map[string]bool, depth int) bool {
	if dir == "." || dir == "/" || depth > 1000 {
		return false
	}
	out, ok := known[dir]
	if !ok {
		out = folderLeftOut(l, path.Dir(dir), known, depth+1) || l.leaveOut(dir, true)
		known[dir] = out
	}
	return out
}

// flatten returns every file of a tree by its path.
func (w *reading) flatten(ctx context.Context, tree id) map[string]id {
	files, _ := w.flattened(ctx, tree)
	return files
}

// flattened is flatten, with the links.
func (w *reading) flattened(ctx context.Context, tree id) (out, links map[string]id) {
	out, links = map[string]id{}, map[string]id{}
	room := names(maxNames)
	walker := w.trees(ctx, lists{}, func(o id, dir, name string) {
		if at := join(dir, name); room.take(at) {
			out[at] = o
		}
	}).quiet()
	walker.link = func(o id, at string) {
		if len(links) < maxLinks && room.take(at) {
			links[at] = o
		}
	}
	walker.every = true
	steps, stopped := 0, walker.stopped
	walker.stopped = func() bool {
		steps++
		return steps > w.config.MaxFiles || len(out) > w.config.MaxFiles || stopped()
	}
	walker.walk(tree, none, "", 0)
	return out, links
}

// maxLinks bounds the links that are held.
const maxLinks = 100_000
