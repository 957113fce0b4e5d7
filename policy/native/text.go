package native

import (
	"net/netip"
	"strings"

	"github.com/testudo-sec/testudo/policy/match"
)

// lower folds the ASCII letters, as CEL's strings extension does in lowerAscii: what HTTP
// calls case-insensitive is ASCII, and other alphabets would make lengths change.
func lower(s string) string { return after(match.StepLower, s) }

// icontains is lower(s).contains(lower(sub)).
func icontains(s, sub string) bool { return strings.Contains(lower(s), lower(sub)) }

// urldecode undoes percent-encoding once (RFC 3986, section 2.1). What is no valid
// escape stays as it is, and so does a plus sign.
func urldecode(s string) string { return after(match.StepURLDecode, s) }

// after returns what a step that can be done to every text makes of one.
func after(step match.Step, s string) string {
	s, _ = match.ApplySteps([]match.Step{step}, s)
	return s
}

// parseAddr reads an address as event fields hold them: without zone, IPv4-mapped ones as
// IPv4. What is no address is the zero Addr, which is in no prefix.
func parseAddr(s string) netip.Addr {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}
	}
	return a.WithZone("").Unmap()
}

// parsePrefix reads a CIDR prefix, an IPv4-mapped one as IPv4, or an address as the prefix that holds it alone.
func parsePrefix(s string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(s); err == nil {
		if p.Addr().Is4In6() {
			if p.Bits() < 96 { // named by IPv4, and more than all of it
				return netip.Prefix{}, false
			}
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		return p.Masked(), true
	}
	if a := parseAddr(s); a.IsValid() {
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	return netip.Prefix{}, false
}

func inPrefix(a netip.Addr, prefix string) bool {
	p, ok := parsePrefix(prefix)
	return ok && p.Contains(a)
}

// sharedSpace is for carriers' address translation (RFC 6598), not reachable from outside.
var sharedSpace = netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, 0, 0}), 10)

// privatePrefixes returns the prefixes of what private reports.
func privatePrefixes() []netip.Prefix {
	var all []netip.Prefix
	for _, p := range [...]string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "127.0.0.0/8", "::1/128",
		"169.254.0.0/16", "fe80::/10", "0.0.0.0/32", "::/128"} {
		all = append(all, netip.MustParsePrefix(p))
	}
	return append(all, sharedSpace)
}

// private reports whether the address is one that the Internet does not route: private
// (RFC 1918, RFC 4193), loopback, link-local, unspecified or shared (RFC 6598).
func private(a netip.Addr) bool {
	return a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsUnspecified() || sharedSpace.Contains(a)
}
