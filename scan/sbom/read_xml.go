package sbom

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/testudo-sec/testudo/scan"
)

// xmlSource bounds one element; see reader.
type xmlSource struct {
	in           *source
	limit, start int64
}

func (x *xmlSource) Read(p []byte) (int, error) {
	if x.start-x.in.left > x.limit {
		return 0, fmt.Errorf("an element is larger than %d MiB", x.limit>>20)
	}
	return x.in.Read(p)
}

// readXML reads CycloneDX. The decoder knows no entities but those of XML itself.
func (b *builder) readXML(in *source) error {
	r := &xmlSource{in: in, limit: int64(b.limits.Element), start: in.left}
	d := xml.NewDecoder(r)
	var path []string
	components, root := 0, false
	for {
		r.start = in.left
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			if root && len(path) == 0 {
				return nil
			}
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		line, _ := d.InputPos()
		switch t := t.(type) {
		case xml.Directive:
			return fmt.Errorf("line %d: a document type is not read", line)
		case xml.EndElement:
			path = path[:len(path)-1]
		case xml.StartElement:
			path = append(path, t.Name.Local)
			root = true
			if len(path) == 1 && (t.Name.Local != "bom" || !strings.HasPrefix(t.Name.Space, "http://cyclonedx.org/schema/bom/")) {
				return fmt.Errorf("line %d: %s is no bom of CycloneDX", line, short(t.Name.Local))
			}
			if len(path) > maxNesting {
				return fmt.Errorf("line %d: elements nested deeper than %d", line, maxNesting)
			}
			done, err := b.element(d, &t, strings.Join(path, "/"), &components)
			if err != nil {
				return fmt.Errorf("line %d: %w", line, err)
			}
			if done {
				path = path[:len(path)-1]
			}
		}
	}
}

// element reads an element that matters, whole.
func (b *builder) element(d *xml.Decoder, t *xml.StartElement, path string, n *int) (bool, error) {
	switch path {
	case "bom":
		for _, a := range t.Attr {
			if a.Name.Local == "serialNumber" && !serialNumber.MatchString(a.Value) {
				return false, fmt.Errorf("serialNumber: %q is no urn:uuid", short(a.Value))
			}
		}
	case "bom/metadata/component":
		var c cdxComponent
		if err := d.DecodeElement(&c, t); err != nil {
			return true, err
		}
		b.target = scan.Printable(c.Name)
		return true, c.check("metadata.component", 0)
	case "bom/components/component":
		var c cdxComponent
		if err := d.DecodeElement(&c, t); err != nil {
			return true, err
		}
		at := fmt.Sprintf("components[%d]", *n)
		*n++
		if err := c.check(at, 0); err != nil {
			return true, err
		}
		return true, b.component(&c, at)
	case "bom/dependencies/dependency":
		var c cdxDepends
		if err := d.DecodeElement(&c, t); err != nil {
			return true, err
		}
		if c.Ref == "" {
			return true, errors.New("dependency: ref is missing")
		}
		for _, to := range c.Inner {
			if err := b.depends(c.Ref, to.Ref); err != nil {
				return true, err
			}
		}
		return true, nil
	}
	return false, nil
}
