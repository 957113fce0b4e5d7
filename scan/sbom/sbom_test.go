package sbom

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/tagvalue"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/scan"
)

func sample() *scan.Inventory {
	inv := &scan.Inventory{Target: "shop <&>", Packages: []scan.Package{
		{PURL: "pkg:npm/shop@1.0.0", Ecosystem: "npm", Name: "shop", Version: "1.0.0", Path: "package-lock.json", Line: 2, Relation: scan.Root, DependsOn: []string{"pkg:npm/express@4.18.2"}, FoundBy: "x"},
		{PURL: "pkg:npm/express@4.18.2", Ecosystem: "npm", Name: "express", Version: "4.18.2", Path: "package-lock.json", Line: 12, Licenses: []string{"MIT"}, Relation: scan.Direct,
			DependsOn: []string{"pkg:npm/%40scope/thing@1.2.3"}, Digests: []string{"sha1:3ff63d856ef266be84040265f599f9a6f2c63325"}, FoundBy: "x"},
		{PURL: "pkg:npm/%40scope/thing@1.2.3", Ecosystem: "npm", Name: "@scope/thing", Version: "1.2.3", Path: "package-lock.json", Line: 22, Licenses: []string{"Apache-2.0 OR MIT", "see LICENSE"}, Relation: scan.Transitive, Dev: true},
		{PURL: "pkg:deb/debian/libssl3@3.0.11-1~deb12u2?arch=amd64&distro=debian-12", Ecosystem: "Debian:12", Name: "libssl3", Version: "3.0.11-1~deb12u2", Source: "openssl", SourceVersion: "3.0.11-1~deb12u2",
			Path: "var/lib/dpkg/status", Line: 1, Licenses: []string{"Apache-2.0 OR GPL-2.0-or-later"}, Layer: "sha256:ab", Instruction: "RUN apt-get install <x>", BaseImage: "debian:12"},
		{PURL: "pkg:maven/org.slf4j/slf4j-api@2.0.9", Ecosystem: "Maven", Name: "org.slf4j:slf4j-api", Version: "2.0.9", Path: "a/pom.xml"},
		{PURL: "pkg:maven/org.slf4j/slf4j-api@2.0.9", Ecosystem: "Maven", Name: "org.slf4j:slf4j-api", Version: "2.0.9", Path: "b/pom.xml"},
		{PURL: "pkg:cocoapods/AFNetworking@4.0.1", Name: "AFNetworking", Version: "4.0.1", Path: "Podfile.lock"},
	}}
	inv.Sort()
	return inv
}

var when = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func write(t testing.TB, inv *scan.Inventory, f Format) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, inv, WriteOptions{Format: f, Time: when, Version: "1.2.3"}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRoundTrip(t *testing.T) {
	for _, f := range Formats() {
		t.Run(string(f), func(t *testing.T) {
			text := write(t, sample(), f)
			if again := write(t, sample(), f); !bytes.Equal(text, again) {
				t.Error("not deterministic")
			}
			got, err := Read(bytes.NewReader(text), DefaultLimits())
			if err != nil {
				t.Fatalf("%v in\n%s", err, text)
			}
			if diff := cmp.Diff(sample(), got, cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
			other := sample()
			other.Packages[0].Version += "1"
			if bytes.Contains(write(t, other, f), []byte(newDocument(sample(), WriteOptions{Time: when, Version: "1.2.3"}).serial)) {
				t.Error("the serial number does not tell contents apart")
			}
		})
	}
}

// TestOthersRead holds what is written to the libraries of the two standards.
func TestOthersRead(t *testing.T) {
	for _, f := range Formats() {
		text := write(t, sample(), f)
		var n int
		var err error
		switch {
		case strings.HasPrefix(string(f), "cyclonedx"):
			kind := cdx.BOMFileFormatJSON
			if strings.HasSuffix(string(f), "xml") {
				kind = cdx.BOMFileFormatXML
			}
			var bom cdx.BOM
			if err = cdx.NewBOMDecoder(bytes.NewReader(text), kind).Decode(&bom); err == nil {
				n = len(*bom.Components)
				if len(*bom.Dependencies) != 8 || bom.Metadata.Component.Name != "shop <&>" {
					t.Errorf("%s: %+v", f, bom.Metadata.Component)
				}
			}
		case f == SPDXJSON:
			doc, e := spdxjson.Read(bytes.NewReader(text))
			if err = e; err == nil {
				n = len(doc.Packages)
			}
		default:
			doc, e := tagvalue.Read(bytes.NewReader(text))
			if err = e; err == nil {
				n = len(doc.Packages)
			}
		}
		if err != nil || n != 7 {
			t.Errorf("%s: %d packages, %v\n%s", f, n, err, text)
		}
	}
}

func TestCorpus(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(require.Corpora(t), "cyclonedx", "1.[56]", "*.json"))
	if err != nil || len(files) < 50 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Read(bytes.NewReader(text), DefaultLimits())
		name := filepath.Base(file)
		switch valid := strings.HasPrefix(name, "valid-"); {
		case valid && err != nil:
			t.Errorf("%s: %v", name, err)
		case !valid && err == nil:
			t.Errorf("%s: no error", name)
		case !valid && err != nil:
			t.Logf("%s: %v", name, err)
		}
	}
}

func TestDiff(t *testing.T) {
	a := &scan.Inventory{Packages: []scan.Package{
		{PURL: "pkg:npm/up@1.9.0", Ecosystem: "npm", Name: "up", Version: "1.9.0", Licenses: []string{"MIT"}},
		{PURL: "pkg:npm/down@2.0.0", Ecosystem: "npm", Name: "down", Version: "2.0.0"},
		{PURL: "pkg:npm/gone@1.0.0", Ecosystem: "npm", Name: "gone", Version: "1.0.0"},
		{PURL: "pkg:npm/same@1.0.0", Ecosystem: "npm", Name: "same", Version: "1.0.0", Licenses: []string{"MIT"}},
		{PURL: "pkg:npm/two@1.0.0", Ecosystem: "npm", Name: "two", Version: "1.0.0"},
		{PURL: "pkg:npm/two@2.0.0", Ecosystem: "npm", Name: "two", Version: "2.0.0"},
	}}
	b := &scan.Inventory{Packages: []scan.Package{
		{PURL: "pkg:npm/up@1.10.0", Ecosystem: "npm", Name: "up", Version: "1.10.0", Licenses: []string{"GPL-3.0-only"}},
		{PURL: "pkg:npm/down@1.0.0", Ecosystem: "npm", Name: "down", Version: "1.0.0"},
		{PURL: "pkg:npm/new@1.0.0", Ecosystem: "npm", Name: "new", Version: "1.0.0"},
		{PURL: "pkg:npm/same@1.0.0", Ecosystem: "npm", Name: "same", Version: "1.0.0", Licenses: []string{"ISC"}},
		{PURL: "pkg:npm/two@2.0.0", Ecosystem: "npm", Name: "two", Version: "2.0.0"},
	}}
	want := []Change{
		{Downgraded, "pkg:npm/down", "down", "2.0.0", "1.0.0"}, {Removed, "pkg:npm/gone", "gone", "1.0.0", ""}, {Added, "pkg:npm/new", "new", "", "1.0.0"},
		{Licensed, "pkg:npm/same", "same", "MIT", "ISC"}, {Removed, "pkg:npm/two", "two", "1.0.0", ""},
		{Licensed, "pkg:npm/up", "up", "MIT", "GPL-3.0-only"}, {Upgraded, "pkg:npm/up", "up", "1.9.0", "1.10.0"},
	}
	if diff := cmp.Diff(want, Diff(a, b)); diff != "" {
		t.Error(diff)
	}
	if got := Diff(a, a); len(got) != 0 {
		t.Error(got)
	}
	var table bytes.Buffer
	if err := WriteTable(&table, want); err != nil || !strings.Contains(table.String(), "upgraded         pkg:npm/up    1.9.0  1.10.0") {
		t.Errorf("%v\n%s", err, table.String())
	}
	if m := Merge(a, b); len(m.Packages) != 9 {
		t.Errorf("%d packages", len(m.Packages))
	}
}

// repeated is a long document that is never in memory.
type repeated struct {
	head, part, tail string
	n, at            int
	left             string
}

func (r *repeated) Read(p []byte) (int, error) {
	for r.left == "" {
		switch {
		case r.at == 0:
			r.left = r.head
		case r.at <= r.n:
			r.left = strings.ReplaceAll(r.part, "#", fmt.Sprint(r.at))
		case r.at == r.n+1:
			r.left = r.tail
		default:
			return 0, io.EOF
		}
		r.at++
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}

// TestLarge reads 200 MB.
func TestLarge(t *testing.T) {
	if testing.Short() {
		return
	}
	n := 50_000 / require.Stride(10)
	pad := strings.Repeat("x", 4000)
	doc := &repeated{head: `{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"type":"library","name":"first"}`, tail: "]}", n: n,
		part: `,{"type":"library","bom-ref":"#","name":"p#","version":"1","purl":"pkg:npm/p#@1","description":"` + pad + `"}`}
	inv, err := Read(doc, DefaultLimits())
	if err != nil || len(inv.Packages) != n+1 {
		t.Fatal(err)
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if m.HeapAlloc > 200<<20 || m.Sys > 800<<20 {
		t.Errorf("%d MB in use, %d MB of the system", m.HeapAlloc>>20, m.Sys>>20)
	}
	runtime.KeepAlive(inv)
}

func TestBounds(t *testing.T) {
	l := Limits{Bytes: 10 << 20, Packages: 5, Element: 1 << 20}
	for want, doc := range map[string]io.Reader{
		"larger than 10 MiB":         &repeated{head: `{"bomFormat":"CycloneDX","x":[0`, part: ",#00000000000", n: 5_000_000, tail: "]}"},
		"an element is larger":       strings.NewReader(`{"components":[{"name":"` + strings.Repeat("x", 3<<20) + `"}]}`),
		"more than 5 packages":       &repeated{head: `{"bomFormat":"CycloneDX","components":[{"type":"library","name":"a"}`, part: `,{"type":"library","name":"a#"}`, n: 9, tail: "]}"},
		"nested deeper":              strings.NewReader(`{"components":[` + strings.Repeat(`{"type":"library","name":"a","components":[`, 100) + strings.Repeat("]}", 100) + "]}"),
		"the limit is 1024":          strings.NewReader(`{"components":[{"type":"library","name":"` + strings.Repeat("x", 2000) + `"}]}`),
		"a document type is not":     strings.NewReader(`<!DOCTYPE bom [<!ENTITY a "b">]><bom xmlns="http://cyclonedx.org/schema/bom/1.6"/>`),
		"bomFormat":                  strings.NewReader(`{}`),
		"neither CycloneDX nor SPDX": strings.NewReader("\x1b[31m"),
		"SPDX 2 is read":             strings.NewReader("SPDXVersion: SPDX-3.0\n"),
		"elements nested":            strings.NewReader(`<bom xmlns="http://cyclonedx.org/schema/bom/1.6">` + strings.Repeat("<a>", 100)),
		"unexpected EOF":             strings.NewReader(`<bom xmlns="http://cyclonedx.org/schema/bom/1.6"><components>`),
		"unexpected EOF, no root":    strings.NewReader("<?xml version=\"1.0\"?>\n<!-- nothing -->\n"),
	} {
		if _, err := Read(doc, l); err == nil || !strings.Contains(err.Error(), want) && !strings.Contains(err.Error(), "EOF") {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestOthersURLs(t *testing.T) {
	for purl, want := range map[string]string{
		"pkg:deb/debian/curl@7.88.1-10?arch=amd64&distro=debian-12.5": "Debian:12 curl 7.88.1-10", "pkg:deb/ubuntu/curl@7.81.0-1?distro=ubuntu-22.04": "Ubuntu:22.04:LTS curl 7.81.0-1",
		"pkg:apk/alpine/musl@1.2.4?distro=alpine-3.18.4": "Alpine:v3.18 musl 1.2.4", "pkg:rpm/rocky/openssl@3.0.7-24.el9?epoch=1&distro=rocky-9.3": "Rocky Linux:9 openssl 1:3.0.7-24.el9",
		"pkg:golang/github.com/a/b@v1.2.3": "Go github.com/a/b 1.2.3", "pkg:maven/org.slf4j/slf4j-api@2.0": "Maven org.slf4j:slf4j-api 2.0", "pkg:npm/%40babel/core@7.0.0": "npm @babel/core 7.0.0",
		"pkg:cargo/time@0.1": "crates.io time 0.1", "pkg:generic/x@1": " x 1", "pkg:deb/debian/curl@1?distro=bookworm": "Debian:12 curl 1",
	} {
		p := scan.Package{PURL: purl, Name: "x"}
		complete(&p)
		if got := p.Ecosystem + " " + p.Name + " " + p.Version; got != want {
			t.Errorf("%s: %q, want %q", purl, got, want)
		}
	}
}

func TestExtractor(t *testing.T) {
	x := NewExtractor(DefaultLimits(), false)
	if !x.Wants("a/bom.json", nil) || !x.Wants("x.CDX.json", nil) || x.Wants("package.json", nil) || !NewExtractor(DefaultLimits(), true).Wants("any", nil) {
		t.Error("wants")
	}
	got, err := x.Extract(context.Background(), &scan.File{Path: "in/bom.json", Data: write(t, sample(), CycloneDX16JSON)})
	if err != nil || len(got) == 0 || got[0].Path != "in/bom.json" {
		t.Errorf("%+v, %v", got, err)
	}
}

// FuzzRead wants that whatever is read can be written and read again with the same packages.
func FuzzRead(f *testing.F) {
	for _, format := range Formats() {
		f.Add(write(f, sample(), format))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		inv, err := Read(bytes.NewReader(data), Limits{Bytes: 1 << 20, Packages: 1000, Element: 1 << 18})
		if err != nil {
			return
		}
		for _, format := range Formats() {
			again, err := Read(bytes.NewReader(write(t, inv, format)), DefaultLimits())
			if err != nil {
				t.Fatalf("%s: %v", format, err)
			}
			if len(again.Packages) > len(inv.Packages) {
				t.Fatalf("%s: %d packages of %d", format, len(again.Packages), len(inv.Packages))
			}
		}
	})
}
