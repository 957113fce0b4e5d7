package kernel

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/testudo-sec/testudo/kernel/record"
)

// kinds bounds the kinds of records that are counted one by one.
const kinds = int(record.KindMark) + 1

// metrics are the counters of a plane.
type metrics struct {
	p           *Plane
	records     [kinds]atomic.Uint64
	lost        [kinds]atomic.Uint64
	events      atomic.Uint64
	unjudged    atomic.Uint64
	malformed   atomic.Uint64
	late        atomic.Uint64 // bytes that came after the end
	restarts    atomic.Uint64
	parked      atomic.Uint64
	parkLate    atomic.Uint64
	parkFull    atomic.Uint64
	asksMissed  atomic.Uint64
	asksFailed  atomic.Uint64
	asked       atomic.Uint64
	unmarked    atomic.Uint64 // questions that were judged before all was known that was seen before them
	denied      atomic.Uint64
	kills       atomic.Uint64
	killsFailed atomic.Uint64
	killsMissed atomic.Uint64
	killsLate   atomic.Uint64
	own         atomic.Uint64
	unsure      atomic.Uint64 // names of which it is not certain where they led

	gap    [kinds]uint64 // lost and not told of yet; guarded by Plane.mu, as are the next two
	gapped bool
	told   time.Time
	descs  descriptions
}

type descriptions struct {
	records, lost, events, unjudged, malformed, restarts, parked, unparked, waiting, lookups, gates, early, kills, own, unsure, queue, processes, forgotten *prometheus.Desc
}

func newMetrics(p *Plane) *metrics {
	d := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("testudo_kernel_"+name, help, labels, nil)
	}
	return &metrics{p: p, descs: descriptions{
		records:   d("records_total", "Records that the sensor delivered, by kind.", "kind"),
		lost:      d("records_lost_total", "Records that were dropped before they were judged, by kind; none where it is not known.", "kind"),
		events:    d("events_total", "Events that were handed to the judge."),
		unjudged:  d("events_unjudged_total", "Events that the judge did not take."),
		malformed: d("records_malformed_total", "Records that could not be read."),
		restarts:  d("sensor_restarts_total", "How often the sensor ended and was started again."),
		parked:    d("parked_total", "Events that waited for container, hash or package."),
		unparked:  d("parked_incomplete_total", "Events that were judged without what they waited for, by reason: late, full.", "reason"),
		waiting:   d("parked_events", "Events that wait now."),
		lookups:   d("lookups_failed_total", "Questions about containers and executables that were not answered, by reason: full, error.", "reason"),
		gates:     d("gate_answers_total", "Answers to gates that asked, by answer.", "answer"),
		early:     d("gate_answers_early_total", "Answers to gates that were given before all was known that had been seen before the question."),
		kills:     d("kills_total", "Processes that were to be killed after the fact, by outcome: killed, ended (before it could be killed), failed, missed.", "outcome"),
		own:       d("own_file_records_total", "Records of testudo's own files, which become no events."),
		unsure:    d("names_unsure_total", "Calls of which it is not certain where the name led that the program passed: kernel.unsure."),
		queue:     d("queue_bytes", "Bytes of records that wait."),
		processes: d("processes", "Processes in the table, by state: live, exited.", "state"),
		forgotten: d("processes_dropped_total", "Processes that the table had no room for, by state: live, exited.", "state"),
	}}
}

// Early returns how many questions of gates were judged before all was known that had been seen before them.
func (p *Plane) Early() uint64 { return p.metrics.unmarked.Load() }

// Describe implements prometheus.Collector.
func (m *metrics) Describe(c chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, c) }

// Collect implements prometheus.Collector.
func (m *metrics) Collect(c chan<- prometheus.Metric) {
	d := &m.descs
	count := func(desc *prometheus.Desc, n uint64, labels ...string) {
		c <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), labels...)
	}
	gauge := func(desc *prometheus.Desc, n float64, labels ...string) {
		c <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, n, labels...)
	}
	for k := range kinds {
		kind := record.Kind(k)
		if kind != record.KindNone && kind != record.KindLost && kind != record.KindMark {
			count(d.records, m.records[k].Load(), kind.String())
		}
		count(d.lost, m.lost[k].Load(), kind.String())
	}
	count(d.events, m.events.Load())
	count(d.unjudged, m.unjudged.Load())
	count(d.malformed, m.malformed.Load())
	count(d.restarts, m.restarts.Load())
	count(d.parked, m.parked.Load())
	count(d.unparked, m.parkLate.Load(), "late")
	count(d.unparked, m.parkFull.Load(), "full")
	count(d.lookups, m.asksMissed.Load(), "full")
	count(d.lookups, m.asksFailed.Load(), "error")
	asked, denied := m.asked.Load(), m.denied.Load()
	count(d.gates, asked-min(denied, asked), "pass")
	count(d.gates, denied, "deny")
	count(d.early, m.unmarked.Load())
	count(d.kills, m.kills.Load(), "killed")
	count(d.kills, m.killsFailed.Load(), "failed")
	count(d.kills, m.killsMissed.Load(), "missed")
	count(d.kills, m.killsLate.Load(), "ended")
	count(d.own, m.own.Load())
	count(d.unsure, m.unsure.Load())
	gauge(d.queue, float64(m.p.inbox.size()))
	m.p.mu.Lock()
	waiting := m.p.parked
	m.p.mu.Unlock()
	gauge(d.waiting, float64(waiting))
	t := m.p.table.Stats()
	gauge(d.processes, float64(t.Live), "live")
	gauge(d.processes, float64(t.Exited), "exited")
	count(d.forgotten, t.Refused, "live")
	count(d.forgotten, t.Forgotten, "exited")
}
