package history

import (
	"context"
	"fmt"
	"path"

	"github.com/testudo-sec/testudo/internal/ignore"
	"github.com/testudo-sec/testudo/scan"
)

// Fork is the files as they were where a branch left its base: what a change is compared with. Where the two have no
// commit in common, or left each other in several places, or the clone is too shallow to know, it is the files of the base. Submodules that are checked out count with the commits
// that this state names.
type Fork struct {
	Root     string
	Base     string // what it would be merged into: a branch, a tag or a commit
	Revision string // HEAD if empty
	// Below, if not empty, is a folder of the repository, as its trees name it: its files alone, by their paths from there on.
	Below  string
	Config Config
	Scan   scan.Config
	// IgnoreFiles, if not nil, count in place of the repository's own, by their paths.
	IgnoreFiles map[string][]byte
}

// Files implements scan.Source.
func (f *Fork) Files(ctx context.Context, v scan.Visitor) error {
	w, err := begin(f.Root, f.Config, f.Scan, v)
	if err != nil {
		return err
	}
	defer w.end()
	w.given = f.IgnoreFiles
	tree, err := f.tree(ctx, w)
	if err != nil {
		return err
	}
	files, links := w.flattened(ctx, tree)
	w.aside(below(links, f.Below))
	if err := w.give(ctx, below(files, f.Below), func(string, id) bool { return true }); err != nil {
		return err
	}
	w.rd = newReader(w.repo, &w.budget, treeCache) // the trees are needed again
	return w.nested(ctx, tree, f.Below, "", 0)
}

// aside tells of links in the place of files that name packages, as a scan of the folder does.
func (w *reading) aside(links map[string]id) {
	for at, o := range links {
		kind, to, err := w.rd.read(o, maxPath)
		if err != nil || kind != blobObject {
			continue
		}
		if name, reason, aside := scan.LinkAside(w.v, at, string(to)); aside {
			w.v.Skip(scan.Unreadable, name, reason)
		}
	}
}

// below returns the files of a folder, by their paths from there on.
func below(files map[string]id, folder string) map[string]id {
	if folder == "" {
		return files
	}
	out := map[string]id{}
	for name, o := range files {
		if rest, ok := cutFolder(name, folder); ok {
			out[rest] = o
		}
	}
	return out
}

// tree is the state that the branch began at.
func (f *Fork) tree(ctx context.Context, w *reading) (id, error) {
	c := Changes{Root: f.Root, Base: f.Base, Revision: f.Revision, Config: f.Config, Scan: f.Scan}
	_, bases, err := c.resolve(ctx, w)
	switch {
	case err != nil:
		return none, fmt.Errorf("what %s is compared with: %w", scan.Printable(f.Root), err)
	case len(bases) == 0:
		o, err := w.rd.revision(orHead(f.Revision)) // it brings nothing: it is in the base
		if err != nil {
			return none, err
		}
		return w.treeOf(o), nil
	case len(bases) > 1: // whoever makes the change could choose
		o, err := w.rd.revision(f.Base)
		if err != nil {
			return none, err
		}
		return w.treeOf(o), nil
	}
	return bases[0], nil
}

// ReadFile returns a file of the base as it is now, by its path from the repository's top on, since whoever makes the change chooses where it leaves the base; nil if there
// is none of that path. A file above the limit is an error.
func (f *Fork) ReadFile(ctx context.Context, name string, limit int64) ([]byte, error) {
	var out []byte
	err := f.atBase(ctx, func(w *reading, files map[string]id) (err error) {
		o, there := files[name]
		if !there {
			return ctx.Err()
		}
		kind, data, err := w.rd.read(o, limit)
		if err == nil && kind == blobObject {
			out = append([]byte{}, data...)
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", scan.Printable(name), plain(err))
		}
		return err
	})
	return out, err
}

// Ignores returns the .gitignore and .testudoignore files of the base as it is now, below the folder, by their paths. It is never nil where
// there is no error.
func (f *Fork) Ignores(ctx context.Context) (map[string][]byte, error) {
	out := map[string][]byte{}
	err := f.atBase(ctx, func(w *reading, files map[string]id) error {
		for name, o := range below(files, f.Below) {
			if len(out) == maxIgnoreFiles {
				break // what is not ignored is scanned
			}
			if base := path.Base(name); base != ".gitignore" && base != ignoreFile {
				continue
			}
			if kind, data, err := w.rd.read(o, ignore.MaxFileBytes); err == nil && kind == blobObject {
				out[name] = append([]byte{}, data...)
			}
		}
		return ctx.Err()
	})
	return out, err
}

// Tracked returns the files of the commit that the .gitignore files given by their paths leave out, and the folders that hold them, below
// the folder: git ignores nothing that was committed.
func (f *Fork) Tracked(ctx context.Context, ignores map[string][]byte) (map[string]bool, error) {
	w, err := begin(f.Root, f.Config, f.Scan, nobody{})
	if err != nil {
		return nil, err
	}
	defer w.end()
	o, err := w.rd.revision(orHead(f.Revision))
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	folders := ignoredFolders{ignores, map[string]ignoredFolder{}}
	for name := range below(w.flatten(ctx, w.treeOf(o)), f.Below) {
		in := folders.at(path.Dir(name))
		if ignored, _ := in.list.Decide(name, false); !ignored && !in.ignored {
			continue
		}
		for at := name; at != "." && at != "/" && !out[at]; at = path.Dir(at) {
			out[at] = true
		}
	}
	return out, ctx.Err()
}

// ignoredFolders is what .gitignore files say of folders.
type ignoredFolders struct {
	files map[string][]byte
	known map[string]ignoredFolder
}

type ignoredFolder struct {
	list    *ignore.List // for what is in it
	ignored bool         // as a whole
}

func (f *ignoredFolders) at(dir string) ignoredFolder {
	if in, ok := f.known[dir]; ok {
		return in
	}
	var in ignoredFolder
	own := ""
	if dir != "." && dir != "/" && dir != ".." {
		in = f.at(path.Dir(dir))
		out, _ := in.list.Decide(dir, true)
		in.ignored = in.ignored || out
		own = dir
	}
	in.list = in.list.Extend(own, f.files[path.Join(own, ".gitignore")])
	f.known[dir] = in
	return in
}

const maxIgnoreFiles = 10_000

// atBase calls use with the files of the base as it is now.
func (f *Fork) atBase(ctx context.Context, use func(*reading, map[string]id) error) error {
	w, err := begin(f.Root, f.Config, f.Scan, nobody{})
	if err != nil {
		return err
	}
	defer w.end()
	o, err := w.rd.revision(f.Base)
	if err != nil {
		return fmt.Errorf("what %s is compared with: %w", scan.Printable(f.Root), err)
	}
	return use(w, w.flatten(ctx, w.treeOf(o)))
}
