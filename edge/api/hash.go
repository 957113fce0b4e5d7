package api

import (
	"crypto/hmac"
	"crypto/sha256"
	"hash"
	"net/netip"
)

// hasher makes one hash after another without new memory.
type hasher struct {
	mac hash.Hash
	in  []byte
	out [sha256.Size]byte
}

func newHasher(secret []byte) *hasher { return &hasher{mac: hmac.New(sha256.New, secret)} }

// hash stands for somebody without saying who: of one kind of thing, by the key.
func (g *Guard) hash(kind, what string) uint64 {
	h := g.hashers.Get().(*hasher)
	defer g.hashers.Put(h)
	h.in = append(append(append(h.in[:0], kind...), 0), what...)
	h.mac.Reset()
	h.mac.Write(h.in)
	clear(h.in) // credentials do not stay in memory
	return be64(h.mac.Sum(h.out[:0]))
}

// client stands for where the request comes from.
func (c *check) client() uint64 {
	if c.place == 0 {
		b := network(c.x.Client.Addr()).As16()
		c.place = c.g.hash("address", string(b[:]))
	}
	return c.place
}

// network is what one stranger has of addresses: one of IPv4, 2^64 of IPv6.
func network(a netip.Addr) netip.Addr {
	if a = a.Unmap().WithZone(""); a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}
