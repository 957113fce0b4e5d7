package match

import (
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/signal"
	"pgregory.net/rapid"
)

// agree reports where the index answers an event otherwise than the definition, "" for nowhere.
func agree(rules []Rule, x *Index, e *signal.Event, m *Matches) string {
	x.Match(e, m)
	var fired, faulted []int32
	for i, r := range rules {
		if r.Classes != nil && !slices.Contains(r.Classes, e.Class) {
			continue
		}
		switch Eval(r.Expr, e) {
		case Yes:
			fired = append(fired, int32(i))
		case Fault:
			faulted = append(faulted, int32(i))
		}
	}
	if slices.Equal(fired, m.Fired) && slices.Equal(faulted, m.Faulted) {
		return ""
	}
	out := fmt.Sprintf("fired %v, want %v; faulted %v, want %v\nevent:", m.Fired, fired, m.Faulted, faulted)
	out += fmt.Sprintf(" class %d", e.Class)
	e.Each(func(f signal.Field) bool {
		out += fmt.Sprintf("\n  %s = %q %q %v %v", f, e.Str(f), e.Strings(f), e.Int(f), e.IP(f))
		return true
	})
	for _, a := range e.UnmappedAttrs() {
		out += fmt.Sprintf("\n  %q = %q", a.Name, a.Value)
	}
	for _, lists := range [][2][]int32{{fired, m.Fired}, {m.Fired, fired}, {faulted, m.Faulted}, {m.Faulted, faulted}} {
		for _, i := range lists[0] {
			if !slices.Contains(lists[1], i) {
				out += fmt.Sprintf("\nrule %d: %s\n  %+v", i, String(rules[i].Expr), x.Plan(int(i)))
			}
		}
	}
	return out
}

// try judges random events by random rules, and returns how many pairs that were.
func try(d dice, events int) (pairs int, problem string) {
	rules := d.rules()
	x := NewIndex(rules)
	constants := constantsOf(rules)
	var m Matches
	for range events {
		e := d.event(constants)
		if problem := agree(rules, x, e, &m); problem != "" {
			return pairs, problem
		}
		for _, r := range rules {
			if got, want := Explain(r.Expr, e).Answer, Eval(r.Expr, e); got != want {
				return pairs, fmt.Sprintf("Explain says %v, Eval says %v: %s", got, want, String(r.Expr))
			}
		}
		pairs += len(rules)
	}
	return pairs, ""
}

// TestIndexAgreesWithEval holds the index to the definition of the form on random rules and events.
func TestIndexAgreesWithEval(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := dice(func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "") })
		if _, problem := try(d, 3); problem != "" {
			t.Fatal(problem)
		}
	})
}

// TestIndexAgreesWithEvalOften is the same without the cost of shrinking: tens of thousands of pairs, and millions where
// TESTUDO_LONG is set, as `make test-long` does.
func TestIndexAgreesWithEvalOften(t *testing.T) {
	want := 50_000
	if os.Getenv("TESTUDO_LONG") != "" {
		want = 5_000_000
	}
	for seed, pairs := uint64(1), 0; pairs < want; seed++ {
		r := rand.New(rand.NewPCG(seed, 7))
		n, problem := try(r.IntN, 12)
		if pairs += n; problem != "" {
			t.Fatalf("seed %d: %s", seed, problem)
		}
	}
}

// FuzzIndex reads rules and events from the fuzzer's bytes.
func FuzzIndex(f *testing.F) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 9))
		b := make([]byte, 1500)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d := dice(func(n int) int {
			if len(b) == 0 {
				return n - 1 // no chance comes true any more
			}
			v := int(b[0])
			b = b[1:]
			return v % n
		})
		if len(b) > 4000 {
			return
		}
		if _, problem := try(d, 4); problem != "" {
			t.Fatal(problem)
		}
	})
}

// TestIndexAgreesWithEvalOnWords asks everything that can be asked of a text with each of the words, of each of the words and
// many joined ones, all in one index, so that every value goes through folded tables.
func TestIndexAgreesWithEvalOnWords(t *testing.T) {
	on := Operand{Field: signal.FieldProcessCmdLine}
	var rules []Rule
	add := func(x Expr) { rules = append(rules, Rule{Expr: x}) }
	for _, w := range words {
		for _, fold := range []bool{false, true} {
			for op := OpEqual; op <= OpPathPrefix; op++ {
				add(Text(on, op, fold, w))
			}
			add(Text(on, OpGlob, fold, GlobEscape(w)+"*", "?"+GlobEscape(w)))
			add(Text(on, OpGlob, fold, "*"+GlobEscape(w)))
			add(Text(on, OpGlob, fold, "*"+GlobEscape(w)+"*"))
			flags := ""
			if fold {
				flags = "(?i)"
			}
			for _, pattern := range []string{"%s", "^%s", "(?:%s|xyzzy)+$", "[Aa]?%s[bB]?", "a.%s"} {
				re, err := regexp.Compile(flags + fmt.Sprintf(pattern, regexp.QuoteMeta(w)))
				if err != nil {
					continue // a word that is no UTF-8
				}
				add(&Atom{On: on, Op: OpRegex, Regex: re})
				add(&Atom{On: Operand{Field: on.Field, Steps: []Step{StepLower}}, Op: OpRegex, Regex: re})
			}
		}
	}
	x := NewIndex(rules)
	var m Matches
	r := rand.New(rand.NewPCG(3, 4))
	var texts []string
	for _, w := range words {
		texts = append(texts, w, strings.ToUpper(w), "a"+w, w+"b", "\xc3"+w)
		for range 3 {
			texts = append(texts, w+words[r.IntN(len(words))], words[r.IntN(len(words))]+strings.ToUpper(w)+words[r.IntN(len(words))])
		}
	}
	for i := 0; i < len(texts); i += require.Stride(5) {
		text := texts[i]
		e := &signal.Event{Class: signal.ClassProcessActivity}
		e.SetString(on.Field, text)
		if problem := agree(rules, x, e, &m); problem != "" {
			t.Fatal(problem)
		}
	}
}

// TestAttackersText gives an index a long text of nothing but what its rules look for, whole and nearly: the work for a byte of it is
// bounded, and every atom is answered once.
func TestAttackersText(t *testing.T) {
	var rules []Rule
	var text strings.Builder
	for i := range 2000 {
		word := fmt.Sprintf("-arg%d%s", i, strings.Repeat("a", i%40))
		rules = append(rules, Rule{Expr: And{Text(Operand{Field: signal.FieldProcessCmdLine}, OpContains, true, word), Exists(signal.FieldUserName)}})
		text.WriteString(word[:len(word)-1])
		text.WriteString(strings.ToUpper(word))
	}
	x := NewIndex(rules)
	e := &signal.Event{Class: signal.ClassProcessActivity}
	e.SetString(signal.FieldProcessCmdLine, text.String())
	s := newScratch(x)
	s.begin(e, 1<<x.classBit(e.Class))
	s.light()
	if most := 12 * text.Len(); s.lit.Steps > most {
		t.Errorf("%d comparisons for %d bytes, want at most %d", s.lit.Steps, text.Len(), most)
	}
	if len(s.lit.Found) != len(rules) {
		t.Errorf("%d tokens found, want %d", len(s.lit.Found), len(rules))
	}
	s.end()
	if cap(s.text) > keptText {
		t.Errorf("%d bytes are kept for the next event", cap(s.text))
	}
}

// TestTextsAreNotJoined looks for what stands in no text of the event, only in the end of one and the beginning of the next.
func TestTextsAreNotJoined(t *testing.T) {
	e := &signal.Event{Class: signal.ClassProcessActivity}
	e.SetString(signal.FieldUserName, "mimi")
	e.SetString(signal.FieldProcessCmdLine, "KATZ")
	e.SetUnmapped("a", "dump")
	var m Matches
	for _, fold := range []bool{false, true} {
		x := NewIndex([]Rule{
			{Expr: Text(Operand{Any: true}, OpContains, fold, "mimiKATZ")},
			{Expr: Text(Operand{Any: true}, OpContains, fold, "dumpmimi")},
			{Expr: Text(Operand{Any: true}, OpContains, fold, "mimi")},
		})
		if x.Match(e, &m); len(m.Fired) != 1 || m.Fired[0] != 2 {
			t.Errorf("fold %v: %v fired, want the third only", fold, m.Fired)
		}
	}
}

// TestHasRun holds the run that is looked for in steps to one that is counted.
func TestHasRun(t *testing.T) {
	class := &[256]bool{'a': true}
	r := rand.New(rand.NewPCG(5, 6))
	for range 20_000 {
		text := make([]byte, r.IntN(40))
		for i := range text {
			text[i] = "aaaaab"[r.IntN(6)]
		}
		n := 1 + r.IntN(12)
		if got, want := hasRun(string(text), class, n), strings.Contains(string(text), strings.Repeat("a", n)); got != want {
			t.Fatalf("%q, %d in a row: %v, want %v", text, n, got, want)
		}
	}
}
