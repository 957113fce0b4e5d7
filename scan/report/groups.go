package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/signal"
)

// Verdict is what a policy decided of a result.
type Verdict struct {
	Stopped bool     `json:"stopped"`
	Reasons []string `json:"reasons,omitempty"`
	// New holds the ids of findings that the base does not have; nil where there was nothing to compare with.
	New map[string]bool `json:"-"`
	// Stops holds the ids of those that stop the change.
	Stops map[string]bool `json:"stops,omitempty"`
}

// upgrade is one package version with all its flaws: what people act upon.
type upgrade struct {
	Name      string
	Installed string
	Target    string // the version to go to; empty if there is none
	Place     string
	By        string // the path that brings it
	Findings  []signal.Finding

	kind string
	also []string // other packages with the very same
}

// Worst is the highest severity.
func (u *upgrade) Worst() signal.Severity {
	return slices.MaxFunc(u.Findings, func(a, b signal.Finding) int { return cmp.Compare(a.Severity, b.Severity) }).Severity
}

// Counts says how many of each severity.
func (u *upgrade) Counts() string { return severityCounts(u.Findings) }

// severityCounts writes "2 critical, 1 low".
func severityCounts(findings []signal.Finding) string {
	counts := map[signal.Severity]uint64{}
	for i := range findings {
		counts[findings[i].Severity]++
	}
	var parts []string
	for s := signal.SeverityFatal; s > signal.SeverityUnknown; s-- {
		if counts[s] > 0 {
			parts = append(parts, fmt.Sprintf("%s %s", group3(counts[s]), s))
		}
	}
	return strings.Join(parts, ", ")
}

// upgrades groups the vulnerabilities by package, the worst first, and returns what is none.
func upgrades(findings []signal.Finding, v *Verdict) (ups []upgrade, rest []signal.Finding) {
	index := map[string]int{}
	for _, f := range findings {
		purl := evidence(&f, "package")
		if f.Kind != signal.FindingVulnerability || purl == "" {
			rest = append(rest, f)
			continue
		}
		at, seen := index[purl]
		if !seen {
			at = len(ups)
			index[purl] = at
			ups = append(ups, upgrade{Name: nameOf(purl), kind: kindOf(purl), Installed: evidence(&f, "installed"), Place: where(&f), By: evidence(&f, "brought by")})
		}
		u := &ups[at]
		u.Findings = append(u.Findings, f)
		if target := cmp.Or(evidence(&f, "upgrade to"), evidence(&f, "fixed in")); target != "" {
			u.Target = target // the same for all of a package's flaws that have one
		}
	}
	ups = together(ups, v)
	slices.SortStableFunc(ups, func(a, b upgrade) int {
		return cmp.Or(cmp.Compare(b.Worst(), a.Worst()), cmp.Compare(len(b.Findings), len(a.Findings)), cmp.Compare(a.Name, b.Name))
	})
	return ups, rest
}

// maxTogether is how many packages are named as one.
const maxTogether = 4

// together makes one of the packages of a distribution that have the same flaws, the same version and the same fix, and are decided about
// alike: those that one source package was built into.
func together(ups []upgrade, v *Verdict) []upgrade {
	first := map[string]int{}
	out := ups[:0]
	for _, u := range ups {
		if !slices.Contains([]string{"deb", "apk", "rpm"}, u.kind) {
			out = append(out, u)
			continue
		}
		file, _, _ := strings.Cut(u.Place, ":")
		key := fmt.Sprintf("%q %q %q %q %q", u.kind, u.Installed, u.Target, file, origin(&u.Findings[0]))
		for i := range u.Findings {
			f := &u.Findings[i]
			key += fmt.Sprintf(" %q %d", f.Rule, f.Severity)
			if v != nil {
				key += fmt.Sprintf(" %t %t", v.Stops[f.ID], v.New[f.ID])
			}
		}
		if at, seen := first[key]; seen {
			out[at].also = append(out[at].also, u.Name)
			continue
		}
		first[key] = len(out)
		out = append(out, u)
	}
	for i := range out {
		u := &out[i]
		if len(u.also) == 0 {
			continue
		}
		kind := " (" + u.kind + ")"
		names := []string{strings.TrimSuffix(u.Name, kind)}
		for _, name := range u.also {
			if name = strings.TrimSuffix(name, kind); len(names) < maxTogether {
				_, plain, _ := strings.Cut(name, "/")
				names = append(names, cmp.Or(plain, name))
			}
		}
		u.Name = strings.Join(names, ", ")
		if more := len(u.also) + 1 - len(names); more > 0 {
			u.Name += fmt.Sprintf(" and %d more", more)
		}
		u.Name += kind
	}
	return out
}

// what is the title of a vulnerability without its id and package, which stand beside it.
func what(f *signal.Finding) string {
	title := scan.Printable(f.Title)
	if _, after, ok := strings.Cut(title, ": "); ok && strings.HasPrefix(title, scan.Printable(f.Rule)) {
		return after
	}
	return title
}

// kindOf is the kind of a package URL.
func kindOf(purl string) string {
	kind, _, _ := strings.Cut(strings.TrimPrefix(purl, "pkg:"), "/")
	return scan.Printable(kind)
}

// nameOf is a package URL's namespace and name, with the kind before it.
func nameOf(purl string) string {
	rest := strings.TrimPrefix(purl, "pkg:")
	rest, _, _ = strings.Cut(rest, "?")
	if at := strings.LastIndexByte(rest, '@'); at > 0 {
		rest = rest[:at]
	}
	kind, name, _ := strings.Cut(rest, "/")
	return scan.Printable(strings.ReplaceAll(name, "%40", "@")) + " (" + scan.Printable(kind) + ")"
}
