package rxset

import (
	"math"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/testudo-sec/testudo/internal/literal"
)

const (
	// maxWords bounds the words that stand for one expression, maxCross those that are made by joining parts.
	maxWords, maxCross = 1024, 64
	// maxWord is where a word is cut.
	maxWord = 12
	// seldomWord is the logarithm of how often words may be at a place of a text for them to hold something back.
	seldomWord = -9.0
)

// words are texts of which one at least is in every text that an expression matches, whatever the case of their ASCII letters. They are in small letters.
type words []string

// log2 guesses the logarithm of how often one of the words begins at a place of a text.
func (w words) log2() float64 {
	sum := 0.0
	for _, s := range w {
		p := 1.0
		for i := range len(s) {
			p *= frequency(rune(s[i]))
		}
		sum += p
	}
	if sum == 0 {
		return math.Inf(1) // no word: nothing is known
	}
	return math.Log2(sum)
}

// required is what an expression needs: exact are all texts that it matches, if these are few, and best words of which one is in each.
type required struct{ exact, best words }

// requiredWords returns the best words of an expression; nil if there are none that are seldom.
func requiredWords(re *syntax.Regexp) words {
	r := require(re)
	best := better(r.best, r.exact)
	if best == nil || best.log2() > seldomWord {
		return nil
	}
	return best
}

// better returns which of two says more.
func better(a, b words) words {
	if usable(b) && (!usable(a) || b.log2() < a.log2()) {
		return b
	}
	if usable(a) {
		return a
	}
	return nil
}

func usable(w words) bool {
	return len(w) > 0 && len(w) <= maxWords && !slices.Contains(w, "")
}

func require(re *syntax.Regexp) required {
	switch re.Op {
	case syntax.OpEmptyMatch, syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText, syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		return required{exact: words{""}}
	case syntax.OpLiteral:
		return requireLiteral(re.Rune)
	case syntax.OpCharClass:
		return requireClass(re.Rune)
	case syntax.OpCapture:
		return require(re.Sub[0])
	case syntax.OpConcat:
		return requireConcat(re.Sub)
	case syntax.OpAlternate:
		return requireAlternate(re.Sub)
	case syntax.OpQuest:
		if e := require(re.Sub[0]).exact; e != nil && len(e) < maxCross {
			return required{exact: unique(append(words{""}, e...))}
		}
	case syntax.OpPlus:
		r := require(re.Sub[0])
		return required{best: better(r.best, r.exact)}
	case syntax.OpRepeat:
		if re.Min == 0 {
			return required{}
		}
		if re.Min == re.Max && re.Min <= 4 {
			return requireConcat(slices.Repeat([]*syntax.Regexp{re.Sub[0]}, re.Min))
		}
		r := requireConcat(slices.Repeat([]*syntax.Regexp{re.Sub[0]}, min(re.Min, 4)))
		return required{best: better(r.best, r.exact)}
	}
	return required{}
}

// requireLiteral knows the ASCII characters of a literal: others have bytes that depend on the dialect.
func requireLiteral(runes []rune) required {
	var parts []string
	begin := 0
	for i := range len(runes) + 1 {
		if i < len(runes) && runes[i] < utf8.RuneSelf {
			continue
		}
		if i > begin {
			parts = append(parts, strings.ToLower(string(runes[begin:i])))
		}
		begin = i + 1
	}
	if len(parts) == 1 && len(parts[0]) == len(runes) {
		return required{exact: words{parts[0]}}
	}
	var best words
	for _, p := range parts {
		best = better(best, words{p})
	}
	return required{best: best}
}

func requireClass(ranges []rune) required {
	var exact words
	for i := 0; i < len(ranges); i += 2 {
		lo, hi := ranges[i], ranges[i+1]
		if lo == hi && (lo == 0x17f || lo == 0x212a) { // which fold to s and k: texts with them are looked at in any case
			continue
		}
		if hi >= utf8.RuneSelf || hi-lo > 16 || len(exact) > 16 {
			return required{}
		}
		for r := lo; r <= hi; r++ {
			exact = append(exact, strings.ToLower(string(r)))
		}
	}
	if exact = unique(exact); len(exact) == 0 || len(exact) > 16 {
		return required{}
	}
	return required{exact: exact}
}

func requireConcat(subs []*syntax.Regexp) required {
	var best words
	run, whole := words{""}, true
	for _, sub := range subs {
		r := require(sub)
		if r.exact == nil {
			best = better(better(best, run), r.best)
			run, whole = words{""}, false
			continue
		}
		joined := cross(run, r.exact)
		if joined == nil { // too many: what was joined until now stands for itself
			best = better(best, run)
			joined, whole = r.exact, false
		}
		if cut(joined) { // its end is all that goes on
			best = better(best, joined)
			joined, whole = words{""}, false
		}
		run = joined
	}
	if whole {
		return required{exact: run}
	}
	return required{best: better(best, run)}
}

// cut reports whether a word is long enough to be used as it is.
func cut(w words) bool {
	return slices.ContainsFunc(w, func(s string) bool { return len(s) > maxWord })
}

func cross(a, b words) words {
	if len(a)*len(b) > maxCross {
		return nil
	}
	out := make(words, 0, len(a)*len(b))
	for _, x := range a {
		for _, y := range b {
			out = append(out, x+y)
		}
	}
	return unique(out)
}

func requireAlternate(subs []*syntax.Regexp) required {
	exact, best := words{}, words{}
	for _, sub := range subs {
		r := require(sub)
		if exact != nil {
			if r.exact == nil || len(exact)+len(r.exact) > maxCross {
				exact = nil
			} else {
				exact = append(exact, r.exact...)
			}
		}
		if best != nil {
			if b := better(r.best, r.exact); b == nil || len(best)+len(b) > maxWords {
				best = nil
			} else {
				best = append(best, b...)
			}
		}
		if exact == nil && best == nil {
			return required{}
		}
	}
	return required{exact: unique(exact), best: unique(best)}
}

func unique(w words) words {
	if w == nil {
		return nil
	}
	slices.Sort(w)
	return slices.Compact(w)
}

// dictionary finds the words of expressions in texts.
type dictionary struct {
	set *literal.Set
	of  [][]int32 // the patterns that a word is for
	all Bits      // patterns that have words
}

// newDictionary returns the dictionary of the patterns that have words; nil if none has.
func newDictionary(of []words) (*dictionary, error) {
	d := &dictionary{all: NewBits(len(of))}
	number := map[string]int{}
	var list []literal.Pattern
	for i, w := range of {
		for _, s := range w {
			n, ok := number[s]
			if !ok {
				n = len(list)
				number[s] = n
				list = append(list, literal.Pattern{Text: s, Fold: true})
				d.of = append(d.of, nil)
			}
			d.of[n] = append(d.of[n], int32(i))
			d.all.Add(i)
		}
	}
	if len(list) == 0 {
		return nil, nil
	}
	var err error
	d.set, err = literal.Compile(list)
	return d, err
}

// find adds the patterns that a text may match.
func (d *dictionary) find(v *view, to Bits) {
	if !v.ascii && (strings.Contains(v.raw, "\u017f") || strings.Contains(v.raw, "\u212a")) { // letters that fold to s and k
		for i := range to {
			to[i] |= d.all[i]
		}
		return
	}
	d.set.FindString(v.raw, func(m literal.Match) bool {
		for _, i := range d.of[m.Pattern] {
			to.Add(int(i))
		}
		return true
	})
}
