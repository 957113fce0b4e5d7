package people

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	attempts *prometheus.CounterVec
}

func (m *metrics) register(reg prometheus.Registerer) {
	m.attempts = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "testudo_trust_people_signin_attempts_total",
		Help: "Attempts to sign in, by what came of them: accepted, denied, limited (too many before), busy (too many at once).",
	}, []string{"result"})
	for _, result := range []string{"accepted", "denied", "limited", "busy"} {
		m.attempts.WithLabelValues(result)
	}
	if reg != nil {
		// A second register on one registry keeps its counters to itself.
		_ = reg.Register(m.attempts)
	}
}

func (m *metrics) attempt(result string) { m.attempts.WithLabelValues(result).Inc() }
