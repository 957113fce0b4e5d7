package api

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/edge"
)

// asked is one exchange that a benchmark repeats: the guard's part of it alone, without an edge.
type asked struct {
	method, target, body string
	request, response    http.Header
	answer               []byte
	status               int
}

func (a *asked) run(b *testing.B, g *Guard) {
	b.Helper()
	u, err := url.ParseRequestURI(a.target)
	if err != nil {
		b.Fatal(err)
	}
	path, _, _ := strings.Cut(a.target, "?")
	r := &http.Request{Method: a.method, URL: u, RequestURI: a.target, Header: a.request, ContentLength: int64(len(a.body)), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
	x := edge.Exchange{Request: r, Client: netip.MustParseAddrPort("203.0.113.7:4711"), Time: time.Now(), Route: "shop", Host: "shop.test", Path: path, Blocks: true}
	body := []byte(a.body)
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		c := g.Begin(ctx, x)
		if n := c.Request(); n > 0 {
			c.RequestBody(body, false)
		}
		c.Forward(a.request)
		if n, _ := c.Response(a.status, a.response); n > 0 {
			c.ResponseBody(a.answer, false)
		}
		c.Pass(a.answer, false)
		c.Pass(nil, true)
		if len(c.Found().Violations) > 0 {
			b.Fatal(c.Found().Violations)
		}
		c.Close(edge.End{Status: a.status, Sent: int64(len(a.answer)), Whole: true, Clean: true})
	}
}

// BenchmarkGuard measures the guard's part of an exchange: learned endpoints, a small JSON answer.
func BenchmarkGuard(b *testing.B) {
	json := http.Header{"Content-Type": {"application/json"}}
	browser := http.Header{"User-Agent": {"Mozilla/5.0"}, "Accept": {"application/json"}, "Accept-Encoding": {"gzip, br"}, "Cookie": {"lang=en; session=4f9a8b7c6d5e"}}
	posts := browser.Clone()
	posts.Set("Content-Type", "application/json")
	var order strings.Builder
	order.WriteString(`{"item":"rope","count":2,"notes":[`)
	for i := 0; order.Len() < 1000; i++ {
		if i > 0 {
			order.WriteByte(',')
		}
		fmt.Fprintf(&order, `{"line":%d,"text":"leave at the door"}`, i)
	}
	order.WriteString(`]}`)
	const text = `
openapi: 3.1.0
info: {title: Orders, version: "1"}
paths:
  /orders/{id}:
    get:
      parameters: [{name: id, in: path, required: true, schema: {type: integer}}, {name: full, in: query, schema: {type: boolean}}]
      responses: {"200": {description: x, content: {application/json: {schema: {type: object, properties: {id: {type: integer}, total: {type: number}, items: {type: array, items: {type: string}}}, additionalProperties: false}}}}}
  /orders:
    post:
      requestBody: {required: true, content: {application/json: {schema: {type: object, required: [item], additionalProperties: false, properties: {item: {type: string, maxLength: 8}, count: {type: integer},
        notes: {type: array, items: {type: object, properties: {line: {type: integer}, text: {type: string}}}}}}}}}
      responses: {"201": {description: x, content: {application/json: {schema: {type: object}}}}}
`
	get := asked{"GET", "/orders/4711?full=true", "", browser, json, []byte(`{"id":4711,"total":12.5,"items":["rope","lamp"]}`), 200}
	post := asked{"POST", "/orders", order.String(), posts, json, []byte(`{"id":4712}`), 201}
	for _, c := range []struct {
		name, cfg string
		asked     asked
	}{{"get", "", get}, {"get/document", "      document: orders.yaml\n", get}, {"post", "", post}, {"post/document", "      document: orders.yaml\n", post},
		{"get/mask", "      leaks: {mode: mask}\n", get}} {
		b.Run(c.name, func(b *testing.B) {
			r := newRig(b, c.cfg+"      inventory: true\n", map[string]string{"orders.yaml": text})
			for i := range 60 {
				r.from = netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(i%20 + 1)}), 1000)
				r.do(b, "GET", fmt.Sprintf("/orders/%d?full=true", i), "Cookie: session=a"+fmt.Sprint(i), "", 200, jsonType, `{"id": 1, "total": 1}`)
				r.do(b, "POST", "/orders", jsonType+"\nCookie: session=a"+fmt.Sprint(i), order.String(), 201, jsonType, `{"id": 1}`)
			}
			r.g.Inventory().Refresh()
			c.asked.run(b, r.g)
		})
	}
}
