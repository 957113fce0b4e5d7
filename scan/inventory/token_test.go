package inventory

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/fstest"
)

// TestTokens: a URL with a password, which lockfiles hold where a package comes from a repository, shows up nowhere in the inventory.
func TestTokens(t *testing.T) {
	const url = "https://user:s3cr3tT0k3n@example.com/own/thing.git"
	// What a parser of others cannot read it may repeat.
	broken := strings.ReplaceAll("lockfileVersion: 5.3\npackages:\n  git+URL:\n    resolution: {integrity: x}\n", "URL", url)
	if _, err := extract(t, newExtractor(t), fstest.MapFS{}, "pnpm-lock.yaml", []byte(broken)); err != nil && strings.Contains(err.Error(), "s3cr3t") {
		t.Error(err)
	}
	for path, text := range map[string]string{
		"package-lock.json":   `{"lockfileVersion": 1, "dependencies": {"thing": {"version": "git+URL#0123456789012345678901234567890123456789", "from": "git+URL"}, "tar": {"version": "https://user:s3cr3tT0k3n@example.com/tar-1.0.0.tgz"}}}`,
		"a/package-lock.json": `{"lockfileVersion": 3, "packages": {"": {"dependencies": {"thing": "git+URL"}}, "node_modules/thing": {"version": "1.0.0", "resolved": "git+URL#0123"}}}`,
		"package.json":        `{"name": "app", "version": "1.0.0", "dependencies": {"thing": "git+URL"}, "repository": "URL"}`,
		"yarn.lock":           "# yarn lockfile v1\n\n\n\"thing@git+URL\":\n  version \"1.0.0\"\n  resolved \"git+URL#0123456789012345678901234567890123456789\"\n\n\"other@URL\":\n  version \"2.0.0\"\n",
		"b/yarn.lock":         "__metadata:\n  version: 6\n\n\"thing@git+URL\":\n  version: 1.0.0\n  resolution: \"thing@git+URL#commit=0123456789012345678901234567890123456789\"\n  languageName: node\n  linkType: hard\n",
		"pnpm-lock.yaml":      "lockfileVersion: '6.0'\ndependencies:\n  thing:\n    specifier: git+URL\n    version: git@example.com+own/thing/0123456\npackages:\n  git@example.com+own/thing/0123456:\n    resolution: {commit: 0123456, repo: 'URL', type: git}\n    name: thing\n    version: 1.0.0\n    dev: false\n",
		"bun.lock":            `{"lockfileVersion": 1, "workspaces": {"": {"dependencies": {"thing": "git+URL"}}}, "packages": {"thing": ["thing@git+URL#0123", {}, "0123"]}}`,
		"requirements.txt":    "plain==1.0\nthing @ git+URL@main\nother @ https://user:s3cr3tT0k3n@example.com/other-1.0-py3-none-any.whl\n--index-url URL\n-e git+URL#egg=third\n",
		"Pipfile.lock":        `{"_meta": {"sources": [{"url": "URL"}]}, "default": {"thing": {"git": "URL", "ref": "0123"}, "b": {"version": "==1.0", "index": "URL"}}, "develop": {}}`,
		"poetry.lock":         "[[package]]\nname = \"thing\"\nversion = \"1.0\"\n\n[package.source]\ntype = \"git\"\nurl = \"URL\"\nreference = \"main\"\nresolved_reference = \"0123\"\n",
		"uv.lock":             "version = 1\n\n[[package]]\nname = \"thing\"\nversion = \"1.0\"\nsource = { git = \"URL?rev=main#0123\" }\n",
		"pdm.lock":            "[[package]]\nname = \"thing\"\nversion = \"1.0\"\ngit = \"URL\"\nrevision = \"0123\"\n",
		"pylock.toml":         "lock-version = \"1.0\"\n[[packages]]\nname = \"thing\"\nversion = \"1.0\"\nvcs = { type = \"git\", url = \"URL\", commit-id = \"0123\" }\n",
		"Cargo.lock":          "[[package]]\nname = \"thing\"\nversion = \"1.0.0\"\nsource = \"git+URL#0123\"\n",
		"Gemfile.lock":        "GIT\n  remote: URL\n  revision: 0123\n  specs:\n    thing (1.0.0)\n\nGEM\n  remote: URL\n  specs:\n    rake (1.0)\n\nDEPENDENCIES\n  thing!\n",
		"composer.lock":       `{"packages": [{"name": "own/thing", "version": "dev-main", "source": {"type": "git", "url": "URL", "reference": "0123"}, "dist": {"url": "URL"}}]}`,
		"mix.lock":            "%{\n  \"thing\": {:git, \"URL\", \"0123456789012345678901234567890123456789\", []},\n  \"plug\": {:hex, :plug, \"1.11.1\", \"f2992bac66fdae679453c9e86134a4201f6f43a687d8ff1cd1b2862d53c80259\", [:mix], [], \"hexpm\", \"23524e4fefbb587c11f0833b3910bfb414bf2e2534d61928e920f54e3a1b881f\"},\n}\n",
		"pubspec.lock":        "packages:\n  thing:\n    dependency: \"direct main\"\n    description:\n      path: \".\"\n      ref: main\n      resolved-ref: \"0123\"\n      url: \"URL\"\n    source: git\n    version: \"1.0.0\"\n",
		"Podfile.lock":        "PODS:\n  - Thing (1.0.0)\nEXTERNAL SOURCES:\n  Thing:\n    :git: URL\n",
		"Package.resolved":    `{"version": 2, "pins": [{"identity": "thing", "kind": "remoteSourceControl", "location": "URL", "state": {"revision": "0123", "version": "1.0.0"}}]}`,
		"stack.yaml.lock":     "packages:\n- completed:\n    git: URL\n    name: thing\n    version: '1.0'\n    commit: '0123'\n- completed:\n    hackage: fuzzyset-0.2.4@sha256:f1b6de8bf33277bf6255207541d65028f1f1ea93af5541b654c86b5674995485,1618\n  original:\n    hackage: fuzzyset-0.2.4\n",
		"renv.lock":           `{"Packages": {"thing": {"Package": "thing", "Version": "1.0", "Source": "Git", "RemoteUrl": "URL", "Repository": "URL"}, "R6": {"Package": "R6", "Version": "2.5.1", "Source": "Repository", "Repository": "CRAN"}}}`,
		"Manifest.toml":       "manifest_format = \"2.0\"\n[[deps.Thing]]\ngit-tree-sha1 = \"0123\"\nrepo-rev = \"main\"\nrepo-url = \"URL\"\nuuid = \"0123\"\nversion = \"1.0.0\"\n",
		"x.gemspec":           "Gem::Specification.new do |s|\n  s.name = \"thing\"\n  s.version = \"1.0\"\n  s.homepage = \"URL\"\nend\n",
		"pom.xml":             "<project><groupId>g</groupId><artifactId>a</artifactId><version>1</version><dependencies><dependency><groupId>g</groupId><artifactId>thing</artifactId><version>1.0</version></dependency></dependencies><scm><url>URL</url></scm></project>",
		"packages.lock.json":  `{"version": 1, "dependencies": {"net6.0": {"Thing": {"type": "Direct", "requested": "[1.0, )", "resolved": "1.0", "contentHash": "x"}}}}`,
		"conan.lock":          `{"version": "0.5", "requires": ["thing/1.0@user/channel#0123"]}`,
	} {
		text = strings.ReplaceAll(text, "URL", url)
		got, err := extract(t, newExtractor(t), fstest.MapFS{}, path, []byte(text))
		all, _ := json.Marshal(got)
		if len(got) == 0 || err != nil {
			t.Errorf("%s: %d packages, %v", path, len(got), err)
		}
		if strings.Contains(string(all), "s3cr3t") || err != nil && strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s: %s %v", path, all, err)
		}
	}
}
