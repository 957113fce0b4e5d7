package openapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"github.com/testudo-sec/testudo/edge/api/schema"
)

// gatherer collects the schemas of a document and of the files beside it into one set. Each schema that is used
// or referred to gets a name of its own, and references are made to say these names, so that the set stands alone. Schemas of
// OpenAPI 3.0 are translated into JSON Schema 2020-12 on the way.
type gatherer struct {
	*sources
	old     bool // OpenAPI 3.0
	named   bool // some schema has an $id or an anchor, which references can name
	names   map[string]string
	places  map[string]node // by name
	defs    map[string]any
	pending []string
	copied  int
}

// maxCopied bounds the values of all schemas.
const maxCopied = 4_000_000

func newGatherer(s *sources, root *source, old bool) *gatherer {
	g := &gatherer{sources: s, old: old, names: map[string]string{}, places: map[string]node{}, defs: map[string]any{}}
	g.named = !old && (bytes.Contains(root.text, []byte("$id")) || bytes.Contains(root.text, []byte("nchor")))
	return g
}

// name returns the name in the set of the schema at a place.
func (g *gatherer) name(n node) string {
	key := n.file.name + "#" + n.ptr
	if name, ok := g.names[key]; ok {
		return name
	}
	name := "s" + strconv.Itoa(len(g.names))
	g.names[key], g.places[name] = name, n
	g.pending = append(g.pending, name)
	return name
}

// compile makes the set, once all schemas in use have a name.
func (g *gatherer) compile() (*schema.Set, error) {
	for len(g.pending) > 0 {
		name := g.pending[len(g.pending)-1]
		g.pending = g.pending[:len(g.pending)-1]
		v, err := g.convert(g.places[name], 0, false)
		if err != nil {
			return nil, err
		}
		g.defs[name] = v
	}
	set, err := schema.Compile(g.defs)
	if e, ok := errors.AsType[*schema.Error](err); ok {
		at := g.places[e.Name]
		at.ptr += e.Pointer
		return nil, at.errorf("no schema: %s", e.Reason)
	}
	return set, err
}

// How the keywords hold schemas. Keywords that are not listed here or in plain check nothing, and are left out.
var (
	holdOne  = []string{"items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames", "unevaluatedItems", "unevaluatedProperties"}
	holdList = []string{"allOf", "anyOf", "oneOf", "prefixItems"}
	holdMap  = []string{"properties", "patternProperties", "$defs", "dependentSchemas"}
	plain    = []string{"type", "enum", "const", "format", "multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum", "maxLength", "minLength",
		"pattern", "maxItems", "minItems", "uniqueItems", "maxContains", "minContains", "maxProperties", "minProperties", "required", "dependentRequired",
		"readOnly", "writeOnly"}
	identity = []string{"$id", "$anchor", "$dynamicAnchor", "$dynamicRef"}
	newer    = []string{"const", "if", "then", "else", "contains", "propertyNames", "unevaluatedItems", "unevaluatedProperties", "prefixItems", "patternProperties",
		"$defs", "dependentSchemas", "maxContains", "minContains", "dependentRequired"} // than OpenAPI 3.0
)

// convert copies a schema. Within a schema that has an $id, references are relative to that, and stay.
func (g *gatherer) convert(n node, depth int, within bool) (any, error) {
	if g.copied++; g.copied > maxCopied {
		return nil, n.errorf("the document's schemas have more than %d values", maxCopied)
	}
	if depth > maxDepth {
		return nil, n.errorf("schemas are nested more than %d levels deep", maxDepth)
	}
	switch v := n.v.(type) {
	case bool:
		return v, nil
	case map[string]any:
		return g.object(n, v, depth, within)
	}
	return nil, n.errorf("a schema must be an object")
}

func (g *gatherer) object(n node, v map[string]any, depth int, within bool) (any, error) {
	out := map[string]any{}
	if _, has := v["$id"].(string); has && !g.old {
		within = true
	}
	if ref, ok := v["$ref"].(string); ok {
		to, err := g.reference(n, ref, within)
		if err != nil {
			return nil, err
		}
		out["$ref"] = to
		if g.old {
			return out, nil // what stands beside a reference is ignored
		}
	}
	skip := func(key string) bool {
		if _, has := v[key]; !has {
			return true
		}
		return g.old && contains(newer, key)
	}
	for _, key := range holdOne {
		if skip(key) {
			continue
		}
		c, err := g.convert(n.get(key), depth+1, within)
		if err != nil {
			return nil, err
		}
		out[key] = c
	}
	for _, key := range holdList {
		if skip(key) {
			continue
		}
		inner := n.get(key)
		if inner.list() == nil {
			return nil, inner.errorf("must be a list of schemas")
		}
		list := make([]any, len(inner.list()))
		for i := range list {
			c, err := g.convert(inner.at(i), depth+1, within)
			if err != nil {
				return nil, err
			}
			list[i] = c
		}
		out[key] = list
	}
	for _, key := range holdMap {
		if skip(key) {
			continue
		}
		inner := n.get(key)
		if inner.object() == nil {
			return nil, inner.errorf("must be an object of schemas")
		}
		m := map[string]any{}
		for name := range inner.object() {
			c, err := g.convert(inner.get(name), depth+1, within)
			if err != nil {
				return nil, err
			}
			m[name] = c
		}
		out[key] = m
	}
	for _, key := range plain {
		if !skip(key) {
			out[key] = v[key]
		}
	}
	if !g.old {
		for _, key := range identity {
			if x, has := v[key]; has {
				out[key] = x
			}
		}
		if s, ok := v["$schema"].(string); ok && strings.Contains(s, "://json-schema.org/") {
			out["$schema"] = s
		}
	}
	if err := g.discriminator(n, out); err != nil {
		return nil, err
	}
	if g.old {
		return translate(n, out)
	}
	return out, nil
}

func contains(list []string, s string) bool {
	for _, one := range list {
		if one == s {
			return true
		}
	}
	return false
}

// reference names the schema that a $ref leads to.
func (g *gatherer) reference(n node, ref string, within bool) (string, error) {
	if within {
		return ref, nil
	}
	if g.named {
		// An anchor, or the $id of a schema: the set resolves it, or says that there is none.
		if strings.HasPrefix(ref, "#") && len(ref) > 1 && ref[1] != '/' || strings.Contains(ref, "://") {
			return ref, nil
		}
	}
	to, err := g.follow(n, ref)
	if err != nil {
		return "", err
	}
	return "#/$defs/" + g.name(to), nil
}

// discriminator makes the mapping of a discriminator complete: the names of the schemas are values too.
func (g *gatherer) discriminator(n node, out map[string]any) error {
	d := n.get("discriminator")
	property := d.get("propertyName").text()
	if property == "" {
		return nil
	}
	mapping := map[string]any{}
	for _, key := range []string{"oneOf", "anyOf"} {
		for i := range n.get(key).list() {
			ref := n.get(key).at(i).get("$ref").text()
			if ref == "" {
				continue
			}
			to, err := g.reference(n, ref, false)
			if err != nil {
				return err
			}
			name := ref[strings.LastIndexAny(ref, "/#")+1:]
			mapping[name] = to
		}
	}
	if len(mapping) == 0 {
		return nil
	}
	for value := range d.get("mapping").object() {
		ref := d.get("mapping").get(value).text()
		if to, ok := mapping[ref]; ok { // the bare name of a schema
			mapping[value] = to
			continue
		}
		if !strings.ContainsAny(ref, "/#.") {
			ref = "#/components/schemas/" + ref
		}
		to, err := g.reference(d, ref, false)
		if err != nil {
			return err
		}
		mapping[value] = to
	}
	out["discriminator"] = map[string]any{"propertyName": property, "mapping": mapping}
	return nil
}

// translate makes a schema of OpenAPI 3.0 one of JSON Schema 2020-12.
func translate(n node, s map[string]any) (any, error) {
	for _, pair := range [...][2]string{{"minimum", "exclusiveMinimum"}, {"maximum", "exclusiveMaximum"}} {
		switch v := s[pair[1]].(type) {
		case bool:
			delete(s, pair[1])
			if limit, has := s[pair[0]]; v && has {
				s[pair[1]] = limit
				delete(s, pair[0])
			}
		case nil, json.Number:
		default:
			return nil, n.get(pair[1]).errorf("must be true or false")
		}
	}
	if t, ok := s["type"].(string); ok && t == "file" {
		s["type"] = "string"
	}
	if !n.get("nullable").yes() {
		return s, nil
	}
	// Those who write nullable beside enum, allOf or $ref mean that null is allowed.
	if enum, ok := s["enum"].([]any); ok {
		s["enum"] = append(append([]any{}, enum...), nil)
	}
	simple := true
	for _, key := range []string{"allOf", "anyOf", "oneOf", "not"} {
		if _, has := s[key]; has {
			simple = false
		}
	}
	if simple {
		if t, ok := s["type"].(string); ok {
			s["type"] = []any{t, "null"}
		}
		return s, nil
	}
	marks := map[string]any{"anyOf": []any{map[string]any{"type": "null"}, s}}
	for _, key := range []string{"readOnly", "writeOnly"} {
		if v, has := s[key]; has {
			marks[key] = v
		}
	}
	return marks, nil
}
