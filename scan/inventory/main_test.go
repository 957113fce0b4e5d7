package inventory

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/signal"
)

var update = flag.Bool("update", false, "rewrite the goldens")

// of runs the extractor over a folder.
func of(t testing.TB, dir string) ([]scan.Package, scan.Stats) {
	t.Helper()
	x, err := New(DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	c := scan.DefaultConfig()
	c.Ignore = false
	var got []scan.Package
	stats, err := scan.Run(context.Background(), scan.Options{Root: dir, Config: c, Extractors: []scan.Extractor{x},
		Inventory: func(inv *scan.Inventory) { got = inv.Packages }}, func(signal.Finding) {})
	if err != nil {
		t.Fatal(err)
	}
	return got, stats
}

// TestFormats holds the inventory of each folder of testdata to its golden.
func TestFormats(t *testing.T) {
	folders, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range folders {
		if !f.IsDir() || f.Name() == "fuzz" {
			continue
		}
		t.Run(f.Name(), func(t *testing.T) {
			got, stats := of(t, filepath.Join("testdata", f.Name()))
			for _, s := range stats.Skipped {
				t.Errorf("%s: %s", s.Path, s.Reason)
			}
			if len(got) == 0 {
				t.Error("nothing found")
			}
			var b bytes.Buffer
			e := json.NewEncoder(&b)
			e.SetEscapeHTML(false)
			for _, p := range got {
				if err := e.Encode(p); err != nil {
					t.Fatal(err)
				}
			}
			golden := filepath.Join("testdata", f.Name()+".golden")
			if *update {
				if err := os.WriteFile(golden, b.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(b.String(), "\n")); diff != "" {
				t.Error(diff)
			}
		})
	}
}
