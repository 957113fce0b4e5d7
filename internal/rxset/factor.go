package rxset

import (
	"math"
	"regexp/syntax"
	"unicode"
)

const (
	// narrow is the share of bytes up to which a loop over them ends soon in most texts, and endless the share from which it
	// never may.
	narrow, endless = 0.15, 0.85
	// rare is the logarithm of how seldom something is at a place of a text, for a loop behind it not to matter.
	rare = -8.0
	// fewTimes bounds a repetition that is taken as it is; of a longer one a factor has copies.
	fewTimes, copies = 6, 4
	// useless is the logarithm of how often a factor is at a place, from which it holds back too little.
	useless = -3.0
)

// factor is something that is in every text which an expression matches.
type factor struct {
	re *syntax.Regexp // nil: nothing is known
	// log2 is a guess at the logarithm of how often it is at a place of a text.
	log2 float64
}

// nature is what is known of an expression as a part of an automaton for many.
type nature struct {
	// solid expressions remember little: what a thread waits for is over soon, so that many of them together
	// have about as many states as one by one.
	solid bool
	// best is the rarest factor; before and behind are those at the ends, which may be part of a longer one with what
	// is beside. For a solid expression all three are itself.
	best, before, behind factor
	second               factor  // the rarest one that has nothing of best, if it is not solid
	width                float64 // share of the bytes that it reads
	// loop says that it repeats something solid without end.
	loop bool
}

func solid(re *syntax.Regexp, log2, width float64) nature {
	f := factor{re, log2}
	return nature{solid: true, best: f, before: f, behind: f, width: width}
}

// examine finds the factors of an expression.
func examine(re *syntax.Regexp) nature {
	switch re.Op {
	case syntax.OpLiteral:
		log2 := 0.0
		width := 0.0
		for _, r := range re.Rune {
			log2 += math.Log2(frequency(r))
			width = max(width, frequency(r))
		}
		return solid(re, log2, width)
	case syntax.OpCharClass:
		w := share(re.Rune)
		return solid(re, math.Log2(w), w)
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return solid(re, 0, 1)
	case syntax.OpBeginText:
		return solid(re, -5, 0)
	case syntax.OpBeginLine, syntax.OpEndText, syntax.OpEndLine:
		return solid(re, -4, 0)
	case syntax.OpWordBoundary:
		return solid(re, -1, 0)
	case syntax.OpCapture:
		return examine(re.Sub[0])
	case syntax.OpConcat:
		return examineConcat(re)
	case syntax.OpAlternate:
		return examineAlternate(re)
	case syntax.OpQuest, syntax.OpStar, syntax.OpPlus, syntax.OpRepeat:
		return examineRepeat(re)
	}
	return solid(re, 0, 0)
}

func examineRepeat(re *syntax.Regexp) nature {
	sub := examine(re.Sub[0])
	least, most := re.Min, re.Max
	switch re.Op {
	case syntax.OpQuest:
		least, most = 0, 1
	case syntax.OpStar:
		least, most = 0, -1
	case syntax.OpPlus:
		least, most = 1, -1
	}
	n := nature{width: sub.width, loop: sub.solid && most < 0}
	if sub.solid && (most >= 0 && most <= fewTimes || sub.width <= narrow && (most < 0 || most <= 4*fewTimes)) {
		log2 := 0.0
		if least > 0 {
			log2 = sub.best.log2 * float64(least)
		}
		return solid(re, log2, sub.width)
	}
	if least == 0 {
		return n
	}
	n.best, n.before, n.behind, n.second = sub.best, sub.before, sub.behind, sub.second
	if sub.solid && least > 1 {
		k := min(least, copies)
		f := factor{repeat(re.Sub[0], k), float64(k) * sub.best.log2}
		n.best, n.before, n.behind = f, f, f
	}
	return n
}

func examineAlternate(re *syntax.Regexp) nature {
	n := nature{solid: true}
	var best, before, behind, second []factor
	for _, sub := range re.Sub {
		s := examine(sub)
		n.solid = n.solid && s.solid
		n.width = max(n.width, s.width)
		best, before, behind, second = append(best, s.best), append(before, s.before), append(behind, s.behind), append(second, s.second)
	}
	if n.solid {
		return solid(re, alternate(re, best).log2, n.width)
	}
	n.best, n.before, n.behind, n.second = alternate(re, best), alternate(re, before), alternate(re, behind), alternate(re, second)
	return n
}

// alternate is the factor that one of several is there.
func alternate(re *syntax.Regexp, of []factor) factor {
	sum := 0.0
	subs := make([]*syntax.Regexp, len(of))
	for i, f := range of {
		if f.re == nil {
			return factor{}
		}
		sum += math.Exp2(f.log2)
		subs[i] = f.re
	}
	return factor{&syntax.Regexp{Op: syntax.OpAlternate, Flags: re.Flags, Sub: subs}, min(0, math.Log2(sum))}
}

func examineConcat(re *syntax.Regexp) nature {
	n := nature{solid: true}
	var parts []factor // of the run that ends here
	first := true
	closeRun := func() {
		f := join(parts)
		if first {
			n.before = f
		}
		first = false
		n.found(f)
	}
	for _, sub := range re.Sub {
		s := examine(sub)
		n.width = max(n.width, s.width)
		if s.loop && s.width < endless && join(parts).log2 < rare {
			s = solid(sub, 0, s.width) // seldom reached
		}
		if s.solid {
			parts = append(parts, s.best)
			continue
		}
		n.solid = false
		if s.before.re != nil {
			parts = append(parts, s.before)
		}
		closeRun()
		for _, f := range s.apart() {
			n.found(f)
		}
		parts = nil
		if s.behind.re != nil {
			parts = append(parts, s.behind)
		}
	}
	n.behind = join(parts)
	closeRun()
	if n.solid {
		return solid(re, n.behind.log2, n.width)
	}
	return n
}

func join(parts []factor) factor {
	if len(parts) == 0 {
		return factor{}
	}
	f := factor{}
	subs := make([]*syntax.Regexp, len(parts))
	for i, p := range parts {
		f.log2 += p.log2
		subs[i] = p.re
	}
	f.re = concat(subs)
	return f
}

// apart returns the factors that are neither at the beginning nor at the end, where they are part of others.
func (n *nature) apart() []factor {
	var out []factor
	for _, f := range [...]factor{n.best, n.second} {
		if f.re != nil && f.re != n.before.re && f.re != n.behind.re {
			out = append(out, f)
		}
	}
	return out
}

// found takes note of another factor.
func (n *nature) found(f factor) {
	switch {
	case f.re == nil || n.best.re != nil && f.log2 == n.best.log2 && f.re.Equal(n.best.re):
	case n.best.re == nil || f.log2 < n.best.log2:
		n.best, n.second = f, n.best
	case n.second.re == nil || f.log2 < n.second.log2:
		n.second = f
	}
}

// share returns how much of a text characters of a class are.
func share(pairs []rune) float64 {
	sum := 0.0
	for i := 0; i+1 < len(pairs); i += 2 {
		for r := pairs[i]; r <= min(pairs[i+1], unicode.MaxASCII); r++ {
			sum += frequency(r)
		}
		if n := pairs[i+1] - max(pairs[i], unicode.MaxASCII); n > 0 {
			sum += 0.02 * float64(n) / unicode.MaxRune
		}
	}
	return min(1, max(sum, 1e-5))
}

// frequency is a rough share of a character in the values of requests: names, numbers, prose, addresses, markup.
func frequency(r rune) float64 {
	switch {
	case r > unicode.MaxASCII:
		return 0.0001
	case r >= 'A' && r <= 'Z':
		return letters[r-'A'] / 6
	case r >= 'a' && r <= 'z':
		return letters[r-'a']
	case r >= '0' && r <= '9':
		return 0.015
	case r == ' ':
		return 0.08
	case r < 0x20:
		return 0.0008
	}
	switch r {
	case '.', '-', '/', ',', '_', '"', ':':
		return 0.008
	case '=', '%', '&', '+', '\'', '(', ')', '?', ';':
		return 0.004
	}
	return 0.001
}

// letters are the shares of a to z.
var letters = [26]float64{.05, .01, .02, .025, .075, .013, .013, .025, .045, .002, .006, .026, .018, .045, .047, .014, .001, .04, .042, .055,
	.018, .007, .011, .002, .012, .001}
