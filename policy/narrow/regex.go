package narrow

import (
	"regexp/syntax"
	"slices"
	"strings"
	"unicode/utf8"
)

// shape is what is known of the texts that a part of a regular expression matches: all of it where whole is set, else how they
// begin and end, and one text that is inside each.
type shape struct {
	whole    bool
	pre, suf string // equal where whole is set
	in       string
	begin    bool // it matches at the beginning of the text only
	end      bool // and this at its end only
}

const (
	maxShapes  = 128 // alternatives of one expression
	maxLetters = 16  // of a class that is written out
)

func exactly(text string) shape { return shape{whole: true, pre: text, suf: text, in: text} }

// ofRegex returns a set that holds every text that the expression matches.
func ofRegex(pattern string) Texts {
	tree, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return everything()
	}
	var all Texts
	for _, s := range shapes(tree.Simplify()) {
		switch {
		case s.whole && s.begin && s.end:
			all.add(Texts{Exact: []string{s.pre}})
		case s.end && strings.Contains(s.suf, "/") && !strings.HasSuffix(s.suf, "/"), s.end && s.suf != "" && !(s.begin && s.pre != ""):
			all.add(Texts{Suffix: []string{s.suf}})
		case s.begin && s.pre != "":
			all.add(Texts{Prefix: []string{s.pre}})
		case s.in != "":
			all.add(Texts{Inside: []string{s.in}})
		default:
			return everything()
		}
	}
	return all
}

// shapes returns the alternatives of an expression. None is left out.
func shapes(re *syntax.Regexp) []shape {
	anything := []shape{{}}
	switch re.Op {
	case syntax.OpEmptyMatch, syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		return []shape{exactly("")}
	case syntax.OpBeginText:
		s := exactly("")
		s.begin = true
		return []shape{s}
	case syntax.OpEndText:
		s := exactly("")
		s.end = true
		return []shape{s}
	case syntax.OpBeginLine, syntax.OpEndLine:
		return []shape{exactly("")}
	case syntax.OpLiteral:
		text := string(re.Rune)
		if re.Flags&syntax.FoldCase != 0 && strings.ToLower(text) != strings.ToUpper(text) || strings.ContainsRune(text, utf8.RuneError) {
			return anything
		}
		return []shape{exactly(text)}
	case syntax.OpCharClass:
		var all []shape
		for i := 0; i+1 < len(re.Rune); i += 2 {
			for r := re.Rune[i]; r <= re.Rune[i+1]; r++ {
				if all = append(all, exactly(string(r))); len(all) > maxLetters || r >= utf8.RuneSelf {
					return anything
				}
			}
		}
		return all
	case syntax.OpCapture:
		return shapes(re.Sub[0])
	case syntax.OpPlus: // it begins and ends as its part does
		all := shapes(re.Sub[0])
		if len(all) > 1 {
			return anything
		}
		s := all[0]
		s.whole = false
		return []shape{s}
	case syntax.OpQuest:
		all := append([]shape{exactly("")}, shapes(re.Sub[0])...)
		if len(all) > maxShapes {
			return anything
		}
		return all
	case syntax.OpAlternate:
		var all []shape
		for _, sub := range re.Sub {
			if all = append(all, shapes(sub)...); len(all) > maxShapes {
				return anything
			}
		}
		return all
	case syntax.OpConcat:
		row := []shape{exactly("")}
		for _, sub := range re.Sub {
			var longer []shape
			next := shapes(sub)
			if len(row)*len(next) > maxShapes {
				next = []shape{{}}
			}
			for _, a := range row {
				for _, b := range next {
					longer = append(longer, follow(a, b))
				}
			}
			row = longer
		}
		return row
	case syntax.OpNoMatch:
		return nil
	}
	return anything
}

// follow returns the shape of a text of the one shape followed by one of the other.
func follow(a, b shape) shape {
	s := shape{whole: a.whole && b.whole, pre: a.pre, suf: b.suf, begin: a.begin, end: b.end}
	if a.whole {
		s.pre = a.pre + b.pre
		s.begin = a.begin || a.pre == "" && b.begin
	}
	if b.whole {
		s.suf = a.suf + b.suf
		s.end = b.end || b.suf == "" && a.end
	}
	s.in = longest(a.in, b.in, a.suf+b.pre)
	return s
}

// longest returns the longest text; where several are as long, one with whole names between slashes.
func longest(texts ...string) string {
	best := ""
	for _, t := range texts {
		if names(t) > names(best) || names(t) == names(best) && len(t) > len(best) {
			best = t
		}
	}
	return best
}

// names counts the whole names between slashes in a text.
func names(t string) int { return max(strings.Count(t, "/")-1, 0) }

// Enumerate returns every text that the expression matches, where it matches whole texts and those are few.
func Enumerate(pattern string) ([]string, bool) {
	tree, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil || hasWordBoundary(tree) {
		return nil, false
	}
	var all []string
	for _, s := range shapes(tree.Simplify()) {
		if !s.whole || !s.begin || !s.end {
			return nil, false
		}
		all = append(all, s.pre)
	}
	return all, len(all) > 0
}

// hasWordBoundary reports whether an expression asks for more than the texts that it consists of.
func hasWordBoundary(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpWordBoundary, syntax.OpNoWordBoundary, syntax.OpBeginLine, syntax.OpEndLine:
		return true
	}
	return slices.ContainsFunc(re.Sub, hasWordBoundary)
}
