package match

import (
	"regexp/syntax"
	"slices"
	"strings"
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
// there are none of so many bytes.
func requiredOf(tree *syntax.Regexp, least int) ([]required, bool) {
	needs := requiredIn(tree, least)
	return needs, len(needs) > 0
}

func requiredIn(re *syntax.Regexp, least int) []required {
	switch re.Op {
	case syntax.OpLiteral:
		return requiredLiteral(re.Rune, re.Flags&syntax.FoldCase != 0, least)
	case syntax.OpCapture, syntax.OpPlus:
		return requiredIn(re.Sub[0], least)
	case syntax.OpRepeat:
		if re.Min > 0 {
			return requiredIn(re.Sub[0], least)
		}
	case syntax.OpConcat:
		var best []required
		for _, sub := range re.Sub {
			if needs := requiredIn(sub, least); len(needs) > 0 && (best == nil || weight(needs) < weight(best)) {
				best = needs
			}
		}
		return best
	case syntax.OpAlternate:
		var all []required
		for _, sub := range re.Sub {
			needs := requiredIn(sub, least)
			if needs == nil || len(all)+len(needs) > maxRequired {
				return nil
			}
			all = append(all, needs...)
		}
		return all
	}
	return nil
}

// weight estimates how often one of the texts is found.
func weight(needs []required) float64 {
	sum := 0.0
	for _, r := range needs {
		sum += likely(r.text)
	}
	return sum
}

// requiredLiteral returns the text of a literal. Where letters match in any case, regular expressions take more of
// them for the same than folding does ("ſ" for "s"): the odd ones stand beside the literal as alternatives, since
// a match either has one of them or the literal as folding writes it.
func requiredLiteral(runes []rune, fold bool, least int) []required {
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
	if len(string(longest)) < max(least, 1) {
		return nil
	}
	needs := []required{{string(longest), fold}}
	for _, r := range odd {
		needs = append(needs, required{string(r), fold})
	}
	return needs
}

// guard is what can be said of a text before a regular expression or a pattern is tried on it: where it does not pass, the
// expression does not match.
type guard struct {
	least int        // bytes
	needs []required // one of them is in it; nil for nothing
	run   int        // it has so many bytes of a class in a row; 0 for none
	of    *[256]bool // the class
}

// maxNeeds bounds the texts that a guard looks for one by one.
const maxNeeds = 4

func guardOf(pattern string) *guard {
	tree, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil
	}
	g := &guard{least: leastBytes(tree)}
	if needs, ok := requiredOf(tree, 1); ok && len(needs) <= maxNeeds {
		g.needs = needs
	}
	g.run, g.of = longestRun(tree)
	return g
}

// passes reports whether the expression may match a value.
func (g *guard) passes(s *scratch, v int32) bool {
	text := s.values[v].raw
	if len(text) < g.least {
		return false
	}
	if g.needs != nil && !slices.ContainsFunc(g.needs, func(r required) bool {
		if r.fold {
			return strings.Contains(s.folded(v), r.text)
		}
		return strings.Contains(text, r.text)
	}) {
		return false
	}
	return g.run == 0 || hasRun(text, g.of, g.run)
}

// leastBytes returns how long a text is at least that the expression matches.
func leastBytes(re *syntax.Regexp) int {
	sum := 0
	switch re.Op {
	case syntax.OpLiteral:
		for _, r := range re.Rune {
			if re.Flags&syntax.FoldCase != 0 || r == utf8.RuneError {
				sum++ // another letter, a byte that is no UTF-8
			} else {
				sum += utf8.RuneLen(r)
			}
		}
	case syntax.OpCharClass, syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return 1
	case syntax.OpCapture, syntax.OpPlus:
		return leastBytes(re.Sub[0])
	case syntax.OpRepeat:
		return re.Min * leastBytes(re.Sub[0])
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			sum += leastBytes(sub)
		}
	case syntax.OpAlternate:
		sum = leastBytes(re.Sub[0])
		for _, sub := range re.Sub[1:] {
			sum = min(sum, leastBytes(sub))
		}
	}
	return sum
}

// leastRun is from how many characters on a run is worth looking for.
const leastRun = 8

// longestRun returns the longest repetition of a character class that every match has.
func longestRun(re *syntax.Regexp) (int, *[256]bool) {
	switch re.Op {
	case syntax.OpCapture, syntax.OpPlus:
		return longestRun(re.Sub[0])
	case syntax.OpConcat:
		best, class := 0, (*[256]bool)(nil)
		for _, sub := range re.Sub {
			if n, of := longestRun(sub); n > best {
				best, class = n, of
			}
		}
		return best, class
	case syntax.OpRepeat:
		if re.Min < leastRun || re.Sub[0].Op != syntax.OpCharClass {
			break
		}
		class := new([256]bool)
		ranges := re.Sub[0].Rune
		for i := 0; i+1 < len(ranges); i += 2 {
			for r := ranges[i]; r <= min(ranges[i+1], utf8.RuneSelf); r++ {
				class[r] = true
			}
			if ranges[i+1] >= utf8.RuneSelf { // some character of several bytes: any of them
				for b := utf8.RuneSelf; b < 256; b++ {
					class[b] = true
				}
			}
		}
		return re.Min, class
	}
	return 0, nil
}

// hasRun reports whether n bytes of a class stand in a row in the text. Most texts are looked at every n bytes only.
func hasRun(text string, class *[256]bool, n int) bool {
	for end := n - 1; end < len(text); {
		at := end
		for at > end-n && class[text[at]] {
			at--
		}
		if at == end-n {
			return true
		}
		end = at + n
	}
	return false
}
