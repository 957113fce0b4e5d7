package assembly

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/edge/waf/coverage"
	"github.com/testudo-sec/testudo/internal/spell"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/replay"
	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
)

// replays asks what other rules would have made of what is kept.
type replays struct{ m *Machine }

func (s replays) WhatIf(ctx context.Context, q console.WhatIfQuery, progress func(float64)) (console.WhatIfReport, error) {
	return WhatIf(ctx, s.m.storage.Store.History, s.m.loader, s.m.engine.Set(), s.m.guarding(ctx), q, progress)
}

func (s replays) Exceptions(ctx context.Context, q console.ExceptionQuery, progress func(float64)) (console.ExceptionReport, error) {
	return Exceptions(ctx, s.m.storage.Store.History, s.m.loader, s.m.sources, s.m.engine.Set(), s.m.guarding(ctx), q, progress)
}

// WhatIf replays a history for the console and the command; live are the rules in force.
func WhatIf(ctx context.Context, history *store.History, loader *policy.Loader, live *policy.Set, firewall Guarding, q console.WhatIfQuery, progress func(float64)) (console.WhatIfReport, error) {
	none := whatIfReport(&replay.Report{})
	changed, err := changedRules(loader, live, &q)
	var problems policy.Problems
	if errors.As(err, &problems) {
		for _, p := range problems {
			none.Errors = append(none.Errors, ruleError(p))
		}
		return none, nil
	}
	if err != nil {
		return none, err
	}
	query := replay.WhatIfQuery{Since: q.Since, Until: q.Until, Enforce: q.Enforce, Progress: progress}
	for _, name := range q.Planes {
		p, err := signal.ParsePlane(name)
		if err != nil {
			return none, &console.InputError{Field: "planes", Reason: err.Error()}
		}
		query.Planes = append(query.Planes, p)
	}
	for _, name := range q.Classes {
		c, err := signal.ParseClass(name)
		if err != nil {
			return none, &console.InputError{Field: "classes", Reason: err.Error()}
		}
		query.Classes = append(query.Classes, c)
	}
	if !q.Until.IsZero() && !q.Since.Before(q.Until) {
		return none, &console.InputError{Field: "until", Reason: "is not after since"}
	}
	var wall *changedFirewall
	reader, reason, err := firewall.kept(ctx, "whatif.sealed", q)
	if err != nil {
		return none, err
	}
	kept := &keptRequests{reader: reader, refused: map[string]bool{}}
	if reader != nil {
		defer reader.Close()
		query.Kept = kept
	}
	if q.Firewall != nil {
		if wall, err = newChangedFirewall(*firewall.WAF, kept, q.Firewall); err != nil {
			none.Errors = append(none.Errors, console.RuleError{File: "firewall", Message: err.Error()})
			return none, nil
		}
		defer wall.Close()
		query.Firewall = wall
	}
	r, err := replay.WhatIf(ctx, history, live, changed, query)
	if err != nil {
		return none, err
	}
	out := whatIfReport(r)
	if wall != nil && out.Firewall != nil {
		out.Firewall.Before, out.Firewall.After = wall.before, wall.after
	}
	if reason != "" && !out.Exact {
		out.Inexact = append(out.Inexact, console.ReplayReason{Reason: reason})
	}
	for _, reason := range kept.damaged() {
		if !slices.ContainsFunc(out.Inexact, func(r console.ReplayReason) bool { return r.Reason == reason }) {
			out.Inexact, out.Exact = append(out.Inexact, console.ReplayReason{Reason: reason}), false
		}
	}
	if q.Verify {
		v, err := replay.Verify(ctx, history, []*policy.Set{live}, replay.VerifyQuery{Since: q.Since, Until: q.Until, Classes: query.Classes})
		if err != nil {
			return none, err
		}
		out.Verified = &console.ReplayVerification{Same: v.Same, Different: v.Different, Masked: v.Masked, Other: v.Other, Mismatches: []console.ReplayMismatch{}}
		for _, m := range v.Mismatches {
			out.Verified.Mismatches = append(out.Verified.Mismatches, console.ReplayMismatch(m))
		}
	}
	return out, nil
}

// changedRules returns the rules in force with the change that a query asks for.
func changedRules(loader *policy.Loader, live *policy.Set, q *console.WhatIfQuery) (*policy.Set, error) {
	var files []policy.File
	for _, f := range q.Files {
		files = append(files, policy.File{Name: f.Name, Text: []byte(f.Text)})
	}
	fresh, err := loader.Compile(files)
	if err != nil {
		return nil, err
	}
	taken := make(map[string]bool)
	for _, r := range fresh {
		taken[r.ID] = true
	}
	for _, id := range q.Remove {
		taken[id] = true
	}
	var all []*policy.Rule
	known := make([]string, 0, live.Len()+len(fresh))
	for _, r := range live.Rules() {
		known = append(known, r.ID)
		if !q.Replace && !taken[r.ID] && !taken[r.PartOf] {
			all = append(all, r)
		}
	}
	all = append(all, fresh...)
	for _, r := range fresh {
		known = append(known, r.ID)
	}
	for field, ids := range map[string][]string{"remove": q.Remove, "disable": q.Disable} {
		for _, id := range ids {
			if slices.Contains(known, id) {
				continue
			}
			reason := fmt.Sprintf("%q is no rule's id", policy.Printable(id, 100))
			if near := spell.Nearest(id, known); near != "" {
				reason += fmt.Sprintf("; did you mean %q?", near)
			}
			return nil, &console.InputError{Field: field, Reason: reason}
		}
	}
	for i, r := range all {
		if slices.Contains(q.Disable, r.ID) || slices.Contains(q.Disable, r.PartOf) {
			off := *r
			off.Disabled, all[i] = true, &off
		}
	}
	return policy.NewSet(all)
}

func whatIfReport(r *replay.Report) console.WhatIfReport {
	out := console.WhatIfReport{
		Errors: []console.RuleError{}, Examples: []console.WhatIfExample{}, Live: r.Live, Changed: r.Changed, Since: r.Since, Until: r.Until, Rules: console.WhatIfRules{Added: orNone(r.Rules.Added), Removed: orNone(r.Rules.Removed), Changed: orNone(r.Rules.Changed)}, Events: r.Events, Judged: r.Judged,
		Counts: countsOf(r.Counts), ByRule: whatIfRows(r.ByRule), ByRoute: whatIfRows(r.ByRoute), ByAsset: whatIfRows(r.ByAsset), ByClient: whatIfRows(r.ByClient),
		Exact: r.Exact, Inexact: replayReasons(r.Inexact), Kept: r.Kept, ElapsedMS: r.ElapsedMS, PerSecond: r.PerSecond, Files: r.Files, Skipped: r.Skipped,
	}
	if f := r.Firewall; f != nil {
		out.Firewall = &console.WhatIfFirewall{Requests: f.Requests, Kept: f.Kept, Uncertain: f.Uncertain, ByRule: whatIfRows(f.ByRule)}
	}
	for _, e := range r.Examples {
		out.Examples = append(out.Examples, console.WhatIfExample{Kind: string(e.Kind), Event: e.Event, Time: e.Time, Rule: e.Rule, Before: e.Before, After: e.After, Sentence: e.Sentence})
	}
	return out
}

// orNone returns the list, an empty one for nil: it is written as [] then.
func orNone(list []string) []string { return append([]string{}, list...) }

func countsOf(c replay.Counts) map[string]int64 {
	out := make(map[string]int64, len(c))
	for k, n := range c {
		out[string(k)] = n
	}
	return out
}

func whatIfRows(rows []replay.ByOne) []console.WhatIfRow {
	out := make([]console.WhatIfRow, len(rows))
	for i, r := range rows {
		out[i] = console.WhatIfRow{Name: r.Name, Title: r.Title, Counts: countsOf(r.Counts), Before: r.Before, After: r.After, OrdersBefore: r.OrdersBefore, OrdersAfter: r.OrdersAfter}
	}
	return out
}

func replayReasons(reasons []replay.Reason) []console.ReplayReason {
	out := make([]console.ReplayReason, len(reasons))
	for i, r := range reasons {
		out[i] = console.ReplayReason(r)
	}
	return out
}

// ofFirewall reports whether a rule that reads the field goes by what the firewall found.
func ofFirewall(f signal.Field) bool {
	return slices.Contains([]signal.Field{signal.FieldWAFScore, signal.FieldWAFRules, signal.FieldWAFTargets, signal.FieldWAFCategories, signal.FieldWAFMessages}, f)
}

// Exceptions proposes how to free an event, for the console and the command. Sources are where the rules in force come
// from: each proposal is put beside them and tried. Exclusions from the firewall are tried with its settings.
func Exceptions(ctx context.Context, history *store.History, loader *policy.Loader, sources []policy.Source, live *policy.Set, firewall Guarding,
	q console.ExceptionQuery, progress func(float64)) (console.ExceptionReport, error) {
	none := console.ExceptionReport{}
	x, err := replay.Except(ctx, history, live, replay.ExceptionQuery{Event: q.Event, Rule: q.Rule, Since: q.Since, Until: q.Until, Progress: progress})
	switch {
	case errors.Is(err, store.ErrNotFound):
		return none, fmt.Errorf("event %s: %w", q.Event, console.ErrNotFound)
	case errors.Is(err, replay.ErrNothingToExcept):
		return none, &console.InputError{Field: "rule", Reason: err.Error()}
	case err != nil:
		return none, err
	}
	out := console.ExceptionReport{Event: q.Event.String(), Summary: policy.Printable(replay.Summary(x.Event), 200), Rule: x.Rule.ID, Title: x.Rule.Title, Fired: x.Fired,
		Exact: len(x.Inexact) == 0, Inexact: replayReasons(x.Inexact), Proposals: []console.Exception{}}
	if x.For != nil {
		out.For = x.For.ID
	}
	files, err := loader.Files(ctx, sources...)
	if err != nil {
		return none, err
	}
	for i := range x.Best {
		b := &x.Best[i]
		p := console.Exception{Text: b.String(), Freed: b.Freed, Suspect: b.Suspect, Suspects: orNone(b.Suspects)}
		for _, t := range b.Terms {
			p.Terms = append(p.Terms, console.ExceptionTerm{Field: t.Name(), Shape: string(t.Shape), Value: t.Value, Values: t.Values})
		}
		for _, e := range b.Examples {
			p.Examples = append(p.Examples, console.FreedEvent{Event: e.Event, Time: e.Time, Summary: e.Summary, Rules: orNone(e.Rules)})
		}
		if p.Examples == nil {
			p.Examples = []console.FreedEvent{}
		}
		w := exceptionWriter{loader: loader, files: files, rule: x.Rule, event: x.Event, exception: b}
		p.Change, p.How, p.Checked = w.write()
		p.Firewall = w.exclusion()
		out.Proposals = append(out.Proposals, p)
	}
	if x.Event.Has(signal.FieldWAFRules) && slices.ContainsFunc(match.Fields(x.Rule.Condition), ofFirewall) {
		kept, _, err := firewall.kept(ctx, "exception.sealed", q)
		if err != nil {
			return none, err
		}
		if kept != nil {
			defer kept.Close()
		}
		if out.Exclusions, err = exclusions(ctx, history, *firewall.WAF, kept, coverage.Load, x.Event, &q); err != nil {
			if !errors.Is(err, coverage.ErrNothingToExclude) {
				return none, err
			}
			out.NoExclusion = err.Error()
		}
	}
	return out, nil
}
