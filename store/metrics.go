package store

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/testudo-sec/testudo/signal"
)

// register declares the metrics. They read the counters when they are scraped.
func (s *Store) register(reg prometheus.Registerer) error {
	counter := func(name, help string, value func(*RecorderStats, *ArchiverStats) uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "testudo_store_" + name, Help: help}, func() float64 {
			r, a := s.Stats()
			return float64(value(&r, &a))
		})
	}
	collectors := []prometheus.Collector{
		counter("recorded_events_total", "Events taken for recording.", func(r *RecorderStats, _ *ArchiverStats) uint64 { return r.Recorded }),
		counter("acknowledged_events_total", "Events that the bus has on disk.", func(r *RecorderStats, _ *ArchiverStats) uint64 { return r.Acked }),
		counter("bus_batches_total", "Batches that the bus has on disk.", func(r *RecorderStats, _ *ArchiverStats) uint64 { return r.Batches }),
		counter("bus_bytes_total", "Bytes of batches that the bus has on disk.", func(r *RecorderStats, _ *ArchiverStats) uint64 { return r.Bytes }),
		counter("bus_retries_total", "Publications that had to be repeated.", func(r *RecorderStats, _ *ArchiverStats) uint64 { return r.Retries }),
		counter("oversize_events_total", "Events dropped because they were too large.", func(r *RecorderStats, _ *ArchiverStats) uint64 { return r.Oversize }),
		counter("archived_events_total", "Events written to lake files.", func(_ *RecorderStats, a *ArchiverStats) uint64 { return a.Events }),
		counter("lake_commits_total", "Lake files committed.", func(_ *RecorderStats, a *ArchiverStats) uint64 { return a.Commits }),
		counter("lake_retries_total", "Times that archiving had to be taken up again.", func(_ *RecorderStats, a *ArchiverStats) uint64 { return a.Retries }),
		counter("dead_letters_total", "Batches that could not be read.", func(_ *RecorderStats, a *ArchiverStats) uint64 { return a.DeadLetters }),
		counter("lost_batches_total", "Batches missing from the bus.", func(_ *RecorderStats, a *ArchiverStats) uint64 { return a.Lost }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "testudo_store_live_missed_events_total", Help: "Events that the live view skipped because it was behind."},
			func() float64 { return float64(s.live.Missed()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "testudo_store_pending_bytes", Help: "Bytes of events that wait for the bus."},
			func() float64 { return float64(s.Recorder.Stats().Pending) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "testudo_store_behind_batches", Help: "Batches on the bus that the archiver has not read."},
			func() float64 {
				r, a := s.Stats()
				return float64(max(r.LastSeq, a.Done) - a.Done)
			}),
	}
	for plane := signal.PlaneNone; plane <= signal.PlaneTestudo; plane++ {
		name := plane.String()
		if name == "" {
			name = "none"
		}
		collectors = append(collectors, prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "testudo_store_dropped_events_total", Help: "Events that were judged and not recorded, by plane.",
			ConstLabels: prometheus.Labels{"plane": name},
		}, func() float64 { return float64(s.Recorder.Stats().DroppedBy[plane]) }))
	}
	for _, c := range collectors {
		if err := reg.Register(c); err != nil {
			return err
		}
	}
	return nil
}
