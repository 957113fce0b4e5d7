package replay

import (
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

// record is what was written into an event when it had been judged.
type record struct {
	judge       string   // id
	policy      string   // digest of the rules
	rules       []string // that fired
	disposition int64
}

// recordFields are the fields that recordOf and asJudged read.
func recordFields() []signal.Field {
	return []signal.Field{
		signal.FieldMetadataReporterUID, signal.FieldPolicyUID, signal.FieldVerdictRules, signal.FieldDispositionID,
		signal.FieldEdgeError, signal.FieldEdgeMode, signal.FieldKernelOutcome, signal.FieldHTTPResponseCode, signal.FieldStatusDetail,
	}
}

func recordOf(e *signal.Event) record {
	return record{
		judge: e.Str(signal.FieldMetadataReporterUID), policy: e.Str(signal.FieldPolicyUID),
		rules: slices.Clone(e.Strings(signal.FieldVerdictRules)), disposition: e.Int(signal.FieldDispositionID),
	}
}

// asJudged takes out of a recorded event what was written into it after it was judged, so that
// rules see what they saw then. What became of it on a host stays, for obeyed; no rule reads it. The severity stays as the verdict may have raised it: nobody recorded what it
// was.
func asJudged(e *signal.Event, r *record) {
	var added [32]signal.Field
	n := 0
	e.Each(func(f signal.Field) bool {
		if n < len(added) && f != signal.FieldMetadataReporterUID && f != signal.FieldKernelOutcome && match.Added(f) {
			added[n] = f
			n++
		}
		return true
	})
	for _, f := range added[:n] {
		e.Unset(f)
	}
	if answered(e, r.disposition) {
		e.Unset(signal.FieldHTTPResponseCode)
	}
	if e.Plane == signal.PlaneKernel && e.Str(signal.FieldStatusDetail) == signal.DetailRefused {
		e.Unset(signal.FieldStatusDetail)
		e.SetInt(signal.FieldStatusID, 1) // as of what would have been
		e.SetString(signal.FieldStatusCode, "SUCCESS")
	}
	e.Seq = 0
}

// answered reports whether the status of an event is the one with which the edge refused it on the verdict.
func answered(e *signal.Event, disposition int64) bool {
	return e.Plane == signal.PlaneEdge && e.Class == signal.ClassHTTPActivity && e.Parent.IsZero() && !turnedAway(e) &&
		slices.Contains(refusals(), disposition)
}

// refusals are the dispositions of the decisions that do not let a request through.
func refusals() []int64 {
	var all []int64
	for _, d := range []signal.Decision{signal.Limit, signal.Challenge, signal.Deny} {
		id, _ := d.Disposition()
		all = append(all, id)
	}
	return all
}

// turnedAway reports whether the edge refused the request whatever the verdict was.
func turnedAway(e *signal.Event) bool {
	failure := e.Str(signal.FieldEdgeError)
	return failure == "blocklist" || failure == "ambiguous-path" && e.Parent.IsZero() || strings.HasPrefix(failure, "malformed")
}

// obeyed reports whether the gate that saw the event obeys verdicts: an edge route in another mode
// than block lets everything pass, and so does a host where the rule was only watched; who was to be killed for it had done it.
func obeyed(e *signal.Event) bool {
	if e.Plane == signal.PlaneKernel {
		outcome := e.Str(signal.FieldKernelOutcome)
		return outcome != "watched" && outcome != "ordered"
	}
	return e.Plane != signal.PlaneEdge || !e.Has(signal.FieldEdgeMode) || e.Str(signal.FieldEdgeMode) == "block"
}

// took returns what becomes of an event on which that was decided. Enforced says that its gate
// obeys, whatever the recorded mode.
func took(e *signal.Event, d signal.Decision, enforced bool) signal.Decision {
	switch {
	case turnedAway(e):
		return signal.Deny
	case d > signal.Alert && !enforced && !obeyed(e):
		return signal.Alert
	}
	return d
}
