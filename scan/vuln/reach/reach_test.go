package reach

import (
	"context"
	"crypto/sha256"
	"fmt"
	"iter"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/testudo-sec/testudo/intel"
	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/scan/vuln"
	"github.com/testudo-sec/testudo/signal"
)

const childVariable = "TESTUDO_TEST_REACH"

func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == childVariable {
		if err := Main(context.Background(), os.Args[2:], os.Stdout, os.Stderr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// program is a module with its dependency beside it, so that no network is asked.
var program = map[string]string{
	"go.mod":                           "module example.org/shop\n\ngo 1.21\n\nrequire example.org/dep v1.0.0\n",
	"main.go":                          "package main\n\nimport \"example.org/dep\"\n\nfunc main() { serve() }\n\nfunc serve() { dep.Open(\"x\") }\n",
	"vendor/modules.txt":               "# example.org/dep v1.0.0\n## explicit; go 1.21\nexample.org/dep\n",
	"vendor/example.org/dep/dep.go":    "package dep\n\nfunc Open(s string) { parse(s) }\n\nfunc parse(string) {}\n\nfunc Unused() {}\n",
	"vendor/example.org/dep/README.md": "",
}

func write(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		at := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func flaw(path string, imports ...intel.Import) *vuln.Flaw {
	return &vuln.Flaw{ID: "CVE-1", Imports: imports, Packages: []*scan.Package{{Ecosystem: "Go", Name: "example.org/dep", Version: "1.0.0", Path: path}}}
}

func analysis(root string) *Analysis {
	return &Analysis{Root: root, Child: []string{os.Args[0], childVariable}, Config: DefaultConfig()}
}

func TestReach(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Fatal(err) // the tests themselves need it
	}
	called := flaw("go.mod", intel.Import{Path: "example.org/dep", Symbols: []string{"parse"}})
	unused := flaw("go.mod", intel.Import{Path: "example.org/dep", Symbols: []string{"Unused"}})
	absent := flaw("go.mod", intel.Import{Path: "example.org/dep/x", Symbols: []string{"Bad"}})
	whole := flaw("go.mod", intel.Import{Path: "example.org/dep"})
	unknown := flaw("go.mod")
	other := flaw("package-lock.json", intel.Import{Path: "x"})
	flaws := []*vuln.Flaw{called, unused, absent, whole, unknown, other}
	if err := analysis(write(t, program)).Reach(t.Context(), flaws); err != nil {
		t.Fatal(err)
	}
	for i, want := range []vuln.Reachability{vuln.Reached, vuln.NotReached, vuln.NotImported, vuln.Reached, vuln.ReachUnknown, vuln.ReachUnknown} {
		if flaws[i].Reach != want {
			t.Errorf("flaw %d: %d, want %d (%v)", i, flaws[i].Reach, want, flaws[i].Trace)
		}
	}
	if d := cmp.Diff([]string{"example.org/shop.main", "example.org/shop.serve", "example.org/dep.Open", "example.org/dep.parse"}, called.Trace); d != "" {
		t.Error(d)
	}
}

// TestToolchain: whether the standard library has a flaw is a matter of the toolchain that is installed, not of the least one that go.mod
// allows. The flaws are put in by the matcher, since the ranges are what decides.
func TestToolchain(t *testing.T) {
	root := write(t, map[string]string{"go.mod": "module example.org/shop\n\ngo 1.21\n", "main.go": "package main\n\nimport \"os\"\n\nfunc main() { os.Getenv(\"x\") }\n"})
	entry := func(id, fixed string) *intel.Advisory {
		return &intel.Advisory{ID: id, Affected: []intel.Affected{{Ecosystem: "Go", Name: "stdlib", Imports: []intel.Import{{Path: "os", Symbols: []string{"Getenv"}}},
			Ranges: []intel.Range{{Type: "SEMVER", Events: []intel.Event{{Introduced: "0"}, {Fixed: fixed}}}}}}}
	}
	m, err := vuln.New(vuln.Options{Database: database{entry("GO-2023-0001", "1.21.1"), entry("GO-2023-0002", "99.0.0")}, Config: vuln.DefaultConfig(), Reacher: analysis(root)})
	if err != nil {
		t.Fatal(err)
	}
	inv := &scan.Inventory{Packages: []scan.Package{{PURL: "pkg:golang/stdlib@1.21", Ecosystem: "Go", Name: "stdlib", Version: "1.21", Path: "go.mod", Line: 3}}}
	var found []string
	if err := m.Match(t.Context(), inv, func(f signal.Finding, _ scan.Confidence) { found = append(found, f.Rule) }); err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 || found[0] != "GO-2023-0002" || m.Summary().NotBuilt != 1 || m.Flaws()[1].Reach != vuln.Reached {
		t.Errorf("found %v, %+v, %d", found, m.Summary(), m.Flaws()[1].Reach)
	}
	// Where the module cannot be analysed, the toolchain is known all the same.
	if err := os.WriteFile(filepath.Join(root, "main.go"), []byte("package main\n\nimport _ \"example.org/absent\"\n\nfunc main() {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	found = nil
	if err := m.Match(t.Context(), inv, func(f signal.Finding, _ scan.Confidence) { found = append(found, f.Rule) }); err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 || found[0] != "GO-2023-0002" || m.Summary().NotBuilt != 1 || m.Flaws()[1].Reach != vuln.ReachUnknown || m.Unreached() == nil {
		t.Errorf("not analysed: found %v, %+v, %d, %v", found, m.Summary(), m.Flaws()[1].Reach, m.Unreached())
	}
}

type database []*intel.Advisory

func (d database) Affecting(string, string) iter.Seq2[*intel.Advisory, error] {
	return func(yield func(*intel.Advisory, error) bool) {
		for _, a := range d {
			if !yield(a, nil) {
				return
			}
		}
	}
}

// TestOutside: a module that sends the toolchain elsewhere is not analysed.
func TestOutside(t *testing.T) {
	outside := t.TempDir()
	for _, target := range []string{"../other", outside, "./dep/../../other", "link"} {
		files := map[string]string{"go.mod": "module a\n\ngo 1.21\n\nreplace example.org/dep => " + target + "\n"}
		if target == "link" {
			files["go.mod"] = strings.Replace(files["go.mod"], "link", "./link", 1)
		}
		root := write(t, files)
		if target == "link" {
			if err := os.Symlink(outside, filepath.Join(root, "link")); err != nil {
				t.Fatal(err)
			}
		}
		f := flaw("go.mod", intel.Import{Path: "example.org/dep"})
		err := analysis(root).Reach(t.Context(), []*vuln.Flaw{f})
		if err == nil || !strings.Contains(err.Error(), "go.mod: it replaces example.org/dep") || f.Reach != vuln.ReachUnknown {
			t.Errorf("%s: %v, %d", target, err, f.Reach)
		}
	}
}

// TestNotJudged: what cannot be analysed is said, and its flaws are left as they are.
func TestNotJudged(t *testing.T) {
	missing := map[string]string{"go.mod": "module a\n\ngo 1.21\n\nrequire example.org/dep v1.0.0\n", "a.go": "package a\n\nimport _ \"example.org/dep\"\n"}
	broken := map[string]string{"go.mod": "this is no module file"}
	for name, files := range map[string]map[string]string{"missing dependency": missing, "broken go.mod": broken} {
		f := flaw("go.mod", intel.Import{Path: "example.org/dep"})
		if err := analysis(write(t, files)).Reach(t.Context(), []*vuln.Flaw{f}); err == nil || f.Reach != vuln.ReachUnknown {
			t.Errorf("%s: %v, %d", name, err, f.Reach)
		}
	}
	bare := flaw("go.mod", intel.Import{Path: "example.org/dep"})
	if err := analysis(write(t, map[string]string{"go.mod": "module a\n\ngo 1.21\n\nrequire example.org/dep v1.0.0\n"})).Reach(t.Context(), []*vuln.Flaw{bare}); err != nil || bare.Reach != vuln.NotImported {
		t.Errorf("a module without code: %v, %d", err, bare.Reach)
	}
	f := flaw("go.mod", intel.Import{Path: "example.org/dep"})
	a := analysis(write(t, program))
	a.Config.Timeout = time.Millisecond
	if err := a.Reach(t.Context(), []*vuln.Flaw{f}); err == nil || !strings.Contains(err.Error(), "not analysed within 1ms") {
		t.Error(err)
	}
}

// TestPartly: packages that do not load take nothing from what the others are known to call; of what nobody is seen to call nothing is said.
func TestPartly(t *testing.T) {
	for name, bad := range map[string]map[string]string{
		"does not parse":       {"bad/bad.go": "package bad\n\nfunc {\n"},
		"an import is missing": {"bad/bad.go": "package bad\n\nimport _ \"example.org/absent\"\n"},
		"and who needs it":     {"bad/bad.go": "package bad\n\nvar X int = undefined\n", "worse/worse.go": "package worse\n\nimport \"example.org/shop/bad\"\n\nvar Y = bad.X\n"},
	} {
		files := maps.Clone(program)
		maps.Copy(files, bad)
		called := flaw("go.mod", intel.Import{Path: "example.org/dep", Symbols: []string{"parse"}})
		unused := flaw("go.mod", intel.Import{Path: "example.org/dep", Symbols: []string{"Unused"}})
		absent := flaw("go.mod", intel.Import{Path: "example.org/dep/x", Symbols: []string{"Bad"}})
		err := analysis(write(t, files)).Reach(t.Context(), []*vuln.Flaw{called, unused, absent})
		if err == nil || !strings.Contains(err.Error(), "go.mod: packages do not load, and what these call is not known: ") {
			t.Errorf("%s: %v", name, err)
		}
		// What is imported is known where only types do not fit.
		gone := vuln.ReachUnknown
		if name != "an import is missing" {
			gone = vuln.NotImported
		}
		if called.Reach != vuln.Reached || unused.Reach != vuln.ReachUnknown || absent.Reach != gone {
			t.Errorf("%s: %d, %d, %d", name, called.Reach, unused.Reach, absent.Reach)
		}
	}
}

// TestRunsNothing: neither the target nor the user's settings have the toolchain run a program, ask the network or change a file.
func TestRunsNothing(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "ran")
	tool := filepath.Join(t.TempDir(), "tool")
	if err := os.WriteFile(tool, []byte("#!/bin/sh\necho \"$0 $*\" >> "+mark+"\nexec \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	settings := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(settings, []byte("GOFLAGS=-toolexec="+tool+"\nGOTOOLCHAIN=auto\nCC="+tool+"\nGOCACHEPROG="+tool+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"GOENV": settings, "GOFLAGS": "-toolexec=" + tool, "CC": tool, "GOCACHEPROG": tool, "GOPACKAGESDRIVER": tool, "CGO_ENABLED": "1", "GOTOOLCHAIN": "auto",
		"GIT_SSH_COMMAND": tool, "GOAUTH": tool, "PKG_CONFIG": tool} {
		t.Setenv(name, value)
	}
	files := maps.Clone(program)
	files["cgo.go"] = "package main\n\n// #cgo CFLAGS: -DX\n// #cgo pkg-config: x\n// int f() { return 1; }\nimport \"C\"\n\nfunc g() { C.f() }\n"
	files["gen.go"] = "package main\n\n//go:generate " + tool + " generated\n"
	files["go.work"] = "go 1.21\n\nuse ./other\n"
	files["go.env"] = "GOFLAGS=-toolexec=" + tool + "\n"
	files["gopackagesdriver"] = "#!/bin/sh\ntouch " + mark + "\n"
	root := write(t, files)
	sums := func() string {
		var out strings.Builder
		_ = filepath.WalkDir(root, func(path string, d os.DirEntry, _ error) error {
			if !d.IsDir() {
				b, _ := os.ReadFile(path)
				fmt.Fprintf(&out, "%s %x\n", path, sha256.Sum256(b))
			}
			return nil
		})
		return out.String()
	}
	before := sums()
	f := flaw("go.mod", intel.Import{Path: "example.org/dep", Symbols: []string{"parse"}})
	if err := analysis(root).Reach(t.Context(), []*vuln.Flaw{f}); err != nil || f.Reach != vuln.Reached {
		t.Errorf("%v, %d", err, f.Reach)
	}
	// A toolchain that is not here is not fetched.
	files["go.mod"] = strings.Replace(program["go.mod"], "go 1.21", "go 1.999\n\ntoolchain go1.999.1", 1)
	f = flaw("go.mod", intel.Import{Path: "example.org/dep", Symbols: []string{"parse"}})
	if err := analysis(write(t, files)).Reach(t.Context(), []*vuln.Flaw{f}); err == nil || !strings.Contains(err.Error(), "1.999") || f.Reach != vuln.ReachUnknown {
		t.Errorf("a newer toolchain: %v, %d", err, f.Reach)
	}
	if ran, err := os.ReadFile(mark); err == nil {
		t.Errorf("was run: %s", ran)
	}
	if d := cmp.Diff(before, sums()); d != "" {
		t.Errorf("the target is changed: %s", d)
	}
}

// TestManyModules: a target with many modules has no more time for that.
func TestManyModules(t *testing.T) {
	files := map[string]string{}
	var flaws []*vuln.Flaw
	for i := range 50 {
		dir := fmt.Sprintf("m%02d/", i)
		for name, text := range program {
			files[dir+name] = text
		}
		flaws = append(flaws, flaw(dir+"go.mod", intel.Import{Path: "example.org/dep"}))
	}
	a := analysis(write(t, files))
	a.Config.Timeout = 10 * time.Millisecond
	if err := a.Reach(t.Context(), flaws); err == nil || !strings.Contains(err.Error(), "modules were not analysed: the others took 40ms") {
		t.Error(err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(`{"config":{"protocol_version":"v1"}}{"finding":{"osv":"GO-0000-000000","trace":[{"module":"m","package":"p","function":"f"}]}}`)
	f.Fuzz(func(t *testing.T, s string) {
		v := make([]verdict, 2)
		if _, err := read(strings.NewReader(s), v); err == nil && v[1].reach != vuln.ReachUnknown && !strings.Contains(s, "GO-0000-000001") {
			t.Error("a verdict of a flaw that is not named")
		}
	})
}
