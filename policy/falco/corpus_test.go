package falco

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/policy"
)

// corpus returns the public rule files, in the order in which a folder is read.
func corpus(t testing.TB) []policy.File {
	t.Helper()
	dir := filepath.Join(require.Corpora(t), "falco")
	var files []policy.File
	for _, name := range []string{"falco-incubating_rules.yaml", "falco-sandbox_rules.yaml", "falco_rules.yaml"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, policy.File{Name: name, Text: text})
	}
	return files
}

func TestCorpus(t *testing.T) {
	files := corpus(t)
	d := New()
	for _, f := range files {
		if !d.Detect(f) {
			t.Errorf("%s is not detected", f.Name)
		}
	}
	rules, problems := d.Compile(files)
	for _, p := range problems {
		t.Error(p)
	}
	if len(rules) != 93 {
		t.Errorf("%d rules, want 93", len(rules))
	}
	for i, want := range []int{31, 37, 25} {
		rules, problems := d.Compile(files[i : i+1])
		for _, p := range problems {
			t.Errorf("alone: %v", p)
		}
		if len(rules) != want {
			t.Errorf("%s alone: %d rules, want %d", files[i].Name, len(rules), want)
		}
	}
	if _, err := policy.NewSet(rules); err != nil {
		t.Error(err)
	}
}
