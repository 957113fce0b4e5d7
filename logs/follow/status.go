package follow

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// FileStatus is how far one file was read.
type FileStatus struct {
	Path   string    `json:"path"`
	Offset int64     `json:"offset"` // bytes whose records have been taken
	Read   int64     `json:"read"`   // bytes that have been read
	Quiet  time.Time `json:"quiet"`  // since when nothing has come
}

// Stats are counters since the start.
type Stats struct {
	Bytes      uint64 // read
	Open       int    // files held open
	Waiting    uint64 // files that wait for another one to be quiet, because of max_files
	Rotated    uint64 // files that were renamed or removed while they were read
	Truncated  uint64 // files that began anew
	Lost       uint64 // files that were gone at the start, and what they became was not found
	Unreadable int64  // files that the patterns find and that cannot be read, now
}

// Stats returns the counters.
func (f *Follower) Stats() Stats {
	f.mu.Lock()
	open := len(f.tails)
	f.mu.Unlock()
	s := &f.stats
	return Stats{Bytes: s.bytes.Load(), Open: open, Waiting: s.waiting.Load(), Rotated: s.rotated.Load(), Truncated: s.truncated.Load(),
		Lost: s.lost.Load(), Unreadable: s.unreadable.Load()}
}

// Status returns the files that are held open, by path.
func (f *Follower) Status() []FileStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]FileStatus, 0, len(f.tails))
	for _, t := range f.tails {
		p := t.position(time.Time{})
		all = append(all, FileStatus{Path: t.path, Offset: p.Offset, Read: t.at.Load(), Quiet: time.Unix(0, t.quietSince.Load()).UTC()})
	}
	slices.SortFunc(all, func(a, b FileStatus) int { return cmp.Compare(a.Path, b.Path) })
	return all
}

func (f *Follower) register(r prometheus.Registerer) error {
	counter := func(name, help string, value func(Stats) float64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "testudo_logs_files_" + name, Help: help}, func() float64 { return value(f.Stats()) })
	}
	gauge := func(name, help string, value func(Stats) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "testudo_logs_files_" + name, Help: help}, func() float64 { return value(f.Stats()) })
	}
	var errs []error
	for _, c := range []prometheus.Collector{
		counter("read_bytes_total", "Bytes read from followed files.", func(s Stats) float64 { return float64(s.Bytes) }),
		counter("rotated_total", "Followed files that were renamed or removed.", func(s Stats) float64 { return float64(s.Rotated) }),
		counter("truncated_total", "Followed files that began anew.", func(s Stats) float64 { return float64(s.Truncated) }),
		counter("lost_total", "Followed files that were gone at a start with a rest that was not read.", func(s Stats) float64 { return float64(s.Lost) }),
		gauge("open", "Followed files that are open.", func(s Stats) float64 { return float64(s.Open) }),
		gauge("waiting", "Files that wait because max_files are open.", func(s Stats) float64 { return float64(s.Waiting) }),
		gauge("unreadable", "Files that are to be followed and cannot be read.", func(s Stats) float64 { return float64(s.Unreadable) }),
	} {
		errs = append(errs, r.Register(c))
	}
	return errors.Join(errs...)
}
