package policy

import (
	"fmt"
	"strings"
	"testing"
)

// TestHostileProblem holds that what a file made a problem say cannot act on a terminal.
func TestHostileProblem(t *testing.T) {
	bad := "a\x1b[2J\u202e\nb"
	got := Problem{File: bad, Line: 1, Column: 1, Message: bad, Hint: bad}.Error()
	if strings.ContainsAny(got, "\x1b\u202e\n") {
		t.Errorf("got %q", got)
	}
}

// TestManyProblems holds that a mistake that stands in a thousand files does not hide another behind it.
func TestManyProblems(t *testing.T) {
	var all Problems
	for i := range 1000 {
		all = append(all, Problem{File: fmt.Sprintf("a/%04d.yml", i), Message: "no rule"})
	}
	all = append(all, Problem{File: "z.yml", Message: "unknown modifier"})
	got := all.sorted()
	text := got.Error()
	if len(got) != 12 || !strings.Contains(text, "z.yml: unknown modifier") || !strings.Contains(text, "a/0009.yml: no rule") || !strings.HasSuffix(text, "990 more: no rule") {
		t.Errorf("%d problems:\n%s", len(got), text)
	}
	// Where they are few, all are shown; where all differ, they are counted.
	if got := all[:MaxProblems].sorted(); len(got) != MaxProblems || strings.Contains(got.Error(), "more") {
		t.Errorf("%d problems of %d", len(got), MaxProblems)
	}
	for i := range all {
		all[i].Message = fmt.Sprintf("wrong %d", i)
	}
	if got := all.sorted(); len(got) != MaxProblems+1 || got[MaxProblems].Message != "801 more problems are not shown" {
		t.Errorf("%d problems, last %q", len(got), got[len(got)-1].Message)
	}
}
