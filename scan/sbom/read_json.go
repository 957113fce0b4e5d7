package sbom

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/scan"
)

// reader reads JSON piece by piece; no piece may be larger than the limit.
type reader struct {
	*json.Decoder
	in    *source
	limit int64
	start int64
}

// Read implements io.Reader for the decoder.
func (r *reader) Read(p []byte) (int, error) {
	if r.start-r.in.left > r.limit {
		return 0, fmt.Errorf("an element is larger than %d MiB", r.limit>>20)
	}
	return r.in.Read(p)
}

func (b *builder) newReader(in *source) *reader {
	r := &reader{in: in, limit: int64(b.limits.Element), start: in.left}
	r.Decoder = json.NewDecoder(r)
	return r
}

// piece begins another element.
func (r *reader) piece() { r.start = r.in.left }

func (r *reader) value(v any) error {
	r.piece()
	return r.Decode(v)
}

// maxSkipped is how deep a value may be nested that nobody reads: the decoder keeps a word of each open bracket.
const maxSkipped = 10_000

// skip passes over a value of any size.
func (r *reader) skip() error {
	for depth := 0; ; {
		r.piece()
		t, err := r.Token()
		if err != nil {
			return err
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			if depth++; depth > maxSkipped {
				return fmt.Errorf("nested deeper than %d", maxSkipped)
			}
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}

func (r *reader) object(each func(key string) error) error {
	if err := r.open('{'); err != nil {
		return err
	}
	for r.More() {
		r.piece()
		k, err := r.Token()
		if err != nil {
			return err
		}
		if err := each(k.(string)); err != nil {
			return err
		}
	}
	_, err := r.Token()
	return err
}

// array reads an array; null, which some programs write of no elements, is an empty one.
func (r *reader) array(each func(i int) error) error {
	r.piece()
	switch t, err := r.Token(); {
	case err != nil || t == nil:
		return err
	case t != json.Delim('['):
		return fmt.Errorf("%v where [ is expected", t)
	}
	for i := 0; r.More(); i++ {
		if err := each(i); err != nil {
			return err
		}
	}
	_, err := r.Token()
	return err
}

func (r *reader) open(want json.Delim) error {
	r.piece()
	t, err := r.Token()
	if err == nil && t != want {
		err = fmt.Errorf("%v where %v is expected", t, want)
	}
	return err
}

// readJSON reads CycloneDX and SPDX, whose keys are different.
func (b *builder) readJSON(in *source) error {
	r := b.newReader(in)
	var format, version, spdxVersion string
	err := r.object(func(key string) error {
		err := b.key(r, key, &format, &version, &spdxVersion)
		if err != nil && !strings.Contains(err.Error(), key) {
			err = fmt.Errorf("%s: %w", key, err)
		}
		return err
	})
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("at byte %d: %w", r.InputOffset(), err)
	case errors.As(err, &kind):
		return fmt.Errorf("%s is a %s where %s is expected, before byte %d", kind.Field, kind.Value, kind.Type, r.InputOffset())
	case err != nil:
		return err
	case spdxVersion != "":
		if !strings.HasPrefix(spdxVersion, "SPDX-2.") {
			return fmt.Errorf("spdxVersion: %q: SPDX 2 is read", short(spdxVersion))
		}
	case format != "CycloneDX":
		return fmt.Errorf("bomFormat: %q: want CycloneDX", short(format))
	case !slices.Contains([]string{"1.2", "1.3", "1.4", "1.5", "1.6", "1.7"}, version):
		return fmt.Errorf("specVersion: %q: 1.2 to 1.7 are read", short(version))
	}
	return nil
}

func (b *builder) key(r *reader, key string, format, version, spdxVersion *string) error {
	switch key {
	case "bomFormat":
		return r.value(format)
	case "specVersion":
		return r.value(version)
	case "serialNumber":
		var s string
		if err := r.value(&s); err != nil {
			return err
		}
		if !serialNumber.MatchString(s) {
			return fmt.Errorf("%q is no urn:uuid", short(s))
		}
		return nil
	case "metadata":
		var m cdxMetadata
		var raw struct {
			Timestamp  string        `json:"timestamp"`
			Component  *cdxComponent `json:"component"`
			Licenses   cdxLicenses   `json:"licenses"`
			Properties []cdxProperty `json:"properties"`
		}
		if err := r.value(&raw); err != nil {
			return err
		}
		m.Timestamp, m.Component, m.Licenses, m.Properties = raw.Timestamp, raw.Component, raw.Licenses, raw.Properties
		if m.Component != nil {
			b.target = scan.Printable(m.Component.Name)
		}
		return m.check()
	case "components":
		return r.array(func(i int) error {
			var c cdxComponent
			if err := r.value(&c); err != nil {
				return err
			}
			at := fmt.Sprintf("components[%d]", i)
			if err := c.check(at, 0); err != nil {
				return err
			}
			return b.component(&c, at)
		})
	case "services":
		return r.array(func(i int) error {
			var s struct {
				Name       string
				Properties []cdxProperty
				Data       []struct{ Flow, Classification string }
			}
			if err := r.value(&s); err != nil {
				return err
			}
			for k, d := range s.Data {
				if !slices.Contains([]string{"inbound", "outbound", "bi-directional", "unknown"}, d.Flow) {
					return fmt.Errorf("services[%d].data[%d].flow: %q is none of CycloneDX", i, k, short(d.Flow))
				}
			}
			return checkProperties(fmt.Sprintf("services[%d]", i), s.Properties)
		})
	case "dependencies":
		return r.array(func(i int) error {
			var d cdxDepends
			if err := r.value(&d); err != nil {
				return err
			}
			if d.Ref == "" {
				return fmt.Errorf("dependencies[%d]: ref is missing", i)
			}
			for _, to := range d.DependsOn {
				if err := b.depends(d.Ref, to); err != nil {
					return err
				}
			}
			return nil
		})
	case "spdxVersion":
		return r.value(spdxVersion)
	case "name":
		var s string
		err := r.value(&s)
		b.target = scan.Printable(s)
		return err
	case "packages":
		return r.array(func(i int) error {
			var p spdxPackage
			if err := r.value(&p); err != nil {
				return err
			}
			if p.Name == "" || !strings.HasPrefix(p.SPDXID, "SPDXRef-") {
				return fmt.Errorf("packages[%d]: name or SPDXID is missing", i)
			}
			return b.spdx(&p)
		})
	case "hasExtractedLicensingInfos":
		return r.array(func(int) error {
			var x spdxExtracted
			err := r.value(&x)
			b.named(x.ID, or(x.Name, x.Text))
			return err
		})
	case "relationships":
		return r.array(func(int) error {
			var s spdxRelationship
			if err := r.value(&s); err != nil {
				return err
			}
			return b.related(s.From, s.Type, s.To)
		})
	}
	return r.skip()
}

// component takes a component, and those in it.
func (b *builder) component(c *cdxComponent, at string) error {
	p := scan.Package{PURL: c.PURL, Name: c.Name, Version: c.Version, Dev: c.Scope == "excluded"}
	if c.Group != "" {
		p.Name = c.Group + "/" + c.Name
	}
	for _, l := range c.Licenses {
		switch {
		case l.Expression != nil:
			p.Licenses = appendNew(p.Licenses, license(*l.Expression))
		case l.License.ID != nil:
			p.Licenses = appendNew(p.Licenses, license(*l.License.ID))
		default:
			p.Licenses = appendNew(p.Licenses, license(*l.License.Name))
		}
	}
	for _, h := range c.Hashes {
		for _, n := range hashNames {
			if n.cyclonedx == h.Alg && len(p.Digests) < 10 {
				p.Digests = append(p.Digests, n.ours+":"+strings.ToLower(strings.TrimSpace(h.Content)))
			}
		}
	}
	for _, q := range c.Properties {
		set(&p, *q.Name, q.Value)
	}
	ref := ""
	if c.BOMRef != nil {
		ref = *c.BOMRef
	}
	switch c.Type {
	case "file", "data", "machine-learning-model", "cryptographic-asset", "device":
		// no packages
	default:
		if err := b.add(p, ref); err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
	}
	for i := range c.Components {
		if err := b.component(&c.Components[i], at); err != nil {
			return err
		}
	}
	return nil
}
