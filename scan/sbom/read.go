package sbom

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"

	"github.com/package-url/packageurl-go"

	"github.com/testudo-sec/testudo/internal/spdx"
	"github.com/testudo-sec/testudo/scan"
)

// source is a document with a limit.
type source struct {
	r    *bufio.Reader
	left int64
	over bool
}

func newSource(r io.Reader, limit int64) *source {
	s := &source{left: limit}
	s.r = bufio.NewReaderSize(r, 64<<10)
	return s
}

func (s *source) peek() []byte {
	head, _ := s.r.Peek(1024)
	if len(head) >= 3 && string(head[:3]) == "\ufeff" {
		_, _ = s.r.Discard(3)
		head = head[3:]
	}
	return head
}

var errLarge = errors.New("the document is too large")

func (s *source) Read(p []byte) (int, error) {
	if s.left <= 0 {
		s.over = true
		return 0, errLarge
	}
	n, err := s.r.Read(p[:min(int64(len(p)), s.left)])
	s.left -= int64(n)
	return n, err
}

// builder collects what a document says.
type builder struct {
	limits   Limits
	packages []scan.Package
	target   string
	names    map[string]int32 // the document's own names, each with its index in places
	places   []int32          // of the package that a name stands for, the first one; -1 of none
	edges    []edge
	texts    map[string]string // of licences that the document gives names of its own
}

// edge is two names, by their indexes: a document may repeat long ones millions of times.
type edge struct{ from, to int32 }

const (
	maxText  = 1024
	maxEdges = 5_000_000
	maxNames = 2_000_000
)

// add takes a package.
func (b *builder) add(p scan.Package, ref string) error {
	if p.Name == "" && p.PURL == "" {
		return nil
	}
	if len(b.packages) >= b.limits.Packages {
		return fmt.Errorf("more than %d packages", b.limits.Packages)
	}
	complete(&p)
	for _, s := range []*string{&p.Name, &p.Version, &p.PURL, &p.Path, &p.Ecosystem, &p.Source, &p.SourceVersion, &p.Layer, &p.Instruction, &p.BaseImage, &p.FoundBy} {
		if len(*s) > maxText {
			return fmt.Errorf("a name, version, place or property of %d bytes: the limit is %d", len(*s), maxText)
		}
		// A clone, since what is read may be a small part of a long line.
		*s = strings.Clone(scan.Printable(*s))
	}
	if ref != "" {
		n, err := b.name(ref)
		if err != nil {
			return err
		}
		if b.places[n] < 0 {
			b.places[n] = int32(len(b.packages))
		}
	}
	b.packages = append(b.packages, p)
	return nil
}

func (b *builder) depends(from, to string) error {
	if len(b.edges) >= maxEdges {
		return fmt.Errorf("more than %d dependencies", maxEdges)
	}
	f, err := b.name(from)
	if err != nil {
		return err
	}
	t, err := b.name(to)
	if err != nil {
		return err
	}
	b.edges = append(b.edges, edge{f, t})
	return nil
}

// name returns the index of a name.
func (b *builder) name(s string) (int32, error) {
	if n, ok := b.names[s]; ok {
		return n, nil
	}
	if len(s) > maxText {
		return 0, fmt.Errorf("a reference of %d bytes: the limit is %d", len(s), maxText)
	}
	if len(b.places) >= maxNames {
		return 0, fmt.Errorf("more than %d references", maxNames)
	}
	n := int32(len(b.places))
	b.names[strings.Clone(s)] = n
	b.places = append(b.places, -1)
	return n, nil
}

// finish joins the dependencies.
func (b *builder) finish() *scan.Inventory {
	for _, e := range b.edges {
		i, j := b.places[e.from], b.places[e.to]
		if i < 0 || j < 0 || i == j {
			continue
		}
		if to := b.packages[j].PURL; to != "" {
			b.packages[i].DependsOn = append(b.packages[i].DependsOn, to)
		}
	}
	for i := range b.packages {
		p := &b.packages[i]
		p.Licenses = b.spelled(p.Licenses)
		sort.Strings(p.DependsOn)
		out := p.DependsOn[:0]
		for k, to := range p.DependsOn {
			if k == 0 || to != p.DependsOn[k-1] {
				out = append(out, to)
			}
		}
		p.DependsOn = out
		if len(out) == 0 {
			p.DependsOn = nil
		}
	}
	inv := &scan.Inventory{Target: b.target, Packages: b.packages}
	inv.Sort()
	return inv
}

// spelled puts the texts of licences where the document's own names of them stand, alone or joined by AND.
func (b *builder) spelled(licenses []string) []string {
	var out []string
	for _, l := range licenses {
		parts := strings.Split(l, " AND ")
		named := false
		for k, part := range parts {
			if strings.Count(part, "(") != strings.Count(part, ")") {
				named = false // AND within OR: left as it is
				break
			}
			if text := b.texts[part]; text != "" && text != part {
				parts[k], named = license(text), true
			} else if len(part) > 1 && part[0] == '(' && strings.IndexByte(part, ')') == len(part)-1 {
				parts[k] = part[1 : len(part)-1]
			}
		}
		if !named {
			parts = []string{l}
		}
		out = append(out, parts...)
	}
	return out
}

// complete derives what the package URL says and the document did not.
func complete(p *scan.Package) {
	u, err := packageurl.FromString(p.PURL)
	if err != nil {
		if p.PURL != "" {
			p.PURL = ""
		}
		return
	}
	distro, epoch := "", ""
	for _, q := range u.Qualifiers {
		switch q.Key {
		case "distro":
			distro = q.Value
		case "epoch":
			epoch = q.Value
		case "upstream":
			if p.Source == "" {
				p.Source, p.SourceVersion, _ = strings.Cut(q.Value, "@")
			}
		}
	}
	ecosystem, name := ofURL(&u, distro)
	if p.Ecosystem == "" {
		p.Ecosystem = ecosystem
		if ecosystem != "" {
			p.Name = name
		}
	}
	if p.Name == "" {
		p.Name = name
	}
	if p.Version == "" {
		p.Version = u.Version
	}
	if u.Type == "golang" {
		p.Version = strings.TrimPrefix(p.Version, "v")
	}
	if u.Type == "rpm" && epoch != "" && epoch != "0" && !strings.Contains(p.Version, ":") {
		p.Version = epoch + ":" + p.Version
	}
	if p.Source == "" && (u.Type == "deb" || u.Type == "apk") {
		p.Source = p.Name
	}
	if p.SourceVersion == "" && p.Source != "" {
		p.SourceVersion = p.Version
	}
}

// ofURL is the ecosystem that OSV has for a type of package URL, and the name there.
func ofURL(u *packageurl.PackageURL, distro string) (ecosystem, name string) {
	full := u.Name
	if u.Namespace != "" {
		full = u.Namespace + "/" + u.Name
	}
	switch u.Type {
	case "npm":
		return "npm", full
	case "golang":
		if u.Subpath != "" {
			full += "/" + u.Subpath
		}
		return "Go", full
	case "maven":
		return "Maven", strings.Replace(full, "/", ":", 1)
	case "composer":
		return "Packagist", full
	case "hex":
		return "Hex", full
	case "swift":
		return "SwiftURL", full
	case "githubactions":
		return "GitHub Actions", full
	case "deb", "apk", "rpm":
		return ofDistribution(u, distro), u.Name
	}
	if e := map[string]string{"pypi": "PyPI", "cargo": "crates.io", "gem": "RubyGems", "nuget": "NuGet", "pub": "Pub", "cran": "CRAN", "hackage": "Hackage", "conan": "ConanCenter",
		"julia": "Julia", "bitnami": "Bitnami", "opam": "opam"}[u.Type]; e != "" {
		return e, u.Name
	}
	return "", full
}

// debianReleases are the versions of Debian's names, which other programs write.
var debianReleases = map[string]string{"buster": "10", "bullseye": "11", "bookworm": "12", "trixie": "13", "forky": "14"}

func ofDistribution(u *packageurl.PackageURL, distro string) string {
	version := distro
	if rest, ok := strings.CutPrefix(distro, u.Namespace+"-"); ok {
		version = rest
	}
	major, _, _ := strings.Cut(version, ".")
	with := func(name, suffix string) string {
		if suffix == "" {
			return name
		}
		return name + ":" + suffix
	}
	switch u.Namespace {
	case "debian":
		if v, ok := debianReleases[version]; ok {
			major = v
		}
		return with("Debian", major)
	case "ubuntu":
		if year, month, ok := strings.Cut(version, "."); ok && month == "04" && len(year) == 2 && (year[1]-'0')%2 == 0 {
			return "Ubuntu:" + version + ":LTS"
		}
		return with("Ubuntu", version)
	case "alpine":
		if parts := strings.SplitN(version, ".", 3); len(parts) >= 2 {
			return "Alpine:v" + parts[0] + "." + parts[1]
		}
		return "Alpine"
	case "wolfi":
		return "Wolfi"
	case "chainguard":
		return "Chainguard"
	case "rocky":
		return with("Rocky Linux", major)
	case "almalinux":
		return with("AlmaLinux", major)
	case "redhat", "rhel":
		return "Red Hat"
	case "opensuse-leap":
		return with("openSUSE", "Leap "+version)
	case "azurelinux", "mariner":
		return with("Azure Linux", major)
	case "mageia":
		return with("Mageia", major)
	}
	return ""
}

// license is a licence in the form of an inventory.
func license(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if e, ok := spdx.Normalize(s); ok {
		return e
	}
	if s == "NOASSERTION" || s == "NONE" {
		return ""
	}
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "") + "…"
	}
	return scan.Printable(s)
}

func appendNew(all []string, s string) []string {
	if s == "" || len(all) >= 50 {
		return all
	}
	for _, a := range all {
		if a == s {
			return all
		}
	}
	return append(all, s)
}
