package addrset

import (
	"slices"
	"sync/atomic"
)

// minBuckets is the smallest number of hash chains, a power of two.
const minBuckets = 16

// family holds the prefixes of one address family: a hash table from a masked prefix to
// its records. Readers follow atomic pointers to things that never change: a
// chain is replaced from its head, never altered. Writers hold Table.mu.
type family struct {
	chains  atomic.Pointer[chains]
	lengths atomic.Pointer[[]uint8] // the prefix lengths in use, longest first

	perLength [129]int // keys of each length
	keys      int
}

type chains struct{ heads []atomic.Pointer[node] }

func (c *chains) head(hash uint64) *atomic.Pointer[node] {
	return &c.heads[hash&uint64(len(c.heads)-1)]
}

type node struct {
	key     key
	first   *record // records[0], a cache line nearer
	next    *node
	records []*record // not empty, by compareRecords
}

func (f *family) init() {
	f.chains.Store(&chains{heads: make([]atomic.Pointer[node], minBuckets)})
	f.lengths.Store(&[]uint8{})
}

func (f *family) find(hash uint64, k key) *node {
	for n := f.chains.Load().head(hash).Load(); n != nil; n = n.next {
		if n.key == k {
			return n
		}
	}
	return nil
}

func (f *family) each(yield func(*node) bool) {
	c := f.chains.Load()
	for i := range c.heads {
		for n := c.heads[i].Load(); n != nil; n = n.next {
			if !yield(n) {
				return
			}
		}
	}
}

// put makes records what stands under k; none removes k.
func (f *family) put(hash func(key) uint64, k key, records []*record) {
	h := hash(k)
	had := f.find(h, k) != nil
	if !had && len(records) > 0 {
		// The length goes first: a reader that sees the prefix must look for its length.
		f.count(k, 1)
	}
	head := f.chains.Load().head(h)
	chain := without(head.Load(), k)
	if len(records) > 0 {
		chain = &node{key: k, first: records[0], records: records, next: chain}
	}
	head.Store(chain)
	if had && len(records) == 0 {
		f.count(k, -1)
	}
	switch buckets := len(f.chains.Load().heads); {
	case f.keys > buckets:
		f.rebuild(hash, buckets*2)
	case buckets > minBuckets && f.keys < buckets/8:
		f.rebuild(hash, buckets/2)
	}
}

// without returns the chain without k, sharing what stands behind it.
func without(n *node, k key) *node {
	switch {
	case n == nil:
		return nil
	case n.key == k:
		return n.next
	}
	rest := without(n.next, k)
	if rest == n.next {
		return n
	}
	return &node{key: n.key, first: n.first, records: n.records, next: rest}
}

func (f *family) count(k key, by int) {
	f.keys += by
	f.perLength[k.bits] += by
	lengths := make([]uint8, 0, 4)
	for bits := len(f.perLength) - 1; bits >= 0; bits-- {
		if f.perLength[bits] > 0 {
			lengths = append(lengths, uint8(bits))
		}
	}
	if !slices.Equal(lengths, *f.lengths.Load()) {
		f.lengths.Store(&lengths)
	}
}

func (f *family) rebuild(hash func(key) uint64, buckets int) {
	c := &chains{heads: make([]atomic.Pointer[node], buckets)}
	f.each(func(n *node) bool {
		head := c.head(hash(n.key))
		head.Store(&node{key: n.key, first: n.first, records: n.records, next: head.Load()})
		return true
	})
	f.chains.Store(c)
}
