package policy

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/testudo-sec/testudo/policy/match"
)

// RuleCost says how the set's index serves a rule.
type RuleCost struct {
	Rule *Rule
	Plan match.Plan
}

// Costs returns how each enabled rule with a condition is served, those that no index can serve first, then the costliest
// first.
func (s *Set) Costs() []RuleCost {
	var costs []RuleCost
	for i, r := range s.rules {
		if r.Condition != nil && !r.Disabled {
			costs = append(costs, RuleCost{r, s.index.Plan(i)})
		}
	}
	slices.SortStableFunc(costs, func(a, b RuleCost) int {
		if a.Plan.Residual != b.Plan.Residual {
			if a.Plan.Residual {
				return -1
			}
			return 1
		}
		return cmp.Compare(b.Plan.EventCost(), a.Plan.EventCost())
	})
	return costs
}

// The bounds of a printed report on costs.
const (
	costliest  = 20 // rules
	shownCost  = 3  // things that a rule waits for
	shownWidth = 160
)

// PrintCosts writes the rules that no index can serve, each with the reason, then the costliest of the others with what
// they wait for, and sums.
func (s *Set) PrintCosts(w io.Writer) error {
	costs, totals := s.Costs(), s.index.Totals()
	var b strings.Builder
	if totals.Residual > 0 {
		fmt.Fprintf(&b, "%d rules are evaluated for every event of their classes:\n", totals.Residual)
	}
	table := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	for _, c := range costs {
		if c.Plan.Residual {
			fmt.Fprintf(table, "  %s\t%s\t%s\t%s\n", nanoseconds(c.Plan.Cost), classNames(c.Rule), Printable(c.Rule.ID, 100), Printable(c.Plan.Why, shownWidth))
		}
	}
	table.Flush()
	costs = slices.DeleteFunc(costs, func(c RuleCost) bool { return c.Plan.Residual || len(c.Plan.Access) == 0 })
	if len(costs) > 0 {
		fmt.Fprintf(&b, "%d rules wait for something that an event must have; the costliest, by what they are estimated to cost an event:\n", len(costs))
	}
	for _, c := range costs[:min(len(costs), costliest)] {
		access := c.Plan.Access
		shown := strings.Join(access[:min(len(access), shownCost)], " | ")
		if more := len(access) - shownCost; more > 0 {
			shown += fmt.Sprintf(" | %d more", more)
		}
		if c.Plan.Gate != "" {
			shown += ", where " + c.Plan.Gate
		}
		fmt.Fprintf(table, "  %s\t%s\t%s\n", nanoseconds(c.Plan.EventCost()), Printable(c.Rule.ID, 100), Printable(shown, shownWidth))
	}
	table.Flush()
	fmt.Fprintf(&b, "%d rules, %d of them for every event; %d different atoms, %d shared; %d values looked for in %d places; %.1f MB of tables\n",
		totals.Rules, totals.Residual, totals.Atoms, totals.Shared, totals.Tokens, totals.Columns, float64(totals.Bytes)/1e6)
	_, err := io.WriteString(w, b.String())
	return err
}

func nanoseconds(ns float64) string {
	if ns < 10 {
		return fmt.Sprintf("%.1f ns", ns)
	}
	return fmt.Sprintf("%.0f ns", ns)
}

// classNames returns the classes that a rule reads.
func classNames(r *Rule) string {
	if r.On == nil {
		return "all classes"
	}
	names := make([]string, len(r.On))
	for i, c := range r.On {
		names[i] = c.String()
	}
	return strings.Join(names, ", ")
}
