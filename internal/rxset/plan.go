package rxset

import (
	"cmp"
	"math/bits"
	"regexp/syntax"
	"slices"
)

const (
	// frontStates and groupStates are how many states an automaton may have after the samples, for its patterns to stay together.
	frontStates, groupStates           = 3000, 2000
	smallFrontStates, smallGroupStates = 200, 150
	// groupMembers bounds the patterns of a group: a candidate pays for all.
	groupMembers, smallGroupMembers = 16, 4
	// oftenExact and oftenLit are the shares of the samples from which a pattern is not a front's: a front that
	// hits and hits is slow.
	oftenExact, oftenLit = 0.2, 0.15
	// dense is how often a byte something may match.
	dense = 0.025
	// aloneStates is what one pattern may take of a front.
	aloneStates = 600
	// planFuel bounds the visits of nodes for the samples, of one pattern and of several.
	aloneFuel, planFuel = 1 << 21, 1 << 23
	// planWork bounds what all of New may take: visits, and planPerNode for each node and span. The Core Rule Set takes a fifth of it. What is
	// planned when it is used up, or half of it by patterns alone, is left to the plain matchers.
	planWork, planPerNode = 96 << 20, 8
)

// planner finds out which patterns share an automaton.
type planner struct {
	set     *Set
	trees   []*syntax.Regexp
	options Options
	samples []string
	pool    *pool
	words   []words // of patterns that are looked for where a text has one of them
	work    int     // that is left
}

// part is a pattern, or a factor of it, that waits for its automaton.
type part struct {
	member
	re  *syntax.Regexp
	lit float64 // share of the samples that the pattern is a candidate for
}

func newPlanner(s *Set, trees []*syntax.Regexp, o Options) *planner {
	pool := new(pool)
	pool.free.Store(int64(o.Memory / 2))
	pl := &planner{pool: pool, set: s, trees: trees, options: o, samples: append(samples(), o.Samples...), words: make([]words, len(trees)), work: planWork}
	return pl
}

func (pl *planner) plan() {
	var front, often, seldom, worded []part
	for i, re := range pl.trees {
		if pl.options.Small {
			if w := requiredWords(re); w != nil {
				pl.words[i] = w
				pl.set.unasked.Add(i)
				worded = append(worded, part{member: member{pattern: int32(i), exact: true}, re: re})
				continue
			}
		}
		whole := []part{{member: member{pattern: int32(i), exact: true}, re: re}}
		if pl.work < planWork/2 {
			pl.set.always.Add(i)
			pl.set.unasked.Add(i)
			continue
		}
		n := examine(re)
		if n.solid {
			if g, u := pl.fits(whole, false, aloneStates); g != nil && u.lit <= oftenExact && u.density <= dense {
				pl.set.patterns[i].exact = true
				front = append(front, whole...)
				continue
			}
		}
		if gates := pl.gates(i, n); gates != nil {
			if g, u := pl.fits(gates, false, aloneStates); g != nil && u.lit <= oftenLit {
				front = append(front, gates...)
				whole[0].lit = u.lit
				seldom = append(seldom, whole...)
				if len(gates) == 1 {
					pl.set.unasked.Add(i)
				}
				continue
			}
		}
		pl.set.always.Add(i)
		pl.set.unasked.Add(i)
		often = append(often, whole...)
	}
	frontStates, groupStates, groupMembers := frontStates, groupStates, groupMembers
	if pl.options.Small {
		frontStates, groupStates, groupMembers = smallFrontStates, smallGroupStates, smallGroupMembers
	}
	for _, parts := range pl.classes(front) {
		pl.together(parts, false, frontStates, len(parts), func(g *group) {
			g.front = true
			pl.set.fronts = append(pl.set.fronts, g)
		})
	}
	add := func(g *group) {
		g.worded = pl.words[g.members[0].pattern] != nil
		for _, m := range g.members {
			pl.set.patterns[m.pattern].group = int32(len(pl.set.groups))
		}
		pl.set.groups = append(pl.set.groups, g)
	}
	for _, parts := range pl.classes(often) {
		pl.together(parts, true, groupStates, len(parts), add)
	}
	pl.set.often = len(pl.set.groups)
	// Those that are candidates for many texts are so together.
	slices.SortStableFunc(seldom, func(a, b part) int { return cmp.Compare(b.lit, a.lit) })
	for _, parts := range append(pl.classes(seldom), pl.classes(worded)...) {
		pl.together(parts, true, groupStates, groupMembers, add)
	}
	pl.share(append(pl.set.fronts[:len(pl.set.fronts):len(pl.set.fronts)], pl.set.groups[:pl.set.often]...))
	pl.share(pl.set.groups[pl.set.often:])
}

// share gives the automata a quarter of the memory, the same to each: those that look at every text, and the others. Half is the pool of all. One that has more
// already forgets it.
func (pl *planner) share(groups []*group) {
	for _, g := range groups {
		g.dfa.limit, g.dfa.pool = max(leastSize, pl.options.Memory/4/len(groups)), pl.pool
		if _, bytes := g.dfa.held(); bytes > g.dfa.limit {
			g.dfa.renew(1)
		}
	}
}

// classes returns the parts by the class of their patterns.
func (pl *planner) classes(parts []part) [][]part {
	class := func(p part) int { return pl.set.patterns[p.pattern].Class }
	slices.SortStableFunc(parts, func(a, b part) int { return cmp.Compare(class(a), class(b)) })
	var out [][]part
	for from := 0; from < len(parts); {
		to := from
		for to < len(parts) && class(parts[to]) == class(parts[from]) {
			to++
		}
		out = append(out, parts[from:to])
		from = to
	}
	return out
}

// gates returns the factors that a text must have for a pattern, to be looked for by a front; nil if they say too little.
func (pl *planner) gates(i int, n nature) []part {
	var out []part
	for _, f := range [...]factor{n.best, n.second} {
		if f.re == nil || f.log2 > useless {
			break
		}
		gate := part{member{pattern: int32(i), second: len(out) == 1}, trim(f.re), 0}
		if g, u := pl.fits([]part{gate}, false, aloneStates); g == nil || u.density > dense {
			continue
		}
		out = append(out, gate)
	}
	return out
}

// together makes groups of the parts, each of which stays within a number of states over the samples. What fits nowhere is left to the plain
// matcher.
func (pl *planner) together(parts []part, drop bool, states, most int, add func(*group)) {
	if len(parts) == 0 {
		return
	}
	if len(parts) <= most {
		if g, _ := pl.fits(parts, drop, states); g != nil {
			add(g)
			return
		}
	}
	if len(parts) == 1 {
		if g, _ := pl.fits(parts, drop, groupStates); drop && g != nil {
			add(g)
			return
		}
		if i := int(parts[0].pattern); !drop { // no front can say anything of it
			pl.set.patterns[i].exact = false
			pl.set.always.Add(i)
			pl.set.unasked.Add(i)
		}
		return
	}
	at := most
	if len(parts) <= most {
		at = len(parts) / 2
	}
	pl.together(parts[:at], drop, states, most, add)
	pl.together(parts[at:], drop, states, most, add)
}

// use is what an automaton does with the samples.
type use struct {
	lit     float64 // share of the samples in which all parts were
	density float64 // matches a byte
}

// fits returns a group of the parts, its automaton warm; nil if it has too many states.
func (pl *planner) fits(parts []part, drop bool, states int) (*group, use) {
	if pl.work <= 0 {
		return nil, use{}
	}
	trees := make([]*syntax.Regexp, len(parts))
	members := make([]member, len(parts))
	for i, p := range parts {
		trees[i], members[i] = p.re, p.member
	}
	p, err := newProgram(trees, drop)
	pl.work -= planPerNode * (len(p.nodes) + len(p.spans))
	if err != nil {
		return nil, use{}
	}
	g := newGroup(p, members, pl.set)
	defer func() { pl.work -= int(g.dfa.visits.Load()) }()
	var v view
	var c cursor
	hits := make([]uint64, g.words)
	lit, met, bytes, fuel := 0, 0, 0, planFuel
	if len(parts) == 1 {
		fuel = aloneFuel
	}
	for _, text := range pl.samples {
		v.set(text)
		c.start(g.dfa, hits, &fuel)
		c.scan(v.characters)
		if n, _ := g.dfa.held(); c.failed || n > states {
			return nil, use{}
		}
		n := 0
		for _, w := range hits {
			n += bits.OnesCount64(w)
		}
		if n == len(parts) {
			lit++
		}
		met += c.met
		bytes += len(text)
	}
	return g, use{float64(lit) / float64(len(pl.samples)), float64(met) / float64(bytes)}
}
