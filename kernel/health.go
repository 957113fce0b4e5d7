package kernel

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/testudo-sec/testudo/kernel/record"
	"github.com/testudo-sec/testudo/signal"
)

// health says whether what happens is seen.
type health struct {
	mu      sync.Mutex
	limit   uint64
	fault   error // why the sensor is not running
	minutes [60]struct {
		at   int64 // second
		lost uint64
	}
}

func (h *health) started() {
	h.mu.Lock()
	h.fault = nil
	h.mu.Unlock()
}

func (h *health) failed(err error) {
	h.mu.Lock()
	h.fault = err
	h.mu.Unlock()
}

func (h *health) lost(now time.Time, n uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := &h.minutes[uint64(now.Unix())%60]
	if s.at != now.Unix() {
		s.at, s.lost = now.Unix(), 0
	}
	s.lost += n
}

// Health returns nil, or why not all is seen or enforced that is to be: the sensor does not run, more records were lost in the last minute
// than are allowed, or the sensor did not take what it was told.
func (p *Plane) Health() error {
	h := &p.health
	now := p.now().Unix()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fault != nil {
		return fmt.Errorf("the sensor of the kernel does not run: %w", h.fault)
	}
	var n uint64
	for i := range h.minutes {
		if s := &h.minutes[i]; s.at > now-60 && s.at <= now {
			n += s.lost
		}
	}
	if n > h.limit {
		return fmt.Errorf("%d records of the kernel were lost in the last minute, more than kernel.max_lost allows (%d): the rules ask for more than this machine can judge, or kernel.ring is too small", n, h.limit)
	}
	return p.held.health()
}

// maxLostAtOnce bounds what one record may say was lost: it may be forged.
const maxLostAtOnce = 1 << 40

// lost takes note of records that were dropped; the lock is held.
func (p *Plane) lost(r *record.Record) {
	if r.NumLen == 0 || r.Nums[0] == 0 {
		return
	}
	kind, n := record.KindNone, min(r.Nums[0], maxLostAtOnce)
	if r.NumLen > 1 && r.Nums[1] < uint64(len(p.metrics.lost)) {
		kind = record.Kind(r.Nums[1])
	}
	p.metrics.lost[kind].Add(n)
	p.health.lost(p.now(), n)
	p.metrics.gap[kind] += n
	p.metrics.gapped = true
}

// gapEvery is how often a gap is told of.
const gapEvery = time.Second

// tellLost records that the record has a gap: one event a second for each kind of what was lost.
func (p *Plane) tellLost(ctx context.Context, all bool) {
	p.mu.Lock()
	m := p.metrics
	now := p.now()
	if !m.gapped || !all && now.Sub(m.told) < gapEvery {
		p.mu.Unlock()
		return
	}
	gap := m.gap
	clear(m.gap[:])
	m.gapped, m.told = false, now
	p.mu.Unlock()
	for kind, n := range gap {
		if n == 0 {
			continue
		}
		what := "records"
		if kind != 0 {
			what = "records of " + record.Kind(kind).String()
		}
		e := &p.event
		e.Reset()
		e.ID, e.Time = signal.NewID(now), now.UnixNano()
		e.Class, e.Plane, e.Severity = signal.ClassBaseEvent, signal.PlaneKernel, signal.SeverityMedium
		e.SetString(signal.FieldDeviceHostname, p.b.host)
		e.SetString(signal.FieldMessage, fmt.Sprintf("%d %s of the kernel were lost: nobody judged what they told of", n, what))
		e.SetString(signal.FieldMetadataEventCode, "lost")
		e.SetInt(signal.FieldStatusID, 2)
		e.SetInt(signal.FieldCount, int64(n))
		e.SetString(signal.FieldKernelGate, record.GateNone.String()) // there is nobody to kill
		e.SetUnmapped("kernel.lost", record.Kind(kind).String())
		if _, err := p.d.Sink.Event(ctx, e); err != nil {
			m.unjudged.Add(1)
		}
	}
}
