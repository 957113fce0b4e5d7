package rego

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/testudo-sec/testudo/policy"
)

// The bounds of what is loaded.
const (
	maxModules = 2000
	maxDepth   = 200 // brackets within each other
)

// unit is what is compiled together: the .rego files, or one ConstraintTemplate.
type unit struct {
	compiler *ast.Compiler
	entries  []entry
}

// entry is a rule that says what is wrong with a document.
type entry struct {
	pkg      string // "main"
	rule     string // "deny_latest"
	path     ast.Ref
	warn     bool
	file     string
	line     int
	column   int
	excepted ast.Ref // conftest's exceptions of the package; nil for none

	constraint *constraint // of Gatekeeper
}

// id names the entry: "main.deny", "k8srequiredlabels.must-have-owner".
func (e *entry) id() string {
	if e.constraint != nil {
		return strings.ToLower(e.constraint.kind) + "." + e.constraint.name
	}
	return e.pkg + "." + e.rule
}

// entryName is what conftest takes for a rule that says what is wrong.
var entryName = regexp.MustCompile(`^(deny|violation|warn)(_[a-zA-Z0-9]+)*$`)

// module is a parsed file.
type module struct {
	file   string
	module *ast.Module
	offset int // lines above the module in its file
	indent int // columns before its lines
}

// parseModule reads a module in the syntax that it is written in: v1 where it is, and else v0.
func parseModule(file, text string) (*ast.Module, policy.Problems) {
	if p, deep := tooDeep(file, text); deep {
		return nil, policy.Problems{p}
	}
	parse := func(v ast.RegoVersion) (*ast.Module, error) {
		return ast.ParseModuleWithOpts(file, text, ast.ParserOptions{RegoVersion: v, Capabilities: available().capabilities})
	}
	m, v1 := parse(ast.RegoV1)
	if v1 == nil && m != nil {
		return m, nil
	}
	m, v0 := parse(ast.RegoV0)
	if v0 == nil && m != nil {
		return m, nil
	}
	err := v0
	if err == nil || newSyntax.MatchString(text) {
		err = v1
	}
	if err == nil {
		return nil, policy.Problems{{File: file, Line: 1, Column: 1, Message: "the file holds no policy", Hint: "begin it with a package, as in package main"}}
	}
	return nil, problems(err, file)
}

// newSyntax marks modules of Rego v1.
var newSyntax = regexp.MustCompile(`(?m)^\s*import\s+rego\.v1|\s(contains\s+\S+\s+)?if\s*\{|\sif\s`)

// tooDeep finds brackets nested deeper than the parser's stack is to bear.
func tooDeep(file, text string) (policy.Problem, bool) {
	depth, line, begin := 0, 1, 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\n':
			line, begin = line+1, i+1
		case '(', '[', '{':
			if depth++; depth > maxDepth {
				return policy.Problem{File: file, Line: line, Column: i - begin + 1, Message: "nested too deeply"}, true
			}
		case ')', ']', '}':
			depth = max(0, depth-1)
		}
	}
	return policy.Problem{}, false
}

// problems turns OPA's errors into ours.
func problems(err error, file string) policy.Problems {
	var all ast.Errors
	var one *ast.Error
	switch {
	case errors.As(err, &all):
	case errors.As(err, &one):
		all = ast.Errors{one}
	default:
		return policy.Problems{{File: file, Line: 1, Column: 1, Message: policy.Printable(err.Error(), 300)}}
	}
	var out policy.Problems
	for _, e := range all {
		p := policy.Problem{File: file, Line: 1, Column: 1, Message: policy.Printable(strings.TrimPrefix(e.Message, "rego_"), 300)}
		if e.Location != nil {
			p.Line, p.Column = max(1, e.Location.Row), max(1, e.Location.Col)
			if e.Location.File != "" {
				p.File = e.Location.File
			}
		}
		out = append(out, p)
	}
	return out
}

// compile compiles modules together. Modules are changed.
func compile(mods []module) (*ast.Compiler, policy.Problems) {
	b := available()
	var found policy.Problems
	own := make(map[string]map[string]bool) // names that packages define themselves
	for _, m := range mods {
		names := own[m.module.Package.Path.String()]
		if names == nil {
			names = make(map[string]bool)
			own[m.module.Package.Path.String()] = names
		}
		for _, r := range m.module.Rules {
			names[r.Head.Ref().String()] = true
			names[r.Head.Name.String()] = true
		}
		for _, im := range m.module.Imports {
			names[string(im.Name())] = true
		}
	}
	parsed := make(map[string]*ast.Module, len(mods))
	for i, m := range mods {
		names := own[m.module.Package.Path.String()]
		found = append(found, rename(m, names, b)...)
		parsed[fmt.Sprintf("%06d %s", i, m.file)] = m.module
	}
	if len(found) > 0 {
		return nil, found
	}
	c := ast.NewCompiler().WithCapabilities(b.capabilities).WithEnablePrintStatements(false)
	c.SetErrorLimit(50)
	c.Compile(parsed)
	if !c.Failed() {
		return c, nil
	}
	found = problems(c.Errors, mods[0].file)
	for i := range found {
		if at := slices.IndexFunc(mods, func(m module) bool { return m.file == found[i].File }); at >= 0 {
			found[i].Line += mods[at].offset
			found[i].Column += mods[at].indent
		}
		found[i].Message = strings.ReplaceAll(found[i].Message, ours, "")
	}
	return nil, found
}

// rename calls bounded built-ins by our names, and finds the refused ones.
func rename(m module, own map[string]bool, b *builtins) policy.Problems {
	var found policy.Problems
	operator := func(t *ast.Term) {
		ref, ok := t.Value.(ast.Ref)
		if !ok {
			return
		}
		name := ref.String()
		if first, _, _ := strings.Cut(name, "."); own[name] || own[first] {
			return
		}
		if why := b.refused[name]; why != "" {
			p := policy.Problem{File: m.file, Line: 1, Column: 1, Message: fmt.Sprintf("%s cannot be used: %s", name, why), Hint: "decide by input alone"}
			if t.Location != nil {
				p.Line, p.Column = t.Location.Row+m.offset, t.Location.Col+m.indent
			}
			found = append(found, p)
			return
		}
		if b.custom[ours+name] != nil {
			t.Value = ast.MustParseRef(ours + name)
		}
	}
	ast.WalkNodes(m.module, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Expr:
			if terms, ok := n.Terms.([]*ast.Term); ok && len(terms) > 0 {
				operator(terms[0])
			}
		case *ast.Term:
			if call, ok := n.Value.(ast.Call); ok && len(call) > 0 {
				operator(call[0])
			}
		}
		return false
	})
	return found
}

// entriesOf returns the rules of the modules that say what is wrong with a document, by package and name.
func entriesOf(mods []module) []entry {
	all := make(map[string]entry)
	for _, m := range mods {
		pkg := strings.TrimPrefix(m.module.Package.Path.String(), "data.")
		for _, r := range m.module.Rules {
			ref := r.Head.Ref()
			name := string(r.Head.Name)
			if v, ok := ref[0].Value.(ast.Var); ok && name == "" {
				name = string(v)
			}
			if len(r.Head.Args) > 0 || !entryName.MatchString(name) {
				continue
			}
			key := pkg + "." + name
			e, seen := all[key]
			if !seen {
				e = entry{pkg: pkg, rule: name, warn: strings.HasPrefix(name, "warn"), file: m.file, line: 1, column: 1,
					path: m.module.Package.Path.Append(ast.StringTerm(name))}
				if l := r.Location; l != nil {
					e.line, e.column = l.Row+m.offset, l.Col+m.indent
				}
			}
			all[key] = e
		}
	}
	for _, m := range mods {
		for _, r := range m.module.Rules {
			if string(r.Head.Name) != "exception" || len(r.Head.Args) > 0 {
				continue
			}
			pkg := strings.TrimPrefix(m.module.Package.Path.String(), "data.")
			for key, e := range all {
				if e.pkg == pkg {
					e.excepted = m.module.Package.Path.Append(ast.StringTerm("exception"))
					all[key] = e
				}
			}
		}
	}
	out := make([]entry, 0, len(all))
	for _, key := range slices.Sorted(maps.Keys(all)) {
		out = append(out, all[key])
	}
	return out
}

// Policies is a set of compiled policies. It is immutable and safe for concurrent use.
type Policies struct{ units []unit }

// Len returns how many rules the policies have that say what is wrong with a document.
func (p *Policies) Len() int {
	n := 0
	for _, u := range p.units {
		n += len(u.entries)
	}
	return n
}

// Load compiles the policies of files: modules whose names end in .rego belong together, but for tests (_test.rego), and so do
// ConstraintTemplates and constraints in YAML. It is all or nothing; notes are returned beside the policies.
func Load(files []policy.File) (*Policies, policy.Problems) {
	p := new(Policies)
	var found policy.Problems
	var mods []module
	var gates gatekeeper
	for _, f := range files {
		switch {
		case strings.HasSuffix(strings.ToLower(f.Name), "_test.rego"):
		case strings.ToLower(path.Ext(f.Name)) == ".rego":
			m, wrong := parseModule(f.Name, strings.TrimPrefix(string(f.Text), "\ufeff"))
			if found = append(found, wrong...); m != nil {
				mods = append(mods, module{file: f.Name, module: m})
			}
		default:
			found = append(found, gates.file(f)...)
		}
		if len(mods) > maxModules {
			return nil, append(found, policy.Problem{File: f.Name, Message: fmt.Sprintf("more than %d modules", maxModules), Hint: "name a smaller folder"})
		}
	}
	if len(mods) > 0 && len(found) == 0 {
		entries := entriesOf(mods)
		c, wrong := compile(mods)
		found = append(found, wrong...)
		p.units = append(p.units, unit{c, entries})
	}
	units, wrong := gates.units()
	found = append(found, wrong...)
	p.units = append(p.units, units...)
	if slices.ContainsFunc(found, func(p policy.Problem) bool { return !p.Note }) {
		return nil, found
	}
	return p, found
}
