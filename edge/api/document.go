package api

import (
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/edge/api/inventory"
	"github.com/testudo-sec/testudo/edge/api/openapi"
	"github.com/testudo-sec/testudo/edge/api/schema"
)

// described is an OpenAPI document as the inventory compares it.
type described []inventory.Operation

func (d described) Operations() []inventory.Operation { return d }

func describedBy(d *openapi.Document) described {
	var all described
	for _, o := range d.Operations() {
		op := inventory.Operation{Method: o.Method, Template: o.Path, Deprecated: o.Deprecated, Secured: secured(o)}
		if s := o.RequestSchema("application/json"); s != nil {
			op.Request = shape{s}
		}
		if s := o.ResponseSchema(200, "application/json"); s != nil {
			op.Response = shape{s}
		}
		all = append(all, op)
	}
	return all
}

// secured reports whether an operation asks for credentials, and not only takes them.
func secured(o *openapi.Operation) bool {
	return len(o.Security) > 0 && !slices.ContainsFunc(o.Security, func(a openapi.Alternative) bool { return len(a) == 0 })
}

// scopes are those that a token needs for an operation: of the one way there is. Of several ways any would do, and none is asked for.
func scopes(o *openapi.Operation) []string {
	if o == nil || len(o.Security) != 1 {
		return nil
	}
	var all []string
	for _, r := range o.Security[0] {
		if r.Type == "oauth2" || r.Type == "openIdConnect" || r.HTTP == "bearer" {
			all = append(all, r.Scopes...)
		}
	}
	return all
}

// shape is a schema as the inventory compares it. A field that the schema does not name is unknown, though it may allow any.
type shape struct{ s *schema.Schema }

func (s shape) Types() []string {
	var all []string
	for i, name := range [...]string{"null", "boolean", "integer", "number", "string", "array", "object"} {
		if s.s.Accepts()&(1<<i) != 0 {
			all = append(all, name)
		}
	}
	return all
}

func (s shape) Field(name string) (inventory.Shape, bool) {
	if p := s.s.Property(name); p != nil {
		return shape{p}, true
	}
	return nil, !names(s.s)
}

func (s shape) Item() inventory.Shape {
	if i := s.s.Items(); i != nil {
		return shape{i}
	}
	return nil
}

// names reports whether a schema names any property.
func names(s *schema.Schema) bool {
	for range s.Properties {
		return true
	}
	return false
}

// fields is what an operation says of its bodies' fields.
type fields struct{ request, response *schema.Schema }

func fieldsOf(o *openapi.Operation, requestType, responseType string, status int) *fields {
	return &fields{o.RequestSchema(requestType), o.ResponseSchema(status, responseType)}
}

// RequestField implements owner.Fields.
func (f *fields) RequestField(pointer string) bool { return holds(f.request, pointer) }

// ResponseField implements owner.Fields.
func (f *fields) ResponseField(pointer string) bool { return holds(f.response, pointer) }

// holds reports whether a schema knows the field at a pointer, in which * stands for any item. What says nothing of its fields knows all.
func holds(s *schema.Schema, pointer string) bool {
	for token := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		if s == nil {
			return true
		}
		if token == "*" {
			s = s.Items()
			continue
		}
		name := strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
		p := s.Property(name)
		if p == nil {
			return !names(s)
		}
		s = p
	}
	return true
}
