package intake

import "github.com/prometheus/client_golang/prometheus"

// collector tells the counters of all feeds, also of those that are made later.
type collector struct{ in *Intake }

func (collector) events() *prometheus.Desc {
	return prometheus.NewDesc("testudo_logs_events_total", "Events made of records of logs.", []string{"source"}, nil)
}

func (collector) rejected() *prometheus.Desc {
	return prometheus.NewDesc("testudo_logs_rejected_total", "Records that are no events.", []string{"source", "reason"}, nil)
}

func (collector) forged() *prometheus.Desc {
	return prometheus.NewDesc("testudo_logs_forged_total", "Events of logs that claimed what no record may.", []string{"source"}, nil)
}

// Describe is prometheus.Collector's.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.events()
	ch <- c.rejected()
	ch <- c.forged()
}

// Collect is prometheus.Collector's.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	seen := map[string]bool{}
	for _, s := range c.in.Stats() {
		if seen[s.Source] {
			continue // two sources of one name would be two metrics of one
		}
		seen[s.Source] = true
		ch <- prometheus.MustNewConstMetric(c.events(), prometheus.CounterValue, float64(s.Events), s.Source)
		ch <- prometheus.MustNewConstMetric(c.forged(), prometheus.CounterValue, float64(s.Forged), s.Source)
		for reason, n := range s.Rejected {
			ch <- prometheus.MustNewConstMetric(c.rejected(), prometheus.CounterValue, float64(n), s.Source, reason)
		}
	}
}
