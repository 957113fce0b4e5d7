// Package api measures what guarding an API costs: schemas, and the inventory.
package api

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/edge/api/inventory"
	"github.com/testudo-sec/testudo/edge/api/openapi"

	"github.com/testudo-sec/testudo/bench/bar"
	"github.com/testudo-sec/testudo/bench/proc"
)

// Bars lists the bars of this part.
func Bars() []bar.Bar {
	return []bar.Bar{{
		Name: "api-schema-1k", Part: "api", Unit: "us", Bound: bar.AtMost(30), Limit: 5 * time.Minute,
		What: "CPU of holding a request with 1 KB of JSON (40 fields in three levels, with patterns, enumerations, formats and bounds) to its OpenAPI document, the JSON read included, median",
		Run:  schema,
	}, {
		Name: "api-inventory-memory", Part: "api", Unit: "MB", Bound: bar.AtMost(100), Limit: 10 * time.Minute,
		What: "memory of 10,000 learned endpoints, each with 28 fields of bodies, three parameters, 40 callers",
		Run:  memory,
	}, {
		Name: "api-inventory-templates", Part: "api", Unit: "wrong", Bound: bar.AtMost(0), Limit: 10 * time.Minute,
		What: "templates too many or missing after a million requests with random ids to a REST API with 40 endpoints, among them requests of a scanner",
		Run:  templates,
	}}
}

const document = `
openapi: 3.1.0
info: {title: Orders, version: "1"}
paths:
  /orders:
    post:
      requestBody:
        required: true
        content:
          application/json:
            schema:
              type: object
              required: [customer, currency, lines]
              additionalProperties: false
              properties:
                customer: {$ref: "#/components/schemas/Customer"}
                currency: {enum: [EUR, USD, CHF, GBP]}
                placed: {type: string, format: date-time}
                note: {type: string, maxLength: 500}
                lines: {type: array, minItems: 1, maxItems: 100, items: {$ref: "#/components/schemas/Line"}}
      responses: {"201": {description: made}}
components:
  schemas:
    Customer:
      type: object
      required: [name, email]
      additionalProperties: false
      properties:
        id: {type: string, format: uuid}
        name: {type: string, minLength: 1, maxLength: 100}
        email: {type: string, format: email}
        phone: {type: string, pattern: '^\+[0-9 ]{6,20}$'}
        address:
          type: object
          required: [street, city, country]
          properties: {street: {type: string}, city: {type: string}, zip: {type: string, pattern: '^[0-9A-Z -]{3,10}$'}, country: {type: string, pattern: '^[A-Z]{2}$'}}
    Line:
      type: object
      required: [sku, quantity, price]
      additionalProperties: false
      properties:
        sku: {type: string, pattern: '^[A-Z]{3}-[0-9]{4,8}$'}
        quantity: {type: integer, minimum: 1, maximum: 999}
        price: {type: number, exclusiveMinimum: 0}
        gift: {type: boolean}
        kind: {oneOf: [{const: stock}, {const: service}, {type: object, properties: {weeks: {type: integer}}}]}
`

// body has a good kilobyte.
func body() []byte {
	line := func(n int) string {
		return fmt.Sprintf(`{"sku": "ROP-%05d", "quantity": %d, "price": %d.95, "gift": false, "kind": "stock"}`, n, n%9+1, n%90+9)
	}
	var lines []string
	for n := range 7 {
		lines = append(lines, line(n*7919))
	}
	return fmt.Appendf(nil, `{"customer": {"id": "123e4567-e89b-12d3-a456-426614174000", "name": "Ada Lovelace", "email": "ada@example.org", "phone": "+44 20 7946 0958",
"address": {"street": "12 St James's Square", "city": "London", "zip": "SW1Y 4JH", "country": "GB"}}, "currency": "GBP", "placed": "2026-11-23T10:00:00Z",
"note": "please leave it with the neighbours on the second floor if nobody opens the door before noon", "lines": [%s]}`, strings.Join(lines, ", "))
}

func schema(ctx context.Context, env *bar.Env) (m bar.Measure, err error) {
	d, err := openapi.Load("orders.yaml", []byte(document), nil)
	if err != nil {
		return m, err
	}
	op, params, _ := d.Find(http.MethodPost, "/orders")
	text := body()
	header := http.Header{"Content-Type": {"application/json"}}
	check := func() int {
		return len(op.CheckRequest(&openapi.Request{Params: params, Header: header, Body: text}))
	}
	if n := check(); n != 0 {
		return m, fmt.Errorf("the body of the measurement breaks its document in %d ways", n)
	}
	n := 20_000
	if env.Short {
		n = 2_000
	}
	var all []float64
	for range max(env.Runs, 3) {
		runtime.GC()
		before, err := proc.CPU(os.Getpid())
		if err != nil {
			return m, err
		}
		for range n {
			check()
		}
		after, err := proc.CPU(os.Getpid())
		if err != nil {
			return m, err
		}
		all = append(all, float64((after-before).Nanoseconds())/1e3/float64(n))
		if ctx.Err() != nil {
			return m, ctx.Err()
		}
	}
	slices.Sort(all)
	m.Value = all[len(all)/2]
	m.Detail = fmt.Sprintf("%d bytes of JSON, %d runs of %d, %.1f to %.1f us", len(text), len(all), n, all[0], all[len(all)-1])
	return m, nil
}

func memory(_ context.Context, _ *bar.Env) (m bar.Measure, err error) {
	used := func() uint64 {
		runtime.GC()
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	const want = 10_000
	before := used()
	v := inventory.New(inventory.Default())
	now := time.Now()
	for i := range want {
		for caller := range uint64(40) {
			var asked, told any
			if caller < 4 {
				asked, told = fields(i, 8), fields(i, 20)
			}
			v.Learn(&inventory.Observation{Time: now, Route: fmt.Sprint("r", i/100), Host: "api.example.org", Method: http.MethodPost,
				Path: fmt.Sprintf("/api/%s/%d/%s", word(i/10%10), i, word(i)), Status: 200, Caller: caller + 1, RequestType: "application/json", ResponseType: "application/json",
				RequestBytes: 200, ResponseBytes: 900, Request: asked, Response: told, Query: []inventory.Value{{Name: "page", Value: "1"}, {Name: "sort", Value: "name"}, {Name: "limit", Value: "20"}},
				Auth: []inventory.Credential{{Kind: inventory.Bearer}}, Sensitive: []string{"email"}})
		}
	}
	after := used()
	s := v.Stats()
	if s.Endpoints < want*95/100 {
		return m, fmt.Errorf("%d of %d endpoints were learned", s.Endpoints, want)
	}
	runtime.KeepAlive(v)
	m.Value = float64(after-before) / 1e6
	m.Detail = fmt.Sprintf("%d endpoints, %.1f KB each", s.Endpoints, float64(after-before)/1e3/float64(s.Endpoints))
	return m, nil
}

func fields(i, n int) any {
	m := map[string]any{}
	for k := range n {
		m[fmt.Sprintf("field_%d_%d", i%50, k)] = []any{"text", 1.0, true, "2026-11-23"}[k%4]
	}
	return map[string]any{"items": []any{m}, "next": nil}
}

// word makes a word of syllables, as names of resources are.
func word(i int) string {
	s := []string{"ba", "ke", "li", "mo", "nu", "pra", "ster", "ton", "vel", "wi", "xa", "zo"}
	return s[i%12] + s[i/12%12] + s[i/144%12] + s[i/1728%12]
}

// endpoints are those of a shop, as method and template.
func endpoints() []string {
	var all []string
	for _, r := range []string{"users", "orders", "products", "invoices", "carts", "reviews"} {
		all = append(all, "GET /api/v1/"+r, "POST /api/v1/"+r, "GET /api/v1/"+r+"/{}", "PUT /api/v1/"+r+"/{}", "DELETE /api/v1/"+r+"/{}")
	}
	return append(all, "GET /api/v1/users/me", "GET /api/v1/users/{}/orders", "GET /api/v1/users/{}/orders/{}", "POST /api/v1/orders/{}/cancel", "GET /api/v1/orders/{}/lines/{}",
		"GET /api/v1/products/search", "GET /api/v1/products/{}/reviews", "POST /api/v1/products/{}/reviews", "GET /api/v1/reports/{}", "GET /healthz")
}

func templates(ctx context.Context, env *bar.Env) (m bar.Measure, err error) {
	n := 1_000_000
	if env.Short {
		n = 100_000
	}
	r := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	id := func(kind int) string {
		switch kind % 4 {
		case 0:
			return fmt.Sprint(r.IntN(5_000_000))
		case 1:
			return fmt.Sprintf("%08x-%04x-4%03x-a%03x-%012x", r.Uint32(), r.IntN(1<<16), r.IntN(1<<12), r.IntN(1<<12), r.Int64N(1<<48))
		case 2:
			return fmt.Sprintf("%024x", r.Uint64())
		}
		return fmt.Sprintf("2026-%02d-%02d", r.IntN(12)+1, r.IntN(28)+1)
	}
	v := inventory.New(inventory.Default())
	all, start := endpoints(), time.Now()
	for i := range n {
		if i%1000 == 0 && ctx.Err() != nil {
			return m, ctx.Err()
		}
		k := r.IntN(len(all))
		method, path, _ := strings.Cut(all[k], " ")
		for strings.Contains(path, "{}") {
			path = strings.Replace(path, "{}", id(k), 1)
		}
		o := inventory.Observation{Time: start.Add(time.Duration(i) * time.Millisecond), Route: "shop", Method: method, Path: path, Status: 200, Caller: uint64(r.IntN(3000) + 1)}
		if r.IntN(20) == 0 { // a scanner
			o.Path, o.Status, o.Caller = fmt.Sprintf("/%s/%s.php", word(r.IntN(9999)), word(r.IntN(9999))), 404, 77777
		}
		v.Learn(&o)
	}
	want, got := map[string]int{}, map[string]int{}
	shape := func(template string) string {
		var b strings.Builder
		for segment := range strings.SplitSeq(template, "/") {
			if strings.HasPrefix(segment, "{") {
				segment = "{}"
			}
			b.WriteString("/" + segment)
		}
		return b.String()[1:]
	}
	for _, e := range all {
		want[e]++
	}
	for _, e := range v.Endpoints(inventory.Filter{Confirmed: true}) {
		got[e.Method+" "+shape(e.Template)]++
	}
	var wrong []string
	for e := range want {
		if got[e] != 1 {
			wrong = append(wrong, "missing "+e)
		}
	}
	for e, n := range got {
		if want[e] == 0 || n > 1 {
			wrong = append(wrong, "too many "+e)
		}
	}
	slices.Sort(wrong)
	m.Value = float64(len(wrong))
	m.Detail = fmt.Sprintf("%d requests, %d endpoints, %d templates %v", n, len(all), len(got), wrong[:min(len(wrong), 5)])
	return m, nil
}
