package testudo

import (
	"github.com/testudo-sec/testudo/signal"
)

// What becomes of what a rule refuses on a host, as kernel.mode, kernel.gate and kernel.outcome say it.
const (
	modeMonitor = "monitor"
	modeEnforce = "enforce"

	gateNone = "none"
	gateKill = "kill"

	outcomeRefused = "refused"
	outcomeOrdered = "ordered"
	outcomeKilled  = "killed"
	outcomeWatched = "watched"
)

// settle writes into an event of the kernel what becomes of what a rule refuses: whether that rule is enforced, and by what. A gate that
// asked has named itself; what was seen when it had happened can only be killed, unless the plane says that it is not: that is ordered
// now, and what becomes of it is an event of the plane's own. What the kernel refused by itself says so already.
func (n *Node) settle(e *signal.Event, v *signal.Verdict) {
	if e.Plane != signal.PlaneKernel || v.Decision != signal.Deny || e.Has(signal.FieldKernelOutcome) {
		return
	}
	mode, gate := modeMonitor, e.Str(signal.FieldKernelGate)
	for i := range v.Hits {
		if v.Hits[i].Decision == signal.Deny && n.enforces(v.Hits[i].Rule) {
			mode = modeEnforce
		}
	}
	if gate == "" {
		if gate = gateNone; mode == modeEnforce {
			gate = gateKill
		}
	}
	outcome := outcomeRefused
	switch {
	case mode == modeMonitor || gate == gateNone:
		outcome = outcomeWatched
	case gate == gateKill:
		outcome = outcomeOrdered
	}
	e.SetString(signal.FieldKernelGate, gate)
	e.SetString(signal.FieldKernelMode, mode)
	e.SetString(signal.FieldKernelOutcome, outcome)
	if outcome == outcomeRefused { // a gate that asks is told before there is a result: it is known now
		e.SetInt(signal.FieldStatusID, statusFailure)
		e.SetString(signal.FieldStatusCode, "EPERM")
		e.SetString(signal.FieldStatusDetail, signal.DetailRefused)
	}
}

// statusFailure is the status_id of what did not happen, as OCSF has it.
const statusFailure = 2

// refusedBefore reports whether the kernel refused or killed before anybody was asked.
func refusedBefore(e *signal.Event) bool {
	return e.Plane == signal.PlaneKernel && (e.Str(signal.FieldKernelOutcome) == outcomeRefused || e.Str(signal.FieldKernelOutcome) == outcomeKilled)
}

// happened reports whether what a rule refuses is done all the same, whatever becomes of who did it.
func happened(e *signal.Event) bool {
	return e.Plane == signal.PlaneKernel && e.Str(signal.FieldKernelOutcome) == outcomeOrdered
}

// becameOf says for people what became of what a rule refuses on a host, as far as it is known when it is judged; "" for other events.
func becameOf(e *signal.Event) string {
	if e.Plane != signal.PlaneKernel {
		return ""
	}
	gate := e.Str(signal.FieldKernelGate)
	switch e.Str(signal.FieldKernelOutcome) {
	case outcomeRefused:
		return "refused by " + gate + ": it did not happen"
	case outcomeKilled:
		return "killed by " + gate
	case outcomeOrdered:
		return "it happened; the process was ordered to be killed, and the event that has this one as its cause says whether it was"
	case outcomeWatched:
		return "told of, and let pass"
	}
	return ""
}
