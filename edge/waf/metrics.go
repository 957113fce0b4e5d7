package waf

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/testudo-sec/testudo/edge/waf/engine"
)

// automata shows at scrape time what the engine's automata hold, and how often texts were too much for them.
type automata struct{ engine *engine.Engine }

func (a automata) descriptions() (bytes, fallbacks *prometheus.Desc) {
	return prometheus.NewDesc("testudo_waf_automata_bytes", "Memory of the automata that look at texts, which grows with what they see, up to a limit.", nil, nil),
		prometheus.NewDesc("testudo_waf_automata_given_up_total", "Times that an automaton left a text to plain expressions: it would have had too many states.", nil, nil)
}

// Describe implements prometheus.Collector.
func (a automata) Describe(ch chan<- *prometheus.Desc) {
	bytes, fallbacks := a.descriptions()
	ch <- bytes
	ch <- fallbacks
}

// Collect implements prometheus.Collector.
func (a automata) Collect(ch chan<- prometheus.Metric) {
	bytes, fallbacks := a.descriptions()
	s := a.engine.Stats()
	ch <- prometheus.MustNewConstMetric(bytes, prometheus.GaugeValue, float64(s.Bytes))
	ch <- prometheus.MustNewConstMetric(fallbacks, prometheus.CounterValue, float64(s.Fallbacks))
}
