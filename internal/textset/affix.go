package textset

import "math/bits"

// Affix finds all constants with which a text begins, or all with which it ends. It is a trie
// whose edges are chunks of eight bytes, the last one of a constant shorter: all edges of all nodes
// stand in one hash table.
type Affix struct {
	ending  bool
	lengths []uint16 // per node: bit l is set where it has edges of l bytes
	edges   []affixEdge
	shift   uint
}

// affixEdge leads from a node over a chunk.
type affixEdge struct {
	chunk uint64
	from  uint32 // node<<4 | length of the chunk; 0 in an empty slot
	id    int32  // the constant that ends here, -1 for none
	to    uint32 // the node behind it, 0 for none
}

// NewPrefix returns the set that finds constants at the beginning of a text.
func NewPrefix(constants []Constant) *Affix { return newAffix(constants, false) }

// NewSuffix returns the set that finds constants at the end of a text.
func NewSuffix(constants []Constant) *Affix { return newAffix(constants, true) }

func newAffix(constants []Constant, ending bool) *Affix {
	a := &Affix{ending: ending, lengths: make([]uint16, 1)}
	type place struct {
		chunk uint64
		from  uint32
	}
	var order []place
	byPlace := map[place]*affixEdge{}
	for _, c := range constants {
		node, text := uint32(0), c.Text
		for text != "" {
			n := min(8, len(text))
			var at place
			if ending {
				at.chunk, text = tail(text)>>(64-8*n), text[:len(text)-n]
			} else {
				at.chunk, text = head(text[:n]), text[n:]
			}
			at.from = node<<4 | uint32(n)
			a.lengths[node] |= 1 << n
			edge := byPlace[at]
			if edge == nil {
				edge = &affixEdge{chunk: at.chunk, from: at.from, id: -1}
				byPlace[at] = edge
				order = append(order, at)
			}
			if text == "" {
				edge.id = c.ID
			} else if edge.to == 0 {
				edge.to = uint32(len(a.lengths))
				a.lengths = append(a.lengths, 0)
			}
			node = edge.to
		}
	}
	size := max(2, 1<<bits.Len(uint(2*len(order))))
	a.edges = make([]affixEdge, size)
	a.shift = uint(64 - bits.TrailingZeros(uint(size)))
	for _, at := range order {
		i := affixHash(at.chunk, at.from) >> a.shift
		for a.edges[i].from != 0 {
			i = (i + 1) & uint64(size-1)
		}
		a.edges[i] = *byPlace[at]
	}
	return a
}

func affixHash(chunk uint64, from uint32) uint64 { return mix(chunk ^ uint64(from)*0xD6E8FEB86659FD93) }

// tail returns the last bytes of a text, at most eight, the last one in the highest place.
func tail(s string) uint64 {
	if len(s) >= 8 {
		return load8(s, len(s)-8)
	}
	return head(s) << (8 * (8 - len(s)) & 63)
}

// Find marks every constant with which the text begins or ends.
func (a *Affix) Find(text string, m *Marks) {
	for node := uint32(0); text != ""; {
		var chunk uint64
		if a.ending {
			chunk = tail(text)
		} else {
			chunk = head(text)
		}
		next := uint32(0)
		for lengths := a.lengths[node]; lengths != 0; lengths &= lengths - 1 {
			n := bits.TrailingZeros16(lengths)
			if n > len(text) {
				return
			}
			part := chunk
			if a.ending {
				part >>= (64 - 8*n) & 63
			} else {
				part = part << ((64 - 8*n) & 63) >> ((64 - 8*n) & 63)
			}
			if edge := a.edge(part, node<<4|uint32(n)); edge != nil {
				if edge.id >= 0 {
					m.Add(edge.id)
				}
				next = edge.to
			}
			m.Steps++
		}
		if next == 0 {
			return
		}
		node = next
		if a.ending {
			text = text[:len(text)-8]
		} else {
			text = text[8:]
		}
	}
}

// edge returns the edge over a chunk, or nil.
func (a *Affix) edge(chunk uint64, from uint32) *affixEdge {
	for i := affixHash(chunk, from) >> a.shift; ; i = (i + 1) & uint64(len(a.edges)-1) {
		e := &a.edges[i]
		if e.chunk == chunk && e.from == from {
			return e
		}
		if e.from == 0 {
			return nil
		}
	}
}

// Size returns the bytes that the tables take, texts not included; nil takes none.
func (a *Affix) Size() int {
	if a == nil {
		return 0
	}
	return 24*len(a.edges) + 2*len(a.lengths)
}
