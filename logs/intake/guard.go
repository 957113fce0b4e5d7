package intake

import (
	"strings"
	"time"

	"github.com/testudo-sec/testudo/signal"
)

// SourceAttr is the unmapped attribute that says from where an event's record came.
const SourceAttr = "testudo.source"

// maxAhead is how far a record's time may lie in the future: clocks differ by that much. It is no more than windows
// wait for late events by default (window.DefaultTolerance), so that a record that is ahead hides none that are not.
const maxAhead = time.Minute

// Reserved reports whether a field says what testudo itself thinks or did, so that no record of a log may set it.
func Reserved(f signal.Field) bool {
	switch f {
	case signal.FieldMetadataReporterUID, signal.FieldPolicyUID, signal.FieldIsAlert, signal.FieldActionID, signal.FieldDispositionID:
		return true
	}
	for _, prefix := range []string{"verdict.", "policy.", "edge.", "waf.", "finding_info.", "firewall_rule."} {
		if strings.HasPrefix(f.Name(), prefix) {
			return true
		}
	}
	return false
}

// guard is which fields are reserved, by number.
type guard []bool

func newGuard() guard {
	var g guard
	for _, f := range signal.Fields() {
		for len(g) <= int(f) {
			g = append(g, false)
		}
		g[f] = Reserved(f)
	}
	return g
}

// clean takes out of an event what a record may not say, and reports whether there was something.
func (g guard) clean(e *signal.Event) (forged bool) {
	for again := true; again; {
		again = false
		e.Each(func(f signal.Field) bool {
			if int(f) < len(g) && g[f] {
				e.Unset(f)
				again, forged = true, true
			}
			return !again
		})
	}
	e.Plane = signal.PlaneLogs
	e.ID, e.Parent, e.Seq = signal.ID{}, signal.ID{}, 0
	if e.Class.Category() == 2 {
		e.Class, e.Activity, forged = signal.ClassBaseEvent, 0, true
	}
	return forged
}

// receive gives an event the time of receipt where it has none that can be believed.
func receive(e *signal.Event, now time.Time) {
	if e.Time <= 0 || e.Time > now.Add(maxAhead).UnixNano() {
		if e.Time != 0 && !e.Has(signal.FieldMetadataOriginalTime) {
			e.SetString(signal.FieldMetadataOriginalTime, time.Unix(0, e.Time).UTC().Format(time.RFC3339Nano))
		}
		e.Time = now.UnixNano()
	}
	e.SetTime(signal.FieldMetadataLoggedTime, now)
}
