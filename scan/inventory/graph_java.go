package inventory

import (
	"archive/zip"
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"path"
	"regexp"
	"strings"

	"github.com/testudo-sec/testudo/internal/spdx"
)

const (
	// maxEntry bounds what is read of one entry of an archive.
	maxEntry = 1 << 20
	// maxPOMs bounds the descriptions that are read in one jar: one of all its libraries has some hundreds.
	maxPOMs = 1000
)

// jarGraph reads the licences that a jar names: of each package in the description that Maven puts into it, else in its manifest
// (Bundle-License) for the packages that stand for the jar itself.
func jarGraph(in *input) (*graph, error) {
	z, err := zip.NewReader(in.at, in.size)
	if err != nil {
		return nil, nil // the extractor says so
	}
	if len(z.File) > 500_000 {
		return nil, errors.New("more than 500000 entries")
	}
	stem := strings.TrimSuffix(path.Base(in.path), path.Ext(in.path))
	g := &graph{fold: func(name string) string { return artifactOf(name, stem) }}
	var manifest *zip.File
	poms, own := 0, false
	for _, f := range z.File {
		group, ok := strings.CutPrefix(f.Name, "META-INF/maven/")
		group, artifact, both := strings.Cut(strings.TrimSuffix(group, "/pom.xml"), "/")
		switch {
		case f.Name == "META-INF/MANIFEST.MF":
			manifest = f
		case ok && both && strings.HasSuffix(f.Name, "/pom.xml") && poms < maxPOMs && !strings.Contains(artifact, "/"):
			if err := in.late(); err != nil {
				return g, err
			}
			poms++
			if said := pomLicenses(entryOf(f)); len(said) > 0 {
				n := &node{name: group + ":" + artifact, licenses: said}
				own = own || g.fold(n.name) == stem
				g.nodes = append(g.nodes, n)
			}
		}
	}
	if manifest != nil && !own {
		text := strings.NewReplacer("\r\n ", "", "\n ", "").Replace(string(entryOf(manifest)))
		for line := range strings.Lines(text) {
			if said, ok := strings.CutPrefix(line, "Bundle-License: "); ok {
				said, _, _ = strings.Cut(strings.TrimSpace(said), ";")
				g.nodes = append(g.nodes, &node{name: stem, licenses: licenses(strings.Split(said, ",")...)})
			}
		}
	}
	return g, nil
}

// entryOf returns what is in a small entry, nothing of a large or a broken one.
func entryOf(f *zip.File) []byte {
	if f.UncompressedSize64 > maxEntry {
		return nil
	}
	r, err := f.Open()
	if err != nil {
		return nil
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxEntry))
	if err != nil {
		return nil
	}
	return data
}

// pomLicenses are what a pom.xml names itself; one that inherits them says nothing. Where it names several, one may choose
// (maven.apache.org/pom.html, "Licenses").
func pomLicenses(data []byte) []string {
	var pom struct {
		Licenses []struct {
			Name string `xml:"name"`
			URL  string `xml:"url"`
		} `xml:"licenses>license"`
	}
	if len(data) == 0 || xml.NewDecoder(bytes.NewReader(data)).Decode(&pom) != nil {
		return nil
	}
	var out []string
	for _, l := range pom.Licenses[:min(len(pom.Licenses), 20)] {
		said := licenses(l.Name)
		if byURL := licensesKnown([]string{l.URL}); len(licensesKnown([]string{l.Name})) == 0 && len(byURL) > 0 {
			said = byURL
		}
		out = append(out, said...)
	}
	if one := strings.Join(out, " OR "); len(out) > 1 {
		if _, err := spdx.Parse(one); err == nil {
			return []string{one}
		}
	}
	return out
}

// artifactOf folds the packages of a jar onto its own name: "org.slf4j:slf4j-api" in slf4j-api-2.0.jar.
func artifactOf(name, stem string) string {
	artifact := name[strings.LastIndexByte(name, ':')+1:]
	if artifact != "" && (stem == artifact || strings.HasPrefix(stem, artifact+"-")) {
		return stem
	}
	return name
}

// gradleCoordinate is "group:artifact" or "group:artifact:version" in quotes, as build files and catalogs name modules.
var gradleCoordinate = regexp.MustCompile(`["']([A-Za-z0-9_.-]+:[A-Za-z0-9_.-]+)(?::[^"'\s]*)?["']`)

// gradleGraph reads which configurations of gradle.lockfile need a module, and the build file beside it, which names those that
// the project wants itself. A build file that takes modules from a catalog elsewhere leaves that open.
func gradleGraph(in *input) (*graph, error) {
	data, err := in.data()
	if err != nil {
		return nil, err
	}
	build := append(in.beside("build.gradle"), in.beside("build.gradle.kts")...)
	direct := map[string]bool{}
	for _, m := range gradleCoordinate.FindAllSubmatch(build, 100_000) {
		direct[string(m[1])] = true
	}
	g := &graph{direct: len(direct) > 0 && !bytes.Contains(build, []byte("libs."))}
	number := 0
	for raw := range bytes.Lines(data) {
		number++
		what, configurations, ok := strings.Cut(strings.TrimSpace(string(raw)), "=")
		at := strings.LastIndexByte(what, ':')
		if !ok || at < 0 || what[0] == '#' {
			continue
		}
		n := &node{name: what[:at], version: what[at+1:], line: number, direct: direct[what[:at]], dev: configurations != ""}
		for c := range strings.SplitSeq(configurations, ",") {
			// testRuntimeClasspath, androidTestCompileClasspath, debugUnitTestRuntimeClasspath
			n.dev = n.dev && (strings.HasPrefix(c, "test") || strings.Contains(c, "Test"))
		}
		g.nodes = append(g.nodes, n)
	}
	return g, nil
}
