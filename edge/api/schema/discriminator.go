package schema

import (
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// choice is a discriminator (OpenAPI 3.1.1, section 4.8.25): a property's value names the branch.
type choice struct {
	property string
	branches map[string]*Schema
	anyOf    bool // of anyOf, not of oneOf
}

// discriminator is what a schema says: values and the references they stand for, all of them.
type discriminator struct {
	property string
	mapping  map[string]string
}

// Validate leaves the library's own evaluation as the standard has it.
func (*discriminator) Validate(*jsonschema.ValidatorContext, any) {}

func discriminators() *jsonschema.Vocabulary {
	return &jsonschema.Vocabulary{
		URL: "https://schemas.invalid/discriminator",
		Compile: func(_ *jsonschema.CompilerContext, obj map[string]any) (jsonschema.SchemaExt, error) {
			d, ok := obj["discriminator"].(map[string]any)
			if !ok {
				return nil, nil
			}
			property, _ := d["propertyName"].(string)
			out := &discriminator{property: property, mapping: map[string]string{}}
			mapping, _ := d["mapping"].(map[string]any)
			for value, ref := range mapping {
				if ref, ok := ref.(string); ok {
					out.mapping[value] = ref
				}
			}
			if property == "" || len(out.mapping) == 0 {
				return nil, nil
			}
			return out, nil
		},
	}
}

// choice finds the branches that a discriminator's values stand for; nil where they are none of oneOf or anyOf.
func (b *builder) choice(d *discriminator, l *jsonschema.Schema) *choice {
	branches, any := l.OneOf, false
	if len(branches) == 0 {
		branches, any = l.AnyOf, true
	}
	c := &choice{property: d.property, branches: map[string]*Schema{}, anyOf: any}
	for _, branch := range branches {
		if branch.Ref == nil {
			return nil // a branch without a name: only trying tells
		}
		for value, ref := range d.mapping {
			if strings.HasSuffix(branch.Ref.Location, ref) {
				c.branches[value] = b.schema(branch)
			}
		}
	}
	if len(c.branches) == 0 {
		return nil
	}
	return c
}
