package personal

import "bytes"

// A Stream masks a text that comes in pieces. It is for one goroutine at a time.
type Stream struct {
	s    *scanner
	text []byte // what a decision may depend on, and what is not decided
	at   int    // of text: up to there all is decided and written
	late int    // bytes that were not looked at yet
}

// slack is how many bytes of a word may go on before what is held is looked at again, so that a word in pieces of a byte each does not cost the square
// of its length.
const slack = 64

// Stream begins a stream. act is called for every match, in the order of their places, once it is certain, and says whether it is masked; nil masks all. A match of
// which there may be some (e-mail addresses) is one when there are too many.
func (d *Detector) Stream(act func(Match) bool) *Stream {
	if act == nil {
		act = maskAll
	}
	s := newScanner(d)
	s.act = act
	return &Stream{s: s}
}

// Write takes a piece and returns what may go out: valid until the next call, possibly empty.
func (st *Stream) Write(piece []byte) (out []byte) {
	st.s.out = st.s.out[:0]
	if st.at < len(st.text) && st.late+len(piece) <= slack && !bytes.ContainsAny(piece, " \t\r\n\"'<>}]") {
		st.text = append(st.text, piece...)
		st.late += len(piece)
		return st.s.out
	}
	for len(piece) > 0 {
		n := min(len(piece), block)
		st.text = append(st.text, piece[:n]...)
		piece = piece[n:]
		st.proceed(false)
	}
	return st.s.out
}

// Close returns the rest. Nothing may be written behind it.
func (st *Stream) Close() (rest []byte) {
	st.s.out = st.s.out[:0]
	st.proceed(true)
	return st.s.out
}

// Held returns how many bytes are held back.
func (st *Stream) Held() int { return len(st.text) - st.at }

// proceed decides what can be decided.
func (st *Stream) proceed(whole bool) {
	s := st.s
	s.flushed, st.late = st.at, 0
	for at := st.at; ; {
		if s.open {
			if at = s.goOn(st.text, at, whole); s.open {
				break
			}
		}
		at = s.scan(st.text, at, len(st.text), whole)
		if s.open {
			continue
		}
		if !whole {
			at = max(s.done, s.d.tail(st.text, st.at, at))
		}
		s.out = append(s.out, st.text[s.flushed:at]...)
		s.flushed = at
		break
	}
	st.at = s.flushed
	if drop := st.at - behind; drop > 4*behind {
		st.text = append(st.text[:0], st.text[drop:]...)
		st.at -= drop
		s.done -= drop
		s.base += drop
	}
	if s.open && whole {
		s.open = false
	}
}

// tail returns from where on the end of a text may belong to a match that nothing yet tells of: to a literal, a number, a
// path or an address. It is at most at, up to where all is decided, and not before floor.
func (d *Detector) tail(text []byte, floor, at int) int {
	hold := at
	for i := max(floor, len(text)-d.longest+1); i < hold; i++ {
		if d.first[text[i]] && d.begins(text[i:]) && !(i > 0 && isWord(text[i]) && isWord(text[i-1]) && !(i > 1 && text[i-2] == '\\')) {
			hold = i
		}
	}
	if d.numbers != nil {
		hold = min(hold, max(floor, numberTail(text)))
	}
	if d.email == nil && d.literals == nil {
		return hold
	}
	for start := hold; hold > floor && start-hold < leftward && isPath(text[hold-1]); {
		hold--
	}
	return hold
}

// begins reports whether text is the beginning of a literal.
func (d *Detector) begins(text []byte) bool {
	low, high := 0, len(d.sorted)
	for low < high { // the first that is not less
		mid := (low + high) / 2
		if d.sorted[mid] < string(text) {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low < len(d.sorted) && len(d.sorted[low]) >= len(text) && d.sorted[low][:len(text)] == string(text)
}

// numberTail returns from where on the end of a text may be the beginning of a number: a word of upper-case letters and digits, a short one and a separator, an
// escape.
func numberTail(text []byte) int {
	end := len(text)
	for i := max(0, len(text)-maxEscape+1); i < len(text); i++ {
		if c := text[i]; (c == '\\' || c == '&' || c == '%' || c == 0xc2) && (c == 0xc2 && i == len(text)-1 || c != 0xc2 && mayEscape(text[i:])) {
			end = i
			break
		}
	}
	word, ok := capitals(text, end, maxWalk)
	if !ok {
		return end
	}
	// What stands before it may be its first part.
	if c, size := before(text, word); size > 0 && (c == ' ' || c == '-') {
		if first, ok := capitals(text, word-size, 2); ok && first < word-size {
			return first
		}
	}
	return word
}

// capitals returns where the word begins that ends at text[:end]; ok says that it is of upper-case letters and digits alone, and of no more than
// most.
func capitals(text []byte, end, most int) (start int, ok bool) {
	start = end
	for n := 0; ; n++ {
		c, size := before(text, start)
		if size == 0 || !isWord(c) {
			return start, true
		}
		if isLower(c) || c == '_' || n == most {
			return end, false
		}
		start -= size
	}
}
