package edge

import (
	"encoding/pem"
	"io"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/internal/forwarded"
	"github.com/testudo-sec/testudo/signal"
)

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTrustedProxy(t *testing.T) {
	seen := make(chan http.Header, 4)
	up := backend(t, func(w http.ResponseWriter, r *http.Request) { seen <- r.Header.Clone() })
	ed := start(t, []string{up}, func(s *setup) { s.cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	resp, _ := get(t, client1(t), ed.url, "X-Forwarded-For", "6.6.6.6, 203.0.113.9", "X-Request-Id", "given-by-proxy", "X-Forwarded-Proto", "https", "Tracestate", "a=1",
		"Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00")
	h := <-seen
	if resp.Header.Get("X-Request-Id") != "given-by-proxy" || h.Get("X-Request-Id") != "given-by-proxy" || h.Get("X-Forwarded-For") != "6.6.6.6, 203.0.113.9, 127.0.0.1" ||
		h.Get("X-Forwarded-Proto") != "https" || h.Get("X-Real-Ip") != "203.0.113.9" || h.Get("Tracestate") != "a=1" || h.Get("Traceparent")[3:35] != "4bf92f3577b34da6a3ce929d0e0e4736" {
		t.Errorf("upstream got %v", h)
	}
	e := ed.sink.wait(t, "request", isRequest)
	if e.IP(signal.FieldSrcEndpointIP).String() != "203.0.113.9" || e.Str(signal.FieldEdgeClientTrust) != forwarded.Proxy || e.IP(signal.FieldProxyEndpointIP).String() != "127.0.0.1" || e.Str(signal.FieldHTTPRequestUID) != "given-by-proxy" {
		t.Errorf("event %s", e.AppendJSON(nil))
	}
}

func TestUndeclaredProxy(t *testing.T) {
	seen := make(chan http.Header, 4)
	up := backend(t, func(w http.ResponseWriter, r *http.Request) { seen <- r.Header.Clone() })
	var log lockedBuffer
	ed := start(t, []string{up}, func(s *setup) { s.deps.Logger = newTextLog(&log) })
	for range 3 {
		resp, _ := get(t, client1(t), ed.url, "X-Forwarded-For", "203.0.113.9", "X-Request-Id", "forged-request-id", "Tracestate", "a=1")
		if h := <-seen; h.Get("X-Forwarded-For") != "127.0.0.1" || h.Get("Tracestate") != "" || resp.Header.Get("X-Request-Id") == "forged-request-id" {
			t.Errorf("a stranger is believed: %v", h)
		}
	}
	e := ed.sink.wait(t, "request", isRequest)
	if e.Str(signal.FieldEdgeClientTrust) != forwarded.Undeclared || e.IP(signal.FieldSrcEndpointIP).String() != "127.0.0.1" {
		t.Errorf("event %s", e.AppendJSON(nil))
	}
	if s := ed.Status().Undeclared; len(s) != 1 || s[0].Requests != 3 || s[0].Peer.String() != "127.0.0.1" {
		t.Errorf("status %+v", s)
	}
	if n := strings.Count(log.b.String(), "not declared"); n != 1 {
		t.Errorf("said %d times", n)
	}
}

func TestRoutes(t *testing.T) {
	name := func(n string) string {
		return backend(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, n+" "+r.Host+" "+r.RequestURI) })
	}
	admin := DefaultRoute()
	admin.Name, admin.Hosts, admin.Path, admin.StripPrefix, admin.SetHost = "admin", []string{"shop.example"}, "/admin", true, "inside"
	admin.Upstreams = []Upstream{{URL: name("admin") + "/base/"}}
	ed := start(t, []string{name("app")}, func(s *setup) {
		s.route.Hosts = []string{"shop.example"}
		s.cfg.Routes = []Route{admin}
	})
	for _, c := range []struct {
		host, path string
		status     int
		want       string
		failure    string
	}{
		{"shop.example", "/x", 200, "app shop.example /x", ""},
		{"Shop.Example:8080", "/x", 200, "app Shop.Example:8080 /x", ""},
		{"shop.example.", "/admin/users?a=b", 200, "admin inside /base/users?a=b", ""},
		{"shop.example", "/admin", 200, "admin inside /base/", ""},
		{"other.example", "/", 404, "", "no-route"},
		{"shop.example", "/x/..%2fadmin", 400, "", "ambiguous-path"},
		{"shop.example", "/%61dmin", 400, "", "ambiguous-path"},
	} {
		got := raw(t, ed.addr, "GET "+c.path+" HTTP/1.1\r\nHost: "+c.host+"\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(got, "HTTP/1.1 "+strconv.Itoa(c.status)+" ") || !strings.HasSuffix(got, c.want) {
			t.Errorf("%s%s: %q", c.host, c.path, got)
		}
		if c.failure != "" {
			ed.sink.wait(t, c.failure, func(e *signal.Event) bool { return isFinal(e) && hasError(c.failure)(e) })
		}
	}
}
