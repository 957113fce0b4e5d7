package inventory

import (
	"io/fs"
	"path"
	"strings"

	cpb "github.com/google/osv-scalibr/binary/proto/config_go_proto"
	"github.com/google/osv-scalibr/extractor/filesystem"
	"github.com/google/osv-scalibr/extractor/filesystem/language/cpp/conanlock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/dart/pubspec"
	"github.com/google/osv-scalibr/extractor/filesystem/language/dotnet/depsjson"
	"github.com/google/osv-scalibr/extractor/filesystem/language/dotnet/packagesconfig"
	"github.com/google/osv-scalibr/extractor/filesystem/language/dotnet/packageslockjson"
	"github.com/google/osv-scalibr/extractor/filesystem/language/dotnet/paketlock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/elixir/mixlock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/golang/gobinary"
	"github.com/google/osv-scalibr/extractor/filesystem/language/golang/gomod"
	"github.com/google/osv-scalibr/extractor/filesystem/language/golang/vendormodules"
	"github.com/google/osv-scalibr/extractor/filesystem/language/haskell/cabal"
	"github.com/google/osv-scalibr/extractor/filesystem/language/haskell/stacklock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/java/archive"
	"github.com/google/osv-scalibr/extractor/filesystem/language/java/gradlelockfile"
	"github.com/google/osv-scalibr/extractor/filesystem/language/java/gradleverificationmetadataxml"
	"github.com/google/osv-scalibr/extractor/filesystem/language/java/pomxml"
	"github.com/google/osv-scalibr/extractor/filesystem/language/javascript/packagejson"
	"github.com/google/osv-scalibr/extractor/filesystem/language/javascript/pnpmlock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/javascript/yarnlock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/julia/manifesttoml"
	"github.com/google/osv-scalibr/extractor/filesystem/language/lua/luarocks"
	"github.com/google/osv-scalibr/extractor/filesystem/language/nim/nimble"
	"github.com/google/osv-scalibr/extractor/filesystem/language/ocaml/opam"
	"github.com/google/osv-scalibr/extractor/filesystem/language/perl/cpan"
	"github.com/google/osv-scalibr/extractor/filesystem/language/python/condameta"
	"github.com/google/osv-scalibr/extractor/filesystem/language/python/pdmlock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/python/pipfilelock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/python/poetrylock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/python/pylock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/python/requirements"
	"github.com/google/osv-scalibr/extractor/filesystem/language/python/setup"
	"github.com/google/osv-scalibr/extractor/filesystem/language/python/uvlock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/python/wheelegg"
	"github.com/google/osv-scalibr/extractor/filesystem/language/r/renvlock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/ruby/gemfilelock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/ruby/gemspec"
	"github.com/google/osv-scalibr/extractor/filesystem/language/rust/cargolock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/swift/packageresolved"
	"github.com/google/osv-scalibr/extractor/filesystem/language/swift/podfilelock"
	"github.com/google/osv-scalibr/extractor/filesystem/misc/githubactions"
	"github.com/google/osv-scalibr/extractor/filesystem/misc/wordpress/plugins"
	"github.com/google/osv-scalibr/extractor/filesystem/os/apk"
	"github.com/google/osv-scalibr/extractor/filesystem/os/cos"
	"github.com/google/osv-scalibr/extractor/filesystem/os/dpkg"
	"github.com/google/osv-scalibr/extractor/filesystem/os/flatpak"
	"github.com/google/osv-scalibr/extractor/filesystem/os/homebrew"
	"github.com/google/osv-scalibr/extractor/filesystem/os/macports"
	"github.com/google/osv-scalibr/extractor/filesystem/os/pacman"
	"github.com/google/osv-scalibr/extractor/filesystem/os/portage"
	"github.com/google/osv-scalibr/extractor/filesystem/os/rpm"
	"github.com/google/osv-scalibr/extractor/filesystem/os/snap"
)

// size says which limit a file has.
type size uint8

const (
	manifest size = iota // read whole
	artifact             // read in places: programs, archives, databases
)

// A format is one kind of file that names packages.
type format struct {
	name string // "javascript/yarnlock"
	// names and suffixes are what the path ends with; a suffix begins at a dot, but for folders. prefixes are folders at the root.
	names, suffixes, prefixes []string
	program                   bool // executables
	loose                     bool // within says it all: scalibr's own rule is narrower
	size                      size
	yaml                      bool // held to checkYAML before others parse it
	// within, if not nil, narrows it down.
	within func(path string) bool

	make func(*cpb.PluginConfig) (filesystem.Extractor, error)
	// graph says what the lockfile knows of relations, licences and digests. Where make is nil it is all there is, and where
	// purlType is set it stands in for an extractor that fails.
	graph func(*input) (*graph, error)
	// purlType and ecosystem are those of the packages of graph alone.
	purlType, ecosystem string
}

// Formats returns the names of all kinds of files that are known.
func Formats() []string {
	var out []string
	for _, f := range formats() {
		out = append(out, f.name)
	}
	return out
}

func notInModules(p string) bool {
	return !strings.HasPrefix(p, "node_modules/") && !strings.Contains(p, "/node_modules/")
}

// ownWorkflow tells those that run from those that came along with a module.
func ownWorkflow(p string) bool { return strings.Contains(p, ".github/workflows/") && notInModules(p) }

func contains(part string) func(string) bool {
	return func(p string) bool { return strings.Contains(p, part) }
}

func formats() []*format {
	return []*format{
		{name: "go/gomod", names: []string{"go.mod"}, make: gomod.New, graph: goModGraph},
		{name: "go/vendor", names: []string{"modules.txt"}, within: func(p string) bool { return p == "vendor/modules.txt" || strings.HasSuffix(p, "/vendor/modules.txt") }, make: vendormodules.New},
		{name: "go/binary", program: true, size: artifact, make: gobinary.New},
		{name: "rust/auditable", program: true, size: artifact, graph: auditGraph, purlType: "cargo", ecosystem: "crates.io"},
		{name: "rust/cargolock", names: []string{"Cargo.lock"}, make: cargolock.New, graph: cargoGraph},

		{name: "javascript/packagejson", names: []string{"package.json"}, make: packagejson.New, graph: packageJSONGraph, purlType: "npm", ecosystem: "npm"},
		{name: "javascript/packagelockjson", names: []string{"package-lock.json", "npm-shrinkwrap.json"}, within: notInModules, graph: npmGraph, purlType: "npm", ecosystem: "npm"},
		{name: "javascript/pnpmlock", yaml: true, names: []string{"pnpm-lock.yaml"}, within: notInModules, make: pnpmlock.New, graph: pnpmGraph},
		{name: "javascript/yarnlock", names: []string{"yarn.lock"}, within: notInModules, make: yarnlock.New, graph: yarnGraph},
		{name: "javascript/bunlock", names: []string{"bun.lock"}, within: notInModules, graph: bunGraph, purlType: "npm", ecosystem: "npm"},

		{name: "python/requirements", suffixes: []string{".txt"}, within: func(p string) bool { return strings.Contains(path.Base(p), "requirements") }, make: requirements.New, graph: requirementsGraph, purlType: "pypi", ecosystem: "PyPI"},
		{name: "python/pipfilelock", names: []string{"Pipfile.lock"}, make: pipfilelock.New, graph: pipfileGraph},
		{name: "python/poetrylock", names: []string{"poetry.lock"}, make: poetrylock.New, graph: poetryGraph},
		{name: "python/uvlock", names: []string{"uv.lock"}, make: uvlock.New, graph: uvGraph},
		{name: "python/pdmlock", names: []string{"pdm.lock"}, make: pdmlock.New, graph: pdmGraph},
		{name: "python/pylock", names: []string{"pylock.toml"}, suffixes: []string{".toml"}, within: func(p string) bool { return strings.HasPrefix(path.Base(p), "pylock.") }, make: pylock.New, graph: pylockGraph},
		{name: "python/setup", names: []string{"setup.py"}, make: setup.New},
		{name: "python/metadata", names: []string{"METADATA", "PKG-INFO"}, suffixes: []string{".egg-info"}, within: isPythonMetadata, make: wheelegg.New, graph: metadataGraph},
		{name: "python/archive", suffixes: []string{".whl", ".egg"}, size: artifact, graph: wheelGraph, purlType: "pypi", ecosystem: "PyPI"},
		{name: "python/conda", suffixes: []string{".json"}, within: contains("conda-meta/"), loose: true, make: condameta.New, graph: condaGraph},

		{name: "java/pom", names: []string{"pom.xml"}, suffixes: []string{".pom"}, make: pomxml.New},
		{name: "java/archive", suffixes: []string{".jar", ".war", ".ear", ".jmod", ".par", ".sar", ".jpi", ".hpi", ".lpkg", ".nar"}, size: artifact, make: archive.New, graph: jarGraph},
		{name: "java/gradlelockfile", names: []string{"gradle.lockfile", "buildscript-gradle.lockfile"}, make: gradlelockfile.New, graph: gradleGraph},
		{name: "java/gradleverification", names: []string{"verification-metadata.xml"}, within: contains("gradle/verification-metadata.xml"), make: gradleverificationmetadataxml.New},

		{name: "ruby/gemfilelock", names: []string{"Gemfile.lock", "gems.locked"}, make: gemfilelock.New, graph: gemfileGraph},
		{name: "ruby/gemspec", suffixes: []string{".gemspec"}, make: gemspec.New, graph: gemspecGraph},
		{name: "php/composerlock", names: []string{"composer.lock"}, graph: composerGraph, purlType: "composer", ecosystem: "Packagist"},
		{name: "php/wordpress", suffixes: []string{".php"}, within: contains("wp-content/plugins/"), make: plugins.New},
		{name: "dotnet/packageslock", names: []string{"packages.lock.json"}, make: packageslockjson.New, graph: nugetGraph},
		{name: "dotnet/packagesconfig", names: []string{"packages.config"}, make: packagesconfig.New},
		{name: "dotnet/depsjson", suffixes: []string{".json"}, within: func(p string) bool { return strings.HasSuffix(p, ".deps.json") }, make: depsjson.New},
		{name: "dotnet/paketlock", names: []string{"paket.lock"}, make: paketlock.New},

		{name: "dart/pubspec", yaml: true, names: []string{"pubspec.lock"}, make: pubspec.New, graph: pubGraph},
		{name: "elixir/mixlock", names: []string{"mix.lock"}, make: mixlock.New},
		{name: "haskell/cabal", names: []string{"cabal.project.freeze"}, make: cabal.New},
		{name: "haskell/stack", yaml: true, names: []string{"stack.yaml.lock"}, make: stacklock.New},
		{name: "r/renvlock", names: []string{"renv.lock"}, make: renvlock.New},
		{name: "swift/packageresolved", names: []string{"Package.resolved"}, make: packageresolved.New},
		{name: "swift/podfilelock", yaml: true, names: []string{"Podfile.lock"}, make: podfilelock.New},
		{name: "cpp/conanlock", names: []string{"conan.lock"}, make: conanlock.New},
		{name: "julia/manifest", names: []string{"Manifest.toml"}, make: manifesttoml.New},
		{name: "nim/nimble", suffixes: []string{".nimble"}, make: nimble.New},
		{name: "lua/luarocks", suffixes: []string{".rockspec"}, make: luarocks.New},
		{name: "ocaml/opam", suffixes: []string{".install"}, names: []string{"install"}, within: contains(".opam-switch/install"), make: opam.New},
		{name: "perl/cpan", yaml: true, names: []string{"META.json", "META.yml"}, within: contains("/.cpan"), make: cpan.New},
		{name: "misc/githubactions", yaml: true, suffixes: []string{".yml", ".yaml"}, within: ownWorkflow, make: githubactions.New},

		{name: "os/dpkg", names: []string{"status"}, prefixes: []string{"var/lib/dpkg/status.d/"}, make: dpkg.New, graph: dpkgGraph},
		{name: "os/apk", names: []string{"installed"}, within: contains("lib/apk/db/installed"), make: apk.New},
		{name: "os/rpm", names: []string{"Packages", "Packages.db", "rpmdb.sqlite"}, size: artifact, within: contains("/rpm/"), make: rpm.New},
		{name: "os/pacman", names: []string{"desc"}, within: contains("var/lib/pacman/local/"), make: pacman.New, graph: pacmanGraph},
		{name: "os/portage", names: []string{"PF"}, within: contains("var/db/pkg/"), make: portage.New, graph: portageGraph},
		{name: "os/cos", names: []string{"cos-package-info.json"}, make: cos.New},
		{name: "os/snap", yaml: true, names: []string{"snap.yaml"}, make: snap.New},
		{name: "os/flatpak", suffixes: []string{".xml"}, within: func(p string) bool { return strings.HasSuffix(p, "metainfo.xml") }, make: flatpak.New},
		{name: "os/homebrew", names: []string{"INSTALL_RECEIPT.json", "source.properties"}, suffixes: []string{".sh", ".app"}, within: func(p string) bool {
			p = strings.ToLower(p)
			return strings.Contains(p, "cellar/") || strings.Contains(p, "caskroom/")
		}, make: homebrew.New},
		{name: "os/macports", names: []string{"Portfile"}, make: macports.New},
	}
}

func isPythonMetadata(p string) bool {
	return strings.HasSuffix(p, ".dist-info/METADATA") || strings.HasSuffix(p, "EGG-INFO/PKG-INFO") || strings.HasSuffix(p, ".egg-info/PKG-INFO") || strings.HasSuffix(p, ".egg-info")
}

// table finds the formats that a path may be of by its last name and by its extension, so that a file which is none costs two
// look-ups.
type table struct {
	names, suffixes map[string][]*reader
	prefixes        []prefixed
	programs        []*reader
}

type prefixed struct {
	prefix string
	reader *reader
}

func newTable(readers []*reader) *table {
	t := &table{names: map[string][]*reader{}, suffixes: map[string][]*reader{}}
	for _, r := range readers {
		for _, n := range r.names {
			t.names[n] = append(t.names[n], r)
		}
		for _, s := range r.suffixes {
			t.suffixes[s] = append(t.suffixes[s], r)
		}
		for _, p := range r.prefixes {
			t.prefixes = append(t.prefixes, prefixed{p, r})
		}
		if r.program {
			t.programs = append(t.programs, r)
		}
	}
	return t
}

// find calls yield for each reader that takes the file, until it returns false.
func (t *table) find(at string, info fs.FileInfo, yield func(*reader) bool) {
	base := at[strings.LastIndexByte(at, '/')+1:]
	for _, r := range t.names[base] {
		if r.takes(at, info) && !yield(r) {
			return
		}
	}
	ext := ""
	if dot := strings.LastIndexByte(base, '.'); dot >= 0 {
		ext = base[dot:]
		list := t.suffixes[ext]
		if list == nil && isUpper(ext) {
			list = t.suffixes[strings.ToLower(ext)]
		}
		for _, r := range list {
			if !named(r, base) && r.takes(at, info) && !yield(r) {
				return
			}
		}
	}
	for _, p := range t.prefixes {
		if strings.HasPrefix(at, p.prefix) && !named(p.reader, base) && p.reader.takes(at, info) && !yield(p.reader) {
			return
		}
	}
	if len(t.programs) > 0 && maybeProgram(base, ext, info) {
		for _, r := range t.programs {
			if !yield(r) {
				return
			}
		}
	}
}

// named reports whether the reader was found by its name already.
func named(r *reader, base string) bool {
	for _, n := range r.names {
		if n == base {
			return true
		}
	}
	return false
}

func isUpper(s string) bool {
	for _, c := range []byte(s) {
		if 'A' <= c && c <= 'Z' {
			return true
		}
	}
	return false
}

// maybeProgram tells files that can be programs: by the execute permission, or by the name where that is not known or not there to be
// had. What is in them is looked at when they are read.
func maybeProgram(base, ext string, info fs.FileInfo) bool {
	switch ext {
	case ".exe", ".dll", ".elf", ".bin", ".so":
		return true
	case ".sh", ".py", ".pl", ".rb", ".js", ".go", ".c", ".h", ".json", ".md", ".txt", ".xml", ".yml", ".yaml", ".html", ".ts", ".map", ".css", ".php", ".lua", ".jar", ".gz":
		return false
	}
	if info == nil {
		return ext == "" && !strings.HasPrefix(base, ".")
	}
	return info.Mode()&0o111 != 0 && info.Size() > 1024
}
