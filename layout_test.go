package testudo

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/testudo-sec/testudo"

// rooms says for every root folder with Go code which other rooms its packages may
// import. Every room may import signal and internal, unless it stands in standalone. A
// room that is missing here, or a rule that turns out wrong, is changed here with the reason.
var rooms = map[string][]string{
	"signal":   {},
	"config":   {},
	"rules":    {},
	"internal": {},
	// detect compiles the secret rules that ship.
	"detect": {"rules"},
	"policy": {},
	"store":  {},
	"trust":  {},
	// The console declares what it reads; it imports no engine.
	"console": {},
	"replay":  {"policy", "store"},
	// intel says what the world knows; the planes and respond ask it.
	"intel":   {},
	"respond": {"trust", "detect"},
	"scan":    {"trust", "detect", "intel"},
	"edge":    {"trust", "detect"},
	"logs":    {"trust", "detect"},
	"kernel":  {"trust", "detect"},
	// The demo shop is a program of its own and knows nothing of testudo.
	"examples": {},
	// The command and the root package: see importsOfRoot and the comment at cmd.
	"cmd": {"*"},
}

// standalone rooms import no other room, not even signal.
var standalone = []string{"signal", "config", "rules", "internal", "examples"}

// standardOnly rooms import the standard library only, tests excepted.
var standardOnly = []string{"signal", "internal"}

// ground folders may be imported by their siblings in the room.
var ground = []string{
	"policy/match",       // the one form that every dialect compiles to
	"policy/window",      // counting by event time: every dialect's rules use it
	"policy/rulefile",    // the YAML of rule files, with places
	"kernel/record",      // what the sensor saw, in the one form that all parts write and read
	"respond/workload",   // processes and containers: kill, freeze and isolate act on the same
	"kernel/process",     // the table of processes, which the plane and its parts ask
	"edge/waf/seclang",   // SecLang as a program, which the engine executes
	"edge/waf/transform", // SecLang's transformations: the engine does them
	"edge/waf/engine",    // executes programs: the host begins its transactions
	"edge/waf/ftw",       // the Core Rule Set's regression tests
	"edge/waf/waftest",   // what tests of several parts need beside them
	"edge/api/schema",    // JSON values against JSON Schema: documents are made of it
	"edge/api/openapi",   // the parts of the guard of APIs, which its host composes
	"edge/api/graphql",
	"edge/api/grpc",
	"edge/api/grpc/reflection",
	"edge/api/inventory",
	"edge/api/owner",
	"edge/api/token",
	"policy/budget", // on how much of known-good traffic rules fire
	"edge/habit",    // what is normal for parameters, which edge/api feeds and asks
}

type file struct {
	path    string // slash-separated, relative to the root
	dir     string
	test    bool
	pkg     string
	doc     bool
	imports map[string]token.Position
	ast     *ast.File
	fset    *token.FileSet
	lines   int
}

// files parses every Go file of the module itself, so that the test cache notices them. No test changes what it returns.
func files(t *testing.T) []file {
	t.Helper()
	all, err := parsed()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// parsed reads them once for all tests.
var parsed = sync.OnceValues(parse)

func parse() ([]file, error) {
	var all []file
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			name := d.Name()
			if p != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules" || name == "bin") {
				return filepath.SkipDir
			}
			if _, err := os.Stat(filepath.Join(p, "go.mod")); err == nil && p != "." {
				return filepath.SkipDir // a module of its own
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		src, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		parsed, err := parser.ParseFile(fset, p, src, parser.ParseComments)
		if err != nil {
			return err
		}
		f := file{path: filepath.ToSlash(p), dir: path.Dir(filepath.ToSlash(p)), test: strings.HasSuffix(p, "_test.go"),
			pkg: parsed.Name.Name, doc: parsed.Doc != nil, imports: map[string]token.Position{}, ast: parsed, fset: fset,
			lines: strings.Count(string(src), "\n")}
		for _, spec := range parsed.Imports {
			f.imports[strings.Trim(spec.Path.Value, `"`)] = fset.Position(spec.Pos())
		}
		all = append(all, f)
		return nil
	})
	return all, err
}

func room(dir string) string {
	first, _, _ := strings.Cut(dir, "/")
	return first
}

func TestImports(t *testing.T) {
	for _, f := range files(t) {
		if f.test {
			continue // tests may use any part as their real counterpart
		}
		from := room(f.dir)
		for imp, pos := range f.imports {
			std := !strings.Contains(strings.SplitN(imp, "/", 2)[0], ".")
			to, ours := strings.CutPrefix(imp, module+"/")
			switch {
			case std:
			case f.dir == ".":
				if !ours || (strings.Contains(to, "/") && room(to) != "internal") {
					if ours {
						t.Errorf("%v: the root package imports the rooms' hosts, never a part", pos)
					}
				}
			case !ours && slices.Contains(standardOnly, from) && !isCommand(f):
				t.Errorf("%v: %s imports the standard library only", pos, from)
			case ours:
				checkRoom(t, pos, f, from, to)
			}
		}
	}
}

func isCommand(f file) bool { return f.pkg == "main" }

func checkRoom(t *testing.T, pos token.Position, f file, from, to string) {
	t.Helper()
	allowed, known := rooms[from]
	target := room(to)
	switch {
	case !known:
		t.Errorf("%v: room %s is not in the table of layout_test.go", pos, from)
	case slices.Contains(allowed, "*"):
	case target == from:
		above := to == f.dir || strings.HasPrefix(f.dir+"/", to+"/")
		kit := strings.HasSuffix(f.dir, "test") // conformance kits and test doubles
		if from != "internal" && from != "examples" && !above && !kit && !slices.Contains(ground, to) {
			t.Errorf("%v: %s imports its sibling %s: a folder imports the folders above it", pos, f.dir, to)
		}
	case target == "internal" && from != "signal":
	case target == "signal" && !slices.Contains(standalone, from):
	case !slices.Contains(allowed, target):
		t.Errorf("%v: %s may not import %s", pos, from, target)
	}
}

// TestPackageComments demands a comment that says what a package does.
func TestPackageComments(t *testing.T) {
	documented := map[string]bool{}
	for _, f := range files(t) {
		if !f.test {
			documented[f.dir] = documented[f.dir] || f.doc
		}
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("package %s has no package comment", dir)
		}
	}
}

// TestLeavesAreDescribed holds docs/architecture.md to the folders of internal.
func TestLeavesAreDescribed(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("docs", "architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	leaves, err := os.ReadDir("internal")
	if err != nil {
		t.Fatal(err)
	}
	for _, leaf := range leaves {
		if !strings.Contains(string(text), "| `"+leaf.Name()+"` |") {
			t.Errorf("docs/architecture.md says nothing of internal/%s", leaf.Name())
		}
	}
}

// TestNoInit forbids init functions and names that say nothing.
func TestNoInit(t *testing.T) {
	vague := []string{"util", "utils", "common", "helper", "helpers", "base", "manager", "data", "info", "misc"}
	for _, f := range files(t) {
		if slices.Contains(vague, f.pkg) || slices.Contains(vague, path.Base(f.dir)) {
			t.Errorf("%s: a package called %s says nothing", f.path, f.pkg)
		}
		for _, decl := range f.ast.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%v: roles in one binary must not pay for each other: no init functions", f.fset.Position(fn.Pos()))
			}
		}
	}
}

// TestOnlyRequireSkips holds that what a test lacks has a name: CI demands every part but those that .ci/run lists.
func TestOnlyRequireSkips(t *testing.T) {
	for _, f := range files(t) {
		if f.dir == "internal/require" {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if call, ok := n.(*ast.SelectorExpr); ok && slices.Contains([]string{"t", "b", "tb", "f"}, identifier(call.X)) &&
				slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, call.Sel.Name) {
				t.Errorf("%v: skip by internal/require, which names what is missing", f.fset.Position(call.Pos()))
			}
			return true
		})
	}
}

func identifier(e ast.Expr) string {
	if id, ok := e.(*ast.Ident); ok {
		return id.Name
	}
	return ""
}

// longFiles are over 600 lines for the reason beside them.
var longFiles = map[string]string{
	"signal/fields_gen.go": "generated",
}

func TestFileSizes(t *testing.T) {
	for _, f := range files(t) {
		if f.lines > 600 && longFiles[f.path] == "" && !f.test {
			t.Errorf("%s has %d lines: split it, or give the reason here", f.path, f.lines)
		}
	}
}

// TestNoAssignedGlobals finds package variables that functions assign to: state that roles in
// one binary would share.
func TestNoAssignedGlobals(t *testing.T) {
	vars := map[string]map[string]bool{}
	all := files(t)
	for _, f := range all {
		if f.test || isCommand(f) {
			continue
		}
		for _, decl := range f.ast.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok || gen.Tok != token.VAR {
				continue
			}
			for _, spec := range gen.Specs {
				for _, name := range spec.(*ast.ValueSpec).Names {
					if vars[f.dir] == nil {
						vars[f.dir] = map[string]bool{}
					}
					vars[f.dir][name.Name] = true
				}
			}
		}
	}
	for _, f := range all {
		if f.test || isCommand(f) {
			continue
		}
		for _, decl := range f.ast.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			local := declared(fn)
			ast.Inspect(fn, func(n ast.Node) bool {
				assign, ok := n.(*ast.AssignStmt)
				if !ok || assign.Tok == token.DEFINE {
					return true
				}
				for _, lhs := range assign.Lhs {
					if id, ok := lhs.(*ast.Ident); ok && id.Name != "_" && vars[f.dir][id.Name] && !local[id.Name] {
						t.Errorf("%v: package variable %s is assigned to", f.fset.Position(id.Pos()), id.Name)
					}
				}
				return true
			})
		}
	}
}

// declared returns the names that a function declares anywhere within it.
func declared(fn *ast.FuncDecl) map[string]bool {
	names := map[string]bool{}
	add := func(n ast.Node) {
		if id, ok := n.(*ast.Ident); ok {
			names[id.Name] = true
		}
	}
	ast.Inspect(fn, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if n.Tok == token.DEFINE {
				for _, lhs := range n.Lhs {
					add(lhs)
				}
			}
		case *ast.RangeStmt:
			if n.Tok == token.DEFINE {
				add(n.Key)
				add(n.Value)
			}
		case *ast.ValueSpec:
			for _, id := range n.Names {
				add(id)
			}
		case *ast.Field:
			for _, id := range n.Names {
				add(id)
			}
		}
		return true
	})
	return names
}
