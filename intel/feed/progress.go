package feed

import (
	"sync"
	"sync/atomic"
	"time"
)

// Progress is how far an update is.
type Progress struct {
	Phase   string // asking, downloading, reading, writing
	Source  string // that was taken up last
	Done    int    // sources
	Sources int
	Bytes   int64 // downloaded
	Read    int64 // advisories
	Elapsed time.Duration
}

// reporter tells how far it is ten times a second.
type reporter struct {
	mu    sync.Mutex
	p     Progress
	began time.Time
	n     atomic.Int64
	read  atomic.Int64
	quit  chan struct{}
	gone  chan struct{}
}

func newReporter(tell func(Progress)) *reporter {
	r := &reporter{began: time.Now(), quit: make(chan struct{}), gone: make(chan struct{})}
	go func() {
		defer close(r.gone)
		if tell == nil {
			return
		}
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-r.quit:
				return
			case <-tick.C:
				r.mu.Lock()
				p := r.p
				r.mu.Unlock()
				p.Bytes, p.Read, p.Elapsed = r.n.Load(), r.read.Load(), time.Since(r.began)
				tell(p)
			}
		}
	}()
	return r
}

func (r *reporter) stop() {
	close(r.quit)
	<-r.gone
}

func (r *reporter) change(f func(*Progress)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.p)
}

func (r *reporter) phase(s string) { r.change(func(p *Progress) { p.Phase = s }) }
func (r *reporter) at(phase, source string) {
	r.change(func(p *Progress) { p.Phase, p.Source = phase, source })
}
func (r *reporter) expect(n int)      { r.change(func(p *Progress) { p.Sources = n }) }
func (r *reporter) finished()         { r.change(func(p *Progress) { p.Done++ }) }
func (r *reporter) bytes(n int64)     { r.n.Add(n) }
func (r *reporter) one()              { r.read.Add(1) }
func (r *reporter) downloaded() int64 { return r.n.Load() }
