package sigma

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/testudo-sec/testudo/internal/logfields"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
)

// maxPipelineBytes bounds a pipeline file.
const maxPipelineBytes = 1 << 20

// pipelines are the steps of all pipeline files, in their order, and the values of their placeholders.
type pipelines struct {
	steps  []step
	values map[string][]string
	text   string // of all files
}

// step is one entry of a pipeline's steps.
type step struct {
	when   []logfields.Source // one of them covers the rule's; none: every rule
	rules  []string           // ids or names; none: every rule
	source *rewriting
	prefix string
	fields map[string][]string
	add    *yaml.Node // a selection
	file   *source    // that add stands in
}

// rewriting sets parts of a log source; a part that is set to nothing is left out.
type rewriting struct{ set, clear logfields.Source }

// fitted is what the pipelines make of a log source for one rule.
type fitted struct {
	source logfields.Source
	steps  []*step
}

// fit applies the steps to a rule's log source. The fields of the rule are those that the steps fit that come after a
// rewriting see the new log source.
func (p *pipelines) fit(src logfields.Source, id, name string) *fitted {
	f := &fitted{source: src}
	for i := range p.steps {
		st := &p.steps[i]
		if len(st.when) > 0 && !slices.ContainsFunc(st.when, func(w logfields.Source) bool { return covers(w, f.source) }) {
			continue
		}
		if len(st.rules) > 0 && !slices.Contains(st.rules, id) && (name == "" || !slices.Contains(st.rules, name)) {
			continue
		}
		if st.source != nil {
			f.source = st.source.apply(f.source)
		}
		f.steps = append(f.steps, st)
	}
	return f
}

func (r *rewriting) apply(src logfields.Source) logfields.Source {
	one := func(to *string, set, clear string) {
		if set != "" {
			*to = set
		} else if clear != "" {
			*to = ""
		}
	}
	one(&src.Product, r.set.Product, r.clear.Product)
	one(&src.Service, r.set.Service, r.clear.Service)
	one(&src.Category, r.set.Category, r.clear.Category)
	return src
}

// stamp returns the line of a rule's text that says by which pipelines it was changed.
func (p *pipelines) stamp() string {
	if p.text == "" {
		return ""
	}
	return "\n# pipelines sha256:" + digest(p.text)
}

// key is the same for what is fitted alike.
func (f *fitted) key() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q", f.source)
	for _, st := range f.steps {
		fmt.Fprintf(&b, " %p", st)
	}
	return b.String()
}

// names returns what the steps make of a field's name.
func (f *fitted) names(name string) []string {
	names := []string{name}
	for _, st := range f.steps {
		if st.fields == nil && st.prefix == "" {
			continue
		}
		var next []string
		for _, n := range names {
			switch to, ok := st.fields[n]; {
			case ok:
				next = append(next, to...)
			case st.prefix != "":
				next = append(next, st.prefix+n)
			default:
				next = append(next, n)
			}
		}
		names = next
	}
	return names
}

// added returns the conditions that the steps add to a rule.
func (f *fitted) added(p *pipelines) match.Expr {
	all := match.And{}
	for _, st := range f.steps {
		if st.add == nil {
			continue
		}
		c := &compiler{s: st.file.again(), pipes: p, fit: f}
		// What is wrong with it was said when the file was read.
		if x := c.selection("add", st.add); x != nil {
			all = append(all, x)
		}
	}
	return all
}

// again returns the source for another reading, whose problems are thrown away.
func (s *source) again() *source { return &source{name: s.name, text: s.text} }

// readPipelines reads the files of a configuration.
func readPipelines(paths []string) (*pipelines, policy.Problems) {
	p := &pipelines{values: make(map[string][]string)}
	var problems policy.Problems
	for _, path := range paths {
		s := &source{name: filepath.ToSlash(path)}
		text, err := readSmall(path)
		switch {
		case err != nil:
			s.problem(nil, "it is named in policy.sigma.pipelines", "%v", err)
		case !utf8.Valid(text):
			s.problem(nil, "save the file as UTF-8", "not valid UTF-8")
		default:
			s.text = string(text)
			p.text += s.text + "\n"
			p.read(s)
		}
		problems = append(problems, s.problems...)
	}
	return p, problems
}

func readSmall(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("the pipeline cannot be read: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxPipelineBytes+1))
	if err == nil && len(text) > maxPipelineBytes {
		err = fmt.Errorf("larger than 1MiB")
	}
	return text, err
}

var placeholderName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,100}$`)

// read takes in one pipeline file.
func (p *pipelines) read(s *source) {
	for _, body := range s.parse() {
		pairs, ok := s.pairs(body, "a pipeline")
		if !ok {
			continue
		}
		s.known(pairs, "a pipeline", "name", "description", "steps", "values")
		for _, pr := range pairs {
			switch pr.key {
			case "values":
				p.readValues(s, pr.value)
			case "steps":
				n, ok := s.resolved(pr.value)
				if ok && n.Kind != yaml.SequenceNode {
					s.problem(n, "as in steps: [{when: {product: windows}, fields: {Image: process_path}}]", "steps must be a list, not %s", kindOf(n))
					continue
				}
				for i, item := range n.Content {
					p.readStep(s, item, fmt.Sprintf("step %d", i+1))
				}
			}
		}
	}
}

func (p *pipelines) readValues(s *source, n *yaml.Node) {
	pairs, ok := s.pairs(n, "values")
	if !ok {
		return
	}
	for _, v := range pairs {
		texts, _ := s.texts(v.value, "the values of "+shown(v.key))
		switch {
		case !placeholderName.MatchString(v.key):
			s.problem(v.at, "write the name without percent signs", "%q is no placeholder's name", shown(v.key))
		case len(texts) == 0:
			s.problem(v.at, "list what the placeholder stands for", "placeholder %q has no values", v.key)
		case len(texts) > maxForms:
			s.problem(v.at, "", "placeholder %q has more than %d values", v.key, maxForms)
		default:
			p.values[v.key] = texts
		}
	}
}

func (p *pipelines) readStep(s *source, n *yaml.Node, what string) {
	pairs, ok := s.pairs(n, what)
	if !ok {
		return
	}
	s.known(pairs, what, "when", "rules", "logsource", "fields", "prefix", "add")
	st := step{file: s}
	for _, pr := range pairs {
		switch pr.key {
		case "when":
			items, _ := s.items(pr.value)
			for _, item := range items {
				if src, ok := s.logsource(item, "when"); ok {
					st.when = append(st.when, src)
				}
			}
		case "rules":
			st.rules, _ = s.texts(pr.value, "rules")
		case "logsource":
			st.source = s.rewriting(pr.value)
		case "prefix":
			st.prefix, _, _ = s.scalarText(pr.value, "prefix")
		case "fields":
			st.fields = s.renaming(pr.value)
		case "add":
			before := len(s.problems)
			c := &compiler{s: s, pipes: p, fit: &fitted{}}
			if n, ok := s.resolved(pr.value); ok && n.Kind != yaml.MappingNode {
				s.problem(n, "as in add: {EventID: 1}", "add must be a map of fields and values, not %s", kindOf(n))
			} else if c.selection("add", pr.value); len(s.problems) == before {
				st.add = pr.value
			}
		}
	}
	if !slices.ContainsFunc(pairs, func(p pair) bool { return p.key != "when" && p.key != "rules" }) {
		s.problem(n, "logsource, fields, prefix or add", "%s does nothing", what)
	}
	p.steps = append(p.steps, st)
}

// rewriting reads what a step makes of log sources: a part that is null is left out.
func (s *source) rewriting(n *yaml.Node) *rewriting {
	pairs, ok := s.pairs(n, "logsource")
	if !ok {
		return nil
	}
	s.known(pairs, "logsource", "product", "service", "category")
	var r rewriting
	for _, p := range pairs {
		set, clear := &r.set.Product, &r.clear.Product
		switch p.key {
		case "service":
			set, clear = &r.set.Service, &r.clear.Service
		case "category":
			set, clear = &r.set.Category, &r.clear.Category
		}
		if value, _ := s.resolved(p.value); isNull(value) {
			*clear = "-"
		} else if text, _, ok := s.scalarText(p.value, p.key); ok {
			*set = strings.ToLower(strings.TrimSpace(text))
		}
	}
	return &r
}

// renaming reads a map of field names to one name or several.
func (s *source) renaming(n *yaml.Node) map[string][]string {
	pairs, ok := s.pairs(n, "fields")
	if !ok {
		return nil
	}
	all := make(map[string][]string, len(pairs))
	for _, p := range pairs {
		names, at := s.texts(p.value, "the names of "+shown(p.key))
		for i, name := range names {
			if name == "" || strings.ContainsAny(name, "|") {
				s.problem(at[i], "", "%q is no field's name", shown(name))
			}
		}
		if len(names) == 0 || len(names) > 16 {
			s.problem(p.at, "", "a field is renamed to one name, or up to 16")
			continue
		}
		all[p.key] = names
	}
	return all
}

// expand returns what a text with placeholders stands for (rules specification, "Placeholders"). Where one has no
// values, its name is noted in c.missing, and there are none.
func (c *compiler) expand(n *yaml.Node) ([]pattern, bool) {
	missing := false
	patterns := []pattern{nil}
	rest := n.Value
	var lit strings.Builder // as it is written: with escapes
	flush := func() {
		for i := range patterns {
			patterns[i] = patterns[i].addAll(parsePattern(lit.String()))
		}
		lit.Reset()
	}
	for rest != "" {
		if strings.HasPrefix(rest, `\%`) {
			lit.WriteByte('%')
			rest = rest[2:]
			continue
		}
		if strings.HasPrefix(rest, `\\`) {
			lit.WriteString(`\\`)
			rest = rest[2:]
			continue
		}
		end := -1
		if rest[0] == '%' {
			end = strings.IndexByte(rest[1:], '%')
		}
		if end < 0 || !placeholderName.MatchString(rest[1:1+end]) {
			lit.WriteByte(rest[0])
			rest = rest[1:]
			continue
		}
		name := rest[1 : 1+end]
		rest = rest[end+2:]
		values := c.pipes.values[name]
		if len(values) == 0 {
			if missing = true; !slices.Contains(c.missing, name) {
				c.missing = append(c.missing, name)
			}
			continue
		}
		flush()
		if len(patterns)*len(values) > maxForms {
			c.s.problem(n, "", "the placeholders stand for more than %d texts", maxForms)
			return nil, false
		}
		var next []pattern
		for _, p := range patterns {
			for _, v := range values {
				next = append(next, append(pattern(nil), p...).addAll(parsePattern(v)))
			}
		}
		patterns = next
	}
	if missing {
		return nil, true
	}
	flush()
	return patterns, true
}
