package textset

import (
	"cmp"
	"math/bits"
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/internal/literal"
)

const (
	// gram is how many bytes of a constant of the filter's are looked up at each position.
	gram = 4
	// maxEntries bounds the constants that share a gram. What finds no gram with room goes
	// to the automaton.
	maxEntries = 8
	// maxVerified bounds the length of the filter's constants: one that is compared in vain at every
	// position must not cost more than the automaton does.
	maxVerified = 128
	// maxApart is up to how many constants are looked for one by one, each by the processor's vector
	// instructions.
	maxApart = 4
)

// Contains finds all constants that are in a text.
//
// Each constant is filed under its rarest gram. The text is looked at one byte after another: a
// bitmap of the grams' hashes says of nearly every position that nothing can be there, without
// a look-up that depends on the one before it; the few others are looked up and compared. That is faster than an
// automaton, whose every step waits for a table in memory, as long as grams are rare, and never slower
// than the bounds above.
type Contains struct {
	apart   []Constant // few constants: no tables
	bitmap  []uint64   // a power of two of words
	bits    uint       // 64 minus the logarithm of the bitmap's size in bits
	slots   []gramSlot // open addressing by gram, a power of two of them
	shift   uint
	entries []gramEntry
	short   *shortSet    // constants of fewer bytes than a gram
	rest    *literal.Set // what is outside of the bounds
	restIDs []int32
	// beyond has the constants with bytes that are not ASCII: most texts have none, and pass it by.
	beyond *Contains
}

type gramSlot struct {
	gram     uint32
	from, to uint32 // in entries; an empty slot has none
}

type gramEntry struct {
	word, mask uint64 // the constant's bytes from the gram on, at most eight of them
	text       string
	id         int32
	at         int32 // of the gram in text
}

// NewContains returns the set of these constants.
func NewContains(constants []Constant) *Contains {
	ascii := make([]Constant, 0, len(constants))
	var beyond []Constant
	for _, k := range constants {
		if isASCII(k.Text) {
			ascii = append(ascii, k)
		} else {
			beyond = append(beyond, k)
		}
	}
	c := newContains(ascii)
	if len(beyond) > 0 {
		c.beyond = newContains(beyond)
	}
	return c
}

func newContains(constants []Constant) *Contains {
	c := &Contains{}
	if len(constants) <= maxApart {
		c.apart = slices.Clone(constants)
		return c
	}
	var short []Constant
	var rest []literal.Pattern
	filed := map[uint32][]gramEntry{}
	grams := map[uint32]int{} // in how many places of constants
	for _, k := range constants {
		for i := 0; i+gram <= len(k.Text); i++ {
			grams[load4(k.Text, i)]++
		}
	}
	// Those with the fewest places to choose from choose first.
	sorted := slices.Clone(constants)
	slices.SortFunc(sorted, func(a, b Constant) int {
		return cmp.Or(cmp.Compare(len(a.Text), len(b.Text)), strings.Compare(a.Text, b.Text))
	})
	for _, k := range sorted {
		if len(k.Text) < gram {
			short = append(short, k)
			continue
		}
		at, ok := rarest(k.Text, grams, filed)
		if !ok {
			rest = append(rest, literal.Pattern{Text: k.Text})
			c.restIDs = append(c.restIDs, k.ID)
			continue
		}
		g := load4(k.Text, at)
		e := gramEntry{word: head(k.Text[at:]), mask: ^uint64(0), text: k.Text, id: k.ID, at: int32(at)}
		if n := len(k.Text) - at; n < 8 {
			e.mask >>= 64 - 8*n
		}
		filed[g] = append(filed[g], e)
	}
	if len(short) <= maxApart {
		c.apart = short
	} else {
		c.short = newShortSet(short)
	}
	if len(rest) > 0 {
		// It refuses empty texts, which there are none of, and more than 16 MiB of them.
		set, err := literal.Compile(rest)
		if err != nil {
			panic("textset: " + err.Error())
		}
		c.rest = set
	}
	c.file(filed)
	return c
}

// rarest returns where in the text its rarest gram with room stands. What is in many constants is in many texts.
func rarest(text string, grams map[uint32]int, filed map[uint32][]gramEntry) (at int, ok bool) {
	if len(text) > maxVerified {
		return 0, false
	}
	best := 0.0
	for i := 0; i+gram <= len(text); i++ {
		g := load4(text, i)
		if len(filed[g]) >= maxEntries {
			continue
		}
		if cost := Commonness(text[i:i+gram]) * float64(grams[g]+len(filed[g])); !ok || cost < best {
			at, ok, best = i, true, cost
		}
	}
	return at, ok
}

// file lays the filter's tables out.
func (c *Contains) file(filed map[uint32][]gramEntry) {
	if len(filed) == 0 {
		return
	}
	grams := make([]uint32, 0, len(filed))
	for g := range filed {
		grams = append(grams, g)
	}
	slices.Sort(grams)
	// One bit in 64 or fewer is set, in at most 64 KiB; more would not stay near the processor.
	width := min(19, max(9, bits.Len(uint(64*len(grams)-1))))
	c.bitmap, c.bits = make([]uint64, 1<<(width-6)), uint(32-width)
	size := 1 << bits.Len(uint(2*len(grams)))
	c.slots, c.shift = make([]gramSlot, size), uint(32-bits.TrailingZeros(uint(size)))
	for _, g := range grams {
		h := gramHash(g)
		b := h >> c.bits
		c.bitmap[b>>6] |= 1 << (b & 63)
		i := h >> c.shift
		for c.slots[i].to != 0 {
			i = (i + 1) & uint32(size-1)
		}
		from := uint32(len(c.entries))
		c.entries = append(c.entries, filed[g]...)
		c.slots[i] = gramSlot{g, from, uint32(len(c.entries))}
	}
}

func gramHash(g uint32) uint32 { return g * 0x9E3779B1 }

// Find marks every constant that is in the text.
func (c *Contains) Find(text string, m *Marks) {
	for i := range c.apart {
		k := &c.apart[i]
		if !m.Has(k.ID) && strings.Contains(text, k.Text) {
			m.Add(k.ID)
		}
	}
	if len(c.bitmap) > 0 && len(text) >= gram {
		c.filter(text, m)
	}
	if c.short != nil {
		c.short.find(text, m)
	}
	if c.rest != nil {
		c.rest.FindString(text, func(found literal.Match) bool {
			m.Add(c.restIDs[found.Pattern])
			return true
		})
	}
	if c.beyond != nil && !isASCII(text) {
		c.beyond.Find(text, m)
	}
}

func isASCII(s string) bool {
	const high = 0x8080808080808080
	i := 0
	for ; i+8 <= len(s); i += 8 {
		if load8(s, i)&high != 0 {
			return false
		}
	}
	return head(s[i:])&high == 0
}

// filter looks at five positions at a time: eight bytes hold five grams.
func (c *Contains) filter(text string, m *Marks) {
	bitmap, shift, n := c.bitmap, c.bits&31, len(text)
	p := 0
	for ; p+8 <= n; p += 5 {
		w := load8(text, p)
		h0, h1, h2 := gramHash(uint32(w))>>shift, gramHash(uint32(w>>8))>>shift, gramHash(uint32(w>>16))>>shift
		h3, h4 := gramHash(uint32(w>>24))>>shift, gramHash(uint32(w>>32))>>shift
		b0, b1, b2 := bitmap[h0>>6]>>(h0&63), bitmap[h1>>6]>>(h1&63), bitmap[h2>>6]>>(h2&63)
		b3, b4 := bitmap[h3>>6]>>(h3&63), bitmap[h4>>6]>>(h4&63)
		if (b0|b1|b2|b3|b4)&1 == 0 {
			continue
		}
		for hits := b0&1 | b1&1<<1 | b2&1<<2 | b3&1<<3 | b4&1<<4; hits != 0; hits &= hits - 1 {
			k := bits.TrailingZeros64(hits)
			c.look(text, p+k, uint32(w>>(8*k)), m)
		}
	}
	for ; p+gram <= n; p++ {
		g := load4(text, p)
		if h := gramHash(g) >> shift; bitmap[h>>6]>>(h&63)&1 == 1 {
			c.look(text, p, g, m)
		}
	}
}

// look compares the text with the constants that have the gram at p.
func (c *Contains) look(text string, p int, g uint32, m *Marks) {
	i := gramHash(g) >> c.shift
	for c.slots[i].gram != g {
		if c.slots[i].to == 0 {
			return
		}
		i = (i + 1) & uint32(len(c.slots)-1)
	}
	s := &c.slots[i]
	w := head(text[p:])
	for k := s.from; k < s.to; k++ {
		e := &c.entries[k]
		m.Steps++
		if w&e.mask != e.word || m.Has(e.id) {
			continue
		}
		if from := p - int(e.at); from >= 0 && len(text)-from >= len(e.text) && text[from:from+len(e.text)] == e.text {
			m.Add(e.id)
		}
	}
}

// Size returns the bytes that the tables take, texts not included; nil takes none.
func (c *Contains) Size() int {
	if c == nil {
		return 0
	}
	size := 8*len(c.bitmap) + 12*len(c.slots) + 40*len(c.entries)
	if c.short != nil {
		size += c.short.size()
	}
	if c.rest != nil {
		size += c.rest.Size()
	}
	if c.beyond != nil {
		size += c.beyond.Size()
	}
	return size
}

// shortSet finds constants of one to three bytes.
type shortSet struct {
	single [256]int32 // numbers of the constants of one byte, plus one
	pairs  []uint64   // a bit for each pair of bytes that begins a longer constant
	slots  []shortSlot
	shift  uint
	one    bool // there are constants of one byte
}

type shortSlot struct {
	key uint32 // the bytes, the length in the highest; 0 for an empty slot
	id  int32
}

func newShortSet(constants []Constant) *shortSet {
	s := &shortSet{}
	size := 1 << bits.Len(uint(2*len(constants)))
	s.slots, s.shift = make([]shortSlot, size), uint(32-bits.TrailingZeros(uint(size)))
	for _, k := range constants {
		if len(k.Text) == 1 {
			s.single[k.Text[0]] = k.ID + 1
			s.one = true
			continue
		}
		if s.pairs == nil {
			s.pairs = make([]uint64, 1<<10)
		}
		w := uint32(head(k.Text))
		pair := w & 0xffff
		s.pairs[pair>>6] |= 1 << (pair & 63)
		key := w | uint32(len(k.Text))<<24
		i := gramHash(key) >> s.shift
		for s.slots[i].key != 0 {
			i = (i + 1) & uint32(size-1)
		}
		s.slots[i] = shortSlot{key, k.ID}
	}
	return s
}

func (s *shortSet) find(text string, m *Marks) {
	if s.one {
		for i := 0; i < len(text); i++ {
			if id := s.single[text[i]]; id != 0 {
				m.Add(id - 1)
			}
		}
	}
	if s.pairs == nil {
		return
	}
	i := 0
	for ; i+8 <= len(text); i += 7 { // eight bytes hold seven pairs
		w := load8(text, i)
		hit := uint64(0)
		for k := 0; k < 7; k++ {
			pair := w >> (8 * k) & 0xffff
			hit |= s.pairs[pair>>6] >> (pair & 63) & 1 << k
		}
		for ; hit != 0; hit &= hit - 1 {
			s.at(text, i+bits.TrailingZeros64(hit), m)
		}
	}
	for ; i+2 <= len(text); i++ {
		s.at(text, i, m)
	}
}

// at looks for constants at a place of the text.
func (s *shortSet) at(text string, i int, m *Marks) {
	pair := uint32(text[i]) | uint32(text[i+1])<<8
	if s.pairs[pair>>6]>>(pair&63)&1 == 0 {
		return
	}
	s.look(pair|2<<24, m)
	if i+3 <= len(text) {
		s.look(pair|uint32(text[i+2])<<16|3<<24, m)
	}
}

func (s *shortSet) look(key uint32, m *Marks) {
	m.Steps++
	for i := gramHash(key) >> s.shift; s.slots[i].key != 0; i = (i + 1) & uint32(len(s.slots)-1) {
		if s.slots[i].key == key {
			m.Add(s.slots[i].id)
			return
		}
	}
}

func (s *shortSet) size() int { return 1024 + 8*len(s.pairs) + 8*len(s.slots) }
