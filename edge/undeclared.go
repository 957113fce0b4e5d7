package edge

import (
	"log/slog"
	"net/netip"
	"sync"
	"time"
)

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
