package inventory

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/edge/api/openapi"
	"github.com/testudo-sec/testudo/edge/api/schema"
)

// describedBy makes a Document of an OpenAPI document, as whoever composes both does.
func describedBy(d *openapi.Document) described {
	var all described
	for _, o := range d.Operations() {
		op := Operation{Method: o.Method, Template: o.Path, Deprecated: o.Deprecated,
			Secured: len(o.Security) > 0 && !slices.ContainsFunc(o.Security, func(a openapi.Alternative) bool { return len(a) == 0 })}
		if s := o.RequestSchema("application/json"); s != nil {
			op.Request = schemaShape{s}
		}
		if s := o.ResponseSchema(200, "application/json"); s != nil {
			op.Response = schemaShape{s}
		}
		all = append(all, op)
	}
	return all
}

// schemaShape is a Shape of a schema. A field that the schema does not name is unknown, though it may allow any.
type schemaShape struct{ s *schema.Schema }

func (s schemaShape) Types() []string {
	var all []string
	for i, name := range [...]string{"null", "boolean", "integer", "number", "string", "array", "object"} {
		if s.s.Accepts()&(1<<i) != 0 {
			all = append(all, name)
		}
	}
	return all
}

func (s schemaShape) Field(name string) (Shape, bool) {
	if p := s.s.Property(name); p != nil {
		return schemaShape{p}, true
	}
	named := false
	for range s.s.Properties {
		named = true
		break
	}
	return nil, !named
}

func (s schemaShape) Item() Shape {
	if i := s.s.Items(); i != nil {
		return schemaShape{i}
	}
	return nil
}

// TestShop compares what the demo shop's own document says with traffic that keeps to it, and with traffic that does not.
func TestShop(t *testing.T) {
	file := filepath.Join("..", "..", "..", "examples", "shop", "openapi.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	d, err := openapi.Load(file, text, nil)
	if err != nil {
		t.Fatal(err)
	}
	v := New(Config{})
	learn := func(method, path, request, response string) {
		for i := range 30 {
			o := Observation{Time: start, Route: "shop", Method: method, Path: path, Status: 200, Caller: uint64(i) + 1, ResponseType: "application/json"}
			if request != "" {
				o.Request, o.RequestType = parse(t, request), "application/json"
			}
			if response != "" {
				o.Response = parse(t, response)
			}
			v.Learn(&o)
		}
	}
	learn("GET", "/", "", "")
	learn("GET", "/search", "", "")
	learn("GET", "/static/shop.css", "", "")
	doc := describedBy(d)
	if drift := v.Compare("shop", doc, Options{}); len(drift) != 0 {
		t.Errorf("no difference is told as %+v", drift)
	}
	learn("GET", "/api/admin/export", "", `[{"id": 1}]`)
	learn("GET", "/api/products", "", `{"products": [{"slug": 7, "purchase_price": 1}]}`)
	var got []string
	for _, x := range v.Compare("shop", doc, Options{}) {
		got = append(got, fmt.Sprint(x.Kind, " ", x.Template, " ", x.Where))
	}
	want := []string{"shadow /api/admin/export ", "new-field /api/products response /products/*/purchase_price", "other-type /api/products response /products/*/slug"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
