package guard

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

func request(host string, headers ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/search?q=tent", nil)
	r.RemoteAddr = "127.0.0.1:50000"
	r.Host = host
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

func TestForeign(t *testing.T) {
	own := "127.0.0.1:8080"
	for _, c := range []struct {
		name string
		r    *http.Request
		want string // part of the reason; empty: allowed
	}{
		{"the edge's own host", request(own), ""},
		{"the shop's own host", request("127.0.0.1:8081"), ""},
		{"another loopback address", request("127.0.0.66:8080"), ""},
		{"IPv6", request("[::1]:8080"), ""},
		{"localhost", request("LOCALHOST:8080"), ""},
		{"under localhost", request("shop.localhost"), ""},
		{"edge's forwarding", request(own, "X-Forwarded-For", "127.0.0.66", "X-Forwarded-Host", own, "X-Real-IP", "127.0.0.66", "Forwarded", `for="[::1]:4711";host=x`), ""},
		{"same origin", request(own, "Origin", "http://127.0.0.1:8080", "Sec-Fetch-Site", "same-origin"), ""},
		{"same origin over TLS", request("localhost", "Origin", "https://localhost:443"), ""},
		{"origin of an edge that rewrites Host", request("127.0.0.1:8081", "Origin", "http://127.0.0.1:8080", "X-Forwarded-Host", own), ""},
		{"address bar", request(own, "Sec-Fetch-Site", "none"), ""},

		{"no host", request(""), "the Host"},
		{"rebound name", request("evil.example:8080"), "the Host"},
		{"name that begins with the address", request("127.0.0.1.nip.example"), "the Host"},
		{"name that ends like localhost", request("evillocalhost"), "the Host"},
		{"every interface", request("0.0.0.0:8080"), "the Host"},
		{"private address", request("192.168.1.5:8080"), "the Host"},
		{"number for an address", request("2130706433"), "the Host"},
		{"trailing dot", request("localhost."), "the Host"},
		{"empty label", request(".localhost"), "the Host"},
		{"credentials before host", request("evil@localhost"), "the Host"},
		{"port that is a name", request("localhost:evil"), "the Host"},
		{"bracketed name", request("[localhost]:80"), "the Host"},
		{"zone", request("[::1%25eth0]:80"), "the Host"},
		{"forwarded host", request(own, "X-Forwarded-Host", "shop.example"), "X-Forwarded-Host"},
		{"forwarded client", request(own, "X-Forwarded-For", "127.0.0.1, 192.0.2.7"), "another machine"},
		{"forwarded client in a second header", request(own, "X-Forwarded-For", "127.0.0.1", "X-Forwarded-For", "192.0.2.7"), "another machine"},
		{"hidden forwarded client", request(own, "X-Forwarded-For", "unknown"), "another machine"},
		{"real ip", request(own, "X-Real-IP", "192.0.2.7"), "another machine"},
		{"forwarded by RFC 7239", request(own, "Forwarded", `proto=http; For="192.0.2.7:1"`), "another machine"},
		{"foreign origin", request(own, "Origin", "https://evil.example"), "the Origin"},
		{"opaque origin", request(own, "Origin", "null"), "the Origin"},
		{"another local program", request(own, "Origin", "http://127.0.0.1:3000"), "the Origin"},
		{"another local name", request(own, "Origin", "http://localhost:8080"), "the Origin"},
		{"second origin", request(own, "Origin", "http://127.0.0.1:8080", "Origin", "http://evil.example"), "the Origin"},
		{"odd scheme", request(own, "Origin", "chrome-extension://127.0.0.1:8080"), "the Origin"},
		{"cross-site", request(own, "Sec-Fetch-Site", "cross-site"), "Sec-Fetch-Site"},
		{"same-site", request(own, "Sec-Fetch-Site", "same-site"), "Sec-Fetch-Site"},
		{"unknown relation", request(own, "Sec-Fetch-Site", "brand-new"), "Sec-Fetch-Site"},
	} {
		got := Foreign(c.r)
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: Foreign = %q, want %q in it", c.name, got, c.want)
		}
	}
	r := request(own)
	r.RemoteAddr = "192.0.2.7:1234"
	if got := Foreign(r); !strings.Contains(got, "not this machine") {
		t.Errorf("peer elsewhere: Foreign = %q", got)
	}
}

func TestHandlerExplainsAndEscapes(t *testing.T) {
	var reasons []string
	reached := 0
	h := Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached++ }),
		func(_ *http.Request, reason string) { reasons = append(reasons, reason) })

	w := httptest.NewRecorder()
	h.ServeHTTP(w, request("127.0.0.1:8080"))
	if w.Code != http.StatusOK || reached != 1 {
		t.Fatalf("own request: code %d, reached %d times", w.Code, reached)
	}
	w = httptest.NewRecorder()
	h.ServeHTTP(w, request("evil.example", "Accept", "*/*"))
	if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "deliberately vulnerable") {
		t.Errorf("foreign host: %d %q", w.Code, w.Body)
	}
	w = httptest.NewRecorder()
	h.ServeHTTP(w, request("127.0.0.1", "Accept", "text/html", "Origin", "http://<script>alert(1)</script>"))
	if w.Code != http.StatusForbidden || strings.Contains(w.Body.String(), "<script>") {
		t.Errorf("foreign origin: %d %q", w.Code, w.Body)
	}
	if reached != 1 || len(reasons) != 2 {
		t.Errorf("reached %d times, reasons %q", reached, reasons)
	}
}

type answers map[string][]netip.Addr

func (a answers) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if addrs, ok := a[host]; ok {
		return addrs, nil
	}
	return nil, errors.New("no such host")
}

func TestAddress(t *testing.T) {
	four, six, lan := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1"), netip.MustParseAddr("192.168.1.5")
	dns := answers{"localhost": {six, four}, "six.localhost": {six}, "mixed.localhost": {four, lan}, "shop.example": {four}}
	for _, c := range []struct{ listen, want, err string }{
		{"127.0.0.1:8081", "127.0.0.1:8081", ""},
		{"127.9.9.9:0", "127.9.9.9:0", ""},
		{"[::1]:8081", "[::1]:8081", ""},
		{"[::ffff:127.0.0.1]:8081", "127.0.0.1:8081", ""},
		{"localhost:8081", "127.0.0.1:8081", ""},
		{"six.localhost:8081", "[::1]:8081", ""},
		{":8081", "", "every interface"},
		{"0.0.0.0:8081", "", "other machines"},
		{"[::]:8081", "", "other machines"},
		{"192.168.1.5:8081", "", "other machines"},
		{"[::ffff:192.168.1.5]:8081", "", "other machines"},
		{"[::1%lo]:8081", "", "other machines"},
		{"127.1:8081", "", "other than localhost"},
		{"shop.example:8081", "", "other than localhost"},
		{"mixed.localhost:8081", "", "resolves to 192.168.1.5"},
		{"gone.localhost:8081", "", "does not resolve"},
		{"127.0.0.1", "", "not HOST:PORT"},
		{"127.0.0.1:http", "", "no port"},
		{"127.0.0.1:99999", "", "no port"},
	} {
		got, err := Address(t.Context(), dns, c.listen)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: error %v, want %q in it", c.listen, err, c.err)
			}
			continue
		}
		if err != nil || got.String() != c.want {
			t.Errorf("%s: %v, %v; want %s", c.listen, got, err, c.want)
		}
	}
}

// A Host that passes must be one that a browser could only have sent to loopback.
func FuzzLoopbackHost(f *testing.F) {
	for _, s := range []string{"127.0.0.1:80", "[::1]", "localhost", "a.localhost:1", "evil.example", "[::1", "127.0.0.1@evil", "\x00localhost"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, host string) {
		if !LoopbackHost(host) {
			return
		}
		name := strings.ToLower(host)
		if i := strings.LastIndexByte(name, ':'); i >= 0 && !strings.HasSuffix(name, "]") && (strings.HasPrefix(name, "[") || strings.Count(name, ":") == 1) {
			name = name[:i]
		}
		if a, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
			if !a.Unmap().IsLoopback() {
				t.Fatalf("%q passed, address %s", host, a)
			}
			return
		}
		if name != "localhost" && !strings.HasSuffix(name, ".localhost") || strings.ContainsAny(name, "/@\\ ?#%") {
			t.Fatalf("%q passed, name %q", host, name)
		}
	})
}
