package sbom

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/spdx/tools-golang/tagvalue"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/internal/spdx"
	"github.com/testudo-sec/testudo/scan"
)

// schemaDir has CycloneDX' own schemas (Apache-2.0), which its Go module brings along.
func schemaDir(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/CycloneDX/cyclonedx-go").Output()
	dir := filepath.Join(strings.TrimSpace(string(out)), "schema")
	if err == nil {
		_, err = os.Stat(filepath.Join(dir, "bom-1.6.schema.json"))
	}
	require.Part(t, "modules", err == nil, "run `go mod download`")
	return dir
}

// inventories are what documents are written of: usual, empty, hostile, merged, and what others wrote.
func inventories(t *testing.T) map[string]*scan.Inventory {
	t.Helper()
	hostile := &scan.Inventory{Target: "\x1b[31m\"<script>\u202e\xff\n" + strings.Repeat("x", 5000)}
	names := []string{"\x00", "a\nb", "\xff\xfe", "]]>", "<a href='x'>&amp;", "\u202egnp", "\"\\\"", strings.Repeat("n", 2000), "name with spaces", "</text>", "PackageName: x", "日本語", "🐢", "\ufffe", "#", "a,b;c|d"}
	licenses := [][]string{nil, {"MIT"}, {"MIT", "Apache-2.0"}, {"MIT OR Apache-2.0", "BSD-3-Clause"}, {"GPL-2.0-only WITH Classpath-exception-2.0"}, {"see LICENSE\nfile"}, {"LicenseRef-x"}, {"GPL-2.0+"}, {"no such (licence"},
		{"MIT", "what it says"}, {"DocumentRef-x:LicenseRef-y"}, {strings.Repeat("l", 3000)}, {"<text>"}, {"MIT", "MIT"}, {"Zlib", "LicenseRef-scancode-public-domain"}, {"mit"}}
	for i, n := range names {
		hostile.Packages = append(hostile.Packages,
			scan.Package{Name: n, Version: n, Path: n, PURL: "pkg:npm/" + fmt.Sprint(i), Ecosystem: "npm", Licenses: licenses[i], DependsOn: []string{"pkg:npm/" + fmt.Sprint(i), "pkg:npm/0", "pkg:npm/0", "pkg:none/x"},
				Digests: []string{"sha1:short", "sha256:" + strings.Repeat("ab", 32), "md4:00", "sha512:" + strings.Repeat("AB", 64)}, Source: n, SourceVersion: n, Layer: n, Instruction: n, BaseImage: n, FoundBy: n, Dev: i%2 == 0},
			scan.Package{Name: n}, scan.Package{Name: n, PURL: "target"})
	}
	hostile.Sort()
	out := map[string]*scan.Inventory{"sample": sample(), "empty": {}, "hostile": hostile, "merged": Merge(sample(), hostile, sample())}
	files, err := filepath.Glob(filepath.Join(require.Corpora(t), "cyclonedx", "1.[56]", "valid-*.json"))
	if err != nil || len(files) < 20 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		inv, err := Read(bytes.NewReader(text), DefaultLimits())
		if err != nil {
			t.Fatal(file, err)
		}
		out[filepath.Base(filepath.Dir(file))+"/"+filepath.Base(file)] = inv
	}
	return out
}

// TestCycloneDXSchemas holds what is written to the official schemas of CycloneDX 1.5 and 1.6, JSON and XML.
func TestCycloneDXSchemas(t *testing.T) {
	dir := schemaDir(t)
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	for file, id := range map[string]string{"spdx.schema.json": "http://cyclonedx.org/schema/spdx.schema.json", "jsf-0.82.schemax.json": "http://cyclonedx.org/schema/jsf-0.82.schema.json",
		"bom-1.5.schema.json": "http://cyclonedx.org/schema/bom-1.5.schema.json", "bom-1.6.schema.json": "http://cyclonedx.org/schema/bom-1.6.schema.json"} {
		text, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(file, err)
		}
		if err := c.AddResource(id, doc); err != nil {
			t.Fatal(file, err)
		}
	}
	for format, version := range map[Format]string{CycloneDX15JSON: "1.5", CycloneDX16JSON: "1.6"} {
		schema, err := c.Compile("http://cyclonedx.org/schema/bom-" + version + ".schema.json")
		if err != nil {
			t.Fatal(err)
		}
		for name, inv := range inventories(t) {
			text := write(t, inv, format)
			doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
			if err == nil {
				err = schema.Validate(doc)
			}
			if err != nil {
				t.Errorf("%s of %s: %.2000s", format, name, err)
			}
		}
		if doc, _ := jsonschema.UnmarshalJSON(strings.NewReader(`{"bomFormat":"CycloneDX","specVersion":"` + version + `","components":[{"type":"library"}]}`)); schema.Validate(doc) == nil {
			t.Error("the schema takes anything")
		}
	}

	lint := require.Program(t, "xmllint", "xmllint")
	work := t.TempDir()
	catalog := filepath.Join(work, "catalog")
	if err := os.WriteFile(catalog, []byte(`<catalog xmlns="urn:oasis:names:tc:entity:xmlns:xml:catalog"><uri name="http://cyclonedx.org/schema/spdx" uri="file://`+dir+`/spdx.xsd"/><system systemId="http://cyclonedx.org/schema/spdx" uri="file://`+dir+`/spdx.xsd"/></catalog>`), 0o600); err != nil {
		t.Fatal(err)
	}
	for format, version := range map[Format]string{CycloneDX15XML: "1.5", CycloneDX16XML: "1.6"} {
		args := []string{"--nonet", "--noout", "--schema", filepath.Join(dir, "bom-"+version+".xsd")}
		for name, inv := range inventories(t) {
			file := filepath.Join(work, version+"-"+strings.ReplaceAll(name, "/", "-")+".xml")
			if err := os.WriteFile(file, write(t, inv, format), 0o600); err != nil {
				t.Fatal(err)
			}
			args = append(args, file)
		}
		cmd := exec.Command(lint, args...)
		cmd.Env = append(os.Environ(), "XML_CATALOG_FILES="+catalog)
		if out, err := cmd.CombinedOutput(); err != nil {
			var wrong []string
			for line := range strings.Lines(string(out)) {
				if !strings.HasSuffix(line, " validates\n") {
					wrong = append(wrong, line)
				}
			}
			t.Errorf("%s: %v\n%.4000s", format, err, strings.Join(wrong, ""))
		}
	}
}

var (
	spdxID      = regexp.MustCompile(`^SPDXRef-[A-Za-z0-9.-]+$`)
	spdxRef     = regexp.MustCompile(`(DocumentRef-[A-Za-z0-9.-]+:)?LicenseRef-[A-Za-z0-9.-]+`)
	spdxTime    = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$`)
	spdxCreator = regexp.MustCompile(`^(Person|Organization|Tool): \S.*$`)
)

// TestSPDX holds what is written to the rules of SPDX 2.3 (clauses 6, 7, 10 to 12 and annex D), which no library checks, and has the
// standard's own library read it.
func TestSPDX(t *testing.T) {
	for name, inv := range inventories(t) {
		var doc spdxDocument
		d := json.NewDecoder(bytes.NewReader(write(t, inv, SPDXJSON)))
		d.DisallowUnknownFields()
		if err := d.Decode(&doc); err != nil {
			t.Fatal(name, err)
		}
		wrong := func(format string, args ...any) {
			t.Helper()
			t.Errorf("%s: %.300s", name, fmt.Sprintf(format, args...))
		}
		if doc.SPDXVersion != "SPDX-2.3" || doc.DataLicense != "CC0-1.0" || doc.SPDXID != "SPDXRef-DOCUMENT" || doc.Name == "" || !spdxTime.MatchString(doc.CreationInfo.Created) {
			wrong("%+v", doc.CreationInfo)
		}
		if u, err := url.Parse(doc.DocumentNamespace); err != nil || !u.IsAbs() || u.Fragment != "" {
			wrong("namespace %q", doc.DocumentNamespace)
		}
		for _, c := range doc.CreationInfo.Creators {
			if !spdxCreator.MatchString(c) {
				wrong("creator %q", c)
			}
		}
		known, ids := map[string]bool{}, map[string]bool{"SPDXRef-DOCUMENT": true}
		for _, x := range doc.Extracted {
			if known[x.ID] || x.ID != spdxRef.FindString(x.ID) || x.Text == "" || x.Name == "" {
				wrong("%+v", x)
			}
			known[x.ID] = true
		}
		for _, p := range doc.Packages {
			if !spdxID.MatchString(p.SPDXID) || ids[p.SPDXID] || p.Name == "" || p.Download == "" || p.Analyzed {
				wrong("%+v", p)
			}
			ids[p.SPDXID] = true
			if e, err := spdx.Parse(p.Declared); p.Declared != noAssertion && err != nil {
				wrong("licence %q %v: %v", p.Declared, e, err)
			}
			for _, ref := range spdxRef.FindAllString(p.Declared, -1) {
				if !known[ref] {
					wrong("%s of %q is not said", ref, p.Declared)
				}
			}
			for _, c := range p.Checksums {
				if i := slices.IndexFunc(hashNames[:], func(h struct {
					ours, cyclonedx, spdx string
					digits                int
				}) bool {
					return h.spdx == c.Algorithm
				}); i < 0 || len(c.Value) != hashNames[i].digits || strings.ToLower(c.Value) != c.Value {
					wrong("checksum %+v", c)
				}
			}
			for _, x := range p.ExternalRefs {
				if x.Category != "PACKAGE-MANAGER" || x.Type != "purl" || strings.ContainsAny(x.Locator, " \t\n") || x.Locator == "" {
					wrong("%+v", x)
				}
			}
			for _, a := range p.Annotations {
				if !spdxCreator.MatchString(a.Annotator) || !spdxTime.MatchString(a.Date) || a.Type != "OTHER" || a.Comment == "" {
					wrong("%+v", a)
				}
			}
		}
		for _, r := range doc.Relationships {
			if !ids[r.From] || !ids[r.To] || r.Type != "DESCRIBES" && r.Type != "DEPENDS_ON" {
				wrong("%+v", r)
			}
		}
		read, err := tagvalue.Read(bytes.NewReader(write(t, inv, SPDXTagValue)))
		if err != nil || len(read.Packages) != len(doc.Packages) || len(read.Relationships) != len(doc.Relationships) {
			wrong("tag-value: %v", err)
		}
	}
}
