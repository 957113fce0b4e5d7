package rxset_test

import (
	"regexp"
	"testing"

	"rsc.io/binaryregexp"

	"github.com/testudo-sec/testudo/internal/rxset"
)

// cases are expressions with texts, most of which stand at the border between matching and not.
var cases = []struct {
	expr  string
	texts []string
}{
	{`(?m)\n^Q`, []string{"\nQ", "Q", "\n\nQ", "\n Q"}},
	{`(?m)Q$\n^Z`, []string{"Q\nZ", "QZ", "Q\n\nZ"}},
	{`(?m)^$`, []string{"", "\n", "Q", "Q\n", "Q\n\nZ"}},
	{`^$`, []string{"", "\n", "Q"}},
	{`Q$`, []string{"Q", "Q\n", "Q\nQ", "QZ"}},
	{`\AQ\z`, []string{"Q", "Q\n", "\nQ", "QQ"}},
	{`\bQ\b`, []string{"Q", "QQ", "-Q-", "éQé", "_Q", "Q_", "Q1", "Q\xff", "\xe2\x82Q"}},
	{`\BQ\B`, []string{"Q", "QQQ", "-Q-", "aQa", "éQé"}},
	{`\B`, []string{"", "Q", "é", "QéQ", "€", "\xe2\x82", "Q\xffQ", "-", "QQ"}},
	{`\b`, []string{"", "é", "Q", "\xff"}},
	{`\b$`, []string{"Q", "Q ", "", "é"}},
	{`\b\B`, []string{"Q", " ", ""}},
	{`$\b`, []string{"Q", " ", ""}},
	{`(?m)$\b|\b^Q`, []string{"Q", "Q\n", "\nQ", " \n ", ""}},
	{`(?i)sk`, []string{"SK", "ſk", "s\u212a", "ſ\u212a", "ŝk"}},
	{`(?i)[^s]`, []string{"s", "S", "ſ", "Q"}},
	{`(?i)\x{e9}`, []string{"é", "É", "e", "\xe9", "\xc9"}},
	{`[\x{fffd}]`, []string{"\ufffd", "\xff", "\xe2\x82", "Q", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xef\xbf\xbd"}},
	{`^.$`, []string{"é", "\xe2", "\xe2\x82", "\xe2\x82\xac", "\xc0\x80", "\n", "𝒳", "\xf0\x9d\x92"}},
	{`(?s)^.{3}$`, []string{"\xe2\x82Q", "é€𝒳", "\xf0\x9f\x98", "\xf0\x9f", "Q\nQ"}},
	{`[\x{d7ff}-\x{e000}]`, []string{"\ud7ff", "\ue000", "\ud7fe", "\ue001", "\xed\xa0\x80", "\ufffd"}},
	{`[^\x00-\x{10fffe}]`, []string{"\U0010ffff", "\U0010fffe", "\xf4\x8f\xbf\xbf"}},
	{`[\x80-\xff]{2}`, []string{"é", "éé", "\x80\xff", "\xc3\xa9", "ĀĀ"}},
	{`[^Q]`, []string{"Q", "\x80", "", "é"}},
	{`Q*?Z??`, []string{"", "x"}},
	{`(?:Q{2,3}Z){2}`, []string{"QQZQQQZ", "QQZQZ", "QQQQZQQZ"}},
	{`Q.*Z`, []string{"QZ", "Q\nZ", "ZQ", "Q é Z"}},
	{`(?s)Q.{5,9}Z.*K`, []string{"Q12345ZK", "Q1234ZK", "Q123456789Z K", "Q1234567890ZK"}},
	{`[^\s\S]`, []string{"", "Q"}},
	{`Q\b{3}`, []string{"Q"}},
	{`(?:^|Q)Z(?:$|K)`, []string{"Z", "QZK", "xZ", "Zx"}},
}

// TestCases holds each case in both dialects, alone and with all others.
func TestCases(t *testing.T) {
	var all []expression
	for _, c := range cases {
		re, err := regexp.Compile(c.expr)
		if err != nil {
			continue // it is among the cases that another parser takes
		}
		of := []expression{{rxset.Pattern{Expr: c.expr}, re}, {rxset.Pattern{Expr: c.expr, Binary: true}, binaryregexp.MustCompile(c.expr)}}
		s := newSet(t, of)
		rxset.Tireless(s)
		for _, text := range c.texts {
			check(t, s, s.NewScratch(), of, text)
		}
		all = append(all, of...)
	}
	s := newSet(t, all)
	rxset.Tireless(s)
	m := s.NewScratch()
	for _, c := range cases {
		for _, text := range c.texts {
			check(t, s, m, all, text)
			check(t, s, m, all, text+" "+text)
		}
	}
}

// TestGates holds that an expression is looked for only where all of its factors are, and is wanted.
func TestGates(t *testing.T) {
	s, err := rxset.New([]rxset.Pattern{{Expr: `(?s)QX.*ZX`}, {Expr: `\s`}}, rxset.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); st.Gated != 1 || st.Always != 1 {
		t.Fatalf("%+v", st)
	}
	rxset.Tireless(s)
	m := s.NewScratch()
	none := rxset.NewBits(2)
	early := 0
	for text, want := range map[string]int{"Q": 0, "-QX-": 0, "-ZX-": 0, "-QX-ZX-": 1, "-ZX-QX-": 1} {
		s.MatchWanted(text, none, m)
		early = rxset.Passes(s, m)
		s.Match(text, m)
		if got := rxset.Passes(s, m) - early; got != want {
			t.Errorf("%q: %d groups had a look, want %d", text, got, want)
		}
	}
}

// TestEarlyEnd holds that an automaton which is over leaves the one beside it going.
func TestEarlyEnd(t *testing.T) {
	s, err := rxset.New([]rxset.Pattern{{Expr: `\AQQ`}, {Expr: `\s`}}, rxset.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); st.Exact != 1 || st.Always != 1 {
		t.Fatalf("%+v", st)
	}
	m := s.NewScratch()
	for text, want := range map[string]rxset.Bits{"xxx y": {2}, "QQ y": {3}, "QQy": {1}, "xQQ": {0}, " xx": {2}} {
		if got := s.Match(text, m); got[0] != want[0] {
			t.Errorf("%q: %x, want %x", text, got, want)
		}
	}
}
