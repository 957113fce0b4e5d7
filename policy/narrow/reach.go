package narrow

import (
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

// Texts is a set of texts: all of them, or those that one of the lists names.
type Texts struct {
	All    bool
	Lower  bool // the lists are about texts with their ASCII letters in lower case
	Exact  []string
	Prefix []string
	Suffix []string
	Inside []string // texts that hold one of these
}

// maxTexts bounds the members of a set. A larger one is all texts.
const maxTexts = 4096

func everything() Texts { return Texts{All: true} }

// None reports whether no text is in the set.
func (t *Texts) None() bool { return !t.All && t.count() == 0 }

func (t *Texts) count() int { return len(t.Exact) + len(t.Prefix) + len(t.Suffix) + len(t.Inside) }

// weight says how much a set asks of a sensor, roughly: it orders sets, no more.
func (t *Texts) weight() int {
	if t.All {
		return 1 << 40
	}
	w := len(t.Exact) + 10_000*len(t.Prefix)
	for _, suffix := range t.Suffix {
		w += 100
		if !strings.Contains(suffix, "/") {
			w += 10_000_000 // the end of a name
		}
	}
	for _, in := range t.Inside {
		w += 1_000_000
		if names(in) == 0 {
			w += 10_000_000
		}
	}
	return w
}

func (t *Texts) add(o Texts) {
	if t.Lower != o.Lower {
		t.lower()
		o.lower()
	}
	if t.All = t.All || o.All; !t.All {
		t.Exact, t.Prefix = append(t.Exact, o.Exact...), append(t.Prefix, o.Prefix...)
		t.Suffix, t.Inside = append(t.Suffix, o.Suffix...), append(t.Inside, o.Inside...)
	}
	if t.All || t.count() > maxTexts {
		*t = everything()
	}
}

// lower makes the set one about texts in lower case: it holds no less then.
func (t *Texts) lower() {
	if t.Lower {
		return
	}
	t.Lower = true
	for _, list := range []*[]string{&t.Exact, &t.Prefix, &t.Suffix, &t.Inside} {
		*list = slices.Clone(*list)
		for i, text := range *list {
			(*list)[i], _ = match.ApplySteps([]match.Step{match.StepLower}, text)
		}
	}
}

// Union returns the texts of all the sets, each once.
func Union(sets ...Texts) Texts {
	var all Texts
	for _, s := range sets {
		all.add(s)
	}
	for _, list := range []*[]string{&all.Exact, &all.Prefix, &all.Suffix, &all.Inside} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return all
}

// Reach returns a set that holds every value that one of the fields has in events for which the condition holds. Where a
// condition can hold for events that have none of the fields, or whatever their values, that is all texts.
func Reach(x match.Expr, fields ...signal.Field) Texts {
	return Union(reach(match.Simplify(x), fields))
}

func reach(x match.Expr, fields []signal.Field) Texts {
	switch x := x.(type) {
	case match.Const:
		if !x {
			return Texts{}
		}
	case match.And:
		best := everything()
		for _, part := range x {
			if t := reach(part, fields); t.weight() < best.weight() {
				best = t
			}
		}
		return best
	case match.Or:
		var all Texts
		for _, part := range x {
			all.add(reach(part, fields))
		}
		return all
	case *match.Atom:
		if x.Other == nil && !x.On.Any && x.On.Attr == "" && slices.Contains(fields, x.On.Field) && x.On.Measure == match.MeasureNone {
			return ofAtom(x)
		}
	case *match.Loop:
		if !x.Every && slices.Contains(fields, x.List.Field) && x.List.Attr == "" && !x.List.Any && len(x.List.Steps) == 0 {
			return reach(inLoop(x.Body, x.List.Field), fields)
		}
	}
	return everything()
}

// inLoop returns the body of a loop over a field's values, asked of the field itself: what it reaches for one value is what the
// loop reaches.
func inLoop(x match.Expr, f signal.Field) match.Expr {
	switch x := x.(type) {
	case match.And:
		all := make(match.And, len(x))
		for i, part := range x {
			all[i] = inLoop(part, f)
		}
		return all
	case match.Or:
		all := make(match.Or, len(x))
		for i, part := range x {
			all[i] = inLoop(part, f)
		}
		return all
	case *match.Atom:
		if x.On.Elem && x.On.Field == 0 {
			of := *x
			of.On.Elem, of.On.Field = false, f
			return &of
		}
	}
	return x
}

// ofAtom returns the values of its operand for which an atom can hold.
func ofAtom(a *match.Atom) Texts {
	if a.Fold {
		return everything()
	}
	var t Texts
	switch steps := a.On.Steps; {
	case len(steps) == 0:
	case len(steps) == 1 && steps[0] == match.StepLower:
		plain := *a
		plain.On.Steps = nil
		t = ofAtom(&plain)
		t.Lower = true
		return t
	case len(steps) == 1 && steps[0] == match.StepBasename && a.Op == match.OpEqual:
		for _, text := range a.Texts {
			t.add(Texts{Exact: []string{text}, Suffix: []string{"/" + text}})
		}
		return t
	case len(steps) == 1 && steps[0] == match.StepFolder && (a.Op == match.OpEqual || a.Op == match.OpPrefix):
		for _, text := range a.Texts {
			if text == "" || text == "/" { // the folder of a text without a slash is "/"
				return everything()
			}
			t.add(Texts{Prefix: []string{text}})
		}
		return t
	default:
		return everything()
	}
	switch a.Op {
	case match.OpEqual:
		t.Exact = a.Texts
	case match.OpPrefix:
		t.Prefix = a.Texts
	case match.OpSuffix:
		t.Suffix = a.Texts
	case match.OpContains:
		t.Inside = a.Texts
	case match.OpPathPrefix:
		t.Exact = a.Texts
		for _, text := range a.Texts {
			t.Prefix = append(t.Prefix, text+"/")
		}
	case match.OpRegex:
		return ofRegex(a.Regex.String())
	case match.OpGlob:
		for _, pattern := range a.Texts {
			t.add(ofGlob(pattern))
		}
	default:
		return everything()
	}
	if slices.Contains(t.Prefix, "") || slices.Contains(t.Suffix, "") || slices.Contains(t.Inside, "") {
		return everything()
	}
	return Union(t)
}

// ofGlob returns a set that holds what fits a pattern: its beginning, its end, or itself.
func ofGlob(pattern string) Texts {
	meta := func(c byte) bool { return c == '*' || c == '?' || c == '[' || c == '\\' }
	first := 0
	for first < len(pattern) && !meta(pattern[first]) {
		first++
	}
	last := len(pattern)
	for last > first && !meta(pattern[last-1]) && pattern[last-1] != ']' {
		last--
	}
	switch {
	case first == len(pattern):
		return Texts{Exact: []string{pattern}}
	case last > first && last < len(pattern) && pattern[last-1] == '*' && len(pattern)-last > first:
		return Texts{Suffix: []string{pattern[last:]}}
	case first > 0:
		return Texts{Prefix: []string{pattern[:first]}}
	}
	return everything()
}
