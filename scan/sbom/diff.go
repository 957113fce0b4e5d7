package sbom

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/google/osv-scalibr/semantic"

	"github.com/testudo-sec/testudo/scan"
)

// Merge joins inventories into one. The target is the first that is named.
func Merge(all ...*scan.Inventory) *scan.Inventory {
	out := &scan.Inventory{}
	for _, inv := range all {
		if out.Target == "" {
			out.Target, out.Asset = inv.Target, inv.Asset
		}
		out.Packages = append(out.Packages, inv.Packages...)
	}
	out.Sort()
	return out
}

// Kind is how a package changed.
type Kind string

// The kinds of changes.
const (
	Added      Kind = "added"
	Removed    Kind = "removed"
	Upgraded   Kind = "upgraded"
	Downgraded Kind = "downgraded"
	Changed    Kind = "changed" // to a version that cannot be compared
	Licensed   Kind = "licence changed"
)

// Change is one difference of two inventories. From and To are versions, or licences where these changed.
type Change struct {
	Kind    Kind   `json:"kind"`
	Package string `json:"package"` // the package URL without its version
	Name    string `json:"name"`
	From    string `json:"from,omitempty"`
	To      string `json:"to,omitempty"`
}

// versions are those of one package, with one package each.
type versions map[string]*scan.Package

// Diff tells what is different in b. Where the packages are does not matter.
func Diff(a, b *scan.Inventory) []Change {
	before, after := byPackage(a), byPackage(b)
	var out []Change
	for id, is := range after {
		was := before[id]
		var gone, come []string
		for v, p := range is {
			if q := was[v]; q == nil {
				come = append(come, v)
			} else if from, to := strings.Join(q.Licenses, "; "), strings.Join(p.Licenses, "; "); from != to {
				out = append(out, Change{Licensed, id, p.Name, from, to})
			}
		}
		for v := range was {
			if is[v] == nil {
				gone = append(gone, v)
			}
		}
		out = append(out, paired(id, was, is, gone, come)...)
	}
	for id, was := range before {
		if after[id] == nil {
			for v, p := range was {
				out = append(out, Change{Removed, id, p.Name, v, ""})
			}
		}
	}
	slices.SortFunc(out, func(x, y Change) int {
		return cmp.Or(cmp.Compare(x.Package, y.Package), cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.From, y.From), cmp.Compare(x.To, y.To))
	})
	return out
}

// paired takes versions that went and came as one change each, the lowest with the lowest.
func paired(id string, was, is versions, gone, come []string) []Change {
	var out []Change
	any := func() *scan.Package {
		for _, p := range is {
			return p
		}
		return nil
	}()
	order := func(x, y string) int {
		n, ok := compare(any.Ecosystem, x, y)
		if !ok {
			return cmp.Compare(x, y)
		}
		return cmp.Or(n, cmp.Compare(x, y))
	}
	slices.SortFunc(gone, order)
	slices.SortFunc(come, order)
	for len(gone) > 0 && len(come) > 0 {
		n, ok := compare(any.Ecosystem, gone[0], come[0])
		kind := Changed
		switch {
		case ok && n < 0:
			kind = Upgraded
		case ok && n > 0:
			kind = Downgraded
		}
		out = append(out, Change{kind, id, is[come[0]].Name, gone[0], come[0]})
		if from, to := strings.Join(was[gone[0]].Licenses, "; "), strings.Join(is[come[0]].Licenses, "; "); from != to {
			out = append(out, Change{Licensed, id, is[come[0]].Name, from, to})
		}
		gone, come = gone[1:], come[1:]
	}
	for _, v := range gone {
		out = append(out, Change{Removed, id, was[v].Name, v, ""})
	}
	for _, v := range come {
		out = append(out, Change{Added, id, is[v].Name, "", v})
	}
	return out
}

// compare compares versions in the order of the ecosystem.
func compare(ecosystem, a, b string) (n int, ok bool) {
	if a == b {
		return 0, true
	}
	defer func() {
		if recover() != nil {
			ok = false // of a parser of others
		}
	}()
	v, err := semantic.Parse(a, ecosystem)
	if err != nil {
		return 0, false
	}
	n, err = v.CompareStr(b)
	return n, err == nil
}

func byPackage(inv *scan.Inventory) map[string]versions {
	out := map[string]versions{}
	for i := range inv.Packages {
		p := &inv.Packages[i]
		id := withoutVersion(p.PURL)
		if id == "" {
			id = p.Ecosystem + ":" + p.Name
		}
		if out[id] == nil {
			out[id] = versions{}
		}
		if q := out[id][p.Version]; q == nil || len(q.Licenses) == 0 {
			out[id][p.Version] = p
		}
	}
	return out
}

// withoutVersion is a package URL that stays the same when the package is upgraded.
func withoutVersion(purl string) string {
	purl, _, _ = strings.Cut(purl, "#")
	purl, _, _ = strings.Cut(purl, "?")
	if at := strings.LastIndexByte(purl, '@'); at > strings.LastIndexByte(purl, '/') {
		purl = purl[:at]
	}
	return purl
}

// WriteTable writes changes for people.
func WriteTable(w io.Writer, changes []Change) error {
	if len(changes) == 0 {
		_, err := fmt.Fprintln(w, "no difference")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "CHANGE\tPACKAGE\tFROM\tTO")
	for _, c := range changes {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", c.Kind, scan.Printable(c.Package), scan.Printable(or(c.From, "-")), scan.Printable(or(c.To, "-")))
	}
	return t.Flush()
}
