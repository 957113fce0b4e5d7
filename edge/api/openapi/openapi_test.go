package openapi

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func orders(t testing.TB) *Document {
	t.Helper()
	return load(t, "orders.yaml")
}

func load(t testing.TB, name string) *Document {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	d, err := Load(name, b, func(p string) ([]byte, error) { return os.ReadFile(filepath.Join("testdata", filepath.FromSlash(p))) })
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// inline loads a document of version 3.0 or 3.1 with these paths.
func inline(t testing.TB, version, rest string) *Document {
	t.Helper()
	d, err := Load("inline.yaml", []byte("openapi: "+version+"\ninfo: {title: t, version: '1'}\n"+rest), nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func codes(v []Violation) string {
	var out []string
	for _, one := range v {
		s := one.Check + " " + one.Code
		if one.Where != "" {
			s = one.Check + " " + one.Where + " " + one.Code
		}
		out = append(out, s)
	}
	return strings.Join(out, ", ")
}

func TestFind(t *testing.T) {
	d := orders(t)
	tests := []struct{ method, path, want, params, codes string }{
		{"GET", "/v1/orders", "list", "", ""},
		{"GET", "/v2/orders", "list", "", ""},
		{"HEAD", "/v1/orders", "list", "", ""},
		{"GET", "/orders", "", "", "path undocumented"},
		{"GET", "/v3/orders", "", "", "path undocumented"},
		{"GET", "/v1/orders/", "", "", "path undocumented"},
		{"GET", "/v1//orders", "", "", "path undocumented"},
		{"PATCH", "/v1/orders", "", "", "method undocumented"},
		{"get", "/v1/orders", "", "", "method undocumented"},
		{"OPTIONS", "/v1/orders", "", "", ""},
		{"OPTIONS", "/v1/nothing", "", "", "path undocumented"},
		{"OPTIONS", "*", "", "", ""},
		{"GET", "/v1/orders/7", "get", "id=7", ""},
		{"GET", "/v1/orders/mine", "mine", "", ""},
		{"DELETE", "/v1/orders/mine", "remove", "id=mine", ""},
		{"GET", "/v1/orders/m%69ne", "mine", "", ""},
		{"GET", "/v1/orders/a%20b", "get", "id=a b", ""},
		{"GET", "/v1/orders/7/items/lamp.json", "item", "id=7 item=lamp", ""},
		{"GET", "/v1/orders/7/items/.json", "", "", "path undocumented"},
		{"GET", "/v1/orders/7/items/lamp", "", "", "path undocumented"},
		{"GET", "/v1/compare/main...topic...x", "compare", "base=main head=topic...x", ""},
		{"GET", "/v1/compare/...x", "", "", "path undocumented"},
		{"GET", "/v1/orders/7%2f8", "", "", "path ambiguous"},
		{"GET", "/v1/orders/..", "", "", "path ambiguous"},
		{"GET", "/v1/orders/%2e%2E/orders", "", "", "path ambiguous"},
		{"GET", "/v1/orders/..;/admin", "", "", "path ambiguous"},
		{"GET", "/v1/orders/%2e%2e%3bx/admin", "", "", "path ambiguous"},
		{"GET", "/v1/orders/./7", "", "", "path ambiguous"},
		{"GET", "/v1/orders/%252e", "", "", "path ambiguous"},
		{"GET", "/v1/orders/a%255Cb", "", "", "path ambiguous"},
		{"GET", "/v1/orders/100%25", "get", "id=100%", ""},
		{"GET", `/v1/orders/a\b`, "", "", "path ambiguous"},
		{"GET", "/v1/orders/a%5cb", "", "", "path ambiguous"},
		{"GET", "/v1/orders/a%00b", "", "", "path ambiguous"},
		{"GET", "/v1/orders/%c0%ae", "", "", "path encoding"},
		{"GET", "/v1/orders/%zz", "", "", "path encoding"},
		{"GET", "/v1/orders/%4", "", "", "path encoding"},
		{"GET", "", "", "", "path ambiguous"},
		{"GET", "http://x/", "", "", "path ambiguous"},
		{"GET", strings.Repeat("/a", 10_000), "", "", "path not-checked"},
	}
	for _, test := range tests {
		op, params, found := d.Find(test.method, test.path)
		got := ""
		if op != nil {
			got = op.ID
		}
		var p []string
		for _, one := range params {
			p = append(p, one.Name+"="+one.Value)
		}
		if got != test.want || strings.Join(p, " ") != test.params || codes(found.Violations) != test.codes {
			t.Errorf("%s %.60s: %q %q %q, want %q %q %q", test.method, test.path, got, p, codes(found.Violations), test.want, test.params, test.codes)
		}
	}
	under, err := d.Under("/api/", "")
	if err != nil {
		t.Fatal(err)
	}
	for path, known := range map[string]bool{"/api/orders": true, "/orders": true, "/v1/orders": false} {
		if op, _, _ := under.Find("GET", path); (op != nil) != known {
			t.Errorf("under /api: %s is known: %v", path, op != nil)
		}
	}
}

// request makes a request of lines as "GET /path?query", "Header: value", "", "body".
func request(t testing.TB, d *Document, text string) (*Operation, *Request) {
	t.Helper()
	head, body, _ := strings.Cut(text, "\n\n")
	lines := strings.Split(head, "\n")
	method, target, _ := strings.Cut(lines[0], " ")
	path, query, _ := strings.Cut(target, "?")
	r := &Request{RawQuery: query, Header: http.Header{}, Body: []byte(body)}
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	op, params, found := d.Find(method, path)
	if op == nil {
		t.Fatalf("%s: %v", lines[0], found.Violations)
	}
	r.Params = params
	return op, r
}

func TestParameters(t *testing.T) {
	d := orders(t)
	tests := []struct{ request, want string }{
		{"GET /v1/orders", ""},
		{"GET /v1/orders?limit=10", ""},
		{"GET /v1/orders?limit=0", "query limit minimum"},
		{"GET /v1/orders?limit=x", "query limit type"},
		{"GET /v1/orders?limit=1.0", ""},
		{"GET /v1/orders?limit=01", "query limit type"},
		{"GET /v1/orders?limit=1&limit=2", "query limit repeated"},
		{"GET /v1/orders?limit=", "query limit type"},
		{"GET /v1/orders?lim%69t=7", ""},
		{"GET /v1/orders?limit=%zz", "query encoding"},
		{"GET /v1/orders?x=%ff", "query encoding, query x unknown"},
		{"GET /v1/orders?unknown=1", "query unknown unknown"},
		{"GET /v1/orders?eyJhbGciOi", "query unknown"},
		{"GET /v1/orders?limit=1;admin=1", "query ambiguous, query limit type"},
		{"GET /v1/orders?limit=1;", "query limit type"},
		{"GET /v1/orders\nX-HTTP-Method-Override: DELETE\nX-Original-URL: /admin", "method X-Http-Method-Override ambiguous, path X-Original-Url ambiguous"},
		{"GET /v1/orders?tags=a&tags=b", ""},
		{"GET /v1/orders?tags=a&tags=B&tags=c&tags=d", "query tags maxItems"},
		{"GET /v1/orders?tags=a&tags=7", "query tags/1 pattern"},
		{"GET /v1/orders?ids=1,2,3", ""},
		{"GET /v1/orders?ids=1%2C2", ""},
		{"GET /v1/orders?ids=1,x", "query ids/1 type"},
		{"GET /v1/orders?ids=1&ids=2", "query ids repeated"},
		{"GET /v1/orders?spaced=1%202+3&piped=1|2%7C3", ""},
		{"GET /v1/orders?spaced=1,2", "query spaced/0 type"},
		{"GET /v1/orders?filter[state]=open&filter[age]=3&filter%5Bany%5D[]=1&filter[any][]=2", ""},
		{"GET /v1/orders?filter[state]=lost", "query filter/state enum"},
		{"GET /v1/orders?filter[admin]=1", "query filter/admin additionalProperties"},
		{"GET /v1/orders?filter[any][]=x", "query filter/any/0 type"},
		{"GET /v1/orders?filter[state=1", "query filter style"},
		{"GET /v1/orders?filter[a]=1&filter[a][b]=2", "query filter style"},
		{"GET /v1/orders?filter=1", "query filter style"},
		{"GET /v1/orders?range=from,1,to,2", ""},
		{"GET /v1/orders?range=from,x", "query range/from type"},
		{"GET /v1/orders?range=from", "query range style"},
		{"GET /v1/orders?offset=1&size=2", ""},
		{"GET /v1/orders?offset=x", "query page/offset type"},
		{"GET /v1/orders?offset=1&offset=2", "query page/offset repeated"},
		{"GET /v1/orders?wide=true", ""},
		{"GET /v1/orders?wide=null", ""},
		{"GET /v1/orders?wide=1", "query wide type"},
		{`GET /v1/orders?query={"a":1}`, ""},
		{`GET /v1/orders?query={"b":1}`, "query query/a required"},
		{`GET /v1/orders?query={`, "query query syntax"},
		{`GET /v1/orders?query={"a":1,"a":2}`, "query query/a duplicate-key"},
		{"GET /v1/orders?empty=", ""},
		{"GET /v1/orders?empty=x", "query empty type"},
		{"GET /v1/orders\nX-Trace: 0b8f1c1e-6d0a-4f5e-9c55-0d6f3a1b2c3d\nX-Many: 1, 2\nX-Many: 3", ""},
		{"GET /v1/orders\nX-Trace: nothing\nX-Many: 1, x", "header X-Trace format, header X-Many/1 type"},
		{"GET /v1/orders\nX-Trace: a\nX-Trace: b", "header X-Trace repeated"},
		{"GET /v1/orders\nCookie: other=1; session=abcd", ""},
		{"GET /v1/orders\nCookie: session=abc", "cookie session minLength"},
		{"GET /v1/orders\nCookie: session=abcd; session=efgh", "cookie session repeated"},
		{"GET /v1/orders/7\nAuthorization: Bearer x", ""},
		{"GET /v1/orders/0\nAuthorization: bearer x", "path id minimum"},
		{"GET /v1/orders/2147483648\nAuthorization: Bearer x", "path id format"},
		{"GET /v1/orders/7", "security bearer credentials"},
		{"GET /v1/orders/7\nAuthorization: Basic x", "security bearer credentials"},
		{"DELETE /v1/orders/7?api_key=x", ""},
		{"DELETE /v1/orders/7?api_key=", "security key, basic, bearer credentials"},
		{"DELETE /v1/orders/7\nAuthorization: Bearer x", "security key, basic, bearer credentials"},
		{"GET /v1/styles/a=1,b=2/.1.2/;matrix=1,2\nAuthorization: Bearer x", ""},
		{"GET /v1/styles/a=x/.x/;matrix=x\nAuthorization: Bearer x", "path simple/a type, path label/0 type, path matrix/0 type"},
		{"GET /v1/styles/a/1/matrix=1\nAuthorization: Bearer x", "path simple style, path label style, path matrix style"},
	}
	for _, test := range tests {
		op, r := request(t, d, test.request)
		if got := codes(op.CheckRequest(r)); got != test.want {
			t.Errorf("%q: %q, want %q", test.request, got, test.want)
		}
	}
	op, r := request(t, d, "GET /v1/orders?unknown=1")
	r.AnyQuery = true
	if v := op.CheckRequest(r); v != nil {
		t.Errorf("any query: %v", v)
	}
	r.RawQuery = strings.Repeat("limit=1&", 5000)
	if got := codes(op.CheckRequest(r)); got != "query not-checked, query limit repeated" {
		t.Errorf("5000 parameters: %s", got)
	}
}

func TestBodies(t *testing.T) {
	d := orders(t)
	const post, auth = "POST /v1/orders\nAuthorization: Bearer x\nContent-Type: ", "\n\n"
	part := func(parts ...string) string {
		out := post + "multipart/form-data; boundary=b" + auth
		for _, p := range parts {
			out += "--b\r\nContent-Disposition: form-data; " + p + "\r\n"
		}
		return out + "--b--\r\n"
	}
	good := "name=\"order\"\r\nContent-Type: application/json\r\n\r\n{\"product\":\"a\",\"quantity\":1}"
	tests := []struct{ request, want string }{
		{post + `application/json` + auth + `{"product":"a","quantity":1}`, ""},
		{post + `application/json; charset=UTF-8` + auth + `{"product":"a","quantity":null,"kind":"order","at":[1,2],"secret":"x","tree":{"children":[{}]}}`, ""},
		{post + `APPLICATION/JSON` + auth + `{"product":"a","quantity":0}`, "body /quantity exclusiveMinimum"},
		{post + `application/json` + auth + `{"id":7,"product":"a","quantity":1,"admin":true,"kind":"x","at":[1,2,3],"tree":{"children":[{"x":1}]}}`,
			"body /admin additionalProperties, body /at/2 false, body /id read-only, body /kind const, body /tree/children/0/x unevaluatedProperties"},
		{post + `application/json` + auth + `{"product":"a","product":"b","quantity":1}`, "body /product duplicate-key"},
		{post + `application/json` + auth + `{"product":"a","quantity":1e999}`, "body /quantity number-range, body /quantity type"},
		{post + `application/json` + auth + "{\"product\":\"\xff\",\"quantity\":1}", "body /product invalid-text"},
		{post + `application/json` + auth + `{"product":`, "body syntax"},
		{post + `application/json` + auth + strings.Repeat("[", 100_000), "body not-checked"},
		{post + `application/json; charset=utf-16` + auth + "{\x00}\x00", "body Content-Type not-checked"},
		{post + "application/json\nContent-Encoding: gzip" + auth + "x", "body not-checked"},
		// What the header says of the form, and servers need not go by.
		{post + `application/json; charset=iso-8859-1` + auth + `{"product":"a","quantity":0}`, "body Content-Type not-checked, body /quantity exclusiveMinimum"},
		{post + `application/json; charset=utf-16` + auth + `{"product":"a","quantity":0}`, "body Content-Type not-checked, body /quantity exclusiveMinimum"},
		{post + "application/json\nContent-Encoding: gzip" + auth + `{"product":"a","quantity":0}`, "body not-checked, body /quantity exclusiveMinimum"},
		{post + "application/json\nContent-Encoding: \nContent-Encoding: br" + auth + `{"product":"a","quantity":0}`, "body not-checked, body /quantity exclusiveMinimum"},
		{post + "application/json\nContent-Encoding: gzip" + auth + `{"product":"a","quantity":1}`, "body not-checked"},
		{post + "application/json\nContent-Encoding: gzip" + auth + "\x1f\x8b\x08\x00", "body not-checked"},
		{post + "application/x-www-form-urlencoded; charset=latin1" + auth + "product=a&role=admin", "body Content-Type not-checked, body /role additionalProperties"},
		{post + "multipart/form-data; boundary=b\nContent-Encoding: br" + auth + "--b\r\nContent-Disposition: form-data; " + good + "\r\n--b\r\nContent-Disposition: form-data; name=\"role\"\r\n\r\nadmin\r\n--b--\r\n", "body not-checked, body /role additionalProperties"},
		{post + "application/xml; charset=latin1" + auth + "<a/>", "body Content-Type not-checked"},
		{post + "application/json\nContent-Type: text/plain" + auth + "x", "body Content-Type content-type"},
		{post + "image/png" + auth + "x", "body Content-Type content-type"},
		{"POST /v1/orders\nAuthorization: Bearer x" + auth + "x", "body Content-Type content-type"},
		{"POST /v1/orders\nAuthorization: Bearer x\nContent-Type: application/json", "body required"},
		{"GET /v1/orders\n\nhello", "body unexpected"},
		{post + "text/plain" + auth + "hello", ""},
		{post + "text/plain" + auth + strings.Repeat("é", 21), "body maxLength"},
		{post + "text/plain" + auth + "\xff", "body invalid-text"},
		{post + "application/xml" + auth + "<a/>", "body not-checked"},
		{post + "application/octet-stream" + auth + "\x00\xff", ""},
		{post + "application/x-www-form-urlencoded" + auth + "product=a&quantity=2&tags=a&tags=b&address[city]=Rome&address[zip]=1", ""},
		{post + "application/x-www-form-urlencoded" + auth + `product=a&address={"city":"Rome","zip":1}`, ""},
		{post + "application/x-www-form-urlencoded" + auth + `product=a&address={"city":1,"admin":1}`, "body /address/admin additionalProperties, body /address/city type"},
		{post + "application/x-www-form-urlencoded" + auth + "product=abcdefghijk&quantity=x&tags=abcd&role=admin", "body /product maxLength, body /quantity type, body /role additionalProperties, body /tags/0 maxLength"},
		{post + "application/x-www-form-urlencoded" + auth + "quantity=1&quantity=2", "body /quantity repeated, body /product required"},
		{post + "application/x-www-form-urlencoded" + auth + "product=a&address[x]=1", "body /address/x additionalProperties"},
		{post + "application/x-www-form-urlencoded" + auth + "product=%zz", "body encoding, body /product required"},
		{part(good), ""},
		{part(good, "name=\"photos\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\n\x89PNG"), ""},
		{part(good, "name=\"photos\"; filename=\"a.php\"\r\nContent-Type: text/php\r\n\r\n<?"), "body /photos content-type"},
		{part("name=\"order\"\r\n\r\n{\"product\":\"a\"}"), "body /order/quantity required"},
		{part("name=\"order\"\r\n\r\nplain"), "body /order type"},
		{part(good, "name=\"note\"\r\n\r\n12345678901"), "body /note maxLength"},
		{part(good, "name=\"note\"\r\n\r\n1", "name=\"note\"\r\n\r\n2"), "body /note repeated"},
		{part(good, "name=\"role\"\r\n\r\nadmin"), "body /role additionalProperties"},
		{part(good, "filename=\"x\"\r\n\r\n1"), "body syntax"},
		{part(good, "name=\"note\"\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c--"), "body /note not-checked"},
		{part(good, "name=\"note\"\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA"), "body /note not-checked"},
		{post + "multipart/form-data; boundary=b" + auth + "--b\r\n", "body syntax"},
		{post + "multipart/form-data" + auth + "--b\r\n", "body Content-Type syntax"},
	}
	for _, test := range tests {
		op, r := request(t, d, test.request)
		got := op.CheckRequest(r)
		if codes(got) != test.want {
			t.Errorf("%.150q: %q, want %q", test.request, codes(got), test.want)
		}
	}
	op, r := request(t, d, post+`application/json`+auth+`{"product":"a","quantity":1}`)
	r.Truncated = true
	if got := codes(op.CheckRequest(r)); got != "body not-checked" {
		t.Errorf("a cut body: %s", got)
	}
	r.Truncated = false
	if v := op.CheckRequest(r); v != nil || !r.Parsed || r.JSON.(map[string]any)["product"] != "a" {
		t.Errorf("%v, the value that was read: %v", v, r.JSON)
	}
	r.Body = []byte("this is not read again")
	if v := op.CheckRequest(r); v != nil {
		t.Errorf("read twice: %v", v)
	}
}

func TestResponses(t *testing.T) {
	d := orders(t)
	header := http.Header{"X-Total": {"1"}, "Content-Type": {"application/json"}}
	tests := []struct {
		request string
		r       Response
		want    string
	}{
		{"GET /v1/orders", Response{Status: 200, Header: header, Body: []byte(`[{"id":1,"product":"a","quantity":1}]`)}, ""},
		{"GET /v1/orders", Response{Status: 200, Header: header, Head: true}, ""},
		{"GET /v1/orders", Response{Status: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(`[]`)}, "response X-Total required"},
		{"GET /v1/orders", Response{Status: 200, Header: header, Body: []byte(`[{"product":"a","quantity":1,"secret":"x","hash":"y"}]`)}, "response /0/hash additionalProperties, response /0/secret write-only"},
		{"GET /v1/orders", Response{Status: 404, Header: http.Header{"Content-Type": {"application/problem+json"}}, Body: []byte(`{}`)}, "response /title required"},
		{"GET /v1/orders", Response{Status: 500, Header: header, Body: []byte(`stack`)}, "response 500 undocumented"},
		{"GET /v1/orders", Response{Status: 304, Header: header}, ""},
		{"GET /v1/orders", Response{Status: 200, Header: header, Body: []byte(`[`), Truncated: true}, "response not-checked"},
		{"POST /v1/orders", Response{Status: 500, Header: header, Body: []byte(`stack`)}, ""},
		{"DELETE /v1/orders/7", Response{Status: 204}, ""},
	}
	for _, test := range tests {
		op, _ := request(t, d, test.request)
		if got := codes(op.CheckResponse(&test.r)); got != test.want {
			t.Errorf("%s %d %s: %q, want %q", test.request, test.r.Status, test.r.Body, got, test.want)
		}
	}
}

func TestSecurityIsNamed(t *testing.T) {
	d := orders(t)
	op, _, _ := d.Find("DELETE", "/v1/orders/7")
	want := []Alternative{
		{{Scheme: "key", Type: "apiKey", In: "query", Name: "api_key"}},
		{{Scheme: "basic", Type: "http", HTTP: "basic"}, {Scheme: "bearer", Type: "http", HTTP: "bearer", BearerFormat: "JWT", Scopes: []string{"admin"}}},
	}
	if diff := cmp.Diff(want, op.Security); diff != "" {
		t.Error(diff)
	}
	if op, _, _ = d.Find("GET", "/v1/orders/7"); op.Security[0][0].Scopes[0] != "orders" {
		t.Errorf("the document's own: %v", op.Security)
	}
	if op, _, _ = d.Find("GET", "/v1/orders"); op.Security != nil {
		t.Errorf("none: %v", op.Security)
	}
}

// TestMethodField: a field by which servers take a POST for another request is told of, unless the document names it.
func TestMethodField(t *testing.T) {
	const paths = `
paths:
  /a:
    post:
      requestBody:
        content:
          application/json: {schema: {type: object}}
          application/x-www-form-urlencoded: {schema: {type: object}}
          multipart/form-data: {}
      responses: {"200": {description: x, content: {application/json: {schema: {type: object}}}}}
  /named:
    post:
      requestBody: {content: {application/x-www-form-urlencoded: {schema: {type: object, properties: {_method: {type: string}}}}}}
      responses: {"200": {description: x}}
`
	d := inline(t, "3.1.0", paths)
	const kind, form = "\nContent-Type: ", "application/x-www-form-urlencoded\n\n"
	for text, want := range map[string]string{
		"POST /a" + kind + `application/json` + "\n\n" + `{"_method":"DELETE"}`:                                                                 "method _method ambiguous",
		"POST /a" + kind + form + "a=1&%5fmethod=delete":                                                                                        "method _method ambiguous",
		"POST /a" + kind + "multipart/form-data; boundary=b\n\n--b\r\nContent-Disposition: form-data; name=\"_method\"\r\n\r\nPUT\r\n--b--\r\n": "method _method ambiguous",
		"POST /a" + kind + form + "method=delete":                                                                                               "",
		"POST /a" + kind + form + "a[_method]=delete":                                                                                           "",
		"POST /named" + kind + form + "_method=delete":                                                                                          "",
		"POST /a" + kind + `application/json` + "\n\n" + `{"a":{"_method":"DELETE"}}`:                                                           "",
	} {
		op, r := request(t, d, text)
		if got := codes(op.CheckRequest(r)); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	op, _ := request(t, d, "POST /a")
	res := Response{Status: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(`{"_method":"DELETE"}`)}
	if got := codes(op.CheckResponse(&res)); got != "" {
		t.Errorf("an answer: %q", got)
	}
}
