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

// TestLarge holds the bounds against files that would cost too much.
func TestLarge(t *testing.T) {
	doubling := "- macro: m0\n  condition: proc.name = a or proc.name = b\n"
	for i := range 40 {
		doubling += "- macro: m" + string(rune('A'+i/26)) + string(rune('a'+i%26)) + "\n  condition: P and P\n"
		previous := "m0"
		if i > 0 {
			previous = "m" + string(rune('A'+(i-1)/26)) + string(rune('a'+(i-1)%26))
		}
		doubling = strings.ReplaceAll(doubling, "P", previous)
	}
	lists := "- list: l0\n  items: [a, b, c, d, e, f, g, h, i, j]\n"
	for i := range 9 {
		n := string(rune('0' + i))
		lists += "- list: l" + string(rune('1'+i)) + "\n  items: [" + strings.Repeat("l"+n+", ", 9) + "l" + n + "]\n"
	}
	rule := func(condition string) string {
		return "- rule: A\n  desc: d\n  condition: " + condition + "\n  output: x\n  priority: INFO\n"
	}
	names := func(n int, begin string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "%s%d, ", begin, i)
		}
		return b.String() + "z"
	}
	long := "- list: l\n  items: [" + names(60_000, "v") + "]\n"
	for name, c := range map[string]struct{ text, want string }{
		"a list often":       {long + rule(strings.Repeat("proc.name in (l) or ", 20_000)+"proc.name = a"), `too large with list "l"`},
		"a list in lists":    {long + listsOf("l", 1000) + rule("proc.name in (l9)"), "all lists together"},
		"patterns":           {rule("fd.name pmatch (" + names(3000, "/a*/") + ")"), "too large"},
		"pieces":             {rule("proc.name = a") + strings.Repeat("- rule: A\n  append: true\n  condition: or proc.name = b\n", 600), "more than 500 pieces"},
		"misspelt macros":    {misspelt(3000), "unknown macro"},
		"misspelt lists":     {listsOf("z", 3000) + rule("proc.name in ("+names(20_000, "some_lists_nam_")+") and x"), "unknown macro"},
		"macros that double": {doubling, "too large"},
		"lists that grow":    {lists, "more than"},
		"parentheses":        {rule(strings.Repeat("(", 5000) + "proc.name = a" + strings.Repeat(")", 5000)), "nested too deeply"},
		"transformers":       {rule(strings.Repeat("tolower(", 5000) + "proc.name" + strings.Repeat(")", 5000) + " = a"), "nested too deeply"},
		"a regex":            {rule(`proc.name regex "` + strings.Repeat("(a{1,100}){1,100}", 20) + `"`), "RE2"},
		"a long regex":       {rule(`proc.name regex "` + strings.Repeat("a", 5000) + `"`), "longer than"},
		"conditions":         {rule("proc.name in (" + strings.Repeat("abcdefgh, ", 250_000) + "a)"), "larger than"},
		"flow":               {"- list: a\n  items: " + strings.Repeat("[", 5000), "nested too deeply"},
	} {
		rules, problems := New().Compile([]policy.File{{Name: "f.yaml", Text: []byte(c.text)}})
		if len(rules) > 1 || len(problems.Errors()) == 0 || !strings.Contains(problems.Error(), c.want) {
			t.Errorf("%s: %d rules, %.300s", name, len(rules), problems.Error())
		}
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
