package rxset

const (
	// stepCost is what computing a transition costs beside its visits of nodes, in such visits.
	stepCost = 48
	// A text may cost fuelBase visits, fuelPerPattern for each pattern of the set, and fuelPerByte more for each pattern and byte: a
	// visit takes about a third of what the regexp package needs for a byte and a pattern.
	fuelBase, fuelPerPattern, fuelPerByte = 1024, 64, 2
	// tryBase and tryPerByte are what a text may cost before it is taken for one that is new: with the Core Rule Set some
	// fifteen steps, and one more for each seventy bytes.
	tryBase, tryPerByte = 1024, 1
	// maxTrySkip is how many texts that are new are not learned from, after one that cost too much.
	maxTrySkip = 127
	// flushesPerText is how often one text may make an automaton forget all it knows.
	flushesPerText = 1
	unlimited      = 1 << 40
	// fewGroups is how many groups take less than looking for words does.
	fewGroups = 2
)

// group is patterns that share an automaton.
type group struct {
	dfa     *dfa
	members []member
	// patterns are those of the members, as numbers of the set.
	patterns Bits
	words    int
	front    bool
	worded   bool // a dictionary tells of its members
	// binary and characters are the members of each dialect.
	binary, characters []uint64
	mixed              bool // there are some of both
	onlyBinary         bool
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
	g.binary, g.characters = make([]uint64, g.words), make([]uint64, g.words)
	g.patterns = NewBits(len(s.patterns))
	bytes := 0
	for i, m := range members {
		g.patterns.Add(int(m.pattern))
		if s.patterns[m.pattern].Binary {
			Bits(g.binary).Add(i)
			bytes++
		} else {
			Bits(g.characters).Add(i)
		}
	}
	g.mixed, g.onlyBinary = bytes > 0 && bytes < len(members), bytes == len(members)
	return g
}

// has reports whether one of the members is wanted.
func (g *group) has(wanted Bits) bool {
	for i, w := range g.patterns {
		if w&wanted[i] != 0 {
			return true
		}
	}
	return false
}

// divided says that the dialects of the members read the text in different ways.
func (g *group) divided(v *view) bool { return g.mixed && !v.ascii }

// text returns the text as the members read it, if they are not divided.
func (g *group) text(v *view) string {
	if g.onlyBinary {
		return v.bytes()
	}
	return v.characters
}

// look makes one or two groups look at the scratch's text; b may be nil. What they found is in the cursors.
func (m *Scratch) look(a, b *group) {
	v := &m.view
	ca, cb := &m.cursors[0], &m.cursors[1]
	ca.start(a.dfa, m.hits[0][:a.words], &m.fuel)
	if b == nil {
		m.alone(a, ca)
		return
	}
	cb.start(b.dfa, m.hits[1][:b.words], &m.fuel)
	if a.divided(v) || b.divided(v) || a.onlyBinary != b.onlyBinary && !v.ascii {
		m.alone(a, ca)
		m.alone(b, cb)
		return
	}
	scanBoth(a.text(v), ca, cb)
}

// alone runs a cursor that was started. Where the dialects differ each reads the text in its own way, and what the other's members
// say then is void.
func (m *Scratch) alone(g *group, c *cursor) {
	if !g.divided(&m.view) {
		c.scan(g.text(&m.view))
		return
	}
	c.scan(m.view.characters)
	hits, failed := c.hits, c.failed
	c.start(g.dfa, m.hits[2][:g.words], &m.fuel)
	c.scan(m.view.bytes())
	for i := range hits {
		hits[i] = hits[i]&g.characters[i] | c.hits[i]&g.binary[i]
	}
	c.hits, c.failed = hits, c.failed || failed
}
