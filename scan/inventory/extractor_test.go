package inventory

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/scan"
)

func newExtractor(t testing.TB) *Extractor {
	t.Helper()
	x, err := New(DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func extract(t testing.TB, x *Extractor, fsys fs.FS, path string, data []byte) ([]scan.Package, error) {
	t.Helper()
	return x.Extract(context.Background(), &scan.File{Path: path, Name: path, Data: data, FS: fsys})
}

// The test program is a Go program itself.
func TestGoBinary(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	got, err := newExtractor(t).Extract(context.Background(), &scan.File{Path: "bin/tool", Name: "bin/tool", Info: info, Content: f})
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, p := range got {
		found[p.Name] = p.Version
	}
	if found["github.com/testudo-sec/testudo"] == "" || found["stdlib"] != strings.TrimPrefix(strings.Fields(runtime.Version())[0], "go") {
		t.Errorf("%d packages: %v", len(got), found)
	}
}

func jar(t testing.TB, entries map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, text := range entries {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestJars(t *testing.T) {
	inner := jar(t, map[string]string{"META-INF/maven/org.slf4j/slf4j-api/pom.properties": "groupId=org.slf4j\nartifactId=slf4j-api\nversion=1.7.30\n"})
	outer := jar(t, map[string]string{
		"META-INF/MANIFEST.MF":                           "Manifest-Version: 1.0\r\nBundle-License: https://www.apache.org/licenses/LI\r\n CENSE-2.0\r\n",
		"META-INF/maven/org.example/shop/pom.properties": "groupId=org.example\nartifactId=shop\nversion=2.0\n",
		"WEB-INF/lib/slf4j-api-1.7.30.jar":               string(inner),
	})
	got, err := extract(t, newExtractor(t), nil, "lib/shop-2.0.war", outer)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range got {
		names = append(names, p.Name+" "+p.Version+" "+strings.Join(p.Licenses, ","))
	}
	slices.Sort(names)
	if diff := cmp.Diff([]string{"org.example:shop 2.0 Apache-2.0", "org.slf4j:slf4j-api 1.7.30 "}, names); diff != "" {
		t.Error(diff)
	}

	// One jar of several libraries: what each description says, which comes before what the manifest says of all.
	const properties, pom = "groupId=%s\nartifactId=%s\nversion=1.0\n", "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><licenses>%s</licenses></project>"
	fat := map[string]string{"META-INF/MANIFEST.MF": "Manifest-Version: 1.0\nBundle-License: EPL-2.0\n", "META-INF/maven/g/broken/pom.xml": "<project><licenses>"}
	for artifact, said := range map[string]string{
		"fat":    "<license><name>The Apache Software License, Version 2.0</name></license>",
		"both":   "<license><name>MIT License</name></license><license><name>GPL-2.0-only</name></license>",
		"url":    "<license><name>our licence</name><url>https://www.apache.org/licenses/LICENSE-2.0</url></license>",
		"odd":    "<license><name>do what you want</name></license>",
		"silent": "", "broken": "",
	} {
		fat["META-INF/maven/g/"+artifact+"/pom.properties"] = fmt.Sprintf(properties, "g", artifact)
		if artifact != "broken" {
			fat["META-INF/maven/g/"+artifact+"/pom.xml"] = fmt.Sprintf(pom, said)
		}
	}
	got, err = extract(t, newExtractor(t), nil, "lib/fat-1.0.jar", jar(t, fat))
	if err != nil {
		t.Fatal(err)
	}
	names = nil
	for _, p := range got {
		names = append(names, p.Name+" "+strings.Join(p.Licenses, ","))
	}
	slices.Sort(names)
	if diff := cmp.Diff([]string{"g:both MIT OR GPL-2.0-only", "g:broken ", "g:fat Apache-2.0", "g:odd do what you want", "g:silent ", "g:url Apache-2.0"}, names); diff != "" {
		t.Error(diff)
	}
}

// TestWheels: of wheels and eggs of scalibr's test data, and of a bomb.
func TestWheels(t *testing.T) {
	dir := filepath.Join(moduleDir(t, "github.com/google/osv-scalibr"), "extractor/filesystem/language/python/wheelegg/testdata")
	for _, name := range []string{"monotonic-1.6-py2.py3-none-any.whl", "monotonic-1.6-py3.10.egg"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		got, err := extract(t, newExtractor(t), nil, "dist/"+name, data)
		want := []scan.Package{{PURL: "pkg:pypi/monotonic@1.6", Ecosystem: "PyPI", Name: "monotonic", Version: "1.6", Path: "dist/" + name, FoundBy: "python/archive", Licenses: []string{"Apache-2.0"}}}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Error(err, diff)
		}
	}
	var b strings.Builder
	b.WriteString("Metadata-Version: 2.1\nName: x\nVersion: 1\n")
	for i := range 1_000_000 / require.Stride(10) {
		b.WriteString("K" + itoa(i) + ": v\n")
	}
	bomb := jar(t, map[string]string{"x-1.dist-info/METADATA": b.String()})
	got, err := extract(t, newExtractor(t), nil, "x-1-py3-none-any.whl", bomb)
	if err != nil || len(got) != 1 || got[0].Name != "x" {
		t.Errorf("%+v, %v", got, err)
	}
	for name, data := range map[string][]byte{"no zip": []byte("PK\x03\x04"), "no name": jar(t, map[string]string{"x-1.dist-info/METADATA": "Version: 1\n"})} {
		if _, err := extract(t, newExtractor(t), nil, "x-1-py3-none-any.whl", data); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// slow is a tree whose copyright files take all the time there is.
type slow struct{ fs.FS }

func (s slow) Open(name string) (fs.File, error) {
	if strings.HasSuffix(name, "/b/copyright") {
		time.Sleep(1100 * time.Millisecond) // more than the least file_timeout
	}
	return s.FS.Open(name)
}

// TestLicencesInTime: where the time is over, the packages are there, and what is missing of them is said.
func TestLicencesInTime(t *testing.T) {
	c := DefaultConfig()
	c.FileTimeout = time.Second
	x, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	const text = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: MIT\n"
	tree := slow{fstest.MapFS{"usr/share/doc/a/copyright": {Data: []byte(text)}, "usr/share/doc/b/copyright": {Data: []byte(text)}, "usr/share/doc/c/copyright": {Data: []byte(text)}}}
	var status strings.Builder
	for _, name := range []string{"a", "b", "c"} {
		status.WriteString("Package: " + name + "\nStatus: install ok installed\nVersion: 1\n\n")
	}
	got, err := extract(t, x, tree, "var/lib/dpkg/status", []byte(status.String()))
	if len(got) != 3 || err == nil || !strings.Contains(err.Error(), "packages are not known") {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestBombs(t *testing.T) {
	c := DefaultConfig()
	c.MaxUnpacked, c.MaxArchiveDepth = 1<<20, 3
	x, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	deep := jar(t, map[string]string{"a.txt": "x"})
	for range 6 {
		deep = jar(t, map[string]string{"in.jar": string(deep)})
	}
	for name, data := range map[string][]byte{"deep": deep, "large": jar(t, map[string]string{"in.jar": strings.Repeat("\x00", 20<<20)}), "broken": []byte("PK\x03\x04 and no more of it, which is no archive")} {
		if _, err := extract(t, x, nil, name+".jar", data); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestBroken wants a clear error of broken files and never a panic, and nothing from outside of the tree.
func TestBroken(t *testing.T) {
	x := newExtractor(t)
	for path, data := range map[string]string{
		"package-lock.json": "{\"packages\": {\n\"a\": [", "composer.lock": "{\"packages\": {}}", "package.json": "{", "pom.xml": "<project><dependencies>", "yarn.lock": "a@1:\n  version",
		"Cargo.lock": "[[package]\nname=", "poetry.lock": "[[package", "pnpm-lock.yaml": "packages:\n  - a: [", "packages.lock.json": "[]", "Pipfile.lock": "{\"default\": 1}", "go.mod": "module (",
	} {
		_, err := extract(t, x, nil, path, []byte(data))
		if err == nil && path != "yarn.lock" {
			t.Errorf("%s: no error", path)
		}
		if err != nil && (strings.Contains(err.Error(), "failed to") || len(err.Error()) > 800) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := extract(t, x, nil, "package-lock.json", []byte("{\"packages\": {\n\"a\": [")); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("the place is not told: %v", err)
	}
	entities := `<!DOCTYPE lolz [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;"><!ENTITY x SYSTEM "file:///etc/passwd">]><project><dependencies><dependency><groupId>&x;</groupId><artifactId>b</artifactId><version>&b;</version></dependency></dependencies></project>`
	if got, err := extract(t, x, nil, "pom.xml", []byte(entities)); err == nil && len(got) > 0 {
		t.Errorf("entities: %+v", got)
	}
	got, err := extract(t, x, nil, "requirements.txt", []byte("a==1.0\n-r ../../etc/passwd\n-r /etc/passwd\n"))
	if len(got) != 1 || got[0].Name != "a" {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := extract(t, x, nil, "package-lock.json", []byte(`{"packages":{"node_modules/`+"\\u001b[31m"+`":{"version":"1"},"node_modules/b":{"version":"2"}}}`)); len(got) != 1 || err == nil {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestLinesOfGoSum: a package that only go.sum names has no line in go.mod.
func TestLinesOfGoSum(t *testing.T) {
	const mod = "module example.com/shop\n\ngo 1.13\n\nrequire example.com/direct v1.0.0\n"
	sum := ""
	for _, name := range []string{"direct v1.0.0", "other v1.0.0", "more v1.1.0"} {
		sum += "example.com/" + name + " h1:vEOn+mP2zCOVzKckCZy6YsCtDblrpj/w7B9nxGNELpg=\nexample.com/" + name + "/go.mod h1:h1NjWce9XRLGQEsW7wpKNCjG9DtNlClVuFLEZdDNbEs=\n"
	}
	got, err := extract(t, newExtractor(t), fstest.MapFS{"go.mod": {Data: []byte(mod)}, "go.sum": {Data: []byte(sum)}}, "go.mod", []byte(mod))
	if err != nil {
		t.Fatal(err)
	}
	lines := map[string]int{}
	for _, p := range got {
		lines[p.Name] = p.Line
	}
	want := map[string]int{"stdlib": 3, "example.com/direct": 5, "example.com/other": 0, "example.com/more": 0}
	for name, line := range want {
		if at, there := lines[name]; !there || at != line {
			t.Errorf("%s: line %d, %t", name, at, there)
		}
	}
}

// TestDeepOldLock wants an end of dependencies within dependencies.
func TestDeepOldLock(t *testing.T) {
	text := strings.Repeat(`{"dependencies":{"a":`, 5000)
	if _, err := extract(t, newExtractor(t), nil, "package-lock.json", []byte(text)); err == nil || !strings.Contains(err.Error(), "nested deeper") {
		t.Error(err)
	}
}

// TestLargeLock is a lockfile that takes a parser which looks each package up from the start hours.
func TestLargeLock(t *testing.T) {
	var b strings.Builder
	b.WriteString("{\"lockfileVersion\": 3, \"packages\": {\n\"\": {}")
	const many = 50_000
	for i := range many {
		b.WriteString(",\n\"node_modules/p" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + itoa(i) + "\": {\"version\": \"1.0.0\"}")
	}
	b.WriteString("}}")
	got, err := extract(t, newExtractor(t), nil, "package-lock.json", []byte(b.String()))
	if err != nil || len(got) != many || got[many-1].Line != many+2 {
		t.Errorf("%d packages, %v", len(got), err)
	}
}

// TestCostly are lockfiles of some MB that cost their parsers the square of their size, or of what they name, unless somebody looks first.
func TestCostly(t *testing.T) {
	repeat := func(n int, head, one string) string {
		var b strings.Builder
		b.WriteString(head)
		for i := range n {
			b.WriteString(strings.ReplaceAll(one, "#", itoa(i)))
		}
		return b.String()
	}
	x := newExtractor(t)
	for path, text := range map[string]string{
		"pnpm-lock.yaml":          repeat(50_000, "lockfileVersion: '9.0'\npackages:\n", "  a@#:\n    resolution: {integrity: x}\n"),
		"pubspec.lock":            repeat(50_000, "packages: {", "a#: {version: '1'}, ") + "}\n",
		".github/workflows/a.yml": repeat(50_000, "jobs:\n", " j#: {}\n"),
		"snap/x/1/meta/snap.yaml": repeat(50_000, "", "k#: 1\n"),
		"ios/Podfile.lock":        repeat(50_000, "", "k#: 1\n"),
		"app/stack.yaml.lock":     repeat(50_000, "", "k#: 1\n"),
		"root/.cpan/x/META.yml":   repeat(50_000, "", "k#: 1\n"),
	} {
		if !x.Wants(path, nil) {
			t.Errorf("%s is not wanted", path)
		}
		if _, err := extract(t, x, nil, path, []byte(text)); err == nil || !strings.Contains(err.Error(), "entries of one kind") {
			t.Errorf("%s: %v", path, err)
		}
	}
	// Many versions of a package, each of which needs all of them.
	many := 30_000 / require.Stride(10)
	got, err := extract(t, x, fstest.MapFS{"pyproject.toml": {Data: []byte("[project]\ndependencies = [\"a\"]\n")}}, "poetry.lock",
		[]byte(repeat(many, "", "[[package]]\nname = \"a\"\nversion = \"#\"\n[package.dependencies]\na = \"*\"\n\n")))
	edges := 0
	for _, p := range got {
		edges += len(p.DependsOn)
	}
	if err != nil || len(got) != many || edges > maxEdges {
		t.Errorf("%d packages, %d dependencies, %v", len(got), edges, err)
	}
	got, err = extract(t, x, nil, "Gemfile.lock", []byte(repeat(many, "", "PATH\n  remote: .\n  specs:\n    own# (1)\n      a\n\nGEM\n  specs:\n    a (#)\n\n")))
	if err != nil || len(got) != 2*many {
		t.Errorf("%d gems, %v", len(got), err)
	}
}

func itoa(i int) string {
	if i < 10 {
		return string(rune('0' + i))
	}
	return itoa(i/10) + string(rune('0'+i%10))
}

// TestTable holds that the table offers a format every file that its extractor asks for.
func TestTable(t *testing.T) {
	x := newExtractor(t)
	paths := []string{"usr/lib/opkg/status", "var/lib/dpkg/status.d/base", "var/lib/rpm/Packages", "usr/lib/sysimage/rpm/rpmdb.sqlite", "var/lib/rpm/Packages.db", "usr/lib/apk/db/installed",
		"a/B.JAR", "x/y.EGG-INFO/PKG-INFO", "snap/core/1/meta/snap.yaml", "x/pylock.dev.toml", "gems.locked", "home/u/.local/share/flatpak/app/a/b/export/share/metainfo/a.metainfo.xml",
		"opt/homebrew/Cellar/rclone/1.67.0/INSTALL_RECEIPT.json", "opt/homebrew/Caskroom/firefox/129.0/firefox.wrapper.sh", "home/u/.opam/x/.opam-switch/install/base.install", "home/u/.nimble/pkgs2/json-1.0/json.nimble",
		"usr/local/lib/luarocks/rocks-5.1/a/1.0/a.rockspec", "root/.cpan/build/A/META.json", "wp-content/plugins/a/b.php", "macports/registry/portfiles/rust-1.8_1/x-1/Portfile", "etc/cos-package-info.json"}
	_ = filepath.WalkDir("testdata", func(p string, d fs.DirEntry, _ error) error {
		paths = append(paths, strings.SplitN(filepath.ToSlash(p), "/", 3)[len(strings.SplitN(filepath.ToSlash(p), "/", 3))-1])
		return nil
	})
	for _, f := range formats() {
		if f.make == nil || f.program {
			continue
		}
		e, err := f.make(nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range paths {
			if !e.FileRequired(asked{path: p}) {
				continue
			}
			found := false
			x.table.find(p, nil, func(r *reader) bool {
				found = found || r.scalibr != nil && r.scalibr.Name() == e.Name()
				return true
			})
			if !found {
				t.Errorf("%s: %s is not offered", f.name, p)
			}
		}
	}
}

func TestReleases(t *testing.T) {
	for text, want := range map[string]string{
		"ID=debian\nVERSION_ID=\"12\"": "Debian:12", "ID=debian": "Debian", "ID=ubuntu\nVERSION_ID=22.04": "Ubuntu:22.04:LTS", "ID=ubuntu\nVERSION_ID=23.10": "Ubuntu:23.10",
		"ID=alpine\nVERSION_ID=3.18.4": "Alpine:v3.18", "ID=rocky\nVERSION_ID=\"9.3\"": "Rocky Linux:9", "ID=almalinux\nVERSION_ID=9.3": "AlmaLinux:9", "ID=fedora\nVERSION_ID=40": "",
		"ID=rhel\nVERSION_ID=9.2\nCPE_NAME=\"cpe:/o:redhat:enterprise_linux:9::baseos\"": "Red Hat:enterprise_linux:9::baseos", "ID=wolfi\nVERSION_ID=20230201": "Wolfi",
		"ID=\"sles\"\nPRETTY_NAME=\"SUSE Linux Enterprise Server 15 SP5\"": "SUSE:Linux Enterprise Server 15 SP5", "ID=\"opensuse-leap\"\nVERSION_ID=15.5": "openSUSE:Leap 15.5",
	} {
		in := newInput(newExtractor(t), &scan.File{Path: "x", Name: "x", FS: fstest.MapFS{"etc/os-release": {Data: []byte(text)}}})
		in.begin(context.Background())
		if got := in.os().ecosystem("rpm"); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestConfig(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"max_manifest_size": func(c *Config) { c.MaxManifestSize = 0 }, "max_unpacked": func(c *Config) { c.MaxUnpacked = 1 }, "max_archive_depth": func(c *Config) { c.MaxArchiveDepth = 0 },
		"file_timeout": func(c *Config) { c.FileTimeout = 0 }, "is no kind": func(c *Config) { c.Disable = []string{"go"} },
	} {
		c := DefaultConfig()
		change(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	c := DefaultConfig()
	c.Disable = []string{"go/gomod"}
	if x, err := New(c); err != nil || x.Wants("go.mod", nil) || !x.Wants("a/package.json", nil) || !x.Wants("o.zip!/in/Cargo.lock", nil) {
		t.Error(err)
	}
}

// FuzzExtract wants no panic, no error of another's making, and packages that can be shown, of any file by any name.
func FuzzExtract(f *testing.F) {
	_ = filepath.WalkDir("testdata", func(p string, d fs.DirEntry, _ error) error {
		if data, err := os.ReadFile(p); err == nil && !strings.HasSuffix(p, ".golden") && strings.Count(p, "/") > 1 {
			f.Add(strings.SplitN(filepath.ToSlash(p), "/", 3)[2], data)
		}
		return nil
	})
	x := newExtractor(f)
	f.Fuzz(func(t *testing.T, path string, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		got, err := extract(t, x, fstest.MapFS{}, path, data)
		if err != nil && strings.Contains(err.Error(), "nil pointer") {
			t.Log(err) // of a parser of others: contained
		}
		for _, p := range got {
			if p.Name == "" || scan.Printable(p.Name+p.Version) != p.Name+p.Version || p.Line < 0 {
				t.Errorf("%+v", p)
			}
		}
	})
}
