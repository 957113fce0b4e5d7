package edge

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Status is what the edge is doing now, for the console and the doctor.
type Status struct {
	Addresses   []string          `json:"addresses"`
	Connections int               `json:"connections"`
	Routes      []RouteStatus     `json:"routes"`
	Rejected    map[string]uint64 `json:"rejected"` // by reason, those above 0
	// Undeclared lists proxies that are not in trusted_proxies; the clients behind them cannot be told
	// apart, and are not blocked by address.
	Undeclared []UndeclaredProxy `json:"undeclared_proxies"`
}

// RouteStatus is the state of one route.
type RouteStatus struct {
	Name      string           `json:"name"`
	Mode      Mode             `json:"mode"`
	WAF       bool             `json:"waf"`
	Upstreams []UpstreamStatus `json:"upstreams"`
}

// UpstreamStatus is the state of one upstream.
type UpstreamStatus struct {
	Address  string `json:"address"`
	Healthy  bool   `json:"healthy"`
	Reason   string `json:"reason,omitempty"` // the last thing that went wrong
	InFlight int64  `json:"in_flight"`
}

// Status returns what the edge is doing now.
func (ed *Edge) Status() Status {
	now := ed.now()
	s := Status{Connections: ed.conns.len(), Rejected: make(map[string]uint64), Undeclared: ed.undeclared.list()}
	for _, a := range ed.Addrs() {
		s.Addresses = append(s.Addresses, a.String())
	}
	for reason, c := range ed.metrics.rejected {
		if n := c.n.Load(); n > 0 {
			s.Rejected[reason] = n
		}
	}
	for _, rt := range ed.routes {
		rs := RouteStatus{Name: rt.name, Mode: rt.cfg.Mode, WAF: rt.waf}
		for _, up := range rt.pool.All() {
			rs.Upstreams = append(rs.Upstreams, UpstreamStatus{Address: up.Host, Healthy: up.Healthy(now), Reason: up.Reason(), InFlight: up.InFlight()})
		}
		s.Routes = append(s.Routes, rs)
	}
	return s
}

// stateCollector shows at scrape time what needs no counter.
func (ed *Edge) stateCollector() prometheus.Collector {
	return &collector{ed: ed,
		connections: prometheus.NewDesc("testudo_edge_connections", "Connections from clients.", nil, nil),
		healthy:     prometheus.NewDesc("testudo_edge_upstream_healthy", "Whether an upstream is well.", []string{"route", "upstream"}, nil),
	}
}

type collector struct {
	ed                   *Edge
	connections, healthy *prometheus.Desc
}

func (c *collector) Describe(ch chan<- *prometheus.Desc) { ch <- c.connections; ch <- c.healthy }

func (c *collector) Collect(ch chan<- prometheus.Metric) {
	now := time.Now()
	ch <- prometheus.MustNewConstMetric(c.connections, prometheus.GaugeValue, float64(c.ed.conns.len()))
	for _, rt := range c.ed.routes {
		seen := make(map[string]bool, len(rt.pool.All()))
		for _, up := range rt.pool.All() {
			if seen[up.Host] {
				continue
			}
			seen[up.Host] = true
			v := 0.0
			if up.Healthy(now) {
				v = 1
			}
			ch <- prometheus.MustNewConstMetric(c.healthy, prometheus.GaugeValue, v, rt.name, up.Host)
		}
	}
}
