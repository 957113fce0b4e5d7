package rxset

// Stats says what a set holds and what happened to it.
type Stats struct {
	// Fronts and Groups count automata: those that see every text, and those that see what may concern them. Exact, Gated and Always count
	// patterns: those a front decides, those it finds candidates for, and those that every text is a candidate for. Left
	// counts those of the last two which no automaton is for, because they have too many states or are too large.
	Fronts, Groups, Exact, Gated, Always, Left int
	// States and Bytes are held now by all automata. Programs are the bytes of what they are computed from, which stays.
	States, Bytes, Programs int
	// Built counts transitions that were computed, Visits the nodes that were looked at for them: the work; Flushes the tables that were given up because they were full.
	Built, Visits, Flushes int64
	// Fallbacks counts the times that an automaton gave a text up, Plain the texts and patterns that the plain matcher was asked for.
	Fallbacks, Plain int64
	// Handed counts, for [Tiers], the texts that were left to the small automata.
	Handed int64
}

// Stats returns what the set holds and what happened to it since it was made.
func (s *Set) Stats() Stats {
	st := Stats{Fronts: len(s.fronts), Groups: len(s.groups), Fallbacks: s.fallbacks.Load(), Plain: s.plains.Load()}
	for i := range s.patterns {
		if !s.patterns[i].exact && s.patterns[i].group < 0 {
			st.Left++
		}
		switch {
		case s.patterns[i].exact:
			st.Exact++
		case s.always.Has(i):
			st.Always++
		default:
			st.Gated++
		}
	}
	for _, gs := range [2][]*group{s.fronts, s.groups} {
		for _, g := range gs {
			states, bytes := g.dfa.held()
			st.States += states
			st.Bytes += bytes
			st.Programs += g.dfa.program.size()
			st.Visits += g.dfa.visits.Load()
			st.Built += g.dfa.built.Load()
			st.Flushes += g.dfa.flushes.Load()
		}
	}
	return st
}
