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
		return requiredInRow(re.Sub, least)
	case syntax.OpCharClass:
		if texts, ok := textsIn(re, false); ok {
			return requiredOneOf(texts, false, least)
		}
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

// requiredInRow returns the best of what expressions that follow each other require: of one of them, or of several in a
// row that match a few texts only.
func requiredInRow(row []*syntax.Regexp, least int) []required {
	var best []required
	consider := func(needs []required) {
		if len(needs) > 0 && (best == nil || weight(needs) < weight(best)) {
			best = needs
		}
	}
	var run []string
	fold := false
	for _, sub := range row {
		texts, few := textsIn(sub, false)
		longer, fits := crossed(run, texts)
		if !few || !fits {
			consider(requiredOneOf(run, fold, least))
			run, fold = texts, false
		} else {
			run = longer
		}
		fold = fold || few && folds(sub)
		if !few {
			run = nil
			consider(requiredIn(sub, least))
		}
	}
	consider(requiredOneOf(run, fold, least))
	return best
}

// requiredOneOf returns what is required where one of the texts is.
func requiredOneOf(texts []string, fold bool, least int) []required {
	var all []required
	for _, t := range texts {
		needs := requiredLiteral([]rune(t), fold, least)
		if needs == nil || len(all)+len(needs) > maxRequired {
			return nil
		}
		all = append(all, needs...)
	}
	return all
}

// folds reports whether a part of an expression disregards the case of letters.
func folds(re *syntax.Regexp) bool {
	return re.Op == syntax.OpLiteral && re.Flags&syntax.FoldCase != 0 || slices.ContainsFunc(re.Sub, folds)
}

// The bounds of the texts that an expression is written out as.
const (
	maxTexts  = 32
	maxTexted = 64 // bytes of one
)

// textsIn returns all the texts that an expression matches, where they are few. Letters that match in any case are all
// written out where exact is set, and stand as they are otherwise.
func textsIn(re *syntax.Regexp, exact bool) ([]string, bool) {
	switch re.Op {
	case syntax.OpLiteral:
		if exact && re.Flags&syntax.FoldCase != 0 {
			return casesOf(re.Rune)
		}
		t := string(re.Rune)
		return []string{t}, len(t) <= maxTexted && !slices.Contains(re.Rune, utf8.RuneError)
	case syntax.OpCapture:
		return textsIn(re.Sub[0], exact)
	case syntax.OpCharClass:
		var texts []string
		for i := 0; i+1 < len(re.Rune); i += 2 {
			for r := re.Rune[i]; r <= re.Rune[i+1]; r++ {
				if texts = append(texts, string(r)); len(texts) > maxTexts || r >= utf8.RuneSelf {
					return nil, false
				}
			}
		}
		return texts, len(texts) > 0
	case syntax.OpConcat:
		all := []string{""}
		for _, sub := range re.Sub {
			texts, ok := textsIn(sub, exact)
			if !ok {
				return nil, false
			}
			if all, ok = crossed(all, texts); !ok {
				return nil, false
			}
		}
		return all, true
	case syntax.OpAlternate:
		var all []string
		for _, sub := range re.Sub {
			texts, ok := textsIn(sub, exact)
			if !ok || len(all)+len(texts) > maxTexts {
				return nil, false
			}
			all = append(all, texts...)
		}
		return all, true
	}
	return nil, false
}

// crossed returns every text of the one list followed by every one of the other.
func crossed(first, second []string) ([]string, bool) {
	if len(first) == 0 {
		return second, true
	}
	if len(first)*len(second) > maxTexts {
		return nil, false
	}
	var all []string
	for _, a := range first {
		for _, b := range second {
			if len(a)+len(b) > maxTexted {
				return nil, false
			}
			all = append(all, a+b)
		}
	}
	return all, true
}

// plainTexts returns the texts of which one must be in a value for an expression to match it and that suffice, where
// that is all that the expression asks.
func plainTexts(pattern string) ([]string, bool) {
	tree, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil, false
	}
	return textsIn(tree, true)
}

// casesOf returns a literal in every case.
func casesOf(runes []rune) (all []string, ok bool) {
	for _, r := range runes {
		if r == utf8.RuneError {
			return nil, false
		}
		cases := []string{string(r)}
		for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
			cases = append(cases, string(other))
		}
		if all, ok = crossed(all, cases); !ok {
			return nil, false
		}
	}
	return all, len(all) > 0
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
