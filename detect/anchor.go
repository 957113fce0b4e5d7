package detect

import (
	"bytes"
	"regexp/syntax"
	"slices"
	"strings"
	"sync"
)

// An Anchor is a literal that secrets of one or more rules begin with. It is how a text that comes in pieces is searched: the
// caller finds the literals himself, and asks at each. It is safe for concurrent use.
type Anchor struct {
	Literal string

	set  *Set
	ways []int32
	once sync.Once
	// reach is the longest match of the ways, stop what none of their patterns can match: behind it nothing counts.
	reach int
	stop  string
}

// Anchors returns the literals that secrets of the set's rules begin with, sorted. Rules that know theirs by
// what stands around it (keywords, names that something is assigned to) have none.
func (s *Set) Anchors() []*Anchor {
	var out []*Anchor
	for i := range s.targets {
		a := &Anchor{Literal: s.literals.Pattern(i).Text, set: s}
		for _, t := range s.targets[i] {
			if w := s.ways[t]; w.kind == wayLiteral && len(w.rule.Paths) == 0 {
				a.ways = append(a.ways, t)
			}
		}
		if len(a.ways) > 0 {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, func(a, b *Anchor) int { return strings.Compare(a.Literal, b.Literal) })
	return out
}

// At looks for a secret whose literal stands at text[at:]. Where several rules have one, the one that is found is that which
// [Set.Find] prefers. wait says that text ends too early to tell, and is true only if the text is not whole.
func (a *Anchor) At(text []byte, at int, whole bool) (m Match, found, wait bool) {
	a.once.Do(a.measure)
	end := at + a.reach
	if end > len(text) {
		end = len(text)
		if !whole && !bytes.ContainsAny(text[at:end], a.stop) {
			return Match{}, false, true
		}
	}
	f := a.set.finders.Get().(*finder)
	defer func() {
		f.reset()
		a.set.finders.Put(f)
	}()
	// The byte before tells whether a word begins here; that of an escape such as \n does not.
	from := max(0, at-1)
	if at >= 2 && text[at-2] == '\\' {
		from = at
	}
	f.text, f.file, f.work = text[from:end], file{}, workBase
	for _, i := range a.ways {
		f.anchored(a.set.ways[i], at-from)
	}
	for i := range f.matches {
		if c := &f.matches[i]; !found || f.rank(c) > f.rank(&m) {
			m, found = *c, true
		}
	}
	m.Start, m.End = m.Start+from, m.End+from
	return m, found, false
}

// measure sets reach and stop.
func (a *Anchor) measure() {
	stop := []byte("\n\r\"'<> \t,;")
	for _, i := range a.ways {
		w := a.set.ways[i]
		if !w.prepare() {
			continue
		}
		a.reach = max(a.reach, w.reach)
		parsed, err := syntax.Parse(w.from.Pattern, syntax.Perl)
		if err != nil {
			continue
		}
		stop = slices.DeleteFunc(stop, func(c byte) bool { return canMatch(parsed, rune(c)) })
	}
	a.stop = string(stop)
}

// canMatch reports whether some text that re matches holds that character.
func canMatch(re *syntax.Regexp, c rune) bool {
	switch re.Op {
	case syntax.OpLiteral:
		return slices.Contains(re.Rune, c)
	case syntax.OpCharClass:
		for i := 0; i+1 < len(re.Rune); i += 2 {
			if re.Rune[i] <= c && c <= re.Rune[i+1] {
				return true
			}
		}
	case syntax.OpAnyChar:
		return true
	case syntax.OpAnyCharNotNL:
		return c != '\n'
	}
	return slices.ContainsFunc(re.Sub, func(sub *syntax.Regexp) bool { return canMatch(sub, c) })
}
