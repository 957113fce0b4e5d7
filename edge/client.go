package edge

import (
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// How the client's address is known: the values of edge.client_trust.
const (
	trustPeer       = "peer"       // it is the peer that connected
	trustProxy      = "proxy"      // a trusted proxy named it
	trustUndeclared = "undeclared" // the peer forwards for others but is not declared: nobody knows
)

type client struct {
	addr    netip.Addr
	port    uint16
	trust   string
	proxies []string // between client and edge, outermost first
}

// trustedProxies resolves clients. It is immutable.
type trustedProxies struct {
	nets      []netip.Prefix
	forwarded bool // read Forwarded instead of X-Forwarded-For
}

func (t *trustedProxies) trusted(a netip.Addr) bool {
	for _, p := range t.nets {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// maxHops bounds how many proxies are followed: a longer chain is a client's invention.
const maxHops = 32

// resolve says who the client behind peer is. From a trusted proxy the field is
// read from the right: every address that is a trusted proxy itself is passed over, and the
// first other one is the client. What cannot be read ends the search at the last
// address that was vouched for. Nothing left of the client is believed, for the client
// may have written it.
func (t *trustedProxies) resolve(peer netip.AddrPort, peerTrusted bool, h http.Header) client {
	c := client{addr: peer.Addr(), port: peer.Port(), trust: trustPeer}
	if !peerTrusted {
		if (peer.Addr().IsPrivate() || peer.Addr().IsLoopback() || peer.Addr().IsLinkLocalUnicast()) && forwardedByOthers(h) {
			c.trust = trustUndeclared
		}
		return c
	}
	hops := hopReader{lines: h["X-Forwarded-For"]}
	if t.forwarded {
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
		c.proxies = append(c.proxies, c.addr.String())
		c.addr, c.port, c.trust = addr, port, trustProxy
		if !t.trusted(addr) {
			break
		}
	}
	for i, j := 0, len(c.proxies)-1; i < j; i, j = i+1, j-1 {
		c.proxies[i], c.proxies[j] = c.proxies[j], c.proxies[i]
	}
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

// recordedForwardedFor returns the hops of X-Forwarded-For, masked where they are no addresses.
func recordedForwardedFor(lines []string) []string {
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

// UndeclaredProxy is a peer that forwards for others and is not in trusted_proxies.
type UndeclaredProxy struct {
	Peer     netip.Addr `json:"peer"`
	First    time.Time  `json:"first_seen"`
	Last     time.Time  `json:"last_seen"`
	Requests uint64     `json:"requests"`
}

// maxUndeclared bounds the undeclared proxies that are remembered.
const maxUndeclared = 64

type undeclaredPeers struct {
	log   *slog.Logger
	mu    sync.Mutex
	peers map[netip.Addr]*UndeclaredProxy
}

func (u *undeclaredPeers) saw(peer netip.Addr, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	p := u.peers[peer]
	if p == nil {
		if len(u.peers) >= maxUndeclared {
			return
		}
		p = &UndeclaredProxy{Peer: peer, First: now}
		u.peers[peer] = p
		u.log.Warn("edge: requests arrive through a proxy that is not declared: its clients cannot be told apart, and none of them is blocked by address; add it to trusted_proxies", "peer", peer.String())
	}
	p.Last = now
	p.Requests++
}

func (u *undeclaredPeers) list() []UndeclaredProxy {
	u.mu.Lock()
	defer u.mu.Unlock()
	all := make([]UndeclaredProxy, 0, len(u.peers))
	for _, p := range u.peers {
		all = append(all, *p)
	}
	return all
}
