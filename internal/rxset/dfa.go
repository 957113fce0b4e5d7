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
	maxPlace  = matching - 1
	overhead  = 64 // bytes that a state takes beside its row and its own size
)

// dfa is a program made deterministic as far as texts asked for it. It is shared by goroutines: they read a table without locks
// and compute what is missing on their own; a lock is held while a row is added only.
type dfa struct {
	program *program
	limit   int        // bytes
	steps   *sync.Pool // of *stepper
	table   atomic.Pointer[table]

	mu      sync.Mutex
	index   map[uint64]uint32 // hash of a state to its row, of the present table's generation
	flushes atomic.Int64
	built   atomic.Int64 // transitions
	visits  atomic.Int64 // of nodes, for them
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
	size       int
}

func newDFA(p *program, limit int, steps *sync.Pool) *dfa {
	d := &dfa{program: p, limit: limit, steps: steps}
	d.renew(0)
	return d
}

// renew starts a generation.
func (d *dfa) renew(generation int) *table {
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
		t.size += s.size() + overhead + 4*int(t.stride)
		d.index[h] = at
	}
	return at
}

// grown returns a table of twice the room, and publishes it.
func (d *dfa) grown(t *table) *table {
	g := *t
	g.cells = make([]atomic.Uint32, 2*len(t.cells))
	for i := range t.cells {
		g.cells[i].Store(t.cells[i].Load())
	}
	g.states = make([]*state, 2*len(t.states))
	copy(g.states, t.states)
	d.table.Store(&g)
	return &g
}

// run is one text's way through an automaton.
type run struct {
	// fuel is how much work may still be spent on computing transitions, flushes how often the table may still be emptied.
	fuel    int
	flushes int
	// hits has the patterns that matched.
	hits []uint64
}

// scan looks for all patterns in valid UTF-8. It reports false where the bounds do not suffice; hits then are right, but not all.
func (d *dfa) scan(text string, r *run) bool {
	t := d.table.Load()
	at := t.start
	class := &d.program.class
	cells := t.cells
	for i := 0; i < len(text); i++ {
		c := uint32(class[text[i]])
		next := cells[at+c].Load()
		if next-2 >= matching-2 { // unknown, dead or matching
			if next == unknown {
				if t, next = d.extend(t, at, int(c), r); next == unknown {
					return false
				}
				cells = t.cells
			}
			if next == dead {
				return true
			}
			if next >= matching {
				next -= matching
				r.hit(t.states[next/t.stride])
			}
		}
		at = next
	}
	end := d.program.classes
	next := cells[at+uint32(end)].Load()
	if next == unknown {
		if t, next = d.extend(t, at, end, r); next == unknown {
			return false
		}
	}
	if next >= matching {
		r.hit(t.states[(next-matching)/t.stride])
	}
	return true
}

func (r *run) hit(s *state) {
	for _, m := range s.matches {
		r.hits[m/64] |= 1 << (m % 64)
	}
}

// extend computes a transition that the table misses, and returns it with the table that it belongs to; unknown if
// that is not within bounds.
func (d *dfa) extend(t *table, at uint32, class int, r *run) (*table, uint32) {
	if r.fuel <= 0 {
		return t, unknown
	}
	x := d.steps.Get().(*stepper)
	defer d.steps.Put(x)
	x.visits = stepCost
	x.step(d.program, t.states[at/t.stride], class)
	r.fuel -= x.visits
	d.visits.Add(int64(x.visits))
	d.built.Add(1)

	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.table.Load()
	next := uint32(dead)
	if !x.dead(d.program, class == d.program.classes) {
		place, _ := now.find(d, &x.next)
		if place == 0 {
			if now.size+x.next.size()+overhead+4*int(now.stride) > d.limit || (now.rows+1)*int(now.stride) > maxPlace {
				if r.flushes <= 0 {
					return t, unknown
				}
				r.flushes--
				d.flushes.Add(1)
				now = d.renew(now.generation + 1)
			}
			if now.rows == len(now.states) {
				now = d.grown(now)
			}
			place = now.insert(d, x.next.clone())
		}
		next = place
		if len(x.next.matches) > 0 {
			next |= matching
		}
	}
	if now.generation == t.generation {
		now.cells[at+uint32(class)].Store(next)
	}
	return now, next
}

// held returns how many states there are, and the bytes that they take.
func (d *dfa) held() (states, bytes int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.table.Load()
	return t.rows - 1, t.size
}
