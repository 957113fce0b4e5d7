package console

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	requests   *prometheus.CounterVec // by surface (page, api, socket) and status class
	refused    *prometheus.CounterVec // by reason
	signIns    *prometheus.CounterVec // by result
	conns      prometheus.Gauge
	connsOver  prometheus.Counter
	streams    prometheus.Gauge
	streamLost prometheus.Counter
	panics     prometheus.Counter
	faults     prometheus.Counter
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "testudo_console_" + name, Help: help})
	}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "testudo_console_" + name, Help: help}, labels)
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "testudo_console_" + name, Help: help})
	}
	m := &metrics{
		requests:   vec("requests_total", "Requests answered, by surface and status class.", "surface", "status"),
		refused:    vec("refused_total", "Requests that reached no handler, by reason.", "reason"),
		signIns:    vec("sign_ins_total", "Sign-ins by password or link, by result.", "result"),
		conns:      gauge("connections", "Connections open."),
		connsOver:  counter("connections_refused_total", "Connections closed because too many were open."),
		streams:    gauge("streams", "Live streams open."),
		streamLost: counter("stream_events_lost_total", "Events that live streams were too slow for, each told of it."),
		panics:     counter("panics_total", "Requests that ended in a panic."),
		faults:     counter("faults_total", "Requests that ended in an error of testudo's own."),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.requests, m.refused, m.signIns, m.conns, m.connsOver, m.streams, m.streamLost, m.panics, m.faults} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
