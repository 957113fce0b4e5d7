package native

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/testudo-sec/testudo/internal/spell"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/rulefile"
	"github.com/testudo-sec/testudo/signal"
)

// The keys of a rule, in the order people write them.
var ruleKeys = []string{"id", "title", "severity", "on", "when", "window", "sequence", "then", "why", "fix", "references", "tags", "enabled", "tests"}

// source is a rule file that is being read.
type source struct{ rulefile.File }

// compileFile returns the rules of a file, a document each, and what is wrong with it.
func (d *Dialect) compileFile(f policy.File) ([]*policy.Rule, policy.Problems) {
	open, text := rulefile.Open(f)
	s := &source{open}
	bodies := s.Parse(text)
	if len(bodies) == 0 && len(s.Problems) == 0 {
		s.Problem(nil, "write a rule, or remove the file", "the file holds no rule")
	}
	var rules []*policy.Rule
	for _, body := range bodies {
		before := len(s.Problems)
		s.Rule = ""
		if all := d.compileRule(s, body); len(s.Problems) == before {
			rules = append(rules, all...)
		}
	}
	return rules, s.Problems
}

// compileRule reads one rule, and the pieces that it is made of where it looks at several events. It goes on behind a
// problem to find them all.
func (d *Dialect) compileRule(s *source, body ast.Node) []*policy.Rule {
	pairs, ok := s.Pairs(body, "a rule")
	if !ok {
		return nil
	}
	begin := rulefile.TokenOf(body)
	r := &policy.Rule{Dialect: d.Name(), File: s.Name, Line: begin.Position.Line, Column: begin.Position.Column}
	by := make(map[string]rulefile.Pair, len(pairs))
	for _, p := range pairs {
		by[p.Key] = p
	}
	if !slices.ContainsFunc([]string{"when", "then", "on", "severity", "window", "sequence"}, func(key string) bool { _, ok := by[key]; return ok }) {
		// Most likely it is no rule at all: a list of missing keys would only be noise.
		s.Problem(begin, "a Sigma rule has title and detection, a Falco file is a list of rule, macro and list, a native rule has id and when",
			"this is no rule of any dialect that is known here")
		return nil
	}
	if p, ok := by["id"]; ok {
		s.id(r, p.Value)
	}
	s.Known(pairs, "a rule", ruleKeys...)
	misspelt := make(map[string]bool) // one problem, not two
	for _, p := range pairs {
		misspelt[spell.Nearest(p.Key, ruleKeys)] = true
	}
	for _, key := range required(by) {
		if _, ok := by[key]; !ok && !misspelt[key] {
			s.Problem(begin, requiredHint(key), "the rule has no %q", key)
		}
	}
	if p, ok := by["title"]; ok {
		r.Title = s.oneLine(p, 200)
	}
	if p, ok := by["severity"]; ok {
		s.severity(r, p.Value)
	}
	if p, ok := by["on"]; ok {
		r.On = s.classes(p.Value)
	}
	if p, ok := by["when"]; ok {
		s.when(d, r, p.Value)
	}
	parts := d.overTime(s, r, by)
	if p, ok := by["then"]; ok {
		d.then(s, r, p.Value)
	}
	r.Why = r.Title
	if p, ok := by["why"]; ok {
		s.why(r, p.Value)
	}
	if p, ok := by["fix"]; ok {
		if v, ok := s.Scalar(p.Value, "fix"); ok {
			r.Fix = strings.TrimSpace(v.Text)
			if len(r.Fix) > 4000 {
				s.Problem(v.At, "", "fix is longer than 4000 bytes")
			}
		}
	}
	if p, ok := by["references"]; ok {
		r.References = s.references(p.Value)
	}
	if p, ok := by["tags"]; ok {
		r.Tags = s.tags(p.Value)
	}
	if p, ok := by["enabled"]; ok {
		if v, ok := s.truth(p.Value, "enabled"); ok {
			r.Disabled = !v
		}
	}
	if p, ok := by["tests"]; ok {
		r.Tests = s.tests(r, p.Value)
	}
	for _, part := range parts {
		part.Disabled = r.Disabled
	}
	return append(parts, r)
}

// required returns the keys that a rule with these must have.
func required(by map[string]rulefile.Pair) []string {
	_, several := by["sequence"]
	if p, ok := by["window"]; ok {
		several = several || hasKey(p.Value, "of")
	}
	if several { // what it looks for stands in its steps
		return []string{"id", "title", "severity", "then"}
	}
	return []string{"id", "title", "severity", "on", "when", "then"}
}

func requiredHint(key string) string {
	switch key {
	case "severity":
		return "one of info, low, medium, high, critical, fatal"
	case "on":
		return "name the class of events it reads, as in on: http_activity"
	case "then":
		return "one of allow, alert, limit, challenge, deny, or a list of one and actions"
	}
	return ""
}

var idForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{1,99}$`)

func (s *source) id(r *policy.Rule, n ast.Node) {
	v, ok := s.Scalar(n, "id")
	if !ok {
		return
	}
	if !idForm.MatchString(v.Text) {
		s.Problem(v.At, "2 to 100 of a-z 0-9 . _ - beginning with a letter or digit, as in edge-admin-outside", "%q is no id", policy.Printable(v.Text, 100))
		return
	}
	r.ID, s.Rule = v.Text, v.Text
}

// oneLine reads a text of one line.
func (s *source) oneLine(p rulefile.Pair, limit int) string {
	v, ok := s.Scalar(p.Value, p.Key)
	if !ok {
		return ""
	}
	text := strings.TrimSpace(v.Text)
	switch {
	case text == "":
		s.Problem(v.At, "", "%s is empty", p.Key)
	case len(text) > limit:
		s.Problem(v.At, "", "%s is longer than %d bytes", p.Key, limit)
	case strings.ContainsFunc(text, unicode.IsControl):
		s.Problem(v.At, "write one line", "%s holds a line end or control character", p.Key)
	}
	return text
}

func (s *source) severity(r *policy.Rule, n ast.Node) {
	v, ok := s.Scalar(n, "severity")
	if !ok {
		return
	}
	severity, err := signal.ParseSeverity(v.Text)
	if err != nil || severity == signal.SeverityUnknown {
		names := []string{"info", "low", "medium", "high", "critical", "fatal"}
		s.Problem(v.At, oneOf(v.Text, names), "unknown severity %q", policy.Printable(v.Text, 60))
		return
	}
	r.Severity = severity
}

// oneOf helps with a value that is none of names.
func oneOf(got string, names []string) string {
	if near := spell.Nearest(got, names); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return "one of " + strings.Join(names, ", ")
}

func (s *source) classes(n ast.Node) []signal.Class {
	items, ok := s.Scalars(n, "on")
	if !ok {
		return nil
	}
	if len(items) == 0 {
		s.Problem(rulefile.TokenOf(n), "", "on is an empty list")
	}
	var all []signal.Class
	for _, v := range items {
		if c, ok := s.class(v); ok {
			all = append(all, c)
		}
	}
	return all
}

func (s *source) class(v rulefile.Scalar) (signal.Class, bool) {
	c, err := signal.ParseClass(v.Text)
	if err != nil {
		var names []string
		for _, c := range signal.Classes() {
			names = append(names, c.String())
		}
		s.Problem(v.At, oneOf(v.Text, names), "unknown event class %q", policy.Printable(v.Text, 60))
		return 0, false
	}
	return c, true
}

func (s *source) when(d *Dialect, r *policy.Rule, n ast.Node) {
	v, ok := s.Scalar(n, "when")
	if !ok {
		return
	}
	r.When = strings.TrimSpace(v.Text)
	c, mistakes := d.compile(v.Text)
	if len(mistakes) > 0 {
		where := s.Align(v)
		for _, m := range mistakes {
			at := where.At(m.offset)
			s.Problem(&token.Token{Position: &token.Position{Line: at.Line, Column: at.Column}}, m.hint, "when: %s", m.message)
		}
		return
	}
	r.Condition = c.Expr()
}

func (s *source) truth(n ast.Node, what string) (bool, bool) {
	if b, ok := n.(*ast.BoolNode); ok {
		return b.Value, true
	}
	s.Problem(rulefile.TokenOf(n), "", "%s must be true or false, not %s", what, rulefile.KindOf(n))
	return false, false
}

// references reads addresses that people follow: nothing but the web's.
func (s *source) references(n ast.Node) []string {
	items, _ := s.Scalars(n, "references")
	var all []string
	for _, v := range items {
		if !strings.HasPrefix(v.Text, "https://") && !strings.HasPrefix(v.Text, "http://") || len(v.Text) > 1000 ||
			strings.ContainsFunc(v.Text, func(c rune) bool { return c <= ' ' || !unicode.IsPrint(c) }) {
			s.Problem(v.At, "as in https://attack.mitre.org/techniques/T1190/", "%q is no web address", policy.Printable(v.Text, 100))
			continue
		}
		all = append(all, v.Text)
	}
	return all
}

var tagForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._:/-]{0,99}$`)

func (s *source) tags(n ast.Node) []string {
	items, _ := s.Scalars(n, "tags")
	var all []string
	for _, v := range items {
		if !tagForm.MatchString(v.Text) {
			s.Problem(v.At, "up to 100 of a-z 0-9 . _ : / - as in attack.t1190", "%q is no tag", policy.Printable(v.Text, 100))
			continue
		}
		all = append(all, v.Text)
	}
	return all
}
