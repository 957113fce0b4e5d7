package vuln

import (
	"fmt"
	"regexp"
	"time"
)

// Exposure is who can reach what was scanned.
type Exposure string

// The exposures. The empty one stands for not known.
const (
	ExposureInternet Exposure = "internet"
	ExposureInternal Exposure = "internal"
	ExposureNone     Exposure = "none"
)

// Config is how known vulnerabilities are judged.
type Config struct {
	// Exposure says who can reach the target: internet, internal or none; it moves priorities. Empty if not known.
	Exposure Exposure `yaml:"exposure"`
	// Dev includes packages that serve development only, with a lower priority.
	Dev bool `yaml:"dev"`
	// Unfixed includes flaws for which there is no fixed version.
	Unfixed bool `yaml:"unfixed"`
	// Ignore lists flaws that somebody decided about.
	Ignore []Ignore `yaml:"ignore"`
}

// Ignore takes flaws out of the report until a day.
type Ignore struct {
	// ID is the flaw's, any of its names: CVE, GHSA or a database's own.
	ID string `yaml:"id"`
	// Package limits it to a package URL, with or without a version; empty stands for every package.
	Package string `yaml:"package"`
	// Path limits it to a place, with patterns as in .gitignore; empty stands for every place.
	Path string `yaml:"path"`
	// Reason says why it does not matter here.
	Reason string `yaml:"reason"`
	// Until is the last day on which it holds, as 2027-01-31.
	Until string `yaml:"until"`
}

// DefaultConfig returns what is in force where nothing else is said.
func DefaultConfig() Config { return Config{Dev: true, Unfixed: true} }

var flawID = regexp.MustCompile(`^[A-Za-z]+-[A-Za-z0-9:._-]+$`)

// Validate checks the values. Each ignored flaw must have a reason and an end.
func (c *Config) Validate() error {
	switch c.Exposure {
	case "", ExposureInternet, ExposureInternal, ExposureNone:
	default:
		return fmt.Errorf("exposure is %q: want internet, internal or none", c.Exposure)
	}
	for i, ig := range c.Ignore {
		switch {
		case !flawID.MatchString(ig.ID) || len(ig.ID) > 100:
			return fmt.Errorf("ignore %d: id %q: want that of a vulnerability, such as CVE-2021-23337", i+1, ig.ID)
		case ig.Reason == "":
			return fmt.Errorf("ignore %s: no reason is given", ig.ID)
		case ig.Until == "":
			return fmt.Errorf("ignore %s: no end is given: until: 2027-01-31", ig.ID)
		}
		if _, err := ig.end(); err != nil {
			return fmt.Errorf("ignore %s: until is %q: want a day, such as 2027-01-31", ig.ID, ig.Until)
		}
	}
	return nil
}

// end returns the moment from which it does not hold any more.
func (ig *Ignore) end() (time.Time, error) {
	day, err := time.Parse(time.DateOnly, ig.Until)
	return day.AddDate(0, 0, 1), err
}
