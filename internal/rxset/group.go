package rxset

const (
	// stepCost is what computing a transition costs beside its visits of nodes, in such visits.
	stepCost = 48
	// A text may cost fuelPerPattern visits for each pattern of the set, and one more for each pattern and byte: a visit takes about
	// as long as a quarter of what the regexp package needs for a byte and a pattern.
	fuelPerPattern = 64
	// flushesPerText is how often one text may make an automaton forget all it knows.
	flushesPerText = 1
	unlimited      = 1 << 40
)

// group is patterns that share an automaton.
type group struct {
	dfa     *dfa
	members []member
	words   int
	// binary and text are the members of each dialect.
	binary, text []uint64
	mixed        bool // there are some of both
	onlyBinary   bool
}

// member is a pattern of a group, or a factor of it.
type member struct {
	pattern int32
	exact   bool // the pattern matches where the automaton says so; otherwise it may
	second  bool // it may where the automaton says so of another member as well
}

func (b member) hit(m *Scratch) {
	switch {
	case b.exact:
		m.result.Add(int(b.pattern))
	case b.second:
		m.asked.Add(int(b.pattern))
	default:
		m.candidates.Add(int(b.pattern))
	}
}

func newGroup(p *program, members []member, s *Set) *group {
	g := &group{dfa: newDFA(p, unlimited, &s.steppers), members: members, words: p.words64()}
	g.binary, g.text = make([]uint64, g.words), make([]uint64, g.words)
	bytes := 0
	for i, m := range members {
		if s.patterns[m.pattern].Binary {
			Bits(g.binary).Add(i)
			bytes++
		} else {
			Bits(g.text).Add(i)
		}
	}
	g.mixed, g.onlyBinary = bytes > 0 && bytes < len(members), bytes == len(members)
	return g
}

// scan looks for the members in the text of the scratch. It reports false if it could not find out about all.
func (g *group) scan(m *Scratch) bool {
	hits := m.run.hits[:g.words]
	clear(hits)
	v := &m.view
	switch {
	case v.ascii || !g.mixed && !g.onlyBinary:
		return g.look(v.characters, m)
	case g.onlyBinary:
		return g.look(v.bytes(), m)
	}
	// Each dialect reads the text in its own way; what the other's members say then is void.
	ok := g.look(v.characters, m)
	saved := m.saved[:g.words]
	copy(saved, hits)
	clear(hits)
	ok = g.look(v.bytes(), m) && ok
	for i := range hits {
		hits[i] = hits[i]&g.binary[i] | saved[i]&g.text[i]
	}
	return ok
}

func (g *group) look(text string, m *Scratch) bool {
	m.run.flushes = flushesPerText
	return g.dfa.scan(text, &m.run)
}
