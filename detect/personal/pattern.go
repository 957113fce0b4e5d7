package personal

import "regexp/syntax"

// A pattern is an expression that is matched at one place, up to where it first has matched, and that can tell whether a text which ends
// too early may still come to match. Package regexp cannot tell that. It runs all states at once (Thompson, "Regular
// expression search algorithm", CACM 11(6), 1968): a step for each byte and state.
type pattern struct {
	prog *syntax.Prog
}

// maxStates bounds a pattern's instructions: sets of them stand on the stack.
const maxStates = 512

func newPattern(expression string) *pattern {
	re, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		panic(err) // of ours: a test has them all
	}
	prog, err := syntax.Compile(re.Simplify())
	if err != nil || len(prog.Inst) > maxStates {
		panic("too large: " + expression)
	}
	return &pattern{prog}
}

// states is a set of instructions, in the order they came in.
type states struct {
	list [maxStates]uint16
	n    int
	in   [maxStates / 64]uint64
}

// add adds an instruction and what follows it without a byte; it reports whether the pattern has matched.
func (s *states) add(prog *syntax.Prog, pc uint32) bool {
	if s.in[pc/64]&(1<<(pc%64)) != 0 {
		return false
	}
	s.in[pc/64] |= 1 << (pc % 64)
	switch i := &prog.Inst[pc]; i.Op {
	case syntax.InstMatch:
		return true
	case syntax.InstAlt, syntax.InstAltMatch:
		return s.add(prog, i.Out) || s.add(prog, i.Arg)
	case syntax.InstCapture, syntax.InstNop, syntax.InstEmptyWidth:
		return s.add(prog, i.Out)
	case syntax.InstFail:
		return false
	}
	s.list[s.n] = uint16(pc)
	s.n++
	return false
}

// match returns how many bytes of the text's beginning it takes to match. It looks at no more than maxLine.
func (p *pattern) match(text []byte, whole bool) (n int, a answer) {
	var sets [2]states
	now, next := &sets[0], &sets[1]
	if now.add(p.prog, uint32(p.prog.Start)) {
		return 0, yes
	}
	for i, c := range text {
		if i == maxLine || now.n == 0 {
			return 0, no
		}
		next.n, next.in = 0, [maxStates / 64]uint64{}
		for _, pc := range now.list[:now.n] {
			inst := &p.prog.Inst[pc]
			if inst.MatchRune(rune(c)) && next.add(p.prog, inst.Out) {
				return i + 1, yes
			}
		}
		now, next = next, now
	}
	if whole || now.n == 0 || len(text) >= maxLine {
		return 0, no
	}
	return 0, wait
}
