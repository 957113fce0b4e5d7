package inventory

import (
	"math"
	"slices"
	"strings"
)

// profile is how one place behaves, as far as it was seen.
type profile struct {
	methods byte            // of successes
	few     bool            // successes: which methods are not used, they do not tell
	fields  map[uint64]bool // of what GET answers, else of what any method does; nil if unknown
	below   []string        // names behind it
	param   bool            // there are ids behind it, as behind the name of a collection
}

var methodBits = [...]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

func profileOf(n *node) profile {
	p := profile{param: n.Param != nil}
	var told *field
	var good uint64
	for _, e := range n.Ends {
		good += e.Good
		if i := slices.Index(methodBits[:], e.Method); i >= 0 && e.Good > 0 && e.Method != "OPTIONS" && e.Method != "HEAD" {
			p.methods |= 1 << i
		}
		if e.Told != nil && (told == nil || e.Method == "GET") {
			told = e.Told
		}
	}
	if told != nil {
		p.fields = map[uint64]bool{}
		told.paths(uint64(told.Kinds&(isArray|isObject)), 3, func(h uint64) { p.fields[h] = true })
	}
	p.few = good < 12
	for name := range n.Words {
		p.below = append(p.below, name)
	}
	return p
}

// crowd is what most of some siblings have in common.
type crowd struct {
	size    int
	methods byte            // of more than half of those that were asked themselves
	fields  map[uint64]bool // of more than half of those whose answers are known
	open    int             // answers of that many are known
	alike   int             // of which are like fields, and have nothing of their own
	below   map[string]int
	deep    int // have names behind them
	params  int // have ids behind them
}

func crowdOf(all []*node) crowd {
	profiles := make([]profile, len(all))
	for i, n := range all {
		profiles[i] = profileOf(n)
	}
	return crowdOfProfiles(profiles)
}

func crowdOfProfiles(all []profile) crowd {
	c := crowd{size: len(all), fields: map[uint64]bool{}, below: map[string]int{}}
	var methods [8]int
	asked := 0
	votes := map[uint64]int{}
	for _, p := range all {
		if p.methods != 0 {
			asked++
		}
		for i := range methods {
			methods[i] += int(p.methods >> i & 1)
		}
		if p.fields != nil {
			c.open++
			for h := range p.fields {
				votes[h]++
			}
		}
		for _, name := range p.below {
			c.below[name]++
		}
		if len(p.below) > 0 {
			c.deep++
		}
		if p.param {
			c.params++
		}
	}
	for i, n := range methods {
		if n*2 > asked {
			c.methods |= 1 << i
		}
	}
	for h, n := range votes {
		if n*2 > c.open {
			c.fields[h] = true
		}
	}
	for _, p := range all {
		if p.fields == nil || !c.like(p) {
			continue
		}
		alone := 0 // fields that nothing else has
		for h := range p.fields {
			if votes[h] == 1 {
				alone++
			}
		}
		if alone*10 <= len(p.fields) {
			c.alike++
		}
	}
	return c
}

// known says that the answers of most say something.
func (c *crowd) known() bool { return c.open*2 > c.size && len(c.fields) >= 2 }

// like says that the answers of p are those of the crowd.
func (c *crowd) like(p profile) bool {
	shared := 0
	for h := range p.fields {
		if c.fields[h] {
			shared++
		}
	}
	return shared*4 >= len(c.fields)*3 && shared*5 >= len(p.fields)*3
}

// differs says that p answers other things than the crowd does.
func (c *crowd) differs(p profile) bool {
	if p.fields == nil || len(c.fields) < 2 {
		return false
	}
	return !c.like(p)
}

// unlike says that p is used in other ways: by other methods, or only for what is behind it, where nothing like that is behind the others.
func (c *crowd) unlike(p profile) bool {
	if p.methods != 0 && c.methods != 0 && p.methods&c.methods == 0 {
		return !p.few
	}
	if len(p.below) == 0 || p.methods&c.methods != 0 || c.params*5 > c.size {
		return false
	}
	if c.deep*5 <= c.size {
		return true // the others have nothing behind them
	}
	most := 0
	for _, n := range c.below {
		most = max(most, n)
	}
	return most*4 >= c.deep && !c.shares(p)
}

// shares says that what is behind p is also behind others.
func (c *crowd) shares(p profile) bool {
	return slices.ContainsFunc(p.below, func(name string) bool { return c.below[name] > 1 || c.size == 1 && c.below[name] == 1 })
}

// verdict says which names at a place are values of a parameter.
type verdict struct {
	values []string // sorted
	evict  []string // nothing is known of them, but that one caller asked
}

// judgeWords decides about the names at one place. hard says that the place is full, so that something must be
// dropped if they are no values. It depends on what was seen, not on the order in which it was.
func judgeWords(words map[string]*node, evicted uint64, open, hard bool) verdict {
	var group []string
	for name := range words {
		if x := shapeOf(name); x != version && !isVersionNumber(name) && !words[name].Trial {
			group = append(group, name)
		}
	}
	if len(group) < 12 && !open {
		return verdict{}
	}
	slices.Sort(group)
	profiles := make(map[string]profile, len(group))
	var all []profile
	var counts []uint64
	once := 0
	for _, name := range group {
		p := profileOf(words[name])
		profiles[name] = p
		all = append(all, p)
		n := words[name].Count
		counts = append(counts, n)
		if n <= 1 {
			once++
		}
	}
	outstanding := outstandingOf(counts)
	crowd := crowdOfProfiles(all)
	known := crowd.known()

	// Names that behave otherwise than the rest stay names.
	values := group[:0:0]
	for _, name := range group {
		w, p := words[name], profiles[name]
		switch {
		case w.Count >= 3 && known && crowd.differs(p):
		case w.Count >= 3 && w.Who.several() && crowd.unlike(p):
		case w.Count >= outstanding && w.Who.several() && !crowd.shares(p) && (!known || p.param && crowd.params*5 <= crowd.size):
		default:
			values = append(values, name)
		}
	}
	n := len(values)
	alike := known && crowd.alike*5 >= crowd.open*4
	mixed := known && crowd.alike*2 < crowd.open
	var rest uint64
	var who witnesses
	for _, name := range values {
		rest += words[name].Count
		who.merge(&words[name].Who)
	}
	collections := crowd.params*5 > crowd.size // names that have ids behind them
	// Of names that are equally popular, of which n out of all were seen, a share of 1-n/all of the requests has one that was seen once.
	growing := func(all float64) bool { return rest > 0 && float64(once) >= (1-float64(n)/all)*float64(rest) }
	switch {
	case n == 0:
		return verdict{}
	case alike && n >= 12 && !collections: // many that answer alike
	case n >= 24 && growing(max(120, 1.4*float64(n))) && !mixed && !collections: // there are many more of them
	case n >= lastJudgement*2/3 && !mixed && !collections:
	case hard && growing(1.4*float64(n)) && !mixed:
	case hard:
		return verdict{evict: weakest(words, values)}
	default:
		return verdict{}
	}
	if loner := oneSided(words, values, who); len(loner) > 0 {
		if !hard {
			return verdict{}
		}
		served := slices.ContainsFunc(loner, func(name string) bool { return words[name].served() })
		if !served || evicted < 4*lastJudgement {
			return verdict{evict: loner}
		}
	}
	return verdict{values: values}
}

func isVersionNumber(s string) bool { return strings.Trim(s, "0123456789") == "" }

// outstandingOf is a count that names have and values do not: there is a gap below it. Values, the popular ones too, come in all counts.
func outstandingOf(counts []uint64) uint64 {
	slices.Sort(counts)
	for i := len(counts) / 2; i > 0 && i < len(counts); i++ {
		if counts[i] >= 16 && counts[i] >= 4*counts[i-1] {
			return counts[i]
		}
	}
	return math.MaxUint64
}

// served says that something here was answered with more than a redirect, which many servers give to any path.
func (n *node) served() bool {
	for _, e := range n.Ends {
		if e.Good > e.Moved {
			return true
		}
	}
	for _, w := range n.Words {
		if w.served() {
			return true
		}
	}
	return n.Param != nil && n.Param.served()
}

// oneSided finds the names of a single caller who alone made most of them: that is somebody who walks, not a parameter.
func oneSided(words map[string]*node, values []string, who witnesses) []string {
	by := map[uint32][]string{}
	most := uint32(0)
	for _, name := range values {
		if c := words[name].Who.only(); c != 0 {
			by[c] = append(by[c], name)
			if len(by[c]) > len(by[most]) || len(by[c]) == len(by[most]) && c < most {
				most = c
			}
		}
	}
	if !who.several() || len(by[most])*4 >= len(values)*3 {
		return slices.DeleteFunc(by[most], func(name string) bool { return words[name].Count >= 20 })
	}
	return nil
}

// weakest are the names that nobody vouches for, a half of all at most.
func weakest(words map[string]*node, values []string) []string {
	weak := slices.DeleteFunc(slices.Clone(values), func(name string) bool {
		w := words[name]
		return w.Who.several() || w.Count >= 20
	})
	slices.SortFunc(weak, func(a, b string) int {
		if words[a].Last != words[b].Last {
			if words[a].Last < words[b].Last {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	return weak[:min(len(weak), lastJudgement/2)]
}

// judge decides about the names at n and acts on it.
func (t *tree) judge(n *node) {
	v := judgeWords(n.Words, n.Evicted, n.Open, len(n.Words) >= lastJudgement)
	for _, name := range v.evict {
		t.remove(n.Words[name])
		delete(n.Words, name)
		n.Evicted++
		t.evicted++
	}
	if len(v.values) > 0 {
		n.Open = true
		for _, name := range v.values {
			w := n.Words[name]
			delete(n.Words, name)
			t.absorb(n, w)
		}
		for _, w := range n.Words {
			if w.Count < trialAfter && n.classify(w.Name) != version {
				w.Trial = true // more is known later
			}
		}
	}
	n.Next = min(max(firstJudgement, len(n.Words)*2), lastJudgement)
}
