// Package gate decides whether what a scan found stops a change: by one policy over all kinds of findings, and, where there is
// something to compare with, by what is new.
package gate

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/internal/ignore"
	"github.com/testudo-sec/testudo/signal"
)

// Policy says what stops a change.
type Policy struct {
	// FailOn is the least severity that stops: low, medium, high, critical, or never.
	FailOn Threshold `yaml:"fail_on"`
	// Kinds change it for one kind of finding: secret, vulnerability, malicious, license, image.
	Kinds map[string]Threshold `yaml:"kinds"`
	// Known says whether findings that the base has too stop as well.
	Known bool `yaml:"known"`
	// Incomplete says when it stops that something could not be scanned: new, where the change brings that (a file too large, a
	// lockfile that cannot be read); always, whoever brought it; or never. Where there is no base to compare with, new says it and does not stop.
	Incomplete Incomplete `yaml:"incomplete"`
	// Accept lists findings that somebody decided about.
	Accept []Accept `yaml:"accept"`
}

// Incomplete is when it stops that something could not be scanned.
type Incomplete string

// The choices.
const (
	IncompleteNever  Incomplete = "never"
	IncompleteNew    Incomplete = "new"
	IncompleteAlways Incomplete = "always"
)

// Threshold is a severity, or Never.
type Threshold struct{ signal.Severity }

// Never is above every severity.
const Never = signal.Severity(255)

// UnmarshalText reads a severity's name, or never.
func (t *Threshold) UnmarshalText(b []byte) error {
	if string(b) == "never" {
		t.Severity = Never
		return nil
	}
	s, err := signal.ParseSeverity(string(b))
	if err != nil {
		return fmt.Errorf("%w, or never", err)
	}
	t.Severity = s
	return nil
}

// MarshalText writes it as it is read.
func (t Threshold) MarshalText() ([]byte, error) {
	if t.Severity == Never {
		return []byte("never"), nil
	}
	return []byte(t.Severity.String()), nil
}

// Accept takes findings out of the decision until a day.
type Accept struct {
	// Rule is the rule's id, or the vulnerability's. It or id must be there.
	Rule string `yaml:"rule"`
	// ID is the finding's, as reports show it.
	ID string `yaml:"id"`
	// Path limits it to places, with patterns as in .gitignore.
	Path string `yaml:"path"`
	// Reason says why it is fine here.
	Reason string `yaml:"reason"`
	// Until is the last day on which it holds, as 2027-01-31.
	Until string `yaml:"until"`
}

// DefaultPolicy returns what is in force where nothing else is said: what is new stops from high on, secrets from
// medium on. What a change brings and nobody can look at stops too: it could be anything.
func DefaultPolicy() Policy {
	return Policy{FailOn: Threshold{signal.SeverityHigh}, Incomplete: IncompleteNew, Kinds: map[string]Threshold{
		"secret":    {signal.SeverityMedium},
		"malicious": {signal.SeverityLow},
	}}
}

// Kinds lists what a policy can speak of.
func Kinds() []string { return []string{"secret", "vulnerability", "malicious", "license", "image"} }

// Validate checks the names and that every decision has a reason and an end.
func (p *Policy) Validate() error {
	for kind := range p.Kinds {
		if !slices.Contains(Kinds(), kind) {
			return fmt.Errorf("kinds: %q is none: want %s", kind, strings.Join(Kinds(), ", "))
		}
	}
	if p.FailOn.Severity == signal.SeverityUnknown {
		return errors.New("fail_on is missing: want low, medium, high, critical or never")
	}
	switch p.Incomplete {
	case IncompleteNever, IncompleteNew, IncompleteAlways:
	default:
		return fmt.Errorf("incomplete is %q: want never, new or always", p.Incomplete)
	}
	for i, a := range p.Accept {
		name := a.Rule + a.ID
		switch {
		case a.Rule == "" && a.ID == "":
			return fmt.Errorf("accept %d: neither rule nor id is given", i+1)
		case a.Reason == "":
			return fmt.Errorf("accept %s: no reason is given", name)
		case a.Until == "":
			return fmt.Errorf("accept %s: no end is given: until: 2027-01-31", name)
		}
		if _, err := a.end(); err != nil {
			return fmt.Errorf("accept %s: until is %q: want a day, such as 2027-01-31", name, a.Until)
		}
	}
	return nil
}

func (a *Accept) end() (time.Time, error) {
	day, err := time.Parse(time.DateOnly, a.Until)
	return day.AddDate(0, 0, 1), err
}

func (a *Accept) about(f *signal.Finding) bool {
	if a.ID != "" && a.ID != f.ID || a.Rule != "" && a.Rule != f.Rule {
		return false
	}
	if a.Path == "" {
		return true
	}
	out, matched := (*ignore.List)(nil).Extend("", []byte(a.Path)).Decide(f.Location.Path, false)
	return matched && out
}

// Kind says which part of a policy speaks of a finding.
func Kind(f *signal.Finding) string {
	switch {
	case slices.Contains(f.Tags, "malicious"):
		return "malicious"
	case f.Kind == signal.FindingVulnerability:
		return "vulnerability"
	case slices.Contains(f.Tags, "license"):
		return "license"
	case slices.Contains(f.Tags, "image"):
		return "image"
	}
	return "secret"
}

// Why is what was decided of a finding.
type Why uint8

// The decisions.
const (
	Stops    Why = iota // it is new and severe enough
	Below               // not severe enough
	Known               // the base has it too
	Accepted            // by the policy
)

// Decision is what the policy says of a scan.
type Decision struct {
	Stopped bool
	// Missed says that what could not be scanned is among the reasons.
	Missed bool
	// Reasons say in sentences what stopped it.
	Reasons []string
	// Of has the decision for each finding's id.
	Of map[string]Why
	// Expired are acceptances that have ended and would have applied.
	Expired []Accept
	// Unused are acceptances that no finding needed.
	Unused []Accept

	New, Same, Gone, Accepted int
}

// Decide judges the findings. Base holds the ids of what was there before; nil stands for nothing to compare with, and then
// everything is new. Missed is what could not be scanned.
func (p *Policy) Decide(findings []signal.Finding, base map[string]bool, missed Missed, now time.Time) Decision {
	d := Decision{Of: map[string]Why{}}
	used, expired := map[int]bool{}, map[int]bool{}
	stops := map[signal.Severity]int{}
	seen := map[string]bool{}
	for i := range findings {
		f := &findings[i]
		seen[f.ID] = true
		why := Stops
		switch {
		case f.Severity < p.threshold(f):
			why = Below
		case base[f.ID] && !p.Known:
			why = Known
		}
		if base[f.ID] {
			d.Same++
		} else {
			d.New++
		}
		for j := range p.Accept {
			a := &p.Accept[j]
			if !a.about(f) {
				continue
			}
			if end, err := a.end(); err != nil || !now.Before(end) {
				expired[j] = true
				continue
			}
			used[j], why = true, Accepted
		}
		if why == Accepted {
			d.Accepted++
		}
		if why == Stops {
			stops[f.Severity]++
		}
		d.Of[f.ID] = why
	}
	for id := range base {
		if !seen[id] {
			d.Gone++
		}
	}
	for j, a := range p.Accept {
		switch {
		case expired[j] && !used[j]:
			d.Expired = append(d.Expired, a)
		case !used[j]:
			d.Unused = append(d.Unused, a)
		}
	}
	d.Reasons = reasons(stops, base != nil && !p.Known)
	found := len(d.Reasons)
	switch {
	case p.Incomplete != IncompleteNever && len(missed.New) > 0:
		d.Reasons = append(d.Reasons, "what the change brings could not be scanned: "+Enumerate(missed.New))
	case p.Incomplete == IncompleteAlways && missed.Any:
		d.Reasons = append(d.Reasons, "something could not be scanned")
	}
	d.Stopped, d.Missed = len(d.Reasons) > 0, len(d.Reasons) > found
	return d
}

func (p *Policy) threshold(f *signal.Finding) signal.Severity {
	if t, ok := p.Kinds[Kind(f)]; ok {
		return t.Severity
	}
	return p.FailOn.Severity
}

func reasons(stops map[signal.Severity]int, onlyNew bool) []string {
	var out []string
	for s := signal.SeverityFatal; s > signal.SeverityUnknown; s-- {
		if n := stops[s]; n > 0 {
			noun, kind := "finding", ""
			if n > 1 {
				noun = "findings"
			}
			if onlyNew {
				kind = "new "
			}
			out = append(out, fmt.Sprintf("%d %s%s of severity %s", n, kind, noun, s))
		}
	}
	return out
}
