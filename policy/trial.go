package policy

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

// TestReport is what `testudo rule test` says.
type TestReport struct {
	Rules    int       `json:"rules"`    // in the set
	Untested []string  `json:"untested"` // ids of rules without a test
	Tests    int       `json:"tests"`
	Failures []Failure `json:"failures"`
}

// Failure is a test that came out otherwise than it says.
type Failure struct {
	Rule   string   `json:"rule"`
	Test   string   `json:"test"`
	File   string   `json:"file"`
	Line   int      `json:"line"`
	Step   int      `json:"step,omitempty"` // from 1, where the test has several
	Got    string   `json:"got"`
	Want   string   `json:"want"`
	Values []string `json:"values"` // "field=value" of what the condition reads
}

// OK reports whether every test passed.
func (r *TestReport) OK() bool { return len(r.Failures) == 0 }

// RunTests runs the tests that stand beside the rules of the set. Each test has an engine
// of its own that judges by its rule and those that it refers to alone, disabled rules as if they were
// enabled, so that tests do not see each other's windows. It returns ctx's error where that ends it.
func RunTests(ctx context.Context, set *Set) (*TestReport, error) {
	report := &TestReport{Rules: set.Len()}
	for _, r := range set.Rules() {
		if len(r.Tests) == 0 {
			if r.PartOf == "" {
				report.Untested = append(report.Untested, r.ID)
			}
			continue
		}
		rules := set.closure(r)
		for i, o := range rules {
			if o.Disabled || o.Silent && o == r {
				on := *o
				on.Disabled, on.Silent, rules[i] = false, o.Silent && o != r, &on
			}
			if o == r {
				r = rules[i]
			}
		}
		alone, err := NewSet(rules)
		if err != nil {
			return nil, err
		}
		for i := range r.Tests {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			report.Tests++
			if f := runTest(alone, r, &r.Tests[i]); f != nil {
				report.Failures = append(report.Failures, *f)
			}
		}
	}
	return report, nil
}

// runTest returns the first step that fails, or nil.
func runTest(alone *Set, r *Rule, t *Test) *Failure {
	engine := NewEngine(alone)
	for i, step := range t.Steps {
		v := engine.Judge(step.Event)
		top, decision := hitOf(&v, r.ID), signal.Allow
		if top != nil {
			decision = top.Decision
		}
		got, want := "does not fire", "does not fire"
		if top != nil {
			got = "fires"
		}
		if step.Fires {
			want = "fires"
		}
		if step.Decision != nil {
			want += ", decides " + step.Decision.String()
			got += ", decides " + decision.String()
		}
		if step.Orders != nil {
			want += ", orders " + list(step.Orders)
			var orders []string
			if top != nil {
				for _, o := range top.Orders {
					orders = append(orders, o.Kind+" "+o.Target)
				}
			}
			slices.Sort(orders)
			got += ", orders " + list(orders)
		}
		if got == want {
			continue
		}
		if in, _ := engine.Info(r.ID); in.Faults > 0 {
			got += " (its condition could not be worked out for this event)"
		}
		f := &Failure{Rule: r.ID, Test: t.Name, File: r.File, Line: step.Line, Got: got, Want: want, Values: values(r, step.Event)}
		if len(t.Steps) > 1 {
			f.Step = i + 1
		}
		return f
	}
	return nil
}

// hitOf returns the hit of that rule, or nil.
func hitOf(v *signal.Verdict, rule string) *signal.Hit {
	for i := range v.Hits {
		if v.Hits[i].Rule == rule {
			return &v.Hits[i]
		}
	}
	return nil
}

func list(items []string) string {
	if len(items) == 0 {
		return "nothing"
	}
	return strings.Join(items, " and ")
}

// values returns what the rule's condition read of the event.
func values(r *Rule, e *signal.Event) []string {
	var out []string
	if c := r.Correlation; c != nil {
		for _, reading := range slices.Concat(c.GroupBy, c.Value) {
			if text, ok := reading.From.Text(e); ok {
				out = append(out, reading.Name+"="+Printable(text, 120))
			} else {
				out = append(out, reading.Name+" is not set")
			}
		}
		return out
	}
	for _, f := range match.Fields(r.Condition) {
		if f.IsHeader() && e.RecordedText(f) == "" {
			continue // every event has it, and a test seldom sets it
		}
		if !e.Has(f) {
			out = append(out, f.Name()+" is not set")
			continue
		}
		v := Printable(e.RecordedText(f), 120)
		switch f.Kind() {
		case signal.KindString:
			v = `"` + v + `"`
		case signal.KindStrings:
			v = "[" + v + "]"
		}
		out = append(out, f.Name()+"="+v)
	}
	return out
}

// Print writes one line a failing test, and last how many passed.
func (r *TestReport) Print(w io.Writer) error {
	for _, f := range r.Failures {
		step := ""
		if f.Step > 0 {
			step = fmt.Sprintf(" event %d", f.Step)
		}
		values := strings.Join(f.Values, ", ")
		if values == "" {
			values = "no fields"
		}
		if _, err := fmt.Fprintf(w, "%s:%d: rule %s: test %q%s: %s, want %s; %s\n",
			Printable(f.File, 1000), f.Line, f.Rule, Printable(f.Test, 200), step, f.Got, f.Want, values); err != nil {
			return err
		}
	}
	if len(r.Untested) > 0 {
		names := r.Untested[:min(10, len(r.Untested))]
		more := ""
		if over := len(r.Untested) - len(names); over > 0 {
			more = fmt.Sprintf(" and %d more", over)
		}
		if _, err := fmt.Fprintf(w, "without tests: %s%s\n", strings.Join(names, ", "), more); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "%d of %d tests passed, %d rules\n", r.Tests-len(r.Failures), r.Tests, r.Rules)
	return err
}
