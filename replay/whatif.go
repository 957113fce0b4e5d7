package replay

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
)

// WhatIfQuery says on which records a change of rules is tried.
type WhatIfQuery struct {
	Since, Until time.Time      // Since inclusive, Until exclusive, by the events' time; zero: unbounded
	Classes      []signal.Class // nil: all
	Planes       []signal.Plane // nil: all
	// Enforce names edge routes for which the changed rules are tried as if they were in mode block, "*" for all.
	Enforce []string
	// Firewall, where it is not nil, is tried in the place of the web application firewall as it was.
	Firewall Firewall
	// Kept, where it is not nil, has requests as they were received.
	Kept Kept
	// Progress, where it is not nil, is called now and then with the share that is done, from 0 to 1.
	Progress func(done float64)
}

// WhatIf replays recorded events through the rules in force and through changed ones, and returns what would
// have become of them otherwise. Events on which no changed rule could fire are told from the
// others by columns and judged by nobody; the others are judged by both sets, in the order of their numbers
// where a rule depends on it.
//
// What cannot be told exactly is counted by reasons. An error is ctx's, or says that the store
// could not be read, or not in that order.
func WhatIf(ctx context.Context, h History, live, changed *policy.Set, q WhatIfQuery) (*Report, error) {
	if !q.Until.IsZero() && !q.Since.Before(q.Until) {
		return nil, fmt.Errorf("since %s is not before until %s", q.Since.Format(time.RFC3339), q.Until.Format(time.RFC3339))
	}
	began := time.Now()
	w := &whatIf{change: compare(live, changed, q.Firewall != nil), q: q, pairs: make(map[string]*pair),
		counts: Counts{}, byRule: table{}, byRoute: table{}, byAsset: table{}, byClient: table{}, restored: store.Masked{}, examples: make(map[exampleKey][]exampleOf)}
	if q.Firewall != nil {
		w.wall = &firewalled{Firewall: q.Firewall, byRule: table{}, doubts: map[string]int64{}, masked: map[maskedRead]int64{}}
		for _, r := range w.matter {
			if w.firewall[r.ID] && r.Condition != nil && !slices.ContainsFunc(w.wall.rules, func(o *policy.Rule) bool { return o.ID == r.ID }) {
				w.wall.rules = append(w.wall.rules, r)
			}
		}
	}
	enforces := len(q.Enforce) > 0
	var got store.ScanStats
	if !w.rules.Empty() || enforces || w.wall != nil {
		var err error
		if got, err = w.run(ctx, h); err != nil {
			return nil, err
		}
	}
	r := &Report{
		Live: live.Digest(), Changed: changed.Digest(), Since: q.Since, Until: q.Until, Rules: w.rules,
		Events: got.Events, Judged: w.judged, Counts: w.counts, ByRule: w.ruleRows(), ByRoute: w.byRoute.rows(), ByAsset: w.byAsset.rows(),
		ByClient: w.byClient.rows(), Files: got.Files, Skipped: got.Skipped, Kept: w.kept,
	}
	if w.wall != nil {
		w.wall.report.ByRule = w.wall.byRule.rows()
		r.Firewall = &w.wall.report
	}
	var err error
	if r.Examples, err = w.told(ctx, h); err != nil {
		return nil, err
	}
	if r.Inexact, err = w.inexact(ctx, h, &got); err != nil {
		return nil, err
	}
	r.Exact = len(r.Inexact) == 0
	elapsed := time.Since(began)
	r.ElapsedMS = elapsed.Milliseconds()
	r.PerSecond = int64(float64(r.Events) / max(elapsed.Seconds(), 1e-6))
	return r, nil
}

// whatIf is the state of a replay.
type whatIf struct {
	*change
	q     WhatIfQuery
	wall  *firewalled      // nil where the firewall is not changed
	pairs map[string]*pair // by judge
	from  int64            // events before it only fill windows

	judged   int64
	kept     int64          // requests that were restored
	masks    []signal.Field // that changed rules read
	restored store.Masked   // events of which such a field was restored
	raised   int64          // events whose severity a verdict may have raised
	warmed   int64          // events before from
	counts   Counts
	byRule   table
	byRoute  table
	byAsset  table
	byClient table
	examples map[exampleKey][]exampleOf
}

// pair are the engines of one judge's events.
type pair struct{ live, changed *policy.Engine }

type exampleKey struct {
	kind Kind
	rule string
}

type exampleOf struct {
	id            signal.ID
	time          int64
	class         signal.Class
	before, after signal.Decision
	why           string // what is otherwise with the firewall, "" for nothing
}

// run replays the events that matter.
func (w *whatIf) run(ctx context.Context, h History) (store.ScanStats, error) {
	judging := readsOf(w.live, w.changed)
	judging.add(recordFields()...)
	judging.add(groupFields()...)
	x := w.relevant()
	if len(w.q.Enforce) > 0 {
		x = match.Or{x, w.enforced()}
	}
	if w.wall != nil {
		x = match.Or{x, w.wall.touched()}
	}
	w.masks = maskable(w.changedFields())
	if w.q.Kept != nil {
		judging.add(keptFields()...)
		if !w.rules.Empty() && slices.ContainsFunc(w.masks, restorable) {
			x = match.Or{x, mayBeKept()} // what the record says of it is not all
		}
	}
	since := w.q.Since
	if w.from = -1 << 63; !since.IsZero() {
		w.from = since.UnixNano()
		since = since.Add(-w.within)
	}
	if !w.stateful {
		x = match.And{ofPlanes(w.q.Planes), x}
	}
	c := match.NewCondition(x)
	if w.wall != nil {
		judging.unmapped = true
		judging.add(w.wall.Fields()...)
	}
	asking := reads{}
	asking.condition(x)
	query := store.Query{
		Since: since, Until: w.q.Until, Columns: judging.columns(), Unmapped: judging.unmapped,
		Where:        func(e *signal.Event) bool { return match.Eval(x, e) != match.No }, // what faults may fire when it is as it was judged
		WhereColumns: asking.columns(), WhereUnmapped: asking.unmapped,
		Filter: filterOf(c.Expr()), Masks: w.masks, Sequenced: w.stateful,
	}
	if !w.stateful {
		query.Classes = w.q.Classes
	}
	if w.q.Progress != nil {
		most := 0
		query.Progress = func(left int) {
			most = max(most, left)
			w.q.Progress(float64(most-left) / float64(most))
		}
	}
	got, err := h.Scan(ctx, query, func(e *signal.Event) bool {
		if w.event(ctx, e); w.wall != nil && w.wall.err != nil {
			return false
		}
		return true
	})
	if w.wall != nil && w.wall.err != nil {
		return got, w.wall.err
	}
	return got, err
}

// enforced is the condition of the events that routes let through which are tried as if they did not.
func (w *whatIf) enforced() match.Expr {
	caught := &match.Atom{On: match.Operand{Field: signal.FieldVerdictRules}, Op: match.OpExists}
	if slices.Contains(w.q.Enforce, "*") {
		return match.And{match.Exists(signal.FieldEdgeMode), caught}
	}
	return match.And{match.Text(match.Operand{Field: signal.FieldEdgeRoute}, match.OpEqual, false, w.q.Enforce...), caught}
}

func ofPlanes(planes []signal.Plane) match.Expr {
	if planes == nil {
		return match.Const(true)
	}
	names := make([]string, len(planes))
	for i, p := range planes {
		names[i] = p.String()
	}
	return match.Text(match.Operand{Field: signal.FieldMetadataLogProvider}, match.OpEqual, false, names...)
}

// groupFields are the fields by which differences are grouped.
func groupFields() []signal.Field {
	return []signal.Field{signal.FieldEdgeRoute, signal.FieldSrcEndpointIP, signal.FieldActorUserName, signal.FieldUserName, signal.FieldProcessUserName,
		signal.FieldDeviceHostname, signal.FieldHTTPRequestURLHostname, signal.FieldDstEndpointHostname}
}

// changedFields are the fields that the changed rules, and those that feed them, read.
func (w *whatIf) changedFields() []signal.Field {
	var all []signal.Field
	for _, r := range w.matter {
		if r.Condition != nil {
			all = append(all, match.Fields(r.Condition)...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// event judges an event by both sets.
func (w *whatIf) event(ctx context.Context, e *signal.Event) {
	r := recordOf(e)
	p := w.pairs[r.judge]
	if p == nil {
		p = &pair{policy.NewEngine(w.live), policy.NewEngine(w.changed)}
		w.pairs[strings.Clone(r.judge)] = p
	}
	id, at := e.ID, e.Time
	asJudged(e, &r)
	covered := w.wall != nil && w.wall.covers(e)
	if w.q.Kept != nil && isRequest(e) {
		w.restore(e)
	}
	was := p.live.Judge(e)
	score, threshold := e.Int(signal.FieldWAFScore), e.Int(signal.FieldWAFThreshold)
	var found Finding
	if covered {
		if found, w.wall.err = w.wall.Find(ctx, e); w.wall.err != nil {
			return
		}
	}
	would := p.changed.Judge(e)
	if at < w.from {
		w.warmed++
		return
	}
	if w.stateful && !w.wanted(e) {
		return
	}
	w.judged++
	if covered {
		w.wall.count(e, &found)
	}
	if len(r.rules) > 0 && slices.ContainsFunc(w.matter, func(r *policy.Rule) bool {
		return r.Condition != nil && slices.Contains(match.Fields(r.Condition), signal.FieldSeverityID)
	}) {
		w.raised++
	}
	w.fired(&was, true)
	w.fired(&would, false)
	enforce := slices.Contains(w.q.Enforce, "*") || slices.Contains(w.q.Enforce, e.Str(signal.FieldEdgeRoute)) && e.Has(signal.FieldEdgeRoute)
	before, after := took(e, was.Decision, false), took(e, would.Decision, enforce)
	kind, rule := differ(before, after, &was, &would)
	if kind == "" {
		return
	}
	w.counts[kind]++
	w.byRule.add(rule, kind)
	w.byRoute.add(e.Str(signal.FieldEdgeRoute), kind)
	w.byAsset.add(assetOf(e), kind)
	w.byClient.add(clientOf(e), kind)
	one := exampleOf{id: id, time: at, class: e.Class, before: before, after: after}
	if covered && (found.Flipped || len(found.Gone)+len(found.New) > 0) {
		w.wall.differs(&found, kind)
		one.why = w.wall.why(score, threshold, e, &found)
	}
	w.example(exampleKey{kind, rule}, one)
}

// wanted reports whether an event of a replay that sees more than was asked for is one of the query's.
func (w *whatIf) wanted(e *signal.Event) bool {
	return (w.q.Classes == nil || slices.Contains(w.q.Classes, e.Class)) && (w.q.Planes == nil || slices.Contains(w.q.Planes, e.Plane))
}

// fired counts on which events changed rules fire, and what they ask for.
func (w *whatIf) fired(v *signal.Verdict, before bool) {
	for i := range v.Hits {
		hit := &v.Hits[i]
		if !w.ids[hit.Rule] {
			continue
		}
		one := w.byRule.of(hit.Rule)
		if before {
			one.Before++
			one.OrdersBefore += int64(len(hit.Orders))
		} else {
			one.After++
			one.OrdersAfter += int64(len(hit.Orders))
		}
	}
}

// differ says how what becomes of an event differs, and by which rule. No kind is no difference.
func differ(before, after signal.Decision, was, would *signal.Verdict) (Kind, string) {
	top := func(v *signal.Verdict) string {
		if t := v.Top(); t != nil {
			return t.Rule
		}
		return ""
	}
	blocked := func(d signal.Decision) bool { return d > signal.Alert }
	switch {
	case blocked(after) && !blocked(before):
		return NewlyBlocked, top(would)
	case blocked(before) && !blocked(after):
		return NoLongerBlocked, top(was)
	case len(was.Hits) > 0 && len(would.Hits) == 0:
		return NoLongerCaught, top(was)
	case len(was.Hits) == 0 && len(would.Hits) > 0:
		return NewlyAlerted, top(would)
	case before != after || was.Decision != would.Decision:
		return DecisionChanged, cmp.Or(top(would), top(was))
	}
	if more := missing(would, was); more != "" {
		return RulesChanged, more
	}
	if less := missing(was, would); less != "" {
		return RulesChanged, less
	}
	return "", ""
}

// missing returns the first rule that fired in a and not in b, "" for none.
func missing(a, b *signal.Verdict) string {
	for i := range a.Hits {
		if !slices.ContainsFunc(b.Hits, func(h signal.Hit) bool { return h.Rule == a.Hits[i].Rule }) {
			return a.Hits[i].Rule
		}
	}
	return ""
}

func assetOf(e *signal.Event) string {
	return cmp.Or(e.RecordedStr(signal.FieldDeviceHostname), e.RecordedStr(signal.FieldDstEndpointHostname), e.RecordedStr(signal.FieldHTTPRequestURLHostname))
}

func clientOf(e *signal.Event) string {
	if ip := e.IP(signal.FieldSrcEndpointIP); ip.IsValid() {
		return ip.String()
	}
	return cmp.Or(e.RecordedStr(signal.FieldActorUserName), e.RecordedStr(signal.FieldUserName), e.RecordedStr(signal.FieldProcessUserName))
}

// example keeps the newest events of a kind and rule.
func (w *whatIf) example(key exampleKey, x exampleOf) {
	kept := w.examples[key]
	if kept == nil && len(w.examples) >= 1000 {
		return
	}
	newest := func(a, b exampleOf) int {
		return cmp.Or(cmp.Compare(b.time, a.time), slices.Compare(a.id[:], b.id[:]))
	}
	if len(kept) < examplesOfOne {
		w.examples[key] = append(kept, x)
		slices.SortFunc(w.examples[key], newest)
	} else if newest(x, kept[examplesOfOne-1]) < 0 {
		kept[examplesOfOne-1] = x
		slices.SortFunc(kept, newest)
	}
}

// ruleRows returns the table of rules with their titles.
func (w *whatIf) ruleRows() []ByOne {
	rows := w.byRule.rows()
	for i := range rows {
		for _, set := range []*policy.Set{w.changed, w.live} {
			if r := set.Rule(rows[i].Name); r != nil {
				rows[i].Title = r.Title
				break
			}
		}
	}
	return rows
}

// told returns the examples with their sentences. They are read anew, with all their fields.
func (w *whatIf) told(ctx context.Context, h History) ([]Example, error) {
	out := []Example{}
	for depth := range examplesOfOne { // one of each first
		for _, kind := range Kinds() {
			for _, row := range w.byRule.rows() {
				kept := w.examples[exampleKey{kind, row.Name}]
				if depth >= len(kept) || len(out) >= maxExamples {
					continue
				}
				one, err := w.tell(ctx, h, kind, row.Name, &kept[depth])
				if err != nil {
					return nil, err
				}
				out = append(out, one)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Example) int {
		return cmp.Or(cmp.Compare(slices.Index(Kinds(), a.Kind), slices.Index(Kinds(), b.Kind)), strings.Compare(a.Rule, b.Rule))
	})
	return out, nil
}

func (w *whatIf) tell(ctx context.Context, h History, kind Kind, rule string, x *exampleOf) (Example, error) {
	out := Example{Kind: kind, Event: x.id.String(), Time: time.Unix(0, x.time).UTC(), Rule: rule, Before: x.before, After: x.after}
	r := w.changed.Rule(rule)
	if r == nil || kind == NoLongerBlocked || kind == NoLongerCaught {
		r = cmp.Or(w.live.Rule(rule), r)
	}
	_, err := h.Scan(ctx, store.Query{ID: x.id, Since: out.Time, Until: out.Time.Add(1), Classes: []signal.Class{x.class}}, func(e *signal.Event) bool {
		why := ""
		if r != nil {
			if why = r.Title; r.Sentence != nil {
				why = r.Sentence(e)
			}
		}
		if x.why != "" {
			why = x.why
		}
		out.Sentence = sentence(e, x.before, x.after, why)
		return false
	})
	return out, err
}

// sentence says what would become of an event, in recorded forms.
func sentence(e *signal.Event, before, after signal.Decision, why string) string {
	what := Summary(e)
	if who := clientOf(e); who != "" {
		what += " of " + who
	}
	change := fmt.Sprintf("%s before, %s after", before, after)
	if before == after {
		change = "still " + before.String()
	}
	return policy.Printable(what+": "+change+": "+why, 400)
}

// Summary says in a few words what an event is, in recorded forms.
func Summary(e *signal.Event) string {
	first := func(fields ...signal.Field) string {
		for _, f := range fields {
			if t := e.RecordedText(f); t != "" {
				return t
			}
		}
		return ""
	}
	switch {
	case e.Has(signal.FieldHTTPRequestHTTPMethod):
		s := e.RecordedStr(signal.FieldHTTPRequestHTTPMethod) + " " + e.RecordedStr(signal.FieldHTTPRequestURLPath)
		if query := e.RecordedStr(signal.FieldHTTPRequestURLQueryString); query != "" {
			s += "?" + query
		}
		return s
	case e.Has(signal.FieldFindingInfoTitle):
		return e.RecordedStr(signal.FieldFindingInfoTitle)
	}
	return strings.TrimSpace(e.Class.String() + " " + first(signal.FieldProcessCmdLine, signal.FieldProcessFilePath, signal.FieldAPIOperation,
		signal.FieldFilePath, signal.FieldQueryHostname, signal.FieldMessage))
}
