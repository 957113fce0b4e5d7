package rxset_test

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/testudo-sec/testudo/internal/rxset"
)

// hostile are expressions that have many states, and the characters of texts that make them.
var hostile = []struct {
	name        string
	expressions []string
	pieces      []string
}{
	{"nested stars", []string{`^(a|aa)*b$`, `(x+x+)+y`, `((a*)*)*c`}, []string{"a", "x"}},
	{"windows", []string{`(?s)a.{0,100}b.{0,100}c`, `(?s)a.{90}b`, `(?s)b[^c]{40,80}a.{30}b`}, []string{"a", "b"}},
	{"counts", []string{`(?:a{1,20}b){2,40}c`, `(?:[ab]{3,900}c)d`, `a{1,1000}b{1,1000}c`}, []string{"a", "b", "c"}},
	{"binary windows", []string{`(?s)\xffa.{60}b`, `(?s)[\x80-\xff].{0,50}a`}, []string{"\xff", "a", "b", "\x80"}},
	{"words", []string{`(?i)\b(?:` + words() + `)\b.{0,60}\b(?:` + words() + `)\b`, `(?i)(?:` + words() + `).*(?:` + words() + `)x`}, strings.Split(words(), "|")},
	{"letters", []string{`\pL{20,60}\PL`, `(?i)[^\pL]\pL{5,40}\d`}, []string{"é", "a", "Ж", "1", " "}},
}

func words() string {
	var w []string
	for i := range 120 {
		w = append(w, string([]byte{byte('a' + i%7), byte('a' + i/7%7), byte('a' + i/49%7), 'q', byte('a' + i%5)}))
	}
	return strings.Join(w, "|")
}

func hostileSet(t testing.TB, expressions []string, memory int) (*rxset.Set, []expression) {
	t.Helper()
	var of []expression
	for _, e := range expressions {
		of = append(of, expression{rxset.Pattern{Expr: e}, regexp.MustCompile(e)})
	}
	s, err := rxset.New(patterns(of), rxset.Options{Memory: memory})
	if err != nil {
		t.Fatal(err)
	}
	return s, of
}

// TestHostile holds the bounds of memory and of work, and that the answers are right all the same.
func TestHostile(t *testing.T) {
	t.Parallel()
	const memory = 1 << 20
	for _, h := range hostile {
		t.Run(h.name, func(t *testing.T) {
			s, of := hostileSet(t, h.expressions, memory)
			m := s.NewScratch()
			r := rand.New(rand.NewPCG(5, 5))
			for range 15 {
				var b strings.Builder
				for range 20 + r.IntN(4000)/len(h.pieces[0]) {
					b.WriteString(h.pieces[r.IntN(len(h.pieces))])
				}
				text := b.String()
				before := s.Stats()
				check(t, s, m, of, text)
				after := s.Stats()
				if after.Bytes > memory {
					t.Fatalf("%d bytes held, %d permitted", after.Bytes, memory)
				}
				// The last step of each automaton may go beyond the bound, by one look at each of its nodes.
				if work, most := after.Visits-before.Visits, int64(rxset.Fuel(s, text)+rxset.LargestStep(s)); work > most {
					t.Fatalf("%d nodes were visited for a text of %d bytes, %d permitted", work, len(text), most)
				}
				if n := after.Flushes - before.Flushes; n > 2*int64(after.Fronts+after.Groups) {
					t.Fatalf("%d flushes for one text", n)
				}
			}
			if st := s.Stats(); st.Built == 0 && st.Plain == 0 {
				t.Errorf("%+v: nothing was done", st)
			}
		})
	}
}

// TestFallback holds that what the automata give up is answered by the plain matchers, all of it and nothing else.
func TestFallback(t *testing.T) {
	t.Parallel()
	of := coreRules(t, 1)
	asked := map[string]int{}
	ps := patterns(of)
	for i, e := range of {
		ps[i].Plain = counted{e.want, func() { asked[e.Expr]++ }}
	}
	s, err := rxset.New(ps, rxset.Options{Memory: 1})
	if err != nil {
		t.Fatal(err)
	}
	m := s.NewScratch()
	rxset.Tired(s)
	for _, v := range append(append([]string(nil), values...), attacks...) {
		clear(asked)
		check(t, s, m, of, v)
		for e, n := range asked {
			if n > 1 {
				t.Errorf("%q was asked %d times for one text", e, n)
			}
		}
	}
	if s.Stats().Plain == 0 {
		t.Error("nothing was left to the plain matchers")
	}
}

type counted struct {
	rxset.Matcher
	count func()
}

func (c counted) MatchString(text string) bool {
	c.count()
	return c.Matcher.MatchString(text)
}

// TestFlushes holds that an automaton which forgets while a text is read goes on rightly.
func TestFlushes(t *testing.T) {
	s, of := hostileSet(t, hostile[1].expressions, 1)
	rxset.Tireless(s)
	m := s.NewScratch()
	r := rand.New(rand.NewPCG(6, 6))
	for range 25 {
		text := make([]byte, 600)
		for i := range text {
			text[i] = "aabbbc"[r.IntN(6)]
		}
		check(t, s, m, of, string(text))
	}
	if st := s.Stats(); st.Flushes < 5 || st.Fallbacks == 0 {
		t.Errorf("%+v: the tables did not fill", st)
	}
}

// TestGivingUp holds that an automaton which is full, and gains nothing by being filled again, is seldom tried.
func TestGivingUp(t *testing.T) {
	s, of := hostileSet(t, hostile[1].expressions, 1)
	m := s.NewScratch()
	r := rand.New(rand.NewPCG(7, 7))
	tried := 0
	for i := range 200 {
		text := make([]byte, 300)
		for j := range text {
			text[j] = "ab"[r.IntN(2)]
		}
		before := s.Stats()
		check(t, s, m, of, string(text))
		if s.Stats().Built > before.Built && i >= 100 {
			tried++
		}
	}
	if st := s.Stats(); st.Flushes == 0 || tried == 0 || tried > 10 {
		t.Errorf("tried for %d of the last 100 texts, %+v", tried, st)
	}
}

// TestConcurrent holds that goroutines may share a set while its tables grow, are given up and made anew.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	for _, memory := range []int{1, 1 << 20} {
		of := coreRules(t, 1)
		s, err := rxset.New(patterns(of), rxset.Options{Memory: memory})
		if err != nil {
			t.Fatal(err)
		}
		texts := newTexts(9, of)
		var all []string
		var want []rxset.Bits
		for range 40 {
			text := texts.next()
			bits := rxset.NewBits(len(of))
			for i, e := range of {
				if e.want.MatchString(text) {
					bits.Add(i)
				}
			}
			all, want = append(all, text), append(want, bits)
		}
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				m := s.NewScratch()
				for i := range 3 * len(all) {
					at := (i*7 + g*11) % len(all)
					got := s.Match(all[at], m)
					for j := range got {
						if got[j] != want[at][j] {
							t.Errorf("%q: %x, want %x", all[at], got, want[at])
							return
						}
					}
				}
			})
		}
		wg.Wait()
	}
}

// TestWanted holds that what is wanted is answered in full, and that nothing is answered that does not match.
func TestWanted(t *testing.T) {
	t.Parallel()
	of := coreRules(t, 1)
	for i := range of {
		of[i].Class = i % 3
	}
	s := newSet(t, of)
	m := s.NewScratch()
	r := rand.New(rand.NewPCG(8, 8))
	for _, v := range append(append([]string(nil), values...), attacks...) {
		all := append(rxset.Bits(nil), s.Match(v, m)...)
		wanted := rxset.NewBits(len(of))
		for i := range of {
			if i%3 == len(v)%3 && r.IntN(2) == 0 {
				wanted.Add(i)
			}
		}
		got := s.MatchWanted(v, wanted, m)
		for i := range all {
			if got[i]&wanted[i] != all[i]&wanted[i] || got[i]&^all[i] != 0 {
				t.Fatalf("%q: %x of %x, all are %x", v, got, wanted, all)
			}
		}
		if s.MatchBytes([]byte(v), m).Has(0) != all.Has(0) {
			t.Fatalf("%q: bytes are answered otherwise", v)
		}
	}
}

// TestOrder holds that the order of patterns and who is with whom does not matter.
func TestOrder(t *testing.T) {
	t.Parallel()
	of := coreRules(t, 1)
	r := rand.New(rand.NewPCG(4, 4))
	texts := newTexts(4, of)
	var all []string
	for range 20 {
		all = append(all, texts.next())
	}
	for range 2 {
		r.Shuffle(len(of), func(i, j int) { of[i], of[j] = of[j], of[i] })
		some := of[:1+r.IntN(len(of))]
		s := newSet(t, some)
		m := s.NewScratch()
		for _, text := range all {
			check(t, s, m, some, text)
		}
	}
}

// TestNoAllocation holds that a warm set allocates nothing.
func TestNoAllocation(t *testing.T) {
	s := newSet(t, coreRules(t, 1))
	m := s.NewScratch()
	for _, c := range benchTexts() {
		for range 50 {
			s.Match(c.text, m) // each time as much becomes warm as one text may cost
		}
		before := s.Stats()
		n := testing.AllocsPerRun(20, func() { s.Match(c.text, m) })
		if after := s.Stats(); n != 0 && after == before {
			t.Errorf("%s: %v allocations", c.name, n)
		} else if after != before {
			t.Errorf("%s: never warm: %+v, %+v", c.name, before, after)
		}
	}
}

// TestDeep holds that expressions which are nested deeply take no time that doubles with each level.
func TestDeep(t *testing.T) {
	for _, level := range []string{"(?:x%sy)+", "(?:%s.*)+", "(?:a|%s)*b", "(?:%s){2,}|c", "(?:(?:%s)?d){1,2}"} {
		expr := "z"
		for range 9 {
			expr = strings.Replace(level, "%s", expr, 1)
		}
		for range 90 {
			expr = "Z(?:" + strings.Replace("(?:q%s)+", "%s", expr, 1) + ")*r"
		}
		re, err := regexp.Compile(expr)
		if err != nil {
			t.Fatal(err)
		}
		of := []expression{{rxset.Pattern{Expr: expr}, re}}
		s := newSet(t, of)
		check(t, s, s.NewScratch(), of, "qqxzyr")
	}
}

// TestErrors holds what New says of expressions that are wrong.
func TestErrors(t *testing.T) {
	for expr, want := range map[string]string{
		`a(`:         "pattern 1: error parsing regexp: missing closing ): `a(`",
		`a{1001}`:    "pattern 1: error parsing regexp: invalid repeat count: `{1001}`",
		`(?<=a)b`:    "pattern 1: error parsing regexp: invalid named capture: `(?<=a)b`",
		"a\xff":      "pattern 1: error parsing regexp: invalid UTF-8: `\xff`",
		`[z-a]`:      "pattern 1: error parsing regexp: invalid character class range: `z-a`",
		`\pN\p{Foo}`: "pattern 1: error parsing regexp: invalid character class range: `\\p{Foo}`",
	} {
		_, err := rxset.New([]rxset.Pattern{{Expr: "a"}, {Expr: expr}}, rxset.Options{})
		if err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", expr, err, want)
		}
	}
	s, err := rxset.New(nil, rxset.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if s.Match("a", s.NewScratch()).Any() || s.Len() != 0 {
		t.Error("nothing matches")
	}
}
