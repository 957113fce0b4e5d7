package vuln

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/intel"
	"github.com/testudo-sec/testudo/scan"
)

// Flaw is one vulnerability of one package version, with all advisories that describe it and all places where the
// package is.
type Flaw struct {
	// ID is the name that people know it by: the CVE where it has one, else GHSA, else the database's.
	ID string
	// Aliases are its other names, sorted.
	Aliases []string
	// Covers are the flaws that a distribution's advisory stands for, where they are several. They are no names of this one: what
	// somebody decided about one of them says nothing of the others.
	Covers     []string
	Advisories []*intel.Advisory // the package's own ecosystem's; at least one
	Packages   []*scan.Package   // at least one, the first is where it is reported
	// Fixed is the lowest version without the flaw that the package can be upgraded to; empty if there is none.
	Fixed string
	// Upgrade is the lowest version without any of the package's flaws that have a fix; FixesAll says that all have one.
	Upgrade  string
	FixesAll bool
	// Imports are the parts with the flaw, where an advisory names them.
	Imports []intel.Import
	// Exact is false where no order of versions could say so.
	Exact bool

	Reach Reachability
	// Trace is how calls lead to the flaw, from the entry to the symbol.
	Trace []string
	Use   Use
	// VEX is the statement that took the flaw out of the report.
	VEX *Statement
	// Priority is set by the Matcher.
	Priority Priority

	affected []*intel.Affected // one for each advisory
}

// Package is the package, at the place where it is reported.
func (f *Flaw) Package() *scan.Package { return f.Packages[0] }

// Malicious reports whether the package is an attack by itself.
func (f *Flaw) Malicious() bool {
	return slices.ContainsFunc(f.Advisories, func(a *intel.Advisory) bool { return a.Malicious })
}

// names returns all ids of the flaw.
func (f *Flaw) names() []string { return append([]string{f.ID}, f.Aliases...) }

// rating is the highest that the advisories give: one for this package comes before one for the advisory.
func (f *Flaw) rating() (best rating, ok bool) {
	for i, a := range f.Advisories {
		r, rated := rate(f.affected[i].Severity)
		if !rated {
			r, rated = rate(a.Severity)
		}
		if rated && (!ok || r.vector && !best.vector || r.vector == best.vector && r.score > best.score) {
			best, ok = r, true
		}
	}
	return best, ok
}

func (f *Flaw) probability() (best *intel.Probability) {
	for _, a := range f.Advisories {
		if p := a.Probability; p != nil && (best == nil || p.Score > best.Score) {
			best = p
		}
	}
	return best
}

func (f *Flaw) exploited() *intel.Exploited {
	for _, a := range f.Advisories {
		if a.Exploited != nil {
			return a.Exploited
		}
	}
	return nil
}

// dev reports whether all places need the package for development only.
func (f *Flaw) dev() bool {
	return !slices.ContainsFunc(f.Packages, func(p *scan.Package) bool { return !p.Dev })
}

// Ranges are the versions that the advisories say have the flaw.
func (f *Flaw) Ranges() []intel.Range {
	var out []intel.Range
	for _, a := range f.affected {
		out = append(out, a.Ranges...)
	}
	return out
}

// LeastGo reports whether the package is the standard library, known from the go directive of a go.mod alone.
func (f *Flaw) LeastGo() bool {
	return !slices.ContainsFunc(f.Packages, func(p *scan.Package) bool {
		return p.Ecosystem != "Go" || p.Name != "stdlib" || path.Base(p.Path) != "go.mod"
	})
}

// In reports whether another version of the package has the flaw.
func (f *Flaw) In(version string) bool {
	c := newCandidate(f.Package().Ecosystem, version)
	return slices.ContainsFunc(f.affected, func(a *intel.Affected) bool { _, hit := c.affected(a); return hit })
}

// match is an advisory that concerns a package.
type match struct {
	advisory *intel.Advisory
	affected *intel.Affected
	hit      hit
}

// fold makes one flaw of the advisories that are about the same: those that share an id or an alias. Packages are
// the places of one package version.
func fold(packages []*scan.Package, matches []match) []*Flaw {
	group := map[string]int{} // id or alias -> index of the group's first match
	leader := make([]int, len(matches))
	find := func(i int) int {
		for leader[i] != i {
			leader[i] = leader[leader[i]]
			i = leader[i]
		}
		return i
	}
	for i, m := range matches {
		leader[i] = i
		for _, id := range idsOf(m.advisory) {
			if j, seen := group[id]; seen {
				leader[find(i)] = find(j)
			} else {
				group[id] = i
			}
		}
	}
	byLeader := map[int]*Flaw{}
	var order []*Flaw
	for i, m := range matches {
		f := byLeader[find(i)]
		if f == nil {
			f = &Flaw{Packages: packages}
			byLeader[find(i)] = f
			order = append(order, f)
		}
		f.add(m)
	}
	for _, f := range order {
		f.finish()
	}
	order = withoutCovered(order)
	slices.SortFunc(order, func(a, b *Flaw) int { return strings.Compare(a.ID, b.ID) })
	return order
}

// idsOf lists the names of what an advisory describes. A distribution's advisory that stands for several upstream ones
// (DSA, RHSA) is a flaw of its own.
func idsOf(a *intel.Advisory) []string {
	out := append([]string{a.ID}, a.Aliases...)
	if len(a.Upstream) == 1 {
		out = append(out, a.Upstream[0])
	}
	return out
}

func (f *Flaw) add(m match) {
	if i := slices.IndexFunc(f.Advisories, func(a *intel.Advisory) bool { return a.ID == m.advisory.ID }); i >= 0 {
		return // one advisory with several entries for the package
	}
	f.Advisories, f.affected = append(f.Advisories, m.advisory), append(f.affected, m.affected)
	f.Imports = append(f.Imports, m.affected.Imports...)
	f.Exact = f.Exact || m.hit.exact
	c := newCandidate(f.Package().Ecosystem, f.Package().Version)
	// Advisories may disagree: only the highest of their fixed versions is without what any of them describes.
	if m.hit.fixed != "" && (f.Fixed == "" || c.less(f.Fixed, m.hit.fixed)) {
		f.Fixed = m.hit.fixed
	}
}

func (f *Flaw) finish() {
	names := map[string]bool{}
	for _, a := range f.Advisories {
		for _, id := range idsOf(a) {
			names[id] = true
		}
		if len(a.Upstream) > 1 {
			f.Covers = append(f.Covers, a.Upstream...)
		}
	}
	all := make([]string, 0, len(names))
	for id := range names {
		all = append(all, id)
	}
	slices.SortFunc(all, func(a, b string) int { return cmp.Or(cmp.Compare(fame(a), fame(b)), compareIDs(a, b)) })
	f.ID = all[0]
	f.Aliases = slices.Sorted(slices.Values(all[1:]))
	f.Covers = slices.Compact(slices.Sorted(slices.Values(f.Covers)))
	f.Covers = slices.DeleteFunc(f.Covers, func(id string) bool { return names[id] })
}

// withoutCovered leaves out an advisory that stands for several flaws where each of these is there by itself. What it
// knows of a fixed version stays.
func withoutCovered(flaws []*Flaw) []*Flaw {
	byName := map[string]*Flaw{}
	for _, f := range flaws {
		for _, id := range f.names() {
			byName[id] = f
		}
	}
	return slices.DeleteFunc(flaws, func(f *Flaw) bool {
		if len(f.Covers) < 2 || len(f.Advisories) > 1 {
			return false
		}
		if slices.ContainsFunc(f.Covers, func(id string) bool { return byName[id] == nil }) {
			return false
		}
		for _, id := range f.Covers {
			if other := byName[id]; other.Fixed == "" {
				other.Fixed = f.Fixed
			}
		}
		return true
	})
}

// fame orders the kinds of ids by how well people know them.
func fame(id string) int {
	for i, prefix := range []string{"MAL-", "CVE-", "GHSA-", "GO-", "PYSEC-", "RUSTSEC-"} {
		if strings.HasPrefix(id, prefix) {
			return i
		}
	}
	return 6
}

// compareIDs orders ids of one kind by their numbers: CVE-2021-9 before CVE-2021-10.
func compareIDs(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}
