package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/signal"
)

// Set is a compiled set of rules. It is immutable and safe for concurrent use; several
// engines may judge by one.
type Set struct {
	rules  []*Rule // by id
	digest string
	index  classIndex
}

// NewSet returns the set of these rules, in the order of their ids, or [Problems] that
// name both places of each id that stands twice.
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
		digests = append(digests, r.whole())
	}
	if len(problems) > 0 {
		return nil, problems.sorted()
	}
	s := &Set{rules: sorted, digest: digest(digests)}
	s.index.build(sorted)
	return s, nil
}

// Digest names what the set decides: two sets of the same digest judge alike. It is
// 64 hexadecimal digits.
func (s *Set) Digest() string { return s.digest }

// Len returns how many rules the set holds, disabled ones included.
func (s *Set) Len() int { return len(s.rules) }

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

// candidate is a rule that reads events of a class.
type candidate struct {
	condition Condition
	rule      int // index in Set.rules
}

// classIndex finds the rules of a class in two loads. This is what an index over
// the conditions' atoms will stand behind.
type classIndex struct {
	list  [8192]uint8 // by class: index in lists; classes are below 8,000
	lists [][]candidate
}

func (x *classIndex) build(rules []*Rule) {
	x.lists = [][]candidate{nil} // 0: classes that no rule names
	for _, r := range rules {
		for _, c := range r.On {
			if int(c) < len(x.list) && x.list[c] == 0 && len(x.lists) < 256 {
				x.list[c] = uint8(len(x.lists))
				x.lists = append(x.lists, nil)
			}
		}
	}
	for i, r := range rules {
		if r.Disabled {
			continue
		}
		c := candidate{r.Condition, i}
		if r.On == nil {
			for l := range x.lists {
				x.lists[l] = append(x.lists[l], c)
			}
			continue
		}
		added := make(map[uint8]bool, len(r.On))
		for _, class := range r.On {
			if l := x.list[int(class)%len(x.list)]; int(class) < len(x.list) && l != 0 && !added[l] {
				added[l] = true
				x.lists[l] = append(x.lists[l], c)
			}
		}
	}
}

func (x *classIndex) of(c signal.Class) []candidate {
	if int(c) >= len(x.list) {
		return x.lists[0]
	}
	return x.lists[x.list[c]]
}
