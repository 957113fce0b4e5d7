package image

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/internal/ignore"
	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/signal"
)

// merge gives the run what the parts said of the layers: findings once, packages of the files on top of each other.
func (r *reading) merge(ctx context.Context) {
	excluded := r.excluded()
	r.nameBase()
	r.mergeFindings(ctx, excluded)
	r.mergePackages(ctx, excluded)
	for n := range r.states {
		s := &r.states[n]
		given := scan.Result{}
		if s.known {
			given.Counts = s.content.counts
		}
		for _, p := range slices.Sorted(maps.Keys(s.content.found)) {
			if !excluded(p) {
				given.Skips = append(given.Skips, s.content.found[p].Skips...)
			}
		}
		for _, p := range slices.Sorted(maps.Keys(s.packages)) {
			if _, how := r.layers.hidden(p, n); how == visible && !excluded(p) { // what is gone need not be readable
				given.Skips = append(given.Skips, s.packages[p].Skips...)
			}
		}
		r.v.File(ctx, &scan.File{Given: &given})
	}
}

// excluded returns the user's own choice of what to leave out.
func (r *reading) excluded() func(p string) bool {
	if len(r.options.Scan.Exclude) == 0 {
		return func(string) bool { return false }
	}
	list := (*ignore.List)(nil).Extend("", []byte(strings.Join(r.options.Scan.Exclude, "\n")))
	return func(p string) bool {
		for dir := p; dir != "."; dir = path.Dir(dir) {
			if list.Match(dir, dir != p) {
				return true
			}
		}
		return false
	}
}

// sighting is a finding in a layer.
type sighting struct {
	layer  int
	path   string
	judged scan.Judged
}

func (r *reading) mergeFindings(ctx context.Context, excluded func(string) bool) {
	byID := map[string][]sighting{}
	var order []string
	for n := range r.states {
		found := r.states[n].content.found
		for _, p := range slices.Sorted(maps.Keys(found)) {
			if excluded(p) {
				continue
			}
			for _, j := range found[p].Findings {
				if len(byID[j.Finding.ID]) == 0 {
					order = append(order, j.Finding.ID)
				}
				byID[j.Finding.ID] = append(byID[j.Finding.ID], sighting{layer: n, path: p, judged: j})
			}
		}
	}
	for _, id := range order {
		r.give(ctx, byID[id])
	}
}

// give reports a finding, with the layer that brought it and the one that took it away.
func (r *reading) give(ctx context.Context, sightings []sighting) {
	first, shown := sightings[0], -1
	for k, s := range sightings {
		if _, how := r.hidden(s.path, s.layer); how == visible {
			shown = k
			break
		}
	}
	j := sightings[max(shown, 0)].judged
	if shown < 0 && j.By != "secret" && j.By != "gitleaks" {
		return // what is not there any more can be stolen, but not be wrong
	}
	evidence := r.evidence(first.layer)
	if shown < 0 {
		// The last sighting is the one that was taken away last.
		last := sightings[len(sightings)-1]
		by, how := r.layers.hidden(last.path, last.layer)
		word := "deleted"
		if how == overwritten {
			word = "overwritten"
		}
		evidence = append(evidence, signal.Evidence{Name: word, Value: fmt.Sprintf("in layer %d of %d%s; still in the image", by+1, len(r.Layers), byWhat(r.Layers[by].Instruction))})
	}
	r.v.File(ctx, &scan.File{Given: &scan.Result{Findings: []scan.Judged{j}}, Layer: r.Layers[first.layer].DiffID, Evidence: evidence})
}

func byWhat(instruction string) string {
	if instruction == "" {
		return ""
	}
	return " by " + instruction
}

// hidden tells which layer takes a file away. It is there while one of its names is.
func (r *reading) hidden(p string, layer int) (by int, how hiding) {
	if by, how = r.layers.hidden(p, layer); how == visible {
		return by, how
	}
	x := r.layers[layer]
	if !x.linked() {
		return by, how
	}
	for k := range x.entries {
		if e := &x.entries[k]; e.kind == hardlink && e.link == p {
			if _, other := r.layers.hidden(e.path, layer); other == visible {
				return 0, visible
			}
		}
	}
	return by, how
}

// linked reports whether there are hard links in the layer.
func (x *index) linked() bool {
	return slices.ContainsFunc(x.entries, func(e entry) bool { return e.kind == hardlink })
}

// evidence says where a layer's files come from.
func (r *reading) evidence(n int) []signal.Evidence {
	l := &r.Layers[n]
	out := []signal.Evidence{{Name: "layer", Value: fmt.Sprintf("%d of %d, %s", n+1, len(r.Layers), l.DiffID)}}
	if l.Instruction != "" {
		out = append(out, signal.Evidence{Name: "instruction", Value: l.Instruction})
	}
	if l.Base {
		out = append(out, signal.Evidence{Name: "base image", Value: r.base.label()})
	}
	return out
}

// mergePackages gives the packages of the files on top, each with the layer that brought it: a database of packages that each layer writes anew
// names for each package the first layer since which it is there.
func (r *reading) mergePackages(ctx context.Context, excluded func(string) bool) {
	tops := map[string]int{}
	for n := range r.states {
		for p := range r.states[n].packages {
			tops[p] = n
		}
	}
	for _, p := range slices.Sorted(maps.Keys(tops)) {
		top := tops[p]
		if excluded(p) {
			continue
		}
		if _, how := r.layers.hidden(p, top); how != visible {
			continue
		}
		result := scan.Result{Packages: slices.Clone(r.states[top].packages[p].Packages)}
		since := r.since(p, top)
		for k := range result.Packages {
			pkg := &result.Packages[k]
			from := top
			if n, ok := since[packageKey(pkg)]; ok {
				from = n
			}
			pkg.Layer, pkg.Instruction = r.Layers[from].DiffID, r.Layers[from].Instruction
			if r.Layers[from].Base {
				pkg.BaseImage = r.base.label()
			}
		}
		r.v.File(ctx, &scan.File{Given: &result})
	}
}

func packageKey(p *scan.Package) string { return p.PURL + "\x00" + p.Path }

// since returns for the packages that a file names the layer since which it does without a break.
func (r *reading) since(p string, top int) map[string]int {
	out := map[string]int{}
	for k := range r.states[top].packages[p].Packages {
		out[packageKey(&r.states[top].packages[p].Packages[k])] = top
	}
	for n, above := top-1, top; n >= 0; n-- {
		if e, _, _ := r.layers[n].find(p); e == nil {
			continue
		}
		if by, how := r.layers.hidden(p, n); how != overwritten || by != above {
			break
		}
		if result := r.states[n].packages[p]; result != nil {
			for k := range result.Packages {
				key := packageKey(&result.Packages[k])
				if out[key] == above && hasKey(out, key) {
					out[key] = n
				}
			}
		}
		above = n
	}
	return out
}

func hasKey(m map[string]int, key string) bool { _, ok := m[key]; return ok }
