package vuln

import (
	"strings"

	"github.com/testudo-sec/testudo/scan"
)

// placed is a package at a place.
type placed = scan.Package

// maxPath bounds the packages of a path that is shown.
const maxPath = 12

// paths tells how a package came in: what depends on what, in each file by itself.
type paths struct {
	inv    *scan.Inventory
	places map[string][]int // of the packages that each file names
	byFile map[string]*fileGraph
}

// fileGraph is the dependencies that one file names.
type fileGraph struct {
	packages map[string]*scan.Package // by PURL
	parent   map[string]string        // of the shortest path from what the project names itself; filled once
}

func newPaths(inv *scan.Inventory) *paths {
	ps := &paths{inv: inv, places: map[string][]int{}, byFile: map[string]*fileGraph{}}
	for i := range inv.Packages {
		at := inv.Packages[i].Path
		ps.places[at] = append(ps.places[at], i)
	}
	return ps
}

// to returns the shortest path to the package, as names and versions; empty where the file does not say.
func (ps *paths) to(p *scan.Package) string {
	if p.Relation == scan.Direct || p.Path == "" {
		return ""
	}
	g := ps.graph(p.Path)
	if _, known := g.parent[p.PURL]; !known {
		return ""
	}
	var chain []string
	for at := p.PURL; at != "" && len(chain) < maxPath; at = g.parent[at] {
		if q := g.packages[at]; q != nil {
			chain = append(chain, q.Name+" "+q.Version)
		}
	}
	if len(chain) < 2 {
		return ""
	}
	var b strings.Builder
	for i := len(chain) - 1; i >= 0; i-- {
		if b.Len() > 0 {
			b.WriteString(" → ")
		}
		b.WriteString(chain[i])
	}
	return b.String()
}

// graph makes the graph of a file when it is asked for first.
func (ps *paths) graph(file string) *fileGraph {
	if g := ps.byFile[file]; g != nil {
		return g
	}
	g := &fileGraph{packages: map[string]*scan.Package{}, parent: map[string]string{}}
	ps.byFile[file] = g
	var queue []string
	for _, i := range ps.places[file] {
		p := &ps.inv.Packages[i]
		g.packages[p.PURL] = p
		if p.Relation == scan.Direct {
			if _, seen := g.parent[p.PURL]; !seen {
				g.parent[p.PURL] = ""
				queue = append(queue, p.PURL)
			}
		}
	}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		for _, next := range g.packages[at].DependsOn {
			if _, seen := g.parent[next]; !seen && g.packages[next] != nil {
				g.parent[next] = at
				queue = append(queue, next)
			}
		}
	}
	return g
}
