package inventory

import (
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/scan"
)

// maxEdges bounds the dependencies that one file may name.
const maxEdges = 2_000_000

// graph is what a lockfile says of its packages beyond their names.
type graph struct {
	nodes []*node
	// direct says that the packages that the project names itself are known.
	direct bool
	// reach says that what serves development is to be found by what needs it; else the nodes say so.
	reach bool
	// fold brings names into the form in which they are compared; nil where they are as they are.
	fold func(string) string
}

// node is one package.
type node struct {
	name, version    string
	line             int
	needs            []string // keys, or names
	direct, root     bool
	dev              bool // of a direct one with reach, else of every
	transitive       bool // the file says so of this one
	alone            bool // the extractor does not find it
	licenses, digest []string
}

func key(name, version string) string { return name + "\x00" + version }

// packages makes the packages of a graph that is all there is.
func (g *graph) packages(f *format, in *input) []scan.Package {
	if g == nil {
		return nil
	}
	var out []scan.Package
	seen := map[string]bool{}
	for _, n := range g.nodes {
		// What comes from a repository may have no version; a project without one is no package.
		if n.name == "" || n.version == "" && n.root || seen[key(n.name, n.version)] {
			continue
		}
		seen[key(n.name, n.version)] = true
		out = append(out, scan.Package{PURL: PURL(f.purlType, n.name, n.version), Ecosystem: f.ecosystem, Name: n.name, Version: n.version,
			Line: n.line, FoundBy: f.name})
	}
	g.apply(out)
	return out
}

// rest makes the packages that the extractor has not found.
func (g *graph) rest(f *format, found []scan.Package) []scan.Package {
	if g == nil || g.fold == nil {
		return nil
	}
	var out []scan.Package
	seen := map[string]bool{}
	for _, n := range g.nodes {
		if !n.alone || n.name == "" {
			continue
		}
		if len(seen) == 0 {
			for i := range found {
				seen[g.fold(found[i].Name)] = true
			}
		}
		if !seen[g.fold(n.name)] {
			seen[g.fold(n.name)] = true
			out = append(out, scan.Package{PURL: PURL(f.purlType, n.name, n.version), Ecosystem: f.ecosystem, Name: n.name, Version: n.version, Line: n.line, FoundBy: f.name})
		}
	}
	return out
}

// apply tells the packages what the graph knows of them.
func (g *graph) apply(packages []scan.Package) {
	if g == nil || len(packages) == 0 {
		return
	}
	fold := g.fold
	if fold == nil {
		fold = func(s string) string { return s }
	}
	merged := g.merge(fold)
	byKey, byName := map[string]string{}, map[string][]string{}
	for i := range packages {
		p := &packages[i]
		k := key(fold(p.Name), p.Version)
		if _, ok := byKey[k]; !ok {
			byName[fold(p.Name)] = append(byName[fold(p.Name)], p.PURL)
		}
		byKey[k] = p.PURL
	}
	names := map[string][]*node{}
	for _, n := range merged {
		names[fold(n.name)] = append(names[fold(n.name)], n)
	}
	prod, dev := g.reachable(merged, names, fold)
	edges := 0
	for i := range packages {
		p := &packages[i]
		n := merged[key(fold(p.Name), p.Version)]
		if n == nil && len(names[fold(p.Name)]) == 1 && (names[fold(p.Name)][0].version == "" || p.Version == "") {
			n = names[fold(p.Name)][0]
		}
		if n == nil {
			continue
		}
		g.tell(p, n, prod, dev)
		for _, need := range n.needs {
			if to, ok := byKey[need]; ok {
				p.DependsOn = append(p.DependsOn, to)
			} else if !strings.Contains(need, "\x00") {
				// A name may stand for many versions, each time.
				all := byName[fold(need)]
				if edges += len(all); edges > maxEdges {
					break
				}
				p.DependsOn = append(p.DependsOn, all...)
			}
		}
		slices.Sort(p.DependsOn)
		p.DependsOn = slices.DeleteFunc(slices.Compact(p.DependsOn), func(to string) bool { return to == p.PURL })
	}
}

// tell sets all but the dependencies.
func (g *graph) tell(p *scan.Package, n *node, prod, dev map[*node]bool) {
	switch {
	case n.root:
		p.Relation = scan.Root
	case n.direct:
		p.Relation = scan.Direct
	case g.direct || n.transitive:
		p.Relation = scan.Transitive
	}
	if g.reach {
		p.Dev = p.Dev || dev[n] && !prod[n]
	} else {
		p.Dev = p.Dev || n.dev
	}
	if n.line > 0 && p.Line == 0 {
		p.Line = n.line
	}
	if len(p.Licenses) == 0 {
		p.Licenses = licenses(n.licenses...)
	}
	if len(p.Digests) == 0 {
		p.Digests = n.digest
	}
}

// merge joins the nodes of the same name and version.
func (g *graph) merge(fold func(string) string) map[string]*node {
	merged := make(map[string]*node, len(g.nodes))
	edges := 0
	for _, n := range g.nodes {
		k := key(fold(n.name), n.version)
		if edges += len(n.needs); edges > maxEdges {
			n.needs = nil
		}
		m := merged[k]
		if m == nil {
			merged[k] = n
			continue
		}
		m.needs = append(m.needs, n.needs...)
		m.direct, m.root, m.dev = m.direct || n.direct, m.root || n.root, m.dev && n.dev
		if len(m.digest) == 0 {
			m.digest = n.digest
		}
	}
	return merged
}

// reachable returns what the project needs in production and what it needs for development.
func (g *graph) reachable(merged map[string]*node, names map[string][]*node, fold func(string) string) (prod, dev map[*node]bool) {
	prod, dev = map[*node]bool{}, map[*node]bool{}
	if !g.reach {
		return prod, dev
	}
	walk := func(seen map[*node]bool, wantDev bool) {
		var queue []*node
		named := map[string]bool{} // all of that name were seen
		for _, n := range merged {
			if n.direct && n.dev == wantDev {
				queue = append(queue, n)
				seen[n] = true
			}
		}
		for len(queue) > 0 {
			n := queue[len(queue)-1]
			queue = queue[:len(queue)-1]
			for _, need := range n.needs {
				to := []*node{merged[need]}
				if to[0] == nil {
					if strings.Contains(need, "\x00") {
						continue
					}
					if need = fold(need); named[need] {
						continue
					}
					named[need] = true
					to = names[need]
				}
				for _, t := range to {
					if !seen[t] {
						seen[t] = true
						queue = append(queue, t)
					}
				}
			}
		}
	}
	walk(prod, false)
	walk(dev, true)
	return prod, dev
}
