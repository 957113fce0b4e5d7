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

func Gate(s *Set, i int) string {
	re, _ := parse(s.patterns[i].Expr)
	n := examine(re)
	if s.always.Has(i) || n.best.re == nil {
		return "always"
	}
	return trim(n.best.re).String()
}
