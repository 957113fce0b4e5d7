package engine

import "errors"

// maxPMCaptures is how many words that occur are captured.
const maxPMCaptures = 10

// pm finds words whatever the case of their ASCII letters: an automaton after Aho and Corasick, which reports the longest of
// the words that begin leftmost, and goes on behind its first byte. S is the number of a state.
type pm[S uint16 | uint32] struct {
	class   [256]uint8 // of a byte; 0: in no word
	classes int
	next    []S     // by state and class
	length  []int32 // of the longest word that ends in a state, 0: none; negative: of a word that is a suffix
	depth   []int32
	starts  *starts // nil where a word is too short for it
}

// starts has a bit for each beginning of a word: the lowest five bits of its first three bytes, which are the same for both cases of a letter. In
// most texts few places look like one, and the automaton runs from there only: a page against a list of error messages takes a fifth.
type starts [1 << (3 * startBits) / 64]uint64

const startBits = 5

// push adds a byte to the code of the last three.
func push(code uint32, c byte) uint32 {
	return (code<<startBits | uint32(c)&(1<<startBits-1)) & (1<<(3*startBits) - 1)
}

func (s *starts) has(code uint32) bool { return s[code>>6]&(1<<(code&63)) != 0 }

// startsOf returns the beginnings of words.
func startsOf(words []string) *starts {
	s := new(starts)
	for _, word := range words {
		if len(word) < 3 {
			return nil
		}
		code := push(push(push(0, word[0]), word[1]), word[2])
		s[code>>6] |= 1 << (code & 63)
	}
	return s
}

func newPM(words []string) (operator, error) {
	bytes := 0
	var used [256]bool
	for _, word := range words {
		if word == "" {
			return nil, errors.New("@pm with an empty word")
		}
		for i := range len(word) {
			if c := fold(word[i]); !used[c] {
				used[c] = true
				bytes++
			}
		}
	}
	p := makePM(words, used, bytes+1)
	p.starts = startsOf(words)
	if len(p.length) > 1<<16 {
		return p, nil
	}
	small := &pm[uint16]{class: p.class, classes: p.classes, next: make([]uint16, len(p.next)), length: p.length, depth: p.depth, starts: p.starts}
	for i, to := range p.next {
		small.next[i] = uint16(to)
	}
	return small, nil
}

// makePM makes the automaton of words whose bytes, folded, are used: one class for each of these, and one for all others.
func makePM(words []string, used [256]bool, classes int) *pm[uint32] {
	p := &pm[uint32]{classes: classes, next: make([]uint32, classes), length: []int32{0}, depth: []int32{0}}
	n := uint8(0)
	for c := range 256 {
		if f := fold(byte(c)); used[f] {
			if f != byte(c) { // a capital letter, which stands before its small one
				continue
			}
			n++
			p.class[c] = n
		}
	}
	for c := 'A'; c <= 'Z'; c++ {
		p.class[c] = p.class[fold(byte(c))]
	}
	for _, word := range words {
		state := uint32(0)
		for i := range len(word) {
			at := int(state)*classes + int(p.class[word[i]])
			if p.next[at] == 0 {
				p.next[at] = uint32(len(p.length))
				p.next = append(p.next, make([]uint32, classes)...)
				p.length = append(p.length, 0)
				p.depth = append(p.depth, p.depth[state]+1)
			}
			state = p.next[at]
		}
		p.length[state] = int32(len(word))
	}
	p.link()
	return p
}

func fold(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// link completes the automaton: a state without a way on goes where its longest proper suffix would.
func (p *pm[S]) link() {
	fail := make([]S, len(p.length))
	order := make([]S, 1, len(p.length))
	for i := 0; i < len(order); i++ {
		state := order[i]
		row, back := p.row(state), p.row(fail[state])
		for c := range row {
			to := row[c]
			if to == 0 {
				if state != 0 {
					row[c] = back[c]
				}
				continue
			}
			if state != 0 {
				fail[to] = back[c]
			}
			if p.length[to] == 0 {
				p.length[to] = -p.suffix(fail[to])
			}
			order = append(order, to)
		}
	}
}

func (p *pm[S]) row(state S) []S {
	at := int(state) * p.classes
	return p.next[at : at+p.classes]
}

// suffix returns the length of the longest word that ends in a state.
func (p *pm[S]) suffix(state S) int32 { return max(p.length[state], -p.length[state]) }

func (p *pm[S]) match(tx *Transaction, value string) bool {
	if !tx.capture {
		return p.test(tx, value)
	}
	found := 0
	for at := 0; found < maxPMCaptures; found++ {
		start, end := p.leftmost(value, at)
		if start < 0 {
			break
		}
		tx.captured(found, value[start:end])
		at = start + 1
	}
	return found > 0
}

func (p *pm[S]) test(_ *Transaction, value string) bool {
	if p.starts == nil {
		_, found := p.run(value, 0)
		return found
	}
	code, from := uint32(0), 0 // from: nothing that is under way begins before it
	for i := 0; i < len(value); i++ {
		if code = push(code, value[i]); p.starts.has(code) {
			end, found := p.run(value, max(i-2, from))
			if found {
				return true
			}
			i, from, code = end, end+1, 0
		}
	}
	return false
}

// run reports whether a word is found from at on, until nothing is under way any more: behind the byte at end.
func (p *pm[S]) run(value string, at int) (end int, found bool) {
	state := S(0)
	for i := at; i < len(value); i++ {
		if state = p.next[int(state)*p.classes+int(p.class[value[i]])]; p.length[state] != 0 {
			return i, true
		}
		if state == 0 && p.starts != nil {
			return i, false
		}
	}
	return len(value), false
}

// leftmost returns where the first word from at on begins, and the longest that begins there ends.
func (p *pm[S]) leftmost(value string, at int) (start, end int) {
	start, end = -1, -1
	state := S(0)
	for i := at; i < len(value); i++ {
		state = p.next[int(state)*p.classes+int(p.class[value[i]])]
		if n := p.length[state]; n != 0 {
			// The longest word that ends here begins first. Shorter ones begin later.
			if from := i + 1 - int(max(n, -n)); start < 0 || from < start {
				start, end = from, i+1
			} else if from == start {
				end = i + 1
			}
		}
		// What is under way begins behind what was found: nothing can be better.
		if start >= 0 && i+1-int(p.depth[state]) > start {
			break
		}
	}
	return start, end
}
