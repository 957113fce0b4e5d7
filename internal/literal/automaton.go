package literal

import "slices"

const (
	// shallowDepth is the depth up to which a state counts as nothing under way.
	shallowDepth = 2
	// denseCells bounds the cells of complete rows; sets above it keep complete rows for the states
	// near the root, where texts spend their time, and short lists for the rest.
	denseCells = 1 << 18
	// denseDepth is the depth up to which a large set has complete rows, cells permitting.
	denseDepth = 2
)

// automaton is Aho-Corasick over folded bytes. States are numbered breadth first, so
// that a state's number tells its depth by comparison: all below shallow are at most
// shallowDepth deep, all below dense have complete rows.
type automaton struct {
	class   [256]uint8 // byte to column; 0 stands for the bytes in no literal
	classes uint32
	starts  [256]bool // bytes with which some literal begins
	shallow uint32
	dense   uint32
	rows    []uint32 // dense*classes: the state after each class
	edges   []edge   // of the states from dense on, sorted by state
	first   []uint32 // index of a state's first edge, for dense+i; one more at the end
	fail    []uint32 // longest proper suffix that is a prefix of a literal, for dense+i
	report  []uint32 // per state: index in reports, 0 for none
	reports []report
	ids     []int32 // pattern numbers
}

type edge struct {
	class uint8
	to    uint32
}

// report lists the patterns that end in a state: ids[from:to], then those of link.
type report struct{ from, to, link uint32 }

// next returns the state after one more byte.
func (a *automaton) next(state uint32, b byte) uint32 {
	c := a.class[b]
	for {
		if state < a.dense {
			return a.rows[state*a.classes+uint32(c)]
		}
		i := state - a.dense
		for _, e := range a.edges[a.first[i]:a.first[i+1]] {
			if e.class == c {
				return e.to
			}
		}
		state = a.fail[i]
	}
}

func (a *automaton) size() int {
	return 4*(len(a.rows)+len(a.first)+len(a.fail)+len(a.report)+len(a.ids)) + 8*len(a.edges) + 12*len(a.reports)
}

// trieNode is a state while building; children are in rising order of class.
type trieNode struct {
	children []edge
	ids      []int32
	depth    uint32
}

func (n *trieNode) child(c uint8) (uint32, bool) {
	i, ok := slices.BinarySearchFunc(n.children, c, func(e edge, c uint8) int { return int(e.class) - int(c) })
	if !ok {
		return 0, false
	}
	return n.children[i].to, true
}

func (a *automaton) build(patterns []Pattern) {
	a.classify(patterns)
	nodes := a.breadthFirst(a.trie(patterns))

	n := uint32(len(nodes))
	a.dense = n
	if n*a.classes > denseCells {
		a.dense = 1
		for a.dense < n && nodes[a.dense].depth <= denseDepth && (a.dense+1)*a.classes <= denseCells {
			a.dense++
		}
	}
	for a.shallow < n && nodes[a.shallow].depth <= shallowDepth {
		a.shallow++
	}
	a.rows = make([]uint32, a.dense*a.classes)
	a.first = make([]uint32, n-a.dense+1)
	a.fail = make([]uint32, n-a.dense)
	a.report = make([]uint32, n)
	a.reports = make([]report, 1)

	// Breadth first, so that what a state falls back to is complete before it.
	fail := make([]uint32, n)
	for s := range n {
		node := &nodes[s]
		for _, e := range node.children {
			if s != 0 {
				fail[e.to] = a.next(fail[s], a.sample(e.class))
			}
		}
		if s < a.dense {
			row := a.rows[s*a.classes : (s+1)*a.classes]
			if s != 0 {
				copy(row, a.rows[fail[s]*a.classes:(fail[s]+1)*a.classes])
			}
			for _, e := range node.children {
				row[e.class] = e.to
			}
		} else {
			i := s - a.dense
			a.fail[i] = fail[s]
			a.first[i] = uint32(len(a.edges))
			a.edges = append(a.edges, node.children...)
			a.first[i+1] = uint32(len(a.edges))
		}
		a.report[s] = a.report[fail[s]]
		if len(node.ids) > 0 {
			from := uint32(len(a.ids))
			a.ids = append(a.ids, node.ids...)
			a.reports = append(a.reports, report{from, uint32(len(a.ids)), a.report[s]})
			a.report[s] = uint32(len(a.reports) - 1)
		}
	}
}

// classify gives each folded byte that occurs in a literal a column of its own. At most 230
// distinct folded bytes exist, so that a column fits a byte with 0 to spare.
func (a *automaton) classify(patterns []Pattern) {
	var used [256]bool
	for _, p := range patterns {
		a.starts[fold(p.Text[0])] = true
		for i := range len(p.Text) {
			used[fold(p.Text[i])] = true
		}
	}
	a.classes = 1
	for b := range 256 {
		if used[b] {
			a.class[b] = uint8(a.classes)
			a.classes++
		}
	}
	for b := byte('A'); b <= 'Z'; b++ {
		a.class[b], a.starts[b] = a.class[fold(b)], a.starts[fold(b)]
	}
}

// sample returns a byte of a class.
func (a *automaton) sample(class uint8) byte {
	return byte(slices.Index(a.class[:], class))
}

func (a *automaton) trie(patterns []Pattern) []trieNode {
	nodes := make([]trieNode, 1)
	for id, p := range patterns {
		at := uint32(0)
		for i := range len(p.Text) {
			c := a.class[p.Text[i]]
			to, ok := nodes[at].child(c)
			if !ok {
				to = uint32(len(nodes))
				nodes = append(nodes, trieNode{depth: nodes[at].depth + 1})
				n := &nodes[at]
				pos, _ := slices.BinarySearchFunc(n.children, c, func(e edge, c uint8) int { return int(e.class) - int(c) })
				n.children = slices.Insert(n.children, pos, edge{c, to})
			}
			at = to
		}
		nodes[at].ids = append(nodes[at].ids, int32(id))
	}
	return nodes
}

// breadthFirst renumbers the trie level by level.
func (a *automaton) breadthFirst(nodes []trieNode) []trieNode {
	order := make([]trieNode, 1, len(nodes))
	order[0] = nodes[0]
	for i := 0; i < len(order); i++ {
		children := slices.Clone(order[i].children)
		for j := range children {
			order = append(order, nodes[children[j].to])
			children[j].to = uint32(len(order) - 1)
		}
		order[i].children = children
	}
	return order
}
