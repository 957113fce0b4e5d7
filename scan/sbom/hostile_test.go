package sbom

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/scan"
)

// TestOneNameOfMany is a document that gives all its packages one name and has it depend on itself: joining each with each
// would take 10,000,000,000 steps.
func TestOneNameOfMany(t *testing.T) {
	const many = 100_000
	component := `{"type":"library","name":"a","version":"1","purl":"pkg:npm/a@1","bom-ref":"x"},`
	text := `{"bomFormat":"CycloneDX","specVersion":"1.6","components":[` + strings.Repeat(component, many) + `{"type":"library","name":"b","bom-ref":"y","purl":"pkg:npm/b@1"}],` +
		`"dependencies":[{"ref":"x","dependsOn":[` + strings.Repeat(`"x",`, many) + `"y"]}]}`
	inv, err := Read(strings.NewReader(text), DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, p := range inv.Packages {
		n += len(p.DependsOn)
	}
	if n > 1 {
		t.Errorf("%d dependencies, want one at most", n)
	}
}

// TestRefused wants an end of what would take memory that no limit of the document's size speaks of.
func TestRefused(t *testing.T) {
	head := `{"bomFormat":"CycloneDX","specVersion":"1.6",`
	for name, c := range map[string]struct{ text, want string }{
		"nested":         {head + `"x":` + strings.Repeat("[", 1<<20), "nested deeper"},
		"long reference": {head + `"dependencies":[{"ref":"` + strings.Repeat("r", 2000) + `","dependsOn":["a"]}]}`, "a reference of 2000 bytes"},
		"long property":  {head + `"components":[{"type":"library","name":"a","properties":[{"name":"testudo:layer","value":"` + strings.Repeat("l", 2000) + `"}]}]}`, "of 2000 bytes"},
		"two words":      {"SPDXVersion: SPDX-2.3\nRelationship: a b\n", "three words"},
	} {
		if _, err := Read(strings.NewReader(c.text), DefaultLimits()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

// TestPropertiesAreShown wants nothing that a terminal obeys from the properties, which stand in reports.
func TestPropertiesAreShown(t *testing.T) {
	var all []string
	for _, name := range []string{"ecosystem", "name", "source", "source_version", "path", "layer", "instruction", "base_image", "found_by"} {
		all = append(all, fmt.Sprintf(`{"name":"testudo:%s","value":"a\u001b[31m\nb"}`, name))
	}
	inv, err := Read(strings.NewReader(`{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"type":"library","name":"a","version":"1","properties":[`+strings.Join(all, ",")+`]}]}`), DefaultLimits())
	if err != nil || len(inv.Packages) != 1 {
		t.Fatal(inv, err)
	}
	p := inv.Packages[0]
	for _, s := range []string{p.Ecosystem, p.Name, p.Source, p.SourceVersion, p.Path, p.Layer, p.Instruction, p.BaseImage, p.FoundBy} {
		if s == "" || strings.ContainsAny(s, "\x1b\n") {
			t.Errorf("%q", s)
		}
	}
}

// TestNothing wants documents of no packages to be read, also where another program writes null for none.
func TestNothing(t *testing.T) {
	for _, format := range Formats() {
		data := write(t, &scan.Inventory{Target: "x"}, format)
		if bytes.Contains(data, []byte("null")) {
			t.Errorf("%s: %s", format, data)
		}
		if inv, err := Read(bytes.NewReader(data), DefaultLimits()); err != nil || len(inv.Packages) != 0 {
			t.Errorf("%s: %v", format, err)
		}
	}
	if _, err := Read(strings.NewReader(`{"bomFormat":"CycloneDX","specVersion":"1.6","components":null,"dependencies":null}`), DefaultLimits()); err != nil {
		t.Error(err)
	}
}

// TestNamesAreUnique has a package whose URL is what the second of another one would be called.
func TestNamesAreUnique(t *testing.T) {
	inv := &scan.Inventory{Packages: []scan.Package{
		{PURL: "pkg:golang/a@1", Name: "a", Version: "1", Path: "x"}, {PURL: "pkg:golang/a@1", Name: "a", Version: "1", Path: "y"}, {PURL: "pkg:golang/a@1#2", Name: "a/2", Version: "1"}}}
	seen := map[string]bool{}
	for _, ref := range newDocument(inv, WriteOptions{}).refs {
		if seen[ref] {
			t.Errorf("%s stands for two packages", ref)
		}
		seen[ref] = true
	}
}
