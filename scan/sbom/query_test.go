package sbom_test

import (
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/scan/sbom"
)

func TestQuery(t *testing.T) {
	npm := func(name, version string) scan.Package {
		return scan.Package{PURL: "pkg:npm/" + strings.Replace(name, "@", "%40", 1) + "@" + version, Ecosystem: "npm", Name: name, Version: version}
	}
	deb := scan.Package{PURL: "pkg:deb/debian/openssl@3.0.11-1~deb12u2?arch=amd64", Ecosystem: "Debian:12", Name: "openssl", Version: "3.0.11-1~deb12u2"}
	pip := scan.Package{PURL: "pkg:pypi/ruamel-yaml@0.17", Ecosystem: "PyPI", Name: "ruamel.yaml", Version: "0.17"}
	golang := scan.Package{PURL: "pkg:golang/golang.org/x/net@v0.9.0", Ecosystem: "Go", Name: "golang.org/x/net", Version: "0.9.0"}
	odd := scan.Package{PURL: "pkg:generic/thing@blue", Name: "thing", Version: "blue"}
	for _, c := range []struct {
		query string
		p     scan.Package
		match bool
		sure  bool
	}{
		{"pkg:npm/lodash@<4.17.21", npm("lodash", "4.17.20"), true, true},
		{"pkg:npm/lodash@<4.17.21", npm("lodash", "4.17.21"), false, true},
		{"pkg:npm/lodash@<4.17.21", npm("lodash", "4.9.0"), true, true}, // not by letters
		{"pkg:npm/lodash@%3C4.17.21", npm("lodash", "4.9.0"), true, true},
		{"pkg:npm/lodash", npm("lodash", "1"), true, true},
		{"pkg:npm/lodash", npm("lodash.get", "1"), false, true},
		{"pkg:npm/lodash@4.17.20", npm("lodash", "4.17.20"), true, true},
		{"pkg:npm/lodash@=4.17.20", npm("lodash", "4.17.2"), false, true},
		{"pkg:npm/lodash@>=4 <4.17.21", npm("lodash", "4.0.0"), true, true},
		{"pkg:npm/lodash@>= 4, < 4.17.21", npm("lodash", "3.9.0"), false, true},
		{"pkg:npm/@babel/core@<8", npm("@babel/core", "7.1.0"), true, true},
		{"pkg:npm/%40babel/core@<8", npm("@babel/core", "7.1.0"), true, true},
		{"pkg:npm/@babel/core", npm("@babel/core", "7.1.0"), true, true},
		{"pkg:deb/debian/openssl@<3.0.11-1", deb, true, true}, // a tilde sorts before the end
		{"pkg:deb/debian/openssl@>3.0.11-1", deb, false, true},
		{"pkg:pypi/Ruamel_Yaml@>=0.17.0", pip, true, true},
		{"pkg:golang/golang.org/x/net@<v0.17.0", golang, true, true},
		{"pkg:generic/thing@<red", odd, false, false},
		{"pkg:generic/thing@blue", odd, true, true},
		{"dash", npm("lodash", "1"), true, true},
		{"LoDash", npm("lodash", "1"), true, true},
	} {
		q, err := sbom.ParseQuery(c.query)
		if err != nil {
			t.Errorf("%s: %v", c.query, err)
			continue
		}
		if match, sure := q.Match(&c.p); match != c.match || sure != c.sure {
			t.Errorf("%s of %s: %v %v, want %v %v", c.query, c.p.PURL, match, sure, c.match, c.sure)
		}
	}
	for query, want := range map[string]string{
		"":                       "nothing to look for",
		"pkg:npm":                "no package URL",
		"pkg:/x":                 "no package URL",
		"pkg:npm/lodash@<":       "< has no version",
		"pkg:npm/lodash@< >1":    "< has no version",
		"pkg:npm/lodash@>1<2":    "put spaces between",
		strings.Repeat("x", 600): "600 bytes",
	} {
		if _, err := sbom.ParseQuery(query); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", query, err, want)
		}
	}
}

func FuzzQuery(f *testing.F) {
	f.Add("pkg:npm/lodash@<4.17.21", "npm", "4.17.20")
	f.Add("pkg:deb/debian/openssl@>=1:2 <3", "Debian:12", "1:2-3~x")
	f.Add("pkg:pypi/a@b@%zz", "PyPI", "\x00")
	f.Fuzz(func(t *testing.T, query, ecosystem, version string) {
		q, err := sbom.ParseQuery(query)
		if err != nil {
			return
		}
		q.Match(&scan.Package{PURL: query, Ecosystem: ecosystem, Name: query, Version: version})
		q.MatchVersion(ecosystem, version)
	})
}
