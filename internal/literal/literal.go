// Package literal finds every occurrence of many literal strings in one pass over a
// text: it is the prefilter of the secret rules and of the policy matcher.
//
// Literals may be case-sensitive or ASCII case-insensitive; both kinds live in one
// [Set]. The search is in two tiers. A filter samples the text every few bytes, hashes
// the three bytes that it sees there and asks a bitmap whether any literal has them at
// a place where the sampling must meet it; these look-ups do not depend on each other, so
// the processor overlaps them. Where the filter says perhaps, an Aho-Corasick automaton
// over case-folded bytes runs until it knows that no literal is under way.
//
// Cost: at most a small constant number of steps per byte whatever the text and the
// literals are, because the automaton consumes each byte at most once and the filter
// samples each at most a few times. A set whose shortest literal has three bytes samples every byte, four
// bytes every second, and so on; one or two bytes switch the filter off.
// Searching allocates nothing.
//
// The automaton is that of Aho and Corasick, "Efficient string matching" (CACM 18(6),
// 1975); sampling aligned grams goes back to Wu and Manber, "A fast algorithm for
// multi-pattern searching" (TR-94-17, University of Arizona, 1994).
package literal

import (
	"errors"
	"fmt"
	"unsafe"
)

// MaxBytes bounds the sum of the lengths of a set's literals.
const MaxBytes = 16 << 20

// A Pattern is one literal to look for.
type Pattern struct {
	Text string
	Fold bool // ASCII letters match in either case
}

// A Match is one occurrence: text[Start:End] is the pattern with that index in the
// slice that Compile was given.
type Match struct {
	Pattern    int
	Start, End int
}

// Set is a compiled set of literals. It does not change after Compile, so it is safe for
// concurrent use.
type Set struct {
	patterns []Pattern
	auto     automaton
	filter   filter
}

// Compile builds a set. A pattern may occur several times and then matches under each index. It
// is an error if a pattern is empty or if all together are longer than MaxBytes.
func Compile(patterns []Pattern) (*Set, error) {
	total, shortest := 0, 0
	for i, p := range patterns {
		if p.Text == "" {
			return nil, fmt.Errorf("literal %d is empty", i)
		}
		if total += len(p.Text); total > MaxBytes {
			return nil, errors.New("literals are longer than 16 MiB together")
		}
		if shortest == 0 || len(p.Text) < shortest {
			shortest = len(p.Text)
		}
	}
	s := &Set{patterns: append([]Pattern(nil), patterns...)}
	s.auto.build(s.patterns)
	s.filter.build(s.patterns, shortest)
	return s, nil
}

// Len returns the number of patterns.
func (s *Set) Len() int { return len(s.patterns) }

// Pattern returns the pattern of that index.
func (s *Set) Pattern(i int) Pattern { return s.patterns[i] }

// Size returns the bytes that the tables take.
func (s *Set) Size() int { return s.auto.size() + s.filter.size() }

// Find calls yield for every occurrence, in rising order of End and, for the same End,
// longest first, until yield returns false. Occurrences may overlap.
func (s *Set) Find(text []byte, yield func(Match) bool) {
	if len(s.patterns) == 0 {
		return
	}
	if s.filter.stride == 0 {
		s.findPlain(text, yield)
		return
	}
	s.findFiltered(text, yield)
}

// FindString is Find over a string, without copying it.
func (s *Set) FindString(text string, yield func(Match) bool) {
	s.Find(unsafe.Slice(unsafe.StringData(text), len(text)), yield)
}

// Contains reports whether any literal occurs.
func (s *Set) Contains(text []byte) bool {
	found := false
	s.Find(text, func(Match) bool {
		found = true
		return false
	})
	return found
}

// findPlain runs the automaton over everything, but for runs of bytes that begin no
// literal.
func (s *Set) findPlain(text []byte, yield func(Match) bool) {
	state := uint32(0)
	for i := 0; i < len(text); i++ {
		if state == 0 {
			for i < len(text) && !s.auto.starts[text[i]] {
				i++
			}
			if i == len(text) {
				return
			}
		}
		state = s.auto.next(state, text[i])
		if s.auto.report[state] != 0 && !s.emit(text, state, i+1, yield) {
			return
		}
	}
}

// findFiltered alternates between sampling and the automaton.
//
// What makes it complete: every literal has an offset o such that whichever of the
// positions o..o+stride-1 from its start the sampling meets, the gram there is in the
// filter. So a literal that begins at or after the place where sampling resumed is met, at most
// filter.back bytes after its start; the automaton starts that far before the sample. Starts
// only move forward, so a run that is still under way covers what a later sample
// asks for. The automaton is left only once it is at least stride+shallowDepth past the
// sample that started it and every literal under way began at most shallowDepth bytes ago:
// those begin after that sample, and sampling resumes where the earliest of them could begin.
func (s *Set) findFiltered(text []byte, yield func(Match) bool) {
	n, stride, shallow := len(text), s.filter.stride, s.auto.shallow
	state, done := uint32(0), 0 // the automaton's state after text[:done]
	for p := 0; ; {
		if p = s.filter.next(text, p); p >= n {
			return
		}
		if start := p - s.filter.back; start > done {
			state, done = 0, start
		}
		leave := p + stride + shallowDepth
		for done < n {
			state = s.auto.next(state, text[done])
			done++
			if s.auto.report[state] != 0 && !s.emit(text, state, done, yield) {
				return
			}
			if done >= leave && state < shallow {
				break
			}
		}
		if done >= n {
			return
		}
		p = done - shallowDepth
	}
}

// emit reports the literals that end in a state, longest first.
func (s *Set) emit(text []byte, state uint32, end int, yield func(Match) bool) bool {
	for at := s.auto.report[state]; at != 0; at = s.auto.reports[at].link {
		r := &s.auto.reports[at]
		for _, id := range s.auto.ids[r.from:r.to] {
			p := &s.patterns[id]
			start := end - len(p.Text)
			if !p.Fold && string(text[start:end]) != p.Text {
				continue
			}
			if !yield(Match{Pattern: int(id), Start: start, End: end}) {
				return false
			}
		}
	}
	return true
}

// fold returns the lower case of an ASCII letter, and any other byte as it is.
func fold(b byte) byte {
	if 'A' <= b && b <= 'Z' {
		return b + 'a' - 'A'
	}
	return b
}
