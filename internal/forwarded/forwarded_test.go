package forwarded

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestClient(t *testing.T) {
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
		{"direct", "198.51.100.1:5", false, nil, "198.51.100.1:5", Peer, nil},
		{"a stranger's claim", "198.51.100.1:5", false, http.Header{"X-Forwarded-For": {"1.1.1.1"}}, "198.51.100.1:5", Peer, nil},
		{"undeclared", "192.168.1.9:5", false, http.Header{"X-Forwarded-For": {"1.1.1.1"}}, "192.168.1.9:5", Undeclared, nil},
		{"undeclared on loopback", "127.0.0.1:5", false, http.Header{"Forwarded": {"for=1.1.1.1"}}, "127.0.0.1:5", Undeclared, nil},
		{"private, not forwarding", "192.168.1.9:5", false, nil, "192.168.1.9:5", Peer, nil},
		{"one proxy", "10.0.0.1:5", false, http.Header{"X-Forwarded-For": {"203.0.113.9"}}, "203.0.113.9:0", Proxy, []string{"10.0.0.1"}},
		{"with a port", "10.0.0.1:5", false, http.Header{"X-Forwarded-For": {"203.0.113.9:77"}}, "203.0.113.9:77", Proxy, []string{"10.0.0.1"}},
		{"from the right", "10.0.0.1:5", false, http.Header{"X-Forwarded-For": {"6.6.6.6, 203.0.113.9, 10.0.0.2"}}, "203.0.113.9:0", Proxy, []string{"10.0.0.2", "10.0.0.1"}},
		{"several lines", "10.0.0.1:5", false, http.Header{"X-Forwarded-For": {"6.6.6.6", "203.0.113.9", "10.0.0.2"}}, "203.0.113.9:0", Proxy, []string{"10.0.0.2", "10.0.0.1"}},
		{"nonsense ends it", "10.0.0.1:5", false, http.Header{"X-Forwarded-For": {"203.0.113.9, unknown, 10.0.0.2"}}, "10.0.0.2:0", Proxy, []string{"10.0.0.1"}},
		{"only nonsense", "10.0.0.1:5", false, http.Header{"X-Forwarded-For": {"' OR 1=1"}}, "10.0.0.1:5", Peer, nil},
		{"no claim", "10.0.0.1:5", false, nil, "10.0.0.1:5", Peer, nil},
		{"the other field is not read", "10.0.0.1:5", false, http.Header{"Forwarded": {"for=203.0.113.9"}}, "10.0.0.1:5", Peer, nil},
		{"forwarded", "10.0.0.1:5", true, http.Header{"Forwarded": {`For="[2001:db9::7]:4711";proto=https, for=10.0.0.3`}, "X-Forwarded-For": {"6.6.6.6"}}, "[2001:db9::7]:4711", Proxy, []string{"10.0.0.3", "10.0.0.1"}},
		{"forwarded, quoted comma", "10.0.0.1:5", true, http.Header{"Forwarded": {`for="6.6.6.6, for=7.7.7.7"`}}, "10.0.0.1:5", Peer, nil},
		{"forwarded, hidden", "10.0.0.1:5", true, http.Header{"Forwarded": {`for=203.0.113.9, for=_hidden`}}, "10.0.0.1:5", Peer, nil},
		{"all trusted", "10.0.0.1:5", false, http.Header{"X-Forwarded-For": {"10.0.0.9, 10.0.0.2"}}, "10.0.0.9:0", Proxy, []string{"10.0.0.2", "10.0.0.1"}},
		{"IPv6", "[2001:db8::1]:5", false, http.Header{"X-Forwarded-For": {"::ffff:203.0.113.9"}}, "203.0.113.9:0", Proxy, []string{"2001:db8::1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tp := Proxies{Trusted: nets, RFC7239: c.forwarded}
			peer := netip.MustParseAddrPort(c.peer)
			got := tp.Client(peer, tp.Trusts(peer.Addr()), c.header)
			if s := netip.AddrPortFrom(got.Addr, got.Port).String(); s != c.want || got.Trust != c.trust {
				t.Errorf("got %s by %s, want %s by %s", s, got.Trust, c.want, c.trust)
			}
			if d := cmp.Diff(c.proxies, got.Proxies); d != "" {
				t.Error(d)
			}
		})
	}
	long := http.Header{"X-Forwarded-For": {strings.Repeat("10.0.0.1,", 100_000) + "10.0.0.1"}}
	if got := (&Proxies{Trusted: nets}).Client(netip.MustParseAddrPort("10.0.0.1:5"), true, long); len(got.Proxies) > maxHops {
		t.Errorf("%d hops followed", len(got.Proxies))
	}
}

func TestHops(t *testing.T) {
	got := Hops([]string{"203.0.113.9, secret", "[2001:db8::1]:80,fe80::1%secret", ""}, "*")
	if d := cmp.Diff([]string{"203.0.113.9", "*", "[2001:db8::1]:80", "*", "*"}, got); d != "" {
		t.Error(d)
	}
	if got := Hops([]string{strings.Repeat("10.0.0.1,", 1000)}, "*"); len(got) != maxHops+1 || got[maxHops] != "…" {
		t.Errorf("%d hops of a long list: %v", len(got), got)
	}
}

// FuzzClient holds that what the client wrote itself decides nothing: the client is the address
// that a trusted proxy wrote, whatever came before it.
func FuzzClient(f *testing.F) {
	f.Add("10.0.0.2, 6.6.6.6", `for="[::1]:80";by=x, for=10.0.0.3`, true)
	f.Add(`for="`, `, for=\"`, false)
	f.Fuzz(func(t *testing.T, first, second string, rfc7239 bool) {
		p := &Proxies{Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, RFC7239: rfc7239}
		peer := netip.MustParseAddrPort("10.0.0.1:5")
		h := http.Header{"X-Forwarded-For": {first, second, "203.0.113.9"}, "Forwarded": {first, second, "for=203.0.113.9"}}
		if c := p.Client(peer, true, h); c.Addr.String() != "203.0.113.9" || c.Trust != Proxy || !slices.Equal(c.Proxies, []string{"10.0.0.1"}) {
			t.Fatalf("the client is %+v", c)
		}
		if c := p.Client(netip.MustParseAddrPort("198.51.100.7:5"), false, h); c.Addr.String() != "198.51.100.7" || c.Trust != Peer || c.Proxies != nil {
			t.Fatalf("a stranger is believed: %+v", c)
		}
		if hops := Hops(h["X-Forwarded-For"], "*"); len(hops) > maxHops+1 {
			t.Fatalf("%d hops", len(hops))
		}
	})
}
