package vuln_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/intel"
	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/scan/vuln"
	"golang.org/x/mod/semver"
)

// TestCorpus: at each event of each advisory about Go, the verdict is that of a judge made of golang.org/x/mod/semver and the rule of the OSV
// schema alone.
func TestCorpus(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(require.Corpora(t), "osv", "go", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	judged := 0
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var a struct {
			ID        string `json:"id"`
			Withdrawn string `json:"withdrawn"`
			Affected  []struct {
				Package struct{ Name, Ecosystem string }
				Ranges  []struct {
					Type   string
					Events []struct{ Introduced, Fixed string }
				}
			}
		}
		if err := json.Unmarshal(data, &a); err != nil {
			t.Fatal(err)
		}
		if a.Withdrawn != "" {
			continue
		}
		for _, e := range a.Affected {
			own := &intel.Advisory{ID: a.ID, Affected: []intel.Affected{{Ecosystem: "Go", Name: e.Package.Name}}}
			versions := map[string]bool{"0.0.1": true, "99999.0.0": true}
			for _, r := range e.Ranges {
				ir := intel.Range{Type: r.Type}
				for _, ev := range r.Events {
					ir.Events = append(ir.Events, intel.Event{Introduced: ev.Introduced, Fixed: ev.Fixed})
					if v := ev.Introduced + ev.Fixed; v != "" && v != "0" {
						versions[v] = true
						if !strings.ContainsAny(v, "-+") {
							versions[v+"-0.20200101000000-abcdefabcdef"] = true // just below
						}
					}
				}
				own.Affected[0].Ranges = append(own.Affected[0].Ranges, ir)
			}
			for v := range versions {
				want := false
				for _, r := range e.Ranges {
					in := false
					for _, ev := range r.Events { // sorted in the corpus
						switch {
						case ev.Introduced == "0", ev.Introduced != "" && semver.Compare("v"+v, "v"+ev.Introduced) >= 0:
							in = true
						case ev.Fixed != "" && semver.Compare("v"+v, "v"+ev.Fixed) >= 0:
							in = false
						}
					}
					want = want || in
				}
				judged++
				found, _ := run(t, vuln.Options{Config: vuln.DefaultConfig(), Database: advisories{own}}, scan.Package{PURL: "pkg:golang/x@" + v, Ecosystem: "Go", Name: e.Package.Name, Version: v, Path: "go.sum"})
				if len(found) > 0 != want {
					t.Errorf("%s: %s %s: found %d, want %v", a.ID, e.Package.Name, v, len(found), want)
				}
			}
		}
	}
	if judged < 10_000 {
		t.Errorf("%d verdicts only", judged)
	}
}
