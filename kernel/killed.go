package kernel

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/testudo-sec/testudo/kernel/process"
	"github.com/testudo-sec/testudo/kernel/record"
	"github.com/testudo-sec/testudo/signal"
)

// killing is a process that is to be killed for what it did, and what the event of that is known by.
type killing struct {
	order     Order
	rule      string
	key       string // of the process
	event     signal.ID
	request   string
	trace     string
	container string
	pod       string
}

// killWithin bounds how long a kill may take: others wait behind it.
const killWithin = 5 * time.Second

// submit has an event judged, and a process killed where an enforced rule refuses what was already done. The event says that a kill was
// ordered; what became of it is told by another event when that is known.
func (p *Plane) submit(ctx context.Context, e *signal.Event, proc *process.Process) {
	// A program that did not start did nothing: who looks for it in several folders is not killed for that.
	failed := e.Class == signal.ClassProcessActivity && e.Activity == signal.ActivityProcessLaunch && e.Int(signal.FieldStatusID) == 2
	killable := !failed && proc != nil && proc.PID > 1 && !proc.Kernel() && proc.Alive() && proc.Start != 0 && !slices.Contains(p.d.Own, proc.PID) && !e.Has(signal.FieldKernelGate)
	if !killable && !e.Has(signal.FieldKernelGate) {
		e.SetString(signal.FieldKernelGate, record.GateNone.String()) // or the record would say that it was to be killed
	}
	v, err := p.verdict(ctx, e)
	p.metrics.events.Add(1)
	if err != nil {
		p.metrics.unjudged.Add(1)
		return
	}
	if v.Decision != signal.Deny || !killable {
		return
	}
	rule := p.enforcing(&v)
	if rule == "" {
		return
	}
	k := killing{order: Order{Verb: VerbKill, ID: e.ID.String(), PID: proc.PID, Start: proc.Start}, rule: rule, key: proc.Key, event: e.ID,
		request: e.Str(signal.FieldHTTPRequestUID), trace: e.Str(signal.FieldTraceUID), container: e.Str(signal.FieldContainerUID), pod: e.Str(signal.FieldOrchestratorPodName)}
	select {
	case p.kills <- k:
		runtime.Gosched() // the order is on its way before anything else is judged, and no other thread need wake for it
	default:
		p.metrics.killsMissed.Add(1)
		p.log.Error("a process that a rule refuses was not killed: too many are waiting to be", "rule", rule, "pid", proc.PID)
		p.tellKill(ctx, &k, Done{}, errTooManyKills)
	}
}

// enforcing returns the first rule of a verdict that refuses and is enforced, "" for none.
func (p *Plane) enforcing(v *signal.Verdict) string {
	for i := range v.Hits {
		if h := &v.Hits[i]; h.Decision == signal.Deny && p.d.Enforces(h.Rule) {
			return h.Rule
		}
	}
	return ""
}

var (
	errTooManyKills = errors.New("too many processes are waiting to be killed")
	errStopping     = errors.New("testudo was being stopped")
)

// killer kills what rules refused after the fact.
func (p *Plane) killer(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			for { // nothing is judged any more
				select {
				case k := <-p.kills:
					p.metrics.killsMissed.Add(1)
					p.tellKill(context.WithoutCancel(ctx), &k, Done{}, errStopping)
				default:
					return
				}
			}
		case k := <-p.kills:
			within, cancel := context.WithTimeout(ctx, killWithin)
			done, err := p.d.Sensor.Do(within, k.order)
			cancel()
			if ctx.Err() != nil && errors.Is(err, context.Canceled) {
				err = errStopping
			}
			switch {
			case err == nil:
				p.metrics.kills.Add(1)
			case errors.Is(err, ErrGone):
				p.metrics.killsLate.Add(1)
			default:
				p.metrics.killsFailed.Add(1)
				p.log.Error("a process that a rule refuses could not be killed", "rule", k.rule, "pid", k.order.PID, "error", err)
			}
			p.tellKill(context.WithoutCancel(ctx), &k, done, err)
		}
	}
}

// tellKill records what became of a kill. The event is about the kill and not about the process's deed, whose event is its cause, so that
// no rule judges that deed twice.
func (p *Plane) tellKill(ctx context.Context, k *killing, done Done, err error) {
	e := new(signal.Event)
	now := p.now()
	e.ID, e.Time, e.Parent = signal.NewID(now), now.UnixNano(), k.event
	e.Class, e.Plane, e.Severity = signal.ClassBaseEvent, signal.PlaneKernel, signal.SeverityInfo
	outcome, status, detail := OutcomeKilled, int64(1), done.Detail
	message := fmt.Sprintf("process %d was killed", k.order.PID)
	switch {
	case errors.Is(err, ErrGone):
		outcome, status, detail = OutcomeEnded, 2, err.Error()
		message = fmt.Sprintf("process %d had ended before it could be killed: what it did is done", k.order.PID)
	case err != nil:
		outcome, status, detail = OutcomeFailed, 2, err.Error()
		message = fmt.Sprintf("process %d is refused by a rule and was not killed", k.order.PID)
		e.Severity = signal.SeverityHigh
	}
	e.SetString(signal.FieldDeviceHostname, p.d.Host)
	e.SetString(signal.FieldMessage, message)
	e.SetString(signal.FieldMetadataEventCode, codeKill)
	e.SetInt(signal.FieldStatusID, status)
	setString(e, signal.FieldStatusDetail, clean(detail, maxKillDetail))
	e.SetString(signal.FieldKernelGate, record.GateKill.String())
	e.SetString(signal.FieldKernelMode, ModeEnforce)
	e.SetString(signal.FieldKernelOutcome, outcome)
	setString(e, signal.FieldProcessUID, k.key)
	e.SetInt(signal.FieldProcessPID, int64(k.order.PID))
	setString(e, signal.FieldHTTPRequestUID, k.request)
	setString(e, signal.FieldTraceUID, k.trace)
	setString(e, signal.FieldContainerUID, k.container)
	setString(e, signal.FieldOrchestratorPodName, k.pod)
	e.SetUnmapped("kernel.rule", k.rule)
	if _, err := p.d.Sink.Event(ctx, e); err != nil {
		p.metrics.unjudged.Add(1)
	}
}

// codeKill is the event code of events that say what became of a kill.
const codeKill = "kill"

// maxKillDetail bounds, in bytes, what is recorded of a kill's end.
const maxKillDetail = 512
