package engine

import "github.com/testudo-sec/testudo/edge/waf/transform"

// look is what is known of a text.
type look struct {
	text   string
	done   [classes]bool
	forms  []form  // the distinct texts that transformations make of it, the first is the text itself
	formOf []int32 // by chain: 1 + index in forms, 0 if it is not known
}

// form is a text after some transformations. Chains that begin alike, and steps that change nothing, lead to the same one: so each
// step is taken once for each different text.
type form struct {
	text    string
	in      transform.Bytes // of the text, if scanned says so
	scanned bool
	next    []int32 // by transformation: 1 + index in the look's forms of what it makes of the text, 0 if it is not known
	found   bits    // of the patterns that were wanted
	wanted  bits
}

// looking returns what is known of a text, which at numbers: 0 if nothing is.
func (tx *Transaction) looking(at *int32, text string) *look {
	if *at > 0 {
		if l := &tx.looks[*at-1]; l.text == text {
			return l
		}
	}
	n := len(tx.looks)
	if n < cap(tx.looks) {
		tx.looks = tx.looks[:n+1]
	} else {
		tx.looks = append(tx.looks, look{})
	}
	l, h := &tx.looks[n], &tx.engine.heads
	*l = look{text: text, forms: l.forms[:0], formOf: l.formOf}
	if l.formOf == nil {
		l.formOf = tx.pieces.numbers(len(h.chains))
	} else {
		clear(l.formOf)
	}
	l.add(tx, text)
	*at = int32(n + 1)
	return l
}

// add notes a text, and returns its index.
func (l *look) add(tx *Transaction, text string) int {
	for i := range l.forms {
		if l.forms[i].text == text {
			return i
		}
	}
	n := len(l.forms)
	if n < cap(l.forms) {
		l.forms = l.forms[:n+1]
	} else {
		l.forms = append(l.forms, form{})
	}
	f := &l.forms[n]
	f.text, f.scanned = text, false
	if f.found == nil {
		h := &tx.engine.heads
		f.found, f.wanted, f.next = tx.pieces.bits(len(h.patterns)), tx.pieces.bits(len(h.patterns)), tx.pieces.numbers(len(h.transforms))
	} else {
		clear(f.found)
		clear(f.wanted)
		clear(f.next)
	}
	return n
}

// form returns the text after a chain of transformations.
func (l *look) form(tx *Transaction, chain int) *form {
	if n := l.formOf[chain]; n > 0 {
		return &l.forms[n-1]
	}
	h, at := &tx.engine.heads, 0
	if c := h.chains[chain]; c != nil && !c.Idle(l.forms[0].bytes()) {
		for _, step := range h.steps[chain] {
			at = l.step(tx, at, step)
		}
	}
	l.formOf[chain] = int32(at + 1)
	return &l.forms[at]
}

// step returns the index of what a transformation makes of a form.
func (l *look) step(tx *Transaction, at, step int) int {
	f := &l.forms[at]
	if n := f.next[step]; n > 0 {
		return int(n - 1)
	}
	to := at
	if t := &tx.engine.heads.transforms[step]; t.Touches(f.bytes()) {
		to = l.add(tx, t.Apply(&tx.arena, f.text))
	}
	l.forms[at].next[step] = int32(to + 1) // add may have moved them
	return to
}

// bytes returns the bytes that occur in a form.
func (f *form) bytes() *transform.Bytes {
	if !f.scanned {
		f.in, f.scanned = transform.In(f.text), true
	}
	return &f.in
}

// pieces is memory for forms: many in few allocations.
type pieces struct {
	words []uint64
	ints  []int32
}

// piecesOf is how many are made at once.
const piecesOf = 64

func (p *pieces) bits(n int) bits {
	n = (n + 63) / 64
	if len(p.words) < n {
		p.words = make([]uint64, piecesOf*n)
	}
	out := p.words[:n:n]
	p.words = p.words[n:]
	return out
}

func (p *pieces) numbers(n int) []int32 {
	if len(p.ints) < n {
		p.ints = make([]int32, piecesOf*n)
	}
	out := p.ints[:n:n]
	p.ints = p.ints[n:]
	return out
}
