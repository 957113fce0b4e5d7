package rxset

import (
	"sync"
	"sync/atomic"
)

// What a transition holds: the place of the next state's row, or one of these.
const (
	unknown   = 0       // not computed yet
	dead      = 1       // nothing can match any more
	matching  = 1 << 31 // added to a row's place: patterns matched
	firstRows = 32      // that a table has room for at first
	leastSize = 1 << 16 // of a table's limit
	maxSkip   = 31
	maxPlace  = matching - 1
	overhead  = 64 // bytes that a state takes beside its row and its own size
)

// dfa is a program made deterministic as far as texts asked for it. It is shared by goroutines: they read a table without locks
// and compute what is missing on their own; a lock is held while a row is added only.
type dfa struct {
	program *program
	limit   int        // bytes that are its own
	pool    *pool      // where it takes more from; nil: it has none
	taken   int        // from the pool
	steps   *sync.Pool // of *stepper
	table   atomic.Pointer[table]

	mu      sync.Mutex
	index   map[uint64]uint32 // hash of a state to its row, of the present table's generation
	flushes atomic.Int64
	built   atomic.Int64 // transitions
	visits  atomic.Int64 // of nodes, for them
	// failures grows with each text that was given up, skip is how many texts from then on are given up at once where they miss
	// a transition: what gains nothing is seldom tried.
	failures, skip atomic.Int32
}

// pool is memory that the automata of a set take beyond their own: few of them need much, and which ones is the texts' to say.
type pool struct{ free atomic.Int64 }

// take takes bytes, if there are so many.
func (p *pool) take(n int) bool {
	if p == nil {
		return false
	}
	if p.free.Add(-int64(n)) >= 0 {
		return true
	}
	p.free.Add(int64(n))
	return false
}

// permits reports whether the automaton may hold so many bytes, and takes what that needs.
func (d *dfa) permits(bytes int) bool {
	more := bytes - d.limit - d.taken
	if more <= 0 {
		return true
	}
	if !d.pool.take(more) {
		return false
	}
	d.taken += more
	return true
}

// table is a dfa's rows. Rows are only added, and what a row misses is only filled in; a table that is full gives way to a larger
// one of the same generation, which has the same rows, or to an empty one of the next.
type table struct {
	generation int
	stride     uint32
	start      uint32
	cells      []atomic.Uint32
	states     []*state // by row; written before the first transition to it is
	rows       int      // that are taken; guarded by the dfa's lock, as is size
	size       int      // bytes of the states
}

func newDFA(p *program, limit int, steps *sync.Pool) *dfa {
	d := &dfa{program: p, limit: limit, steps: steps}
	d.renew(0)
	return d
}

// renew starts a generation.
func (d *dfa) renew(generation int) *table {
	if d.taken > 0 {
		d.pool.free.Add(int64(d.taken))
		d.taken = 0
	}
	stride := uint32(d.program.classes + 1)
	t := &table{generation: generation, stride: stride, cells: make([]atomic.Uint32, firstRows*int(stride)), states: make([]*state, firstRows)}
	t.rows = 1 // a row's place is not 0
	if stride < 2 {
		t.rows = 2
	}
	d.index = map[uint64]uint32{}
	begin := &state{at: atBegin}
	if d.program.drop {
		begin.active = make([]uint64, d.program.words64())
		for i := range d.program.starts {
			begin.active[i/64] |= 1 << (i % 64)
		}
	}
	t.start = t.insert(d, begin)
	d.table.Store(t)
	return t
}

// bytes returns what the table takes.
func (t *table) bytes() int { return t.size + 4*len(t.cells) }

// find returns the place of a state's row, 0 if there is none.
func (t *table) find(d *dfa, s *state) (place uint32, h uint64) {
	for h = s.hash(); ; h++ {
		at, ok := d.index[h]
		if !ok {
			return 0, h
		}
		if t.states[at/t.stride].equal(s) {
			return at, h
		}
	}
}

// insert adds a state, for which there is room. It keeps s.
func (t *table) insert(d *dfa, s *state) uint32 {
	at, h := t.find(d, s)
	if at == 0 {
		at = uint32(t.rows) * t.stride
		t.states[t.rows] = s
		t.rows++
		t.size += s.size() + overhead
		d.index[h] = at
	}
	return at
}

// room returns a table with room for a row and size more bytes, and publishes it if it is not t; nil if the limit does not permit that.
func (d *dfa) room(t *table, size int) *table {
	if t.rows < len(t.states) {
		if !d.permits(t.bytes() + size) {
			return nil
		}
		return t
	}
	row := 4 * int(t.stride)
	rows := min(2*t.rows, maxPlace/int(t.stride))
	if !d.permits(t.size + size + row*rows) {
		rows = min(rows, (d.limit+d.taken-t.size-size)/row)
	}
	if rows <= t.rows {
		return nil
	}
	g := *t
	g.cells = make([]atomic.Uint32, rows*int(t.stride))
	for i := range t.cells {
		g.cells[i].Store(t.cells[i].Load())
	}
	g.states = make([]*state, rows)
	copy(g.states, t.states)
	d.table.Store(&g)
	return &g
}

// cursor is one text's way through an automaton.
type cursor struct {
	dfa   *dfa
	table *table
	at    uint32
	// over says that nothing more can match, failed that the bounds do not suffice: hits then are right, but not all.
	over, failed bool
	extended     bool     // it missed a transition
	hits         []uint64 // the patterns that matched
	met          int      // how often something matched
	flushes      int      // how often the table may still be emptied
	fuel         *int     // how much work may still be spent on computing transitions
}

func (c *cursor) start(d *dfa, hits []uint64, fuel *int) {
	clear(hits)
	*c = cursor{dfa: d, table: d.table.Load(), hits: hits, flushes: flushesPerText, fuel: fuel}
	c.at = c.table.start
}

// scan looks for all patterns in valid UTF-8.
func (c *cursor) scan(text string) {
	c.resume(text, 0)
	c.end()
}

// scanBoth does for two automata what scan does for one, in less time than one after the other: each step waits for
// the memory that the one before it named, and two may wait together.
func scanBoth(text string, a, b *cursor) {
	classA, classB := &a.dfa.program.class, &b.dfa.program.class
	cellsA, cellsB := a.table.cells, b.table.cells
	atA, atB := a.at, b.at
	i := 0
	for ; i < len(text) && !a.over && !b.over; i++ {
		x := text[i]
		cA, cB := uint32(classA[x]), uint32(classB[x])
		nextA, nextB := cellsA[atA+cA].Load(), cellsB[atB+cB].Load()
		if nextA-2 >= matching-2 {
			a.at = atA
			nextA = a.special(nextA, cA)
			cellsA = a.table.cells
		}
		if nextB-2 >= matching-2 {
			b.at = atB
			nextB = b.special(nextB, cB)
			cellsB = b.table.cells
		}
		atA, atB = nextA, nextB
	}
	a.at, b.at = atA, atB
	a.resume(text, i)
	a.end()
	b.resume(text, i)
	b.end()
}

// resume goes on from a place of the text.
func (c *cursor) resume(text string, i int) {
	class := &c.dfa.program.class
	cells := c.table.cells
	at := c.at
	for ; i < len(text) && !c.over; i++ {
		x := uint32(class[text[i]])
		next := cells[at+x].Load()
		if next-2 >= matching-2 { // unknown, dead or matching
			c.at = at
			next = c.special(next, x)
			cells = c.table.cells
		}
		at = next
	}
	c.at = at
}

// end takes the end of the text.
func (c *cursor) end() {
	if c.over {
		return
	}
	x := uint32(c.dfa.program.classes)
	c.special(c.table.cells[c.at+x].Load(), x)
	c.over = true
	if c.extended && !c.failed && c.dfa.failures.Load() != 0 {
		c.dfa.failures.Store(0)
	}
}

// fail gives the text up.
func (c *cursor) fail() {
	c.over, c.failed = true, true
	// Until a table is full for the first time there is something to gain: what was computed stays.
	if d := c.dfa; c.extended && c.table.generation > 0 {
		n := min(2*d.failures.Load()+1, maxSkip)
		d.failures.Store(n)
		d.skip.Store(n)
	}
}

// special returns the place that a transition leads to which is not one, or has more to say.
func (c *cursor) special(next, class uint32) uint32 {
	if next == unknown {
		if next = c.extend(int(class)); next == unknown {
			c.fail()
			return c.at
		}
	}
	if next == dead {
		c.over = true
		return c.at
	}
	if next >= matching {
		next -= matching
		c.met++
		for _, m := range c.table.states[next/c.table.stride].matches {
			c.hits[m/64] |= 1 << (m % 64)
		}
	}
	return next
}

// extend computes a transition that the table misses, and makes the table the one that it belongs to. It returns unknown if that is
// not within bounds.
func (c *cursor) extend(class int) uint32 {
	d, t := c.dfa, c.table
	if *c.fuel <= 0 || !c.extended && d.skip.Load() > 0 && d.skip.Add(-1) >= 0 {
		return unknown
	}
	c.extended = true
	x := d.steps.Get().(*stepper)
	defer d.steps.Put(x)
	x.visits = stepCost
	x.step(d.program, t.states[c.at/t.stride], class)
	*c.fuel -= x.visits
	d.visits.Add(int64(x.visits))
	d.built.Add(1)

	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.table.Load()
	next := uint32(dead)
	if !x.dead(d.program, class == d.program.classes) {
		place, _ := now.find(d, &x.next)
		if place == 0 {
			size := x.next.size() + overhead
			larger := d.room(now, size)
			if larger == nil {
				if c.flushes <= 0 {
					return unknown
				}
				c.flushes--
				d.flushes.Add(1)
				now = d.renew(now.generation + 1)
				if larger = d.room(now, size); larger == nil {
					return unknown // a state that is larger than all that is given
				}
			}
			now = larger
			place = now.insert(d, x.next.clone())
		}
		next = place
		if len(x.next.matches) > 0 {
			next |= matching
		}
	}
	if now.generation == t.generation {
		now.cells[c.at+uint32(class)].Store(next)
	}
	c.table = now
	return next
}

// held returns how many states there are, and the bytes that they take.
func (d *dfa) held() (states, bytes int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.table.Load()
	return t.rows - 1, t.bytes()
}
