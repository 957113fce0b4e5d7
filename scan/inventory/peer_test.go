package inventory

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/osv-scalibr/extractor/filesystem"
	"github.com/google/osv-scalibr/extractor/filesystem/language/javascript/bunlock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/javascript/packagelockjson"
	"github.com/google/osv-scalibr/extractor/filesystem/language/php/composerlock"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/scan"
)

// peerOf returns what of scalibr reads the files of a format: where we read them ourselves too.
func peerOf(t *testing.T, r *reader) filesystem.Extractor {
	t.Helper()
	if r.scalibr != nil {
		return r.scalibr
	}
	build, ok := map[string]func() (filesystem.Extractor, error){
		"javascript/packagelockjson": func() (filesystem.Extractor, error) { return packagelockjson.New(nil) },
		"javascript/bunlock":         func() (filesystem.Extractor, error) { return bunlock.New(nil) },
		"php/composerlock":           func() (filesystem.Extractor, error) { return composerlock.New(nil) },
	}[r.name]
	if !ok {
		t.Fatalf("%s has no peer", r.name)
	}
	e, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// explained says why we find something else than scalibr in its own test data.
var explained = map[string]string{
	"javascript/packagelockjson files.v1.json":          "a folder of the project itself is no package that somebody brings",
	"javascript/packagelockjson files.v2.json":          "the same",
	"python/requirements example.txt":                   "scalibr leaves out a package that a URL names",
	"javascript/packagelockjson both/package-lock.json": "npm goes by npm-shrinkwrap.json beside it; we say what each of the two names",
}

// TestPeerData: of each file of scalibr's own test data, those of all formats as their tools wrote them, we find the packages that
// scalibr finds, and the line of each in a file of text.
func TestPeerData(t *testing.T) {
	dir := filepath.Join(moduleDir(t, "github.com/google/osv-scalibr"), "extractor/filesystem")
	x := newExtractor(t)
	files, packages := map[string]int{}, 0
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		kind, rel, ok := strings.Cut(strings.TrimPrefix(p, dir+"/"), "/testdata/")
		if err != nil || d.IsDir() || !ok {
			return err
		}
		data, err := os.ReadFile(p)
		if err != nil || len(data) > 8<<20 {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		for _, r := range x.readers {
			if strings.TrimPrefix(kind, "language/") != r.name {
				continue
			}
			beside := os.DirFS(strings.TrimSuffix(p, "/"+rel))
			in := newInput(x, &scan.File{Path: rel, Name: rel, Data: data, Info: info, FS: beside})
			got, _ := x.read(context.Background(), r, in)
			in.begin(context.Background())
			theirs, _ := peerOf(t, r).Extract(context.Background(), in.scanInput())
			want := map[string]bool{}
			for _, q := range theirs.Packages {
				if q.Name != "" {
					p := in.convert(q, r.format)
					want[p.Name+" "+p.Version] = true
				}
			}
			have := map[string]bool{}
			for _, g := range got {
				if r.scalibr == nil && g.Relation == scan.Root && !want[g.Name+" "+g.Version] {
					continue // the project itself, which scalibr leaves out here
				}
				have[g.Name+" "+g.Version] = true
				if g.Line == 0 && r.size == manifest && !strings.HasPrefix(r.name, "os/") && r.name != "ocaml/opam" {
					t.Errorf("%s %s: no line of %s %s", r.name, rel, g.Name, g.Version)
				}
			}
			files[r.name]++
			packages += len(want)
			if diff := cmp.Diff(sortedKeys(want), sortedKeys(have)); diff != "" {
				if _, ok := explained[r.name+" "+rel]; !ok {
					t.Errorf("%s %s: %s", r.name, rel, diff)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 35 || packages < 900 {
		t.Errorf("%d formats, %d packages", len(files), packages)
	}
}

func sortedKeys(m map[string]bool) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// TestPeerNode: of a project with its node_modules, the console's, no package that scalibr names is lost; each is named once, at the
// lockfile, where scalibr names it again for every package.json. (Of react-scripts 5.0.1 that makes 1230 of 2518.)
func TestPeerNode(t *testing.T) {
	root := filepath.Join("..", "..", "console", "ui")
	_, err := os.Stat(filepath.Join(root, "node_modules"))
	require.Part(t, "console-scripts", err == nil, "run `make console`")
	peers := []filesystem.Extractor{}
	for _, r := range newExtractor(t).readers {
		if strings.HasPrefix(r.name, "javascript/") {
			peers = append(peers, peerOf(t, r))
		}
	}
	theirs, named := map[string]bool{}, 0
	fsys := os.DirFS(root)
	err = fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		for _, e := range peers {
			if !e.FileRequired(asked{p, info}) {
				continue
			}
			data, err := fs.ReadFile(fsys, p)
			if err != nil {
				return err
			}
			in := newInput(newExtractor(t), &scan.File{Path: p, Name: p, Data: data, Info: info, FS: fsys})
			in.begin(t.Context())
			found, err := e.Extract(t.Context(), in.scanInput())
			if err != nil {
				t.Log(p, err)
			}
			for _, q := range found.Packages {
				theirs[q.Name+" "+q.Version] = true
				named++
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	got, _ := of(t, root)
	ours, atLock := map[string]int{}, 0
	for _, g := range got {
		ours[g.Name+" "+g.Version]++
		if g.FoundBy == "javascript/packagelockjson" {
			atLock++
		}
	}
	for p := range theirs {
		if ours[p] == 0 {
			t.Errorf("%s is lost", p)
		}
	}
	for p, n := range ours {
		if n > 1 || !theirs[p] {
			t.Errorf("%s is named %d times, by scalibr: %v", p, n, theirs[p])
		}
	}
	if named <= len(got) || atLock < len(got)/2 || len(got) < 3 {
		t.Errorf("scalibr names %d, we %d, %d of them at the lockfile", named, len(got), atLock)
	}
}

// TestPeerNodeTree is a node_modules with everything in which the two differ.
func TestPeerNodeTree(t *testing.T) {
	root := t.TempDir()
	for at, text := range map[string]string{
		"package.json": `{"name": "app", "version": "1.0.0", "dependencies": {"a": "^1"}}`,
		"package-lock.json": `{"name": "app", "version": "1.0.0", "lockfileVersion": 3, "packages": {
"": {"name": "app", "version": "1.0.0", "dependencies": {"a": "^1"}},
"node_modules/a": {"version": "1.0.0"},
"node_modules/b": {"version": "1.0.0"},
"node_modules/a/node_modules/b": {"version": "2.0.0"},
"node_modules/c/node_modules/b": {"version": "2.0.0"},
"node_modules/c": {"version": "3.0.0"}}}`,
		"node_modules/a/package.json":                    `{"name": "a", "version": "1.0.0", "license": "MIT"}`,
		"node_modules/b/package.json":                    `{"name": "b", "version": "1.0.0"}`,
		"node_modules/a/node_modules/b/package.json":     `{"name": "b", "version": "2.0.0", "contributors": "somebody"}`,
		"node_modules/c/node_modules/b/package.json":     `{"name": "b", "version": "2.0.0"}`,
		"node_modules/c/package.json":                    `{"name": "c", "version": "3.0.0"}`,
		"node_modules/c/vendor/old/package.json":         `{"name": "old", "version": "0.1.0", "contributors": "somebody"}`,
		"node_modules/c/dist/package.json":               `{"type": "module"}`,
		"node_modules/patched/package.json":              `{"name": "patched", "version": "9.9.9"}`,
		"node_modules/c/.github/workflows/test.yml":      "jobs:\n  t:\n    steps:\n    - uses: somebody/action@v1\n",
		".github/workflows/test.yml":                     "jobs:\n  t:\n    steps:\n    - uses: actions/checkout@v4\n",
		"node_modules/c/test/fixtures/package-lock.json": `{"lockfileVersion": 3, "packages": {"node_modules/never": {"version": "1.0.0"}}}`,
		"node_modules/c/node_modules/.package-lock.json": `{"lockfileVersion": 3, "packages": {}}`,
	} {
		write(t, root, at, text)
	}
	got, stats := of(t, root)
	if len(stats.Skipped) > 0 {
		t.Error(stats.Skipped)
	}
	var names []string
	for _, g := range got {
		names = append(names, g.Name+" "+g.Version+" "+g.Path)
	}
	want := []string{
		"actions/checkout v4 .github/workflows/test.yml",
		"old 0.1.0 node_modules/c/vendor/old/package.json", // scalibr fails at its contributors
		"patched 9.9.9 node_modules/patched/package.json",  // is there, whatever the lockfile says
		"a 1.0.0 package-lock.json",
		"app 1.0.0 package-lock.json",
		"b 1.0.0 package-lock.json",
		"b 2.0.0 package-lock.json", // once, though it stands in two places
		"c 3.0.0 package-lock.json",
	}
	slices.Sort(names)
	slices.Sort(want)
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
}
