package replay

import (
	"slices"

	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
)

// Kept has requests as they were received, of some of the records.
type Kept interface {
	// Restore puts back into the record of a request what is masked in it, for rules to see. It reports whether the request was kept.
	Restore(e *signal.Event) bool
}

// restorable reports whether a field may be masked in records, and is not in a request.
func restorable(f signal.Field) bool {
	return slices.Contains([]signal.Field{signal.FieldHTTPRequestURLPath, signal.FieldHTTPRequestURLQueryString, signal.FieldHTTPRequestUserAgent, signal.FieldHTTPRequestReferrer}, f)
}

// keptFields are what Restore and isRequest read.
func keptFields() []signal.Field {
	return []signal.Field{signal.FieldMetadataUID, signal.FieldMetadataCorrelationUID, signal.FieldHTTPRequestVersion,
		signal.FieldHTTPRequestURLPath, signal.FieldHTTPRequestURLQueryString, signal.FieldHTTPRequestUserAgent, signal.FieldHTTPRequestReferrer}
}

// isRequest reports whether an event is the edge's of a request that was judged.
func isRequest(e *signal.Event) bool {
	return e.Plane == signal.PlaneEdge && e.Class == signal.ClassHTTPActivity && e.Parent.IsZero() && e.Has(signal.FieldHTTPRequestVersion)
}

// restore restores a record, and counts what is masked in it no more.
func (w *whatIf) restore(e *signal.Event) {
	if !w.q.Kept.Restore(e) {
		return
	}
	w.kept++
	for _, f := range w.masks {
		if e.IsMasked(f) && restorable(f) {
			w.restored[store.MaskedField{Class: e.Class, Field: f}]++
		}
	}
}

// mayBeKept is the condition of the records that are restored.
func mayBeKept() match.Expr {
	return ofClasses([]signal.Class{signal.ClassHTTPActivity}, match.And{match.Exists(signal.FieldHTTPRequestVersion),
		match.Text(match.Operand{Field: signal.FieldMetadataLogProvider}, match.OpEqual, false, signal.PlaneEdge.String())})
}
