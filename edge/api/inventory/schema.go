package inventory

import "slices"

// Schema is the part of JSON Schema (draft 2020-12) that is learned.
type Schema struct {
	Type       Types              `json:"type,omitempty"`
	Format     string             `json:"format,omitempty"`
	Enum       []string           `json:"enum,omitempty"`
	Properties map[string]*Schema `json:"properties,omitempty"`
	Required   []string           `json:"required,omitempty"`
	Additional *Schema            `json:"additionalProperties,omitempty"` // of what stands under ids
	Items      *Schema            `json:"items,omitempty"`
	since      int64
}

// Types are names of JSON types. One alone is written without brackets.
type Types []string

// MarshalJSON writes "string" or ["string","null"].
func (t Types) MarshalJSON() ([]byte, error) {
	b := []byte{}
	for i, s := range t {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), s...), '"')
	}
	if len(t) == 1 {
		return b, nil
	}
	return append(append([]byte{'['}, b...), ']'), nil
}

func (k kinds) types() Types {
	var t Types
	for i, name := range [...]string{"null", "boolean", "integer", "number", "string", "array", "object"} {
		if k&(1<<i) == 0 || 1<<i == isInteger && k&isNumeric != 0 {
			continue
		}
		t = append(t, name)
	}
	return t
}

// leaf is the schema of a value without what is inside it.
func leaf(f *field) *Schema {
	s := &Schema{Type: f.Kinds.types(), since: f.First}
	if f.Kinds&isString != 0 {
		s.Format = f.Shapes.format()
		if s.Enum = f.enum(); s.Enum != nil && f.Kinds&isNull != 0 {
			s.Enum = nil // null would have to be among them
		}
	}
	return s
}

// format is what all strings of a field had in common, as JSON Schema calls it.
func (s shapeSet) format() string {
	switch s &^ manyValues {
	case 1 << uuid:
		return "uuid"
	case 1 << day:
		return "date"
	case 1 << clock:
		return "date-time"
	case 1 << email:
		return "email"
	}
	return ""
}

// schema is that of a parameter in a path.
func (s shapeSet) schema() *Schema {
	switch {
	case s == 1<<integer:
		return &Schema{Type: Types{"integer"}}
	case s != 0 && s&^(1<<integer|1<<number) == 0:
		return &Schema{Type: Types{"number"}}
	}
	return &Schema{Type: Types{"string"}, Format: s.format()}
}

// schemaOf tells what is known of bodies; of requests only what is vouched for.
func schemaOf(f *field, asked bool) *Schema {
	if f == nil {
		return nil
	}
	s := leaf(f)
	for _, k := range f.Kids {
		if asked && !k.vouched() {
			continue
		}
		if s.Properties == nil {
			s.Properties = map[string]*Schema{}
		}
		s.Properties[k.Name] = schemaOf(k, asked)
		if f.Object >= 16 && k.Count >= f.Object {
			s.Required = append(s.Required, k.Name)
		}
	}
	slices.Sort(s.Required)
	s.Items, s.Additional = schemaOf(f.Item, asked), schemaOf(f.Rest, asked)
	return s
}
