package personal

import "github.com/testudo-sec/testudo/detect"

const (
	maxLetters = 6  // before a number's first digit
	maxDigits  = 19 // of its first part
	maxWalk    = 36 // characters from a digit back to where its word begins
)

// An index finds the forms that a number can have by how it begins: upper-case letters, digits, what follows those.
type index struct {
	forms [maxLetters + 1][maxDigits + 1][classes][]*entry
	// second has a bit for each number of digits that the next part can have, where what follows is a separator.
	second [maxLetters + 1][maxDigits + 1][classes]uint32
	// stepped are forms whose first part is one or two characters, by the digits that follow the separator.
	stepped [maxDigits + 1][]*entry
	iban    *numbered
}

type entry struct {
	*numbered
	form
	last int // digits of the last part, behind a space; 0 if there are no spaces
	head int // digits of the first part, before a space
}

// What follows a number's first letters and digits.
const (
	classEnd = iota // of the word, and no separator
	classLetter
	classSpace
	classDash
	classDot
	classSlash
	classPlus
	classes
)

func class(c byte) int {
	switch {
	case isWord(c):
		return classLetter
	case c == ' ':
		return classSpace
	case c == '-':
		return classDash
	case c == '.':
		return classDot
	case c == '/':
		return classSlash
	case c == '+':
		return classPlus
	}
	return classEnd
}

// newIndex returns the index of the kinds that are wanted, nil if none is.
func newIndex(wanted func(*Kind) bool) *index {
	x, empty := &index{}, true
	for _, n := range numbers() {
		if !wanted(n.kind) {
			continue
		}
		empty = false
		if n.forms == nil {
			x.iban = &n
		}
		for _, f := range n.forms {
			x.add(&entry{numbered: &n, form: f})
		}
	}
	if empty {
		return nil
	}
	return x
}

func (x *index) add(e *entry) {
	letters, digits, at := 0, 0, 0
	for ; at < len(e.shape) && e.shape[at] == 'A'; at++ {
		letters++
	}
	for ; at < len(e.shape) && e.shape[at] == 'd'; at++ {
		digits++
	}
	e.head = digits
	for i := len(e.shape) - 1; i >= 0 && e.shape[i] == 'd'; i-- {
		e.last++
	}
	spaced := false
	for i := range len(e.shape) {
		spaced = spaced || e.shape[i] == ' '
	}
	if !spaced {
		e.head, e.last = 0, 0
	}
	if at < len(e.shape) && at <= 2 && (digits == 0 || letters == 0 && digits == 1) {
		more := 0
		for i := at + 1; i < len(e.shape) && e.shape[i] == 'd'; i++ {
			more++
		}
		x.stepped[more] = append(x.stepped[more], e)
		return
	}
	for after := range classes {
		if at == len(e.shape) && after != classLetter || at < len(e.shape) && after == class(e.shape[at]) {
			list := &x.forms[letters][digits][after]
			*list = append(*list, e)
			x.second[letters][digits][after] |= e.secondDigits(at)
		}
	}
}

// secondDigits has a bit for each number of digits that can follow the separator at shape[at:]: all bits where there is none.
func (e *entry) secondDigits(at int) (bits uint32) {
	if at >= len(e.shape) || class(e.shape[at]) <= classLetter {
		return ^uint32(0)
	}
	n := 0
	for at++; at < len(e.shape) && e.shape[at] == 'd'; at++ {
		n++
	}
	bits = 1 << n
	for ; at < len(e.shape) && e.shape[at] == 'X'; at++ { // a digit or none
		n++
		bits |= 1 << n
	}
	if at == len(e.shape) || e.shape[at] != 'd' {
		return bits
	}
	return ^uint32(0)
}

// beginning returns the forms that begin so.
func (x *index) beginning(letters, digits int, after byte) []*entry {
	if letters > maxLetters || digits > maxDigits {
		return nil
	}
	return x.forms[letters][digits][class(after)]
}

// fits reports whether c can stand for the shape's character.
func fits(shape, c byte) bool {
	switch shape {
	case 'd':
		return isDigit(c)
	case 'A':
		return isUpper(c)
	case 'X':
		return isDigit(c) || isUpper(c)
	}
	return shape == c
}

// goesOn reports whether behind a number's first digits, and a separator, may follow as many digits as do.
func (x *index) goesOn(text []byte, letters, digits int) bool {
	if len(text) == 0 {
		return true
	}
	bits := x.second[letters][digits][class(text[0])]
	n := 1
	for n < len(text) && n < 16 && isDigit(text[n]) {
		n++
	}
	if n == len(text) {
		return true
	}
	switch text[n] {
	case '\\', '&', '%', 0xc2:
		return true
	}
	return bits&(1<<(n-1)) != 0
}

// perhaps reports whether text, as it is written or with escapes, may begin with one of the forms.
func perhaps(text []byte, list []*entry) bool {
next:
	for _, e := range list {
		for i := range len(e.shape) {
			if i == len(text) {
				return true
			}
			if c := text[i]; !fits(e.shape[i], c) {
				if c == '\\' || c == '&' || c == '%' || c == 0xc2 {
					return true
				}
				continue next
			}
		}
		return true
	}
	return false
}

// numberAt looks for a number whose first digits, at least two, are around text[at], which is a digit. It returns where the word of the digit ends, as far as
// it was looked at, and what was found; wait is the place from which on more text is needed, -1 if it is not.
func (s *scanner) numberAt(text []byte, at, floor int, whole bool) (m Match, found bool, next, wait int) {
	x := s.d.numbers
	first, end := at, at+1
	for first > 0 && isDigit(text[first-1]) && at-first < maxWalk {
		first--
	}
	for end < len(text) && isDigit(text[end]) {
		end++
	}
	next = end
	for next < len(text) && isWord(text[next]) {
		next++
	}
	if end-first > maxWalk || at-first >= maxWalk {
		return m, false, next, -1
	}
	// Where the word begins, as it is written.
	start := first
	for start > 0 && isUpper(text[start-1]) && first-start <= maxLetters {
		start--
	}
	after := byte(0)
	if end < len(text) {
		after = text[end]
	}
	plain := start == 0 || !isWord(text[start-1]) && text[start-1] != ';' && text[start-1] != '#' && text[start-1] != '%'
	if !plain {
		_, size := before(text, start)
		if size < 2 && !inEscape(text, start) {
			return m, false, next, -1 // amid a word
		}
	}
	plain = plain && after != '\\' && after != '&' && after != '%' && after != 0xc2 && (end < len(text) || whole)
	step := true
	if plain {
		letters, digits := first-start, end-first
		list := x.beginning(letters, digits, after)
		step = letters == 0 && digits <= maxDigits && x.stepped[digits] != nil && start > 1 && (text[start-1] == ' ' || text[start-1] == '-') &&
			(isUpper(text[start-2]) || isDigit(text[start-2]) && (start == 2 || !isWord(text[start-3])))
		iban := x.iban != nil && letters == 2 && digits >= 2
		plus := s.d.phone != nil && start > 0 && text[start-1] == '+'
		if !step && !iban && !plus && (len(list) == 0 || !x.goesOn(text[end:], letters, digits) || !perhaps(text[start:], list)) {
			return m, false, next, -1
		}
	} else {
		next = end // an escape's digits may be part of another character: what follows is looked at by itself
		if start = wordStart(text, start); start < 0 {
			return m, false, next, -1
		}
		// The digits may be those of an escape that stands before the number.
		for start < end {
			c, size := decode(text[start:], whole)
			if size == 0 {
				return m, false, next, max(start, floor)
			}
			if isWord(c) {
				break
			}
			start += size
		}
		if start >= end {
			return m, false, end, -1
		}
	}
	if start < floor {
		return m, false, next, -1
	}
	if step {
		if m, found, wait := s.stepped(text, start, floor, whole); found || wait >= 0 {
			return m, found, next, wait
		}
	}
	v := &s.view
	v.read(text, start, whole)
	letters, digits := v.begin(0)
	if letters+digits == v.n {
		if v.open {
			return m, false, next, start
		}
		if v.n == maxView {
			return m, false, next, -1
		}
		v.c[v.n] = 0
	}
	best, more := s.try(text, v, x.beginning(letters, digits, v.c[letters+digits]))
	if x.iban != nil && letters == 2 && digits >= 2 {
		m, ok, wait := s.tryIBAN(text, v)
		more = more || wait
		if ok && m.Confidence > best.Confidence {
			best = m
		}
	}
	if s.d.phone != nil && start > 0 && text[start-1] == '+' {
		m, ok, wait := s.tryPhone(v)
		more = more || wait
		if ok && best.Kind == nil {
			best = m
		}
	}
	switch {
	case more:
		return m, false, next, start
	case best.Kind != nil:
		return best, true, next, -1
	}
	return m, false, next, -1
}

// inEscape reports whether what precedes text[at:] is the beginning of an escape that goes on there.
func inEscape(text []byte, at int) bool {
	switch text[at-1] {
	case 'u':
		return at >= 2 && text[at-2] == '\\'
	case '#':
		return at >= 2 && text[at-2] == '&'
	case 'x', 'X':
		return at >= 3 && text[at-2] == '#' && text[at-3] == '&'
	case '%', ';':
		return true
	}
	return false
}

// wordStart returns where the word begins that goes on at text[at:], with escapes, or -1 if that is farther than any number has it.
func wordStart(text []byte, at int) int {
	if at > 0 && inEscape(text, at) {
		switch text[at-1] {
		case 'u', '#':
			at -= 2
		case 'x', 'X':
			at -= 3
		case '%':
			at--
		}
	}
	for range maxWalk {
		c, size := before(text, at)
		if size == 0 || !isWord(c) {
			return at
		}
		at -= size
	}
	return -1
}

// begin returns how many upper-case letters and then digits stand in the view from there.
func (v *view) begin(at int) (letters, digits int) {
	for ; at+letters < v.n && isUpper(v.c[at+letters]); letters++ {
	}
	for ; at+letters+digits < v.n && isDigit(v.c[at+letters+digits]); digits++ {
	}
	return letters, digits
}

// stepped tries the forms whose first part is one or two characters before the word at text[start:], and a separator.
func (s *scanner) stepped(text []byte, start, floor int, whole bool) (m Match, found bool, wait int) {
	c, size := before(text, start)
	if size == 0 || c != ' ' && c != '-' {
		return m, false, -1
	}
	head := start - size
	first := head
	for n := 0; ; n++ {
		c, size := before(text, first)
		if size == 0 || !isWord(c) {
			break
		}
		if n == 2 || !isUpper(c) && !isDigit(c) {
			return m, false, -1
		}
		first -= size
	}
	if first == head || first < floor {
		return m, false, -1
	}
	v := &s.view
	v.read(text, first, whole)
	at := 0
	for at < v.n && isWord(v.c[at]) {
		at++
	}
	_, digits := v.begin(at + 1)
	if digits > maxDigits {
		return m, false, -1
	}
	if v.open && at+1+digits >= v.n {
		return m, false, first
	}
	best, more := s.try(text, v, s.d.numbers.stepped[digits])
	if more {
		return m, false, first
	}
	return best, best.Kind != nil, -1
}

// try puts the view to forms and returns the match of most confidence. more says that the text ends too early to tell.
func (s *scanner) try(text []byte, v *view, list []*entry) (best Match, more bool) {
	s.near.known = false
next:
	for _, e := range list {
		n := len(e.shape)
		for i := range n {
			if i >= v.n {
				if v.open {
					return best, true
				}
				continue next
			}
			if !fits(e.shape[i], v.c[i]) {
				continue next
			}
		}
		k := 0
		for _, c := range v.c[:n] {
			if isWord(c) {
				s.bare[k] = c
				k++
			}
		}
		if !e.check(s.bare[:k]) {
			continue
		}
		ok, wait := v.edges(text, n, e.head, e.last)
		if wait {
			return best, true
		}
		if !ok {
			continue
		}
		m := Match{Kind: e.kind, Start: v.from[0], End: v.from[n], Confidence: e.alone, Proof: e.kind.Proof}
		if word := s.near.find(text, v.from[0], e.words); word != "" {
			m.Word, m.Confidence = word, detect.High
		} else if m.Confidence == detect.Medium && (e.kind.Group == Card && filler(text, m.Start, s.bare[:k]) || s.near.find(text, v.from[0], e.other) != "") {
			m.Confidence = detect.Low
		}
		if m.Confidence >= s.d.least && m.Confidence > best.Confidence {
			best = m
		}
	}
	return best, false
}

// edges reports whether what stands before and behind the view's first n characters lets them be a number of their own. head and last are the
// digits of its outer parts where spaces separate them: a neighbour of the same length belongs to a table.
func (v *view) edges(text []byte, n, head, last int) (ok, wait bool) {
	if n >= v.n && v.open {
		return false, true
	}
	if n < v.n {
		switch c := v.c[n]; {
		case isWord(c), c == '@':
			return false, false
		case c == '.', c == '-', c == '+':
			if n+1 >= v.n && v.open {
				return false, true
			}
			if n+1 < v.n && isWord(v.c[n+1]) {
				return false, false
			}
		case c == ' ' && last > 0:
			i := n + 1
			for i < v.n && i <= n+1+last && isDigit(v.c[i]) {
				i++
			}
			if i >= v.n && v.open {
				return false, true
			}
			if i-n-1 == last {
				return false, false
			}
		}
	}
	at := v.from[0]
	c, size := before(text, at)
	if size == 0 {
		return true, false
	}
	switch {
	case isWord(c), c == '$':
		return false, false
	case c == '.' || c == '-' || c == '+':
		d, n := before(text, at-size)
		return n == 0 || !isWord(d), false
	case c == ' ' && head > 0:
		at -= size
		i := 0
		for ; i <= head; i++ {
			d, n := before(text, at)
			if n == 0 || !isDigit(d) {
				break
			}
			at -= n
		}
		return i != head, false
	}
	return true, false
}

// tryIBAN reads an IBAN: in one, or in parts of four.
func (s *scanner) tryIBAN(text []byte, v *view) (m Match, ok, wait bool) {
	want := ibanLength(v.c[0], v.c[1])
	if want == 0 {
		return m, false, false
	}
	c := &s.bare
	n, i := 0, 0
	grouped := byte(0)
	for ; n < want; i++ {
		if i >= v.n {
			return m, false, v.open
		}
		x := v.c[i]
		switch {
		case isDigit(x) || isUpper(x):
			if grouped != 0 && n > 0 && n%4 == 0 && v.c[i-1] != grouped {
				return m, false, false
			}
			c[n] = x
			n++
		case n == 4 && (x == ' ' || x == '-'):
			grouped = x
		case n == 0 || n%4 != 0 || x != grouped || v.c[i-1] == grouped:
			return m, false, false
		}
	}
	if !mod97(c[:n]) {
		return m, false, false
	}
	ok, wait = v.edges(text, i, 0, 0)
	return Match{Kind: s.d.numbers.iban.kind, Start: v.from[0], End: v.from[i], Confidence: detect.High, Proof: s.d.numbers.iban.kind.Proof}, ok && !wait, wait
}
