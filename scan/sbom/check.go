package sbom

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/internal/spdx"
)

var (
	serialNumber   = regexp.MustCompile(`^urn:uuid:[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$`)
	componentTypes = []string{"application", "framework", "library", "container", "platform", "operating-system", "device", "device-driver", "firmware", "file", "machine-learning-model", "data", "cryptographic-asset"}
	patchTypes     = []string{"unofficial", "monkey", "backport", "cherry-pick"}
	issueTypes     = []string{"defect", "enhancement", "security"}
	otherHashes    = map[string]int{"SHA3-256": 64, "SHA3-384": 96, "SHA3-512": 128, "BLAKE2b-256": 64, "BLAKE2b-384": 96, "BLAKE2b-512": 128, "BLAKE3": 64}
)

const maxNesting = 50

// check holds a component to the schema, in what is read of it.
func (c *cdxComponent) check(at string, depth int) error {
	switch {
	case depth > maxNesting:
		return fmt.Errorf("%s: components nested deeper than %d", at, maxNesting)
	case c.Type == "":
		return fmt.Errorf("%s: type is missing", at)
	case !slices.Contains(componentTypes, c.Type):
		return fmt.Errorf("%s.type: %q is none of CycloneDX", at, short(c.Type))
	case c.Name == "":
		return fmt.Errorf("%s: name is missing", at)
	case c.BOMRef != nil && *c.BOMRef == "":
		return fmt.Errorf("%s.bom-ref: is empty", at)
	case c.Scope != "" && c.Scope != "required" && c.Scope != "optional" && c.Scope != "excluded":
		return fmt.Errorf("%s.scope: %q: want required, optional or excluded", at, short(c.Scope))
	case c.SWID != nil && c.SWID.TagID == "":
		return fmt.Errorf("%s.swid: tagId is missing", at)
	}
	for i, h := range c.Hashes {
		if err := h.check(); err != nil {
			return fmt.Errorf("%s.hashes[%d]: %w", at, i, err)
		}
	}
	if err := c.Licenses.check(at + ".licenses"); err != nil {
		return err
	}
	if err := checkProperties(at, c.Properties); err != nil {
		return err
	}
	if c.Pedigree != nil {
		for i, p := range c.Pedigree.Patches {
			if !slices.Contains(patchTypes, p.Type) {
				return fmt.Errorf("%s.pedigree.patches[%d].type: %q is none of CycloneDX", at, i, short(p.Type))
			}
			for k, r := range p.Resolves {
				if !slices.Contains(issueTypes, r.Type) {
					return fmt.Errorf("%s.pedigree.patches[%d].resolves[%d].type: %q is none of CycloneDX", at, i, k, short(r.Type))
				}
			}
		}
	}
	for i := range c.Components {
		if err := c.Components[i].check(fmt.Sprintf("%s.components[%d]", at, i), depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (h *cdxHash) check() error {
	digits := otherHashes[h.Alg]
	for _, n := range hashNames {
		if n.cyclonedx == h.Alg {
			digits = n.digits
		}
	}
	content := strings.TrimSpace(h.Content)
	if digits == 0 {
		return fmt.Errorf("alg %q is none of CycloneDX", short(h.Alg))
	}
	if !isDigest(content, digits) {
		return fmt.Errorf("content %q is no %s digest", short(content), h.Alg)
	}
	return nil
}

func (l cdxLicenses) check(at string) error {
	for i, c := range l {
		at := fmt.Sprintf("%s[%d]", at, i)
		switch {
		case c.Expression == nil && c.License == nil, c.Expression != nil && c.License != nil:
			return fmt.Errorf("%s: want a license or an expression", at)
		case c.Expression != nil && len(l) > 1:
			return fmt.Errorf("%s: an expression stands alone", at)
		case c.Expression != nil:
			continue
		case (c.License.ID == nil) == (c.License.Name == nil):
			return fmt.Errorf("%s.license: want an id or a name", at)
		case c.License.Text != nil && c.License.Text.Encoding != "" && c.License.Text.Encoding != "base64":
			return fmt.Errorf("%s.license.text.encoding: %q: want base64", at, short(c.License.Text.Encoding))
		}
		if c.License.ID != nil {
			if id, ok := spdx.License(*c.License.ID); !ok || id != *c.License.ID {
				if _, ok := spdx.Exception(*c.License.ID); !ok { // the schema's list has the exceptions too
					return fmt.Errorf("%s.license.id: %q is not of the SPDX list", at, short(*c.License.ID))
				}
			}
		}
		if err := checkProperties(at+".license", c.License.Properties); err != nil {
			return err
		}
	}
	return nil
}

func checkProperties(at string, all []cdxProperty) error {
	for i, p := range all {
		if p.Name == nil {
			return fmt.Errorf("%s.properties[%d]: name is missing", at, i)
		}
	}
	return nil
}

func (m *cdxMetadata) check() error {
	if m.Timestamp != "" {
		if _, err := time.Parse(time.RFC3339, strings.TrimSpace(m.Timestamp)); err != nil {
			return fmt.Errorf("metadata.timestamp: %q is no time of RFC 3339", short(m.Timestamp))
		}
	}
	if m.Component != nil {
		if err := m.Component.check("metadata.component", 0); err != nil {
			return err
		}
	}
	if err := m.Licenses.check("metadata.licenses"); err != nil {
		return err
	}
	return checkProperties("metadata", m.Properties)
}

func short(s string) string {
	if len(s) > 60 {
		return strings.ToValidUTF8(s[:60], "") + "…"
	}
	return s
}
