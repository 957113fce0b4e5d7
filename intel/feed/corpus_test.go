package feed_test

import (
	"context"
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
