package literal

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/testudo-sec/testudo/internal/require"
)

// naive is what Find must agree with.
func naive(patterns []Pattern, text []byte) []Match {
	var out []Match
	for id, p := range patterns {
		for i := 0; i+len(p.Text) <= len(text); i++ {
			part := text[i : i+len(p.Text)]
			if string(part) == p.Text || p.Fold && string(lower(part)) == string(lower([]byte(p.Text))) {
				out = append(out, Match{id, i, i + len(p.Text)})
			}
		}
	}
	slices.SortFunc(out, func(a, b Match) int {
		return cmp.Or(cmp.Compare(a.End, b.End), cmp.Compare(a.Start, b.Start), cmp.Compare(a.Pattern, b.Pattern))
	})
	return out
}

func lower(b []byte) []byte {
	out := bytes.Clone(b)
	for i := range out {
		out[i] = fold(out[i])
	}
	return out
}

func collect(t testing.TB, s *Set, text []byte) []Match {
	t.Helper()
	var out []Match
	s.Find(text, func(m Match) bool {
		out = append(out, m)
		return true
	})
	return out
}

func compile(t testing.TB, patterns []Pattern) *Set {
	t.Helper()
	s, err := Compile(patterns)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFind(t *testing.T) {
	for _, tc := range []struct {
		name     string
		patterns []Pattern
		text     string
	}{
		{"none", nil, "text"},
		{"empty text", []Pattern{{"a", false}}, ""},
		{"single byte", []Pattern{{"a", false}, {"B", true}}, "abBA"},
		{"suffixes of each other", []Pattern{{"ghp_token", false}, {"token", true}, {"ken", false}, {"n", false}}, "xx ghp_token TOKEN n"},
		{"same text twice", []Pattern{{"AKIA", false}, {"akia", true}, {"AKIA", false}}, "AKIA akia"},
		{"overlap itself", []Pattern{{"aaaa", false}}, "aaaaaaaaa"},
		{"at both ends", []Pattern{{"password", true}}, "PASSWORD-----------password"},
		{"case kept", []Pattern{{"ABCD", false}, {"abcd", false}}, "ABCDabcdAbCd"},
		{"bytes above ascii", []Pattern{{"\xff\xfe\xfd", true}, {"µµ", true}}, "a\xff\xfe\xfdµµ\xdf\xde\xdd"},
		{"folded neighbours differ", []Pattern{{"a@b`c", true}, {"x[y{z", true}}, "A@B`C a`b@c X[Y{Z x{y[z"},
		{"zero bytes", []Pattern{{"\x00\x00\x00", true}}, "ab\x00\x00\x00\x00cd"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := compile(t, tc.patterns)
			want := naive(tc.patterns, []byte(tc.text))
			if d := gocmp.Diff(want, collect(t, s, []byte(tc.text))); d != "" {
				t.Error(d)
			}
			if got := s.Contains([]byte(tc.text)); got != (len(want) > 0) {
				t.Errorf("Contains = %v with %d matches", got, len(want))
			}
		})
	}
}

func TestStops(t *testing.T) {
	for _, pattern := range []string{"a", "aaaa"} {
		s, n := compile(t, []Pattern{{pattern, false}, {pattern, true}}), 0
		s.FindString(strings.Repeat("a", 100), func(Match) bool {
			n++
			return n < 3
		})
		if n != 3 {
			t.Errorf("%q: yield was called %d times after it said stop at 3", pattern, n)
		}
	}
}

func TestCompileErrors(t *testing.T) {
	if _, err := Compile([]Pattern{{"a", false}, {"", false}}); err == nil || err.Error() != "literal 1 is empty" {
		t.Errorf("empty literal: %v", err)
	}
	if _, err := Compile([]Pattern{{strings.Repeat("a", MaxBytes+1), false}}); err == nil {
		t.Error("a literal above MaxBytes was taken")
	}
}

// TestAgreesWithNaive draws literals and texts over a small alphabet, so that prefixes, suffixes
// and near misses are common, for every stride and for large sets with sparse rows.
func TestAgreesWithNaive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shortest := rapid.IntRange(1, 7).Draw(t, "shortest")
		letter := rapid.SampledFrom([]byte("abABc_`@\x00\xff"))
		patterns := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Pattern {
			return Pattern{string(rapid.SliceOfN(letter, shortest, shortest+6).Draw(t, "p")), rapid.Bool().Draw(t, "fold")}
		}), 1, 30).Draw(t, "patterns")
		var text []byte
		for range rapid.IntRange(0, 12).Draw(t, "pieces") {
			if rapid.Bool().Draw(t, "plant") {
				text = append(text, rapid.SampledFrom(patterns).Draw(t, "which").Text...)
			} else {
				text = append(text, rapid.SliceOfN(letter, 0, 12).Draw(t, "noise")...)
			}
		}
		s, err := Compile(patterns)
		if err != nil {
			t.Fatal(err)
		}
		var got []Match
		s.Find(text, func(m Match) bool {
			got = append(got, m)
			return true
		})
		if d := gocmp.Diff(naive(patterns, text), got); d != "" {
			t.Fatal(d)
		}
	})
}

func TestLargeSetAgreesWithNaive(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	lengths := []int{1, 3, 4, 6}
	for i := 0; i < len(lengths); i += require.Stride(2) {
		shortest := lengths[i]
		patterns := manyPatterns(r, 6000, shortest)
		s := compile(t, patterns)
		if int(s.auto.dense) == len(s.auto.report) {
			t.Fatalf("%d states are all dense: the test does not reach the sparse rows", s.auto.dense)
		}
		var text []byte
		for range 60 {
			text = append(text, patterns[r.IntN(len(patterns))].Text...)
			text = append(text, "some filler text"[:r.IntN(16)]...)
		}
		if d := gocmp.Diff(naive(patterns, text), collect(t, s, text)); d != "" {
			t.Errorf("shortest %d: %.2000s", shortest, d)
		}
	}
}

func manyPatterns(r *rand.Rand, n, shortest int) []Pattern {
	out := make([]Pattern, n)
	for i := range out {
		b := make([]byte, shortest+r.IntN(20))
		for j := range b {
			b[j] = "abcdefghijklmnopqrstuvwxyzABCDEF_-.0123456789"[r.IntN(45)]
		}
		out[i] = Pattern{string(b), r.IntN(2) == 0}
	}
	return out
}

func TestAllocatesNothing(t *testing.T) {
	s := compile(t, manyPatterns(rand.New(rand.NewPCG(3, 4)), 500, 4))
	text, n := []byte(strings.Repeat("the quick brown fox abcd ", 100)), 0
	if got := testing.AllocsPerRun(20, func() {
		s.Find(text, func(Match) bool { n++; return true })
	}); got != 0 {
		t.Errorf("%v allocations a search", got)
	}
}

func FuzzFind(f *testing.F) {
	f.Add("key\ntoken\nAKIA", "my KEY is AKIAtoken", uint8(3))
	f.Add("a\naa\naaa\naaaa", "aaaaaaa", uint8(5))
	f.Add("abcd", "abcabcdabcABCD", uint8(0))
	f.Add("password\nsword\nwordpass", "passwordpasswordpass", uint8(7))
	f.Fuzz(func(t *testing.T, list, text string, folds uint8) {
		if len(list) > 300 || len(text) > 2000 {
			return
		}
		var patterns []Pattern
		for i, p := range strings.Split(list, "\n") {
			if p != "" {
				patterns = append(patterns, Pattern{p, folds>>(i%8)&1 == 1})
			}
		}
		got, want := collect(t, compile(t, patterns), []byte(text)), naive(patterns, []byte(text))
		if d := gocmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	})
}

// BenchmarkFind measures text without and with literals, and the worst text for a set:
// nothing but beginnings of literals.
func BenchmarkFind(b *testing.B) {
	r := rand.New(rand.NewPCG(5, 6))
	source := bytes.Repeat([]byte("func (s *Server) handle(w http.ResponseWriter, r *http.Request) error {\n\tif err := s.check(r.Context()); err != nil {\n\t\treturn fmt.Errorf(\"request %s: %w\", r.URL.Path, err)\n\t}\n"), 2000)
	for _, tc := range []struct{ n, shortest int }{{50, 4}, {300, 4}, {300, 5}, {3000, 4}, {3000, 2}} {
		s := compile(b, manyPatterns(r, tc.n, tc.shortest))
		for name, text := range map[string][]byte{
			"source": source,
			"worst":  bytes.Repeat([]byte(s.patterns[0].Text[:tc.shortest]), 50000),
		} {
			b.Run(fmt.Sprintf("%dx%d/%s", tc.n, tc.shortest, name), func(b *testing.B) {
				b.SetBytes(int64(len(text)))
				b.ReportAllocs()
				for b.Loop() {
					s.Find(text, func(Match) bool { return true })
				}
			})
		}
	}
}
