package rxset_test

import (
	"math/rand/v2"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/testudo-sec/testudo/internal/rxset"
)

// TestSmall holds that small automata, and the words before them, say what the expressions do.
func TestSmall(t *testing.T) {
	t.Parallel()
	sets := 250
	if os.Getenv("TESTUDO_LONG") != "" {
		sets = 60_000
	}
	matched, worded := 0, 0
	for seed := range sets {
		g := grammar{rand.New(rand.NewPCG(uint64(seed), 7))}
		var of []expression
		for range 1 + g.IntN(8) {
			if e, ok := g.random(); ok {
				of = append(of, e)
			}
		}
		s, err := rxset.New(patterns(of), rxset.Options{Small: true})
		if err != nil {
			t.Fatal(err)
		}
		tiers, err := rxset.NewTiers(patterns(of), rxset.Options{})
		if err != nil {
			t.Fatal(err)
		}
		rxset.Tireless(s)
		m, tm := s.NewScratch(), tiers.NewScratch()
		for i := range 60 {
			text := g.text()
			if i%20 == 0 {
				text = strings.Repeat(text, 100)
			}
			matched += check(t, s, m, of, text)
			got := tiers.MatchWanted(text, nil, tm)
			for i, e := range of {
				if want := e.want.MatchString(text); got.Has(i) != want {
					t.Fatalf("seed %d: tiers: %q in %q: %v", seed, e.Expr, text, !want)
				}
			}
			wanted := rxset.NewBits(len(of))
			for i := range of {
				if g.IntN(3) == 0 {
					wanted.Add(i)
				}
			}
			got = s.MatchWanted(text, wanted, m)
			for i, e := range of {
				if want := e.want.MatchString(text); wanted.Has(i) && got.Has(i) != want {
					t.Fatalf("seed %d: wanted: %q in %q: %v", seed, e.Expr, text, !want)
				}
			}
		}
		worded += rxset.Worded(s)
	}
	if matched < sets*50 || worded < sets/4 {
		t.Errorf("%d matches, %d expressions with words show too little", matched, worded)
	}
}

// TestFew: where few expressions with words are wanted, nobody looks for the words. One that is too large for an automaton is found all the same.
func TestFew(t *testing.T) {
	t.Parallel()
	large := `needle\pL{900}`
	list := []rxset.Pattern{{Expr: large}, {Expr: `haystack\s+x`}, {Expr: `straw(?:berry)+z`}, {Expr: `barnyard.*cow`}, {Expr: `tractor[0-9]+q`}}
	s, err := rxset.New(list, rxset.Options{Small: true})
	if err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); st.Left != 1 {
		t.Fatalf("%+v: the large one has an automaton", st)
	}
	text := "tractor12q needle" + strings.Repeat("é", 900) + " haystack x strawberryz"
	m := s.NewScratch()
	for mask := range 1 << len(list) {
		wanted := rxset.NewBits(len(list))
		for i := range list {
			if mask>>i&1 != 0 {
				wanted.Add(i)
			}
		}
		got := s.MatchWanted(text, wanted, m)
		for i := range list {
			if want := i != 3; wanted.Has(i) && got.Has(i) != want {
				t.Errorf("wanted %b: expression %d: %v", mask, i, !want)
			}
		}
	}
}

// TestWords holds that what an expression matches has one of its words, but where letters fold to s and k.
func TestWords(t *testing.T) {
	t.Parallel()
	g := grammar{rand.New(rand.NewPCG(8, 3))}
	matched := 0
	for range 6000 {
		expr := g.pick("", "(?sm)", "(?i)") + g.expression(g.IntN(5))
		re, err := regexp.Compile(expr)
		words := rxset.Words(expr)
		if err != nil || words == nil {
			continue
		}
		for range 40 {
			text := g.text()
			if !re.MatchString(text) || strings.ContainsAny(text, "ſ\u212a") {
				continue
			}
			matched++
			found := false
			for _, w := range words {
				found = found || strings.Contains(asciiLower(text), w)
			}
			if !found {
				t.Fatalf("%q matches %q, which has none of %q", expr, text, words)
			}
		}
	}
	if matched < 1000 {
		t.Errorf("%d matches show too little", matched)
	}
	for expr, want := range map[string]string{`(?i)\bunion\b.{1,20}select`: "select", `(?:<script|onload\s*=)`: "<script onload", `a{2}[xX]{3}`: "aaxxx", `[^a]`: "", `the|of`: "of the", `in|s`: "", `(?i)e(?:va|xe)l\(`: "eval( exel(",
		`(?:abc)?d`: "", `x*yzq+`: "yzq", `\$\{j`: "${j"} {
		if got := strings.Join(rxset.Words(expr), " "); got != want {
			t.Errorf("%s: %q, want %q", expr, got, want)
		}
	}
}

func asciiLower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// TestTiersOfTheCoreRuleSet: attacks, harmless values and texts in between, at once and again, are what Coraza's expressions say.
func TestTiersOfTheCoreRuleSet(t *testing.T) {
	t.Parallel()
	of := coreRules(t, 4)
	tiers, err := rxset.NewTiers(patterns(of), rxset.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for lane := range 2 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(lane), 1))
			m := tiers.NewScratch()
			all := append(append([]string(nil), values...), attacks...)
			for i := range 300 {
				text := all[r.IntN(len(all))]
				for range r.IntN(4) {
					other := all[r.IntN(len(all))]
					text = text[:r.IntN(len(text)+1)] + other[r.IntN(len(other)+1):]
				}
				if i%10 == 0 {
					text = strings.Repeat(text+" ", 20)
				}
				got := tiers.MatchWanted(text, nil, m)
				for i, e := range of {
					if want := e.want.MatchString(text); got.Has(i) != want {
						t.Errorf("%q in %q: %v", e.Expr, text, !want)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	if st := tiers.Stats(); st.Handed == 0 || st.Bytes > 64<<20 {
		t.Errorf("%+v", st)
	}
}
