package replay

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
)

// inexact says why the answer of a replay may not be the one of the moment.
func (w *whatIf) inexact(ctx context.Context, h History, got *store.ScanStats) ([]Reason, error) {
	out := []Reason{}
	for at, n := range w.restored {
		if got.Masked[at] -= n; got.Masked[at] <= 0 {
			delete(got.Masked, at)
		}
	}
	out = append(out, w.maskReasons(got.Masked)...)
	if w.wall != nil {
		out = append(out, w.wall.reasons()...)
	}
	if w.raised > 0 {
		out = append(out, Reason{"a changed rule reads severity_id, which the verdict may have raised before it was recorded", w.raised})
	}
	if w.longest != "" && !w.q.Since.IsZero() && w.warmed == 0 {
		out = append(out, Reason{Reason: fmt.Sprintf("nothing is recorded from the %s before %s, so that the windows of rule %s begin empty",
			w.doubt, w.q.Since.UTC().Format(time.RFC3339), w.longest)})
	}
	out = append(out, lacks(got)...)
	if w.rules.Empty() && len(w.q.Enforce) == 0 && w.wall == nil {
		return out, nil
	}
	unseen, err := w.unjudged(ctx, h)
	if unseen > 0 {
		out = append(out, Reason{"requests were refused before rules saw all of them: malformed, or their sender was blocked", unseen})
	}
	return out, err
}

// maskReasons says which masked fields the rules that matter read.
func (w *whatIf) maskReasons(masked store.Masked) []Reason {
	type key struct {
		field signal.Field
		rules string
	}
	sums := make(map[key]int64)
	for at, n := range masked {
		var ids []string
		for _, r := range w.matter {
			if r.Condition != nil && !w.firewall[r.ID] && (r.On == nil || slices.Contains(r.On, at.Class)) && slices.Contains(match.Fields(r.Condition), at.Field) && !slices.Contains(ids, r.ID) {
				ids = append(ids, r.ID)
			}
		}
		if len(ids) > 0 && (w.q.Classes == nil || slices.Contains(w.q.Classes, at.Class)) {
			sums[key{at.Field, names(ids)}] += n
		}
	}
	var out []Reason
	for _, k := range slices.SortedFunc(maps.Keys(sums), func(a, b key) int { return cmp.Or(cmp.Compare(a.field, b.field), strings.Compare(a.rules, b.rules)) }) {
		out = append(out, Reason{fmt.Sprintf("%s was masked when it was recorded, and is read by %s", k.field.Name(), k.rules), sums[k]})
	}
	return out
}

// names lists rules, a few of them.
func names(ids []string) string {
	slices.Sort(ids)
	if len(ids) > 5 {
		return strings.Join(ids[:5], ", ") + fmt.Sprintf(" and %d more", len(ids)-5)
	}
	return strings.Join(ids, ", ")
}

// lacks says what a scan lacked, with the number of events where it is known.
func lacks(got *store.ScanStats) []Reason {
	var out []Reason
	if got.Unsynced != nil {
		out = append(out, Reason{Reason: fmt.Sprintf("the latest events may be missing: %v", got.Unsynced)})
	}
	var lost int64
	unknown := false
	for _, g := range got.Gaps {
		lost += int64(g.Count)
		unknown = unknown || g.Count == 0
	}
	if len(got.Gaps) > 0 {
		text := fmt.Sprintf("events of %d periods were judged and not recorded", len(got.Gaps))
		if unknown {
			text += ", of some it is not known how many"
		}
		out = append(out, Reason{text, lost})
	}
	if n := len(got.Damaged); n > 0 {
		out = append(out, Reason{Reason: fmt.Sprintf("%d lake files could not be read: %s", n, strings.Join(got.Damaged[:min(n, 5)], ", "))})
	}
	return out
}

// unjudged counts the requests of which rules did not see all: one event may stand for many.
func (w *whatIf) unjudged(ctx context.Context, h History) (int64, error) {
	x := match.Or{
		match.Text(match.Operand{Field: signal.FieldEdgeError}, match.OpPrefix, false, "malformed", "blocklist"),
		match.Text(match.Operand{Field: signal.FieldStatusDetail}, match.OpPrefix, false, "not judged: "),
	}
	var n int64
	if w.q.Planes != nil && !slices.Contains(w.q.Planes, signal.PlaneEdge) {
		return 0, nil
	}
	fields := []signal.Field{signal.FieldEdgeError, signal.FieldStatusDetail}
	_, err := h.Scan(ctx, store.Query{
		Since: w.q.Since, Until: w.q.Until, Classes: w.q.Classes, Columns: []signal.Field{signal.FieldCount},
		Where: func(e *signal.Event) bool { return match.Eval(x, e) == match.Yes }, WhereColumns: fields, Filter: filterOf(x),
	}, func(e *signal.Event) bool {
		n += max(1, e.Int(signal.FieldCount))
		return true
	})
	return n, err
}
