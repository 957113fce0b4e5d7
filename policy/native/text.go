package native

import (
	"net/netip"
	"strings"
)

// lower folds the ASCII letters, as CEL's strings extension does in lowerAscii: what HTTP
// calls case-insensitive is ASCII, and other alphabets would make lengths change.
func lower(s string) string {
	if !hasUpper(s) {
		return s
	}
	return string(appendLower(make([]byte, 0, len(s)), s))
}

func hasUpper(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; 'A' <= c && c <= 'Z' {
			return true
		}
	}
	return false
}

func appendLower(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		b = append(b, c)
	}
	return b
}

// icontains is lower(s).contains(lower(sub)).
func icontains(s, sub string) bool { return strings.Contains(lower(s), lower(sub)) }

// urldecode undoes percent-encoding once (RFC 3986, section 2.1). What is no valid
// escape stays as it is, and so does a plus sign.
func urldecode(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	return string(appendDecoded(make([]byte, 0, len(s)), s))
}

func appendDecoded(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			hi, lo := hexDigit(s[i+1]), hexDigit(s[i+2])
			if hi >= 0 && lo >= 0 {
				b = append(b, byte(hi<<4|lo))
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	return b
}

func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
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
