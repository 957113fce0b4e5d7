package history

import (
	"context"

	"github.com/testudo-sec/testudo/scan"
)

// danglingCommits adds the commits that nothing leads to, found among all objects.
func (w *reading) danglingCommits(ctx context.Context, g *graph, err error) error {
	for o := id(0); o < w.repo.objects() && err == nil; o++ {
		if o&4095 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if _, known := g.index[o]; known {
			continue
		}
		if k, e := w.rd.kindOf(o); e == nil && k == commitObject {
			err = g.add(ctx, o, false)
		}
	}
	return err
}

// dangling adds the files that no commit holds, which have no path but their name.
func (w *reading) dangling(ctx context.Context, g *graph, list []version) []version {
	met := newBits(w.repo.objects())
	walker := w.trees(ctx, lists{}, func(o id, _, _ string) { met.add(o) }).quiet()
	for i := range g.commits {
		walker.walk(g.commits[i].tree, none, "", 0)
	}
	for o := id(0); o < w.repo.objects() && ctx.Err() == nil; o++ {
		if met.has(o) {
			continue
		}
		k, err := w.rd.kindOf(o)
		switch {
		case err != nil:
			w.tell("object "+w.repo.name(o), err)
		case k != blobObject:
		case len(list) >= w.config.MaxFiles:
			w.v.Count(scan.NoRoom, 1)
		default:
			list = append(list, version{object: o, commit: -1, path: "unreachable/" + w.repo.name(o)})
		}
	}
	return list
}
