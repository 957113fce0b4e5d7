// Package textset answers which of many constant texts a text equals, begins with, ends with
// or contains, all in one pass and without allocation. It is what the policy matcher
// looks up the values of an event in.
//
// Choose by the question: [Equal] is a hash table, [Affix] a trie over chunks of eight bytes,
// [Contains] a filter over grams of four bytes with verification. Texts are compared by bytes: a
// caller who wants another case folds constants and texts alike before. Answers are collected in
// [Marks], which several sets of one question share.
//
// The text may be an attacker's choice, so the work for a byte of it is bounded whatever the
// constants are: Equal reads a text that is no longer than its longest constant once; Affix probes at
// most once a byte; Contains compares at most [maxEntries] constants of at most [maxVerified] bytes
// at each position and leaves what does not fit these bounds to the Aho-Corasick automaton of
// package literal. [Marks.Steps] counts the comparisons, and a test holds them.
//
// All sets are immutable once they are made and safe for concurrent use; a Marks is not.
package textset

// Constant is one text to look for, under the number that is marked where it is found. The
// constants of a set differ from each other and are not empty.
type Constant struct {
	Text string
	ID   int32
}

// Marks collects which numbers were found since it was last cleared.
type Marks struct {
	// Found lists the numbers in the order in which they were found, each once.
	Found []int32
	// Steps counts comparisons with constants: the work that depends on the text.
	Steps int

	stamp   []uint32
	current uint32
}

// Clear forgets everything and makes room for the numbers below n. Its time does not
// depend on n but when it grows.
func (m *Marks) Clear(n int) {
	m.Found, m.Steps = m.Found[:0], 0
	if len(m.stamp) < n {
		m.stamp, m.current = make([]uint32, n), 0
	}
	if m.current++; m.current == 0 { // four thousand million clearings later
		clear(m.stamp)
		m.current = 1
	}
}

// Add marks a number.
func (m *Marks) Add(id int32) {
	if m.stamp[id] != m.current {
		m.stamp[id] = m.current
		m.Found = append(m.Found, id)
	}
}

// Has reports whether a number is marked.
func (m *Marks) Has(id int32) bool { return m.stamp[id] == m.current }

// HasAny reports whether one of the numbers is marked.
func (m *Marks) HasAny(ids []int32) bool {
	for _, id := range ids {
		if m.stamp[id] == m.current {
			return true
		}
	}
	return false
}
