package api

import "github.com/prometheus/client_golang/prometheus"

// metrics shows at scrape time what the parts count themselves.
type metrics struct {
	g          *Guard
	violations *prometheus.CounterVec
	unsaved    prometheus.Counter

	endpoints, learned, unlearned, subjects, forgotten, parameters, unlearnedOf *prometheus.Desc
}

func newMetrics(g *Guard) *metrics {
	return &metrics{g: g,
		violations:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "testudo_api_violations_total", Help: "Ways in which requests and responses were not as they should be, by route and check."}, []string{"route", "check"}),
		unsaved:     prometheus.NewCounter(prometheus.CounterOpts{Name: "testudo_api_unsaved_total", Help: "Times that what was learned of endpoints could not be saved."}),
		endpoints:   prometheus.NewDesc("testudo_api_endpoints", "Endpoints that were learned from traffic.", nil, nil),
		learned:     prometheus.NewDesc("testudo_api_learned_total", "Exchanges that the inventory has learned from.", nil, nil),
		unlearned:   prometheus.NewDesc("testudo_api_unlearned_total", "What the inventory has not learned, or has dropped, by reason: unknown, odd, full, busy, evicted.", []string{"reason"}, nil),
		parameters:  prometheus.NewDesc("testudo_api_parameters", "Parameters of which it is learned what is normal.", nil, nil),
		unlearnedOf: prometheus.NewDesc("testudo_api_parameters_dropped_total", "Parameters of which nothing is learned, or no more, by reason: full, crowded, evicted.", []string{"reason"}, nil),
		subjects:    prometheus.NewDesc("testudo_api_subjects", "Subjects whose accesses are remembered.", nil, nil),
		forgotten:   prometheus.NewDesc("testudo_api_subjects_dropped_total", "What is forgotten early of subjects and their objects, by reason: evicted, full, shortened, cut.", []string{"reason"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	m.violations.Collect(ch)
	m.unsaved.Collect(ch)
	send := func(d *prometheus.Desc, t prometheus.ValueType, n float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, t, n, labels...)
	}
	s := m.g.inventory.Stats()
	send(m.endpoints, prometheus.GaugeValue, float64(s.Endpoints))
	send(m.learned, prometheus.CounterValue, float64(s.Learned))
	for reason, n := range map[string]uint64{"unknown": s.Unknown, "odd": s.Odd, "full": s.Full, "busy": s.Busy, "evicted": s.Evicted} {
		send(m.unlearned, prometheus.CounterValue, float64(n), reason)
	}
	h := m.g.habits.Stats()
	send(m.parameters, prometheus.GaugeValue, float64(h.Parameters))
	send(m.unlearnedOf, prometheus.CounterValue, float64(h.Full), "full")
	send(m.unlearnedOf, prometheus.CounterValue, float64(h.Crowded), "crowded")
	send(m.unlearnedOf, prometheus.CounterValue, float64(h.Evicted), "evicted")
	o := m.g.owner.Stats()
	send(m.subjects, prometheus.GaugeValue, float64(o.Subjects))
	for reason, n := range map[string]uint64{"evicted": o.Evicted, "full": o.Full, "shortened": o.Shortened, "cut": o.Cut} {
		send(m.forgotten, prometheus.CounterValue, float64(n), reason)
	}
}
