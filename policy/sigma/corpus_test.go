package sigma

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
)

var update = flag.Bool("update", false, "rewrite golden files")

// corpus returns the files of the public rule sets.
func corpus(t testing.TB) []policy.File {
	t.Helper()
	root := filepath.Join(require.Corpora(t), "sigma")
	var files []policy.File
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".yml") {
			return err
		}
		text, err := os.ReadFile(path)
		name, _ := filepath.Rel(root, path)
		files = append(files, policy.File{Name: filepath.ToSlash(name), Text: text})
		return err
	})
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	return files
}

// TestCorpusLoads holds what the public rules compile to: that all of them load, their log sources and modifiers, and
// what the compiled form is made of.
func TestCorpusLoads(t *testing.T) {
	files := corpus(t)
	d := New(Config{})
	for _, f := range files {
		if !d.Detect(f) {
			t.Errorf("%s is not taken for a Sigma rule", f.Name)
		}
	}
	rules, problems := d.Compile(files)
	for _, p := range problems {
		t.Error(p)
	}
	if _, err := policy.NewSet(rules); err != nil {
		t.Error(err)
	}
	sources, modifiers, parts := map[string]int{}, map[string]int{}, map[string]int{}
	chain := regexp.MustCompile(`(?m)^[ -]*'?[A-Za-z0-9_.-]*((?:\|[a-z0-9]+)+)'?:`)
	var off strings.Builder
	for _, r := range rules {
		for _, n := range r.Notes {
			switch n.Key {
			case "logsource":
				sources[n.Text]++
			case NoteDisabled:
				fmt.Fprintf(&off, "%7s  %s: %s\n", "", r.File, n.Text)
			}
		}
		for _, m := range chain.FindAllStringSubmatch(r.When, -1) {
			if !slices.ContainsFunc(strings.Split(m[1][1:], "|"), func(name string) bool { return !slices.Contains(modifierNames, name) }) {
				modifiers[m[1]]++
			}
		}
		match.Walk(r.Condition, func(x match.Expr) bool {
			switch x := x.(type) {
			case match.And:
				parts["and"]++
			case match.Or:
				parts["or"]++
			case match.Not:
				parts["not"]++
			case *match.Atom:
				op := [...]string{"exists", "equal", "prefix", "suffix", "contains", "glob", "path", "regex", "int", "number", "cidr", "compare"}[x.Op]
				parts["atom "+op]++
				parts["constants of "+op] += len(x.Texts) + len(x.Ints) + len(x.Numbers) + len(x.Prefixes)
			}
			return true
		})
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d files, %d rules\n", len(files), len(rules))
	list := func(title string, of map[string]int) {
		fmt.Fprintf(&b, "\n%s:\n", title)
		for _, c := range counts(of) {
			if c.Rules > 0 {
				fmt.Fprintf(&b, "%7d  %s\n", c.Rules, c.Name)
			}
		}
	}
	list("log sources", sources)
	list("modifiers", modifiers)
	list("the compiled form", parts)
	fmt.Fprintf(&b, "\ndisabled:\n%s", off.String())
	c := Cover(rules)
	fmt.Fprintf(&b, "\ncoverage: %d rules read mapped fields alone, %d fields of events are read, %d attributes without a field\n", c.AllMapped, len(c.Mapped), len(c.Unmapped))
	golden := filepath.Join("testdata", "corpus.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Errorf("the public rules compile to something else (-update rewrites it):\n%s", d)
	}
}

func BenchmarkLoad(b *testing.B) {
	files := corpus(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, problems := New(Config{}).Compile(files); len(problems) > 0 {
			b.Fatal(problems)
		}
	}
}
