package chain

import "github.com/prometheus/client_golang/prometheus"

// Metrics returns what a table counts, for a registry.
func (t *Table) Metrics() prometheus.Collector { return metrics{t} }

type metrics struct{ t *Table }

// Describe implements prometheus.Collector.
func (m metrics) Describe(c chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, c) }

// Collect implements prometheus.Collector.
func (m metrics) Collect(c chan<- prometheus.Metric) {
	s := m.t.Stats()
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("testudo_kernel_chain_"+name, help, labels, nil)
	}
	count := func(d *prometheus.Desc, n uint64, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	count(desc("served_total", "Requests that services of this host were seen to read."), s.Served)
	joined := desc("joined_total", "Of these, the ones that were joined to a request of the edge, by what: socket, translated socket, header.", "by")
	count(joined, s.Joined-s.ByTranslated-s.ByHeader, BySocket.String())
	count(joined, s.ByTranslated, ByTranslated.String())
	count(joined, s.ByHeader, ByHeader.String())
	count(desc("ambiguous_total", "Of the joined ones, those that may be of another request, so that nothing is claimed."), s.Ambiguous)
	count(desc("forgotten_total", "Requests, tokens and connections that the tables had no room for."), s.Forgotten)
}
