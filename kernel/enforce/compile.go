//go:build linux

package enforce

import (
	"net/netip"

	"github.com/testudo-sec/testudo/kernel"
)

// kinds of predicates, as match.h numbers them.
const (
	byExe = iota
	byParent
	byFile
	byCgroup
	byUID
	byRemote
	byPort
	kinds
)

const asName = 0x80 // of a kind of path: the last component

type textKey struct {
	kind uint8
	text string
}

type numberKey struct {
	kind   uint32
	number uint64
}

// compiled is what stands in the maps for one set of rules.
type compiled struct {
	table    guardTable
	paths    map[textKey]*guardBits
	prefixes map[textKey]*guardBits
	numbers  map[numberKey]*guardBits
	networks map[netip.Prefix]*guardBits
	rules    []piece // by bit
	hooks    map[kernel.Hook]bool
}

// piece is a rule as it is told of.
type piece struct {
	index   int
	enforce bool
}

func (b *guardBits) set(bit int)      { b.Word[bit/64] |= 1 << (bit % 64) }
func (b *guardBits) has(bit int) bool { return b.Word[bit/64]>>(bit%64)&1 == 1 }
func (b *guardBits) add(o *guardBits) {
	for i := range b.Word {
		b.Word[i] |= o.Word[i]
	}
}

func at[K comparable](m map[K]*guardBits, key K) *guardBits {
	b := m[key]
	if b == nil {
		b = new(guardBits)
		m[key] = b
	}
	return b
}

// compile translates rules that fit (residueOf), but for those left out.
func compile(g kernel.Guard, leave map[int]bool) *compiled {
	c := &compiled{paths: map[textKey]*guardBits{}, prefixes: map[textKey]*guardBits{}, numbers: map[numberKey]*guardBits{},
		networks: map[netip.Prefix]*guardBits{}, hooks: map[kernel.Hook]bool{}}
	if g.Closed {
		c.table.Closed = 1
	}
	for i, r := range g.Rules {
		if !leave[i] {
			c.add(i, r)
		}
	}
	c.nest()
	return c
}

func (c *compiled) add(index int, r kernel.GuardRule) {
	bit, t := len(c.rules), &c.table
	c.rules = append(c.rules, piece{index: index, enforce: r.Enforce})
	c.hooks[r.Hook] = true
	t.Hook[r.Hook].set(bit)
	for flag, bits := range map[*guardBits]bool{&t.Enforce: r.Enforce, &t.Write: r.Write, &t.Upper: r.Upper, &t.Memory: r.Memory, &t.Host: r.Host} {
		if bits {
			flag.set(bit)
		}
	}
	for kind, p := range map[uint8]kernel.Paths{byExe: r.Exe, byParent: r.Parent, byFile: r.File} {
		if !set(p) {
			t.Any[kind].set(bit)
			continue
		}
		for _, text := range p.Exact {
			at(c.paths, textKey{kind, text}).set(bit)
		}
		for _, text := range p.Name {
			at(c.paths, textKey{kind | asName, text}).set(bit)
			t.Names |= 1 << kind
		}
		for _, text := range p.Prefix {
			at(c.prefixes, textKey{kind, text}).set(bit)
			t.Prefixes |= 1 << kind
			t.Prefixed[kind].set(bit)
		}
	}
	if r.Cgroups == nil && !r.Host {
		t.Any[byCgroup].set(bit)
	}
	for _, id := range r.Cgroups {
		at(c.numbers, numberKey{byCgroup, id}).set(bit)
	}
	if r.UIDs == nil {
		t.Any[byUID].set(bit)
	}
	for _, id := range r.UIDs {
		at(c.numbers, numberKey{byUID, uint64(id)}).set(bit)
	}
	if r.Ports == nil {
		t.Any[byPort].set(bit)
	}
	for _, port := range r.Ports {
		at(c.numbers, numberKey{byPort, uint64(port)}).set(bit)
	}
	if r.Remote == nil {
		t.Any[byRemote].set(bit)
	}
	for _, p := range r.Remote {
		at(c.networks, plain(p)).set(bit)
	}
}

// plain writes a network of IPv4-mapped addresses as one of IPv4.
func plain(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked()
}

// nest gives each beginning and network the rules of those that contain it: the kernel finds the longest only.
func (c *compiled) nest() {
	whole := map[textKey]guardBits{}
	for k, b := range c.prefixes {
		sum := *b
		for n := range len(k.text) {
			if o := c.prefixes[textKey{k.kind, k.text[:n]}]; o != nil {
				sum.add(o)
			}
		}
		whole[k] = sum
	}
	for k, b := range whole {
		*c.prefixes[k] = b
	}
	nets := map[netip.Prefix]guardBits{}
	for p, b := range c.networks {
		sum := *b
		for n := range p.Bits() {
			if o := c.networks[netip.PrefixFrom(p.Addr(), n).Masked()]; o != nil {
				sum.add(o)
			}
		}
		nets[p] = sum
	}
	for p, b := range nets {
		*c.networks[p] = b
	}
}

func pathKey(generation uint32, k textKey) guardPathKey {
	key := guardPathKey{Generation: uint8(generation), Kind: k.kind}
	fillText(&key.Text, k.text)
	return key
}

func prefixKey(generation uint32, k textKey) guardPrefixKey {
	key := guardPrefixKey{Bits: uint32(2+len(k.text)) * 8, Generation: uint8(generation), Kind: k.kind}
	fillText(&key.Text, k.text)
	return key
}

func fillText(to *[MaxText]int8, text string) {
	for i := range min(len(text), len(to)) {
		to[i] = int8(text[i])
	}
}

func networkKey(generation uint32, p netip.Prefix) guardNetworkKey {
	key := guardNetworkKey{Bits: uint32(4*8 + p.Bits()), Generation: uint8(generation), Family: familyInet6, Address: p.Addr().As16()}
	if p.Addr().Is4() {
		key.Family, key.Bits = familyInet, key.Bits+96
	}
	return key
}

// families of addresses, as the kernel numbers them.
const (
	familyInet  = 2
	familyInet6 = 10
)
