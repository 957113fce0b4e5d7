package gitleaks

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/internal/literal"
)

const (
	maxMatches = 10_000
	// maxCandidates bounds what one expression finds in one text, before it is judged.
	maxCandidates = 100_000
	// workBase and workPerByte bound what expressions look at in one text.
	workBase    = 1 << 20
	workPerByte = 256
	allowMark   = "gitleaks:allow"
)

// Set is the rules of a configuration, ready to search. It is safe for concurrent use.
type Set struct {
	config   *Config
	literals *literal.Set
	byWord   [][]int // per keyword: the rules that have it
	always   []int   // rules without keywords
}

// Match is a secret.
type Match struct {
	Rule       *Rule
	Start, End int // of the secret; both 0 where the rule is about the path alone
}

// Compile makes a set.
func (c *Config) Compile() (*Set, error) {
	s := &Set{config: c}
	index := map[string]int{}
	var patterns []literal.Pattern
	for i, r := range c.Rules {
		if r.Regex == nil && r.Path == nil {
			return nil, fmt.Errorf("rule %s has neither regex nor path", r.ID)
		}
		if len(r.Keywords) == 0 {
			s.always = append(s.always, i)
		}
		for _, k := range r.Keywords {
			at, known := index[k]
			if !known {
				at = len(patterns)
				index[k] = at
				patterns = append(patterns, literal.Pattern{Text: k, Fold: true})
				s.byWord = append(s.byWord, nil)
			}
			s.byWord[at] = append(s.byWord[at], i)
		}
	}
	if len(patterns) > 0 {
		var err error
		if s.literals, err = literal.Compile(patterns); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Rules returns the rules of the set.
func (s *Set) Rules() []*Rule { return s.config.Rules }

// FindIn calls yield for every secret in a file of that path and commit (empty where there is none) until it returns
// false. It reports whether the whole text was looked at.
func (s *Set) FindIn(path, commit string, text []byte, yield func(Match) bool) (complete bool) {
	if slices.ContainsFunc(s.config.Allow, func(a *Allow) bool { return len(a.targets) == 0 && a.wholeFile(path, commit) }) {
		return true
	}
	f := &finder{set: s, path: path, commit: commit, text: text, work: workBase + workPerByte*len(text)}
	for _, i := range s.candidates(text) {
		f.rule(s.config.Rules[i])
	}
	slices.SortStableFunc(f.matches, func(a, b Match) int { return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(b.End, a.End)) })
	for _, m := range f.matches {
		if !yield(m) {
			break
		}
	}
	return f.work >= 0 && len(f.matches) < maxMatches
}

// candidates returns the rules of which a keyword occurs, in their order.
func (s *Set) candidates(text []byte) []int {
	out := slices.Clone(s.always)
	if s.literals == nil {
		return out
	}
	seen := make([]bool, len(s.byWord))
	left := len(s.byWord)
	s.literals.Find(text, func(m literal.Match) bool {
		if !seen[m.Pattern] {
			seen[m.Pattern] = true
			left--
			out = append(out, s.byWord[m.Pattern]...)
		}
		return left > 0
	})
	slices.Sort(out)
	return slices.Compact(out)
}

type finder struct {
	set     *Set
	path    string
	commit  string
	text    []byte
	work    int
	matches []Match

	lineStart, lineEnd int // of the match looked at last
	marked             bool
}

func (f *finder) rule(r *Rule) {
	if r.Path != nil && !r.Path.MatchString(f.path) {
		return
	}
	allows := f.allows(r)
	if slices.ContainsFunc(allows, func(a *Allow) bool { return a.wholeFile(f.path, f.commit) }) {
		return
	}
	if r.Regex == nil {
		f.matches = append(f.matches, Match{Rule: r})
		return
	}
	if f.work < 0 || len(f.matches) >= maxMatches {
		return
	}
	// All at a time: an expression that went on behind a match by itself would take that for the beginning of the text.
	all := r.Regex.FindAllSubmatchIndex(f.text, maxCandidates)
	if f.work -= len(f.text); len(all) == maxCandidates {
		f.work = -1
	}
	for _, g := range all {
		if len(f.matches) < maxMatches {
			f.match(r, allows, g)
		}
	}
}

// allows are the lists that speak of a rule.
func (f *finder) allows(r *Rule) []*Allow {
	out := slices.Clone(r.Allow)
	for _, a := range f.set.config.Allow {
		if len(a.targets) == 0 || slices.Contains(a.targets, r.ID) {
			out = append(out, a)
		}
	}
	return out
}

// match takes what the expression found.
func (f *finder) match(r *Rule, allows []*Allow, g []int) {
	from, to := g[0], g[1]
	switch {
	case r.Group > 0 && g[2*r.Group] >= 0:
		from, to = g[2*r.Group], g[2*r.Group+1]
	case r.Group == 0: // the first group that took part, as gitleaks has it
		for i := 1; i < len(g)/2; i++ {
			if g[2*i] >= 0 && g[2*i] < g[2*i+1] {
				from, to = g[2*i], g[2*i+1]
				break
			}
		}
	}
	secret := f.text[from:to]
	if len(secret) == 0 || r.Entropy > 0 && entropy(secret) <= r.Entropy {
		return
	}
	if g[0] < f.lineStart || g[1] > f.lineEnd || f.lineEnd == 0 { // a file may be one line of megabytes
		f.lineStart, f.lineEnd = lineAround(f.text, g[0], g[1])
		f.marked = bytes.Contains(f.text[f.lineStart:f.lineEnd], []byte(allowMark))
	}
	if f.marked {
		return
	}
	line := f.text[f.lineStart:f.lineEnd]
	whole := f.text[g[0]:g[1]]
	for _, a := range allows {
		if a.Target == "line" {
			if f.work -= len(line); f.work < 0 {
				return
			}
		}
		if a.allows(f.path, f.commit, secret, whole, line) {
			return
		}
	}
	f.matches = append(f.matches, Match{Rule: r, Start: from, End: to})
}

// wholeFile reports whether the list allows everything in the file.
func (a *Allow) wholeFile(path, commit string) bool {
	if a.And && len(a.Regexes)+len(a.StopWords) > 0 {
		return false
	}
	inPath, inCommit := anyMatch(a.Paths, path), commit != "" && slices.Contains(a.Commits, commit)
	if a.And {
		return (len(a.Paths) > 0 || len(a.Commits) > 0) && (len(a.Paths) == 0 || inPath) && (len(a.Commits) == 0 || inCommit)
	}
	return inPath || inCommit
}

// allows reports whether the list allows a secret.
func (a *Allow) allows(path, commit string, secret, match, line []byte) bool {
	target := secret
	switch a.Target {
	case "match":
		target = match
	case "line":
		target = line
	}
	low := strings.ToLower(string(secret))
	conditions := []struct{ given, holds bool }{
		{len(a.Commits) > 0, slices.Contains(a.Commits, commit)},
		{len(a.Paths) > 0, anyMatch(a.Paths, path)},
		{len(a.Regexes) > 0, slices.ContainsFunc(a.Regexes, func(re *regexp.Regexp) bool { return re.Match(target) })},
		{len(a.StopWords) > 0, slices.ContainsFunc(a.StopWords, func(w string) bool { return strings.Contains(low, w) })},
	}
	given := false
	for _, c := range conditions {
		switch {
		case !c.given:
		case a.And && !c.holds:
			return false
		case !a.And && c.holds:
			return true
		default:
			given = true
		}
	}
	return a.And && given
}

func anyMatch(all []*regexp.Regexp, s string) bool {
	return slices.ContainsFunc(all, func(re *regexp.Regexp) bool { return re.MatchString(s) })
}

// lineAround returns where the lines that hold text[start:end] begin and end.
func lineAround(text []byte, start, end int) (from, to int) {
	from, to = bytes.LastIndexByte(text[:start], '\n')+1, len(text)
	if i := bytes.IndexByte(text[end:], '\n'); i >= 0 {
		to = end + i
	}
	return from, to
}

// entropy is Shannon's over characters, in bits, as gitleaks counts it.
func entropy(secret []byte) float64 {
	counts, n := map[rune]int{}, 0
	for _, r := range string(secret) {
		counts[r]++
		n++
	}
	sum := 0.0
	for _, k := range counts {
		p := float64(k) / float64(n)
		sum -= p * math.Log2(p)
	}
	return sum
}
