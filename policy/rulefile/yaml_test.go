package rulefile

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/policy"
)

// TestParse holds that no document is lost, and that each stands where it stands.
func TestParse(t *testing.T) {
	for text, want := range map[string][]int{
		"a: 1\n":                           {1},
		"a: 1\n---\n---\nb: 2\n":           {1, 4},
		"a: 1\n---\n# c\n---\nb: 2\n":      {1, 5},
		"# c\n---\nb: 2\n---\n":            {3},
		"---\na: 1\n...\n---\nb: 2":        {2, 5},
		"a: |\n  x\n  ---\n  y\n---\nb: 1": {1, 6},
		"--- {a: 1}\n--- \nb: 2\n":         {1, 3},
		"a: ---\nb: 1\n":                   {1},
		"----\n":                           {1},
		"":                                 nil,
	} {
		f, source := Open(policy.File{Name: "a.yaml", Text: []byte(text)})
		var got []int
		for _, n := range f.Parse(source) {
			got = append(got, TokenOf(n).Position.Line)
		}
		if diff := cmp.Diff(want, got); diff != "" || len(f.Problems) > 0 {
			t.Errorf("%q (-want +got):\n%s%v", text, diff, f.Problems)
		}
	}
}
