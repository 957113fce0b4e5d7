package replay

import (
	"context"
	"time"

	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
)

// Alarms yields the recorded requests that score as attacks to the firewall: waf.score is not below waf.threshold. Events are valid
// during the call alone, and hold the firewall's fields, route, method, path and id.
func Alarms(ctx context.Context, h History, since, until time.Time, yield func(e *signal.Event)) ([]Reason, error) {
	x := match.Exists(signal.FieldWAFRules)
	asking := []signal.Field{signal.FieldWAFRules, signal.FieldWAFScore, signal.FieldWAFThreshold, signal.FieldMetadataCorrelationUID}
	got, err := h.Scan(ctx, store.Query{Since: since, Until: until, Classes: []signal.Class{signal.ClassHTTPActivity}, Filter: filterOf(x),
		Where: func(e *signal.Event) bool {
			// What answers a request has its findings too.
			threshold := e.Int(signal.FieldWAFThreshold)
			return e.Parent.IsZero() && e.Has(signal.FieldWAFRules) && threshold > 0 && e.Int(signal.FieldWAFScore) >= threshold
		}, WhereColumns: asking,
		Columns: append(asking, signal.FieldMetadataUID, signal.FieldWAFTargets, signal.FieldEdgeRoute, signal.FieldHTTPRequestHTTPMethod, signal.FieldHTTPRequestURLPath),
	}, func(e *signal.Event) bool {
		yield(e)
		return true
	})
	return lacks(&got), err
}
