package scan

import (
	"cmp"
	"context"
	"io/fs"
	"slices"
	"strings"
)

// Package is one piece of software that a target holds, at one place.
type Package struct {
	// PURL is the package URL (ECMA-427), without qualifiers that say where it was found.
	PURL string `json:"purl"`
	// Ecosystem is what OSV calls it, with its release where it has one: "npm", "PyPI", "Debian:12". Empty if OSV has none.
	Ecosystem string `json:"ecosystem,omitempty"`
	// Name and Version are as the ecosystem writes them: "org.slf4j:slf4j-api", "@babel/core".
	Name    string `json:"name"`
	Version string `json:"version"`
	// Source and SourceVersion are the package that it was built from, for distributions whose advisories name that one.
	Source        string `json:"source,omitempty"`
	SourceVersion string `json:"source_version,omitempty"`
	// Path is the file that names it, relative to the root; Line is where, from 1; 0 if not known.
	Path string `json:"path,omitempty"`
	Line int    `json:"line,omitempty"`
	// Licenses are SPDX expressions, or what the package says where that is none.
	Licenses []string `json:"licenses,omitempty"`
	// Relation says whether the project names the package itself.
	Relation Relation `json:"relation,omitempty"`
	// Dev says that it serves development or tests only.
	Dev bool `json:"dev,omitempty"`
	// DependsOn are the PURLs that it needs, as far as the file says.
	DependsOn []string `json:"depends_on,omitempty"`
	// Layer is the digest of the image layer that brought it; Instruction is what made the layer.
	Layer       string `json:"layer,omitempty"`
	Instruction string `json:"instruction,omitempty"`
	// BaseImage names the base image if the layer is one of its: "debian:12".
	BaseImage string `json:"base_image,omitempty"`
	// Digests are of the package's own archive, "sha256:…", as the file says.
	Digests []string `json:"digests,omitempty"`
	// FoundBy names the extractor.
	FoundBy string `json:"found_by,omitempty"`
}

// Relation is how a project needs a package.
type Relation string

// The relations. The empty one stands for not known.
const (
	Direct     Relation = "direct"
	Transitive Relation = "transitive"
	Root       Relation = "root" // the project itself
)

// Inventory is the packages of one target, sorted by PURL, path and line, each once.
type Inventory struct {
	Target   string // what was scanned, as the user named it
	Asset    string // id
	Packages []Package
}

// Sort brings the packages in order and takes out those that are there twice.
func (i *Inventory) Sort() {
	slices.SortFunc(i.Packages, func(a, b Package) int {
		return cmp.Or(cmp.Compare(a.PURL, b.PURL), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Layer, b.Layer), cmp.Compare(a.Ecosystem, b.Ecosystem), cmp.Compare(a.Name, b.Name),
			cmp.Compare(a.Version, b.Version), cmp.Compare(a.FoundBy, b.FoundBy),
			cmp.Compare(strings.Join(a.DependsOn, " "), strings.Join(b.DependsOn, " ")))
	})
	i.Packages = slices.CompactFunc(i.Packages, func(a, b Package) bool {
		return a.PURL == b.PURL && a.Path == b.Path && a.Line == b.Line && a.Layer == b.Layer &&
			a.Ecosystem == b.Ecosystem && a.Name == b.Name && a.Version == b.Version
	})
}

// An Extractor says which packages a file names. It is safe for concurrent use.
type Extractor interface {
	Name() string
	// Wants is asked before a file is read; info may be nil.
	Wants(path string, info fs.FileInfo) bool
	// Extract returns the packages. It fills in all it knows but Layer and Instruction. An error says that the file
	// could not be judged; the packages with it count.
	Extract(ctx context.Context, f *File) ([]Package, error)
}

// A Settler is an extractor that looks at the whole inventory, sorted, before anybody else does: what two files say of one package, it
// says once. It may take out and change packages, not add any.
type Settler interface {
	Settle(inv *Inventory)
}

// A Matcher judges an inventory: for known vulnerabilities, for licences.
//
// Match calls report for each finding before it returns, with Location.Path and Line set. An error says that
// it could not be judged as a whole; the run goes on and counts it.
type Matcher interface {
	Name() string
	Match(ctx context.Context, inv *Inventory, report Report) error
}
