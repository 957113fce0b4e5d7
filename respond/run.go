package respond

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/testudo-sec/testudo/signal"
)

// longestSleep bounds how long Run sleeps while something is in force: a clock that was set,
// or a machine that slept, is noticed within it.
const longestSleep = time.Minute

// queue holds the orders of rules.
type queue struct {
	requests chan Request
	mu       sync.Mutex
	waiting  map[string]struct{} // what is in requests: an attack asks for the same again and again
	full     uint64
}

func newQueue(n int) queue {
	return queue{requests: make(chan Request, n), waiting: map[string]struct{}{}}
}

func (r *Request) key() string { return r.Kind + " " + r.Target + " " + r.Actor }

// Submit queues the order of a rule, which Run carries out, and does not block. It reports
// whether the order is in the queue, also where an equal one was in it before; what is
// dropped is counted. Requests of people go to Order.
func (h *Host) Submit(r Request) bool {
	if !r.Automatic() || len(r.Target) > maxTarget || len(r.Actor) > maxActor {
		h.metrics.dropped("invalid")
		return false
	}
	q := &h.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, ok := q.waiting[r.key()]; ok {
		return true
	}
	select {
	case q.requests <- r:
		q.waiting[r.key()] = struct{}{}
		return true
	default:
		q.full++
		h.metrics.dropped("queue_full")
		return false
	}
}

// Run puts the actions that the state holds in force again, ends each at its time limit, and
// carries out what Submit queued. It returns nil when ctx is done and its goroutines are gone;
// actions stay in force in the state.
func (h *Host) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { h.work(ctx) })
	for {
		var failed error
		if _, failed = h.Expire(ctx); failed != nil && ctx.Err() == nil {
			h.opts.Logger.Error("actions", "error", failed)
		}
		timer := time.NewTimer(h.sleep(failed))
		select {
		case <-ctx.Done():
			timer.Stop()
			wg.Wait()
			h.saveHits(ctx)
			return nil
		case <-h.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// sleep returns how long nothing is to be done.
func (h *Host) sleep(failed error) time.Duration {
	h.mu.RLock()
	defer h.mu.RUnlock()
	sleep := longestSleep
	if e := h.deadlines.first(); e != nil {
		sleep = min(sleep, e.due.Sub(h.opts.Now()))
	}
	if failed != nil && len(h.active) == 0 || len(h.owed) > 0 {
		sleep = min(sleep, retryAfter)
	}
	return max(sleep, time.Millisecond)
}

func (h *Host) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-h.queue.requests:
			h.queue.mu.Lock()
			delete(h.queue.waiting, r.key())
			h.queue.mu.Unlock()
			_, err := h.Order(ctx, r)
			switch {
			case err == nil, ctx.Err() != nil, errors.Is(err, ErrRefused):
			case errors.Is(err, ErrBudget):
				h.metrics.dropped("over_budget") // a line for each would be the attacker's to write
			default:
				h.opts.Logger.Error("the order of a rule", "rule", r.Actor, "kind", r.Kind, "error", err)
			}
		}
	}
}

// saveHits writes what was counted into the state at the end of a run.
func (h *Host) saveHits(ctx context.Context) {
	ctx, cancel := whole(ctx)
	defer cancel()
	release, err := h.hold(ctx)
	if err != nil {
		return
	}
	defer release()
	var changed []*signal.Action
	h.mu.RLock()
	for _, e := range h.active {
		if a := h.live(e); a.Hits != e.action.Hits {
			changed = append(changed, &a)
		}
	}
	h.mu.RUnlock()
	for part := range slices.Chunk(changed, 500) {
		if err := h.opts.Store.PutActions(ctx, part...); err != nil {
			h.opts.Logger.Error("hits are not kept", "error", err)
			return
		}
	}
}

// Health is how the host is.
type Health struct {
	Active    int       `json:"active"`
	Queued    int       `json:"queued"`
	QueueFull uint64    `json:"queue_full"` // orders dropped since the start
	Owed      int       `json:"owed"`       // records that the ledger or the state did not take yet
	Unmanaged int       `json:"unmanaged"`  // actions whose responder does not run here
	Dropped   []Dropped `json:"dropped"`    // what rules asked for beyond their budget within the last ten minutes
	Degraded  []string  `json:"degraded"`   // sentences for people; empty where all is well
}

// Health says how the host is.
func (h *Host) Health() Health {
	v := Health{Dropped: h.budget.droppedSince(h.opts.Now().Add(-10 * time.Minute)), Queued: len(h.queue.requests)}
	slices.SortFunc(v.Dropped, func(a, b Dropped) int { return cmp.Compare(a.Rule, b.Rule) })
	h.mu.RLock()
	v.Active, v.Owed, v.Unmanaged = len(h.active), len(h.owed), len(h.unmanaged)
	if h.unread != nil {
		v.Degraded = append(v.Degraded, "the actions in force are not read from the state yet: "+h.unread.Error())
	}
	h.mu.RUnlock()
	h.queue.mu.Lock()
	v.QueueFull = h.queue.full
	h.queue.mu.Unlock()
	for _, d := range v.Dropped {
		v.Degraded = append(v.Degraded, fmt.Sprintf("%s asked for %d actions too many: %s", d.Rule, d.Count, d.Reason))
	}
	if v.Owed > 0 {
		v.Degraded = append(v.Degraded, fmt.Sprintf("%d records about actions wait for the ledger or the state", v.Owed))
	}
	if v.Unmanaged > 0 {
		v.Degraded = append(v.Degraded, fmt.Sprintf("%d actions are in the state whose responder does not run here", v.Unmanaged))
	}
	return v
}

type metrics struct {
	orders *prometheus.CounterVec
	drops  *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer, h *Host) *metrics {
	m := &metrics{
		orders: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "testudo_respond_orders_total", Help: "Orders by responder and outcome."}, []string{"kind", "outcome"}),
		drops:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "testudo_respond_dropped_total", Help: "Orders of rules that were dropped, by reason."}, []string{"reason"}),
	}
	if r != nil {
		r.MustRegister(m.orders, m.drops,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "testudo_respond_active_actions", Help: "Actions in force."}, func() float64 { return float64(h.Active()) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "testudo_respond_owed_records", Help: "Records that the ledger or the state did not take yet."},
				func() float64 { h.mu.RLock(); defer h.mu.RUnlock(); return float64(len(h.owed)) }))
	}
	for _, reason := range []string{"queue_full", "over_budget", "invalid"} {
		m.drops.WithLabelValues(reason)
	}
	return m
}

func (m *metrics) ordered(kind, outcome string) {
	if outcome == "unavailable" { // the kind may be anything then
		kind = ""
	}
	m.orders.WithLabelValues(kind, outcome).Inc()
}

func (m *metrics) dropped(reason string) { m.drops.WithLabelValues(reason).Inc() }
