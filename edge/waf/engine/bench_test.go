package engine_test

import (
	"fmt"
	"strings"
	"testing"
)

func harmlessMessages() map[string]*message {
	browser := []header{{"Host", "example.org"}, {"User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"},
		{"Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}, {"Accept-Language", "en-GB,en;q=0.5"}, {"Accept-Encoding", "gzip, deflate"},
		{"Cookie", "session=8f14e45fceea167a5a36dedd4bea2543; theme=dark"}, {"Connection", "keep-alive"}}
	with := func(kind, body string) []header {
		return append(browser[:len(browser):len(browser)], header{"Content-Type", kind}, header{"Content-Length", fmt.Sprint(len(body))})
	}
	form := "name=Jane+Doe&email=jane%40example.org&message=Hello%2C+could+you+call+me+back+tomorrow%3F&age=42&newsletter=on"
	json := func(n int) string {
		var items []string
		for i := 0; len(strings.Join(items, ",")) < n; i++ {
			items = append(items, fmt.Sprintf(`{"id":%d,"name":"Item number %d","price":%d.99,"tags":["new","blue"],"note":"Ships within %d days"}`, i, i, i*3, i%9+1))
		}
		return `{"items":[` + strings.Join(items, ",") + `]}`
	}
	small, large := json(900), json(10000)
	return map[string]*message{
		"get":     {method: "GET", uri: "/products/42?ref=newsletter&page=2", proto: "HTTP/1.1", header: browser, level: 1},
		"form":    {method: "POST", uri: "/contact", proto: "HTTP/1.1", header: with("application/x-www-form-urlencoded", form), body: form, level: 1},
		"json1k":  {method: "POST", uri: "/api/items", proto: "HTTP/1.1", header: with("application/json", small), body: small, level: 1},
		"json10k": {method: "POST", uri: "/api/items", proto: "HTTP/1.1", header: with("application/json", large), body: large, level: 1},
	}
}

func (p *pair) runEngine(m *message) {
	tx := p.engine.Begin("id")
	tx.SetTX("blocking_paranoia_level", "1")
	tx.SetTX("detection_paranoia_level", "1")
	tx.Connection("192.0.2.7", 4711, "198.51.100.1", 80)
	tx.URI(m.uri, m.method, m.proto)
	tx.ServerName("example.org")
	for _, h := range m.header {
		tx.RequestHeader(h.name, h.value)
	}
	tx.RequestHeaders()
	if m.body != "" {
		tx.WriteRequestBody([]byte(m.body))
	}
	tx.RequestBody()
	tx.Close()
}

func (p *pair) runCoraza(m *message) {
	tx := p.coraza.NewTransactionWithID("id")
	tx.ProcessConnection("192.0.2.7", 4711, "198.51.100.1", 80)
	tx.ProcessURI(m.uri, m.method, m.proto)
	tx.SetServerName("example.org")
	for _, h := range m.header {
		tx.AddRequestHeader(h.name, h.value)
	}
	tx.ProcessRequestHeaders()
	if m.body != "" {
		_, _, _ = tx.WriteRequestBody([]byte(m.body))
	}
	_, _ = tx.ProcessRequestBody()
	_ = tx.Close()
}

func BenchmarkRequest(b *testing.B) {
	p := newPair(b, shipped)
	for _, name := range []string{"get", "form", "json1k", "json10k"} {
		m := harmlessMessages()[name]
		b.Run("engine/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.runEngine(m)
			}
		})
		b.Run("coraza/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.runCoraza(m)
			}
		})
	}
}
