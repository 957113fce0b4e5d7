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

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/signal"
)

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestResolve(t *testing.T) {
	nets := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}
	for _, c := range []struct {
		name      string
		peer      string
		forwarded bool
		header    http.Header
		want      string
		trust     string
		proxies   []string
	}{
		{"direct", "198.51.100.1:5", false, nil, "198.51.100.1:5", trustPeer, nil},
		{"a stranger's claim", "198.51.100.1:5", false, http.Header{"X-Forwarded-For": {"1.1.1.1"}}, "198.51.100.1:5", trustPeer, nil},
		{"undeclared", "192.168.1.9:5", false, http.Header{"X-Forwarded-For": {"1.1.1.1"}}, "192.168.1.9:5", trustUndeclared, nil},
		{"undeclared on loopback", "127.0.0.1:5", false, http.Header{"Forwarded": {"for=1.1.1.1"}}, "127.0.0.1:5", trustUndeclared, nil},
		{"private, not forwarding", "192.168.1.9:5", false, nil, "192.168.1.9:5", trustPeer, nil},
		{"one proxy", "10.0.0.1:5", false, http.Header{"X-Forwarded-For": {"203.0.113.9"}}, "203.0.113.9:0", trustProxy, []string{"10.0.0.1"}},
		{"with a port", "10.0.0.1:5", false, http.Header{"X-Forwarded-For": {"203.0.113.9:77"}}, "203.0.113.9:77", trustProxy, []string{"10.0.0.1"}},
		{"from the right", "10.0.0.1:5", false, http.Header{"X-Forwarded-For": {"6.6.6.6, 203.0.113.9, 10.0.0.2"}}, "203.0.113.9:0", trustProxy, []string{"10.0.0.2", "10.0.0.1"}},
		{"several lines", "10.0.0.1:5", false, http.Header{"X-Forwarded-For": {"6.6.6.6", "203.0.113.9", "10.0.0.2"}}, "203.0.113.9:0", trustProxy, []string{"10.0.0.2", "10.0.0.1"}},
		{"nonsense ends it", "10.0.0.1:5", false, http.Header{"X-Forwarded-For": {"203.0.113.9, unknown, 10.0.0.2"}}, "10.0.0.2:0", trustProxy, []string{"10.0.0.1"}},
		{"only nonsense", "10.0.0.1:5", false, http.Header{"X-Forwarded-For": {"' OR 1=1"}}, "10.0.0.1:5", trustPeer, nil},
		{"no claim", "10.0.0.1:5", false, nil, "10.0.0.1:5", trustPeer, nil},
		{"the other field is not read", "10.0.0.1:5", false, http.Header{"Forwarded": {"for=203.0.113.9"}}, "10.0.0.1:5", trustPeer, nil},
		{"forwarded", "10.0.0.1:5", true, http.Header{"Forwarded": {`For="[2001:db9::7]:4711";proto=https, for=10.0.0.3`}, "X-Forwarded-For": {"6.6.6.6"}}, "[2001:db9::7]:4711", trustProxy, []string{"10.0.0.3", "10.0.0.1"}},
		{"forwarded, quoted comma", "10.0.0.1:5", true, http.Header{"Forwarded": {`for="6.6.6.6, for=7.7.7.7"`}}, "10.0.0.1:5", trustPeer, nil},
		{"forwarded, hidden", "10.0.0.1:5", true, http.Header{"Forwarded": {`for=203.0.113.9, for=_hidden`}}, "10.0.0.1:5", trustPeer, nil},
		{"all trusted", "10.0.0.1:5", false, http.Header{"X-Forwarded-For": {"10.0.0.9, 10.0.0.2"}}, "10.0.0.9:0", trustProxy, []string{"10.0.0.2", "10.0.0.1"}},
		{"IPv6", "[2001:db8::1]:5", false, http.Header{"X-Forwarded-For": {"::ffff:203.0.113.9"}}, "203.0.113.9:0", trustProxy, []string{"2001:db8::1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tp := trustedProxies{nets: nets, forwarded: c.forwarded}
			peer := netip.MustParseAddrPort(c.peer)
			got := tp.resolve(peer, tp.trusted(peer.Addr()), c.header)
			if s := netip.AddrPortFrom(got.addr, got.port).String(); s != c.want || got.trust != c.trust {
				t.Errorf("got %s by %s, want %s by %s", s, got.trust, c.want, c.trust)
			}
			if d := cmp.Diff(c.proxies, got.proxies); d != "" {
				t.Error(d)
			}
		})
	}
	long := http.Header{"X-Forwarded-For": {strings.Repeat("10.0.0.1,", 100_000) + "10.0.0.1"}}
	if got := (&trustedProxies{nets: nets}).resolve(netip.MustParseAddrPort("10.0.0.1:5"), true, long); len(got.proxies) > maxHops {
		t.Errorf("%d hops followed", len(got.proxies))
	}
}

func TestTrace(t *testing.T) {
	const good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for in, valid := range map[string]bool{
		good: true, "": false, strings.ToUpper(good): false, good + "-x": false, "01" + good[2:] + "-x": true, "01" + good[2:] + "x": false,
		"ff" + good[2:]: false, "00-00000000000000000000000000000000-00f067aa0ba902b7-01": false,
		"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01": false, good[:54]: false,
	} {
		got, fresh := trace(http.Header{"Traceparent": {in}})
		if fresh == valid || !validTraceparent(got) {
			t.Errorf("%q: %q, fresh %v", in, got, fresh)
		}
		if valid && (got[3:35] != good[3:35] || got[36:52] == good[36:52] || got[53:] != "01") {
			t.Errorf("%q is continued as %q", in, got)
		}
	}
	if _, fresh := trace(http.Header{"Traceparent": {good, good}}); !fresh {
		t.Error("two fields are believed")
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
	if e.IP(signal.FieldSrcEndpointIP).String() != "203.0.113.9" || e.Str(signal.FieldEdgeClientTrust) != trustProxy || e.IP(signal.FieldProxyEndpointIP).String() != "127.0.0.1" || e.Str(signal.FieldHTTPRequestUID) != "given-by-proxy" {
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
	if e.Str(signal.FieldEdgeClientTrust) != trustUndeclared || e.IP(signal.FieldSrcEndpointIP).String() != "127.0.0.1" {
		t.Errorf("event %s", e.AppendJSON(nil))
	}
	if s := ed.Status().Undeclared; len(s) != 1 || s[0].Requests != 3 || s[0].Peer.String() != "127.0.0.1" {
		t.Errorf("status %+v", s)
	}
	if n := strings.Count(log.b.String(), "not declared"); n != 1 {
		t.Errorf("said %d times", n)
	}
}

func TestRouter(t *testing.T) {
	rt := func(name, path string, hosts ...string) *route {
		return &route{name: name, prefix: strings.TrimSuffix(path, "/"), cfg: &Route{Hosts: hosts}}
	}
	r := newRouter([]*route{rt("any", "/"), rt("any-api", "/api/"), rt("shop", "/", "shop.example"), rt("shop-admin", "/admin", "Shop.Example"),
		rt("wild", "/", "*.example"), rt("deep", "/", "*.eu.example"), rt("half", "/only", "half.example")})
	for _, c := range []struct{ host, path, want string }{
		{"other", "/", "any"}, {"other", "/api", "any-api"}, {"other", "/api/x", "any-api"}, {"other", "/apis", "any"},
		{"shop.example", "/", "shop"}, {"shop.example", "/admin/x", "shop-admin"}, {"shop.example", "/administrator", "shop"},
		{"x.example", "/", "wild"}, {"a.b.example", "/", "wild"}, {"a.eu.example", "/", "deep"}, {"example", "/", "any"},
		{"half.example", "/only", "half"}, {"half.example", "/else", "wild"},
		{"shop.example", "/admin/../x", ""}, {"shop.example", "/%61dmin", ""}, {"shop.example", "/x/..%2fadmin", ""}, {"shop.example", "//admin", ""},
		{"shop.example", `/x/..\admin`, ""}, {"shop.example", "/x/..;/admin", ""}, {"shop.example", "/admin;x=1/y", ""}, {"shop.example", "/./admin", ""},
		{"shop.example", "/a%20b", "shop"}, {"shop.example", "/a;b=1", "shop"}, {"shop.example", "/a/../b", "shop"}, {"shop.example", "/%zz", "shop"},
		{"shop.example", "/admin/%41", "shop-admin"},
	} {
		got, ambiguous := r.find(c.host, c.path)
		if (got == nil) != (c.want == "") || got != nil && got.name != c.want || ambiguous != (c.want == "") {
			t.Errorf("%s%s: %+v, ambiguous %v, want %q", c.host, c.path, got, ambiguous, c.want)
		}
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
