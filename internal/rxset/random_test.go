package rxset_test

import (
	"math/rand/v2"
	"os"
	"regexp"
	"strings"
	"testing"

	"rsc.io/binaryregexp"

	"github.com/testudo-sec/testudo/internal/rxset"
)

// grammar makes expressions of all that the syntax has, over few characters so that texts meet them; most are rare elsewhere, so that
// expressions have rare factors.
type grammar struct{ *rand.Rand }

func (g grammar) pick(of ...string) string { return of[g.IntN(len(of))] }

func (g grammar) expression(depth int) string {
	switch n := g.IntN(16); {
	case depth == 0 || n < 4:
		return g.atom()
	case n < 7:
		return g.expression(depth-1) + g.expression(depth-1)
	case n < 9:
		return g.pick("(", "(?:", "(?i:", "(?s:", "(?m:", "(?-s:", "(?U:") + g.expression(depth-1) + "|" + g.expression(depth-1) + ")"
	case n < 12:
		return "(?:" + g.expression(depth-1) + ")" + g.pick("*", "+", "?", "*?", "+?", "{0,2}", "{2}", "{1,3}", "{2,}", "{0,9}", "{3,12}", "{0}")
	case n < 13:
		return g.pick(`^`, `$`, `\A`, `\z`, `\b`, `\B`) + g.expression(depth-1)
	case n < 15: // what has to wait in the middle
		wait := g.pick(".*", "(?s:.*)", "[^Q]+", "[^ÿ]*?", `\w+`, ".{0,20}", `(?:a|\PL)*`)
		return g.pick("Q", "Z", "(?i:qz)", "ſ", "ÿ", "(?:Q|é)") + wait + g.expression(depth-1) + g.pick("", g.pick("Q", "(?i:z)", "QZ", `\b`, "$"))
	}
	return g.expression(depth-1) + g.pick(`^`, `$`, `\z`, `\b`, `\B`)
}

func (g grammar) atom() string {
	return g.pick("Q", "Z", "k", "s", "QZ", "sk", " ", "_", "1", "é", "€", "ſ", "\u212a", "\ufffd", "µ", "ÿ", "𝒳", ".", `\n`, `\w`, `\W`, `\s`, `\S`, `\d`, `\D`, "[QZ]", "[^Q]", "[^A-Z]",
		`[\s\S]`, `[^\n]`, `[\x{80}-\x{ff}]`, `[Z-\x{10ffff}]`, `[^\x00-\x7f]`, `[\x{d700}-\x{e000}]`, `\pL`, `\PL`, `[é-€]`, `\x{bc}`, `\xff`, "(?i:k)", "(?i:S)", "(?i:ÿ)", "", "^", "$", `\b`, `\B`)
}

func (g grammar) text() string {
	var b strings.Builder
	for range g.IntN(10) {
		b.WriteString(g.pick("Q", "Z", "k", "s", "q", "K", "S", "QZ", " ", "_", "1", "\n", "\r", "é", "É", "€", "ſ", "\u212a", "\ufffd", "µ", "Μ", "ÿ", "Ÿ", "𝒳", "\x00", "\x80", "\xbf", "\xbc", "\xff", "\xe2", "\xe2\x82",
			"\xf0\x9f", "\xed\xa0\x80", "\xc0\x80", "\xf4\x90\x80\x80", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\uffff", "\U00010000", "\U0010ffff"))
	}
	return b.String()
}

// random compiles an expression in one of the dialects.
func (g grammar) random() (expression, bool) {
	e := expression{Pattern: rxset.Pattern{Expr: g.pick("", "", "(?sm)", "(?i)", "(?s)", "(?im)") + g.expression(g.IntN(5)), Binary: g.IntN(4) == 0}}
	if e.Binary {
		re, err := binaryregexp.Compile(e.Expr)
		e.want = re
		return e, err == nil
	}
	re, err := regexp.Compile(e.Expr)
	e.want = re
	return e, err == nil
}

// TestRandom holds that any expressions together match as each does alone.
func TestRandom(t *testing.T) {
	t.Parallel()
	sets := 250
	if os.Getenv("TESTUDO_LONG") != "" {
		sets = 60_000
	}
	matched, judged, gated, left := 0, 0, 0, 0
	for seed := range sets {
		g := grammar{rand.New(rand.NewPCG(uint64(seed), 2))}
		var of []expression
		for range 1 + g.IntN(8) {
			if e, ok := g.random(); ok {
				of = append(of, e)
			}
		}
		s := newSet(t, of)
		rxset.Tireless(s)
		m := s.NewScratch()
		for range 60 {
			matched += check(t, s, m, of, g.text())
			judged += len(of)
		}
		if st := s.Stats(); st.Plain > 0 && st.Left == 0 {
			t.Fatalf("seed %d: %+v: the regexp package answered for the automata", seed, st)
		}
		gated += s.Stats().Gated
		left += s.Stats().Left
	}
	if matched < judged/4 || matched > 3*judged/4 || gated < sets/5 || left > sets/50 {
		t.Errorf("%d of %d matched, %d patterns were gated, %d were left to the regexp package", matched, judged, gated, left)
	}
	t.Logf("%d of %d matched, %d patterns were gated", matched, judged, gated)
}

// TestFactors holds that a text which an expression matches has all factors of it.
func TestFactors(t *testing.T) {
	t.Parallel()
	g := grammar{rand.New(rand.NewPCG(3, 3))}
	matched := 0
	for range 250 {
		expr := g.pick("", "(?sm)", "(?i)") + g.expression(4)
		re, err := regexp.Compile(expr)
		if err != nil {
			continue
		}
		var factors []*regexp.Regexp
		for _, f := range rxset.Factors(expr) {
			factors = append(factors, regexp.MustCompile(f))
		}
		for range 20 {
			text := g.text()
			if !re.MatchString(text) {
				continue
			}
			matched++
			for _, f := range factors {
				if !f.MatchString(text) {
					t.Fatalf("%q matches %q, %q does not", expr, text, f)
				}
			}
		}
	}
	if matched < 200 {
		t.Errorf("%d matches show too little", matched)
	}
}

// FuzzMatch takes two expressions and a text.
func FuzzMatch(f *testing.F) {
	f.Add(`(?i)\bunion\b.*select`, `(?sm)^a$`, "UNION\nselect a", false)
	f.Add(`\B`, `[^a]`, "é\xe2\x82", false)
	f.Add(`\x{bc}.*\b`, `(?i)\xff|ſ`, "\xbc \xff", true)
	f.Fuzz(func(t *testing.T, first, second, text string, binary bool) {
		var of []expression
		for _, expr := range []string{first, second} {
			if len(expr) > 200 {
				return
			}
			e := expression{Pattern: rxset.Pattern{Expr: expr, Binary: binary}}
			if binary {
				re, err := binaryregexp.Compile(expr)
				// The older parser takes what the regexp package does not.
				if _, other := regexp.Compile(expr); err != nil || other != nil {
					return
				}
				e.want = re
			} else {
				re, err := regexp.Compile(expr)
				if err != nil {
					if _, err := rxset.New([]rxset.Pattern{e.Pattern}, rxset.Options{}); err == nil {
						t.Fatalf("%q is taken", expr)
					}
					return
				}
				e.want = re
			}
			of = append(of, e)
		}
		s := newSet(t, of)
		rxset.Tireless(s)
		check(t, s, s.NewScratch(), of, text)
	})
}
