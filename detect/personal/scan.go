package personal

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/testudo-sec/testudo/internal/literal"
)

const (
	block = 64 << 10 // bytes that are looked at in one go
	// behind is how many bytes of the text before a place its match can depend on.
	behind = 384
	// leftward is how many bytes a match can begin before its literal.
	leftward = 128
	// numberAhead is how many bytes before its first digits a number can begin.
	numberAhead = 256
)

// A scanner is the state of one search. What it finds at a place depends on that place, the bytes behind it and those after it, never
// on where a piece ends: what cannot be told yet is looked at again with more text.
type scanner struct {
	d    *Detector
	hits []hit
	view view
	near near
	bare [maxView]byte // a number without separators

	emails, phones contacts
	done           int // where the last match ends

	// Where what is found goes: find, or act and out.
	find func(Match) bool
	act  func(Match) bool

	out     []byte
	flushed int // of the text, to out
	base    int // where the text begins in the stream
	span    span
	open    bool // a match goes on: span
	masking bool // and is masked
	stopped bool // find wants no more

	onLiteral func(literal.Match) bool
	text      []byte // that onLiteral is about
	origin    int    // where in it the search began
	to        int    // hits begin before it
}

// A hit is a literal, or the @ of an address. What stands before it may belong to its match as far as nothing else has it: what begins
// earlier is told first.
type hit struct {
	at, length int
	pattern    int // -1: @
}

func newScanner(d *Detector) *scanner {
	s := &scanner{d: d}
	s.onLiteral = s.literal
	return s
}

func (s *scanner) release() {
	d, hits, on := s.d, s.hits[:0], s.onLiteral
	*s = scanner{d: d, hits: hits, onLiteral: on}
	d.scanners.Put(s)
}

// whole searches a whole text.
func (s *scanner) whole(text []byte) {
	for at := 0; at < len(text) && !s.stopped; {
		at = s.scan(text, at, min(len(text), at+block), true)
		if s.open {
			at = s.goOn(text, at, true)
			s.open = false
		}
	}
}

// scan looks at what begins in text[from:to], and returns up to where all is decided: beyond to where a match goes beyond it, before it where more text is
// needed. If a match goes on behind the text, s.open is set.
func (s *scanner) scan(text []byte, from, to int, whole bool) int {
	s.collect(text, from, to)
	next, digit := 0, max(from, s.done) // the next hit; where to look for the next number
	var number Match
	known, found, more := false, false, -1
	for !s.open && !s.stopped {
		if !known || digit < s.done {
			digit = max(digit, s.done)
			number, found, digit, more = s.nextNumber(text, digit, from, to, whole)
			known = true
		}
		for next < len(s.hits) && s.hits[next].at < s.done {
			next++
		}
		place := to
		if found {
			place = number.Start
		} else if more >= 0 {
			place = more
		}
		if next < len(s.hits) && s.hits[next].at <= place {
			switch h := s.hits[next]; s.look(text, h, whole) {
			case wait:
				return s.start(text, h)
			default:
				next++
			}
			if number.Start < s.done || more >= 0 && more < s.done {
				known = false
			}
			continue
		}
		switch {
		case more >= 0 && more < to:
			return more
		case !found || number.Start >= to:
			return max(to, s.done)
		}
		s.counted(text, number)
		known = false
	}
	return s.done
}

// collect gathers the hits that begin in text[from:to].
func (s *scanner) collect(text []byte, from, to int) {
	s.hits = s.hits[:0]
	s.text, s.to = text, to
	if s.d.literals != nil {
		s.origin = from
		s.d.literals.Find(text[from:min(len(text), to+s.d.longest)], s.onLiteral)
	}
	if s.d.email != nil {
		for at := from; at < to; at++ {
			i := bytes.IndexByte(text[at:to], '@')
			if i < 0 {
				break
			}
			at += i
			s.hits = append(s.hits, hit{at, 1, -1})
		}
	}
	if len(s.hits) > 1 {
		slices.SortFunc(s.hits, func(a, b hit) int {
			return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(b.pattern, a.pattern))
		})
	}
	s.text = nil
}

func (s *scanner) literal(m literal.Match) bool {
	at := s.origin + m.Start
	if at > 0 && isWord(s.text[at]) && isWord(s.text[at-1]) && !(at > 1 && s.text[at-2] == '\\') {
		return true // amid a word
	}
	if isLower(s.text[at]) && escaped(s.text, at) {
		return true // its first letter is that of an escape
	}
	if at < s.to {
		s.hits = append(s.hits, hit{at, m.End - m.Start, m.Pattern})
	}
	return true
}

// start returns where a hit's match begins: before it go an address's first part and a path, but not what is told already.
func (s *scanner) start(text []byte, h hit) int {
	most, of := maxLocal+1, isLocal
	if h.pattern >= 0 {
		if t := s.d.targets[h.pattern][0].text; t == nil || !t.left {
			return h.at
		}
		most, of = leftward, isPath
	}
	start := h.at
	for start > s.done && start > 0 && h.at-start < most && of(text[start-1]) {
		start--
	}
	if escaped(text, start) { // what it begins with belongs to an escape: \nbob@example.org
		start = min(h.at, start+unit(text[start-1:], true)-1)
	}
	return start
}

// escaped reports whether a backslash stands before text[at:] that is not itself escaped.
func escaped(text []byte, at int) bool {
	n := 0
	for n < 16 && n < at && text[at-1-n] == '\\' {
		n++
	}
	return n%2 == 1
}

// nextNumber finds the next number that begins in text[:to], from the digits at text[at:] on.
func (s *scanner) nextNumber(text []byte, at, from, to int, whole bool) (m Match, found bool, next, wait int) {
	if s.d.numbers == nil {
		return m, false, at, -1
	}
	end := min(len(text), to+numberAhead)
	for at < end {
		// Every number has two digits in a row.
		for at < end && !isDigit(text[at]) {
			at += 2
		}
		if at >= end {
			break
		}
		m, found, after, wait := s.numberAt(text, at, max(s.done, from), whole)
		if found || wait >= 0 {
			return m, found, at, wait
		}
		at = after
	}
	return m, false, at, -1
}

// look asks what a hit is the beginning of.
func (s *scanner) look(text []byte, h hit, whole bool) answer {
	if h.pattern < 0 {
		m, a := s.emailAt(text, s.start(text, h), h.at, whole)
		if a == yes {
			s.counted(text, m)
		}
		return a
	}
	for _, t := range s.d.targets[h.pattern] {
		if t.anchor != nil {
			m, ok, more := t.anchor.At(text, h.at, whole)
			if more {
				return wait
			}
			if ok && m.Confidence >= s.d.least && !(m.Proof == "" && inBase64(text, m.Start, m.End)) {
				proof := m.Proof
				if proof == "" {
					proof = s.d.token.Proof
				}
				s.found(text, Match{Kind: s.d.token, Start: m.Start, End: m.End, Confidence: m.Confidence, Proof: proof, Rule: m.Rule.ID}, span{})
				return yes
			}
			continue
		}
		var end int
		var sp span
		var a answer
		if t.text.begins != nil {
			end, sp, a = t.text.begins(text, h.at, whole)
		} else {
			end, a = h.at+h.length, yes
			sp = newSpan(spanLine, text, h.at, end)
		}
		switch {
		case a == wait:
			return wait
		case a == yes && t.text.confidence >= s.d.least:
			s.found(text, Match{Kind: t.text.kind, Start: s.start(text, h), End: end, Confidence: t.text.confidence, Proof: t.text.kind.Proof}, sp)
			return yes
		}
	}
	return no
}

// inBase64 reports whether what stands around a place makes it a piece of a longer base64 text, such as a font in a page.
func inBase64(text []byte, start, end int) bool {
	in := func(i int) bool { return i >= 0 && i < len(text) && (text[i] == '+' || text[i] == '/') }
	return in(start-1) && in(end)
}

// counted takes a match that may be one of those a text may hold some of.
func (s *scanner) counted(text []byte, m Match) {
	var c *contacts
	switch m.Kind {
	case s.d.email:
		c = &s.emails
	case s.d.phone:
		c = &s.phones
	}
	if c != nil && !c.over(text[m.Start:m.End], s.d.config.Contacts) {
		s.done = m.End
		return
	}
	s.found(text, m, span{})
}

// found takes a match to where it goes.
func (s *scanner) found(text []byte, m Match, sp span) {
	if s.find != nil {
		m.End, _ = sp.run(text, m.End, true)
		s.done = m.End
		s.stopped = !s.find(m)
		return
	}
	s.out = append(s.out, text[s.flushed:m.Start]...)
	told := m
	told.Start, told.End = m.Start+s.base, m.End+s.base
	s.masking = s.act(told)
	switch {
	case !s.masking || sp.mode == spanPEM:
		s.out = append(s.out, text[m.Start:m.End]...)
	case m.Kind.Group == Card:
		s.out = s.appendNumber(s.out, text, m, s.d.config.KeepLast)
	case m.Kind.Group == Bank || m.Kind.Group == National:
		s.out = s.appendNumber(s.out, text, m, 0)
	default:
		s.out = appendMasked(s.out, text[m.Start:m.End])
	}
	s.flushed, s.done = m.End, m.End
	s.span, s.open = sp, true
}

// goOn takes the match that is open further, and returns where it ends or the text does.
func (s *scanner) goOn(text []byte, at int, whole bool) int {
	end, over := s.span.run(text, at, whole)
	if s.masking {
		s.out = appendMasked(s.out, text[at:end])
	} else {
		s.out = append(s.out, text[at:end]...)
	}
	s.flushed, s.done, s.open = end, end, !over
	return end
}
