// Package forwarded finds out who the client of a request is that came through proxies, from
// X-Forwarded-For or Forwarded ([RFC 7239]).
//
// Only what a trusted proxy wrote is believed. The fields are read from the right, where each
// proxy adds: trusted proxies are passed over, and the first other address is the client. What
// stands further left the client may have written itself.
//
// [RFC 7239]: https://www.rfc-editor.org/rfc/rfc7239
package forwarded

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// How the client's address is known: the values of Client.Trust.
const (
	Peer       = "peer"       // it is the peer that connected
	Proxy      = "proxy"      // a trusted proxy named it
	Undeclared = "undeclared" // the peer forwards for others but is not trusted: nobody knows
)

// Client is who asks.
type Client struct {
	Addr    netip.Addr
	Port    uint16 // 0 where it is not known
	Trust   string
	Proxies []string // between the client and us, outermost first
}

// Proxies says whom to believe. It is not changed after its making, and safe for concurrent use.
type Proxies struct {
	Trusted []netip.Prefix
	RFC7239 bool // read Forwarded instead of X-Forwarded-For
}

// Trusts reports whether a is a trusted proxy.
func (t *Proxies) Trusts(a netip.Addr) bool {
	for _, p := range t.Trusted {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// maxHops bounds how many proxies are followed: a longer chain is a client's invention.
const maxHops = 32

// Client says who the client behind peer is; trusted is Trusts of the peer. From a trusted proxy the field is
// read from the right: every address that is a trusted proxy itself is passed over, and the
// first other one is the client. What cannot be read ends the search at the last
// address that was vouched for. Nothing left of the client is believed, for the client
// may have written it.
func (t *Proxies) Client(peer netip.AddrPort, trusted bool, h http.Header) Client {
	c := Client{Addr: peer.Addr(), Port: peer.Port(), Trust: Peer}
	if !trusted {
		if (peer.Addr().IsPrivate() || peer.Addr().IsLoopback() || peer.Addr().IsLinkLocalUnicast()) && forwardedByOthers(h) {
			c.Trust = Undeclared
		}
		return c
	}
	hops := hopReader{lines: h["X-Forwarded-For"]}
	if t.RFC7239 {
		hops = hopReader{lines: h["Forwarded"], forwarded: true}
	}
	for range maxHops {
		hop, ok := hops.next()
		if !ok {
			break
		}
		addr, port, ok := parseNode(hop)
		if !ok {
			break
		}
		c.Proxies = append(c.Proxies, c.Addr.String())
		c.Addr, c.Port, c.Trust = addr, port, Proxy
		if !t.Trusts(addr) {
			break
		}
	}
	slices.Reverse(c.Proxies)
	return c
}

func forwardedByOthers(h http.Header) bool {
	for _, name := range [...]string{"X-Forwarded-For", "Forwarded", "X-Real-Ip", "True-Client-Ip", "Cf-Connecting-Ip"} {
		if len(h[name]) > 0 {
			return true
		}
	}
	return false
}

// hopReader reads the nodes of X-Forwarded-For or Forwarded (RFC 7239) from the right.
type hopReader struct {
	lines     []string
	rest      string
	inLine    bool
	forwarded bool
}

func (r *hopReader) next() (string, bool) {
	if !r.inLine {
		if len(r.lines) == 0 {
			return "", false
		}
		r.rest, r.inLine = r.lines[len(r.lines)-1], true
		r.lines = r.lines[:len(r.lines)-1]
	}
	element := r.rest
	if i := r.lastComma(); i >= 0 {
		element, r.rest = r.rest[i+1:], r.rest[:i]
	} else {
		r.inLine = false
	}
	element = strings.Trim(element, " \t")
	if r.forwarded {
		element = forParam(element)
	}
	return element, true
}

// lastComma finds the last comma that is not inside a quoted string.
func (r *hopReader) lastComma() int {
	if !r.forwarded {
		return strings.LastIndexByte(r.rest, ',')
	}
	quoted, last := false, -1
	for i := 0; i < len(r.rest); i++ {
		switch c := r.rest[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			last = i
		}
	}
	return last
}

// forParam returns the for= node of one forwarded-element, "" where it has none.
func forParam(element string) string {
	for element != "" {
		var pair string
		pair, element, _ = strings.Cut(element, ";")
		name, value, ok := strings.Cut(strings.Trim(pair, " \t"), "=")
		if ok && strings.EqualFold(name, "for") {
			return strings.Trim(value, `"`)
		}
	}
	return ""
}

// parseNode reads an address with or without port, IPv6 with or without brackets.
func parseNode(s string) (netip.Addr, uint16, bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.WithZone("").Unmap(), 0, true
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().WithZone("").Unmap(), ap.Port(), true
	}
	if n := len(s); n > 2 && s[0] == '[' && s[n-1] == ']' {
		if a, err := netip.ParseAddr(s[1 : n-1]); err == nil {
			return a.WithZone("").Unmap(), 0, true
		}
	}
	return netip.Addr{}, 0, false
}

// Hops returns the addresses in X-Forwarded-For for a record: masked stands for what is none, and
// "…" for those beyond what is read.
func Hops(lines []string, masked string) []string {
	var hops []string
	for _, line := range lines {
		for part := range strings.SplitSeq(line, ",") {
			if len(hops) == maxHops {
				return append(hops, "…")
			}
			part = strings.Trim(part, " \t")
			if _, _, ok := parseNode(part); !ok || strings.IndexByte(part, '%') >= 0 { // a zone can be anything
				part = masked
			}
			hops = append(hops, part)
		}
	}
	return hops
}
