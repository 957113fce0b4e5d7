package secret

import (
	"context"

	"github.com/testudo-sec/testudo/detect"
	"github.com/testudo-sec/testudo/detect/gitleaks"
	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/signal"
)

// Gitleaks finds what the rules of a gitleaks configuration describe, and puts it into words as [Scanner] does. It is safe for
// concurrent use.
type Gitleaks struct {
	set   *gitleaks.Set
	rules map[*gitleaks.Rule]*detect.Rule
	list  []scan.Rule
}

// NewGitleaks returns a scanner that uses the rules of the set.
func NewGitleaks(set *gitleaks.Set) *Gitleaks {
	g := &Gitleaks{set: set, rules: map[*gitleaks.Rule]*detect.Rule{}}
	for _, r := range set.Rules() {
		title := r.Description
		if title == "" {
			title = r.ID
		}
		ours := &detect.Rule{
			ID: r.ID, Title: scan.Printable(title), Severity: signal.SeverityHigh, Tags: append([]string{"secret", "gitleaks"}, r.Tags...),
			Why: "A rule of the gitleaks configuration takes it for a secret.",
			Fix: "Revoke it where it was issued, look there for use that is not yours, then keep the new one in a secret manager or in the environment, not in a file under version control.",
			// Nothing is known of how secrets of foreign rules are made: no hash of one is kept.
			Guessable: true,
		}
		g.rules[r] = ours
		g.list = append(g.list, scan.Rule{ID: ours.ID, Title: ours.Title, Why: ours.Why, Fix: ours.Fix, Severity: ours.Severity, Tags: ours.Tags})
	}
	return g
}

// Name returns "gitleaks".
func (g *Gitleaks) Name() string { return "gitleaks" }

// Rules lists what it finds.
func (g *Gitleaks) Rules() []scan.Rule { return g.list }

// Scan looks at a file: at its path alone if it is no text.
func (g *Gitleaks) Scan(_ context.Context, f *scan.File, report scan.Report) error {
	text := f.Data
	if f.Binary {
		text = nil
	}
	var matches []detect.Match
	end := 0
	complete := g.set.FindIn(f.Path, f.Commit, text, func(m gitleaks.Match) bool {
		if m.Start < end && m.End > m.Start {
			return true // another rule found it already
		}
		end = max(end, m.End)
		matches = append(matches, detect.Match{Rule: g.rules[m.Rule], Start: m.Start, End: m.End, Confidence: detect.Medium})
		return true
	})
	for _, s := range group(f, merge(matches, f.Data, nil)) {
		report(s.finding, s.confidence)
	}
	if !complete {
		return errCutShort
	}
	return nil
}
