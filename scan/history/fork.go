package history

import (
	"context"
	"fmt"

	"github.com/testudo-sec/testudo/scan"
)

// Fork is the files as they were where a branch left its base: what a change is compared with. Where the two have no
// commit in common, or the clone is too shallow to know, it is the files of the base.
type Fork struct {
	Root     string
	Base     string // what it would be merged into: a branch, a tag or a commit
	Revision string // HEAD if empty
	Config   Config
	Scan     scan.Config
}

// Files implements scan.Source.
func (f *Fork) Files(ctx context.Context, v scan.Visitor) error {
	w, err := begin(f.Root, f.Config, f.Scan, v)
	if err != nil {
		return err
	}
	defer w.end()
	tree, err := f.tree(ctx, w)
	if err != nil {
		return err
	}
	return w.give(ctx, w.flatten(ctx, tree), func(string, id) bool { return true })
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
	}
	return bases[0], nil
}

// ReadFile returns a file of that state; nil if there is none of that path, or if it is larger than the limit.
func (f *Fork) ReadFile(ctx context.Context, name string, limit int64) ([]byte, error) {
	w, err := begin(f.Root, f.Config, f.Scan, nobody{})
	if err != nil {
		return nil, err
	}
	defer w.end()
	tree, err := f.tree(ctx, w)
	if err != nil {
		return nil, err
	}
	o, there := w.flatten(ctx, tree)[name]
	if !there {
		return nil, ctx.Err()
	}
	kind, data, err := w.rd.read(o, limit)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", scan.Printable(name), plain(err))
	}
	if kind != blobObject {
		return nil, nil
	}
	return append([]byte(nil), data...), nil
}
