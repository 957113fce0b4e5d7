package policy

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/testudo-sec/testudo/policy/window"
)

// collector reads an engine and its watcher when it is asked. Counters begin anew for
// a rule that judges otherwise than before, as Prometheus expects of a restart.
type collector struct {
	engine  *Engine
	watcher *Watcher
	rules, hits, faults, keys, events, evicted, dropped, late, skipped,
	reloads, failures, ok *prometheus.Desc
}

// Register adds the metrics of an engine, and of its watcher where that is not nil.
// Rules that never fired have no series of their own.
func Register(reg prometheus.Registerer, engine *Engine, watcher *Watcher) error {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("testudo_policy_"+name, help, labels, nil)
	}
	return reg.Register(&collector{
		engine: engine, watcher: watcher,
		rules:    desc("rules", "Rules of the current set.", "enabled"),
		hits:     desc("hits_total", "Events on which the rule fired.", "rule"),
		faults:   desc("faults_total", "Events that the rule's condition could not be worked out for.", "rule"),
		keys:     desc("window_keys", "Groups of events that windows hold: targets of actions, groups of correlations."),
		events:   desc("window_events", "Events that windows hold."),
		evicted:  desc("window_evicted_total", "Groups given up for others before their time."),
		dropped:  desc("window_dropped_total", "Events given up by groups that had too many."),
		late:     desc("window_late_total", "Events that came too late to count."),
		skipped:  desc("window_skipped_total", "Events without the value that names their group or is counted."),
		reloads:  desc("reloads_total", "Rule sets taken since the start."),
		failures: desc("reload_failures_total", "Rule sets refused for an error."),
		ok:       desc("reload_ok", "1 where the rules in force are the ones on disk."),
	})
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.rules, c.hits, c.faults, c.keys, c.events, c.evicted, c.dropped, c.late, c.skipped, c.reloads, c.failures, c.ok} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	var on, off int
	var windows window.Stats
	b := c.engine.current.Load()
	for i, r := range b.set.rules {
		st := b.state[i]
		if r.Disabled {
			off++
		} else {
			on++
		}
		if n := st.hits.Load(); n > 0 {
			count(c.hits, n, r.ID)
		}
		if n := st.faults.Load(); n > 0 {
			count(c.faults, n, r.ID)
		}
		windows.Add(st.stats())
	}
	gauge(c.rules, float64(on), "true")
	gauge(c.rules, float64(off), "false")
	gauge(c.keys, float64(windows.Keys))
	gauge(c.events, float64(windows.Events))
	count(c.evicted, windows.Evicted)
	count(c.dropped, windows.Dropped)
	count(c.late, windows.Late)
	count(c.skipped, windows.Skipped)
	if c.watcher == nil {
		return
	}
	s := c.watcher.Status()
	count(c.reloads, s.Reloads)
	count(c.failures, s.Failures)
	ok := 0.0
	if s.OK() {
		ok = 1
	}
	gauge(c.ok, ok)
}
