package falco

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/policy"
)

var update = flag.Bool("update", false, "rewrite the golden files and the tables in docs/falco.md")

// golden compares a text with a file's.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", path, diff)
	}
}

// TestBad compares what is said about bad files with the file beside each.
func TestBad(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			_, problems := New().Compile([]policy.File{{Name: filepath.Base(path), Text: text}})
			if !slices.ContainsFunc(problems, func(p policy.Problem) bool { return !p.Note }) {
				t.Error("it loads")
			}
			golden(t, strings.TrimSuffix(path, ".yaml")+".txt", problems.Error()+"\n")
		})
	}
}

// listsOf returns definitions of lists that hold another.
func listsOf(of string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "- list: some_list_name_%d\n  items: [%s]\n", i, of)
	}
	return b.String()
}

// misspelt returns rules that name macros which are not there.
func misspelt(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "- macro: some_macro_name_%d\n  condition: proc.name = a\n- rule: R%d\n  desc: d\n  condition: some_macro_nam_%d\n  output: x\n  priority: INFO\n", i, i, i)
	}
	return b.String()
}

// TestPlacesInLongLists holds that places are still right where a line holds very many values.
func TestPlacesInLongLists(t *testing.T) {
	text := "- list: l\n  items: [" + strings.Repeat("a, ", 40_000) + "'\"x']\n"
	_, problems := New().Compile([]policy.File{{Name: "f.yaml", Text: []byte(text)}})
	if len(problems) != 1 || problems[0].Line != 2 || problems[0].Column != 11+3*40_000+1 {
		t.Errorf("got %v", problems)
	}
}

func TestDetect(t *testing.T) {
	for text, want := range map[string]bool{
		"- rule: A\n": true,
		"# words\n---\n- required_engine_version: 10\n": true,
		"- desc: x\n  rule: A\n":                        true,
		"- \"macro\": A\n":                              true,
		"\ufeff- list: A\r\n  items: []\r\n":            true,
		"  - list: A\n    items: []\n":                  true,
		"- rule: A\n  condition: [broken\n":             true,
		"id: x\nwhen: true\n":                           false,
		"- id: x\n- rule: y\n":                          false,
		"title: x\ndetection:\n  - rule: a\n":           false,
		"":                                              false,
		"- a\n- b\n":                                    false,
		"- name: x\n  other:\n    rule: y\n":            false,
	} {
		if got := New().Detect(policy.File{Name: "a.yaml", Text: []byte(text)}); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
	if New().Detect(policy.File{Name: "a.rego", Text: []byte("- rule: A\n")}) {
		t.Error("a file that is no YAML is detected")
	}
}
