package secret_test

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/scan/secret"
	"github.com/testudo-sec/testudo/signal"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestCorpus scans a small project of planted secrets and near misses. The files are templates, filled
// here, so that the repository holds no token; the golden file lists what must be found, with
// confidence, and thereby what must not.
func TestCorpus(t *testing.T) {
	source, dir := filepath.Join("testdata", "corpus"), t.TempDir()
	err := filepath.WalkDir(source, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(source, strings.TrimSuffix(name, ".tmpl"))
		if err != nil {
			return err
		}
		at := filepath.Join(dir, rel)
		if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
			return err
		}
		return os.WriteFile(at, []byte(expand(t, string(content), rel)), 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	config := scan.DefaultConfig()
	config.Confidence = "low"
	var found []signal.Finding
	stats, err := scan.Run(context.Background(), scan.Options{Root: dir, Scanners: []scan.Scanner{secret.New(builtin(t))}, Config: config},
		func(f signal.Finding) { found = append(found, f) })
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(found, func(a, b signal.Finding) int {
		return cmp.Or(cmp.Compare(a.Location.Path, b.Location.Path), cmp.Compare(a.Location.Line, b.Location.Line))
	})
	var got strings.Builder
	for _, f := range found {
		confidence := f.Evidence[len(f.Evidence)-1].Value
		fmt.Fprintf(&got, "%s:%d %s %s %q\n", f.Location.Path, f.Location.Line, f.Rule, confidence, f.Location.Snippet)
	}
	fmt.Fprintf(&got, "allowed %d\n", stats.Allowed)
	golden := filepath.Join("testdata", "corpus.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := gocmp.Diff(string(want), got.String()); d != "" {
		t.Error(d)
	}
}
