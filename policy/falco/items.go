package falco

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/rulefile"
)

// engineVersion is the version of Falco's rule language that this package follows. A file that wants a later one is read all
// the same: what it says that is not known here is an error of its own.
const engineVersion = "0.63.0"

var versionForm = regexp.MustCompile(`^[0-9]{1,9}(\.[0-9]{1,9}){0,2}`)

func (s *file) engineVersion(p rulefile.Pair) {
	v, ok := s.Scalar(p.Value, p.Key)
	if !ok {
		return
	}
	if !versionForm.MatchString(v.Text) {
		s.Problem(v.At, "as in 0.57.0", "%q is no version", policy.Printable(v.Text, 60))
		return
	}
	// A number alone is the minor version: 11 is 0.11.0.
	wanted := v.Text
	if !strings.Contains(wanted, ".") {
		wanted = "0." + wanted + ".0"
	}
	if newer(wanted, engineVersion) {
		s.note(v.At, "", "it is written for version %s of the rule language; %s is what is followed here", policy.Printable(v.Text, 60), engineVersion)
	}
}

func newer(a, b string) bool {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(x), len(y)) {
		n, _ := strconv.Atoi(strings.TrimRight(x[i], "-+abcdefghijklmnopqrstuvwxyz"))
		m, _ := strconv.Atoi(y[i])
		if n != m {
			return n > m
		}
	}
	return false
}

// pluginVersions reads what the file wants of plugins. None is run here: what they would add, our planes see.
func (s *file) pluginVersions(p rulefile.Pair) {
	seq, ok := p.Value.(*ast.SequenceNode)
	if !ok {
		s.Problem(p.At, "begin each plugin with a dash", "required_plugin_versions must be a list, not %s", rulefile.KindOf(p.Value))
		return
	}
	known := []string{"container", "k8saudit", "k8smeta", "cloudtrail", "json", "k8saudit-eks", "k8saudit-gke", "k8saudit-aks", "k8saudit-ovh"}
	for _, n := range seq.Values {
		pairs, ok := s.Pairs(n, "a plugin")
		if !ok {
			return
		}
		for _, q := range pairs {
			if q.Key != "name" {
				continue
			}
			if v, ok := s.Scalar(q.Value, "name"); ok && !slices.Contains(known, v.Text) {
				s.note(v.At, "rules that read its fields do not load", "there is no plugin %q here", policy.Printable(v.Text, 60))
			}
		}
	}
}

var (
	listName  = regexp.MustCompile(`^[^()"'\s=,]+$`)
	macroName = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_]*$`)
)

func (s *file) list(by keys) {
	name, ok := s.name(by["list"])
	if !ok {
		return
	}
	at := by["list"].At
	if !listName.MatchString(name) {
		s.Problem(at, "leave out blanks, quotes, commas and parentheses", "%q is no name of a list", policy.Printable(name, 100))
		return
	}
	p, ok := by["items"]
	if !ok {
		s.Problem(at, "", "list %q has no items", policy.Printable(name, 100))
		return
	}
	items, ok := s.items(p)
	how, fine := s.overrides(by, []string{"items"}, []string{"items"})
	if !ok || !fine {
		return
	}
	old := s.r.lists[name]
	switch {
	case how == nil:
		if old != nil && s.again(at, "list", name, old.file, old.line) {
			return
		}
		first := s.r.count
		if old != nil {
			first = old.first
		}
		s.r.lists[name] = &list{name: name, items: items, first: first, last: s.r.count, file: s.Name, line: at.Position.Line}
	case old == nil:
		s.earlier(at, "list", name, keysOf(s.r.lists))
	case how["items"] == "append":
		old.items, old.last = append(old.items, items...), s.r.count
	default:
		old.items, old.last = items, s.r.count
	}
}

// items reads the values of a list: texts, which are read once more where they stand in quotes of their own.
func (s *file) items(p rulefile.Pair) ([]value, bool) {
	seq, ok := p.Value.(*ast.SequenceNode)
	if !ok {
		s.Problem(p.At, "write items: ["+"a, b]", "items must be a list, not %s", rulefile.KindOf(p.Value))
		return nil, false
	}
	all := make([]value, 0, len(seq.Values))
	for _, n := range seq.Values {
		t, ok := s.text(n, "an entry of items")
		if !ok {
			return nil, false
		}
		values, m := words(&t)
		if m != nil {
			s.Problems = append(s.Problems, s.r.problem(m, ""))
			return nil, false
		}
		all = append(all, values...)
	}
	if len(all) > maxListItems {
		s.Problem(p.At, "", "more than %d items", maxListItems)
		return nil, false
	}
	return all, true
}

// words reads an entry of a list or of an exception's values as Falco does, which puts it into the condition as text: what
// stands in quotes is taken out of them, what holds a blank is one value, and commas part values.
func words(t *text) ([]value, *mistake) {
	if t.value == "" || strings.ContainsAny(t.value, " \t\n") && t.value[0] != '"' && t.value[0] != '\'' {
		return []value{{text: t.value, quoted: true, src: t}}, nil
	}
	l := &lexer{src: t}
	var all []value
	for {
		l.blank()
		if l.done() {
			return all, nil
		}
		v, m := l.value()
		if m != nil {
			if !m.fixed() {
				m.message, m.hint = fmt.Sprintf("unexpected %q in a value", policy.Printable(l.next(), 20)), "put the value into double quotes within single quotes"
			}
			return nil, m
		}
		all = append(all, v)
		l.blank()
		if l.done() {
			return all, nil
		}
		if !l.take(",") {
			return nil, l.wrong(l.pos, fmt.Sprintf("unexpected %q in a value", policy.Printable(l.next(), 20)), "put the value into double quotes within single quotes")
		}
	}
}

// room reports whether one more may be appended to a text.
func (s *file) room(tk *token.Token, t text) bool {
	if len(t.pieces) >= maxPieces {
		s.Problem(tk, "write it in one piece", "more than %d pieces are appended to each other", maxPieces)
		return false
	}
	return true
}

func (s *file) macro(by keys) {
	name, ok := s.name(by["macro"])
	if !ok {
		return
	}
	at := by["macro"].At
	if !macroName.MatchString(name) {
		s.Problem(at, "use letters, digits and underscores, beginning with a letter", "%q is no name of a macro", policy.Printable(name, 100))
		return
	}
	p, ok := by["condition"]
	if !ok {
		s.Problem(at, "", "macro %q has no condition", name)
		return
	}
	cond, ok := s.text(p.Value, "condition")
	how, fine := s.overrides(by, []string{"condition"}, []string{"condition"})
	if !ok || !fine {
		return
	}
	old := s.r.macros[name]
	switch {
	case how == nil:
		if old == nil || !s.again(at, "macro", name, old.file, old.line) {
			s.r.macros[name] = &macro{name: name, cond: cond, file: s.Name, line: at.Position.Line}
		}
	case old == nil:
		s.earlier(at, "macro", name, keysOf(s.r.macros))
	case how["condition"] == "append":
		if s.room(at, old.cond) {
			old.cond = old.cond.append(cond)
		}
	default:
		old.cond = cond
	}
}

func (s *file) rule(by keys, begin *token.Token) {
	name, ok := s.name(by["rule"])
	if !ok {
		return
	}
	at := by["rule"].At
	s.Rule = identifier(name)
	old := s.r.rules[name]
	how, ok := s.overrides(by, []string{"condition", "output", "desc", "tags", "exceptions"},
		[]string{"condition", "output", "desc", "priority", "tags", "exceptions", "enabled", "warn_evttypes", "skip-if-unknown-filter"})
	if !ok {
		return
	}
	body := has(by, "condition") || has(by, "output") || has(by, "desc") || has(by, "priority")
	switch {
	case how != nil || !body:
		if old == nil {
			s.earlier(at, "rule", name, keysOf(s.r.rules))
			return
		}
		if how == nil {
			if !has(by, "enabled") {
				s.Problem(at, "add them, or override to change an earlier rule", "rule %q has no condition, output and priority", policy.Printable(name, 100))
				return
			}
			how = map[string]string{"enabled": "replace"}
		}
		s.fill(old, by, how)
		return
	}
	if old != nil && s.again(at, "rule", name, old.file, old.line) {
		return
	}
	missing := false
	for _, key := range []string{"condition", "output", "priority"} {
		if !has(by, key) {
			s.Problem(begin, "", "the rule has no %q", key)
			missing = true
		}
	}
	r := &rule{name: name, source: "syscall", file: s.Name, line: begin.Position.Line, col: begin.Position.Column, sourceAt: s.place(at)}
	if p, ok := by["source"]; ok {
		if v, ok := s.Scalar(p.Value, "source"); ok {
			r.source, r.sourceAt = strings.TrimSpace(v.Text), s.place(v.At)
		}
	}
	all := make(map[string]string)
	for key := range by {
		all[key] = "replace"
	}
	if !s.fill(r, by, all) || missing {
		return
	}
	if old == nil {
		s.r.rules[name] = r
		s.r.order = append(s.r.order, r)
		return
	}
	if old.source != r.source {
		s.Problem(at, "", "rule %q is of source %q in %s:%d", policy.Printable(name, 100), policy.Printable(old.source, 60), policy.Printable(old.file, 200), old.line)
		return
	}
	*old = *r
}

// fill puts the keys of an item into a rule.
func (s *file) fill(r *rule, by keys, how map[string]string) bool {
	before := len(s.Problems)
	merge := func(key string, into *text) {
		if how[key] == "" {
			return
		}
		t, ok := s.text(by[key].Value, key)
		switch {
		case !ok:
		case how[key] == "append":
			if s.room(by[key].At, *into) {
				*into = into.append(t)
			}
		default:
			*into = t
		}
	}
	merge("condition", &r.cond)
	merge("output", &r.output)
	if how["desc"] != "" {
		if v, ok := s.Scalar(by["desc"].Value, "desc"); ok {
			if how["desc"] != "append" {
				r.desc = ""
			}
			r.desc = strings.TrimSpace(r.desc + " " + v.Text)
		}
	}
	if how["priority"] != "" {
		if v, ok := s.Scalar(by["priority"].Value, "priority"); ok {
			if _, ok := severityOf(v.Text); !ok {
				s.Problem(v.At, oneOf(v.Text, priorities), "unknown priority %q", policy.Printable(v.Text, 60))
			}
			r.priority = v.Text
		}
	}
	if how["tags"] != "" {
		if how["tags"] != "append" {
			r.tags = nil
		}
		items, _ := s.Scalars(by["tags"].Value, "tags")
		for _, v := range items {
			if !slices.Contains(r.tags, v.Text) {
				r.tags = append(r.tags, v.Text)
			}
		}
	}
	if how["enabled"] != "" {
		r.disabled = !s.truth(by, "enabled", true)
	}
	if how["skip-if-unknown-filter"] != "" {
		r.lenient = s.truth(by, "skip-if-unknown-filter", false)
	}
	if how["warn_evttypes"] != "" {
		s.truth(by, "warn_evttypes", true)
	}
	if how["exceptions"] != "" {
		s.exceptions(r, by["exceptions"], how["exceptions"] == "append")
	}
	return len(s.Problems) == before
}
