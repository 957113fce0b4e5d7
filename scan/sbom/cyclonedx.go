package sbom

import (
	"encoding/json"
	"encoding/xml"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/testudo-sec/testudo/internal/spdx"
	"github.com/testudo-sec/testudo/scan"
)

// These are the parts of a CycloneDX document (ECMA-424) that are written and read, for JSON and XML alike.
type (
	cdxBOM struct {
		XMLName      xml.Name       `json:"-" xml:"bom"`
		XMLNS        string         `json:"-" xml:"xmlns,attr"`
		Schema       string         `json:"$schema,omitempty" xml:"-"`
		BOMFormat    string         `json:"bomFormat" xml:"-"`
		SpecVersion  string         `json:"specVersion" xml:"-"`
		SerialNumber string         `json:"serialNumber" xml:"serialNumber,attr"`
		Version      int            `json:"version" xml:"version,attr"`
		Metadata     cdxMetadata    `json:"metadata" xml:"metadata"`
		Components   []cdxComponent `json:"components" xml:"components>component"`
		Dependencies []cdxDepends   `json:"dependencies" xml:"dependencies>dependency"`
	}
	cdxMetadata struct {
		Timestamp  string        `json:"timestamp,omitempty" xml:"timestamp,omitempty"`
		Tools      *cdxTools     `json:"tools,omitempty" xml:"tools,omitempty"`
		Component  *cdxComponent `json:"component,omitempty" xml:"component,omitempty"`
		Licenses   cdxLicenses   `json:"licenses,omitempty" xml:"licenses,omitempty"`
		Properties []cdxProperty `json:"properties,omitempty" xml:"properties>property,omitempty"`
	}
	cdxTools struct {
		Components []cdxComponent `json:"components" xml:"components>component"`
	}
	cdxComponent struct {
		Type       string         `json:"type" xml:"type,attr"`
		BOMRef     *string        `json:"bom-ref,omitempty" xml:"bom-ref,attr,omitempty"`
		Group      string         `json:"group,omitempty" xml:"group,omitempty"`
		Name       string         `json:"name" xml:"name"`
		Version    string         `json:"version,omitempty" xml:"version,omitempty"`
		Scope      string         `json:"scope,omitempty" xml:"scope,omitempty"`
		Hashes     []cdxHash      `json:"hashes,omitempty" xml:"hashes>hash,omitempty"`
		Licenses   cdxLicenses    `json:"licenses,omitempty" xml:"licenses,omitempty"`
		PURL       string         `json:"purl,omitempty" xml:"purl,omitempty"`
		SWID       *cdxSWID       `json:"swid,omitempty" xml:"swid,omitempty"`
		Pedigree   *cdxPedigree   `json:"pedigree,omitempty" xml:"pedigree,omitempty"`
		Properties []cdxProperty  `json:"properties,omitempty" xml:"properties>property,omitempty"`
		Components []cdxComponent `json:"components,omitempty" xml:"components>component,omitempty"`
	}
	cdxHash struct {
		Alg     string `json:"alg" xml:"alg,attr"`
		Content string `json:"content" xml:",chardata"`
	}
	cdxSWID struct {
		TagID string `json:"tagId" xml:"tagId,attr"`
	}
	cdxPedigree struct {
		Patches []struct {
			Type     string `json:"type" xml:"type,attr"`
			Resolves []struct {
				Type string `json:"type" xml:"type,attr"`
			} `json:"resolves" xml:"resolves>issue"`
		} `json:"patches,omitempty" xml:"patches>patch,omitempty"`
	}
	cdxProperty struct {
		Name  *string `json:"name" xml:"name,attr"`
		Value string  `json:"value" xml:",chardata"`
	}
	cdxDepends struct {
		Ref       string   `json:"ref" xml:"ref,attr"`
		DependsOn []string `json:"dependsOn,omitempty" xml:"-"`
		Inner     []cdxRef `json:"-" xml:"dependency,omitempty"`
	}
	cdxRef struct {
		Ref string `xml:"ref,attr"`
	}
	cdxLicenses []cdxChoice
	cdxChoice   struct {
		License    *cdxLicense `json:"license,omitempty"`
		Expression *string     `json:"expression,omitempty"`
	}
	cdxLicense struct {
		ID         *string       `json:"id,omitempty" xml:"id,omitempty"`
		Name       *string       `json:"name,omitempty" xml:"name,omitempty"`
		Text       *cdxText      `json:"text,omitempty" xml:"text,omitempty"`
		Properties []cdxProperty `json:"properties,omitempty" xml:"properties>property,omitempty"`
	}
	cdxText struct {
		Encoding string `json:"encoding,omitempty" xml:"encoding,attr,omitempty"`
		Content  string `json:"content" xml:",chardata"`
	}
)

// MarshalXML writes licences as XML has them: one element each, without one around it.
func (l cdxLicenses) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	if len(l) == 0 {
		return nil
	}
	if err := e.EncodeToken(start); err != nil {
		return err
	}
	for _, c := range l {
		var err error
		if c.Expression != nil {
			err = e.EncodeElement(*c.Expression, xml.StartElement{Name: xml.Name{Local: "expression"}})
		} else {
			err = e.EncodeElement(c.License, xml.StartElement{Name: xml.Name{Local: "license"}})
		}
		if err != nil {
			return err
		}
	}
	return e.EncodeToken(start.End())
}

// UnmarshalXML reads them.
func (l *cdxLicenses) UnmarshalXML(d *xml.Decoder, _ xml.StartElement) error {
	for {
		t, err := d.Token()
		if err != nil {
			return err
		}
		switch t := t.(type) {
		case xml.EndElement:
			return nil
		case xml.StartElement:
			c := cdxChoice{}
			if t.Name.Local == "expression" {
				var s string
				err = d.DecodeElement(&s, &t)
				c.Expression = &s
			} else {
				c.License = &cdxLicense{}
				err = d.DecodeElement(c.License, &t)
			}
			if err != nil {
				return err
			}
			*l = append(*l, c)
		}
	}
}

// maxVersion is how many characters CycloneDX 1.6 lets a version have.
const maxVersion = 1024

// rootRef is the name of what was scanned.
const rootRef = "target"

func (d *document) cyclonedx(version string) *cdxBOM {
	root := rootRef
	b := &cdxBOM{XMLNS: "http://cyclonedx.org/schema/bom/" + version, Schema: "http://cyclonedx.org/schema/bom-" + version + ".schema.json", BOMFormat: "CycloneDX",
		SpecVersion: version, SerialNumber: "urn:uuid:" + d.serial, Version: 1, Components: []cdxComponent{}}
	b.Metadata = cdxMetadata{Timestamp: d.time(), Tools: &cdxTools{Components: []cdxComponent{{Type: "application", Name: "testudo", Version: d.o.Version}}},
		Component: &cdxComponent{Type: "application", BOMRef: &root, Name: d.name()}}
	top := cdxDepends{Ref: root}
	for i := range d.inv.Packages {
		p := &d.inv.Packages[i]
		b.Components = append(b.Components, d.component(p, &d.refs[i]))
		if p.Relation == scan.Direct || p.Relation == scan.Root || p.Relation == "" {
			top.add(d.refs[i])
		}
	}
	b.Dependencies = append(b.Dependencies, top)
	for i, to := range d.edges {
		dep := cdxDepends{Ref: d.refs[i]}
		for _, j := range to {
			dep.add(d.refs[j])
		}
		b.Dependencies = append(b.Dependencies, dep)
	}
	return b
}

func (c *cdxDepends) add(ref string) {
	c.DependsOn = append(c.DependsOn, ref)
	c.Inner = append(c.Inner, cdxRef{ref})
}

func (d *document) component(p *scan.Package, ref *string) cdxComponent {
	c := cdxComponent{Type: "library", BOMRef: ref, Name: p.Name, Version: p.Version, PURL: p.PURL}
	if utf8.RuneCountInString(c.Version) > maxVersion {
		c.Version = string([]rune(c.Version)[:maxVersion])
	}
	if p.Relation == scan.Root {
		c.Type = "application"
	}
	if p.Dev {
		c.Scope = "excluded"
	}
	for _, h := range hashes(p, func(i int) string { return hashNames[i].cyclonedx }) {
		c.Hashes = append(c.Hashes, cdxHash{h.name, h.value})
	}
	if e, ok := expression(p); ok && strings.ContainsAny(e, " +:") || ok && strings.HasPrefix(e, "LicenseRef") {
		c.Licenses = cdxLicenses{{Expression: &e}}
	} else {
		for _, l := range p.Licenses {
			one := &cdxLicense{}
			if id, ok := spdx.License(l); ok && id == l {
				one.ID = &l
			} else {
				one.Name = &l
			}
			c.Licenses = append(c.Licenses, cdxChoice{License: one})
		}
	}
	for _, q := range properties(p) {
		c.Properties = append(c.Properties, cdxProperty{&q.name, q.value})
	}
	return c
}

func (d *document) cyclonedxJSON(w io.Writer, version string) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(d.cyclonedx(version))
}

func (d *document) cyclonedxXML(w io.Writer, version string) error {
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(d.cyclonedx(version)); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
