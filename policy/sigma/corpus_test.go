package sigma

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/policy"
)

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
	if len(rules) != len(files) {
		t.Errorf("%d rules of %d files", len(rules), len(files))
	}
	for _, r := range rules {
		if r.Disabled {
			t.Logf("%s: %v", r.File, r.Notes)
		}
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
