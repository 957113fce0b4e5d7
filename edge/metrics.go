package edge

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/testudo-sec/testudo/signal"
)

// metrics counts what the edge does. Counters on the path of a request are looked up once, when
// the edge is made.
type metrics struct {
	rejected    map[string]*counted
	blocked     *prometheus.CounterVec
	byVerdict   prometheus.Counter
	byList      prometheus.Counter
	byResponse  prometheus.Counter
	notJudged   prometheus.Counter
	checkPanics prometheus.Counter
	undeclared  prometheus.Counter
	unrecorded  prometheus.Counter
	inFlight    prometheus.Gauge
	requests    *prometheus.CounterVec
	latency     *prometheus.HistogramVec
	upstream    *prometheus.CounterVec
}

// counted is a counter that can be read for the status too.
type counted struct {
	n atomic.Uint64
	c prometheus.Counter
}

func (m *metrics) reject(reason string) {
	if c := m.rejected[reason]; c != nil {
		c.n.Add(1)
		c.c.Inc()
	}
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	rejected := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "testudo_edge_rejected_total", Help: "Messages and connections refused by form or limit, before or instead of a verdict."}, []string{"reason"})
	m := &metrics{
		rejected:    make(map[string]*counted),
		blocked:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "testudo_edge_blocked_total", Help: "Requests refused, by what refused them: a verdict on the request, the blocklist, or a verdict on the response."}, []string{"by"}),
		notJudged:   counter("testudo_edge_not_judged_total", "Events that the judge returned an error for."),
		checkPanics: counter("testudo_edge_check_panics_total", "Requests whose check of the API ended by a panic."),
		undeclared:  counter("testudo_edge_undeclared_proxy_requests_total", "Requests through a proxy that is not in trusted_proxies."),
		unrecorded:  counter("testudo_edge_unrecorded_total", "Refusals of blocked addresses that were counted and not recorded one by one."),
		inFlight:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "testudo_edge_in_flight", Help: "Requests under way."}),
		requests:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "testudo_edge_requests_total", Help: "Requests by route, class of the status sent, and verdict."}, []string{"route", "code", "verdict"}),
		latency:     prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "testudo_edge_request_duration_seconds", Help: "Time from the head of a request to the end of its response.", Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}}, []string{"route"}),
		upstream:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "testudo_edge_upstream_errors_total", Help: "Tries that an upstream did not answer, by reason."}, []string{"route", "upstream", "reason"}),
	}
	for _, r := range reasons() {
		m.rejected[r] = &counted{c: rejected.WithLabelValues(r)}
	}
	m.byVerdict, m.byList, m.byResponse = m.blocked.WithLabelValues("verdict"), m.blocked.WithLabelValues("blocklist"), m.blocked.WithLabelValues("response")
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{rejected, m.blocked, m.notJudged, m.checkPanics, m.undeclared, m.unrecorded, m.inFlight, m.requests, m.latency, m.upstream} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// routeMetrics are the counters of one route: by class of the status, 0 where none was sent, and by
// verdict.
type routeMetrics struct {
	requests [6][signal.Deny + 1]prometheus.Counter
	latency  prometheus.Observer
}

func (m *metrics) route(name string) *routeMetrics {
	r := &routeMetrics{latency: m.latency.WithLabelValues(name)}
	for class, label := range [...]string{"none", "1xx", "2xx", "3xx", "4xx", "5xx"} {
		for d := range r.requests[class] {
			r.requests[class][d] = m.requests.WithLabelValues(name, label, signal.Decision(d).String())
		}
	}
	return r
}

func (r *routeMetrics) count(status int, d signal.Decision) {
	class := status / 100
	if class < 0 || class > 5 {
		class = 0
	}
	r.requests[class][min(d, signal.Deny)].Inc()
}
