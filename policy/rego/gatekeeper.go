package rego

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	opa "github.com/open-policy-agent/opa/v1/ast"

	"github.com/testudo-sec/testudo/internal/spell"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/rulefile"
)

const (
	templateGroup   = "templates.gatekeeper.sh/"
	constraintGroup = "constraints.gatekeeper.sh/"
)

// gatekeeper collects ConstraintTemplates and the constraints that use them.
type gatekeeper struct {
	templates   []template
	constraints []*constraint
}

// template is a ConstraintTemplate: the policy of one kind of constraints.
type template struct {
	kind   string
	mods   []module
	broken bool // a module has problems
	at     policy.Problem
}

// constraint is a use of a template: what it is asked about, and with which parameters.
type constraint struct {
	kind       string
	name       string
	action     string // deny, warn or dryrun
	parameters map[string]any
	match      map[string]any
	at         policy.Problem
}

// isGatekeeper reports whether a YAML file holds objects of Gatekeeper's.
func isGatekeeper(text []byte) bool {
	for line := range strings.Lines(string(text)) {
		value, ok := strings.CutPrefix(line, "apiVersion:")
		if value = strings.Trim(strings.TrimSpace(value), `"'`); ok && (strings.HasPrefix(value, templateGroup) || strings.HasPrefix(value, constraintGroup)) {
			return true
		}
	}
	return false
}

// file reads the objects of a YAML file.
func (g *gatekeeper) file(f policy.File) policy.Problems {
	s, text := rulefile.Open(f)
	for _, body := range s.Parse(text) {
		var object struct {
			APIVersion string                `yaml:"apiVersion"`
			Kind       string                `yaml:"kind"`
			Metadata   struct{ Name string } `yaml:"metadata"`
			Spec       map[string]any        `yaml:"spec"`
		}
		if err := yaml.NodeToValue(body, &object); err != nil {
			s.Problem(rulefile.TokenOf(body), "", "an object of Kubernetes is wanted: %s", policy.Printable(strings.SplitN(err.Error(), "\n", 2)[0], 200))
			continue
		}
		at := place(&s, body)
		switch {
		case strings.HasPrefix(object.APIVersion, templateGroup) && object.Kind == "ConstraintTemplate":
			g.template(&s, body, at)
		case strings.HasPrefix(object.APIVersion, constraintGroup):
			c := &constraint{kind: object.Kind, name: object.Metadata.Name, action: "deny", at: at}
			if action, ok := object.Spec["enforcementAction"].(string); ok {
				c.action = action
			}
			c.parameters, _ = object.Spec["parameters"].(map[string]any)
			c.match, _ = object.Spec["match"].(map[string]any)
			if c.name == "" || c.kind == "" {
				s.Problem(rulefile.TokenOf(body), "", "a constraint needs a kind and metadata.name")
				continue
			}
			if !slices.Contains([]string{"deny", "warn", "dryrun", "scoped"}, c.action) {
				s.Problem(rulefile.TokenOf(body), "one of deny, warn, dryrun", "unknown enforcementAction %q", policy.Printable(c.action, 60))
				continue
			}
			g.constraints = append(g.constraints, c)
		default:
			s.Problem(rulefile.TokenOf(body), "", "neither a ConstraintTemplate nor a constraint: %s", policy.Printable(object.APIVersion+" "+object.Kind, 100))
		}
	}
	return s.Problems
}

func place(s *rulefile.File, n ast.Node) policy.Problem {
	p := policy.Problem{File: s.Name, Line: 1, Column: 1}
	if tk := rulefile.TokenOf(n); tk != nil && tk.Position != nil {
		p.Line, p.Column = tk.Position.Line, max(1, tk.Position.Column)
	}
	return p
}

// template reads a ConstraintTemplate's kind and code.
func (g *gatekeeper) template(s *rulefile.File, body ast.Node, at policy.Problem) {
	t := template{at: at}
	if n := child(s, body, "spec", "crd", "spec", "names", "kind"); n != nil {
		if v, ok := s.Scalar(n, "kind"); ok {
			t.kind = v.Text
		}
	}
	if t.kind == "" {
		s.Problem(rulefile.TokenOf(body), "", "the template has no spec.crd.spec.names.kind")
		return
	}
	targets, _ := child(s, body, "spec", "targets").(*ast.SequenceNode)
	if targets == nil || len(targets.Values) != 1 {
		s.Problem(rulefile.TokenOf(body), "", "the template needs one entry in spec.targets")
		return
	}
	source := targets.Values[0]
	if code, ok := child(s, source, "code").(*ast.SequenceNode); ok {
		for _, n := range code.Values {
			if v, ok := child(s, n, "engine").(*ast.StringNode); ok && v.Value == "Rego" {
				source = child(s, n, "source")
			}
		}
	}
	t.module(s, child(s, source, "rego"))
	if libs, ok := child(s, source, "libs").(*ast.SequenceNode); ok {
		for _, n := range libs.Values {
			t.module(s, n)
		}
	}
	if t.broken {
		return
	}
	if len(t.mods) == 0 {
		s.Problem(rulefile.TokenOf(body), "other engines are not run", "the template has no Rego code")
		return
	}
	g.templates = append(g.templates, t)
}

// child returns the node below a map's keys, nil where it is not there.
func child(s *rulefile.File, n ast.Node, keys ...string) ast.Node {
	for _, key := range keys {
		switch n.(type) {
		case *ast.MappingNode, *ast.MappingValueNode:
		default:
			return nil
		}
		pairs, ok := s.Pairs(n, "an object")
		at := slices.IndexFunc(pairs, func(p rulefile.Pair) bool { return p.Key == key })
		if !ok || at < 0 {
			return nil
		}
		n = pairs[at].Value
	}
	return n
}

// module parses code that stands in a template.
func (t *template) module(s *rulefile.File, n ast.Node) {
	if n == nil {
		return
	}
	v, ok := s.Scalar(n, "rego")
	if !ok {
		return
	}
	begin := s.Align(v).At(0)
	m, found := parseModule(s.Name, v.Text)
	for _, p := range found {
		p.Line, p.Column = p.Line+begin.Line-1, p.Column+begin.Column-1
		s.Problems = append(s.Problems, p)
	}
	t.broken = t.broken || m == nil
	if m != nil {
		t.mods = append(t.mods, module{file: s.Name, module: m, offset: begin.Line - 1, indent: begin.Column - 1})
	}
}

// units compiles the templates for their constraints.
func (g *gatekeeper) units() ([]unit, policy.Problems) {
	var units []unit
	var found policy.Problems
	kinds := make([]string, len(g.templates))
	used := make(map[*constraint]bool)
	for i, t := range g.templates {
		kinds[i] = t.kind
		if slices.Contains(kinds[:i], t.kind) {
			p := t.at
			p.Message, p.Hint = fmt.Sprintf("there are two templates of kind %q", policy.Printable(t.kind, 60)), "remove one"
			found = append(found, p)
			continue
		}
		all := entriesOf(t.mods)
		at := slices.IndexFunc(all, func(e entry) bool { return e.rule == "violation" })
		if at < 0 {
			p := t.at
			p.Message, p.Hint = fmt.Sprintf("template %q has no rule violation", policy.Printable(t.kind, 60)), `as in violation[{"msg": msg}] { ... }`
			found = append(found, p)
			continue
		}
		c, wrong := compile(t.mods)
		if found = append(found, wrong...); c == nil {
			continue
		}
		u := unit{compiler: c}
		for _, k := range g.constraints {
			if k.kind != t.kind {
				continue
			}
			used[k] = true
			e := all[at]
			e.constraint, e.warn = k, k.action != "deny" && k.action != "scoped"
			e.file, e.line, e.column = k.at.File, k.at.Line, k.at.Column
			u.entries = append(u.entries, e)
		}
		if len(u.entries) == 0 {
			p := t.at
			p.Note, p.Message, p.Hint = true, fmt.Sprintf("no constraint of kind %q: the template judges nothing", policy.Printable(t.kind, 60)), "add one"
			found = append(found, p)
		}
		units = append(units, u)
	}
	for _, k := range g.constraints {
		if used[k] || slices.Contains(kinds, k.kind) {
			continue
		}
		p := k.at
		p.Message = fmt.Sprintf("there is no template of kind %q", policy.Printable(k.kind, 60))
		if near := spell.Nearest(k.kind, kinds); near != "" {
			p.Hint = fmt.Sprintf("did you mean %q?", near)
		}
		found = append(found, p)
	}
	return units, found
}

// review returns the input for a document, as Gatekeeper gives it to policies; ok is false where the constraint does not ask about it.
func (c *constraint) review(document opa.Value) (input opa.Value, ok bool) {
	v, err := opa.JSON(document)
	object, isObject := v.(map[string]any)
	if err != nil || !isObject {
		return nil, false
	}
	review := map[string]any{}
	if request, is := object["request"].(map[string]any); is && object["kind"] == "AdmissionReview" {
		review = request
		object, _ = request["object"].(map[string]any)
	} else {
		apiVersion, _ := object["apiVersion"].(string)
		kind, _ := object["kind"].(string)
		if apiVersion == "" || kind == "" {
			return nil, false
		}
		group, version, grouped := strings.Cut(apiVersion, "/")
		if !grouped {
			group, version = "", apiVersion
		}
		meta, _ := object["metadata"].(map[string]any)
		review["object"], review["operation"] = object, "CREATE"
		review["kind"] = map[string]any{"group": group, "version": version, "kind": kind}
		review["name"], review["namespace"] = text(meta["name"]), text(meta["namespace"])
		review["userInfo"] = map[string]any{}
	}
	if object == nil || !c.asks(review, object) {
		return nil, false
	}
	parameters := c.parameters
	if parameters == nil {
		parameters = map[string]any{}
	}
	input, err = valueOf(map[string]any{"review": review, "parameters": parameters})
	return input, err == nil
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

// asks reports whether the constraint's match is about the object.
func (c *constraint) asks(review, object map[string]any) bool {
	kind, _ := review["kind"].(map[string]any)
	meta, _ := object["metadata"].(map[string]any)
	namespace := text(review["namespace"])
	if kinds, ok := c.match["kinds"].([]any); ok && len(kinds) > 0 {
		if !slices.ContainsFunc(kinds, func(k any) bool {
			m, _ := k.(map[string]any)
			return among(m["apiGroups"], text(kind["group"])) && among(m["kinds"], text(kind["kind"]))
		}) {
			return false
		}
	}
	if list, ok := c.match["namespaces"].([]any); ok && len(list) > 0 && namespace != "" && !among(list, namespace) {
		return false
	}
	if list, ok := c.match["excludedNamespaces"].([]any); ok && namespace != "" && len(list) > 0 && among(list, namespace) {
		return false
	}
	switch c.match["scope"] {
	case "Namespaced":
		if namespace == "" {
			return false
		}
	case "Cluster":
		if namespace != "" {
			return false
		}
	}
	if name := text(c.match["name"]); name != "" && !fits(name, text(meta["name"])) {
		return false
	}
	selector, _ := c.match["labelSelector"].(map[string]any)
	labels, _ := meta["labels"].(map[string]any)
	return selects(selector, labels)
}

// among reports whether a list that may hold patterns names the text; a list that is not there names all.
func among(list any, name string) bool {
	all, ok := list.([]any)
	return !ok || len(all) == 0 || slices.ContainsFunc(all, func(v any) bool { return fits(text(v), name) })
}

// fits reports whether a name fits a pattern with a star at its beginning or end.
func fits(pattern, name string) bool {
	begin, isPrefix := strings.CutSuffix(pattern, "*")
	end, isSuffix := strings.CutPrefix(pattern, "*")
	switch {
	case pattern == "*":
		return true
	case isPrefix && isSuffix:
		return strings.Contains(name, strings.Trim(pattern, "*"))
	case isPrefix:
		return strings.HasPrefix(name, begin)
	case isSuffix:
		return strings.HasSuffix(name, end)
	}
	return pattern == name
}

// selects reports whether a label selector of Kubernetes selects these labels.
func selects(selector, labels map[string]any) bool {
	want, _ := selector["matchLabels"].(map[string]any)
	for k, v := range want {
		if have, ok := labels[k]; !ok || text(have) != text(v) {
			return false
		}
	}
	exprs, _ := selector["matchExpressions"].([]any)
	for _, x := range exprs {
		m, _ := x.(map[string]any)
		have, exists := labels[text(m["key"])]
		values, _ := m["values"].([]any)
		in := slices.ContainsFunc(values, func(v any) bool { return exists && text(v) == text(have) })
		switch m["operator"] {
		case "In":
			if !in {
				return false
			}
		case "NotIn":
			if in {
				return false
			}
		case "Exists":
			if !exists {
				return false
			}
		case "DoesNotExist":
			if exists {
				return false
			}
		}
	}
	return true
}
