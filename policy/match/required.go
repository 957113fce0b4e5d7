package match

import (
	"regexp/syntax"
	"slices"
	"unicode"
	"unicode/utf8"
)

// required is a text that must be in what a regular expression matches.
type required struct {
	text string
	fold bool // in folded form, in the folded text
}

const (
	maxRequired   = 64 // alternatives
	leastRequired = 3  // bytes; a shorter text is in nearly everything
)

// requiredOf returns texts of which one at least is in every text that the expression matches, and false where
// there are none worth looking for.
func requiredOf(pattern string) ([]required, bool) {
	tree, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil, false
	}
	needs := requiredIn(tree)
	return needs, len(needs) > 0
}

func requiredIn(re *syntax.Regexp) []required {
	switch re.Op {
	case syntax.OpLiteral:
		return requiredLiteral(re.Rune, re.Flags&syntax.FoldCase != 0)
	case syntax.OpCapture, syntax.OpPlus:
		return requiredIn(re.Sub[0])
	case syntax.OpRepeat:
		if re.Min > 0 {
			return requiredIn(re.Sub[0])
		}
	case syntax.OpConcat:
		var best []required
		for _, sub := range re.Sub {
			if needs := requiredIn(sub); len(needs) > 0 && (best == nil || better(needs, best)) {
				best = needs
			}
		}
		return best
	case syntax.OpAlternate:
		var all []required
		for _, sub := range re.Sub {
			needs := requiredIn(sub)
			if needs == nil || len(all)+len(needs) > maxRequired {
				return nil
			}
			all = append(all, needs...)
		}
		return all
	}
	return nil
}

// better compares the shortest of each: it decides how often one of them is found.
func better(a, b []required) bool {
	shortest := func(list []required) int {
		return len(slices.MinFunc(list, func(a, b required) int { return len(a.text) - len(b.text) }).text)
	}
	if sa, sb := min(shortest(a), 8), min(shortest(b), 8); sa != sb {
		return sa > sb
	}
	return len(a) < len(b)
}

// requiredLiteral returns the text of a literal. Where letters match in any case, regular expressions take more of
// them for the same than folding does ("ſ" for "s"): the odd ones stand beside the literal as alternatives, since
// a match either has one of them or the literal as folding writes it.
func requiredLiteral(runes []rune, fold bool) []required {
	var longest, run []rune
	var odd []rune
	for _, r := range append(slices.Clone(runes), utf8.RuneError) {
		if r == utf8.RuneError { // it also matches bytes that are no UTF-8
			if len(string(run)) > len(string(longest)) {
				longest = run
			}
			run = nil
			continue
		}
		if fold {
			lower := unicode.ToLower(r)
			for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
				if l := unicode.ToLower(other); l != lower && !slices.Contains(odd, l) {
					odd = append(odd, l)
				}
			}
			r = lower
		}
		run = append(run, r)
	}
	if len(string(longest)) < leastRequired {
		return nil
	}
	needs := []required{{string(longest), fold}}
	for _, r := range odd {
		needs = append(needs, required{string(r), fold})
	}
	return needs
}
