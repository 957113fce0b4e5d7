package web

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/websocket"
)

// The shop must work behind an edge that passes its own Host on, and behind one
// that asks by the shop's address and says X-Forwarded-Host.
func TestBehindAnEdge(t *testing.T) {
	for name, keepHost := range map[string]bool{"host passed on": true, "host rewritten": false} {
		t.Run(name, func(t *testing.T) {
			v := visit(t)
			upstream, err := url.Parse(v.url)
			if err != nil {
				t.Fatal(err)
			}
			transport := &http.Transport{}
			edge := httptest.NewServer(&httputil.ReverseProxy{Transport: transport, FlushInterval: -1, Rewrite: func(p *httputil.ProxyRequest) {
				p.SetURL(upstream)
				p.SetXForwarded()
				if keepHost {
					p.Out.Host = p.In.Host
				}
			}})
			defer edge.Close()
			defer transport.CloseIdleConnections()
			v.url = edge.URL

			r, _ := http.NewRequest(http.MethodPost, edge.URL+"/comments", strings.NewReader("product=mug&text=by+the+edge"))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("Origin", edge.URL)
			r.Header.Set("Sec-Fetch-Site", "same-origin")
			code, body := v.do(r)
			v.expect("comment", code, body, http.StatusOK, "by the edge")

			r, _ = http.NewRequest(http.MethodGet, edge.URL, nil)
			r.Host = "shop.example"
			code, body = v.do(r)
			v.expect("foreign host", code, body, http.StatusForbidden, "not a loopback name")

			ws, err := v.join(edge.URL)
			if err != nil {
				t.Fatal(err)
			}
			heard(t, ws)
			if err := websocket.Message.Send(ws, "hello"); err != nil {
				t.Fatal(err)
			}
			if got := heard(t, ws); got != "hello" {
				t.Errorf("the chat says %q", got)
			}
			res, err := v.client.Get(edge.URL + "/events")
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if line, err := bufio.NewReader(res.Body).ReadString('\n'); err != nil || line != "id: 0\n" {
				t.Errorf("the stream begins with %q, %v", line, err)
			}
		})
	}
}
