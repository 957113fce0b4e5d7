package block

import (
	"fmt"
	"net/netip"
	"strings"
)

// proxy is what trusted proxies are called.
const proxy = "the proxies that the edge trusts"

// special returns the prefixes that are not out on the internet (RFC 6890, RFC 4291, RFC 4193, RFC 6598).
func special() []named {
	list := []struct{ prefix, what string }{
		{"127.0.0.0/8", "loopback, this machine itself"},
		{"::1/128", "loopback, this machine itself"},
		{"0.0.0.0/8", "what no sender has"},
		{"::/128", "what no sender has"},
		{"10.0.0.0/8", "a private network"},
		{"172.16.0.0/12", "a private network"},
		{"192.168.0.0/16", "a private network"},
		{"fc00::/7", "a private network"},
		{"100.64.0.0/10", "what a provider's customers share"},
		{"169.254.0.0/16", "the link-local range"},
		{"fe80::/10", "the link-local range"},
		{"224.0.0.0/4", "the multicast range"},
		{"ff00::/8", "the multicast range"},
		{"255.255.255.255/32", "the broadcast address"},
		// One translator stands for all of IPv4 behind it: its /64 is everybody.
		{"64:ff9b::/96", "an address translator (NAT64)"},
	}
	out := make([]named, len(list))
	for i, s := range list {
		out[i] = named{netip.MustParsePrefix(s.prefix), s.what}
	}
	return out
}

// parse reads an address or a prefix. An IPv4-mapped one is IPv4; host bits are cleared.
func parse(s string) (netip.Prefix, error) {
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return netip.Prefix{}, fmt.Errorf("%q is no address: write one as in 203.0.113.7, or a prefix as in 203.0.113.0/24", cut(s))
		}
		a = a.Unmap().WithZone("")
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is no prefix: write one as in 203.0.113.0/24", cut(s))
	}
	if p.Addr().Is4In6() && p.Bits() < 96 { // named by IPv4, and more than all of it
		return netip.Prefix{}, fmt.Errorf("%q is no prefix: write IPv4 as in 203.0.113.0/24", cut(s))
	}
	return normal(p), nil
}

func cut(s string) string {
	if len(s) > 60 {
		return s[:60] + "…"
	}
	return s
}

func normal(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked()
}

// text is the canonical form: an address alone, or a prefix.
func text(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// group is the network that one attacker may have to himself.
func group(p netip.Prefix) string {
	bits := 24
	if p.Addr().Is6() {
		bits = 48
	}
	return netip.PrefixFrom(p.Addr(), min(bits, p.Bits())).Masked().String()
}

func parseList(items []string) ([]netip.Prefix, error) {
	var list []netip.Prefix
	for _, s := range items {
		p, err := parse(s)
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

// within returns the first of the list that a target touches.
func within(list []netip.Prefix, p netip.Prefix) (netip.Prefix, bool) {
	for _, n := range list {
		if n.Overlaps(p) {
			return n, true
		}
	}
	return netip.Prefix{}, false
}
