package sbom

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/testudo-sec/testudo/internal/spdx"
	"github.com/testudo-sec/testudo/scan"
)

// These are the parts of an SPDX 2.3 document (ISO/IEC 5962) that are written and read.
type (
	spdxDocument struct {
		SPDXVersion       string             `json:"spdxVersion"`
		DataLicense       string             `json:"dataLicense"`
		SPDXID            string             `json:"SPDXID"`
		Name              string             `json:"name"`
		DocumentNamespace string             `json:"documentNamespace"`
		CreationInfo      spdxCreation       `json:"creationInfo"`
		Packages          []spdxPackage      `json:"packages"`
		Relationships     []spdxRelationship `json:"relationships"`
		Extracted         []spdxExtracted    `json:"hasExtractedLicensingInfos,omitempty"`
	}
	spdxCreation struct {
		Created  string   `json:"created"`
		Creators []string `json:"creators"`
	}
	spdxPackage struct {
		SPDXID       string           `json:"SPDXID"`
		Name         string           `json:"name"`
		Version      string           `json:"versionInfo,omitempty"`
		Download     string           `json:"downloadLocation"`
		Analyzed     bool             `json:"filesAnalyzed"`
		Concluded    string           `json:"licenseConcluded,omitempty"`
		Declared     string           `json:"licenseDeclared,omitempty"`
		Copyright    string           `json:"copyrightText,omitempty"`
		Checksums    []spdxChecksum   `json:"checksums,omitempty"`
		ExternalRefs []spdxExternal   `json:"externalRefs,omitempty"`
		Annotations  []spdxAnnotation `json:"annotations,omitempty"`
	}
	spdxChecksum struct {
		Algorithm string `json:"algorithm"`
		Value     string `json:"checksumValue"`
	}
	spdxExternal struct {
		Category string `json:"referenceCategory"`
		Type     string `json:"referenceType"`
		Locator  string `json:"referenceLocator"`
	}
	spdxAnnotation struct {
		Annotator string `json:"annotator"`
		Date      string `json:"annotationDate"`
		Type      string `json:"annotationType"`
		Comment   string `json:"comment"`
	}
	spdxRelationship struct {
		From string `json:"spdxElementId"`
		Type string `json:"relationshipType"`
		To   string `json:"relatedSpdxElement"`
	}
	spdxExtracted struct {
		ID   string `json:"licenseId"`
		Text string `json:"extractedText"`
		Name string `json:"name"`
	}
)

const (
	noAssertion = "NOASSERTION"
	annotator   = "Tool: testudo"
)

func (d *document) spdx() *spdxDocument {
	created := d.time()
	if created == "" {
		created = "1970-01-01T00:00:00Z"
	}
	tool := annotator
	if d.o.Version != "" {
		tool += "-" + d.o.Version
	}
	out := &spdxDocument{SPDXVersion: "SPDX-2.3", DataLicense: "CC0-1.0", SPDXID: "SPDXRef-DOCUMENT", Name: d.name(),
		DocumentNamespace: "urn:uuid:" + d.serial, CreationInfo: spdxCreation{Created: created, Creators: []string{tool}}, Packages: []spdxPackage{}, Relationships: []spdxRelationship{}}
	id := func(i int) string { return "SPDXRef-Package-" + strconv.Itoa(i+1) }
	extracted := map[string]string{}
	for i := range d.inv.Packages {
		p := &d.inv.Packages[i]
		s := spdxPackage{SPDXID: id(i), Name: p.Name, Version: p.Version, Download: noAssertion, Concluded: noAssertion, Declared: noAssertion, Copyright: noAssertion}
		s.Declared = declared(p, extracted, out)
		for _, h := range hashes(p, func(i int) string { return hashNames[i].spdx }) {
			s.Checksums = append(s.Checksums, spdxChecksum{h.name, strings.ToLower(h.value)})
		}
		if p.PURL != "" {
			s.ExternalRefs = []spdxExternal{{"PACKAGE-MANAGER", "purl", p.PURL}}
		}
		for _, q := range properties(p) {
			s.Annotations = append(s.Annotations, spdxAnnotation{Annotator: annotator, Date: created, Type: "OTHER", Comment: q.name + "=" + oneLine(q.value)})
		}
		out.Packages = append(out.Packages, s)
		out.Relationships = append(out.Relationships, spdxRelationship{"SPDXRef-DOCUMENT", "DESCRIBES", id(i)})
	}
	for i, to := range d.edges {
		for _, j := range to {
			out.Relationships = append(out.Relationships, spdxRelationship{id(i), "DEPENDS_ON", id(j)})
		}
	}
	return out
}

func oneLine(s string) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(s, "</text>", "")), " ")
}

// ownRef begins the names that a document gives to licences which are no expressions.
const ownRef = "LicenseRef-testudo-"

// declared is the expression of a package's licences. What is no expression becomes a reference to its text, and what refers to
// another document too, since that is not there; every reference is said (SPDX 2.3, clause 10).
func declared(p *scan.Package, extracted map[string]string, out *spdxDocument) string {
	if len(p.Licenses) == 0 {
		return noAssertion
	}
	say := func(id, text string) {
		extracted[text] = id
		out.Extracted = append(out.Extracted, spdxExtracted{ID: id, Text: oneLine(text), Name: oneLine(text)})
	}
	q := *p
	q.Licenses = nil
	for _, l := range p.Licenses {
		e, err := spdx.Parse(l)
		switch {
		case err != nil || strings.Contains(l, "DocumentRef-") || strings.Contains(l, ownRef):
			if extracted[l] == "" {
				say(ownRef+strconv.Itoa(len(extracted)+1), l)
			}
			l = extracted[l]
		default:
			for _, leaf := range e.Leaves() {
				if ref := leaf.String(); strings.HasPrefix(ref, "LicenseRef-") && extracted[ref] == "" {
					say(ref, ref)
				}
			}
		}
		q.Licenses = append(q.Licenses, l)
	}
	e, _ := expression(&q)
	return e
}

func (d *document) spdxJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(d.spdx())
}

func (d *document) spdxTagValue(w io.Writer) error {
	b := bufio.NewWriter(w)
	s := d.spdx()
	tag := func(name, value string) {
		if value != "" {
			b.WriteString(name + ": " + oneLine(value) + "\n")
		}
	}
	tag("SPDXVersion", s.SPDXVersion)
	tag("DataLicense", s.DataLicense)
	tag("SPDXID", s.SPDXID)
	tag("DocumentName", s.Name)
	tag("DocumentNamespace", s.DocumentNamespace)
	tag("Creator", s.CreationInfo.Creators[0])
	tag("Created", s.CreationInfo.Created)
	for _, p := range s.Packages {
		b.WriteString("\n")
		tag("PackageName", p.Name)
		tag("SPDXID", p.SPDXID)
		tag("PackageVersion", p.Version)
		tag("PackageDownloadLocation", p.Download)
		tag("FilesAnalyzed", "false")
		for _, c := range p.Checksums {
			tag("PackageChecksum", c.Algorithm+": "+c.Value)
		}
		tag("PackageLicenseConcluded", p.Concluded)
		tag("PackageLicenseDeclared", p.Declared)
		tag("PackageCopyrightText", p.Copyright)
		for _, x := range p.ExternalRefs {
			tag("ExternalRef", x.Category+" "+x.Type+" "+x.Locator)
		}
		for _, a := range p.Annotations {
			tag("Annotator", a.Annotator)
			tag("AnnotationDate", a.Date)
			tag("AnnotationType", a.Type)
			tag("SPDXREF", p.SPDXID)
			b.WriteString("AnnotationComment: <text>" + a.Comment + "</text>\n")
		}
	}
	if len(s.Relationships) > 0 {
		b.WriteString("\n")
	}
	for _, r := range s.Relationships {
		tag("Relationship", r.From+" "+r.Type+" "+r.To)
	}
	for _, x := range s.Extracted {
		b.WriteString("\n")
		tag("LicenseID", x.ID)
		b.WriteString("ExtractedText: <text>" + x.Text + "</text>\n")
		tag("LicenseName", x.Name)
	}
	return b.Flush()
}

// spdx takes a package.
func (b *builder) spdx(s *spdxPackage) error {
	p := scan.Package{Name: s.Name, Version: s.Version}
	for _, x := range s.ExternalRefs {
		if x.Type == "purl" && p.PURL == "" {
			p.PURL = x.Locator
		}
	}
	for _, l := range []string{s.Declared, s.Concluded} {
		if l = license(l); l != "" && len(p.Licenses) == 0 {
			p.Licenses = []string{l}
		}
	}
	for _, c := range s.Checksums {
		for _, n := range hashNames {
			if n.spdx == c.Algorithm && isDigest(c.Value, n.digits) && len(p.Digests) < 10 {
				p.Digests = append(p.Digests, n.ours+":"+strings.ToLower(c.Value))
			}
		}
	}
	for _, a := range s.Annotations {
		if name, value, ok := strings.Cut(a.Comment, "="); ok && a.Annotator == annotator {
			set(&p, name, value)
		}
	}
	return b.add(p, s.SPDXID)
}

// named keeps what a licence is that the document has its own name for.
func (b *builder) named(id, text string) {
	if b.texts == nil {
		b.texts = map[string]string{}
	}
	if len(b.texts) < 10_000 && text != noAssertion {
		b.texts[id] = text[:min(len(text), maxText)]
	}
}

func or(a, b string) string {
	if a != "" && a != noAssertion {
		return a
	}
	return b
}

func (b *builder) related(from, kind, to string) error {
	switch kind {
	case "DEPENDS_ON":
		return b.depends(from, to)
	case "DEPENDENCY_OF", "RUNTIME_DEPENDENCY_OF", "DEV_DEPENDENCY_OF", "OPTIONAL_DEPENDENCY_OF":
		return b.depends(to, from)
	}
	return nil
}

// readTagValue reads the lines of a tag-value document.
func (b *builder) readTagValue(in *source) error {
	s := bufio.NewScanner(in)
	s.Buffer(make([]byte, 64<<10), b.limits.Element)
	var p *spdxPackage
	var note spdxAnnotation
	done := func() error {
		if p == nil {
			return nil
		}
		at := p
		p = nil
		if !strings.HasPrefix(at.SPDXID, "SPDXRef-") {
			return fmt.Errorf("package %s: SPDXID is missing", short(at.Name))
		}
		return b.spdx(at)
	}
	version, id := false, ""
	text := false // within <text> of several lines
	for n := 1; s.Scan(); n++ {
		line := s.Text()
		if text {
			text = !strings.Contains(line, "</text>")
			continue
		}
		tag, value, ok := strings.Cut(line, ":")
		tag, value = strings.TrimSpace(tag), strings.TrimSpace(value)
		if tag == "" || tag[0] == '#' {
			continue
		}
		if !ok {
			return fmt.Errorf("line %d: want a tag and a value", n)
		}
		if strings.HasPrefix(value, "<text>") {
			value, text = strings.TrimPrefix(value, "<text>"), !strings.Contains(value, "</text>")
			value, _, _ = strings.Cut(value, "</text>")
		}
		var err error
		switch {
		case tag == "SPDXVersion":
			if version = strings.HasPrefix(value, "SPDX-2."); !version {
				err = fmt.Errorf("SPDXVersion: %q: SPDX 2 is read", short(value))
			}
		case tag == "DocumentName":
			b.target = scan.Printable(value)
		case tag == "PackageName":
			err = done()
			p, note = &spdxPackage{Name: value}, spdxAnnotation{}
		case tag == "FileName", tag == "SnippetSPDXID":
			err = done()
		case tag == "LicenseID":
			err, id = done(), value
		case tag == "LicenseName" && id != "":
			b.named(id, value)
		case tag == "Relationship":
			if words := strings.Fields(value); len(words) >= 3 {
				err = b.related(words[0], words[1], words[2])
			} else {
				err = fmt.Errorf("relationship %q: want three words", short(value))
			}
		case p != nil:
			p.take(tag, value, &note)
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := s.Err(); err != nil {
		return err
	}
	if !version {
		return fmt.Errorf("SPDXVersion is missing")
	}
	return done()
}

func (p *spdxPackage) take(tag, value string, note *spdxAnnotation) {
	switch tag {
	case "SPDXID":
		p.SPDXID = value
	case "PackageVersion":
		p.Version = value
	case "PackageLicenseConcluded":
		p.Concluded = value
	case "PackageLicenseDeclared":
		p.Declared = value
	case "PackageChecksum":
		if alg, sum, ok := strings.Cut(value, ":"); ok && len(p.Checksums) < 20 {
			p.Checksums = append(p.Checksums, spdxChecksum{strings.TrimSpace(alg), strings.TrimSpace(sum)})
		}
	case "ExternalRef":
		if words := strings.Fields(value); len(words) >= 3 && len(p.ExternalRefs) < 100 {
			p.ExternalRefs = append(p.ExternalRefs, spdxExternal{words[0], words[1], words[2]})
		}
	case "Annotator":
		*note = spdxAnnotation{Annotator: value}
	case "AnnotationComment":
		if note.Comment = value; len(p.Annotations) < 100 {
			p.Annotations = append(p.Annotations, *note)
		}
	}
}
