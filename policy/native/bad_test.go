package native

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/policy"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestBad compares what is said about bad rules with the file beside each.
func TestBad(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	d := New(Actions()...)
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			rules, problems := d.Compile([]policy.File{{Name: filepath.Base(path), Text: text}})
			if len(rules) > 0 || len(problems) == 0 {
				t.Errorf("%d rules and %d problems", len(rules), len(problems))
			}
			got := problems.Error() + "\n"
			golden := strings.TrimSuffix(path, ".yaml") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("problems differ (-want +got):\n%s", diff)
			}
		})
	}
}

// TestBadWithCarriageReturns finds the same problems at the same places in files from
// Windows.
func TestBadWithCarriageReturns(t *testing.T) {
	d := New(Actions()...)
	for _, name := range []string{"unknown-field-in-block", "unknown-field-in-folded", "unknown-field-in-quotes", "types", "then", "why"} {
		text, err := os.ReadFile("testdata/bad/" + name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile("testdata/bad/" + name + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		text = []byte("\ufeff" + strings.ReplaceAll(string(text), "\n", "\r\n"))
		_, problems := d.Compile([]policy.File{{Name: name + ".yaml", Text: text}})
		if diff := cmp.Diff(string(want), problems.Error()+"\n"); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
