package engine

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestPM holds the automaton, with states of either size, to a search without one: the leftmost of the words, of these the longest.
func TestPM(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	text := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = "aAbBcZ\x00\xff\xe9- "[r.IntN(11)]
		}
		return string(b)
	}
	for round := range 6000 {
		var words []string
		least := 1 + round%2*2 // words of three bytes and more are looked for where one may begin
		for range 1 + r.IntN(8) {
			words = append(words, lower(text(least+r.IntN(5))))
		}
		o, err := newPM(words)
		if err != nil {
			t.Fatal(err)
		}
		small := o.(*pm[uint16])
		var used [256]bool
		classes := 1
		for _, w := range words {
			for i := range len(w) {
				if !used[fold(w[i])] {
					used[fold(w[i])] = true
					classes++
				}
			}
		}
		large := makePM(words, used, classes)
		large.starts = small.starts
		if short(words) != (small.starts == nil) {
			t.Fatalf("%q: starts %t", words, small.starts != nil)
		}
		for range 8 {
			value := text(r.IntN(40))
			if r.IntN(2) == 0 {
				value = value[:len(value)/2] + words[r.IntN(len(words))] + value[len(value)/2:]
			}
			for at := range len(value) + 1 {
				start, end := -1, -1
				for i := at; i < len(value) && start < 0; i++ {
					for _, w := range words {
						if strings.HasPrefix(lower(value[i:]), w) && i+len(w) > end {
							start, end = i, i+len(w)
						}
					}
				}
				if a, b := small.leftmost(value, at); a != start || b != end {
					t.Fatalf("%q in %q from %d: %d %d, want %d %d", words, value, at, a, b, start, end)
				}
				if a, b := large.leftmost(value, at); a != start || b != end {
					t.Fatalf("large: %q in %q from %d: %d %d, want %d %d", words, value, at, a, b, start, end)
				}
				if at == 0 && (small.test(nil, value) != (start >= 0) || large.test(nil, value) != (start >= 0)) {
					t.Fatalf("%q in %q: test", words, value)
				}
			}
		}
	}
}

func short(words []string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return len(w) < 3 })
}

// lower folds ASCII letters.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		b[i] = fold(c)
	}
	return string(b)
}
