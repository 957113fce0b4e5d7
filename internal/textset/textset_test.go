package textset

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// finders are the four questions, each with its definition.
var finders = []struct {
	name  string
	build func([]Constant) interface{ Find(string, *Marks) }
	holds func(text, constant string) bool
}{
	{"equal", func(c []Constant) interface{ Find(string, *Marks) } { return NewEqual(c) }, func(t, c string) bool { return t == c }},
	{"prefix", func(c []Constant) interface{ Find(string, *Marks) } { return NewPrefix(c) }, strings.HasPrefix},
	{"suffix", func(c []Constant) interface{ Find(string, *Marks) } { return NewSuffix(c) }, strings.HasSuffix},
	{"contains", func(c []Constant) interface{ Find(string, *Marks) } { return NewContains(c) }, strings.Contains},
}

func number(texts []string) []Constant {
	texts = slices.Clone(texts)
	slices.Sort(texts)
	texts = slices.DeleteFunc(slices.Compact(texts), func(t string) bool { return t == "" })
	constants := make([]Constant, len(texts))
	for i, t := range texts {
		constants[i] = Constant{t, int32(i)}
	}
	return constants
}

// check holds every set against its definition.
func check(t interface {
	Helper()
	Fatalf(string, ...any)
}, constants []Constant, text string) {
	t.Helper()
	var m Marks
	for _, f := range finders {
		set := f.build(constants)
		m.Clear(len(constants))
		set.Find(text, &m)
		set.Find(text, &m) // what is marked already is not listed twice
		got := slices.Clone(m.Found)
		slices.Sort(got)
		var want []int32
		for _, c := range constants {
			if f.holds(text, c.Text) {
				want = append(want, c.ID)
			}
			if m.Has(c.ID) != f.holds(text, c.Text) {
				t.Fatalf("%s: Has(%q) = %v in %q", f.name, c.Text, m.Has(c.ID), text)
			}
		}
		if !slices.Equal(want, got) {
			t.Fatalf("%s: %q of %v: found %v, want %v", f.name, text, constants, got, want)
		}
	}
}

func TestFind(t *testing.T) {
	long := strings.Repeat("ab", 60)
	for _, tc := range []struct {
		name  string
		texts []string
		text  string
	}{
		{"none", nil, "text"},
		{"empty text", []string{"a", "ab", "abc", "abcd", "abcde"}, ""},
		{"every length", []string{"a", "ab", "abc", "abcd", "abcde", "abcdef", "abcdefg", "abcdefgh", "abcdefghi", "abcdefghijklmnop", "abcdefghijklmnopq"}, "abcdefghijklmnopqr"},
		{"endings", []string{`\cmd.exe`, "cmd.exe", ".exe", "exe", "e", `system32\cmd.exe`, `32\cmd.exe`, `x\cmd.exe`}, `c:\windows\system32\cmd.exe`},
		{"zeros", []string{"\x00", "\x00\x00", "\x00\x00\x00\x00", "\x00\x00\x00\x00\x00\x00\x00\x00\x00"}, "\x00\x00\x00\x00\x00"},
		{"at the very end", []string{"tail", "ail", "il", "l", "xtail"}, "a text with a tail"},
		{"long", []string{long, long + "c", long[1:], "abab"}, "x" + long + long},
		{"one gram", []string{"aaaa", "aaaab", "baaaa", "aaaaa", "aaaaaa", "aaaaaaa", "aaaaaaaa", "aaaaaaaaa", "aaaaaaaaaa", "aaaaaaaaaaa", "aaaaaaaaaaaa"}, "baaaaaaaaaa"},
		{"bytes above ascii", []string{"\xff\xfe", "é", "\xa9x", "ı"}, "é\xff\xfeı\xc3\xa9x"},
	} {
		t.Run(tc.name, func(t *testing.T) { check(t, number(tc.texts), tc.text) })
	}
}

// TestAgreesWithDefinition draws constants and texts over few letters, so that they overlap, begin each other and nearly match.
func TestAgreesWithDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		letters := rapid.SampledFrom([]string{"ab", "abc.", "ab\x00\xff", "a\xc3\xa9", `abcdefghij\`}).Draw(t, "letters")
		word := func(max int) *rapid.Generator[string] {
			return rapid.Map(rapid.SliceOfN(rapid.SampledFrom([]byte(letters)), 0, max), func(b []byte) string { return string(b) })
		}
		constants := number(rapid.SliceOfN(word(20), 0, 60).Draw(t, "constants"))
		var text strings.Builder
		for range rapid.IntRange(0, 8).Draw(t, "pieces") {
			if len(constants) > 0 && rapid.Bool().Draw(t, "plant") {
				text.WriteString(rapid.SampledFrom(constants).Draw(t, "which").Text)
			} else {
				text.WriteString(word(12).Draw(t, "noise"))
			}
		}
		check(t, constants, text.String())
	})
}

// TestWorkIsBounded counts comparisons on the worst texts there are for a set: whatever the constants, a byte of
// the text costs at most a few.
func TestWorkIsBounded(t *testing.T) {
	sets := map[string][]string{}
	for n := range 300 { // all share every gram
		sets["one letter"] = append(sets["one letter"], strings.Repeat("a", n+1))
		sets["periods"] = append(sets["periods"], strings.Repeat("abc", n+1)+"d")
		sets["beginnings"] = append(sets["beginnings"], strings.Repeat("a", 40)+fmt.Sprint(n))
		sets["endings"] = append(sets["endings"], fmt.Sprint(n)+strings.Repeat("a", 40))
		sets["around"] = append(sets["around"], strings.Repeat("a", n%50)+"b"+strings.Repeat("a", n/6))
	}
	texts := []string{strings.Repeat("a", 20000), strings.Repeat("abc", 7000), strings.Repeat("aaab", 5000), strings.Repeat(strings.Repeat("a", 40)+"b", 500)}
	for name, set := range sets {
		constants := number(set)
		for i, text := range texts {
			for _, f := range finders {
				var m Marks
				m.Clear(len(constants))
				f.build(constants).Find(text, &m)
				if most := (maxEntries+2)*len(text) + len(constants); m.Steps > most {
					t.Errorf("%s: %s on text %d: %d comparisons for %d bytes, want at most %d", f.name, name, i, m.Steps, len(text), most)
				}
			}
		}
		// The bound holds because no gram has more entries and no entry is longer.
		c := NewContains(constants)
		for _, s := range c.slots {
			if s.to-s.from > maxEntries {
				t.Errorf("%s: a gram has %d entries", name, s.to-s.from)
			}
		}
		for _, e := range c.entries {
			if len(e.text) > maxVerified {
				t.Errorf("%s: an entry has %d bytes", name, len(e.text))
			}
		}
	}
}

// TestEqualInTheMiddle gives constants that differ only where the hash does not look at first.
func TestEqualInTheMiddle(t *testing.T) {
	var texts []string
	for i := range 500 {
		texts = append(texts, fmt.Sprintf("beginning%03dxxxxxxxxxxxxxmiddle of itxxxxxxxxxxxxxxxxthe ending", i))
	}
	constants := number(texts)
	e := NewEqual(constants)
	if !e.whole {
		t.Error("the hash does not read whole texts though the ends are all the same")
	}
	for _, c := range constants {
		if got := e.Lookup(c.Text); got != c.ID {
			t.Fatalf("Lookup(%q) = %d, want %d", c.Text, got, c.ID)
		}
	}
}

func TestMarksOutliveTheirStamps(t *testing.T) {
	var m Marks
	m.Clear(3)
	m.Add(1)
	m.current = ^uint32(0)
	m.stamp[2] = m.current
	m.Clear(3)
	for id := range int32(3) {
		if m.Has(id) {
			t.Errorf("%d is marked after everything was cleared", id)
		}
	}
}

func TestAllocatesNothing(t *testing.T) {
	constants := number(words(rand.New(rand.NewPCG(1, 2)), 2000, 4))
	var m Marks
	m.Clear(len(constants))
	m.Found = make([]int32, 0, len(constants))
	text := strings.Repeat("the quick brown fox jumps ", 40)
	for _, f := range finders {
		set := f.build(constants)
		if got := testing.AllocsPerRun(20, func() {
			m.Clear(len(constants))
			set.Find(text, &m)
		}); got != 0 {
			t.Errorf("%s: %v allocations", f.name, got)
		}
	}
}

func FuzzFind(f *testing.F) {
	f.Add("key\ntoken\nAKIA\na", "my KEY is AKIAtoken")
	f.Add("a\naa\naaa\naaaa\naaaaa", "aaaaaaa")
	f.Add("password\nsword\nwordpass\nss\nwo", "passwordpasswordpass")
	f.Fuzz(func(t *testing.T, list, text string) {
		if len(list) < 500 && len(text) < 3000 {
			check(t, number(strings.Split(list, "\n")), text)
		}
	})
}

func words(r *rand.Rand, n, shortest int) []string {
	out := make([]string, n)
	for i := range out {
		b := make([]byte, shortest+r.IntN(16))
		for j := range b {
			b[j] = `etaoinshrdlucmfwypvbgkjqxz.\-_ /0123`[min(r.IntN(36), r.IntN(36))]
		}
		out[i] = string(b)
	}
	return out
}

func BenchmarkFind(b *testing.B) {
	line := `c:\windows\system32\windowspowershell\v1.0\powershell.exe -noprofile -executionpolicy bypass -file "c:\program files\vendor\agent\collect.ps1" -interval 300`
	for _, n := range []int{10, 100, 1000, 5000} {
		constants := number(words(rand.New(rand.NewPCG(1, 2)), n, 4))
		for _, f := range finders {
			set := f.build(constants)
			for _, text := range []string{line[:46], line, strings.Repeat(line, 7)} {
				b.Run(fmt.Sprintf("%s/%d/%d", f.name, n, len(text)), func(b *testing.B) {
					var m Marks
					m.Clear(n)
					b.SetBytes(int64(len(text)))
					b.ReportAllocs()
					for b.Loop() {
						m.Clear(n)
						set.Find(text, &m)
					}
				})
			}
		}
	}
}
