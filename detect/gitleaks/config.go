// Package gitleaks reads gitleaks' configuration files, as they are, and finds what their rules describe
// (https://github.com/gitleaks/gitleaks, the section "Configuration" of its README; version 8).
//
// What it keeps to: rules with keywords, expressions, groups, entropy and paths; allow lists of rules and of the whole
// configuration, in the old form and the new; stop words; extending a file, switching rules off; comments gitleaks:allow.
// What differs: `useDefault` brings in testudo's own rules, since gitleaks' are not part of testudo; the caller adds them
// (see Config.UseDefault). Expressions run in Go's engine, as there.
package gitleaks

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

const (
	maxFile  = 4 << 20
	maxRules = 10_000
	maxDepth = 2 // of extended files, as gitleaks has it
)

// Config is a configuration that was read.
type Config struct {
	Title string
	Rules []*Rule
	// Allow is what the configuration allows everywhere.
	Allow []*Allow
	// UseDefault says that the rules which ship are wanted too; Disabled are the ids of those that are not.
	UseDefault bool
	Disabled   []string
}

// Rule is one kind of secret.
type Rule struct {
	ID          string
	Description string
	Keywords    []string
	Tags        []string
	Entropy     float64
	Group       int
	Regex       *regexp.Regexp // nil for rules about paths alone
	Path        *regexp.Regexp
	Allow       []*Allow
}

// Allow is one allow list.
type Allow struct {
	Description string
	And         bool   // all conditions must hold, not one
	Target      string // of Regexes: "", "match" or "line"
	Regexes     []*regexp.Regexp
	Paths       []*regexp.Regexp
	Commits     []string
	StopWords   []string
	targets     []string // ids of the rules that a list of the configuration is about; none stand for all
}

// The forms of the file.
type (
	fileForm struct {
		Title  string `toml:"title"`
		Extend struct {
			Path       string   `toml:"path"`
			URL        string   `toml:"url"`
			UseDefault bool     `toml:"useDefault"`
			Disabled   []string `toml:"disabledRules"`
		} `toml:"extend"`
		Rules      []ruleForm  `toml:"rules"`
		Allowlist  *allowForm  `toml:"allowlist"`
		Allowlists []allowForm `toml:"allowlists"`
	}
	ruleForm struct {
		ID          string      `toml:"id"`
		Description string      `toml:"description"`
		Regex       string      `toml:"regex"`
		SecretGroup int         `toml:"secretGroup"`
		Entropy     float64     `toml:"entropy"`
		Keywords    []string    `toml:"keywords"`
		Path        string      `toml:"path"`
		Tags        []string    `toml:"tags"`
		Allowlist   *allowForm  `toml:"allowlist"`
		Allowlists  []allowForm `toml:"allowlists"`
	}
	allowForm struct {
		Description string   `toml:"description"`
		Condition   string   `toml:"condition"`
		RegexTarget string   `toml:"regexTarget"`
		Regexes     []string `toml:"regexes"`
		Paths       []string `toml:"paths"`
		Commits     []string `toml:"commits"`
		StopWords   []string `toml:"stopwords"`
		TargetRules []string `toml:"targetRules"`
	}
)

// Load reads the file and those that it extends, which must stand in the tree too.
func Load(tree fs.FS, name string) (*Config, error) {
	return load(tree, name, 0)
}

func load(tree fs.FS, name string, depth int) (*Config, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("%s: files extend each other more than %d deep", name, maxDepth)
	}
	f, err := tree.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s is larger than %d MiB", name, maxFile>>20)
	}
	c, extends, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if extends == "" {
		return c, nil
	}
	base, err := load(tree, path.Join(path.Dir(name), extends), depth+1)
	if err != nil {
		return nil, fmt.Errorf("%s extends %s: %w", name, extends, err)
	}
	c.extend(base)
	return c, nil
}

// Parse reads one file. It returns the path of the file that it extends, if it does.
func Parse(data []byte) (c *Config, extends string, err error) {
	var form fileForm
	meta, err := toml.Decode(string(data), &form)
	if err != nil {
		var place toml.ParseError
		if errors.As(err, &place) {
			return nil, "", fmt.Errorf("line %d: %s", place.Position.Line, place.Message)
		}
		return nil, "", err
	}
	_ = meta // unknown keys are gitleaks' own of other versions, and no errors there either
	if form.Extend.URL != "" {
		return nil, "", errors.New("extend.url is not followed: save that file and name it in extend.path")
	}
	if form.Extend.Path != "" && form.Extend.UseDefault {
		return nil, "", errors.New("extend has both path and useDefault: want one of them")
	}
	if len(form.Rules) > maxRules {
		return nil, "", fmt.Errorf("%d rules: want at most %d", len(form.Rules), maxRules)
	}
	c = &Config{Title: form.Title, UseDefault: form.Extend.UseDefault, Disabled: form.Extend.Disabled}
	for i := range form.Rules {
		r, err := compileRule(&form.Rules[i])
		if err != nil {
			return nil, "", fmt.Errorf("rule %d (%s): %w", i+1, form.Rules[i].ID, err)
		}
		if slices.ContainsFunc(c.Rules, func(o *Rule) bool { return o.ID == r.ID }) {
			return nil, "", fmt.Errorf("two rules have the id %s", r.ID)
		}
		c.Rules = append(c.Rules, r)
	}
	if c.Allow, err = compileAllows(form.Allowlist, form.Allowlists); err != nil {
		return nil, "", err
	}
	return c, form.Extend.Path, nil
}

func compileRule(f *ruleForm) (*Rule, error) {
	r := &Rule{ID: f.ID, Description: f.Description, Tags: f.Tags, Entropy: f.Entropy, Group: f.SecretGroup}
	if f.ID == "" {
		return nil, errors.New("it has no id")
	}
	for _, k := range f.Keywords {
		if k != "" {
			r.Keywords = append(r.Keywords, strings.ToLower(k))
		}
	}
	var err error
	if f.Regex != "" {
		if r.Regex, err = regexp.Compile(f.Regex); err != nil {
			return nil, fmt.Errorf("regex: %w", err)
		}
		if r.Group < 0 || r.Group > r.Regex.NumSubexp() {
			return nil, fmt.Errorf("secretGroup is %d: the regex has %d groups", r.Group, r.Regex.NumSubexp())
		}
	}
	if f.Path != "" {
		if r.Path, err = regexp.Compile(f.Path); err != nil {
			return nil, fmt.Errorf("path: %w", err)
		}
	}
	r.Allow, err = compileAllows(f.Allowlist, f.Allowlists)
	return r, err
}

func compileAllows(one *allowForm, many []allowForm) ([]*Allow, error) {
	if one != nil {
		many = append([]allowForm{*one}, many...)
	}
	var out []*Allow
	for i := range many {
		f := &many[i]
		a := &Allow{Description: f.Description, Target: f.RegexTarget, Commits: f.Commits, targets: f.TargetRules}
		switch strings.ToUpper(f.Condition) {
		case "", "OR", "||":
		case "AND", "&&":
			a.And = true
		default:
			return nil, fmt.Errorf("allowlist %d: condition is %q: want AND or OR", i+1, f.Condition)
		}
		switch f.RegexTarget {
		case "", "match", "line", "secret":
		default:
			return nil, fmt.Errorf("allowlist %d: regexTarget is %q: want match or line", i+1, f.RegexTarget)
		}
		for _, w := range f.StopWords {
			a.StopWords = append(a.StopWords, strings.ToLower(w))
		}
		var err error
		if a.Regexes, err = compileAll(f.Regexes); err == nil {
			a.Paths, err = compileAll(f.Paths)
		}
		if err != nil {
			return nil, fmt.Errorf("allowlist %d: %w", i+1, err)
		}
		out = append(out, a)
	}
	return out, nil
}

func compileAll(expressions []string) ([]*regexp.Regexp, error) {
	var out []*regexp.Regexp
	for _, e := range expressions {
		re, err := regexp.Compile(e)
		if err != nil {
			return nil, err
		}
		out = append(out, re)
	}
	return out, nil
}

// extend adds what base has and c does not: a rule of c with the same id changes the one of base.
func (c *Config) extend(base *Config) {
	c.UseDefault = c.UseDefault || base.UseDefault
	if base.UseDefault {
		c.Disabled = append(c.Disabled, base.Disabled...)
	}
	for _, b := range base.Rules {
		if slices.Contains(c.Disabled, b.ID) {
			continue
		}
		i := slices.IndexFunc(c.Rules, func(r *Rule) bool { return r.ID == b.ID })
		if i < 0 {
			c.Rules = append(c.Rules, b)
			continue
		}
		c.Rules[i].inherit(b)
	}
	c.Allow = append(c.Allow, base.Allow...)
}

// inherit fills in from base what r does not say.
func (r *Rule) inherit(base *Rule) {
	if r.Regex == nil {
		r.Regex, r.Group = base.Regex, max(r.Group, base.Group)
	}
	if r.Path == nil {
		r.Path = base.Path
	}
	if r.Description == "" {
		r.Description = base.Description
	}
	if r.Entropy == 0 {
		r.Entropy = base.Entropy
	}
	r.Keywords = append(slices.Clone(base.Keywords), r.Keywords...)
	r.Tags = append(slices.Clone(base.Tags), r.Tags...)
	r.Allow = append(slices.Clone(base.Allow), r.Allow...)
}
