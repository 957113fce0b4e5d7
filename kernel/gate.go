package kernel

import (
	"context"
	"fmt"
	"runtime/debug"

	"github.com/testudo-sec/testudo/kernel/process"
	"github.com/testudo-sec/testudo/kernel/record"
	"github.com/testudo-sec/testudo/signal"
)

// Ask answers a gate that can wait: the event of what is about to happen is judged, and refused where an enforced rule refuses it. What cannot
// be read or judged is let through; a gate that is to refuse then does so by Guard.Closed when it gets no answer. A question with [record.FlagMarked] waits until what was
// seen before it is known, but not for ever: then, or with [record.FlagPartial], it is judged by what is, and Guard.Closed decides what no rule refuses.
func (p *Plane) Ask(ctx context.Context, rec []byte, gate record.Gate) Answer {
	var r record.Record
	if _, err := record.Decode(rec, &r); err != nil {
		p.metrics.malformed.Add(1)
		return Answer{Deny: p.held.closed()}
	}
	known := r.Flags&record.FlagPartial == 0
	if r.Flags&record.FlagMarked != 0 {
		known = p.marks.wait(ctx, r.Time) && known
	}
	if !known {
		p.metrics.unmarked.Add(1)
	}
	r.Flags &^= record.FlagMarked | record.FlagPartial
	exec := r.Kind == record.KindExec || r.Call == record.CallExecve || r.Call == record.CallExecveat
	proc := p.table.Find(&r)
	r.Flags &^= record.FlagSeeded // said how exact the start is
	if exec {
		proc = attempt(proc, &r)
	}
	p.resolve(ctx, &r)
	p.mu.Lock()
	e := p.gateEvent(&r, proc, gate)
	p.mu.Unlock()
	if e == nil {
		return Answer{}
	}
	v, err := p.verdict(ctx, e)
	p.metrics.asked.Add(1)
	if err != nil {
		p.metrics.unjudged.Add(1)
		return Answer{Deny: p.held.closed() && r.PID != 1}
	}
	rule := p.enforcing(&v)
	if r.PID == 1 { // nor is it by what the kernel holds by itself: the host would not live
		rule = ""
	}
	if rule != "" {
		p.metrics.denied.Add(1)
		p.mu.Lock()
		p.declined.put(r.PID, decline{r.Time, attemptKind(r.Call), string(r.Path), r.Token, gate})
		p.mu.Unlock()
	} else if !known && r.PID != 1 && p.held.closed() {
		return Answer{Deny: true} // it could be one that is refused
	} else if top := v.Top(); top != nil {
		return Answer{Rule: top.Rule}
	}
	return Answer{Deny: rule != "", Rule: rule}
}

// verdict has an event judged. A judge that panics is one that does not judge: what strangers do on this host must not end what watches it.
func (p *Plane) verdict(ctx context.Context, e *signal.Event) (v signal.Verdict, err error) {
	defer func() {
		if what := recover(); what != nil {
			v, err = signal.Verdict{}, fmt.Errorf("the judge panics: %v", what)
			p.log.Error("an event of the kernel could not be judged", "error", err, "event", e.ID, "stack", string(debug.Stack()))
		}
	}()
	return p.d.Sink.Event(ctx, e)
}

// gateEvent makes the event of an attempt; the lock is held.
func (p *Plane) gateEvent(r *record.Record, proc *process.Process, gate record.Gate) *signal.Event {
	v := view{r: r}
	if l := p.lane(r); l != nil {
		v.c = l.is
	}
	if proc != nil {
		p.inherit(r, proc.Start) // the gate does not know of requests
	}
	v.s = p.b.makeSubject(proc, p.b.commandLine(proc), v.c != nil)
	if x := p.executableOf(r, proc); x != nil {
		v.exe = x.facts
	}
	e := new(signal.Event)
	if !p.b.build(e, &v) {
		return nil
	}
	if r.PID == 1 {
		gate = record.GateNone
	}
	e.SetString(signal.FieldKernelGate, gate.String())
	return e
}

// resolve asks which container a workload is that nobody knows yet, and waits for it as long as an event would.
func (p *Plane) resolve(ctx context.Context, r *record.Record) {
	p.mu.Lock()
	k := laneKey{cgroup: r.Cgroup}
	if k.cgroup <= 1 {
		k.mntns = r.MntNS
	}
	l, ok := p.lanes.get(k)
	wait := k != laneKey{cgroup: r.Cgroup} || r.Cgroup > 1
	if wait && !ok {
		l = &lane{asking: true, answer: make(chan struct{}), group: groupOf(r)}
		p.lanes.put(k, l)
	}
	ask := wait && !ok
	pending := wait && ok && l.asking && !l.answered
	p.mu.Unlock()
	if !ask && !pending {
		return
	}
	limited, cancel := context.WithTimeout(ctx, p.cfg.ParkTime)
	if pending { // somebody else asks: a second attempt at once must not be judged as if of no container
		defer cancel()
		select {
		case <-l.answer:
		case <-limited.Done():
		}
		return
	}
	c, is, err := p.d.Sensor.Container(limited, r.Cgroup, r.PID)
	cancel()
	p.mu.Lock()
	p.learned(l, c, is, err)
	p.mu.Unlock()
}
