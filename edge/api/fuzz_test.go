package api

import (
	"bytes"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/edge"
)

const fuzzRoutes = `      document: orders.yaml
      objects: block
      exposure: block
      responses: block
      bypass: block
      graphql: {mode: block, path: /graphql}
      leaks: {mode: %s}
`

// FuzzExchange sends exchanges of a stranger through the guard: nothing panics, an answer is changed where it is masked only and keeps its length, and
// what is told holds no value.
func FuzzExchange(f *testing.F) {
	const secret = "s3cr3tv4lu3"
	f.Add(uint8(0), "GET", "/orders/7?full=1", "Cookie: session=a", []byte(nil), 200, jsonType, []byte(clear1), uint8(3))
	f.Add(uint8(1), "POST", "/orders", jsonType, []byte(`{"item": "rope", "role": 1}`), 201, jsonType, []byte(`{"id": 7, "margin": [1]}`), uint8(1))
	f.Add(uint8(2), "POST", "/graphql/", jsonType, []byte(`[{"query": "{a{b}}"}]`), 200, "Content-Type: text/event-stream", []byte("data: 4111111111111111\n\n"), uint8(9))
	f.Add(uint8(0), "PUT", "//x/../Orders;a/%2e/", "X-Http-Method-Override: GET\nContent-Encoding: br\n"+jsonType, []byte("\x0f\xff"), 304, "Content-Encoding: gzip", []byte("\x1f\x8b"), uint8(0))
	f.Add(uint8(1), "HEAD", "*", "Authorization: Bearer a.b.c\nCookie: ;=;a=b; jwt", []byte("a=b&query={"), 502, "Content-Type: a/b; c", []byte("-----BEGIN PRIVATE KEY-----\n"), uint8(255))
	var rigs []*rig
	for _, mode := range []string{"report", "mask", "block"} {
		rigs = append(rigs, newRig(f, fmt.Sprintf(fuzzRoutes, mode), map[string]string{"orders.yaml": document}))
	}
	f.Fuzz(func(t *testing.T, which uint8, method, target, header string, body []byte, status int, kind string, answer []byte, cut uint8) {
		r := rigs[int(which)%len(rigs)]
		path, query, _ := strings.Cut(target, "?")
		req := &http.Request{Method: method, URL: &url.URL{Path: path, RawQuery: query}, RequestURI: target, Header: headers(header), ContentLength: int64(len(body))}
		req.Header.Set("Authorization", "Bearer "+secret)
		req.URL.RawQuery += "&card=" + secret
		c := r.g.Begin(t.Context(), edge.Exchange{Request: req, Client: netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, cut}), 1), Time: r.now, Route: "shop", Path: path, Blocks: which&0x80 == 0})
		before := bytes.Clone(body)
		if n := c.Request(); n > 0 {
			c.RequestBody(body[:min(int(n), len(body))], len(body) > int(n))
		}
		if !bytes.Equal(body, before) {
			t.Fatal("the request was changed")
		}
		c.Forward(req.Header)
		h := headers(kind)
		hold, pass := c.Response(status, h)
		if hold > 0 {
			c.ResponseBody(answer[:min(int(hold), len(answer))], len(answer) > int(hold))
		}
		before = bytes.Clone(answer)
		var out []byte
		ok := true
		if pass {
			for piece := range slices.Chunk(answer, int(cut)+1) {
				var p []byte
				if p, ok = c.Pass(piece, false); !ok {
					break
				}
				out = append(out, p...)
			}
			if ok {
				var p []byte
				p, ok = c.Pass(nil, true)
				out = append(out, p...)
			}
			masked := r.g.routes["shop"].cfg.Leaks.Mode == Mask && which&0x80 == 0
			switch {
			case !bytes.Equal(answer, before):
				t.Fatal("the answer was changed where it stood")
			case !ok && r.g.routes["shop"].cfg.Leaks.Mode != Block:
				t.Fatal("it was cut off")
			case ok && len(out) != len(answer):
				t.Fatalf("%d bytes of %d", len(out), len(answer))
			case !masked && !bytes.HasPrefix(answer, out):
				t.Fatalf("%q of %q", out, answer)
			}
		}
		found := fmt.Sprintf("%+v", c.Found())
		if strings.Contains(found, secret) {
			t.Fatalf("a value is told: %s", found)
		}
		if len(c.Found().Violations) > 2*maxFound {
			t.Fatalf("%d violations", len(c.Found().Violations))
		}
		c.Close(edge.End{Status: status, Sent: int64(len(out)), Whole: ok, Clean: true})
	})
}
