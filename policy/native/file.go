package native

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/testudo-sec/testudo/internal/spell"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/signal"
)

// The keys of a rule, in the order people write them.
var ruleKeys = []string{"id", "title", "severity", "on", "when", "then", "why", "fix", "references", "tags", "enabled", "tests"}

// compileFile returns the rules of a file, a document each, and what is wrong with it.
func (d *Dialect) compileFile(f policy.File) ([]*policy.Rule, policy.Problems) {
	text := strings.ReplaceAll(strings.TrimPrefix(string(f.Text), "\ufeff"), "\r\n", "\n")
	s := &source{name: f.Name, lines: splitLines(text)}
	bodies := s.parse(text)
	if len(bodies) == 0 && len(s.problems) == 0 {
		s.problem(nil, "write a rule, or remove the file", "the file holds no rule")
	}
	var rules []*policy.Rule
	for _, body := range bodies {
		before := len(s.problems)
		s.rule = ""
		if r := d.compileRule(s, body); r != nil && len(s.problems) == before {
			rules = append(rules, r)
		}
	}
	return rules, s.problems
}

// compileRule reads one rule. It goes on behind a problem to find them all.
func (d *Dialect) compileRule(s *source, body ast.Node) *policy.Rule {
	pairs, ok := s.pairs(body, "a rule")
	if !ok {
		return nil
	}
	begin := tokenOf(body)
	r := &policy.Rule{Dialect: d.Name(), File: s.name, Line: begin.Position.Line, Column: begin.Position.Column}
	by := make(map[string]pair, len(pairs))
	for _, p := range pairs {
		by[p.key] = p
	}
	if p, ok := by["id"]; ok {
		s.id(r, p.value)
	}
	s.known(pairs, "a rule", ruleKeys...)
	misspelt := make(map[string]bool) // one problem, not two
	for _, p := range pairs {
		misspelt[spell.Nearest(p.key, ruleKeys)] = true
	}
	for _, key := range []string{"id", "title", "severity", "on", "when", "then"} {
		if _, ok := by[key]; !ok && !misspelt[key] {
			s.problem(begin, requiredHint(key), "the rule has no %q", key)
		}
	}
	if p, ok := by["title"]; ok {
		r.Title = s.oneLine(p, 200)
	}
	if p, ok := by["severity"]; ok {
		s.severity(r, p.value)
	}
	if p, ok := by["on"]; ok {
		r.On = s.classes(p.value)
	}
	if p, ok := by["when"]; ok {
		s.when(d, r, p.value)
	}
	if p, ok := by["then"]; ok {
		d.then(s, r, p.value)
	}
	r.Why = r.Title
	if p, ok := by["why"]; ok {
		s.why(r, p.value)
	}
	if p, ok := by["fix"]; ok {
		if v, ok := s.scalar(p.value, "fix"); ok {
			r.Fix = strings.TrimSpace(v.text)
			if len(r.Fix) > 4000 {
				s.problem(v.at, "", "fix is longer than 4000 bytes")
			}
		}
	}
	if p, ok := by["references"]; ok {
		r.References = s.references(p.value)
	}
	if p, ok := by["tags"]; ok {
		r.Tags = s.tags(p.value)
	}
	if p, ok := by["enabled"]; ok {
		if v, ok := s.truth(p.value, "enabled"); ok {
			r.Disabled = !v
		}
	}
	if p, ok := by["tests"]; ok {
		r.Tests = s.tests(r, p.value)
	}
	return r
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
	v, ok := s.scalar(n, "id")
	if !ok {
		return
	}
	if !idForm.MatchString(v.text) {
		s.problem(v.at, "2 to 100 of a-z 0-9 . _ - beginning with a letter or digit, as in edge-admin-outside", "%q is no id", policy.Printable(v.text, 100))
		return
	}
	r.ID, s.rule = v.text, v.text
}

// oneLine reads a text of one line.
func (s *source) oneLine(p pair, limit int) string {
	v, ok := s.scalar(p.value, p.key)
	if !ok {
		return ""
	}
	text := strings.TrimSpace(v.text)
	switch {
	case text == "":
		s.problem(v.at, "", "%s is empty", p.key)
	case len(text) > limit:
		s.problem(v.at, "", "%s is longer than %d bytes", p.key, limit)
	case strings.ContainsFunc(text, unicode.IsControl):
		s.problem(v.at, "write one line", "%s holds a line end or control character", p.key)
	}
	return text
}

func (s *source) severity(r *policy.Rule, n ast.Node) {
	v, ok := s.scalar(n, "severity")
	if !ok {
		return
	}
	severity, err := signal.ParseSeverity(v.text)
	if err != nil || severity == signal.SeverityUnknown {
		names := []string{"info", "low", "medium", "high", "critical", "fatal"}
		s.problem(v.at, oneOf(v.text, names), "unknown severity %q", policy.Printable(v.text, 60))
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
	items, ok := s.scalars(n, "on")
	if !ok {
		return nil
	}
	if len(items) == 0 {
		s.problem(tokenOf(n), "", "on is an empty list")
	}
	var all []signal.Class
	for _, v := range items {
		if c, ok := s.class(v); ok {
			all = append(all, c)
		}
	}
	return all
}

func (s *source) class(v scalar) (signal.Class, bool) {
	c, err := signal.ParseClass(v.text)
	if err != nil {
		var names []string
		for _, c := range signal.Classes() {
			names = append(names, c.String())
		}
		s.problem(v.at, oneOf(v.text, names), "unknown event class %q", policy.Printable(v.text, 60))
		return 0, false
	}
	return c, true
}

func (s *source) when(d *Dialect, r *policy.Rule, n ast.Node) {
	v, ok := s.scalar(n, "when")
	if !ok {
		return
	}
	r.When = strings.TrimSpace(v.text)
	c, mistakes := d.compile(v.text)
	if len(mistakes) > 0 {
		where := s.align(v)
		for _, m := range mistakes {
			at := where.at(m.offset)
			s.problem(&token.Token{Position: &token.Position{Line: at.line, Column: at.column}}, m.hint, "when: %s", m.message)
		}
		return
	}
	r.Condition = c.Expr()
}

func (s *source) truth(n ast.Node, what string) (bool, bool) {
	if b, ok := n.(*ast.BoolNode); ok {
		return b.Value, true
	}
	s.problem(tokenOf(n), "", "%s must be true or false, not %s", what, kindOf(n))
	return false, false
}

// references reads addresses that people follow: nothing but the web's.
func (s *source) references(n ast.Node) []string {
	items, _ := s.scalars(n, "references")
	var all []string
	for _, v := range items {
		if !strings.HasPrefix(v.text, "https://") && !strings.HasPrefix(v.text, "http://") || len(v.text) > 1000 ||
			strings.ContainsFunc(v.text, func(c rune) bool { return c <= ' ' || !unicode.IsPrint(c) }) {
			s.problem(v.at, "as in https://attack.mitre.org/techniques/T1190/", "%q is no web address", policy.Printable(v.text, 100))
			continue
		}
		all = append(all, v.text)
	}
	return all
}

var tagForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._:/-]{0,99}$`)

func (s *source) tags(n ast.Node) []string {
	items, _ := s.scalars(n, "tags")
	var all []string
	for _, v := range items {
		if !tagForm.MatchString(v.text) {
			s.problem(v.at, "up to 100 of a-z 0-9 . _ : / - as in attack.t1190", "%q is no tag", policy.Printable(v.text, 100))
			continue
		}
		all = append(all, v.text)
	}
	return all
}
