package vuln

import (
	"fmt"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/signal"
)

// The bounds of the priorities that make a severity: nine times where CVSS has them, so that a flaw of which
// nothing else is known is as severe as its rating says.
const (
	weight           = 9
	criticalPriority = 81
	highPriority     = 63
	mediumPriority   = 36
)

// Reachability is whether the target's own code can come to the flaw.
type Reachability uint8

// What an analysis of calls can say.
const (
	ReachUnknown Reachability = iota // nobody looked, or the advisory names no symbols
	Reached                          // a chain of calls leads to it
	NotReached                       // the package is imported, the flawed symbols are not called
	NotImported                      // the package with the flaw is not part of the program
	NotBuilt                         // the toolchain that builds here does not have it, whatever go.mod allows
)

// Use is whether a package was seen in use at run time.
type Use uint8

// What the kernel plane can say.
const (
	UseUnknown Use = iota // nobody watched
	Used                  // a process ran it or loaded it
	NotUsed               // watched, and not seen
)

// Priority is how much a flaw matters here: Score is 0 to 100, Reasons say what made it so, the first being the
// rating.
type Priority struct {
	Score   int
	Reasons []string
}

// Severity is the priority in words.
func (p Priority) Severity() signal.Severity {
	switch {
	case p.Score >= criticalPriority:
		return signal.SeverityCritical
	case p.Score >= highPriority:
		return signal.SeverityHigh
	case p.Score >= mediumPriority:
		return signal.SeverityMedium
	}
	return signal.SeverityLow
}

// String is the score with its reasons.
func (p Priority) String() string {
	return fmt.Sprintf("%d of 100: %s", p.Score, strings.Join(p.Reasons, "; "))
}

func (p *Priority) add(points int, reason string, args ...any) {
	p.Score += points
	p.Reasons = append(p.Reasons, fmt.Sprintf("%s (%+d)", fmt.Sprintf(reason, args...), points))
}

func (p *Priority) atLeast(score int, reason string, args ...any) {
	p.Score = max(p.Score, score)
	p.Reasons = append(p.Reasons, fmt.Sprintf("%s (at least %d)", fmt.Sprintf(reason, args...), score))
}

func (p *Priority) atMost(score int, reason string, args ...any) {
	p.Score = min(p.Score, score)
	p.Reasons = append(p.Reasons, fmt.Sprintf("%s (at most %d)", fmt.Sprintf(reason, args...), score))
}

// prioritise weighs what is known of a flaw.
func (f *Flaw) prioritise(exposure Exposure) Priority {
	var p Priority
	if f.Malicious() {
		p.Score, p.Reasons = 100, []string{"the package itself is an attack (100)"}
		return p
	}
	if r, ok := f.rating(); ok {
		p.add(int(r.score*weight+0.5), "%s", r.text)
	} else {
		p.add(5*weight, "unrated: not rated by any advisory, taken as medium")
	}
	if e := f.probability(); e != nil {
		switch {
		case e.Score >= 0.5:
			p.add(15, "exploitation within 30 days has a probability of %.0f%% (EPSS)", e.Score*100)
		case e.Score >= 0.1:
			p.add(8, "exploitation within 30 days has a probability of %.0f%% (EPSS)", e.Score*100)
		case e.Score < 0.005:
			p.add(-8, "exploitation within 30 days has a probability of %.2f%% (EPSS)", e.Score*100)
		}
	}
	switch exposure {
	case ExposureInternet:
		p.add(5, "the target is exposed to the internet")
	case ExposureNone:
		p.add(-10, "nothing can connect to the target")
	}
	switch f.Use {
	case Used:
		p.add(10, "the package was seen in use at run time")
	case NotUsed:
		p.add(-10, "the package was not seen in use at run time")
	}
	if f.LeastGo() {
		p.atMost(mediumPriority-1, "go.mod names the least Go that builds it, not the one that does")
	}
	if f.dev() {
		p.add(-20, "it serves development only")
	}
	switch f.Reach {
	case Reached:
		p.add(10, "calls lead to the flaw")
	case NotReached:
		p.atMost(mediumPriority-1, "nothing calls the flawed symbols")
	case NotImported:
		p.atMost(15, "the package with the flaw is not imported")
	}
	if k := f.exploited(); k != nil {
		about := ""
		if k.Ransomware {
			about = ", by ransomware too"
		}
		if f.Reach == NotReached || f.Reach == NotImported || f.LeastGo() {
			p.add(10, "known to be exploited%s, since %s (CISA KEV)", about, k.Added.Format(time.DateOnly))
		} else {
			p.atLeast(90, "known to be exploited%s, since %s (CISA KEV)", about, k.Added.Format(time.DateOnly))
		}
	}
	p.Score = max(1, min(100, p.Score))
	return p
}
