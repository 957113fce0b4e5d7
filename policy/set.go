package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/policy/match"
)

// Set is a compiled set of rules. It is immutable and safe for concurrent use; several
// engines may judge by one.
type Set struct {
	rules   []*Rule // by id
	digest  string
	links   links
	judging []string // of each rule, the digest by which its state survives
	index   *match.Index
}

// NewSet returns the set of these rules, in the order of their ids, or [Problems] that
// name both places of each id that stands twice, fields that no rule can read, and what is wrong with
// correlations.
func NewSet(rules []*Rule) (*Set, error) {
	sorted := slices.Clone(rules)
	slices.SortStableFunc(sorted, func(a, b *Rule) int {
		return cmp.Or(strings.Compare(a.ID, b.ID), strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	var problems Problems
	digests := make([]string, 0, len(sorted))
	for i, r := range sorted {
		if err := r.validate(); err != nil {
			return nil, err
		}
		if i > 0 && sorted[i-1].ID == r.ID {
			problems = append(problems, Problem{
				File: r.File, Line: r.Line, Column: r.Column, Rule: r.ID,
				Message: fmt.Sprintf("rule id %q is taken by %s:%d", r.ID, Printable(sorted[i-1].File, 1000), sorted[i-1].Line),
				Hint:    "give this rule an id of its own",
			})
			continue
		}
		problems = append(problems, r.unreadable()...)
		problems = append(problems, r.tooMuch()...)
		digests = append(digests, r.whole())
	}
	links, more := linkRules(sorted)
	if problems = append(problems, more...); len(problems) > 0 {
		return nil, problems.sorted()
	}
	return &Set{rules: sorted, digest: digest(digests), links: links, judging: links.judgings(sorted), index: indexOf(sorted)}, nil
}

// Digest names what the set decides: two sets of the same digest judge alike. It is
// 64 hexadecimal digits.
func (s *Set) Digest() string { return s.digest }

// Len returns how many rules the set holds, disabled ones included, pieces of others not.
func (s *Set) Len() int {
	n := 0
	for _, r := range s.rules {
		if r.PartOf == "" {
			n++
		}
	}
	return n
}

// Rules returns the rules by id. The slice is the set's own.
func (s *Set) Rules() []*Rule { return s.rules }

// Rule returns the rule of that id, or nil.
func (s *Set) Rule(id string) *Rule {
	if i, ok := s.find(id); ok {
		return s.rules[i]
	}
	return nil
}

func (s *Set) find(id string) (int, bool) {
	return slices.BinarySearchFunc(s.rules, id, func(r *Rule, id string) int { return strings.Compare(r.ID, id) })
}

// indexOf returns the index over the conditions of the rules that are enabled. Its numbers are
// those of Set.rules.
func indexOf(rules []*Rule) *match.Index {
	all := make([]match.Rule, len(rules))
	for i, r := range rules {
		all[i] = match.Rule{Expr: r.Condition, Classes: r.On}
		if r.Disabled || r.Correlation != nil {
			all[i].Expr = match.Const(false)
		}
	}
	return match.NewIndex(all)
}
