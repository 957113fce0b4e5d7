// Package sbom writes an inventory as a CycloneDX (1.5, 1.6; ECMA-424) or SPDX 2.3 document, reads these into an inventory, merges
// several and tells two apart.
//
// Writing is deterministic byte for byte: the serial number comes from the content, the time from the caller. What both formats have
// no place for (the ecosystem, the source package, the place, the layer, the relation) is a property whose name begins with "testudo:",
// or in SPDX an annotation, so that reading gives the same packages back.
//
// Reading streams: one component is held beside the packages that came of those before. A document is refused, with the place,
// where it does not follow its schema in what is read here, and where it is larger than the limits.
package sbom

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/scan"
)

// Format is a form of document.
type Format string

// The formats that are written. All are read, CycloneDX 1.0 to 1.6 too.
const (
	CycloneDX16JSON Format = "cyclonedx-json"
	CycloneDX15JSON Format = "cyclonedx-1.5-json"
	CycloneDX16XML  Format = "cyclonedx-xml"
	CycloneDX15XML  Format = "cyclonedx-1.5-xml"
	SPDXJSON        Format = "spdx-json"
	SPDXTagValue    Format = "spdx-tag-value"
)

// Formats lists the formats that are written.
func Formats() []Format {
	return []Format{CycloneDX16JSON, CycloneDX15JSON, CycloneDX16XML, CycloneDX15XML, SPDXJSON, SPDXTagValue}
}

// WriteOptions are what a document says beside the packages.
type WriteOptions struct {
	Format Format
	// Time is when it was made; the zero time leaves it out where the format can, and is 1970 in SPDX. Callers take
	// SOURCE_DATE_EPOCH where it is set.
	Time time.Time
	// Version is of the program that made it.
	Version string
}

// Write writes the inventory, which must be sorted (see scan.Inventory.Sort).
func Write(w io.Writer, inv *scan.Inventory, o WriteOptions) error {
	d := newDocument(inv, o)
	switch o.Format {
	case CycloneDX16JSON:
		return d.cyclonedxJSON(w, "1.6")
	case CycloneDX15JSON:
		return d.cyclonedxJSON(w, "1.5")
	case CycloneDX16XML:
		return d.cyclonedxXML(w, "1.6")
	case CycloneDX15XML:
		return d.cyclonedxXML(w, "1.5")
	case SPDXJSON:
		return d.spdxJSON(w)
	case SPDXTagValue:
		return d.spdxTagValue(w)
	}
	var known []string
	for _, f := range Formats() {
		known = append(known, string(f))
	}
	return fmt.Errorf("format %q: want one of %s", o.Format, strings.Join(known, ", "))
}

// Limits bound what is read.
type Limits struct {
	Bytes    int64 // of the document
	Packages int
	Element  int // bytes of one component
}

// DefaultLimits reads what a large product has, within some hundred MB of memory.
func DefaultLimits() Limits { return Limits{Bytes: 1 << 30, Packages: 500_000, Element: 8 << 20} }

// Read reads a document in any of the formats. The packages' Path is where the document says they are; empty if it does not.
func Read(r io.Reader, l Limits) (*scan.Inventory, error) {
	b := &builder{limits: l, names: map[string]int32{}}
	in := newSource(r, l.Bytes)
	head := in.peek()
	text := strings.TrimLeft(strings.TrimPrefix(string(head), "\ufeff"), " \t\r\n")
	var err error
	switch {
	case strings.HasPrefix(text, "{"):
		err = b.readJSON(in)
	case strings.HasPrefix(text, "<"):
		err = b.readXML(in)
	case strings.HasPrefix(text, "SPDXVersion:"), strings.HasPrefix(text, "#"):
		err = b.readTagValue(in)
	default:
		return nil, fmt.Errorf("neither CycloneDX nor SPDX: it begins with %q", scan.Printable(text[:min(len(text), 20)]))
	}
	if in.over {
		return nil, fmt.Errorf("the document is larger than %d MiB", l.Bytes>>20)
	}
	if err != nil {
		return nil, err
	}
	return b.finish(), nil
}

// Is reports whether a file is a document by its name, its beginning decides: "bom.json", "x.cdx.json", "x.spdx".
func Is(name string) bool {
	name = strings.ToLower(name[strings.LastIndexByte(name, '/')+1:])
	switch name {
	case "bom.json", "bom.xml", "sbom.json", "sbom.xml", "sbom.spdx", "manifest.spdx.json":
		return true
	}
	for _, end := range []string{".cdx.json", ".cdx.xml", ".cyclonedx.json", ".cyclonedx.xml", ".spdx.json", ".spdx", ".bom.json", ".sbom.json"} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}
