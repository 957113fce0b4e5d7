package engine

import "errors"

// maxPMCaptures is how many words that occur are captured.
const maxPMCaptures = 10

// pm finds words whatever the case of their ASCII letters: an automaton after Aho and Corasick, which reports the longest of
// the words that begin leftmost, and goes on behind its first byte.
type pm struct {
	next   [][256]int32 // by state
	length []int32      // of the longest word that ends in a state, 0: none
	depth  []int32
}

func newPM(words []string) (operator, error) {
	p := &pm{next: make([][256]int32, 1), length: []int32{0}, depth: []int32{0}}
	for _, word := range words {
		if word == "" {
			return nil, errors.New("@pm with an empty word")
		}
		state := int32(0)
		for i := 0; i < len(word); i++ {
			c := fold(word[i])
			if p.next[state][c] == 0 {
				p.next[state][c] = int32(len(p.next))
				p.next = append(p.next, [256]int32{})
				p.length = append(p.length, 0)
				p.depth = append(p.depth, p.depth[state]+1)
			}
			state = p.next[state][c]
		}
		p.length[state] = int32(len(word))
	}
	p.link()
	return p, nil
}

func fold(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// link completes the automaton: a state without a way on goes where its longest proper suffix would.
func (p *pm) link() {
	fail := make([]int32, len(p.next))
	order := []int32{0}
	for i := 0; i < len(order); i++ {
		state := order[i]
		for c := range 256 {
			to := p.next[state][c]
			if to == 0 {
				if state != 0 {
					p.next[state][c] = p.next[fail[state]][c]
				}
				continue
			}
			if state != 0 {
				fail[to] = p.next[fail[state]][c]
			}
			if p.length[to] == 0 {
				p.length[to] = -p.suffix(fail[to]) // of a word that is a suffix
			}
			order = append(order, to)
		}
	}
}

// suffix returns the length of the longest word that ends in a state.
func (p *pm) suffix(state int32) int32 { return max(p.length[state], -p.length[state]) }

func (p *pm) match(tx *Transaction, value string) bool {
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

func (p *pm) test(_ *Transaction, value string) bool {
	state := int32(0)
	for i := 0; i < len(value); i++ {
		if state = p.next[state][fold(value[i])]; p.length[state] != 0 {
			return true
		}
	}
	return false
}

// leftmost returns where the first word from at on begins, and the longest that begins there ends.
func (p *pm) leftmost(value string, at int) (start, end int) {
	start, end = -1, -1
	state := int32(0)
	for i := at; i < len(value); i++ {
		state = p.next[state][fold(value[i])]
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
