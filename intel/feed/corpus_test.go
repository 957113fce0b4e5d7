package feed_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/testudo-sec/testudo/intel"
	"github.com/testudo-sec/testudo/intel/feed"
	"github.com/testudo-sec/testudo/internal/require"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestCorpora takes in advisories that others wrote: those of Go in JSON, those of PyPA in YAML, and CISA's list.
func TestCorpora(t *testing.T) {
	corpora := require.Corpora(t)
	path := filepath.Join(t.TempDir(), "db")
	c := intel.DefaultConfig()
	kev, err := filepath.Glob(filepath.Join(corpora, "kev", "*.json"))
	if err != nil || len(kev) == 0 {
		t.Fatal("no list of exploited vulnerabilities", err)
	}
	c.Exploited = kev[0]
	for family, want := range map[string]int64{"go": 4291, "pypi": 2661} {
		c.Source = filepath.Join(corpora, "osv", family)
		if require.Race { // `make test` takes in all of them without it
			c.Source, want = sample(t, c.Source, 20)
		}
		res, err := feed.Update(context.Background(), feed.Options{Config: c, Path: path})
		if err != nil {
			t.Fatal(err)
		}
		o := res.Sources[0]
		for _, s := range res.Sources {
			if s.Kind == intel.KindOSV && s.State == feed.New {
				o = s
			}
		}
		if got := o.Advisories; got != want || o.Broken != 0 {
			t.Errorf("%s: %d of %d advisories, broken %v", family, got, want, o.Examples)
		}
	}
	d, err := intel.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Verify(context.Background()); err != nil {
		t.Fatal(err)
	}
	if require.Race {
		return
	}
	exploited, imports, pypi := 0, 0, 0
	for _, name := range []string{"stdlib", "golang.org/x/crypto", "github.com/hashicorp/consul", "github.com/grafana/grafana"} {
		for a, err := range d.Affecting("Go", name) {
			if err != nil {
				t.Fatal(err)
			}
			if a.Exploited != nil {
				exploited++
			}
			imports += len(a.Affected[0].Imports)
		}
	}
	for a, err := range d.Affecting("PyPI", "Django") {
		if err != nil {
			t.Fatal(err)
		}
		if len(a.Affected) != 1 || len(a.Affected[0].Ranges) == 0 {
			t.Errorf("%s says %+v of Django", a.ID, a.Affected)
		}
		pypi++
	}
	if exploited == 0 || imports < 100 || pypi < 20 {
		t.Errorf("%d exploited, %d imports, %d of Django", exploited, imports, pypi)
	}
	all, err := d.Named("CVE-2020-0601")
	if err != nil || len(all) == 0 || all[0].Exploited == nil {
		t.Errorf("CVE-2020-0601: %v %v", all, err)
	}
}

// sample copies every nth advisory of a folder into another, and says how many there are.
func sample(t *testing.T, from string, n int) (to string, count int64) {
	t.Helper()
	to = t.TempDir()
	seen := 0
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		ext := filepath.Ext(path)
		if err != nil || d.IsDir() || ext != ".json" && ext != ".yaml" {
			return err
		}
		if seen++; seen%n != 0 {
			return nil
		}
		count++
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, d.Name()), text, 0o600)
	})
	if err != nil || count == 0 {
		t.Fatal(count, err)
	}
	return to, count
}
