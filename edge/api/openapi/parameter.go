package openapi

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/edge/api/schema"
	"github.com/testudo-sec/testudo/internal/jsontree"
)

// index prepares an operation for requests, once its schemas are there.
func (o *Operation) index() {
	for _, p := range o.params {
		if p.in == "header" {
			p.name = http.CanonicalHeaderKey(p.name)
		}
	}
	for _, r := range o.responses {
		for _, p := range r.headers {
			p.name = http.CanonicalHeaderKey(p.name)
		}
	}
	// Objects whose fields stand in the query by themselves come last: they may take what is left.
	slices.SortStableFunc(o.params, func(a, b *parameter) int {
		switch x, y := a.scattered(), b.scattered(); {
		case x && !y:
			return 1
		case y && !x:
			return -1
		}
		return 0
	})
}

// scattered tells whether the parameter's fields are parameters of their own.
func (p *parameter) scattered() bool {
	return (p.in == "query" || p.in == "cookie") && p.style == "form" && p.explode && !p.json && !p.opaque && p.accepts() == schema.Object
}

func (p *parameter) accepts() schema.Types {
	if p.schema == nil {
		return schema.Any
	}
	return p.schema.Accepts()
}

// hold holds the values that were given for a parameter to its description. None means that it was not given.
func (p *parameter) hold(f *findings, given []string, direction schema.Direction) {
	if len(given) == 0 {
		if p.required {
			f.add(p.check, CodeRequired, p.name, "is required")
		}
		return
	}
	if p.opaque || p.schema == nil && !p.json {
		return
	}
	if p.allowEmpty && len(given) == 1 && given[0] == "" {
		return
	}
	if p.json {
		if len(given) > 1 {
			f.add(p.check, CodeRepeated, p.name, "is given more than once: servers differ in which one they take")
			return
		}
		v, notes, err := jsontree.DecodeString(given[0], jsontree.Limits{})
		f.notes(p.check, p.name, notes)
		if err != nil {
			f.add(p.check, syntaxCode(err), p.name, err.Error())
			return
		}
		p.judge(f, v, direction)
		return
	}
	v, code := p.read(given)
	switch code {
	case "":
		p.judge(f, v, direction)
	case CodeRepeated:
		f.add(p.check, code, p.name, "is given more than once: servers differ in which one they take")
	default:
		f.add(p.check, code, p.name, "is not written in the style "+p.style)
	}
}

func (p *parameter) judge(f *findings, v any, direction schema.Direction) {
	if p.schema != nil {
		f.problems(p.check, p.name, p.schema.Check(v, direction))
	}
}

func syntaxCode(err error) string {
	if err == jsontree.ErrDepth || err == jsontree.ErrValues {
		return CodeNotChecked
	}
	return CodeSyntax
}

// read makes a value of what was given, by style and schema; see OpenAPI 3.1.1, section 4.8.12.4.
func (p *parameter) read(given []string) (v any, code string) {
	accept := p.accepts()
	if p.in == "path" && p.style != "simple" {
		return p.prefixed(given[0], accept)
	}
	if accept&^(schema.Array|schema.Object|schema.Null) != 0 && len(given) == 1 {
		v := p.schema.Scalar(given[0])
		if accept&(schema.Array|schema.Object) == 0 || p.schema.Fulfilled(v, schema.Neither) {
			return v, ""
		}
	}
	switch {
	case accept&schema.Array != 0:
		if p.explode && p.style == "form" {
			return p.items(given), ""
		}
		if len(given) > 1 {
			return nil, CodeRepeated
		}
		return p.items(split(given[0], p.separator())), ""
	case len(given) > 1:
		return nil, CodeRepeated
	case accept&schema.Object != 0:
		if p.explode && p.in != "query" && p.in != "cookie" {
			return p.fields(split(given[0], ","))
		}
		return p.alternating(split(given[0], p.separator()))
	}
	return p.schema.Scalar(given[0]), ""
}

func (p *parameter) separator() string {
	switch p.style {
	case "spaceDelimited":
		return " "
	case "pipeDelimited":
		return "|"
	}
	return ","
}

func split(s, separator string) []string {
	if s == "" {
		return nil
	}
	if strings.Count(s, separator) > maxPairs {
		return strings.SplitN(s, separator, maxPairs) // the last one holds separators, which few schemas take
	}
	return strings.Split(s, separator)
}

// prefixed reads the styles label (.a.b) and matrix (;id=a;id=b) of RFC 6570, sections 3.2.5 and 3.2.7.
func (p *parameter) prefixed(s string, accept schema.Types) (any, string) {
	separator := "."
	if p.style == "matrix" {
		separator = ";"
	}
	s, ok := strings.CutPrefix(s, separator)
	if !ok {
		return nil, CodeStyle
	}
	compound := accept&(schema.Array|schema.Object) != 0 && accept&schema.String == 0
	if !compound {
		if p.style == "matrix" {
			if s, ok = strings.CutPrefix(s, p.name+"="); !ok {
				return nil, CodeStyle
			}
		}
		return p.schema.Scalar(s), ""
	}
	if p.explode {
		parts := split(s, separator)
		if accept&schema.Array == 0 {
			return p.fields(parts)
		}
		if p.style == "matrix" {
			for i := range parts {
				if parts[i], ok = strings.CutPrefix(parts[i], p.name+"="); !ok {
					return nil, CodeStyle
				}
			}
		}
		return p.items(parts), ""
	}
	if p.style == "matrix" {
		if s, ok = strings.CutPrefix(s, p.name+"="); !ok {
			return nil, CodeStyle
		}
	}
	if accept&schema.Array != 0 {
		return p.items(split(s, ",")), ""
	}
	return p.alternating(split(s, ","))
}

func (p *parameter) items(parts []string) any {
	items := p.schema.Items()
	out := make([]any, len(parts))
	for i, part := range parts {
		out[i] = part
		if items != nil {
			out[i] = items.Scalar(part)
		}
	}
	return out
}

// alternating reads name,value,name,value.
func (p *parameter) alternating(parts []string) (any, string) {
	if len(parts)%2 != 0 {
		return nil, CodeStyle
	}
	out := map[string]any{}
	for i := 0; i < len(parts); i += 2 {
		if !p.put(out, parts[i], parts[i+1]) {
			return nil, CodeRepeated
		}
	}
	return out, ""
}

// fields reads name=value.
func (p *parameter) fields(parts []string) (any, string) {
	out := map[string]any{}
	for _, part := range parts {
		name, value, ok := strings.Cut(part, "=")
		if !ok {
			return nil, CodeStyle
		}
		if !p.put(out, name, value) {
			return nil, CodeRepeated
		}
	}
	return out, ""
}

func (p *parameter) put(out map[string]any, name, value string) bool {
	if _, has := out[name]; has {
		return false
	}
	out[name] = value
	if s := p.schema.Property(name); s != nil {
		out[name] = s.Scalar(value)
	}
	return true
}

// fromDeep makes of deep's tree what the schema has in mind.
func fromDeep(s *schema.Schema, tree any) any {
	accept := schema.Any
	if s != nil {
		accept = s.Accepts()
	}
	switch tree := tree.(type) {
	case []string:
		if len(tree) > 1 || accept&schema.Array != 0 && accept&schema.String == 0 {
			p := parameter{schema: s}
			if s == nil {
				out := make([]any, len(tree))
				for i, text := range tree {
					out[i] = text
				}
				return out
			}
			return p.items(tree)
		}
		if s == nil {
			return tree[0]
		}
		return s.Scalar(tree[0])
	case map[string]any:
		if s != nil && accept&schema.Object == 0 && accept&schema.Array != 0 {
			var out []any
			for _, key := range slices.Sorted(maps.Keys(tree)) {
				if texts, ok := tree[key].([]string); ok && key == "" { // name[]=a&name[]=b
					out = append(out, list(fromDeep(s, texts))...)
					continue
				}
				out = append(out, fromDeep(s.Items(), tree[key]))
			}
			return out
		}
		out := make(map[string]any, len(tree))
		for key, inner := range tree {
			var p *schema.Schema
			if s != nil {
				p = s.Property(key)
			}
			out[key] = fromDeep(p, inner)
		}
		return out
	}
	return nil
}
