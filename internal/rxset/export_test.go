package rxset

// Describe logs how patterns are spread over automata.
func Describe(s *Set, logf func(string, ...any)) {
	for i := range s.patterns {
		p := &s.patterns[i]
		if s.always.Has(i) {
			logf("always, group %d: %.100s", p.group, p.Expr)
		}
	}
	for _, g := range append(s.fronts, s.groups...) {
		n, b := g.dfa.held()
		logf("members %d nodes %d classes %d states %d bytes %d built %d", len(g.members), len(g.dfa.program.nodes), g.dfa.program.classes, n, b, g.dfa.built.Load())
	}
}

// Candidates returns the patterns that the fronts cannot tell of, for a text.
func Candidates(s *Set, m *Scratch) []int {
	var out []int
	for i := range s.patterns {
		if m.candidates.Has(i) {
			out = append(out, i)
		}
	}
	return out
}

// Factors returns what must be in a text for an expression to match, as expressions.
func Factors(expr string) []string {
	re, err := parse(expr)
	if err != nil {
		return nil
	}
	n := examine(re)
	out := []string{re.String()}
	for _, f := range [...]factor{n.best, n.second, n.before, n.behind} {
		if f.re != nil {
			out = append(out, trim(f.re).String())
		}
	}
	return out
}

// Tireless lifts the bound on the work for a text, so that nothing is left to the plain matchers.
func Tireless(s *Set) { s.fuelBase = unlimited }

// Passes returns how many automata looked at the last text, if they all were wanted.
func Passes(s *Set, m *Scratch) int { return len(s.fronts) + s.often + len(m.groups) }

// Tired leaves everything to the plain matchers that is not computed yet.
func Tired(s *Set) { s.fuelBase = -unlimited }

// Fuel returns how many visits of nodes a text may cost.
func Fuel(s *Set, text string) int { return s.fuel(len(text)) }

// LargestStep returns how many visits one step of each automaton may take at most.
func LargestStep(s *Set) int {
	n := 0
	for _, g := range append(s.fronts[:len(s.fronts):len(s.fronts)], s.groups...) {
		p := g.dfa.program
		n += stepCost + 4*len(p.nodes) + len(p.spans)
	}
	return n
}

// Words returns the words of which an expression needs one; nil if there are none that are seldom.
func Words(expr string) []string {
	re, err := parse(expr)
	if err != nil {
		return nil
	}
	return requiredWords(re)
}

// Worded returns how many patterns are looked for by words.
func Worded(s *Set) (n int) {
	for i := range s.patterns {
		if s.dictionary != nil && s.dictionary.all.Has(i) {
			n++
		}
	}
	return n
}
