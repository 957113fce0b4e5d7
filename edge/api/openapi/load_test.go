package openapi

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"testing"
)

func TestLoadErrorsNameThePlace(t *testing.T) {
	head := "openapi: 3.1.0\ninfo: {title: t, version: '1'}\n"
	get := head + "paths:\n  /a:\n    get:\n      responses: {}\n"
	files := map[string]string{"api/other.yaml": "A: {type: string}\n", "secret.yaml": "A: {type: string}\n", "api/bad.yaml": "a: [\n"}
	tests := []struct{ text, want string }{
		{"", "there is no document in it"},
		{"just words", "api/doc.yaml:1: no OpenAPI document: an object was expected"},
		{"a: 1", "does not say openapi"},
		{"openapi: 3.1", "does not say openapi"},
		{"swagger: '2.0'", "api/doc.yaml:1: #/swagger: Swagger 2.0 is not read"},
		{"openapi: 4.0.0", "OpenAPI 4.0.0 is not read"},
		{"a: [\n  b", "api/doc.yaml: line"},
		{"{\"openapi\": \"3.1.0\",\n\n ]}", "api/doc.yaml:3: no JSON"},
		{`{"openapi": "3.1.0", "openapi": "3.1.0"}`, "#/openapi stands there twice"},
		{"openapi: 3.1.0\nopenapi: 3.1.0", "stands there twice"},
		{head, "describes no operation"},
		{head + "paths:\n  a: {}", "api/doc.yaml:4: #/paths/a: a path must begin with a slash"},
		{head + "paths:\n  /a/{b: {get: {}}", "a brace is not closed"},
		{head + "paths:\n  /a/{b}{c}: {get: {}}", "with nothing between"},
		{head + "paths:\n  /a/{b}: {get: {}}\n  /a/{c}: {get: {}}", "is the same as"},
		{get + "      parameters:\n        - {name: x, in: body}", "api/doc.yaml:8: #/paths/~1a/get/parameters/0/in: must be query, header, path or cookie"},
		{get + "      parameters:\n        - {name: x, in: query, style: matrix}", "styles form, spaceDelimited"},
		{get + "      parameters:\n        - {name: x, in: query}\n        - {name: x, in: query}", "stands there twice"},
		{get + "      parameters:\n        - {name: x, in: query, schema: {type: strin}}", "api/doc.yaml:8: #/paths/~1a/get/parameters/0/schema/type: no schema"},
		{get + "      parameters:\n        - {name: x, in: query, schema: {items: 7}}", "a schema must be an object"},
		{get + "      parameters:\n        - {$ref: '#/nowhere'}", "leads nowhere"},
		{get + "      parameters:\n        - {$ref: 'https://example.org/x.yaml#/A'}", "leads elsewhere"},
		{get + "      parameters:\n        - {name: x, in: query, schema: {$ref: 'file:///etc/passwd'}}", "leads elsewhere"},
		{get + "      parameters:\n        - {name: x, in: query, schema: {$ref: /etc/passwd}}", "leads elsewhere"},
		{get + "      parameters:\n        - {name: x, in: query, schema: {$ref: '../secret.yaml#/A'}}", "leads out of the document's folder"},
		{get + "      parameters:\n        - {name: x, in: query, schema: {$ref: '%2e%2e/secret.yaml#/A'}}", "leads out of the document's folder"},
		{get + "      parameters:\n        - {name: x, in: query, schema: {$ref: 'none.yaml#/A'}}", "none.yaml: file does not exist"},
		{get + "      parameters:\n        - {name: x, in: query, schema: {$ref: 'bad.yaml#/A'}}", "api/bad.yaml: line"},
		{get + "      parameters:\n        - {name: x, in: query, schema: {$ref: 'other.yaml#/A'}}", ""},
		{get + "      parameters: [&p {$ref: '#/paths/~1a/get/parameters/0'}]", "in a circle"},
		{get + "      security: [{none: []}]", "no security scheme is called"},
		{get + "x: &x [*x]", "nested more than 200"},
		{get + bomb(), "aliases followed"},
		{get + "x: " + strings.Repeat("[", 300) + strings.Repeat("]", 300), "nested"},
		{get + "servers: [{url: 'https://x/{v}'}]", "not described"},
	}
	for _, test := range tests {
		_, err := Load("api/doc.yaml", []byte(test.text), func(name string) ([]byte, error) {
			if text, ok := files[name]; ok {
				return []byte(text), nil
			}
			return nil, fmt.Errorf("%s: %w", name, os.ErrNotExist)
		})
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%.200q: %v", test.text, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%.200q: %v, want %q", test.text, err, test.want)
		}
	}
	if _, err := Load("x.yaml", make([]byte, maxFile+1), nil); err == nil || !strings.Contains(err.Error(), "32 MiB") {
		t.Errorf("a file of 32 MiB and a byte: %v", err)
	}
}

// bomb is a document of a few hundred bytes that grows to billions of values when its aliases are followed.
func bomb() string {
	out := "x0: &x0 [1,1,1,1,1,1,1,1,1,1]\n"
	for i := 1; i < 10; i++ {
		out += fmt.Sprintf("x%d: &x%d [%s*x%d]\n", i, i, strings.Repeat(fmt.Sprintf("*x%d, ", i-1), 9), i-1)
	}
	return out
}

func TestManyFiles(t *testing.T) {
	n := 0
	_, err := Load("f0.yaml", []byte("openapi: 3.1.0\npaths: {/a: {get: {parameters: [{name: x, in: query, schema: {$ref: 'f1.yaml'}}]}}}"), func(name string) ([]byte, error) {
		n++
		return fmt.Appendf(nil, "items: {$ref: f%d.yaml}", n+1), nil
	})
	if err == nil || !strings.Contains(err.Error(), "more than 500 files") {
		t.Errorf("files without end: %v after %d", err, n)
	}
}

func TestVersion30(t *testing.T) {
	d := inline(t, "3.0.3", `paths:
  /a:
    post:
      requestBody:
        content:
          application/json:
            schema:
              type: object
              properties:
                a: {type: integer, nullable: true, minimum: 1, exclusiveMinimum: true}
                b: {type: string, enum: [x, y], nullable: true}
                c: {nullable: true, allOf: [{$ref: '#/components/schemas/C'}]}
                d: {$ref: '#/components/schemas/C', maxLength: 1}
                e: {type: string, format: byte, example: {not: checked}}
                f: {type: integer, const: 7}
      responses: {}
components:
  schemas:
    C: {type: string, maxLength: 3}
`)
	tests := map[string]string{
		`{"a":2,"b":"x","c":"abc","d":"abc","e":"aGk=","f":8}`: "",
		`{"a":null,"b":null,"c":null}`:                         "",
		`{"a":1}`:                                              "body /a exclusiveMinimum",
		`{"b":"z"}`:                                            "body /b enum",
		`{"c":"abcd"}`:                                         "body /c maxLength",
		`{"d":null}`:                                           "body /d type",
		`{"e":"?"}`:                                            "body /e format",
		`{"f":null}`:                                           "body /f type",
	}
	for body, want := range tests {
		op, r := request(t, d, "POST /a\nContent-Type: application/json\n\n"+body)
		if got := codes(op.CheckRequest(r)); got != want {
			t.Errorf("%s: %q, want %q", body, got, want)
		}
	}
}

func TestDiscriminatorsOfDocuments(t *testing.T) {
	d := inline(t, "3.0.3", `paths:
  /a:
    post:
      requestBody: {content: {application/json: {schema: {$ref: '#/components/schemas/Pet'}}}}
      responses: {}
components:
  schemas:
    Pet: {oneOf: [{$ref: '#/components/schemas/Cat'}, {$ref: '#/components/schemas/Dog'}], discriminator: {propertyName: kind, mapping: {hound: Dog, tom: '#/components/schemas/Cat'}}}
    Cat: {type: object, properties: {kind: {type: string}, lives: {type: integer}}}
    Dog: {type: object, properties: {kind: {type: string}, bark: {type: boolean}}}
`)
	tests := map[string]string{
		`{"kind":"Cat","lives":1}`:     "",
		`{"kind":"tom","lives":"x"}`:   "body /lives type",
		`{"kind":"hound","bark":true}`: "",
		`{"kind":"Dog","bark":1}`:      "body /bark type",
		`{"kind":"Cow"}`:               "body /kind discriminator",
	}
	for body, want := range tests {
		op, r := request(t, d, "POST /a\nContent-Type: application/json\n\n"+body)
		if got := codes(op.CheckRequest(r)); got != want {
			t.Errorf("%s: %q, want %q", body, got, want)
		}
	}
}

func TestNamedSchemas(t *testing.T) {
	d := inline(t, "3.1.0", `paths:
  /a:
    post:
      requestBody: {content: {application/json: {schema: {$ref: '#tree'}}}}
      responses: {}
    put:
      requestBody: {content: {application/json: {schema: {$ref: 'https://example.org/leaf'}}}}
      responses: {}
components:
  schemas:
    Tree: {$anchor: tree, type: object, properties: {leaf: {$ref: 'https://example.org/leaf'}}}
    Leaf: {$id: 'https://example.org/leaf', type: object, properties: {n: {$ref: '#/$defs/number'}}, $defs: {number: {type: integer}}}
`)
	for request1, want := range map[string]string{
		"POST /a\nContent-Type: application/json\n\n{\"leaf\":{\"n\":1}}":  "",
		"POST /a\nContent-Type: application/json\n\n{\"leaf\":{\"n\":{}}}": "body /leaf/n type",
		"PUT /a\nContent-Type: application/json\n\n{\"n\":\"\"}":           "body /n type",
	} {
		op, r := request(t, d, request1)
		if got := codes(op.CheckRequest(r)); got != want {
			t.Errorf("%s: %q, want %q", request1, got, want)
		}
	}
}

func TestWarnings(t *testing.T) {
	d := inline(t, "3.1.0", "paths: {/a: {get: {parameters: [{name: x, in: query, schema: {type: string, pattern: '^(?!admin)'}}, {name: id, in: path, schema: {}}], responses: {}}}}\n")
	if len(d.Warnings) != 2 || !strings.Contains(d.Warnings[1], "^(?!admin)") || !strings.Contains(d.Warnings[0], "inline.yaml:3") {
		t.Errorf("%q", d.Warnings)
	}
}

func FuzzLoad(f *testing.F) {
	for _, name := range []string{"orders.yaml", "parts/form.yaml"} {
		b, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"openapi":"3.0.0","paths":{"/{a}":{"get":{"parameters":[{"in":"query","name":"q","schema":{"nullable":true,"anyOf":[{}]}}]}}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := Load("api/doc.yaml", b, func(name string) ([]byte, error) {
			if !strings.HasPrefix(path.Clean(name), "api/") {
				t.Fatalf("%q was opened", name)
			}
			return nil, errors.New("not here")
		})
		if err != nil {
			return
		}
		for _, op := range d.Operations() {
			op.CheckRequest(&Request{Params: []Param{{"a", "1"}}, RawQuery: "q=1&a[b]=c", Body: []byte(`{"a":[1]}`)})
			op.CheckResponse(&Response{Status: 200, Body: []byte("[]")})
		}
	})
}

func FuzzCheckRequest(f *testing.F) {
	d := orders(f)
	f.Add("GET", "/v1/orders", "limit=1&filter[state]=open", "text/plain", "session=1", []byte("x"))
	f.Add("POST", "/v1/orders", "", "application/json", "", []byte(`{"product":"a","quantity":1,"tree":{"children":[]}}`))
	f.Add("POST", "/v1/orders", "", "application/x-www-form-urlencoded", "", []byte("product=a&address[city]=x&tags=1"))
	f.Add("POST", "/v1/orders", "", "multipart/form-data; boundary=b", "", []byte("--b\r\nContent-Disposition: form-data; name=\"order\"\r\n\r\n{}\r\n--b--\r\n"))
	f.Add("GET", "/v1/styles/a=1/.1/;matrix=1", "", "", "", []byte(nil))
	f.Fuzz(func(t *testing.T, method, p, query, kind, cookie string, body []byte) {
		op, params, found := d.Find(method, p)
		if op == nil {
			if len(found.Violations) == 0 && method != "OPTIONS" {
				t.Fatalf("%q %q: neither operation nor violation", method, p)
			}
			return
		}
		header := map[string][]string{"Content-Type": {kind}, "Cookie": {cookie}, "Authorization": {"Bearer x"}, "X-Many": {query}}
		r := &Request{Params: params, RawQuery: query, Header: header, Body: body}
		for _, v := range op.CheckRequest(r) {
			if v.Check == "" || v.Code == "" || v.Message == "" || len(v.Where) > 2000 {
				t.Fatalf("%+v", v)
			}
		}
		op.CheckResponse(&Response{Status: len(body), Header: header, Body: body})
	})
}

func BenchmarkCheckRequest(b *testing.B) {
	d := orders(b)
	lines := strings.TrimSuffix(strings.Repeat(`{"product":"lantern","quantity":2,"price":19.95,"note":"as a gift, please wrap it"},`, 10), ",")
	body := `{"product":"basket","quantity":1,"kind":"order","customer":{"name":"Ada Lovelace","email":"ada@example.org","age":36},"at":[1.5,2.5],"lines":[` + lines + `]}`
	op, r := request(b, d, "POST /v1/orders\nAuthorization: Bearer x\nContent-Type: application/json\n\n"+body)
	b.Run(fmt.Sprintf("json-%d", len(body)), func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r.Parsed, r.JSON = false, nil
			if v := op.CheckRequest(r); v != nil {
				b.Fatal(v)
			}
		}
	})
	trees := strings.TrimSuffix(strings.Repeat(`{"children":[{},{}]},`, 45), ",")
	top, tr := request(b, d, "POST /v1/orders\nAuthorization: Bearer x\nContent-Type: application/json\n\n"+`{"product":"a","quantity":2,"tree":{"children":[`+trees+`]}}`)
	b.Run("tree", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			tr.Parsed, tr.JSON = false, nil
			if v := top.CheckRequest(tr); v != nil {
				b.Fatal(v)
			}
		}
	})
	b.Run("find", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if op, _, _ := d.Find("GET", "/v1/orders/7/items/lamp.json"); op == nil {
				b.Fatal("not found")
			}
		}
	})
	op, r = request(b, d, "GET /v1/orders?limit=10&tags=a&tags=b&filter[state]=open")
	b.Run("query", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if v := op.CheckRequest(r); v != nil {
				b.Fatal(v)
			}
		}
	})
}

// TestManyAtOnce shares one document between goroutines; the race detector watches.
func TestManyAtOnce(t *testing.T) {
	d := orders(t)
	done := make(chan string, 8)
	for i := range 8 {
		go func() {
			out := ""
			for j := range 50 {
				op, params, _ := d.Find("POST", "/v1/orders")
				body := fmt.Sprintf(`{"product":"a","quantity":%d,"tree":{"children":[{"x":%d}]}}`, i-3, j)
				r := &Request{Params: params, Header: map[string][]string{"Content-Type": {"application/json"}, "Authorization": {"Bearer x"}}, Body: []byte(body)}
				out = codes(op.CheckRequest(r))
			}
			done <- out
		}()
	}
	wrong := 0
	for range 8 {
		switch got := <-done; got {
		case "body /tree/children/0/x unevaluatedProperties":
		case "body /quantity exclusiveMinimum, body /tree/children/0/x unevaluatedProperties":
			wrong++
		default:
			t.Errorf("%q", got)
		}
	}
	if wrong != 4 {
		t.Errorf("%d of the goroutines sent a quantity of none", wrong)
	}
}
