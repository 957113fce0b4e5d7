package fim

import "github.com/prometheus/client_golang/prometheus"

// metrics shows what a monitor counts.
type metrics struct{ m *Monitor }

func (c metrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

func (c metrics) Collect(ch chan<- prometheus.Metric) {
	m := c.m
	m.mu.Lock()
	files, pending := len(m.known), len(m.pending)
	m.mu.Unlock()
	gauge := func(name, help string, v int) {
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, nil, nil), prometheus.GaugeValue, float64(v))
	}
	gauge("testudo_fim_files", "Files that are watched.", files)
	gauge("testudo_fim_pending_files", "Files that wait to be looked at.", pending)
	count := func(name, help string, v uint64, labels ...string) {
		var names, values []string
		if len(labels) == 2 {
			names, values = labels[:1], labels[1:]
		}
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, names, nil), prometheus.CounterValue, float64(v), values...)
	}
	const changes, changesHelp = "testudo_fim_changes_total", "Changed files that were told of, by whether somebody was seen to change them."
	count(changes, changesHelp, m.seen.Load(), "seen", "true")
	count(changes, changesHelp, m.unseen.Load(), "seen", "false")
	count("testudo_fim_dropped_total", "Events whose file did not fit among those that wait; all files are looked at instead.", m.dropped.Load())
	count("testudo_fim_failed_total", "Looks at files that the sensor did not answer.", m.failed.Load())
}
