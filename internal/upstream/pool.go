package upstream

import (
	"slices"
	"sync/atomic"
	"time"
)

// Pool chooses among servers that do the same: in turn, by weight. Its zero value has none. It is safe
// for concurrent use.
type Pool struct {
	all   []*Server
	order []*Server // every server as often as its weight, spread out
	next  atomic.Uint64
}

// New returns a pool of the servers. It reads CA files and connects to nothing.
func New(servers []Address, t Timeouts, check Check) (*Pool, error) {
	p := new(Pool)
	weights := make([]int, len(servers))
	total, div := 0, 0
	for i, a := range servers {
		up, err := newServer(a, t, &check)
		if err != nil {
			return nil, err
		}
		p.all = append(p.all, up)
		weights[i] = max(a.Weight, 1)
		div = gcd(div, weights[i])
	}
	for i := range weights {
		weights[i] /= div
		total += weights[i]
	}
	// Smooth weighted round robin: the one that is furthest behind its share goes next.
	credit := make([]int, len(weights))
	for range total {
		best := 0
		for i, w := range weights {
			credit[i] += w
			if credit[i] > credit[best] {
				best = i
			}
		}
		credit[best] -= total
		p.order = append(p.order, p.all[best])
	}
	return p, nil
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// All returns the servers, not to be changed.
func (p *Pool) All() []*Server { return p.all }

// CloseIdle closes the connections that no request uses.
func (p *Pool) CloseIdle() {
	for _, up := range p.all {
		up.transport.CloseIdleConnections()
	}
}

// Pick returns the next server that is well, another one than those tried where there is one;
// nil where all are known to be down. A server that is out only because requests
// failed is still better than none.
func (p *Pool) Pick(at time.Time, tried []*Server) *Server {
	now := at.UnixNano()
	start := p.next.Add(1)
	var again, out *Server
	for i := range p.order {
		up := p.order[(start+uint64(i))%uint64(len(p.order))]
		switch {
		case up.down.Load():
		case up.outUntil.Load() > now:
			if out == nil {
				out = up
			}
		case slices.Contains(tried, up):
			if again == nil {
				again = up
			}
		default:
			return up
		}
	}
	if again == nil {
		return out
	}
	return again
}
