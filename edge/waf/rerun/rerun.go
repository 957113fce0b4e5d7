package rerun

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/testudo-sec/testudo/edge"
	"github.com/testudo-sec/testudo/edge/waf"
	"github.com/testudo-sec/testudo/edge/waf/seclang"
	"github.com/testudo-sec/testudo/signal"
)

// Rerun tries one change. It is for one goroutine.
type Rerun struct {
	change  Change
	live    waf.Config
	changed waf.Config
	dir     string // of uploads

	program  *seclang.Program      // as changed
	rules    map[int]*seclang.Rule // of both, those of the changed program first
	diff     *difference
	reads    map[[2]int][]seclang.Target // what rules between two levels look at
	was, is  *waf.WAF                    // made when a request needs them
	compiled sync.Once
	err      error
}

// New reads the change. Directives that do not compile, or that the fast engine does not cover, are an error. Close frees what it holds.
func New(live waf.Config, c Change) (*Rerun, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	live.Engine = waf.EngineFast // the verdicts are the same
	r := &Rerun{change: c, live: live, changed: live, rules: map[int]*seclang.Rule{}, reads: map[[2]int][]seclang.Target{}, diff: &difference{}}
	var before *seclang.Program
	var err error
	if before, err = waf.Program(live); err != nil {
		return nil, fmt.Errorf("the firewall's rules as they are cannot be tried again, because Coraza executes them: %w", err)
	}
	r.program = before
	if c.directs() {
		r.changed.Before, r.changed.After = join(live.Before, c.Before), join(live.After, c.After)
		uncovered, err := waf.Check(r.changed)
		if err != nil {
			return nil, err
		}
		if len(uncovered) > 0 {
			return nil, fmt.Errorf("not tried, because the fast engine does not cover it: %v", uncovered[0])
		}
		if r.program, err = waf.Program(r.changed); err != nil {
			return nil, err
		}
		r.diff = compare(before, r.program)
	}
	for _, p := range []*seclang.Program{before, r.program} {
		for _, rule := range p.Rules {
			if rule.ID != 0 {
				r.rules[rule.ID] = rule
			}
		}
	}
	if r.dir, err = os.MkdirTemp("", "testudo-rerun-"); err != nil {
		return nil, err
	}
	return r, nil
}

func join(a, b string) string {
	if strings.TrimSpace(a) == "" {
		return b
	}
	return strings.TrimRight(a, "\n") + "\n" + b
}

// Close frees what the rerun holds.
func (r *Rerun) Close() { _ = os.RemoveAll(r.dir) }

// Clean reports whether the change may matter to requests in which nothing was found, too.
func (r *Rerun) Clean() bool { return r.diff.adds || r.change.Paranoia > 1 }

// Routes are those that the change is tried on; none for all.
func (r *Rerun) Routes() []string { return r.change.Routes }

// How is how far a finding can be relied on.
type How string

// From certain to less so.
const (
	Exact   How = "exact"   // the record, or the request itself, says it all
	Bounded How = "bounded" // which rule a part of the score is of was not recorded, and the decision hangs on it
	Masked  How = "masked"  // a value that the change depends on was masked
	Unread  How = "unread"  // the firewall could not be asked
)

// Finding is what the changed firewall makes of a record.
type Finding struct {
	How        How
	Kept       bool     // the request itself was asked about
	Gone, New  []string // rules that match no more, or now
	Score      int
	Flipped    bool // an attack is none any more, or the other way round
	Rules, Was []string
}

// Find puts into the record of a request what the changed firewall would have found. The request is nil where it was not kept. A record that
// the firewall did not look at, or that is none of a request, stays as it is.
func (r *Rerun) Find(ctx context.Context, e *signal.Event, m *edge.Received) (Finding, error) {
	score, threshold := int(e.Int(signal.FieldWAFScore)), int(e.Int(signal.FieldWAFThreshold))
	f := Finding{How: Exact, Score: score, Was: e.Strings(signal.FieldWAFRules)}
	f.Rules = f.Was
	if !e.Parent.IsZero() || !e.Has(signal.FieldWAFThreshold) || !e.Has(signal.FieldWAFScore) || len(r.change.Routes) > 0 && !slices.Contains(r.change.Routes, e.Str(signal.FieldEdgeRoute)) {
		return f, nil
	}
	level, to := max(1, int(e.Int(signal.FieldWAFParanoia))), r.change.Paranoia
	if to == 0 {
		to = level
	}
	after := threshold
	if r.change.Threshold > 0 {
		after = r.change.Threshold
	}
	found := findingsOf(e)
	var next []finding
	low := score
	switch {
	case e.Has(signal.FieldWAFError):
		f.How, next = Unread, found // the route's fail mode decided
	case !r.change.directs() && to == level, len(found) == 0 && !r.diff.adds && to <= level:
		next = found
	case m != nil:
		one, err := r.judge(ctx, exchange(m, e, to), m, true, nil)
		if err != nil {
			return f, err
		}
		if f.Kept = one.err == nil; one.err != nil {
			f.How, next = Unread, found
			break
		}
		next, f.Score, low = one.found, one.score, one.score
	default:
		var err error
		if next, low, err = r.estimate(ctx, e, found, level, to, &f); err != nil {
			return f, err
		}
	}
	if (low >= after) != (f.Score >= after) && f.How == Exact {
		f.How = Bounded
	}
	f.Flipped = (score >= threshold) != (f.Score >= after)
	f.Gone, f.New = missing(found, next), missing(next, found)
	r.write(e, next, &f, to, after)
	return f, nil
}

// estimate takes what is gone out of what was found, and adds what the change finds in a request made of the record. Score is the most it can be, low the least.
func (r *Rerun) estimate(ctx context.Context, e *signal.Event, found []finding, level, to int, f *Finding) (next []finding, low int, err error) {
	var before, after outcome
	asks := r.change.directs() || to > level
	gone := func(x *finding) (left, known bool) { return false, true }
	if asks {
		m := recorded(e, stand)
		if before, err = r.judge(ctx, exchange(m, e, level), m, false, nil); err != nil {
			return nil, 0, err
		}
		if after, err = r.judge(ctx, exchange(m, e, to), m, true, found); err != nil {
			return nil, 0, err
		}
		if before.err != nil || after.err != nil {
			f.How = Unread
			return found, f.Score, nil
		}
		if len(found) > 0 && !allInClear(e, r.diff.asks) {
			// An exclusion that goes by a value which is not known counts where it holds whatever that is.
			odd := recorded(e, oddStand)
			other, err := r.judge(ctx, exchange(odd, e, to), odd, true, found)
			if err != nil {
				return nil, 0, err
			}
			for rule, left := range after.left {
				after.left[rule] = left && other.left[rule]
			}
		}
		gone = func(x *finding) (bool, bool) { left, known := after.left[x.rule]; return left, known }
	}
	stay, left, partial := 0, 0, false
	total := 0
	for i := range found {
		x := found[i]
		id, _ := strconv.Atoi(x.rule)
		rule := r.rules[id]
		weight := r.weight(id)
		total += weight
		out, known := gone(&x)
		switch {
		case rule != nil && levelOf(rule) > to, known && out && r.diff.touched[id]:
			left += weight
			continue
		case before.has(x.rule) && !after.has(x.rule) && r.diff.touched[id]:
			left += weight
			continue
		case !known:
			f.How = Unread
		}
		partial = partial || r.diff.touched[id]
		stay += weight
		next = append(next, x)
	}
	beyond := max(0, f.Score-total) // matches in further values, of rules that are not told
	switch {
	case left == 0 && !partial:
		low = f.Score
	case stay == 0:
		f.Score, low = 0, 0
	default:
		f.Score = max(0, f.Score-left)
		low = max(min(stay, f.Score), f.Score-beyond)
	}
	if len(found) >= maxRecorded && (left > 0 || partial) {
		f.How = Masked
	}
	if asks {
		for i := range after.found {
			if x := after.found[i]; !before.has(x.rule) && !slices.ContainsFunc(next, func(y finding) bool { return y.rule == x.rule }) {
				next = append(next, x)
			}
		}
		more := after.score - before.score
		for i := range before.found {
			if id, _ := strconv.Atoi(before.found[i].rule); !after.has(before.found[i].rule) {
				more += r.weight(id)
			}
		}
		f.Score, low = f.Score+max(0, more), low+max(0, more)
		if !r.certain(e, len(next) > 0 || len(found) > 0, level, to) {
			f.How = Masked
		}
	}
	return next, low, nil
}

// maxRecorded is how many rules of a request are recorded.
const maxRecorded = 64

// certain reports whether everything that the change depends on was recorded as it was sent.
func (r *Rerun) certain(e *signal.Event, any bool, level, to int) bool {
	if !allInClear(e, r.diff.reads) || any && !allInClear(e, r.diff.asks) {
		return false
	}
	if to > level {
		key := [2]int{level, to}
		if _, ok := r.reads[key]; !ok {
			r.reads[key] = raised(r.program, level, to)
		}
		return allInClear(e, r.reads[key])
	}
	return true
}

func (r *Rerun) weight(id int) int {
	switch id {
	case 200002, 200003, 200901:
		return 5 // the firewall adds it by itself
	}
	if rule := r.rules[id]; rule != nil {
		return weightOf(rule)
	}
	return 5 // a rule of former settings
}

// finding is one rule that matched.
type finding struct{ rule, message, target string }

func findingsOf(e *signal.Event) []finding {
	rules, messages, targets := e.Strings(signal.FieldWAFRules), e.Strings(signal.FieldWAFMessages), e.Strings(signal.FieldWAFTargets)
	out := make([]finding, len(rules))
	for i := range rules {
		out[i].rule = rules[i]
		if i < len(messages) {
			out[i].message = messages[i]
		}
		if i < len(targets) {
			out[i].target = targets[i]
		}
	}
	return out
}

func missing(a, b []finding) []string {
	var out []string
	for i := range a {
		if !slices.ContainsFunc(b, func(x finding) bool { return x.rule == a[i].rule }) {
			out = append(out, a[i].rule)
		}
	}
	return out
}

// write puts what was found into the record.
func (r *Rerun) write(e *signal.Event, next []finding, f *Finding, level, threshold int) {
	truncated := slices.Contains(e.Strings(signal.FieldWAFCategories), waf.TruncatedBody)
	e.SetInt(signal.FieldWAFScore, int64(f.Score))
	e.SetInt(signal.FieldWAFThreshold, int64(threshold))
	e.SetInt(signal.FieldWAFParanoia, int64(level))
	rules, messages, targets := make([]string, len(next)), make([]string, len(next)), make([]string, len(next))
	var categories []string
	for i := range next {
		rules[i], messages[i], targets[i] = next[i].rule, next[i].message, next[i].target
		id, _ := strconv.Atoi(next[i].rule)
		if rule := r.rules[id]; rule != nil {
			for _, tag := range rule.Tags {
				if strings.HasPrefix(tag, "attack-") && !slices.Contains(categories, tag) {
					categories = append(categories, tag)
				}
			}
		}
	}
	if truncated {
		categories = append(categories, waf.TruncatedBody)
	}
	f.Rules = rules
	e.SetStrings(signal.FieldWAFRules, rules)
	e.SetStrings(signal.FieldWAFMessages, messages)
	e.SetStrings(signal.FieldWAFTargets, targets)
	e.SetStrings(signal.FieldWAFCategories, categories)
}

// outcome is what a firewall made of a request.
type outcome struct {
	score int
	found []finding
	err   error
	left  map[string]bool // of rules that were found before: they are left out
}

func (o *outcome) has(rule string) bool {
	return slices.ContainsFunc(o.found, func(x finding) bool { return x.rule == rule })
}

// judge asks the firewall as it is, or as changed. The error is the context's, or says that the rules do not compile.
func (r *Rerun) judge(ctx context.Context, x edge.Exchange, m *edge.Received, changed bool, found []finding) (outcome, error) {
	if err := ctx.Err(); err != nil {
		return outcome{}, err
	}
	r.compiled.Do(r.compile)
	if r.err != nil {
		return outcome{}, r.err
	}
	w := r.was
	if changed {
		w = r.is
	}
	i := w.Begin(ctx, x)
	defer i.Close()
	res, limit := i.Headers()
	if limit > 0 {
		body, truncated := m.Body, m.Truncated
		if int64(len(body)) > limit {
			body, truncated = body[:limit], true
		}
		res = i.Body(body, truncated)
	}
	out := outcome{score: res.Score, err: res.Err, left: map[string]bool{}}
	for n := range res.Rules {
		out.found = append(out.found, finding{res.Rules[n], res.Messages[n], res.Targets[n]})
	}
	for n := range found {
		id, _ := strconv.Atoi(found[n].rule)
		switch id {
		case 200002, 200003, 200901:
			out.left[found[n].rule] = false
			continue
		}
		if left, known := waf.LeftOut(i, id, found[n].target); known {
			out.left[found[n].rule] = left
		}
	}
	return out, nil
}

// compile makes the engines.
func (r *Rerun) compile() {
	r.was, r.err = waf.New(r.live, r.dir)
	r.is = r.was
	if r.err == nil && r.change.directs() {
		r.is, r.err = waf.New(r.changed, r.dir)
	}
	if r.err == nil && len(r.was.Uncovered())+len(r.is.Uncovered()) > 0 {
		r.err = errors.New("the fast engine does not cover the rules")
	}
}
