package testudo

import (
	"fmt"
	"go/ast"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A page is a Markdown file of the documentation.
type page struct {
	path string
	text string // without fenced code
	code []snippet
}

// A snippet is a line of fenced code, or a code span.
type snippet struct {
	line int
	text string
}

// pages reads the README, CONTRIBUTING and everything under docs.
func pages(t *testing.T) []page {
	t.Helper()
	names := []string{"README.md", "CONTRIBUTING.md"}
	err := filepath.WalkDir("docs", func(p string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(p, ".md") {
			names = append(names, filepath.ToSlash(p))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var all []page
	for _, name := range names {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, parsePage(name, string(raw)))
	}
	return all
}

var codeSpan = regexp.MustCompile("`([^`]+)`")

func parsePage(name, raw string) page {
	p := page{path: name}
	var prose strings.Builder
	fence, begun, joined, output := "", 0, "", false
	for n, line := range strings.Split(raw, "\n") {
		trimmed := strings.TrimSpace(line)
		switch {
		case fence == "" && (strings.HasPrefix(trimmed, "```") || strings.HasPrefix(trimmed, "~~~")):
			fence, output = trimmed[:3], trimmed[3:] == "text"
			prose.WriteByte('\n')
			continue
		case fence != "" && strings.HasPrefix(trimmed, fence):
			fence = ""
			prose.WriteByte('\n')
			continue
		case fence != "" || strings.HasPrefix(line, "    "):
			if output && fence != "" {
				prose.WriteByte('\n')
				continue
			}
			if joined == "" {
				begun = n + 1
			}
			if before, more := strings.CutSuffix(trimmed, `\`); more {
				joined += before
				continue
			}
			p.code = append(p.code, snippet{begun, joined + trimmed})
			joined = ""
			prose.WriteByte('\n')
			continue
		}
		prose.WriteString(line + "\n")
	}
	p.text = prose.String()
	for n, line := range strings.Split(p.text, "\n") {
		for _, m := range codeSpan.FindAllStringSubmatch(line, -1) {
			p.code = append(p.code, snippet{n + 1, m[1]})
		}
	}
	return p
}

var (
	markdownLink = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	htmlLink     = regexp.MustCompile(`(?:src|srcset|href)="([^"]+)"`)
	heading      = regexp.MustCompile(`(?m)^#{1,6} +(.+)$`)
	notInAnchor  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// TestLinks follows every relative link of the documentation, to the heading where it names one.
func TestLinks(t *testing.T) {
	all := pages(t)
	for _, p := range all {
		prose := codeSpan.ReplaceAllString(p.text, "")
		links := append(markdownLink.FindAllStringSubmatch(prose, -1), htmlLink.FindAllStringSubmatch(prose, -1)...)
		for _, m := range links {
			target := m[1]
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			file, anchor, _ := strings.Cut(target, "#")
			to := p.path
			if file != "" {
				to = path.Join(path.Dir(p.path), file)
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s: the link %s leads nowhere: %v", p.path, target, err)
				continue
			}
			if anchor != "" && strings.HasSuffix(to, ".md") && !slices.Contains(anchors(t, to), anchor) {
				t.Errorf("%s: the link %s leads to no heading", p.path, target)
			}
		}
	}
}

// anchors returns the names that a page's headings get.
func anchors(t *testing.T, name string) []string {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, m := range heading.FindAllStringSubmatch(parsePage(name, string(raw)).text, -1) {
		all = append(all, strings.ReplaceAll(notInAnchor.ReplaceAllString(strings.ToLower(strings.TrimSpace(m[1])), ""), " ", "-"))
	}
	return all
}

// TestDocumentedTargets checks that every make target that the documentation names exists.
func TestDocumentedTargets(t *testing.T) {
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	targets := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^([a-z][a-z-]*):`).FindAllStringSubmatch(string(makefile), -1) {
		targets[m[1]] = true
	}
	for _, p := range pages(t) {
		for _, s := range p.code {
			words := strings.Fields(strings.TrimPrefix(s.text, "$ "))
			if len(words) < 2 || words[0] != "make" {
				continue
			}
			for _, w := range words[1:] {
				if strings.ContainsAny(w, "#'") { // a comment, or a value
					break
				}
				if !strings.Contains(w, "=") && !strings.HasPrefix(w, "-") && !targets[w] {
					t.Errorf("%s:%d: there is no make target %s", p.path, s.line, w)
				}
			}
		}
	}
}

// TestDocumentedCommands checks that every subcommand and flag of testudo that the documentation
// names exists, as the source of the command declares them.
func TestDocumentedCommands(t *testing.T) {
	root := commands(t)
	known := append(flagsOf(root), "listen", "user", "verbose", // of the demo shop
		"cacert",              // of curl
		"pid",                 // of container runtimes
		"reference", "shared") // of git clone
	seen := 0
	for _, p := range pages(t) {
		for _, s := range p.code {
			words, ok := invocation(s.text)
			if !ok {
				// A flag that is named alone is some command's.
				if m := aFlag.FindStringSubmatch(s.text); m != nil && !slices.Contains(known, m[1]) {
					t.Errorf("%s:%d: no command has the flag --%s", p.path, s.line, m[1])
				}
				continue
			}
			seen++
			if err := root.accepts(words); err != nil {
				t.Errorf("%s:%d: %q: %v", p.path, s.line, s.text, err)
			}
		}
	}
	if seen < 30 {
		t.Errorf("only %d commands were found in the documentation: the test has lost its way", seen)
	}
}

// TestLibrariesAreExplained checks that each module which the code imports stands in the record
// that says why.
func TestLibrariesAreExplained(t *testing.T) {
	const record = "docs/decisions/0001-libraries.md"
	raw, err := os.ReadFile(record)
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	var modules []string
	for _, m := range regexp.MustCompile(`(?m)^\t(\S+\.\S+/\S+) v`).FindAllStringSubmatch(string(mod), -1) {
		modules = append(modules, m[1])
	}
	missing := map[string]string{}
	for _, f := range files(t) {
		for imported := range f.imports {
			for _, m := range modules {
				if (imported == m || strings.HasPrefix(imported, m+"/")) && !strings.Contains(string(raw), "`"+m+"`") {
					missing[m] = f.path
				}
			}
		}
	}
	for m, by := range missing {
		t.Errorf("%s says nothing of %s, which %s imports", record, m, by)
	}
}

// invocation returns the words behind testudo in a line that calls it.
func invocation(line string) (words []string, ok bool) {
	line = strings.TrimPrefix(line, "$ ")
	if rest, found := strings.CutPrefix(line, "sudo "); found {
		line = strings.TrimPrefix(rest, "-u testudo ")
	}
	words = strings.Fields(line)
	if len(words) < 2 || words[0] != "testudo" && words[0] != "bin/testudo" {
		return nil, false
	}
	return words[1:], true
}

// A command is a subcommand as its source declares it.
type command struct {
	name  string
	flags []string
	subs  []*command
}

func flagsOf(c *command) []string {
	all := slices.Clone(c.flags)
	for _, s := range c.subs {
		all = append(all, flagsOf(s)...)
	}
	return all
}

var (
	aFlag = regexp.MustCompile(`^--([a-z][a-z-]+)`)
	aWord = regexp.MustCompile(`^[a-z][a-z-]*$`)
)

// accepts follows the words of an invocation: subcommands first, flags anywhere.
func (c *command) accepts(words []string) error {
	at, flags, descending := c, slices.Clone(c.flags), true
	quoted := false
	for _, w := range words {
		if strings.Count(w, "'")%2 == 1 {
			quoted = !quoted
			descending = false
			continue
		}
		if quoted {
			continue
		}
		switch {
		case w == "--" || w == "|" || w == ">" || w == "&" || w == "&&" || w == "||" || strings.HasPrefix(w, "#"):
			return nil
		case strings.HasPrefix(w, "--"):
			name, _, _ := strings.Cut(strings.TrimRight(w[2:], ".,;:"), "=")
			if !slices.Contains(flags, name) && name != "help" && name != "version" {
				return fmt.Errorf("testudo %s has no flag --%s", at.name, name)
			}
		case descending && aWord.MatchString(w):
			i := slices.IndexFunc(at.subs, func(s *command) bool { return s.name == w })
			switch {
			case i >= 0:
				at = at.subs[i]
				flags = append(flags, at.flags...)
			case at == c && w != "completion" && w != "help":
				return fmt.Errorf("there is no subcommand %s", w)
			default:
				descending = false
			}
		default:
			descending = false
		}
	}
	return nil
}

// commands reads the tree of subcommands from the source of cmd/testudo.
func commands(t *testing.T) *command {
	t.Helper()
	type declared struct {
		command
		calls  []string // functions whose commands are added to this one
		shares bool     // it calls register, which declares flags that several commands share
	}
	byFunc := map[string]*declared{}
	var shared []string
	for _, f := range files(t) {
		if f.dir != "cmd/testudo" || f.test {
			continue
		}
		for _, decl := range f.ast.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			d := &declared{}
			ast.Inspect(fn, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.KeyValueExpr:
					key, isName := n.Key.(*ast.Ident)
					use, isText := text(n.Value)
					if isName && isText && key.Name == "Use" {
						name, _, _ := strings.Cut(use, " ")
						if d.name == "" {
							d.name = name
						} else { // a command written out within the one above it
							d.subs = append(d.subs, &command{name: name})
						}
					}
				case *ast.CallExpr:
					sel, ok := n.Fun.(*ast.SelectorExpr)
					if !ok {
						return true
					}
					switch {
					case strings.Contains(sel.Sel.Name, "Var") && len(n.Args) >= 3:
						if flag, ok := text(n.Args[1]); ok {
							d.flags = append(d.flags, flag)
						}
					case sel.Sel.Name == "register":
						d.shares = true
					case strings.HasSuffix(sel.Sel.Name, "Command"):
						d.calls = append(d.calls, sel.Sel.Name)
					}
				}
				return true
			})
			if d.name != "" {
				byFunc[fn.Name.Name] = d
			}
			if fn.Name.Name == "register" {
				shared = append(shared, d.flags...)
			}
		}
	}
	var build func(string) *command
	build = func(name string) *command {
		d := byFunc[name]
		c := d.command
		if d.shares {
			c.flags = append(c.flags, shared...)
		}
		for _, call := range d.calls {
			if byFunc[call] != nil && call != name {
				c.subs = append(c.subs, build(call))
			}
		}
		return &c
	}
	if byFunc["root"] == nil {
		t.Fatal("the function root of cmd/testudo, which makes the command, was not found")
	}
	return build("root")
}

// text returns the value of a literal string.
func text(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(lit.Value)
	return s, err == nil
}
