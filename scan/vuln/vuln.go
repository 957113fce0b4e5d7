package vuln

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/intel"
	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/signal"
)

// Advisories is the database: [intel.Database] is one. The advisories it yields are not changed and may be kept.
type Advisories interface {
	Affecting(ecosystem, name string) iter.Seq2[*intel.Advisory, error]
}

// A Reacher tells which flaws the target's own code can come to. It sets Reach and Trace of flaws that it can
// judge, and leaves the others.
type Reacher interface {
	Reach(ctx context.Context, flaws []*Flaw) error
}

// Options is what a Matcher works with. Only Database must be set.
type Options struct {
	Config   Config
	Database Advisories
	Reacher  Reacher
	// Use tells whether a package was seen in use at run time.
	Use func(*scan.Package) Use
	// Statements of VEX documents.
	Statements []Statement
	// Now is when ignored flaws end; the zero time stands for the present.
	Now time.Time
}

// Summary is what a Matcher did.
type Summary struct {
	Packages    int `json:"packages"`     // versions of packages, each once
	NoEcosystem int `json:"no_ecosystem"` // of a kind that advisories do not know
	NoVersion   int `json:"no_version"`   // the file names no exact version
	NoOrder     int `json:"no_order"`     // of an ecosystem whose order of versions is not known: judged by lists only
	Flaws       int `json:"flaws"`        // found, before anybody's decision
	Withdrawn   int `json:"withdrawn"`    // advisories that were taken back
	Ignored     int `json:"ignored"`      // by the configuration
	Expired     int `json:"expired"`      // would be ignored, had the decision not ended
	NotAffected int `json:"not_affected"` // by VEX
	NotBuilt    int `json:"not_built"`    // of the standard library: the toolchain that builds here does not have it
	Dev         int `json:"dev"`          // development only, left out
	Unfixed     int `json:"unfixed"`      // without a fixed version, left out
}

// Matcher finds known vulnerabilities. It is safe for concurrent use by different runs only in turn.
type Matcher struct {
	o       Options
	ignores ignoreList
	summary Summary
	flaws   []*Flaw
	reach   error
}

// New returns a matcher.
func New(o Options) (*Matcher, error) {
	if o.Database == nil {
		return nil, fmt.Errorf("no advisory database is given")
	}
	if err := o.Config.Validate(); err != nil {
		return nil, err
	}
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	return &Matcher{o: o, ignores: newIgnoreList(o.Config.Ignore, o.Now)}, nil
}

// Watch has the matcher ask whether packages are in use; it replaces Options.Use. Call it before Match.
func (m *Matcher) Watch(use func(*scan.Package) Use) { m.o.Use = use }

// Name returns "vuln".
func (m *Matcher) Name() string { return "vuln" }

// Summary says what the last Match did.
func (m *Matcher) Summary() Summary { return m.summary }

// Flaws are those that the last Match found, with those that a decision took out of the report.
func (m *Matcher) Flaws() []*Flaw { return m.flaws }

// Unreached says what the last Match could not tell of what can be reached. The flaws are found all the same, with the priority that they
// have where nothing is known of calls.
func (m *Matcher) Unreached() error { return m.reach }

// Match implements scan.Matcher.
func (m *Matcher) Match(ctx context.Context, inv *scan.Inventory, report scan.Report) error {
	m.summary, m.flaws, m.reach = Summary{}, nil, nil
	for _, places := range m.versions(inv) {
		if err := ctx.Err(); err != nil {
			return err
		}
		flaws, err := m.judge(places)
		if err != nil {
			return err
		}
		m.flaws = append(m.flaws, flaws...)
	}
	m.summary.Flaws = len(m.flaws)
	if m.o.Reacher != nil && len(m.flaws) > 0 {
		m.reach = m.o.Reacher.Reach(ctx, m.flaws)
	}
	paths, reported := newPaths(inv), map[string]bool{}
	for _, f := range m.flaws {
		if m.o.Use != nil {
			f.Use = m.o.Use(f.Package())
		}
		f.Priority = f.prioritise(m.o.Config.Exposure)
		if m.wanted(f) {
			out := f.finding(paths)
			if reported[out.ID] { // of another version of the package, at the same place: each is to be kept
				out.ID = signal.Fingerprint("vuln", f.ID, withoutVersion(f.Package().PURL), f.Package().Path, f.Package().Version)
			}
			reported[out.ID] = true
			report(out, f.confidence())
		}
	}
	return nil
}

func (f *Flaw) confidence() scan.Confidence {
	if f.Exact {
		return scan.High
	}
	return scan.Medium
}

// versions groups the inventory: the same package in the same version is judged once.
func (m *Matcher) versions(inv *scan.Inventory) [][]*scan.Package {
	index := map[string]int{}
	var out [][]*scan.Package
	for i := range inv.Packages {
		p := &inv.Packages[i]
		switch {
		case p.Relation == scan.Root:
			continue
		case p.Ecosystem == "":
			m.summary.NoEcosystem++
			continue
		case p.Version == "":
			m.summary.NoVersion++
			continue
		}
		key := strings.Join([]string{p.Ecosystem, p.Name, p.Version, p.Source, p.SourceVersion}, "\x00")
		if at, seen := index[key]; seen {
			out[at] = append(out[at], p)
			continue
		}
		index[key] = len(out)
		out = append(out, []*scan.Package{p})
		if _, ok := newOrder(p.Ecosystem); !ok {
			m.summary.NoOrder++
		}
	}
	m.summary.Packages = len(out)
	for _, places := range out {
		slices.SortStableFunc(places, func(a, b *scan.Package) int { return rank(a) - rank(b) })
	}
	return out
}

// rank orders places by how well they can be acted upon: what the project names itself first, then with a line.
func rank(p *scan.Package) int {
	n := 0
	if p.Relation != scan.Direct {
		n += 2
	}
	if p.Line == 0 {
		n++
	}
	return n
}

// judge returns the flaws of one package version.
func (m *Matcher) judge(places []*scan.Package) ([]*Flaw, error) {
	p := places[0]
	matches, err := m.lookUp(nil, p.Ecosystem, p.Name, p.Version)
	if err == nil && p.Source != "" && p.Source != p.Name {
		version := p.SourceVersion
		if version == "" {
			version = p.Version
		}
		matches, err = m.lookUp(matches, p.Ecosystem, p.Source, version)
	}
	if err != nil || len(matches) == 0 {
		return nil, err
	}
	flaws := fold(places, matches)
	c := newCandidate(p.Ecosystem, p.Version)
	best, all := "", true
	for _, f := range flaws {
		all = all && f.Fixed != ""
		if f.Fixed != "" && (best == "" || c.less(best, f.Fixed)) {
			best = f.Fixed
		}
	}
	for _, f := range flaws {
		f.Upgrade, f.FixesAll = best, all
	}
	return flaws, nil
}

func (m *Matcher) lookUp(matches []match, ecosystem, name, version string) ([]match, error) {
	c := newCandidate(ecosystem, version)
	for a, err := range m.o.Database.Affecting(ecosystem, name) {
		if err != nil {
			return nil, fmt.Errorf("advisories of %s: %w", scan.Printable(name), err)
		}
		if !a.Withdrawn.IsZero() {
			m.summary.Withdrawn++
			continue
		}
		for i := range a.Affected {
			e := &a.Affected[i]
			if !sameEcosystem(e.Ecosystem, ecosystem) || !sameName(ecosystem, e.Name, name) {
				continue
			}
			if h, ok := c.affected(e); ok {
				matches = append(matches, match{a, e, h})
			}
		}
	}
	return matches, nil
}

// wanted counts and takes out what somebody decided about.
func (m *Matcher) wanted(f *Flaw) bool {
	switch ignored, expired := m.ignores.decide(f); {
	case ignored:
		m.summary.Ignored++
		return false
	case expired:
		m.summary.Expired++
	}
	switch {
	case m.notAffected(f):
		m.summary.NotAffected++
		return false
	case f.Reach == NotBuilt:
		m.summary.NotBuilt++
		return false
	case f.Malicious(): // no matter what it is for
	case !m.o.Config.Dev && f.dev():
		m.summary.Dev++
		return false
	case !m.o.Config.Unfixed && f.Fixed == "":
		m.summary.Unfixed++
		return false
	}
	return true
}

const (
	maxDetails    = 1500
	maxPlaces     = 10
	maxReferences = 8
)

// finding puts the flaw into words.
func (f *Flaw) finding(paths *paths) signal.Finding {
	p := f.Package()
	out := signal.Finding{
		ID:   signal.Fingerprint("vuln", f.ID, withoutVersion(p.PURL), p.Path),
		Kind: signal.FindingVulnerability, Rule: scan.Printable(f.ID), Severity: f.Priority.Severity(),
		Title:      scan.Printable(fmt.Sprintf("%s in %s %s: %s", f.ID, p.Name, p.Version, f.summary())),
		Desc:       f.details(),
		Location:   signal.Location{Path: scan.Printable(p.Path), Line: p.Line},
		Fix:        f.fix(),
		References: f.references(),
		Tags:       f.tags(),
	}
	say := func(name, value string) {
		if value != "" {
			out.Evidence = append(out.Evidence, signal.Evidence{Name: name, Value: scan.Printable(value)})
		}
	}
	say(signal.EvidencePackage, p.PURL)
	say(signal.EvidenceInstalled, p.Version)
	say(signal.EvidenceFixed, f.Fixed)
	if f.Upgrade != f.Fixed {
		say("upgrade to", f.Upgrade)
	}
	say(signal.EvidencePriority, f.Priority.String())
	if r, ok := f.rating(); ok && r.vector {
		say(signal.EvidenceCVSS, strings.TrimPrefix(r.text, "CVSS "))
	}
	if e := f.probability(); e != nil {
		say(signal.EvidenceEPSS, strconv.FormatFloat(e.Score, 'f', -1, 64))
	}
	if k := f.exploited(); k != nil {
		say(signal.EvidenceExploited, k.Added.Format(time.DateOnly))
	}
	say(signal.EvidenceAliases, strings.Join(f.Aliases, ", "))
	say("stands for", strings.Join(f.Covers, ", "))
	say("relation", string(p.Relation))
	say("brought by", paths.to(p))
	say("calls", strings.Join(f.Trace, " → "))
	say("layer", p.Layer)
	say("instruction", p.Instruction)
	say("base image", p.BaseImage)
	say("also at", f.otherPlaces())
	return out
}

func (f *Flaw) summary() string {
	for _, a := range f.Advisories {
		if a.Summary != "" {
			return cut(a.Summary, 200)
		}
	}
	if f.Malicious() {
		return "the package is malicious"
	}
	first, _, _ := strings.Cut(strings.TrimSpace(f.Advisories[0].Details), "\n")
	if first == "" {
		return "a known vulnerability"
	}
	return cut(first, 200)
}

func (f *Flaw) details() string {
	for _, a := range f.Advisories {
		if a.Details != "" {
			return cut(strings.ToValidUTF8(a.Details, "?"), maxDetails)
		}
	}
	return ""
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

func (f *Flaw) fix() string {
	p := f.Package()
	switch {
	case f.Malicious():
		return fmt.Sprintf("Remove %s, and treat every machine on which it was installed as taken over: revoke the credentials that were there.", scan.Printable(p.Name))
	case f.Fixed == "":
		return "There is no fixed version. Look whether the flawed part is used, and for another package."
	case p.BaseImage != "":
		return scan.Printable(fmt.Sprintf("Fixed in %s: build on a newer %s that has it, or upgrade %s in a layer of your own.", f.fixedIn(), p.BaseImage, p.Name))
	case p.SourceVersion != "" && p.SourceVersion != p.Version:
		return scan.Printable(fmt.Sprintf("Upgrade %s: fixed in %s.", p.Name, f.fixedIn()))
	case p.Relation == scan.Transitive:
		return scan.Printable(fmt.Sprintf("Upgrade what brings it, or pin %s to %s or later.", p.Name, f.Fixed))
	}
	return scan.Printable(fmt.Sprintf("Upgrade %s to %s or later.", p.Name, f.Fixed))
}

// fixedIn names the package with the fixed version: the source package where a distribution gives what is built of it other versions.
func (f *Flaw) fixedIn() string {
	p := f.Package()
	if p.SourceVersion != "" && p.SourceVersion != p.Version {
		return fmt.Sprintf("%s %s, the source of %s", p.Source, f.Fixed, p.Name)
	}
	return p.Name + " " + f.Fixed
}

func (f *Flaw) references() []string {
	var out []string
	for _, kind := range []string{"ADVISORY", "FIX", ""} {
		for _, a := range f.Advisories {
			for _, r := range a.References {
				web := strings.HasPrefix(r.URL, "https://") || strings.HasPrefix(r.URL, "http://")
				if web && (kind == "" || r.Type == kind) && len(out) < maxReferences && len(r.URL) < 500 && !slices.Contains(out, r.URL) {
					out = append(out, scan.Printable(r.URL))
				}
			}
		}
	}
	return out
}

func (f *Flaw) tags() []string {
	tags := []string{"vulnerability"}
	if f.Malicious() {
		tags = append(tags, "malicious")
	}
	if f.exploited() != nil {
		tags = append(tags, "exploited")
	}
	if _, rated := f.rating(); !rated && !f.Malicious() {
		tags = append(tags, "unrated")
	}
	for _, a := range f.Advisories {
		for _, c := range a.CWE {
			if c = strings.ToLower(c); len(c) < 20 && !slices.Contains(tags, c) {
				tags = append(tags, scan.Printable(c))
			}
		}
	}
	return tags
}

func (f *Flaw) otherPlaces() string {
	var out []string
	for _, p := range f.Packages[1:] {
		at := p.Path
		if p.Line > 0 {
			at = fmt.Sprintf("%s:%d", p.Path, p.Line)
		}
		if !slices.Contains(out, at) {
			out = append(out, at)
		}
	}
	if n := len(out); n > maxPlaces {
		out = append(out[:maxPlaces], fmt.Sprintf("and %d more", n-maxPlaces))
	}
	return strings.Join(out, ", ")
}
