package vuln

import (
	"slices"
	"strings"

	"github.com/google/osv-scalibr/semantic"

	"github.com/testudo-sec/testudo/intel"
)

// order compares versions as one ecosystem does. The zero order knows equality only.
type order struct{ ecosystem string }

// newOrder returns the ecosystem's order; ok is false if there is none, and then only advisories that list
// versions one by one can be judged.
func newOrder(ecosystem string) (o order, ok bool) {
	if _, err := semantic.Parse("1", ecosystem); err != nil {
		return order{}, false
	}
	return order{ecosystem}, true
}

// compare returns -1, 0 or 1; ok is false if one of the two is no version.
func (o order) compare(v semantic.Version, other string) (c int, ok bool) {
	if v == nil {
		return 0, false
	}
	c, err := v.CompareStr(other)
	return c, err == nil
}

func (o order) parse(version string) semantic.Version {
	if o.ecosystem == "" {
		return nil
	}
	v, err := semantic.Parse(version, o.ecosystem)
	if err != nil {
		return nil
	}
	return v
}

// candidate is a package's version, ready to be compared.
type candidate struct {
	text   string
	order  order
	parsed semantic.Version
}

func newCandidate(ecosystem, version string) candidate {
	o, _ := newOrder(ecosystem)
	return candidate{text: version, order: o, parsed: o.parse(version)}
}

// hit is how an advisory concerns a version.
type hit struct {
	// fixed is the first version without the flaw in the range that holds the candidate; empty if there is none.
	fixed string
	// exact says that the version stands in a list or a range could be told; else the flaw is assumed.
	exact bool
}

// affected reports whether one entry of an advisory says that the version has the flaw.
func (c candidate) affected(a *intel.Affected) (hit, bool) {
	var found hit
	in := false
	for i := range a.Ranges {
		r := &a.Ranges[i]
		if r.Type == "GIT" {
			continue
		}
		if h, ok := c.inRange(r); ok {
			if !in || h.fixed != "" && (found.fixed == "" || c.less(h.fixed, found.fixed)) {
				found = h
			}
			in = true
		}
	}
	if !in && c.listed(a.Versions) {
		return hit{fixed: c.nextFix(a), exact: true}, true
	}
	return found, in
}

// listed reports whether the version stands in the list, as it is written or as the ecosystem reads it.
func (c candidate) listed(versions []string) bool {
	if slices.Contains(versions, c.text) {
		return true
	}
	if c.order.ecosystem != "PyPI" && c.order.ecosystem != "Packagist" {
		return false // elsewhere versions have one spelling
	}
	for _, v := range versions {
		if n, ok := c.order.compare(c.parsed, v); ok && n == 0 {
			return true
		}
	}
	return false
}

// inRange follows the algorithm of the OSV schema ("Evaluation"): events in the order of versions, the last one
// that is not above the version decides.
func (c candidate) inRange(r *intel.Range) (hit, bool) {
	if c.parsed == nil {
		return hit{}, false
	}
	events := c.sorted(r.Events)
	in := false
	for _, e := range events {
		switch {
		case e.Introduced != "":
			if e.Introduced == "0" || c.notBelow(e.Introduced) {
				in = true
			}
		case e.Fixed != "":
			if c.notBelow(e.Fixed) {
				in = false
			}
		case e.LastAffected != "":
			if n, ok := c.order.compare(c.parsed, e.LastAffected); ok && n > 0 {
				in = false
			}
		case e.Limit != "" && e.Limit != "*":
			if c.notBelow(e.Limit) {
				in = false
			}
		}
	}
	if !in {
		return hit{}, false
	}
	for _, e := range events {
		if e.Fixed != "" && !c.notBelow(e.Fixed) {
			return hit{fixed: e.Fixed, exact: true}, true
		}
	}
	return hit{exact: true}, true
}

// nextFix is the lowest fixed version above the candidate in any range of the entry.
func (c candidate) nextFix(a *intel.Affected) string {
	best := ""
	for i := range a.Ranges {
		if a.Ranges[i].Type == "GIT" {
			continue
		}
		for _, e := range a.Ranges[i].Events {
			if e.Fixed != "" && c.parsed != nil && !c.notBelow(e.Fixed) && (best == "" || c.less(e.Fixed, best)) {
				best = e.Fixed
			}
		}
	}
	return best
}

// notBelow reports whether the candidate is at or above the version. What cannot be compared is above.
func (c candidate) notBelow(version string) bool {
	n, ok := c.order.compare(c.parsed, version)
	return ok && n >= 0
}

// less reports whether a comes before b.
func (c candidate) less(a, b string) bool {
	n, ok := c.order.compare(c.order.parse(a), b)
	return ok && n < 0
}

func (e event) version() string {
	for _, v := range []string{e.Introduced, e.Fixed, e.LastAffected, e.Limit} {
		if v != "" {
			return v
		}
	}
	return ""
}

type event struct{ intel.Event }

// sorted returns the events in the order of versions, introductions first among equals, so that a version that is both
// fixed and introduced again counts as fixed.
func (c candidate) sorted(events []intel.Event) []event {
	out := make([]event, 0, len(events))
	for _, e := range events {
		out = append(out, event{e})
	}
	if len(out) <= 1 {
		return out
	}
	rank := func(e event) int {
		if e.Introduced != "" {
			return 0
		}
		return 1
	}
	parsed := make(map[string]semantic.Version, len(out))
	for _, e := range out {
		parsed[e.version()] = c.order.parse(e.version())
	}
	slices.SortStableFunc(out, func(a, b event) int {
		va, vb := a.version(), b.version()
		switch {
		case va == "0" && vb != "0":
			return -1
		case vb == "0" && va != "0":
			return 1
		case va != vb && parsed[va] != nil:
			if n, err := parsed[va].CompareStr(vb); err == nil && n != 0 {
				return n
			}
		}
		return rank(a) - rank(b)
	})
	return out
}

// sameEcosystem reports whether an advisory's ecosystem is the package's: the family must be the same, and the
// release where both name one. Debian's "Debian" without a release speaks of all of them.
func sameEcosystem(advisory, pkg string) bool {
	if advisory == pkg {
		return true
	}
	af, ar, _ := strings.Cut(advisory, ":")
	pf, pr, _ := strings.Cut(pkg, ":")
	return af == pf && (ar == "" || pr == "")
}
