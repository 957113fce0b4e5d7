package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/internal/spell"
	"github.com/testudo-sec/testudo/policy/window"
)

// link is a correlation of a set with its references resolved.
type link struct {
	rule int // index in Set.rules
	of   []int
	*Correlation
	apart bool // its rules read their groups or values from different places
}

// feed is a correlation that a rule feeds: an index in links.all, and one in its Of.
type feed struct{ link, ref int }

// links are the correlations of a set, each behind those that feed it.
type links struct {
	all   []link
	feeds map[int][]feed // by rule; nil where there is no correlation
}

// spec returns what the correlation's window is made with.
func (c *Correlation) spec() window.Spec {
	s := window.Spec{Kind: c.Kind, Within: c.Within, Tolerance: c.Tolerance, Tests: c.Tests, Percent: c.Percent, Need: c.Need}
	if c.Kind.HasSlots() {
		s.Slots = len(c.Of)
	}
	return s
}

// validate says what a dialect has left out.
func (c *Correlation) validate() error {
	values := 0
	switch {
	case c.Kind == window.Distinct:
		values = max(1, len(c.Value))
	case c.Kind.HasNumber():
		values = 1
	}
	if len(c.Value) != values {
		return fmt.Errorf("%v with %d values", c.Kind, len(c.Value))
	}
	if len(c.Of) == 0 {
		return fmt.Errorf("%v of no rule", c.Kind)
	}
	if len(c.Of) > window.MaxSlots {
		return fmt.Errorf("%v of %d rules, more than %d", c.Kind, len(c.Of), window.MaxSlots)
	}
	for _, r := range slices.Concat(c.GroupBy, c.Value) {
		for ref := range c.Of {
			if r.of(ref).IsZero() {
				return fmt.Errorf("%q is not to be found in events of rule %s", r.Name, c.Of[ref].Rule)
			}
		}
	}
	return nil
}

// linker resolves the references of a set's correlations.
type linker struct {
	rules    []*Rule
	byID     map[string]int
	byName   map[string][]int
	done     map[int]bool // false while the rule is being followed
	links    links
	problems Problems
}

// linkRules returns the correlations of rules, which stand in the order of their ids.
func linkRules(rules []*Rule) (links, Problems) {
	if !slices.ContainsFunc(rules, func(r *Rule) bool { return r.Correlation != nil }) {
		return links{}, nil
	}
	l := linker{rules: rules, byID: make(map[string]int, len(rules)), byName: make(map[string][]int), done: make(map[int]bool),
		links: links{feeds: make(map[int][]feed)}}
	for i, r := range rules {
		l.byID[r.ID] = i
		if r.Name != "" {
			l.byName[r.Name] = append(l.byName[r.Name], i)
		}
	}
	for i := range rules {
		l.follow(i, nil)
	}
	return l.links, l.problems
}

func (l *linker) problem(r *Rule, line, column int, hint, format string, args ...any) {
	if line == 0 {
		line, column = r.Correlation.Line, r.Correlation.Column
	}
	if line == 0 {
		line, column = r.Line, r.Column
	}
	l.problems = append(l.problems, Problem{File: r.File, Line: line, Column: column, Rule: r.ID, Message: fmt.Sprintf(format, args...), Hint: hint})
}

// follow links what the rule refers to and then the rule itself. Path holds the rules that led to it.
func (l *linker) follow(at int, path []int) {
	r := l.rules[at]
	if _, seen := l.done[at]; seen || r.Correlation == nil {
		return
	}
	l.done[at] = false
	c := r.Correlation
	k := link{rule: at, Correlation: c}
	path = append(path, at)
	good := true
	for ref := range c.Of {
		to, ok := l.resolve(r, &c.Of[ref])
		if !ok {
			good = false
			continue
		}
		where := &c.Of[ref]
		switch done, seen := l.done[to]; {
		case slices.Contains(k.of, to):
			l.problem(r, where.Line, where.Column, "name each rule once", "rule %q is named twice", Printable(where.Rule, 100))
			good = false
		case seen && !done:
			begin := slices.Index(path, to)
			names := make([]string, 0, len(path)-begin+1)
			for _, p := range append(slices.Clone(path[begin:]), to) {
				names = append(names, l.rules[p].ID)
			}
			l.problem(r, where.Line, where.Column, "", "the correlation depends on itself: %s", strings.Join(names, " of "))
			good = false
		case l.rules[to].Disabled && !r.Disabled:
			l.problem(r, where.Line, where.Column, "enable it, or disable this rule too", "rule %q is disabled, so that this one would never fire", Printable(where.Rule, 100))
			good = false
		}
		k.of = append(k.of, to)
		l.follow(to, path)
	}
	l.done[at] = true
	if err := c.spec().Validate(); err != nil {
		l.problem(r, 0, 0, "", "%v", err)
		good = false
	}
	if !good || r.Disabled {
		return
	}
	for _, reading := range slices.Concat(c.GroupBy, c.Value) {
		k.apart = k.apart || slices.ContainsFunc(reading.Per, func(o Operand) bool { return !o.IsZero() && o != reading.From })
	}
	for ref, to := range k.of {
		l.links.feeds[to] = append(l.links.feeds[to], feed{len(l.links.all), ref})
	}
	l.links.all = append(l.links.all, k)
}

// resolve returns the rule that a reference names.
func (l *linker) resolve(r *Rule, ref *Ref) (int, bool) {
	if at, ok := l.byID[ref.Rule]; ok {
		return at, true
	}
	switch named := l.byName[ref.Rule]; len(named) {
	case 1:
		return named[0], true
	case 0:
		hint := "name a rule of the set by its id or name"
		names := make([]string, 0, len(l.byID)+len(l.byName))
		if len(l.problems) < MaxProblems { // each guess looks at all names
			for id := range l.byID {
				names = append(names, id)
			}
			for name := range l.byName {
				names = append(names, name)
			}
			slices.Sort(names)
		}
		if near := spell.Nearest(ref.Rule, names); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		l.problem(r, ref.Line, ref.Column, hint, "there is no rule %q", Printable(ref.Rule, 100))
	default:
		first, second := l.rules[named[0]], l.rules[named[1]]
		l.problem(r, ref.Line, ref.Column, "refer to it by its id", "%q is the name of several rules: %s and %s", Printable(ref.Rule, 100), first.ID, second.ID)
	}
	return 0, false
}

// judgings returns for each rule the digest by which its state survives: that of what decides whether
// it fires, which for a correlation is also what feeds it.
func (ls *links) judgings(rules []*Rule) []string {
	all := make([]string, len(rules))
	for i, r := range rules {
		all[i] = r.judging()
	}
	for _, k := range ls.all {
		parts := []string{all[k.rule]}
		for _, of := range k.of {
			parts = append(parts, all[of])
		}
		all[k.rule] = digest(parts)
	}
	return all
}

// closure returns the rule and all that it refers to, in the order of their ids.
func (s *Set) closure(r *Rule) []*Rule {
	if r.Correlation == nil {
		return []*Rule{r}
	}
	l := linker{rules: s.rules, byID: make(map[string]int, len(s.rules)), byName: make(map[string][]int)}
	for i, o := range s.rules {
		l.byID[o.ID] = i
		if o.Name != "" {
			l.byName[o.Name] = append(l.byName[o.Name], i)
		}
	}
	seen := map[string]bool{r.ID: true}
	all := []*Rule{r}
	for i := 0; i < len(all); i++ {
		if all[i].Correlation == nil {
			continue
		}
		for k := range all[i].Correlation.Of {
			if to, ok := l.resolve(all[i], &all[i].Correlation.Of[k]); ok && !seen[s.rules[to].ID] {
				seen[s.rules[to].ID] = true
				all = append(all, s.rules[to])
			}
		}
	}
	slices.SortFunc(all, func(a, b *Rule) int { return cmp.Compare(a.ID, b.ID) })
	return all
}
