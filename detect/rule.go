package detect

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/signal"
)

// A Rule is one kind of secret, as its file says. The zero values of the optional fields mean no
// such condition.
type Rule struct {
	ID         string          `yaml:"id"`         // lower case with dashes, unique: "github-token"
	Title      string          `yaml:"title"`      // what was found: "GitHub token"
	Severity   signal.Severity `yaml:"severity"`   // of a secret that is in use
	Why        string          `yaml:"why"`        // what somebody who has it can do
	Fix        string          `yaml:"fix"`        // how to revoke it and where to keep it instead
	References []string        `yaml:"references"` // the vendor's pages
	Tags       []string        `yaml:"tags"`

	Detect []Way `yaml:"detect"` // at least one; each finds by itself

	// Confidence of a match that nothing proved; a proof raises it by one. Medium unless said.
	Confidence Confidence `yaml:"confidence"`
	// Generic marks a rule that knows a shape rather than a provider: where it overlaps with another
	// rule's match, that one stays.
	Generic bool `yaml:"generic"`
	// Fixtures "quiet" makes matches in tests, examples and documentation low in confidence
	// instead of one step lower.
	Fixtures string `yaml:"fixtures"`
	// Guessable says that people may choose the secret, as with passwords: then no hash of
	// it is kept either.
	Guessable bool `yaml:"guessable"`
	// Paths, if given, are the only files looked at; NotPaths are never. An entry with a
	// final slash names a folder anywhere, else a file's last name, with * and ?.
	Paths    []string `yaml:"paths"`
	NotPaths []string `yaml:"not_paths"`
	// Allow are expressions; a secret that one of them matches is none.
	Allow []string `yaml:"allow"`
	// Verify says how the provider is asked whether the secret is in use, where that is possible.
	Verify *Verify `yaml:"verify"`

	Tests Tests `yaml:"tests"`

	allow []*regexp.Regexp
}

// A Way is one way to find the secret. It has either literals and a pattern, or keywords and a
// pattern, or keywords and an assignment, or a pattern for a whole file.
type Way struct {
	// Literals are exact beginnings: the pattern is tried where one occurs, and must begin
	// there.
	Literals []string `yaml:"literals"`
	// Keywords, in either case, bring up the neighbourhood in which the pattern is looked for.
	Keywords []string `yaml:"keywords"`
	// Pattern is an expression in Go's syntax (RE2). The secret is its group (?P<secret>...), or all
	// of it. What it matches must begin and end at a word's edge.
	Pattern string `yaml:"pattern"`
	// File looks for the pattern in all of a short file, which the rule's Paths must name: for files that hold a secret and nothing
	// that tells of it.
	File bool `yaml:"file"`
	// Requires is a string that must follow the literal within the pattern's reach: a cheap
	// look before the pattern is tried.
	Requires string `yaml:"requires"`
	// Assign looks at what is assigned to a name that contains the keyword.
	Assign *Assign `yaml:"assign"`
	// Entropy is the least Shannon entropy of the secret in bits a character.
	Entropy float64 `yaml:"entropy"`
	// Needs lists characters that must occur: digit, lower, upper, symbol, letter.
	Needs []string `yaml:"needs"`
	// Check names an offline proof; Checks lists them.
	Check string `yaml:"check"`
	// Reach bounds the length in bytes of a pattern that has no bound of its own, at most 4096; 300 unless
	// said.
	Reach int `yaml:"reach"`
}

// An Assign describes `name = value` in any of the usual notations: code, JSON, YAML, environment
// files, INI, XML elements, command line flags.
type Assign struct {
	Name string `yaml:"name"` // expression that must match somewhere in the name, in either case; any name if empty
	// NotName is an expression that must not match the name: of what is about a secret and is none.
	NotName string `yaml:"not_name"`
	Value   string `yaml:"value"` // expression for the whole value; the secret is its group "secret", or all of it
}

// Tests are examples that hold the rule to its word. They may contain templates, so that no file
// holds a token in full: see Expand.
type Tests struct {
	Find []Example `yaml:"find"` // the rule must match
	Pass []Example `yaml:"pass"` // the rule must not match
}

// An Example is a text, and the path of the file it is in where that matters. In YAML it is a
// string, or a mapping with path and text.
type Example struct {
	Path string `yaml:"path"`
	Text string `yaml:"text"`
}

// UnmarshalYAML reads both forms.
func (e *Example) UnmarshalYAML(unmarshal func(any) error) error {
	if err := unmarshal(&e.Text); err == nil {
		return nil
	}
	type plain Example
	return unmarshal((*plain)(e))
}

// Confidence is how likely a match is a secret that somebody uses.
type Confidence uint8

// The levels of confidence. The zero value stands for "not said".
const (
	Low Confidence = iota + 1
	Medium
	High
)

var confidenceNames = [...]string{"", "low", "medium", "high"}

// String returns the lower-case name.
func (c Confidence) String() string {
	if int(c) < len(confidenceNames) {
		return confidenceNames[c]
	}
	return fmt.Sprintf("confidence_%d", uint8(c))
}

// UnmarshalText reads a lower-case name.
func (c *Confidence) UnmarshalText(b []byte) error {
	if i := slices.Index(confidenceNames[1:], string(b)); i >= 0 {
		*c = Confidence(i + 1)
		return nil
	}
	return fmt.Errorf("unknown confidence %q: want low, medium or high", b)
}

// Limits on rules.
const (
	minLiteral   = 3
	maxReach     = 4096
	defaultReach = 300
)

// validate checks what can be said of a rule by itself.
func (r *Rule) validate() error {
	if r.ID == "" || strings.Trim(r.ID, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return fmt.Errorf("id %q: want lower-case letters, digits and dashes", r.ID)
	}
	switch {
	case r.Title == "":
		return fmt.Errorf("rule %s has no title", r.ID)
	case r.Severity == signal.SeverityUnknown:
		return fmt.Errorf("rule %s has no severity", r.ID)
	case r.Fix == "":
		return fmt.Errorf("rule %s has no fix: say how to revoke the secret and where to keep it", r.ID)
	case len(r.Detect) == 0:
		return fmt.Errorf("rule %s has nothing under detect", r.ID)
	case r.Fixtures != "" && r.Fixtures != "quiet":
		return fmt.Errorf("rule %s: fixtures is %q: want quiet or nothing", r.ID, r.Fixtures)
	case len(r.Tests.Find) == 0:
		return fmt.Errorf("rule %s has no example under tests.find", r.ID)
	}
	for _, p := range slices.Concat(r.Paths, r.NotPaths) {
		if _, err := path.Match(p, ""); err != nil || strings.Contains(strings.TrimSuffix(p, "/"), "/") {
			return fmt.Errorf("rule %s: path %q: want a file's name, with * and ?, or a folder's name with a slash behind it", r.ID, p)
		}
	}
	r.allow = nil
	for _, a := range r.Allow {
		re, err := regexp.Compile(a)
		if err != nil {
			return fmt.Errorf("rule %s, allow: %w", r.ID, err)
		}
		r.allow = append(r.allow, re)
	}
	for i := range r.Detect {
		if err := r.Detect[i].validate(); err != nil {
			return fmt.Errorf("rule %s, detect %d: %w", r.ID, i+1, err)
		}
		if r.Detect[i].File && len(r.Paths) == 0 {
			return fmt.Errorf("rule %s, detect %d: file goes with paths", r.ID, i+1)
		}
	}
	if r.Verify != nil {
		if err := r.Verify.validate(); err != nil {
			return fmt.Errorf("rule %s, verify: %w", r.ID, err)
		}
	}
	return nil
}

func (w *Way) validate() error {
	switch {
	case len(w.Literals) > 0 && len(w.Keywords) > 0:
		return fmt.Errorf("has literals and keywords: make them two ways")
	case w.File && (len(w.Literals)+len(w.Keywords) > 0 || w.Pattern == ""):
		return fmt.Errorf("file goes with a pattern alone")
	case len(w.Literals) == 0 && len(w.Keywords) == 0 && !w.File:
		return fmt.Errorf("has neither literals nor keywords: every byte would be searched")
	case (w.Pattern == "") == (w.Assign == nil):
		return fmt.Errorf("wants exactly one of pattern and assign")
	case w.Assign != nil && len(w.Keywords) == 0:
		return fmt.Errorf("assign goes with keywords, not with literals")
	case w.Assign != nil && w.Assign.Value == "":
		return fmt.Errorf("assign has no value")
	case w.Requires != "" && len(w.Literals) == 0:
		return fmt.Errorf("requires goes with literals")
	case w.Reach < 0 || w.Reach > maxReach:
		return fmt.Errorf("reach %d: want 0 to %d", w.Reach, maxReach)
	case w.Entropy < 0 || w.Entropy > 8:
		return fmt.Errorf("entropy %v: want 0 to 8 bits", w.Entropy)
	}
	for _, l := range slices.Concat(w.Literals, w.Keywords) {
		if len(l) < minLiteral {
			return fmt.Errorf("%q is shorter than %d bytes and would match everywhere", l, minLiteral)
		}
	}
	for _, n := range w.Needs {
		if _, ok := needs(n); !ok {
			return fmt.Errorf("needs %q: want digit, lower, upper, letter or symbol", n)
		}
	}
	if w.Check != "" {
		if _, ok := checks(w.Check); !ok {
			return fmt.Errorf("check %q is unknown: want one of %s", w.Check, strings.Join(CheckNames(), ", "))
		}
	}
	return nil
}

// applies reports whether the rule looks at files of that path; an unknown path ("")
// is looked at by all.
func (r *Rule) applies(file string) bool {
	if file == "" {
		return true
	}
	if len(r.Paths) > 0 && !matchesPath(r.Paths, file) {
		return false
	}
	return !matchesPath(r.NotPaths, file)
}

func matchesPath(patterns []string, file string) bool {
	for _, p := range patterns {
		if dir, ok := strings.CutSuffix(p, "/"); ok {
			for rest := file; ; {
				head, tail, more := strings.Cut(rest, "/")
				if !more {
					break
				}
				if strings.EqualFold(head, dir) {
					return true
				}
				rest = tail
			}
			continue
		}
		if ok, _ := path.Match(p, strings.ToLower(path.Base(file))); ok {
			return true
		}
	}
	return false
}
