package detect

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/testudo-sec/testudo/rules"
)

var update = flag.Bool("update", false, "write rules/code/"+compactFile)

// TestCompact holds the compact form of the rules that ship to their files.
func TestCompact(t *testing.T) {
	at := filepath.Join("..", "rules", "code", compactFile)
	if *update {
		text, err := writeCompact(rules.Code(), "secrets")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tree := os.DirFS(filepath.Join("..", "rules", "code"))
	want, err := Load(tree, "secrets")
	if err != nil {
		t.Fatal(err)
	}
	all := readCompact(tree)
	if len(all) == 0 {
		t.Fatalf("%s cannot be read: run make generate", at)
	}
	same := func(what string) {
		t.Helper()
		got, err := load(tree, "secrets", all)
		if err != nil {
			t.Fatal(err)
		}
		derived := cmp.FilterPath(func(p cmp.Path) bool {
			f, ok := p.Last().(cmp.StructField)
			return ok && f.Name()[0] >= 'a'
		}, cmp.Ignore())
		if d := cmp.Diff(want, got, derived, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("%s says something else (-file +compact):\n%s", what, d)
		}
		// A set that ships compiles an expression when it is needed.
		if _, err := Compile(got); err != nil {
			t.Error(err)
		}
	}
	same("the compact form")
	// Of a rule that is not that of its file, the file counts: what is out of date costs time alone.
	for name := range all {
		all[name] = compact{Rule: &Rule{ID: "old"}}
	}
	same("a compact form that is out of date")
}
