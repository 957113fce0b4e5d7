package detect

import (
	"bytes"
	"cmp"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"sync"

	"github.com/testudo-sec/testudo/internal/literal"
)

const (
	// maxMatches bounds the matches in one text.
	maxMatches = 10000
	// workBase and workPerByte bound the bytes that expressions and checks look at in one text, so
	// that a text made of nothing but beginnings of secrets costs a bounded time.
	workBase    = 1 << 20
	workPerByte = 24
)

// A Match is a secret in a text.
type Match struct {
	Rule       *Rule
	Start, End int        // of the secret
	Proof      string     // what an offline check proved, as in "checksum"; "" if nothing
	Note       string     // what the secret says of itself, as in "account 171436882533"
	Confidence Confidence // what the rule, the proof and the path say together
}

// Validated reports whether an offline check proved the match.
func (m *Match) Validated() bool { return m.Proof != "" }

// Set is a compiled set of rules. It does not change, and is safe for concurrent use.
type Set struct {
	rules    []*Rule
	ways     []*way
	literals *literal.Set
	targets  [][]int32 // per literal: the ways it belongs to
	files    []*way    // that look at whole files
	finders  sync.Pool
}

// way is a compiled Way.
type way struct {
	rule     *Rule
	number   int // of the way in the rule, from 1
	from     *Way
	kind     wayKind
	requires []byte
	entropy  float64
	needs    need
	check    check

	once    sync.Once
	err     error
	pattern *regexp.Regexp
	group   int            // of the secret in the pattern or the value
	name    *regexp.Regexp // nil for any
	notName *regexp.Regexp // nil for none
	reach   int            // longest match, plus a byte to see its edge
}

type wayKind uint8

const (
	wayLiteral wayKind = iota // pattern begins at the literal
	wayWindow                 // pattern somewhere around the keyword
	wayAssign
	wayFile // pattern anywhere in a short file
)

// maxWholeFile bounds the files that are looked at as a whole.
const maxWholeFile = 16 << 10

// Compile builds a set. Ids must be unique.
func Compile(rules []*Rule) (*Set, error) {
	s, err := compile(rules)
	if err != nil {
		return nil, err
	}
	for _, w := range s.ways {
		if w.prepare(); w.err != nil {
			return nil, w.err
		}
	}
	return s, nil
}

// compile builds a set whose expressions are compiled when they are first needed.
func compile(rules []*Rule) (*Set, error) {
	s := &Set{rules: slices.Clone(rules)}
	seen := map[string]bool{}
	index := map[literal.Pattern]int{}
	var patterns []literal.Pattern
	add := func(text string, fold bool) {
		p := literal.Pattern{Text: text, Fold: fold}
		i, ok := index[p]
		if !ok {
			i = len(patterns)
			index[p] = i
			patterns = append(patterns, p)
			s.targets = append(s.targets, nil)
		}
		s.targets[i] = append(s.targets[i], int32(len(s.ways)))
	}
	for _, r := range s.rules {
		if seen[r.ID] {
			return nil, fmt.Errorf("two rules have the id %s", r.ID)
		}
		seen[r.ID] = true
		for i := range r.Detect {
			for _, l := range r.Detect[i].Literals {
				add(l, false)
			}
			for _, k := range r.Detect[i].Keywords {
				add(k, true)
			}
			w := newWay(r, i)
			if w.kind == wayFile {
				s.files = append(s.files, w)
			}
			s.ways = append(s.ways, w)
		}
	}
	var err error
	if s.literals, err = literal.Compile(patterns); err != nil {
		return nil, err
	}
	s.finders.New = func() any { return newFinder(s) }
	return s, nil
}

func newWay(r *Rule, i int) *way {
	from := &r.Detect[i]
	w := &way{rule: r, number: i + 1, from: from, entropy: from.Entropy, requires: []byte(from.Requires)}
	for _, n := range from.Needs {
		bit, _ := needs(n)
		w.needs |= bit
	}
	if from.Check != "" {
		w.check, _ = checks(from.Check)
	}
	switch {
	case from.Assign != nil:
		w.kind = wayAssign
	case from.File:
		w.kind = wayFile
	case len(from.Literals) > 0:
		w.kind = wayLiteral
	default:
		w.kind = wayWindow
	}
	return w
}

// prepare compiles the expressions, once, and reports whether the way can be used.
func (w *way) prepare() bool {
	w.once.Do(func() {
		if w.err = w.compile(); w.err != nil {
			w.err = fmt.Errorf("rule %s, detect %d: %w", w.rule.ID, w.number, w.err)
		}
	})
	return w.err == nil
}

func (w *way) compile() error {
	w.reach = defaultReach
	if w.from.Reach > 0 {
		w.reach = w.from.Reach
	}
	expression := w.from.Pattern
	switch w.kind {
	case wayAssign:
		expression = `\A(?:` + w.from.Assign.Value + `)\z`
		if w.from.Assign.Name != "" {
			name, err := regexp.Compile(`(?i)` + w.from.Assign.Name)
			if err != nil {
				return fmt.Errorf("name: %w", err)
			}
			w.name = name
		}
		if w.from.Assign.NotName != "" {
			name, err := regexp.Compile(`(?i)` + w.from.Assign.NotName)
			if err != nil {
				return fmt.Errorf("not_name: %w", err)
			}
			w.notName = name
		}
	case wayLiteral:
		expression = `\A(?:` + expression + `)`
	}
	parsed, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return err
	}
	if w.kind != wayAssign && w.kind != wayFile {
		if n := longest(parsed.Simplify()); n >= 0 && (w.kind == wayLiteral || w.from.Reach == 0) {
			w.reach = n
		}
		if w.reach = w.reach + 1; w.reach > maxReach+1 {
			return fmt.Errorf("the pattern matches up to %d bytes: want at most %d", w.reach-1, maxReach)
		}
	}
	if w.pattern, err = regexp.Compile(expression); err != nil {
		return err
	}
	if i := w.pattern.SubexpIndex("secret"); i > 0 {
		w.group = i
	}
	return nil
}

// longest returns the greatest length in bytes of what re matches, -1 if there is no bound.
func longest(re *syntax.Regexp) int {
	switch re.Op {
	case syntax.OpLiteral:
		return len(string(re.Rune)) + countFolds(re)
	case syntax.OpCharClass:
		n := 1
		if k := len(re.Rune); k > 0 && re.Rune[k-1] > 0x7f {
			n = 4
		}
		return n
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return 4
	case syntax.OpStar, syntax.OpPlus:
		return -1
	case syntax.OpQuest, syntax.OpCapture:
		return longest(re.Sub[0])
	case syntax.OpRepeat:
		if n := longest(re.Sub[0]); n >= 0 && re.Max >= 0 {
			return n * re.Max
		}
		return -1
	case syntax.OpConcat:
		sum := 0
		for _, sub := range re.Sub {
			n := longest(sub)
			if n < 0 {
				return -1
			}
			sum += n
		}
		return sum
	case syntax.OpAlternate:
		most := 0
		for _, sub := range re.Sub {
			n := longest(sub)
			if n < 0 {
				return -1
			}
			most = max(most, n)
		}
		return most
	}
	return 0
}

// countFolds allows for letters whose other case is longer in UTF-8 (k and the Kelvin sign).
func countFolds(re *syntax.Regexp) int {
	if re.Flags&syntax.FoldCase != 0 {
		return 2 * len(re.Rune)
	}
	return 0
}

// Find calls yield for every secret in text, in the order of their places, until yield
// returns false. Secrets do not overlap. It reports whether the whole text was looked at: it gives up on
// one that holds more than 10,000 matches or that is made to cost time.
func (s *Set) Find(text []byte, yield func(Match) bool) (complete bool) {
	return s.FindIn("", text, yield)
}

// FindIn is Find in a file of that path, relative and with slashes: rules that are
// about certain files hold to it, and in tests, examples and documentation confidence is lower.
func (s *Set) FindIn(path string, text []byte, yield func(Match) bool) (complete bool) {
	return s.find(path, text, (*finder).disjoint, yield)
}

func (s *Set) find(path string, text []byte, settle func(*finder) []Match, yield func(Match) bool) (complete bool) {
	f := s.finders.Get().(*finder)
	defer func() {
		f.reset()
		s.finders.Put(f)
	}()
	f.text, f.file, f.work = text, file{path: path}, workBase+workPerByte*len(text)
	s.literals.Find(text, f.onHit)
	for _, i := range f.touched {
		f.flush(i)
	}
	f.whole()
	complete = f.work >= 0 && len(f.matches) < maxMatches
	for _, m := range settle(f) {
		if !yield(m) {
			break
		}
	}
	return complete
}

// finder is the state of one search.
type finder struct {
	set      *Set
	text     []byte
	file     file
	known    bool // file is classified
	work     int
	matches  []Match
	windows  []window // per way
	touched  []int32
	onHit    func(literal.Match) bool
	lastName []int // per way: end of the name looked at last
}

// window is the part of the text in which a way's pattern is yet to be looked for.
type window struct{ from, to int }

func newFinder(s *Set) *finder {
	f := &finder{set: s, windows: make([]window, len(s.ways)), lastName: make([]int, len(s.ways))}
	f.onHit = f.hit
	return f
}

func (f *finder) reset() {
	for _, i := range f.touched {
		f.windows[i], f.lastName[i] = window{}, 0
	}
	f.touched, f.matches, f.text, f.known = f.touched[:0], f.matches[:0], nil, false
}

func (f *finder) touch(i int32) {
	if f.windows[i] == (window{}) {
		f.windows[i] = window{0, -1}
		f.touched = append(f.touched, i)
	}
}

// hit takes an occurrence of a literal to the ways that it belongs to.
func (f *finder) hit(m literal.Match) bool {
	for _, i := range f.set.targets[m.Pattern] {
		w := f.set.ways[i]
		switch w.kind {
		case wayLiteral:
			f.anchored(w, m.Start)
		case wayAssign:
			f.assigned(w, i, m.Start, m.End)
		case wayWindow:
			if !w.prepare() {
				continue
			}
			f.touch(i)
			from, to := max(0, m.Start-w.reach), min(len(f.text), m.End+w.reach)
			if win := &f.windows[i]; win.to < 0 {
				*win = window{from, to}
			} else if from <= win.to {
				win.to = to
			} else {
				f.flush(i)
				*win = window{from, to}
			}
		}
	}
	return f.work >= 0 && len(f.matches) < maxMatches
}

// whole puts a short file to the rules that are about such files.
func (f *finder) whole() {
	if f.file.path == "" || len(f.text) > maxWholeFile {
		return
	}
	for _, w := range f.set.files {
		if !w.rule.applies(f.file.path) || !w.prepare() {
			continue
		}
		f.work -= len(f.text)
		for _, g := range w.pattern.FindAllSubmatchIndex(f.text, 100) {
			f.matched(w, 0, g)
		}
	}
}

func (f *finder) anchored(w *way, start int) {
	if start > 0 && isWord(f.text[start]) && isWord(f.text[start-1]) {
		return
	}
	if !w.prepare() {
		return
	}
	part := f.text[start:min(len(f.text), start+w.reach)]
	if len(w.requires) > 0 && !bytes.Contains(part, w.requires) {
		return
	}
	f.work -= len(part)
	if g := w.pattern.FindSubmatchIndex(part); g != nil {
		f.matched(w, start, g)
	}
}

// flush looks for a way's pattern in its window.
func (f *finder) flush(i int32) {
	w, win := f.set.ways[i], f.windows[i]
	f.windows[i] = window{0, -1}
	for at := win.from; at < win.to && f.work >= 0 && len(f.matches) < maxMatches; {
		part := f.text[at:win.to]
		g := w.pattern.FindSubmatchIndex(part)
		if g == nil {
			f.work -= len(part)
			return
		}
		f.work -= g[1]
		f.matched(w, at, g)
		at += max(g[1], 1)
	}
}

// matched takes a pattern's match at text[base:].
func (f *finder) matched(w *way, base int, g []int) {
	start, end := base+g[0], base+g[1]
	if start == end || start > 0 && isWord(f.text[start]) && isWord(f.text[start-1]) {
		return
	}
	if end < len(f.text) && isWord(f.text[end-1]) && isWord(f.text[end]) {
		return
	}
	from, to := w.secret(g)
	f.accept(w, base+from, base+to)
}

// secret returns the secret's place in a match of the pattern.
func (w *way) secret(g []int) (from, to int) {
	if g[2*w.group] < 0 {
		return g[0], g[1] // an alternative without the group
	}
	return g[2*w.group], g[2*w.group+1]
}

func (f *finder) assigned(w *way, i int32, start, end int) {
	if f.lastName[i] >= end {
		return // another keyword in a name that was looked at
	}
	name, nameEnd := nameAround(f.text, start, end)
	f.touch(i)
	f.lastName[i] = nameEnd
	a, ok := readAssignment(f.text, name, nameEnd)
	if !ok {
		return
	}
	if !a.quoted && f.fileFacts().code {
		return
	}
	f.work -= a.valueEnd - a.name
	if !w.prepare() {
		return
	}
	if w.name != nil && !w.name.Match(f.text[a.name:a.nameEnd]) || w.notName != nil && w.notName.Match(f.text[a.name:a.nameEnd]) {
		return
	}
	if g := w.pattern.FindSubmatchIndex(f.text[a.value:a.valueEnd]); g != nil {
		from, to := w.secret(g)
		f.accept(w, a.value+from, a.value+to)
	}
}

func (f *finder) fileFacts() *file {
	if !f.known {
		f.file, f.known = classifyPath(f.file.path), true
	}
	return &f.file
}

// accept puts a candidate to the rule's conditions.
func (f *finder) accept(w *way, start, end int) {
	r, secret := w.rule, f.text[start:end]
	if len(secret) == 0 || has(secret)&w.needs != w.needs || w.entropy > 0 && entropy(secret) < w.entropy {
		return
	}
	if !bytes.HasPrefix(secret, []byte("-----BEGIN ")) && isPlaceholder(secret) {
		return
	}
	for _, a := range r.allow {
		if a.Match(secret) {
			return
		}
	}
	if !r.applies(f.file.path) {
		return
	}
	m := Match{Rule: r, Start: start, End: end, Confidence: r.Confidence}
	if w.check != nil {
		o := w.check(f.text, start, end)
		if f.work -= max(len(secret), o.end-start, o.cost); !o.ok {
			return
		}
		m.Proof, m.Note = o.proof, o.note
		m.End = max(m.End, o.end)
	}
	if m.Proof != "" && m.Confidence < High {
		m.Confidence++
	}
	if f.fileFacts().fixture {
		switch {
		case r.Fixtures == "quiet":
			m.Confidence = Low
		case m.Confidence > Low:
			m.Confidence--
		}
	}
	f.matches = append(f.matches, m)
}

func (f *finder) sort() {
	slices.SortStableFunc(f.matches, func(a, b Match) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(b.End, a.End), cmp.Compare(a.Rule.ID, b.Rule.ID))
	})
}

// merged sorts the matches by place and widens each over those that overlap it, so that
// nothing of any of them is left.
func (f *finder) merged() []Match {
	f.sort()
	out := f.matches[:0]
	for _, m := range f.matches {
		if n := len(out); n > 0 && m.Start < out[n-1].End {
			end := max(m.End, out[n-1].End)
			if f.rank(&m) > f.rank(&out[n-1]) {
				m.Start = out[n-1].Start
				out[n-1] = m
			}
			out[n-1].End = end
			continue
		}
		out = append(out, m)
	}
	return out
}

// disjoint sorts the matches by place and keeps the better one where two overlap.
func (f *finder) disjoint() []Match {
	f.sort()
	out := f.matches[:0]
	for _, m := range f.matches {
		if n := len(out); n > 0 && m.Start < out[n-1].End {
			last := &out[n-1]
			if f.rank(&m) > f.rank(last) {
				*last = m
			}
			continue
		}
		out = append(out, m)
	}
	return out
}

// rank orders overlapping matches: a provider's format before a shape, a rule about this very
// kind of file before others, proved before not.
func (f *finder) rank(m *Match) int {
	n := 0
	if !m.Rule.Generic {
		n += 4
	}
	if len(m.Rule.Paths) > 0 {
		if f.file.path == "" {
			n -= 2 // nobody said that it is that kind of file
		} else {
			n += 2
		}
	}
	if m.Proof != "" {
		n++
	}
	return n
}
