package ledger

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	reg     prometheus.Registerer
	all     []prometheus.Collector
	entries prometheus.Counter
	errors  prometheus.Counter
	seconds prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer, size func() float64) (*metrics, error) {
	if reg == nil {
		return nil, nil
	}
	m := &metrics{
		reg:     reg,
		entries: prometheus.NewCounter(prometheus.CounterOpts{Name: "testudo_trust_ledger_appended_total", Help: "Entries written to the ledger since the start."}),
		errors:  prometheus.NewCounter(prometheus.CounterOpts{Name: "testudo_trust_ledger_errors_total", Help: "Entries that the ledger could not write since the start."}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "testudo_trust_ledger_commit_seconds", Help: "Time of one commit of the ledger, both fsyncs included.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14)}),
	}
	m.all = []prometheus.Collector{m.entries, m.errors, m.seconds,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "testudo_trust_ledger_entries", Help: "Entries in the ledger."}, size)}
	for i, c := range m.all {
		if err := reg.Register(c); err != nil {
			m.all = m.all[:i]
			m.unregister()
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) commit(n int, err error, d time.Duration) {
	if m == nil {
		return
	}
	if err != nil {
		m.errors.Add(float64(n))
		return
	}
	m.entries.Add(float64(n))
	m.seconds.Observe(d.Seconds())
}

func (m *metrics) unregister() {
	if m == nil {
		return
	}
	for _, c := range m.all {
		m.reg.Unregister(c)
	}
}
