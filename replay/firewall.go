package replay

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

// A Firewall tries another setting of the web application firewall on recorded requests.
type Firewall interface {
	// Scope says which requests it may find otherwise: those of routes, none for all, and with clean those in which nothing was found too.
	Scope() (routes []string, clean bool)
	// Fields are those that its other methods read.
	Fields() []signal.Field
	// Find puts into a record what the firewall would have found. Where requests are kept its own was restored just now.
	Find(ctx context.Context, e *signal.Event) (Finding, error)
}

// Finding is what a changed firewall makes of one request. Its texts are valid as long as the event.
type Finding struct {
	Gone, New []string // firewall rules that match no more, or now
	Was, Is   []string // firewall rules that matched, and that would
	Flipped   bool     // an attack is none any more, or the other way round
	Kept      bool     // the request itself was asked about, not its record
	Doubt     string   // why that is not certain, one of few sentences; "" where it is
}

// FirewallReport says how a changed firewall was tried.
type FirewallReport struct {
	Requests  int64 `json:"requests"`  // that it was tried on
	Kept      int64 `json:"kept"`      // of them, those that were kept and asked about themselves
	Uncertain int64 `json:"uncertain"` // of them, those of which a part was estimated: see Report.Inexact
	// ByRule holds its rules: on how many requests each matched and would, and what becomes of the requests for which it makes the difference.
	ByRule []ByOne `json:"by_rule"`
}

// firewalled is the part of a replay that a changed firewall takes.
type firewalled struct {
	Firewall
	rules  []*policy.Rule // that differ at most by what it finds
	report FirewallReport
	byRule table
	doubts map[string]int64
	masked map[maskedRead]int64
	err    error
}

type maskedRead struct {
	field signal.Field
	rule  string
}

// readsFirewall reports whether a rule goes by what the firewall finds.
func readsFirewall(r *policy.Rule) bool {
	return r.Condition != nil && (match.ReadsAll(r.Condition) || slices.ContainsFunc(match.Fields(r.Condition), foundByFirewall))
}

func foundByFirewall(f signal.Field) bool {
	return slices.Contains([]signal.Field{signal.FieldWAFScore, signal.FieldWAFThreshold, signal.FieldWAFParanoia, signal.FieldWAFRules, signal.FieldWAFMessages,
		signal.FieldWAFTargets, signal.FieldWAFCategories}, f)
}

// touched is the condition of the records that the firewall may find otherwise.
func (f *firewalled) touched() match.Expr {
	routes, clean := f.Scope()
	x := match.And{match.Exists(signal.FieldWAFThreshold), match.Text(match.Operand{Field: signal.FieldMetadataLogProvider}, match.OpEqual, false, signal.PlaneEdge.String())}
	if !clean {
		x = append(x, match.Exists(signal.FieldWAFRules))
	}
	if len(routes) > 0 {
		x = append(x, match.Text(match.Operand{Field: signal.FieldEdgeRoute}, match.OpEqual, false, routes...))
	}
	return ofClasses([]signal.Class{signal.ClassHTTPActivity}, x)
}

// covers reports whether the firewall is asked about a record.
func (f *firewalled) covers(e *signal.Event) bool {
	routes, clean := f.Scope()
	return e.Plane == signal.PlaneEdge && e.Class == signal.ClassHTTPActivity && e.Parent.IsZero() && e.Has(signal.FieldWAFThreshold) &&
		(clean || e.Has(signal.FieldWAFRules)) && (len(routes) == 0 || slices.Contains(routes, e.Str(signal.FieldEdgeRoute)))
}

// count adds a finding to the report.
func (f *firewalled) count(e *signal.Event, x *Finding) {
	f.report.Requests++
	if x.Kept {
		f.report.Kept++
	}
	for _, id := range x.Was {
		f.byRule.of(id).Before++
	}
	for _, id := range x.Is {
		f.byRule.of(id).After++
	}
	uncertain := x.Doubt != ""
	if uncertain {
		f.doubts[x.Doubt]++
	}
	if !x.Kept && (x.Flipped || len(x.Gone)+len(x.New) > 0) {
		for _, r := range f.rules {
			for _, field := range match.Fields(r.Condition) {
				if e.IsMasked(field) {
					uncertain = true
					f.masked[maskedRead{field, r.ID}]++
				}
			}
		}
	}
	if uncertain {
		f.report.Uncertain++
	}
}

// differs notes what becomes of a request by the firewall rules that make the difference.
func (f *firewalled) differs(x *Finding, k Kind) {
	rules := slices.Concat(x.Gone, x.New)
	if len(rules) == 0 {
		rules = x.Was
	}
	for _, id := range rules {
		f.byRule.add(id, k)
	}
}

// why says in words what is otherwise with the firewall.
func (f *firewalled) why(score, threshold int64, e *signal.Event, x *Finding) string {
	s := fmt.Sprintf("scored %d of %d, would score %d of %d", score, threshold, e.Int(signal.FieldWAFScore), e.Int(signal.FieldWAFThreshold))
	if len(x.Gone) > 0 {
		s += ", without " + few(x.Gone)
	}
	if len(x.New) > 0 {
		s += ", with " + few(x.New)
	}
	if x.Doubt != "" {
		s += " (uncertain)"
	}
	return s
}

func few(ids []string) string {
	if len(ids) > 4 {
		return strings.Join(ids[:4], ", ") + fmt.Sprintf(" and %d more", len(ids)-4)
	}
	return strings.Join(ids, ", ")
}

// reasons says what was uncertain.
func (f *firewalled) reasons() []Reason {
	var out []Reason
	for text, n := range f.doubts {
		out = append(out, Reason{text, n})
	}
	byField := map[signal.Field][]string{}
	most := map[signal.Field]int64{}
	for at, n := range f.masked {
		byField[at.field] = append(byField[at.field], at.rule)
		most[at.field] = max(most[at.field], n)
	}
	for field, rules := range byField {
		out = append(out, Reason{fmt.Sprintf("%s was masked when it was recorded, and is read by %s where the firewall finds something else", field.Name(), names(rules)), most[field]})
	}
	slices.SortFunc(out, func(a, b Reason) int { return strings.Compare(a.Reason, b.Reason) })
	return out
}
