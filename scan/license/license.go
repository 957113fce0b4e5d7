// Package license judges the licences of an inventory by a policy: what may be used, what may not, and which packages somebody
// decided about. Of "A OR B" one has to be allowed, of "A AND B" both; each that a package names applies.
package license

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/internal/spdx"
	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/signal"
)

// Matcher judges licences. It is safe for concurrent use.
type Matcher struct {
	config      Config
	allow, deny []string
	now         func() time.Time
}

var _ scan.Matcher = (*Matcher)(nil)

// New makes a matcher. now tells which exceptions hold.
func New(c Config, now func() time.Time) (*Matcher, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	m := &Matcher{config: c, now: now}
	for _, id := range c.Allow {
		p, _ := pattern(id)
		m.allow = append(m.allow, p)
	}
	for _, id := range c.Deny {
		p, _ := pattern(id)
		m.deny = append(m.deny, p)
	}
	return m, nil
}

// Name implements scan.Matcher.
func (m *Matcher) Name() string { return "license" }

// The rules.
const (
	ruleDenied     = "license-denied"
	ruleNotAllowed = "license-not-allowed"
	ruleUnknown    = "license-unknown"
)

// Rules implements scan.RuleLister.
func (m *Matcher) Rules() []scan.Rule {
	return []scan.Rule{
		{ID: ruleDenied, Title: "Package under a licence that the policy denies", Severity: signal.SeverityHigh, Tags: []string{"license"},
			Why: "Its terms do not fit how this software is used.", Fix: "replace the package, or add an exception with a reason"},
		{ID: ruleNotAllowed, Title: "Package under a licence that the policy does not allow", Severity: signal.SeverityMedium, Tags: []string{"license"},
			Why: "Nobody decided yet whether its terms fit.", Fix: "add the licence to allow or deny, or an exception for the package"},
		{ID: ruleUnknown, Title: "Package whose licence is not known", Severity: signal.SeverityLow, Tags: []string{"license"},
			Why: "What is not licensed may not be used.", Fix: "find out, and add an exception that says what you found"},
	}
}

// verdict is what the policy says; the higher the worse.
type verdict uint8

const (
	allowed verdict = iota
	unknown
	notAllowed
	denied
)

// Match implements scan.Matcher.
func (m *Matcher) Match(ctx context.Context, inv *scan.Inventory, report scan.Report) error {
	if len(m.allow)+len(m.deny) == 0 && m.config.Unknown != "report" {
		return nil
	}
	for i := range inv.Packages {
		if i%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		p := &inv.Packages[i]
		if p.Relation == scan.Root || p.Dev && !m.config.Dev {
			continue
		}
		v, what := m.judge(p)
		if v == allowed || v == unknown && m.config.Unknown != "report" {
			continue
		}
		excepted, expired := m.excepted(p, what)
		if !excepted {
			m.find(p, v, what, expired, report)
		}
	}
	return nil
}

// judge returns the worst that a package's licences are, and which it is.
func (m *Matcher) judge(p *scan.Package) (verdict, string) {
	if len(p.Licenses) == 0 {
		return unknown, ""
	}
	worst, what := allowed, ""
	for _, l := range p.Licenses {
		v, culprit := unknown, l
		if e, err := spdx.Parse(l); err == nil {
			v, culprit = m.expression(e)
		}
		if v > worst {
			worst, what = v, culprit
		}
	}
	return worst, what
}

// expression judges an expression: the best of what one may choose, the worst of what applies together.
func (m *Matcher) expression(e *spdx.Expression) (verdict, string) {
	if len(e.And)+len(e.Or) == 0 {
		return m.leaf(e), e.String()
	}
	best, bestWhat := denied+1, ""
	for _, o := range e.Or {
		if v, what := m.expression(o); v < best {
			best, bestWhat = v, what
		}
	}
	if len(e.Or) > 0 {
		return best, bestWhat
	}
	worst, what := allowed, ""
	for _, a := range e.And {
		if v, culprit := m.expression(a); v > worst {
			worst, what = v, culprit
		}
	}
	return worst, what
}

// leaf judges one licence. An exception after WITH grants more: what is allowed without it is allowed with it, and what is denied without it
// is denied unless the list of the allowed names it as a whole.
func (m *Matcher) leaf(e *spdx.Expression) verdict {
	whole, alone := e.String(), (&spdx.Expression{License: e.License, OrLater: e.OrLater}).String()
	named := func(list []string, id string) bool {
		for _, p := range list {
			if matches(p, id) {
				return true
			}
		}
		return false
	}
	switch {
	case e.Exception != "" && exact(m.allow, whole) && !exact(m.deny, whole):
		return allowed
	case named(m.deny, whole), named(m.deny, alone):
		return denied
	case named(m.allow, whole), named(m.allow, alone), len(m.allow) == 0:
		return allowed
	}
	return notAllowed
}

func exact(list []string, id string) bool {
	for _, p := range list {
		if p == id {
			return true
		}
	}
	return false
}

// matches compares a licence with an entry of a list.
func matches(pattern, id string) bool {
	if stem, ok := strings.CutSuffix(pattern, "*"); ok {
		return len(id) >= len(stem) && strings.EqualFold(id[:len(stem)], stem)
	}
	return pattern == id
}

// excepted reports whether somebody decided about the package, or had until a day that is past.
func (m *Matcher) excepted(p *scan.Package, what string) (excepted, expired bool) {
	for i := range m.config.Exceptions {
		e := &m.config.Exceptions[i]
		if !e.about(p) {
			continue
		}
		if e.License != "" {
			if l, _ := pattern(e.License); !matches(l, what) {
				continue
			}
		}
		if end, _ := e.end(); !end.IsZero() && !m.now().Before(end) {
			expired = true
			continue
		}
		return true, false
	}
	return false, expired
}

func (e *Exception) about(p *scan.Package) bool {
	if stem, ok := strings.CutSuffix(e.Package, "*"); ok {
		return strings.HasPrefix(p.PURL, stem) || strings.HasPrefix(p.Name, stem)
	}
	return e.Package == p.PURL || e.Package == withoutVersion(p.PURL) || e.Package == p.Name
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

func (m *Matcher) find(p *scan.Package, v verdict, what string, expired bool, report scan.Report) {
	rule, severity, why := ruleUnknown, signal.SeverityLow, "its licence is not known"
	fix := "find out, and add an exception that says what you found"
	confidence := scan.High
	switch v {
	case denied:
		rule, severity, why = ruleDenied, signal.SeverityHigh, what+" is denied"
		fix = "replace the package, or add an exception with a reason"
	case notAllowed:
		rule, severity, why = ruleNotAllowed, signal.SeverityMedium, what+" is not allowed"
		fix = "add " + scan.Printable(what) + " to allow or deny, or an exception for the package"
	default:
		if what != "" {
			why = fmt.Sprintf("its licence %q means no SPDX expression", what)
		}
		confidence = scan.Medium
	}
	f := signal.Finding{
		ID: signal.Fingerprint("license", rule, withoutVersion(p.PURL), p.Path, what), Rule: rule, Severity: severity,
		Title:    scan.Printable(fmt.Sprintf("%s %s: %s", p.Name, p.Version, why)),
		Location: signal.Location{Path: scan.Printable(p.Path), Line: p.Line}, Fix: fix, Tags: []string{"license"},
		Evidence: []signal.Evidence{{Name: "package", Value: scan.Printable(p.PURL)}},
	}
	say := func(name, value string) {
		if value != "" {
			f.Evidence = append(f.Evidence, signal.Evidence{Name: name, Value: scan.Printable(value)})
		}
	}
	say("licences", strings.Join(p.Licenses, "; "))
	say("relation", string(p.Relation))
	if expired {
		say("exception", "there was one, and its last day is past")
	}
	report(f, confidence)
}
