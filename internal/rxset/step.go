package rxset

import (
	"regexp/syntax"
	"slices"
)

// state is a set of nodes at a position of the text: what a state of the deterministic automaton stands for. It is immutable.
type state struct {
	nodes   []uint32 // rising; they read, or look ahead
	matches []uint32 // the patterns that matched since the byte before, rising
	active  []uint64 // the patterns that are still looked for, if the program drops those that matched
	at      place
}

func (s *state) hash() uint64 {
	const prime = 0x9E3779B97F4A7C15
	h := uint64(s.at) + 1
	mix := func(x uint64) { h = (h ^ x) * prime; h ^= h >> 29 }
	for _, n := range s.nodes {
		mix(uint64(n))
	}
	for _, m := range s.matches {
		mix(uint64(m) | 1<<40)
	}
	for _, a := range s.active {
		mix(a)
	}
	return h
}

func (s *state) equal(o *state) bool {
	return s.at == o.at && slices.Equal(s.nodes, o.nodes) && slices.Equal(s.matches, o.matches) && slices.Equal(s.active, o.active)
}

func (s *state) clone() *state {
	n := len(s.nodes)
	both := append(append(make([]uint32, 0, n+len(s.matches)), s.nodes...), s.matches...)
	return &state{both[:n:n], both[n:], slices.Clone(s.active), s.at}
}

func (s *state) size() int { return 4*len(s.nodes) + 4*len(s.matches) + 8*len(s.active) + 96 }

// stepper computes the state after a byte. It is one goroutine's, and serves any program.
type stepper struct {
	before, after marks // nodes that were met at the position before the byte, and after it
	stack, under  []uint32
	next          state
	// visits counts the nodes that were looked at: the work.
	visits int
}

// marks is a set that is emptied in no time.
type marks struct {
	stamp []uint32
	now   uint32
}

func (m *marks) clear(n int) {
	if len(m.stamp) < n {
		m.stamp, m.now = make([]uint32, n), 0
	}
	if m.now++; m.now == 0 {
		clear(m.stamp)
		m.now = 1
	}
}

func (m *marks) add(i uint32) bool {
	if m.stamp[i] == m.now {
		return false
	}
	m.stamp[i] = m.now
	return true
}

func (x *stepper) reset(p *program) {
	x.before.clear(len(p.nodes))
	x.after.clear(len(p.nodes))
	x.next.nodes, x.next.matches, x.next.active = x.next.nodes[:0], x.next.matches[:0], x.next.active[:0]
}

// step makes x.next the state that follows from s by a byte of the class, or by the end.
//
// Assertions wait for the byte behind them: a state holds those that are not decided, the next step decides them knowing both
// sides, and what matches by them is a match of the state after. That is how RE2 does it.
func (x *stepper) step(p *program, s *state, class int) {
	begin := x.starting(p, s.at, class) // which uses x
	x.reset(p)
	x.next.active = append(x.next.active, s.active...)
	end := class == p.classes
	b := p.sample[class&0xff]
	held := holding(s.at, b, end)
	after := p.behind(b)
	x.visits += len(s.nodes) + len(begin.nodes)
	for _, n := range s.nodes {
		if p.nodes[n].op == opLook {
			x.settle(p, n, held, b, end, after)
		} else if !end {
			x.read(p, n, b, after)
		}
	}
	// What was under way is sorted, and merged with what begins, which is.
	slices.Sort(x.next.nodes)
	under := append(x.under[:0], x.next.nodes...)
	x.under, x.next.nodes = under, x.next.nodes[:0]
	for _, n := range begin.nodes {
		if x.after.add(n) && (!p.drop || has(s.active, p.nodes[n].pattern)) {
			for len(under) > 0 && under[0] < n {
				x.next.nodes = append(x.next.nodes, under[0])
				under = under[1:]
			}
			x.next.nodes = append(x.next.nodes, n)
		}
	}
	x.next.nodes = append(x.next.nodes, under...)
	for _, m := range begin.matches {
		if !p.drop || has(s.active, m) {
			x.match(m)
		}
	}
	x.finish(p, end, after)
}

// finish brings x.next into the one form of its like.
func (x *stepper) finish(p *program, end bool, after place) {
	next := &x.next
	slices.Sort(next.matches)
	floating := !end
	if p.drop {
		any := uint64(0)
		for _, m := range next.matches {
			next.active[m/64] &^= 1 << (m % 64)
		}
		for i, a := range next.active {
			any |= a & p.floating[i]
		}
		floating = floating && any != 0
		if len(next.matches) > 0 {
			next.nodes = slices.DeleteFunc(next.nodes, func(n uint32) bool { return !has(next.active, p.nodes[n].pattern) })
		}
	}
	if end {
		next.nodes = next.nodes[:0]
	}
	next.at = after
	if len(next.nodes) == 0 && !floating {
		// Nothing can come any more.
		next.at = atOther
		clear(next.active)
	}
}

// dead reports whether no pattern can match after x.next, nor did with the step to it.
func (x *stepper) dead(p *program, end bool) bool {
	if len(x.next.nodes) > 0 || len(x.next.matches) > 0 {
		return false
	}
	if end {
		return true
	}
	for i, f := range p.floating {
		if p.drop {
			f &= x.next.active[i]
		}
		if f != 0 {
			return false
		}
	}
	return true
}

// starting returns what comes of beginning at the place, before a byte of the class.
func (x *stepper) starting(p *program, at place, class int) *started {
	slot := &p.starting[int(at)*(p.classes+1)+class]
	if st := slot.Load(); st != nil {
		return st
	}
	x.reset(p)
	end := class == p.classes
	b := p.sample[class&0xff]
	held := holding(at, b, end)
	// A character is not begun in its middle, where an empty match would be none of the regexp package's.
	if end || b < 0x80 || b >= 0xC0 {
		for _, start := range p.starts {
			x.settle(p, start, held, b, end, p.behind(b))
		}
	}
	slices.Sort(x.next.nodes)
	st := &started{slices.Clone(x.next.nodes), slices.Clone(x.next.matches)}
	slot.Store(st)
	return st
}

func (x *stepper) match(pattern uint32) {
	if !slices.Contains(x.next.matches, pattern) {
		x.next.matches = append(x.next.matches, pattern)
	}
}

// settle follows a node at the position before the byte, where all is known, and reads the byte.
func (x *stepper) settle(p *program, n uint32, held syntax.EmptyOp, b byte, end bool, after place) {
	bottom := len(x.stack)
	x.stack = append(x.stack, n)
	for len(x.stack) > bottom {
		n := x.stack[len(x.stack)-1]
		x.stack = x.stack[:len(x.stack)-1]
		if !x.before.add(n) {
			continue
		}
		x.visits++
		switch nd := &p.nodes[n]; nd.op {
		case opAlt:
			x.stack = append(x.stack, nd.arg, nd.out)
		case opNop:
			x.stack = append(x.stack, nd.out)
		case opLook:
			if nd.look&^held == 0 {
				x.stack = append(x.stack, nd.out)
			}
		case opMatch:
			x.match(nd.pattern)
		case opRead:
			if !end {
				x.read(p, n, b, after)
			}
		}
	}
}

// read follows the byte from a node that reads.
func (x *stepper) read(p *program, n uint32, b byte, after place) {
	spans := p.reads(n)
	x.visits += len(spans) / 8
	for _, s := range spans {
		if s.lo <= b && b <= s.hi {
			x.arrive(p, s.to, after)
		}
	}
}

// arrive follows a node at the position after the byte, where what comes next is not known.
func (x *stepper) arrive(p *program, n uint32, after place) {
	bottom := len(x.stack)
	x.stack = append(x.stack, n)
	for len(x.stack) > bottom {
		n := x.stack[len(x.stack)-1]
		x.stack = x.stack[:len(x.stack)-1]
		if !x.after.add(n) {
			continue
		}
		x.visits++
		switch nd := &p.nodes[n]; nd.op {
		case opAlt:
			x.stack = append(x.stack, nd.arg, nd.out)
		case opNop:
			x.stack = append(x.stack, nd.out)
		case opLook:
			switch nd.look {
			case syntax.EmptyBeginText:
			case syntax.EmptyBeginLine:
				if after == atNewline {
					x.stack = append(x.stack, nd.out)
				}
			default:
				x.next.nodes = append(x.next.nodes, n)
			}
		case opMatch:
			x.match(nd.pattern)
		case opRead:
			x.next.nodes = append(x.next.nodes, n)
		}
	}
}

func has(set []uint64, i uint32) bool { return set[i/64]>>(i%64)&1 != 0 }
