package graphql

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const shop = `
type Query { me: User products(first: Int, filter: String): [Product!]! product(id: ID!): Product search(q: String): [Result] }
type Mutation { login(name: String, password: String): User }
type User { id: ID! name: String friends(limit: Int): [User] orders: [Order] }
type Order { id: ID! lines: [Product] }
type Product { id: ID! name: String reviews(first: Int): [Review] }
type Review { id: ID! text: String author: User }
union Result = User | Product
`

func checker(t testing.TB, limits Limits, schema string) *Checker {
	t.Helper()
	var b []byte
	if schema != "" {
		b = []byte(schema)
	}
	c, err := New(limits, "shop.graphql", b)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func post(query string, variables any) *Request {
	b, err := json.Marshal(map[string]any{"query": query, "variables": variables})
	if err != nil {
		panic(err)
	}
	return &Request{ContentType: "application/json", Body: b}
}

func codes(r Result) string {
	var out []string
	for _, v := range r.Violations {
		out = append(out, v.Code)
	}
	return strings.Join(out, " ")
}

func TestCounts(t *testing.T) {
	tests := []struct {
		schema, query string
		variables     any
		want          Operation
	}{
		{"", "{me{id name}}", nil, Operation{Type: "query", Fields: []string{"me"}, Depth: 2, Cost: 3}},
		{"", "query Q{products(first:10){id reviews(first:20){text}}}", nil, Operation{Type: "query", Name: "Q", Fields: []string{"products"}, Depth: 3, Cost: 1 + 10*(2+20)}},
		{"", "query Q($n:Int=5){products(first:$n){id}}", nil, Operation{Type: "query", Name: "Q", Fields: []string{"products"}, Depth: 2, Cost: 6}},
		{"", "query Q($n:Int=5){products(first:$n){id}}", map[string]any{"n": 100}, Operation{Type: "query", Name: "Q", Fields: []string{"products"}, Depth: 2, Cost: 101}},
		{"", "{products(page:{limit:100}){id}}", nil, Operation{Type: "query", Fields: []string{"products"}, Depth: 2, Cost: 101}},
		{"", "query Q($p:Page){products(page:$p){id}}", map[string]any{"p": map[string]any{"limit": 100}}, Operation{Type: "query", Name: "Q", Fields: []string{"products"}, Depth: 2, Cost: 101}},
		{"", "query Q($n:Int){products(page:{by:{first:$n}}){id}}", map[string]any{"n": 100}, Operation{Type: "query", Name: "Q", Fields: []string{"products"}, Depth: 2, Cost: 101}},
		{"", "query Q($p:Page={limit:100}){products(page:$p){id}}", nil, Operation{Type: "query", Name: "Q", Fields: []string{"products"}, Depth: 2, Cost: 101}},
		{"", "{products(where:{total:100}){id}}", nil, Operation{Type: "query", Fields: []string{"products"}, Depth: 2, Cost: 2}},
		{"", "{products(first:-5){id}}", nil, Operation{Type: "query", Fields: []string{"products"}, Depth: 2, Cost: 2}},
		{"", "{products(first:99999999999999999999){id}}", nil, Operation{Type: "query", Fields: []string{"products"}, Depth: 2, Cost: maxCost}},
		{shop, "{products{id reviews{text}}}", nil, Operation{Type: "query", Fields: []string{"products"}, Depth: 3, Cost: 1 + 10*(2+10)}},
		{shop, "{search(q:\"x\"){... on User{name} ... on Product{reviews(first:3){id}} __typename}}", nil, Operation{Type: "query", Fields: []string{"search"}, Depth: 3, Cost: 1 + 10*(1+1+3+1)}},
		{"", "{a:me{...F} b:me{...F}} fragment F on User{x:id friends(limit:2){name}}", nil, Operation{Type: "query", Fields: []string{"me"}, Depth: 3, Cost: 2 * (1 + 1 + 1 + 2), Aliases: 4}},
		{"", "mutation{login(name:\"a\",password:\"b\"){id}}", nil, Operation{Type: "mutation", Fields: []string{"login"}, Depth: 2, Cost: 2}},
	}
	for _, test := range tests {
		got := checker(t, Limits{}, test.schema).Check(post(test.query, test.variables))
		if len(got.Violations) > 0 || len(got.Operations) != 1 {
			t.Errorf("%s: %v", test.query, got)
			continue
		}
		if diff := cmp.Diff(test.want, got.Operations[0]); diff != "" {
			t.Errorf("%s: %s", test.query, diff)
		}
	}
}

func TestViolations(t *testing.T) {
	limits := Limits{Depth: 4, Cost: 1000, Aliases: 3, RootFields: 3, Directives: 5, Batch: 2}
	tests := []struct {
		schema, query, want string
	}{
		{"", "{me{id}}", ""},
		{"", "{a{b{c{d}}}}", ""},
		{"", "{a{b{c{d{e}}}}}", CodeDepth},
		{"", "{a{...F}} fragment F on T{b{c{...G}}} fragment G on T{d{e}}", CodeDepth},
		{"", "{products(first:1000){id}}", CodeCost},
		{"", "{a:x b:x c:x}", ""},
		{"", "{a:x b:x c:x q{d:x}}", CodeAliases + " " + CodeRootFields},
		{"", "{a b c d}", CodeRootFields},
		{"", "{...F} fragment F on Query{a b c d}", CodeRootFields},
		{"", "{a@x@x@x@x@x@x}", CodeDirectives},
		{"", "{a} fragment F on T{a@x@x@x@x@x@x}", CodeDirectives},
		{"", "{__schema{types{name}}}", CodeIntrospection},
		{"", "{a{...F}} fragment F on T{__type(name:\"x\"){name}}", CodeIntrospection},
		{"", "{__typename}", ""},
		{"", "{_service{sdl}}", CodeIntrospection},
		{"", "{...F} fragment F on Query{x:_service{sdl}}", CodeIntrospection},
		{"", "{a{_service{name}}}", ""},
		{"", "{...A} fragment A on T{...B} fragment B on T{...A}", CodeFragmentCycle},
		{"", "{...A}", CodeFragment},
		{"", "{...A} fragment A on T{a} fragment A on T{b}", CodeFragment},
		{"", "query A{a} query B{b}", CodeOperation},
		{"", "fragment A on T{a}", CodeOperation},
		{"", "", CodeOperation},
		{"", "{a", CodeSyntax},
		{"", "{a(x:\"SECRET", CodeSyntax},
		{shop, "{me{id password}}", CodeUnknownField},
		{shop, "{me{... on User{secret}}}", CodeUnknownField},
		{shop, "{me}", CodeUnknownField},
		{shop, "subscription{x}", CodeOperation},
		{shop, "{me{id}}", ""},
	}
	for _, test := range tests {
		got := checker(t, limits, test.schema).Check(post(test.query, nil))
		if codes(got) != test.want {
			t.Errorf("%s: %v, want %q", test.query, got.Violations, test.want)
		}
		if strings.Contains(fmt.Sprint(got), "SECRET") {
			t.Errorf("a value is told: %v", got)
		}
	}
}

func TestForms(t *testing.T) {
	limits := Limits{Batch: 2, Persisted: false}
	c := checker(t, limits, "")
	parts := func(parts ...string) *Request {
		body := ""
		for _, p := range parts {
			body += "--b\r\nContent-Disposition: form-data; name=" + p + "\r\n"
		}
		return &Request{ContentType: "multipart/form-data; boundary=b", Body: []byte(body + "--b--\r\n")}
	}
	body := func(kind, text string) *Request { return &Request{ContentType: kind, Body: []byte(text)} }
	tests := []struct {
		name string
		r    *Request
		want string
		n    int
	}{
		{"get", &Request{Get: true, Query: url.Values{"query": {"{a}"}}}, "", 1},
		{"get, variables", &Request{Get: true, Query: url.Values{"query": {"{a}"}, "variables": {"["}}}, CodeSyntax, 1},
		{"get, twice", &Request{Get: true, Query: url.Values{"query": {"{a}", "{b}"}}}, CodeRepeated, 1},
		{"get, mutation", &Request{Get: true, Query: url.Values{"query": {"mutation{a}"}}}, CodeMethod, 1},
		{"get, nothing", &Request{Get: true}, CodeOperation, 0},
		{"get, persisted", &Request{Get: true, Query: url.Values{"extensions": {"{}"}}}, CodePersisted, 1},
		{"persisted", body("application/json", `{"extensions":{"persistedQuery":{}}}`), CodePersisted, 1},
		{"batch", body("application/json", `[{"query":"{a}"},{"query":"{b}"}]`), "", 2},
		{"large batch", body("application/json", `[{"query":"{a}"},{"query":"{a}"},{"query":"{a}"}]`), CodeBatch, 3},
		{"empty batch", body("application/json", `[]`), CodeOperation, 0},
		{"key twice", body("application/json", `{"query":"{a}","query":"{b}"}`), CodeRepeated, 1},
		{"query in both", &Request{ContentType: "application/json", Query: url.Values{"query": {"{a}"}}, Body: []byte(`{"query":"{b}"}`)}, CodeRepeated, 1},
		{"no text", body("application/json", `{"query":7}`), CodeSyntax, 0},
		{"no object", body("application/json", `7`), CodeSyntax, 0},
		{"no JSON", body("application/json", `{`), CodeSyntax, 0},
		{"deep JSON", body("application/json", strings.Repeat("[", 100_000)), CodeNotChecked, 0},
		{"graphql", body("application/graphql", "{a}"), "", 1},
		{"form", body("application/x-www-form-urlencoded", "query=%7Ba%7D"), "", 1},
		{"text", body("text/plain", `{"query":"{a}"}`), CodeContentType, 0},
		{"cut", &Request{ContentType: "application/json", Body: []byte("{"), Truncated: true}, CodeNotChecked, 0},
		{"operation by name", body("application/json", `{"query":"query A{a} query B{b}","operationName":"B"}`), "", 1},
		{"operation by a wrong name", body("application/json", `{"query":"query A{a}","operationName":"B"}`), CodeOperation, 1},
		{"multipart", parts("operations\r\n\r\n{\"query\":\"{a}\"}\r\n", "map\r\n\r\n{}\r\n", "0; filename=x\r\n\r\nfile\r\n"), "", 1},
		{"multipart, twice", parts("operations\r\n\r\n{\"query\":\"{a}\"}\r\n", "operations\r\n\r\n{\"query\":\"{b}\"}\r\n"), CodeRepeated, 1},
		{"multipart without", parts("map\r\n\r\n{}\r\n"), CodeOperation, 0},
		{"parsed", &Request{ContentType: "application/json", Parsed: true, JSON: map[string]any{"query": "{a}"}, Body: []byte("not read")}, "", 1},
	}
	for _, test := range tests {
		got := c.Check(test.r)
		if codes(got) != test.want || len(got.Operations) != test.n {
			t.Errorf("%s: %v, %d operations; want %q, %d", test.name, got.Violations, len(got.Operations), test.want, test.n)
		}
	}
}

func TestBombs(t *testing.T) {
	c := checker(t, DefaultLimits(), "")
	fragments := "{...F0}"
	for i := range 60 {
		fragments += fmt.Sprintf(" fragment F%d on T{a%d{...F%d ...F%d}}", i, i, i+1, i+1)
	}
	fragments += " fragment F60 on T{x:id}"
	bombs := map[string]struct{ query, want string }{
		"fragments": {fragments, CodeCost},
		"depth":     {strings.Repeat("{a", 3000) + strings.Repeat("}", 3000), CodeDepth},
		"tokens":    {"{" + strings.Repeat("a ", 20_000) + "}", CodeSyntax},
		"values":    {"{a(x:" + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + ")}", CodeSyntax},
		"lists":     {"{a(first:1000){b(first:1000){c(first:1000){d(first:1000){e}}}}}", CodeCost},
		"aliases":   {"{" + strings.Repeat("a:login(n:1){id} ", 800) + "}", CodeAliases},
		"long":      {"{a(x:\"" + strings.Repeat("x", 1<<20) + "\")}", CodeNotChecked},
		"comments":  {strings.Repeat("#\n", 100_000) + "{a}", CodeSyntax},
		"strings":   {"{a(x:\"\"\"" + strings.Repeat("\n ", 100_000) + "\"\"\")}", ""},
	}
	for name, b := range bombs {
		if got := c.Check(post(b.query, nil)); b.want != "" && !strings.Contains(codes(got), b.want) {
			t.Errorf("%s: %v, want %s", name, got.Violations, b.want)
		}
	}
	batch := "[" + strings.TrimSuffix(strings.Repeat(`{"query":"{a(first:40000){b}}"},`, 5000), ",") + "]"
	got := c.Check(&Request{ContentType: "application/json", Body: []byte(batch)})
	if len(got.Operations) != maxOperations || codes(got) != CodeBatch+" "+CodeNotChecked+" "+CodeCost {
		t.Errorf("a batch of 5000: %v, %d operations", got.Violations, len(got.Operations))
	}
}

func TestSchemasWithMistakes(t *testing.T) {
	if _, err := New(Limits{}, "shop.graphql", []byte("type Query {\n a: Nothing }")); err == nil || !strings.HasPrefix(err.Error(), "shop.graphql:2: ") {
		t.Errorf("%v", err)
	}
}

func FuzzCheck(f *testing.F) {
	for _, q := range []string{"{me{id}}", "query Q($n:Int=5){products(first:$n){...F}} fragment F on Product{id @x}", "{__schema{types{name}}}", `{a(x:"""b""",y:[1,{c:$d}])}`} {
		f.Add("application/json", post(q, nil).Body)
		f.Add("application/graphql", []byte(q))
	}
	f.Add("application/json", []byte(`[{"query":"{a}"},{"extensions":{}}]`))
	f.Add("multipart/form-data; boundary=b", []byte("--b\r\nContent-Disposition: form-data; name=operations\r\n\r\n{\"query\":\"{a}\"}\r\n--b--\r\n"))
	with, without := checker(f, DefaultLimits(), shop), checker(f, DefaultLimits(), "")
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		for _, c := range []*Checker{with, without} {
			got := c.Check(&Request{ContentType: kind, Body: body})
			if len(got.Operations) == 0 && len(got.Violations) == 0 {
				t.Fatalf("%q: nothing is said", body)
			}
			for _, op := range got.Operations {
				if op.Cost < 0 || op.Cost > maxCost || op.Aliases < 0 {
					t.Fatalf("%q: %+v", body, op)
				}
			}
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	query := "query Shop($n: Int = 20) { me { id name friends(limit: 5) { id name } } products(first: $n, filter: \"lantern\") { ...P reviews(first: 3) { id text author { name } } } } fragment P on Product { id name }"
	for _, schema := range []string{"", shop} {
		c := checker(b, DefaultLimits(), schema)
		r := post(query, nil)
		b.Run(fmt.Sprintf("schema-%v", schema != ""), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if got := c.Check(r); len(got.Violations) > 0 {
					b.Fatal(got.Violations)
				}
			}
		})
	}
}
