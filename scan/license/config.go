package license

import (
	"fmt"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/internal/spdx"
	"github.com/testudo-sec/testudo/scan"
)

// Config is the policy about licences. The empty one finds nothing.
type Config struct {
	// Allow lists the licences that may be used, as SPDX expressions without AND and OR, or with a star at the end: "GPL-*". Where it is
	// not empty, every other one is found.
	Allow []string `yaml:"allow"`
	// Deny lists the licences that may not be used, in the same form. It goes before allow.
	Deny []string `yaml:"deny"`
	// Unknown says what is done about packages whose licence is not told or means no SPDX expression: ignore or report.
	Unknown string `yaml:"unknown"`
	// Dev includes packages that serve development only.
	Dev bool `yaml:"dev"`
	// Exceptions are packages that somebody decided about.
	Exceptions []Exception `yaml:"exceptions"`
}

// Exception lets a package be used in spite of its licence.
type Exception struct {
	// Package is a package URL, with or without a version, or a name; a star at its end stands for anything.
	Package string `yaml:"package"`
	// License limits it to a licence; empty stands for any.
	License string `yaml:"license"`
	// Reason says why.
	Reason string `yaml:"reason"`
	// Until is the last day on which it holds, as 2027-01-31; empty for no end.
	Until string `yaml:"until"`
}

// DefaultConfig returns what is in force where nothing else is said.
func DefaultConfig() Config { return Config{Unknown: "ignore"} }

// Validate checks the licences, which must be of the SPDX list, and the exceptions, which must have a reason.
func (c *Config) Validate() error {
	for _, list := range []struct {
		key string
		ids []string
	}{{"allow", c.Allow}, {"deny", c.Deny}} {
		for _, id := range list.ids {
			if _, err := pattern(id); err != nil {
				return fmt.Errorf("%s: %w", list.key, err)
			}
		}
	}
	if c.Unknown != "" && c.Unknown != "ignore" && c.Unknown != "report" {
		return fmt.Errorf("unknown is %q: want ignore or report", c.Unknown)
	}
	for i, e := range c.Exceptions {
		_, err := e.end()
		switch {
		case e.Package == "" || len(e.Package) > 500:
			return fmt.Errorf("exceptions %d: package is missing or too long: want a package URL or a name", i+1)
		case strings.TrimSpace(e.Reason) == "":
			return fmt.Errorf("exceptions %d: %s needs a reason", i+1, scan.Printable(e.Package))
		case err != nil:
			return fmt.Errorf("exceptions %d: until is %q: want a day, as 2027-01-31", i+1, e.Until)
		}
		if e.License != "" {
			if _, err := pattern(e.License); err != nil {
				return fmt.Errorf("exceptions %d: %w", i+1, err)
			}
		}
	}
	return nil
}

// end is the moment at which the exception holds no longer; zero if never.
func (e *Exception) end() (time.Time, error) {
	if e.Until == "" {
		return time.Time{}, nil
	}
	day, err := time.Parse(time.DateOnly, e.Until)
	return day.AddDate(0, 0, 1), err
}

// pattern reads an entry of a list: a licence in its current form, or the beginning of one, which ends with a star.
func pattern(s string) (string, error) {
	if stem, ok := strings.CutSuffix(s, "*"); ok {
		if stem == "" || strings.ContainsAny(stem, "* ()") {
			return "", fmt.Errorf("%q: want a licence or the beginning of one before the star", s)
		}
		return s, nil
	}
	e, err := spdx.Parse(s)
	switch {
	case err != nil:
		if n, ok := spdx.Normalize(s); ok {
			return "", fmt.Errorf("%q is not how SPDX writes it: want %q", s, n)
		}
		return "", fmt.Errorf("%q: %w", s, err)
	case len(e.And)+len(e.Or) > 0:
		return "", fmt.Errorf("%q: want one licence in each entry", s)
	}
	return e.String(), nil
}
