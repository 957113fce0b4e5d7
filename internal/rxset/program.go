package rxset

import (
	"errors"
	"math/bits"
	"regexp/syntax"
	"slices"
	"sync/atomic"
	"unicode"
)

// maxNodes bounds the program of one expression. A larger one is left to the regexp package. maxTogether bounds that of several.
const maxNodes, maxTogether = 1 << 16, 1 << 19

var errLarge = errors.New("expression too large for an automaton")

type op uint8

const (
	opFail  op = iota
	opAlt      // goes to out and to arg
	opNop      // goes to out
	opLook     // goes to out where look holds
	opMatch    // the pattern matched
	opRead     // reads a byte
)

// node is an instruction of a program.
type node struct {
	op       op
	look     syntax.EmptyOp
	pattern  uint32 // index in the program
	out, arg uint32 // of opRead: program.spans[out:arg]
}

// span is where a byte from lo to hi leads.
type span struct {
	lo, hi byte
	to     uint32
}

// place is what stands before a position of the text.
type place uint8

const (
	atOther   place = iota // a byte that no assertion of the program asks for
	atWord                 // a letter, a digit or an underscore
	atNewline              //
	atBegin                // nothing
	places
)

// program is the expressions of several patterns as one automaton over the bytes of valid UTF-8 (Thompson, "Regular Expression Search
// Algorithm", CACM 11(6), 1968). It is immutable but for starting, a cache.
type program struct {
	nodes  []node
	spans  []span
	starts []uint32 // per pattern
	// drop says that a pattern is not looked for any more once it matched.
	drop bool
	// floating are the patterns that can begin elsewhere than at the beginning of the text.
	floating []uint64

	class   [256]uint8
	sample  [256]byte // a byte of each class
	classes int       // the class of the end of the text comes behind the last

	words, lines bool // there are assertions about them
	// starting has what comes of beginning at a position, by what is before it and the class of what follows.
	starting []atomic.Pointer[started]
}

// started is the nodes that are reached by beginning before one byte, and the patterns that matched on the way.
type started struct {
	nodes   []uint32
	matches []uint32
}

func (p *program) words64() int { return (len(p.starts) + 63) / 64 }

// reads returns where bytes lead from a node, nothing from one that does not read.
func (p *program) reads(n uint32) []span {
	if nd := &p.nodes[n]; nd.op == opRead {
		return p.spans[nd.out:nd.arg]
	}
	return nil
}

// size returns the bytes that the program takes, what it caches aside.
func (p *program) size() int { return 16*len(p.nodes) + 8*len(p.spans) + 8*len(p.starting) }

// newProgram compiles expressions. They are as the parser made them; see [trim].
func newProgram(expressions []*syntax.Regexp, drop bool) (*program, error) {
	p := &program{nodes: make([]node, 1), drop: drop}
	for i, re := range expressions {
		if err := p.add(re, uint32(i)); err != nil {
			return p, err // as far as it came
		}
	}
	p.classify()
	p.starting = make([]atomic.Pointer[started], int(places)*(p.classes+1))
	p.floating = make([]uint64, p.words64())
	for i, start := range p.starts {
		if p.floats(start) {
			p.floating[i/64] |= 1 << (i % 64)
		}
	}
	return p, nil
}

// add appends the instructions of one expression.
func (p *program) add(re *syntax.Regexp, pattern uint32) error {
	prog, err := syntax.Compile(re.Simplify())
	if err != nil {
		return err
	}
	if len(prog.Inst) > maxNodes {
		return errLarge
	}
	base, spans := uint32(len(p.nodes)), len(p.spans)
	p.starts = append(p.starts, base+uint32(prog.Start))
	p.nodes = append(p.nodes, make([]node, len(prog.Inst))...)
	w := writer{program: p, pattern: pattern, tails: map[span]uint32{}}
	for i := range prog.Inst {
		in := &prog.Inst[i]
		n := node{pattern: pattern, out: base + in.Out}
		switch in.Op {
		case syntax.InstAlt, syntax.InstAltMatch:
			n.op, n.arg = opAlt, base+in.Arg
		case syntax.InstCapture, syntax.InstNop:
			n.op = opNop
		case syntax.InstEmptyWidth:
			n.op, n.look = opLook, syntax.EmptyOp(in.Arg)
			p.words = p.words || n.look&(syntax.EmptyWordBoundary|syntax.EmptyNoWordBoundary) != 0
			p.lines = p.lines || n.look&(syntax.EmptyBeginLine|syntax.EmptyEndLine) != 0
		case syntax.InstMatch:
			n.op = opMatch
		case syntax.InstFail:
		default:
			n.op = opRead
			n.out, n.arg = w.read(runes(in), n.out)
		}
		p.nodes[base+uint32(i)] = n
		if len(p.nodes)-int(base) > maxNodes || len(p.spans)-spans > 2*maxNodes || len(p.nodes) > maxTogether || len(p.spans) > 2*maxTogether {
			return errLarge
		}
	}
	return nil
}

// runes returns the pairs of first and last characters that an instruction reads.
func runes(in *syntax.Inst) []rune {
	switch in.Op {
	case syntax.InstRuneAny:
		return []rune{0, unicode.MaxRune}
	case syntax.InstRuneAnyNotNL:
		return []rune{0, '\n' - 1, '\n' + 1, unicode.MaxRune}
	}
	if len(in.Rune) != 1 {
		return in.Rune
	}
	r := in.Rune[0]
	out := []rune{r, r}
	if syntax.Flags(in.Arg)&syntax.FoldCase != 0 {
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			out = append(out, f, f)
		}
	}
	return out
}

// writer makes the nodes that read one character of several bytes. Those that read the same and lead to the same are one.
type writer struct {
	*program
	pattern uint32
	tails   map[span]uint32
}

// read appends the spans that read characters of the pairs.
func (w *writer) read(pairs []rune, to uint32) (from, end uint32) {
	var out []span
	for i := 0; i+1 < len(pairs); i += 2 {
		sequences(pairs[i], pairs[i+1], func(s sequence) {
			next := to
			for j := len(s) - 1; j > 0; j-- {
				next = w.tail(span{s[j].lo, s[j].hi, next})
			}
			sp := span{s[0].lo, s[0].hi, next}
			if !slices.Contains(out[max(0, len(out)-8):], sp) {
				out = append(out, sp)
			}
		})
	}
	return w.append(out...)
}

func (w *writer) append(spans ...span) (from, end uint32) {
	from = uint32(len(w.program.spans))
	w.program.spans = append(w.program.spans, spans...)
	return from, uint32(len(w.program.spans))
}

func (w *writer) tail(s span) uint32 {
	id, ok := w.tails[s]
	if !ok {
		id = uint32(len(w.nodes))
		from, end := w.append(s)
		w.nodes = append(w.nodes, node{op: opRead, pattern: w.pattern, out: from, arg: end})
		w.tails[s] = id
	}
	return id
}

// classify puts bytes that no instruction tells apart into one class.
func (p *program) classify() {
	const prime = 0x9E3779B97F4A7C15
	var sum [256]uint64 // of all places where a byte is read
	mix := func(b int, what uint64) {
		sum[b] = bits.RotateLeft64((sum[b]^what)*prime, 29)
	}
	for i := range p.nodes {
		for _, s := range p.reads(uint32(i)) {
			for b := int(s.lo); b <= int(s.hi); b++ {
				mix(b, uint64(i)<<32|uint64(s.to))
			}
		}
	}
	seen := map[uint64]uint8{}
	for b := range 256 {
		switch {
		case b >= 0x80 && b < 0xC0:
			mix(b, 1)
		case p.words && isWord(byte(b)):
			mix(b, 2)
		case p.lines && b == '\n':
			mix(b, 3)
		}
		c, ok := seen[sum[b]]
		if !ok {
			c = uint8(len(seen))
			seen[sum[b]] = c
			p.sample[c] = byte(b)
		}
		p.class[b] = c
	}
	p.classes = len(seen)
}

// floats reports whether anything is reached from a node without the beginning of the text.
func (p *program) floats(start uint32) bool {
	seen := map[uint32]bool{}
	var reach func(uint32) bool
	reach = func(i uint32) bool {
		if seen[i] {
			return false
		}
		seen[i] = true
		switch n := &p.nodes[i]; n.op {
		case opAlt:
			return reach(n.out) || reach(n.arg)
		case opNop:
			return reach(n.out)
		case opLook:
			return n.look != syntax.EmptyBeginText && reach(n.out)
		case opFail:
			return false
		}
		return true
	}
	return reach(start)
}

// behind returns what stands before the position after a byte.
func (p *program) behind(b byte) place {
	switch {
	case p.words && isWord(b):
		return atWord
	case p.lines && b == '\n':
		return atNewline
	}
	return atOther
}

func isWord(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || b == '_'
}

// holding returns the assertions that hold between a place and a byte, or the end.
func holding(at place, next byte, end bool) syntax.EmptyOp {
	var held syntax.EmptyOp
	if at == atBegin {
		held |= syntax.EmptyBeginText | syntax.EmptyBeginLine
	}
	if at == atNewline {
		held |= syntax.EmptyBeginLine
	}
	if end {
		held |= syntax.EmptyEndText | syntax.EmptyEndLine
	} else if next == '\n' {
		held |= syntax.EmptyEndLine
	}
	if (at == atWord) != (!end && isWord(next)) {
		held |= syntax.EmptyWordBoundary
	} else {
		held |= syntax.EmptyNoWordBoundary
	}
	return held
}
