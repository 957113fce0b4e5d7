package inventory

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/google/osv-scalibr/extractor"
	archivemeta "github.com/google/osv-scalibr/extractor/filesystem/language/java/archive/metadata"
	"github.com/google/osv-scalibr/extractor/filesystem/language/java/javalockfile"
	apkmeta "github.com/google/osv-scalibr/extractor/filesystem/os/apk/metadata"
	dpkgmeta "github.com/google/osv-scalibr/extractor/filesystem/os/dpkg/metadata"
	rpmmeta "github.com/google/osv-scalibr/extractor/filesystem/os/rpm/metadata"
	"github.com/google/osv-scalibr/extractor/filesystem/osv"
	"github.com/google/osv-scalibr/purl"
	"github.com/package-url/packageurl-go"

	"github.com/testudo-sec/testudo/internal/spdx"
	"github.com/testudo-sec/testudo/scan"
)

// convert says in our words what scalibr found. The path is filled in later.
func (in *input) convert(p *extractor.Package, f *format) scan.Package {
	out := scan.Package{Name: strings.TrimSpace(p.Name), Version: strings.TrimSpace(p.Version), FoundBy: f.name, Licenses: licenses(p.Licenses...)}
	// What go.sum names beside a go.mod has its line there.
	if d := p.Location.Descriptor; d != nil && d.File != nil && (d.File.Path == "" || d.File.Path == in.path) {
		out.Line = max(d.File.LineNumber, 0)
	}
	if g, ok := p.Metadata.(osv.DepGroups); ok {
		out.Dev = onlyDev(g.DepGroups())
	}
	switch m := p.Metadata.(type) {
	case *dpkgmeta.Metadata:
		kind := "deb"
		if p.PURLType == purl.TypeOpkg {
			kind = "opkg" // of the same form, and of no Debian
		}
		in.distribution(&out, kind, m.Architecture)
		out.Source, out.SourceVersion = or(m.SourceName, out.Name), or(m.SourceVersion, out.Version)
		return out
	case *apkmeta.Metadata:
		in.distribution(&out, "apk", m.Architecture)
		out.Source, out.SourceVersion = or(m.OriginName, out.Name), out.Version
		return out
	case *rpmmeta.Metadata:
		if m.Epoch > 0 {
			out.Version = strconv.Itoa(m.Epoch) + ":" + out.Version
		}
		in.distribution(&out, "rpm", m.Architecture)
		out.Source, out.SourceVersion = sourceRPM(m.SourceRPM)
		if m.Epoch > 0 && out.SourceVersion != "" {
			out.SourceVersion = strconv.Itoa(m.Epoch) + ":" + out.SourceVersion
		}
		return out
	case *archivemeta.Metadata:
		in.maven(&out, m.GroupID, m.ArtifactID)
		if m.SHA1 != "" {
			out.Digests = []string{"sha1:" + m.SHA1}
		}
		return out
	case *javalockfile.Metadata:
		in.maven(&out, m.GroupID, m.ArtifactID)
		if out.FoundBy == "java/pom" {
			out.Relation = scan.Direct
		}
		return out
	}
	if out.FoundBy == "python/conda" {
		// Conda packages all kinds of software; those that need Python are known to PyPI, mostly by the same name.
		out.PURL = PURL("conda", out.Name, out.Version)
		if data, err := in.data(); err == nil && bytes.Contains(data, []byte(`"python `)) {
			out.Ecosystem, out.PURL = "PyPI", PURL("pypi", out.Name, out.Version)
		}
		return out
	}
	switch p.PURLType {
	case purl.TypePacman:
		in.distribution(&out, "alpm", "")
	case purl.TypePortage:
		in.distribution(&out, "ebuild", "")
	case purl.TypeGolang:
		if out.Name == "go" {
			out.Name = "stdlib" // as the advisories have it
		}
		if out.Version = strings.TrimPrefix(out.Version, "v"); out.Version == "(devel)" {
			out.Relation = scan.Root
		}
		out.Ecosystem, out.PURL = "Go", PURL("golang", out.Name, out.Version)
	case purl.TypeSnap, purl.TypeFlatpak:
		out.PURL = PURL(p.PURLType, out.Name, out.Version) // the distribution's advisories are about its own packages
	case purl.TypeHex:
		out.Ecosystem, out.PURL = "Hex", PURL("hex", out.Name, out.Version)
	case purl.TypeSwift:
		// The name is the place of the repository; who signs in there is nobody's business.
		if host, rest, ok := strings.Cut(out.Name, "/"); ok {
			out.Name = host[strings.LastIndexByte(host, '@')+1:] + "/" + rest
		}
		out.Ecosystem, out.PURL = "SwiftURL", PURL("swift", out.Name, out.Version)
	default:
		if e := p.Ecosystem().String(); e != "GIT" {
			out.Ecosystem = e
		}
		out.PURL = PURL(p.PURLType, out.Name, out.Version)
	}
	return out
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// onlyDev reports whether groups of dependencies all serve development.
func onlyDev(groups []string) bool {
	for _, g := range groups {
		if !isDevGroup(g) {
			return false
		}
	}
	return len(groups) > 0
}

func isDevGroup(g string) bool {
	switch strings.ToLower(g) {
	case "dev", "develop", "development", "dev-dependencies", "test", "tests", "testing", "lint", "docs", "doc", "build-requires", "packages-dev":
		return true
	}
	return false
}

// maven sets the name that Maven gives a package. Names keep their case: advisories do so.
func (in *input) maven(out *scan.Package, group, artifact string) {
	if group == "" || artifact == "" {
		if g, a, ok := strings.Cut(out.Name, ":"); ok {
			group, artifact = g, a
		} else {
			artifact = or(artifact, out.Name)
		}
	}
	out.Ecosystem, out.Name = "Maven", artifact
	if group != "" {
		out.Name = group + ":" + artifact
	}
	out.PURL = packageurl.NewPackageURL("maven", group, artifact, out.Version, nil, "").ToString()
}

// distribution sets what the release of the distribution tells.
func (in *input) distribution(out *scan.Package, kind, arch string) {
	r := in.os()
	out.Ecosystem = r.ecosystem(kind)
	namespace := or(r.id, map[string]string{"deb": "debian", "apk": "alpine", "alpm": "arch", "ebuild": "gentoo"}[kind])
	name := out.Name
	if kind == "ebuild" {
		if category, n, ok := strings.Cut(name, "/"); ok {
			namespace, name = category, n
		}
	}
	var q packageurl.Qualifiers
	if arch != "" {
		q = append(q, packageurl.Qualifier{Key: "arch", Value: arch})
	}
	if r.id != "" && r.version != "" {
		q = append(q, packageurl.Qualifier{Key: "distro", Value: r.id + "-" + r.version})
	}
	version := out.Version
	if kind == "rpm" {
		if epoch, rest, ok := strings.Cut(version, ":"); ok {
			version = rest
			q = append(q, packageurl.Qualifier{Key: "epoch", Value: epoch})
		}
	}
	out.PURL = packageurl.NewPackageURL(kind, namespace, name, version, q, "").ToString()
}

// sourceRPM splits "openssl-3.0.7-24.el9.src.rpm".
func sourceRPM(file string) (name, version string) {
	stem := strings.TrimSuffix(strings.TrimSuffix(file, ".rpm"), ".src")
	release := strings.LastIndexByte(stem, '-')
	if release <= 0 {
		return "", ""
	}
	v := strings.LastIndexByte(stem[:release], '-')
	if v <= 0 {
		return "", ""
	}
	return stem[:v], stem[v+1:]
}

// PURL is the package URL of a package of a language's registry, of its type and the name as the registry writes it.
func PURL(kind, name, version string) string {
	if kind == "" || name == "" {
		return ""
	}
	namespace := ""
	switch kind {
	case "maven":
		if g, a, ok := strings.Cut(name, ":"); ok {
			namespace, name = g, a
		}
	case "npm", "golang", "composer", "swift", "github", "githubactions", "hex", "conan", "bitbucket":
		if at := strings.LastIndexByte(name, '/'); at > 0 {
			namespace, name = name[:at], name[at+1:]
		}
	case "pypi":
		name = pypiName(name)
	}
	if kind == "composer" {
		namespace, name = strings.ToLower(namespace), strings.ToLower(name)
	}
	return packageurl.NewPackageURL(kind, namespace, name, version, nil, "").ToString()
}

// pypiName is a name as PEP 503 compares it.
func pypiName(name string) string {
	var b strings.Builder
	gap := false
	for _, c := range []byte(strings.ToLower(name)) {
		if c == '-' || c == '_' || c == '.' {
			gap = b.Len() > 0
			continue
		}
		if gap {
			b.WriteByte('-')
			gap = false
		}
		b.WriteByte(c)
	}
	return b.String()
}

// maxLicense bounds what is kept of a licence that is no expression.
const maxLicense = 200

// licenses returns what is said of licences, as expressions where they mean one.
func licenses(said ...string) []string {
	var out []string
	for _, s := range said {
		s = strings.Join(strings.Fields(s), " ")
		if s == "" || strings.EqualFold(s, "unknown") || strings.EqualFold(s, "none") || strings.EqualFold(s, "noassertion") {
			continue
		}
		if e, ok := spdx.Normalize(s); ok {
			s = e
		} else {
			if len(s) > maxLicense {
				s = strings.ToValidUTF8(s[:maxLicense], "") + "…"
			}
			s = scan.Printable(s)
		}
		if len(out) < 20 && !containsString(out, s) {
			out = append(out, s)
		}
	}
	return out
}

func containsString(all []string, s string) bool {
	for _, a := range all {
		if a == s {
			return true
		}
	}
	return false
}
