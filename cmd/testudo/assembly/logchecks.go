package assembly

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/testudo-sec/testudo/console"
)

// logFileCheck says whether the files that a pattern finds can be read.
func logFileCheck(name, pattern string) console.Check {
	paths, _ := filepath.Glob(pattern)
	unread := 0
	var first error
	for _, p := range paths {
		f, err := os.Open(p)
		if err == nil {
			_ = f.Close()
			continue
		}
		if unread++; first == nil {
			first = err
		}
	}
	switch {
	case unread > 0:
		return console.Check{Name: name, Detail: fmt.Sprintf("%d of %d files of %s cannot be read: %v", unread, len(paths), pattern, first),
			Cost: "what they record is not judged", Command: "sudo setfacl -m u:$(id -un):r " + first.(*os.PathError).Path}
	case len(paths) == 0:
		return ok(name, pattern+" finds no file yet; one that appears is read")
	}
	return ok(name, fmt.Sprintf("%s: %d files", pattern, len(paths)))
}

// health says what is wrong with the logs plane.
func (p *logPlane) health() error {
	if p.dead != nil {
		if st := p.dead.Stats(); st.Fault != nil {
			return fmt.Errorf("records that do not parse are not kept: %w", st.Fault)
		}
	}
	if p.follower != nil {
		if st := p.follower.Stats(); st.Unreadable > 0 {
			return fmt.Errorf("%d files cannot be read: see the log for which and why", st.Unreadable)
		}
	}
	return nil
}

// listenMetrics tells the counters of the listeners.
type listenMetrics struct{ p *logPlane }

func (listenMetrics) descs() (messages, bytes, refused, connections *prometheus.Desc) {
	labels := []string{"address", "transport"}
	return prometheus.NewDesc("testudo_logs_received_total", "Messages and requests that listeners took.", labels, nil),
		prometheus.NewDesc("testudo_logs_received_bytes_total", "Their bytes.", labels, nil),
		prometheus.NewDesc("testudo_logs_refused_total", "What listeners did not take, and why.", append(labels, "reason"), nil),
		prometheus.NewDesc("testudo_logs_connections", "Connections that are open.", labels, nil)
}

// Describe is prometheus.Collector's.
func (l listenMetrics) Describe(ch chan<- *prometheus.Desc) {
	messages, bytes, refused, connections := l.descs()
	ch <- messages
	ch <- bytes
	ch <- refused
	ch <- connections
}

// Collect is prometheus.Collector's.
func (l listenMetrics) Collect(ch chan<- prometheus.Metric) {
	messages, bytes, refused, connections := l.descs()
	for _, one := range l.p.listeners {
		s := one.Stats()
		ch <- prometheus.MustNewConstMetric(messages, prometheus.CounterValue, float64(s.Messages), s.Address, s.Transport)
		ch <- prometheus.MustNewConstMetric(bytes, prometheus.CounterValue, float64(s.Bytes), s.Address, s.Transport)
		ch <- prometheus.MustNewConstMetric(connections, prometheus.GaugeValue, float64(s.Connections), s.Address, s.Transport)
		for reason, n := range s.Refused {
			ch <- prometheus.MustNewConstMetric(refused, prometheus.CounterValue, float64(n), s.Address, s.Transport, reason)
		}
	}
}
