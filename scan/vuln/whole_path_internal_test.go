package vuln

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"golang.org/x/mod/semver"

	"github.com/testudo-sec/testudo/intel"
	"github.com/testudo-sec/testudo/intel/feed"
	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/signal"
)

// published is an advisory as its file says, read without any of what is tested.
type published struct {
	ID        string
	Aliases   []string
	Withdrawn string
	Affected  []struct {
		Package struct{ Ecosystem, Name string }
		Ranges  []struct {
			Type   string
			Events []map[string]string
		}
		Versions []string
	}
}

func publishedOf(t *testing.T, dir string) []*published {
	t.Helper()
	var out []*published
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		a := &published{}
		switch filepath.Ext(path) {
		case ".json":
			err = json.Unmarshal(data, a)
		case ".yaml":
			err = yaml.Unmarshal(data, a)
		}
		if a.ID != "" {
			out = append(out, a)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// part copies every so many packages of a corpus, which stand in folders or files of their own; the folder itself if that is all.
func part(t *testing.T, dir string, step int) string {
	t.Helper()
	if step == 1 {
		return dir
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	for i := 0; i < len(entries); i += step {
		e := entries[i]
		from := filepath.Join(dir, e.Name())
		if e.IsDir() {
			err = os.CopyFS(filepath.Join(to, e.Name()), os.DirFS(from))
		} else if data, e2 := os.ReadFile(from); e2 == nil {
			err = os.WriteFile(filepath.Join(to, e.Name()), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// TestWholePath takes the advisories of a corpus through the database and the matcher, and asks about every version that they name. What
// must come out is what a judge finds that goes through all files for each version, with the versions compared by
// packaging (PyPI) and golang.org/x/mod/semver (Go): each advisory that concerns the version in exactly one finding, those
// that share a name in the same one, and none that was withdrawn.
func TestWholePath(t *testing.T) {
	// Every so many names: all of them take a minute. TESTUDO_LONG takes them all.
	step := 4 * require.Stride(6)
	if os.Getenv("TESTUDO_LONG") != "" {
		step = 1
	}
	for family, least := range map[string]int{"pypi": 30_000, "go": 7_000} {
		t.Run(family, func(t *testing.T) {
			dir := part(t, filepath.Join(require.Corpora(t), "osv", family), require.Stride(8))
			all := publishedOf(t, dir)
			byName := map[string][]*published{}
			versions := map[string]map[string]bool{}
			for _, a := range all {
				for _, e := range a.Affected {
					name := intel.NormalName(e.Package.Ecosystem, e.Package.Name)
					if e.Package.Ecosystem != map[string]string{"pypi": "PyPI", "go": "Go"}[family] {
						continue
					}
					if !slices.Contains(byName[name], a) {
						byName[name] = append(byName[name], a)
					}
					if versions[name] == nil {
						versions[name] = map[string]bool{"0.0.1": true, "99999.0.0": true}
					}
					for _, v := range e.Versions {
						versions[name][v] = true
					}
					for _, r := range e.Ranges {
						for _, event := range r.Events {
							for _, v := range event {
								if r.Type != "GIT" && v != "0" && v != "" {
									versions[name][v] = true
								}
							}
						}
					}
				}
			}
			for i, name := range slices.Sorted(maps.Keys(versions)) {
				if i%step != 0 {
					delete(versions, name)
				}
			}
			order := orderOf(t, family, byName, versions)
			inv, want := &scan.Inventory{}, map[string][]string{}
			for name, list := range versions {
				for v := range list {
					p := scan.Package{Ecosystem: "Go", Name: name, Version: v, PURL: "pkg:golang/" + name + "@" + v, Path: "go.mod"}
					if family == "pypi" {
						p.Ecosystem, p.PURL, p.Path = "PyPI", "pkg:pypi/"+name+"@"+v, "requirements.txt"
						p.Name = strings.ToUpper(strings.ReplaceAll(name, "-", "_.")) // one name by PEP 503
					}
					inv.Packages = append(inv.Packages, p)
					want[p.PURL] = concerning(byName[name], name, v, order)
				}
			}
			inv.Sort()

			path := filepath.Join(t.TempDir(), "db")
			c := intel.DefaultConfig()
			c.Source, c.Exploited, c.Probability = dir, intel.None, intel.None
			if _, err := feed.Update(context.Background(), feed.Options{Config: c, Path: path}); err != nil {
				t.Fatal(err)
			}
			db, err := intel.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			m, err := New(Options{Config: DefaultConfig(), Database: db})
			if err != nil {
				t.Fatal(err)
			}
			got := map[string][]string{}
			err = m.Match(t.Context(), inv, func(f signal.Finding, _ scan.Confidence) {
				names, purl := []string{f.Rule}, ""
				for _, e := range f.Evidence {
					switch e.Name {
					case "package":
						purl = e.Value
					case "also known as":
						names = append(names, strings.Split(e.Value, ", ")...)
					}
				}
				slices.Sort(names)
				got[purl] = append(got[purl], strings.Join(names, " "))
			})
			if err != nil {
				t.Fatal(err)
			}
			wrong, findings := 0, 0
			for purl, w := range want {
				slices.Sort(got[purl])
				findings += len(w)
				if !slices.Equal(w, got[purl]) {
					if wrong++; wrong < 10 {
						t.Errorf("%s\n got  %q\n want %q", purl, got[purl], w)
					}
				}
			}
			if least /= step * require.Stride(64); wrong > 0 || len(want) < least/3 || findings < least {
				t.Errorf("%d versions, %d findings, %d versions differ", len(want), findings, wrong)
			}
			t.Logf("%d advisories, %d versions, %d findings", len(all), len(want), findings)
		})
	}
}

// concerning returns the findings about a version, each as the sorted names of the advisories that it joins.
func concerning(all []*published, name, version string, compare func(a, b string) int) []string {
	var groups []map[string]bool
	for _, a := range all {
		if a.Withdrawn != "" || !a.concerns(name, version, compare) {
			continue
		}
		joined := map[string]bool{a.ID: true}
		for _, id := range a.Aliases {
			joined[strings.TrimSuffix(id, ",")] = true // one file has a comma there
		}
		rest := groups[:0]
		for _, g := range groups {
			shared := false
			for id := range g {
				shared = shared || joined[id]
			}
			if !shared {
				rest = append(rest, g)
				continue
			}
			for id := range g {
				joined[id] = true
			}
		}
		groups = append(rest, joined)
	}
	var out []string
	for _, g := range groups {
		names := make([]string, 0, len(g))
		for id := range g {
			names = append(names, id)
		}
		slices.Sort(names)
		out = append(out, strings.Join(names, " "))
	}
	slices.Sort(out)
	return out
}

// concerns is the evaluation of the OSV schema, for events in any order.
func (a *published) concerns(name, version string, compare func(a, b string) int) bool {
	for _, e := range a.Affected {
		if intel.NormalName(e.Package.Ecosystem, e.Package.Name) != name {
			continue
		}
		for _, v := range e.Versions {
			if v == version || compare(v, version) == 0 {
				return true
			}
		}
		for _, r := range e.Ranges {
			if r.Type == "GIT" {
				continue
			}
			// The last event that is not above the version decides.
			last, in := "", false
			for _, event := range r.Events {
				for what, v := range event {
					from := what == "introduced"
					switch {
					case from && v == "0" && last == "":
						in = true
					case v == "0" || compare(v, version) > 0 || what == "last_affected" && compare(v, version) == 0:
					case last == "" || compare(v, last) > 0 || compare(v, last) == 0 && !from:
						last, in = v, from
					}
				}
			}
			if in {
				return true
			}
		}
	}
	return false
}

// orderOf returns the order of all versions that are compared, as the ecosystem's own tool has it. What PEP 440 takes for no
// version was below all others while there were such, as OSV still has it.
func orderOf(t *testing.T, family string, byName map[string][]*published, versions map[string]map[string]bool) func(a, b string) int {
	t.Helper()
	if family == "go" {
		return func(a, b string) int { return semver.Compare("v"+a, "v"+b) }
	}
	python := "/usr/bin/python3"
	err := exec.Command(python, "-c", "import packaging.version").Run()
	require.Part(t, "python3-packaging", err == nil, "install Debian's package python3-packaging")
	// Sorting all of them once gives each a rank; what packaging takes for no version has none.
	distinct := map[string]bool{}
	for _, list := range versions {
		for v := range list {
			distinct[v] = true
		}
	}
	var in strings.Builder
	for v := range distinct {
		fmt.Fprintln(&in, v)
	}
	cmd := exec.Command(python, "-c", `
import sys, itertools
from packaging.version import Version, InvalidVersion
known = []
for line in sys.stdin:
    s = line.rstrip("\n")
    try: known.append((Version(s), s))
    except InvalidVersion: pass
known.sort(key=lambda k: k[0])
for rank, (_, same) in enumerate(itertools.groupby(known, key=lambda k: k[0])):
    for _, s in same: print(rank, s)
`)
	cmd.Stdin = strings.NewReader(in.String())
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	rank := map[string]int{}
	for line := range strings.Lines(string(out)) {
		var n int
		var v string
		if _, err := fmt.Sscan(line, &n, &v); err != nil {
			t.Fatal(line, err)
		}
		rank[v] = n
	}
	for _, list := range versions {
		for v := range list {
			if _, ok := rank[v]; !ok {
				delete(list, v)
			}
		}
	}
	return func(a, b string) int {
		ra, known := rank[a]
		if !known {
			return -1
		}
		return ra - rank[b]
	}
}
