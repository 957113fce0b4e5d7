//go:build !race

package falco

import (
	"fmt"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/policy"
)

// What is large is compiled by one goroutine: the race detector finds nothing here, and takes ten times as long.

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
