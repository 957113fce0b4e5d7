package replay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
)

// Term is one part of an exception: what the value of a field is like, or of an attribute outside of the field table.
type Term struct {
	Field signal.Field // 0 for Attr
	Attr  string
	Shape Shape
	// Value is the text, or the regular expression (RE2, anchored); Values are the elements of ShapeAmong.
	Value  string
	Values []string
}

// Shape is how a term compares.
type Shape string

// The shapes.
const (
	ShapeIs    Shape = "is"    // the value is this text
	ShapeLike  Shape = "like"  // the value fits this pattern
	ShapeAmong Shape = "among" // the list has elements, and none but these
)

// Expr returns the term as a condition.
func (t *Term) Expr() match.Expr {
	on := match.Operand{Field: t.Field, Attr: t.Attr}
	switch t.Shape {
	case ShapeLike:
		return &match.Atom{On: on, Op: match.OpRegex, Regex: compileShape(t.Value)}
	case ShapeAmong:
		return match.And{match.Exists(t.Field), &match.Loop{List: on, Every: true, Body: match.Text(match.Operand{Elem: true}, match.OpEqual, false, t.Values...)}}
	}
	return match.Text(on, match.OpEqual, false, t.Value)
}

// Name returns the name of the field or attribute.
func (t *Term) Name() string {
	if t.Attr != "" {
		return t.Attr
	}
	return t.Field.Name()
}

// String returns the term for people.
func (t *Term) String() string {
	switch t.Shape {
	case ShapeLike:
		return fmt.Sprintf("%s fits %s", t.Name(), t.Value)
	case ShapeAmong:
		return fmt.Sprintf("%s has none but %q", t.Name(), t.Values)
	}
	return fmt.Sprintf("%s is %q", t.Name(), t.Value)
}

// Exception is a condition under which a rule is not to fire: all of its terms hold.
type Exception struct {
	Terms []Term
	// Freed are the other events on which the rule fired, and would not.
	Freed int64
	// Suspect are those of them on which other rules fire too; Suspects names the rules.
	Suspect  int64
	Suspects []string
	Examples []FreedEvent

	context bool // its terms are not about what the rule looked at
}

// FreedEvent is an event that an exception frees.
type FreedEvent struct {
	Event   string
	Time    time.Time
	Summary string   // in recorded forms
	Rules   []string // others that fire on it
}

// Expr returns the exception as a condition.
func (x *Exception) Expr() match.Expr {
	var all match.And
	for i := range x.Terms {
		all = append(all, x.Terms[i].Expr())
	}
	return all
}

// String returns the exception for people.
func (x *Exception) String() string {
	parts := make([]string, len(x.Terms))
	for i := range x.Terms {
		parts[i] = x.Terms[i].String()
	}
	return strings.Join(parts, ", and ")
}

// Apply returns a rule that does not fire where the exception holds.
func (x *Exception) Apply(r *policy.Rule) *policy.Rule {
	out := *r
	out.Condition = match.And{r.Condition, match.Not{Part: x.Expr()}}
	out.When = "(" + r.When + ") except " + x.String()
	return &out
}

// Exceptions are proposals that free an event.
type Exceptions struct {
	Event *signal.Event // recorded form
	Rule  *policy.Rule  // the one to except from
	// For is the rule that was asked about, where that is a correlation: Rule is then one that it feeds on.
	For     *policy.Rule
	Fired   int64       // events of the time on which Rule fires
	Best    []Exception // those that free the fewest others first
	Inexact []Reason
}

// ExceptionQuery says what is to be freed, and on which records a proposal is tried.
type ExceptionQuery struct {
	Event        signal.ID
	Rule         string // "" for the one that decided
	Since, Until time.Time
	Limit        int // proposals; 0 for 5
	Progress     func(done float64)
}

// ErrNothingToExcept says that no rule fires on the event, or not the one that was named.
var ErrNothingToExcept = errors.New("nothing to except from")

// maxCandidates bounds the exceptions that are tried.
const maxCandidates = 64

// Except proposes the narrowest exceptions that free an event from a rule: which value of which field, exactly or
// by its shape, on which route. Each is tried on what is recorded: how many other events it frees, and
// whether these look like attacks to other rules. It returns store.ErrNotFound where the event is not kept, and
// ErrNothingToExcept.
func Except(ctx context.Context, h History, set *policy.Set, q ExceptionQuery) (*Exceptions, error) {
	e, err := find(ctx, h, q.Event)
	if err != nil {
		return nil, err
	}
	out := &Exceptions{Event: e.Recorded()}
	r := recordOf(e)
	asJudged(e, &r)
	if err := out.choose(set, e, &r, q.Rule); err != nil {
		return nil, err
	}
	trial := exceptionTrial{out: out, target: q.Event, candidates: candidates(out.Rule, e)}
	if len(trial.candidates) == 0 {
		return nil, fmt.Errorf("event %s, rule %s: %w: the values that rule and event have in common were masked when they were recorded", q.Event, out.Rule.ID, ErrNothingToExcept)
	}
	if err := trial.run(ctx, h, set, &q); err != nil {
		return nil, err
	}
	out.Best = trial.best(cmp.Or(q.Limit, 5))
	return out, nil
}

// find returns a copy of the event of that id: it looks around the time that the id holds first.
func find(ctx context.Context, h History, id signal.ID) (*signal.Event, error) {
	var ms int64
	for _, b := range id[:6] {
		ms = ms<<8 | int64(b)
	}
	at := time.UnixMilli(ms)
	for _, q := range []store.Query{{ID: id, Since: at.Add(-time.Hour), Until: at.Add(time.Hour)}, {ID: id}} {
		var e *signal.Event
		if _, err := h.Scan(ctx, q, func(found *signal.Event) bool {
			var own signal.Event // the strings of the one found live in the memory of the scan
			if frames := signal.ReadFrames(found.AppendFrame(nil)); frames.Next(&own) {
				e = &own
			}
			return false
		}); err != nil {
			return nil, err
		}
		if e != nil {
			return e, nil
		}
	}
	return nil, fmt.Errorf("event %s: %w", id, store.ErrNotFound)
}

// choose finds the rule to except from.
func (x *Exceptions) choose(set *policy.Set, e *signal.Event, rec *record, id string) error {
	fires := func(r *policy.Rule) bool {
		return r != nil && r.Condition != nil && !r.Disabled && (r.On == nil || slices.Contains(r.On, e.Class)) && match.Eval(r.Condition, e) == match.Yes
	}
	var chosen *policy.Rule
	if id != "" {
		if chosen = set.Rule(id); chosen == nil {
			return fmt.Errorf("%w: there is no rule %s", ErrNothingToExcept, policy.Printable(id, 100))
		}
	} else {
		for _, r := range set.Rules() {
			told := fires(r) && !r.Silent || r.Correlation != nil && slices.Contains(rec.rules, r.ID)
			if told && (chosen == nil || r.Then > chosen.Then) {
				chosen = r
			}
		}
		if chosen == nil {
			return fmt.Errorf("%w: no rule in force fires on event %s", ErrNothingToExcept, e.ID)
		}
	}
	x.Rule = chosen
	if chosen.Correlation != nil {
		x.For = chosen
		for _, ref := range chosen.Correlation.Of {
			if r := set.Rule(idOf(set, ref.Rule)); fires(r) {
				x.Rule = r
				return nil
			}
		}
	}
	if !fires(x.Rule) {
		return fmt.Errorf("%w: rule %s does not fire on event %s; testudo explain %s --rule %s says why", ErrNothingToExcept, x.Rule.ID, e.ID, e.ID, x.Rule.ID)
	}
	return nil
}

// exceptionTrial tries candidates on what is recorded.
type exceptionTrial struct {
	out        *Exceptions
	target     signal.ID
	candidates []Exception
	exprs      []match.Expr
	others     *policy.Engine
}

func (t *exceptionTrial) run(ctx context.Context, h History, set *policy.Set, q *ExceptionQuery) error {
	r := t.out.Rule
	alone := &change{matter: []*policy.Rule{r}}
	x := alone.relevant()
	judging := readsOf(set)
	judging.add(recordFields()...)
	judging.add(groupFields()...)
	for i := range t.candidates {
		t.exprs = append(t.exprs, t.candidates[i].Expr())
		judging.add(match.Fields(t.exprs[i])...)
	}
	var rest []*policy.Rule
	for _, other := range set.Rules() {
		// What correlations make of an event depends on others, which are not judged here.
		if other != r && other.Correlation == nil {
			rest = append(rest, other)
		}
	}
	others, err := policy.NewSet(rest)
	if err != nil {
		return err
	}
	t.others = policy.NewEngine(others)
	asking := reads{}
	asking.condition(x)
	query := store.Query{Since: q.Since, Until: q.Until, Classes: r.On, Filter: filterOf(x), Columns: judging.columns(), Unmapped: judging.unmapped,
		Where: func(e *signal.Event) bool { return match.Eval(x, e) != match.No }, WhereColumns: asking.columns(), WhereUnmapped: asking.unmapped,
		Masks: maskable(match.Fields(r.Condition))}
	if q.Progress != nil {
		most := 0
		query.Progress = func(left int) {
			most = max(most, left)
			q.Progress(float64(most-left) / float64(most))
		}
	}
	got, err := h.Scan(ctx, query, func(e *signal.Event) bool {
		t.event(e)
		return true
	})
	w := whatIf{change: alone}
	t.out.Inexact = append(w.maskReasons(got.Masked), lacks(&got)...)
	return err
}

func (t *exceptionTrial) event(e *signal.Event) {
	rec := recordOf(e)
	asJudged(e, &rec)
	if match.Eval(t.out.Rule.Condition, e) != match.Yes {
		return
	}
	t.out.Fired++
	if e.ID == t.target {
		return
	}
	var rules []string
	judged := false
	for i := range t.candidates {
		if match.Eval(t.exprs[i], e) != match.Yes {
			continue
		}
		if !judged {
			judged = true
			v := t.others.Judge(e)
			for k := range v.Hits {
				rules = append(rules, v.Hits[k].Rule)
			}
		}
		t.candidates[i].free(e, rules)
	}
}

// free counts an event that the exception frees.
func (x *Exception) free(e *signal.Event, rules []string) {
	x.Freed++
	if len(rules) > 0 {
		x.Suspect++
		for _, id := range rules {
			if !slices.Contains(x.Suspects, id) && len(x.Suspects) < 20 {
				x.Suspects = append(x.Suspects, id)
			}
		}
	}
	one := FreedEvent{Event: e.ID.String(), Time: time.Unix(0, e.Time).UTC(), Summary: policy.Printable(Summary(e), 200), Rules: rules}
	switch {
	case len(x.Examples) < examplesOfOne:
		x.Examples = append(x.Examples, one)
	case len(rules) > 0 && len(x.Examples[examplesOfOne-1].Rules) == 0: // those that look like attacks are of more interest
		x.Examples[examplesOfOne-1] = one
		slices.SortStableFunc(x.Examples, func(a, b FreedEvent) int { return cmp.Compare(len(b.Rules), len(a.Rules)) })
	}
}

// best returns the candidates that free the fewest others, of those that free as many the ones that are about what the
// rule looked at, and of these the narrowest.
func (t *exceptionTrial) best(limit int) []Exception {
	slices.SortStableFunc(t.candidates, func(a, b Exception) int {
		return cmp.Or(cmp.Compare(a.Suspect, b.Suspect), cmp.Compare(a.Freed, b.Freed), cmp.Compare(a.general(), b.general()),
			cmp.Compare(flag(a.context), flag(b.context)), cmp.Compare(len(b.Terms), len(a.Terms)))
	})
	type reach struct {
		suspect, freed int64
		general        int
	}
	seen := make(map[reach]bool)
	var out []Exception
	for _, x := range t.candidates {
		if k := (reach{x.Suspect, x.Freed, min(1, x.general())}); !seen[k] && len(out) < limit {
			seen[k] = true
			out = append(out, x)
		}
	}
	return out
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

// general counts the terms that stand for more than one value.
func (x *Exception) general() int {
	n := 0
	for i := range x.Terms {
		if x.Terms[i].Shape == ShapeLike {
			n++
		}
	}
	return n
}
