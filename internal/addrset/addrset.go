// Package addrset is a table of addresses and prefixes with an expiry each, made to be
// asked on every request: is this address in it?
//
// A look-up takes no lock, allocates nothing and costs one hash probe for every prefix
// length that the table holds: one where it holds single addresses of a family only,
// at most 33 for IPv4 and 129 for IPv6. The number of entries does not matter.
// Additions and removals are serialised among themselves and never wait for readers; each
// touches one hash chain (the chains are rebuilt when the table doubles or shrinks).
//
// The hash is keyed at random, so that nobody can choose addresses that collide.
//
// There is no clock inside: the caller says what time it is.
package addrset

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Entry is one addition to a table.
type Entry struct {
	Prefix netip.Prefix // masked; an IPv4-mapped prefix as IPv4
	ID     string       // who added it
	Until  time.Time    // the first moment at which it no longer holds; zero: it holds for ever
	Hits   uint64       // look-ups that it answered
}

// FullError says that a table holds as many entries as it may.
type FullError struct{ Max int }

func (e *FullError) Error() string {
	return fmt.Sprintf("the address table is full with %d entries: lift some, or raise its limit", e.Max)
}

// Table is a set of prefixes with expiry. The same prefix may be in it several times
// under different ids: it holds until the last of them is removed or expires. A Table is
// safe for concurrent use.
type Table struct {
	max  int
	seed maphash.Seed

	mu   sync.Mutex // held by the one that changes the table
	size atomic.Int64
	v4   family
	v6   family
}

// New returns an empty table for at most max entries.
func New(max int) *Table {
	t := &Table{max: max, seed: maphash.MakeSeed()}
	t.v4.init()
	t.v6.init()
	return t
}

// Add puts a prefix into the table until the given moment (zero: for ever). Where the
// prefix is in it under the same id already, only its moment changes and its hits
// stay. Host bits are cleared, and a prefix within ::ffff:0:0/96 becomes IPv4. The error is a
// *FullError, or names an invalid prefix.
func (t *Table) Add(prefix netip.Prefix, until time.Time, id string) error {
	prefix, k, ok := normal(prefix)
	if !ok {
		return fmt.Errorf("%v is not a prefix", prefix)
	}
	until = until.Round(0) // compare by wall clock: a limit outlives a restart and a suspend
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.family(prefix.Addr())
	old := f.find(t.hash(k), k)
	var records []*record
	if old != nil {
		records = slices.Clone(old.records)
	}
	r := newRecord(prefix, until, id)
	if i := slices.IndexFunc(records, func(r *record) bool { return r.id == id }); i >= 0 {
		r.hits = records[i].hits
		records[i] = r
	} else {
		if t.Len() >= t.max {
			return &FullError{Max: t.max}
		}
		t.size.Add(1)
		records = append(records, r)
	}
	slices.SortFunc(records, compareRecords)
	f.put(t.hash, k, records)
	return nil
}

// Remove takes out what was added under that prefix and id, and reports whether it
// was there.
func (t *Table) Remove(prefix netip.Prefix, id string) bool {
	prefix, k, ok := normal(prefix)
	if !ok {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.family(prefix.Addr())
	n := f.find(t.hash(k), k)
	if n == nil {
		return false
	}
	left := slices.DeleteFunc(slices.Clone(n.records), func(r *record) bool { return r.id == id })
	if len(left) == len(n.records) {
		return false
	}
	t.size.Add(-1)
	f.put(t.hash, k, left)
	return true
}

// Lookup returns the entry that holds for an address at that moment, and counts the hit. Of
// several it is the one with the longest prefix, then the one that holds longest,
// then the one with the smaller id. It allocates nothing.
func (t *Table) Lookup(addr netip.Addr, now time.Time) (Entry, bool) {
	r := t.find(addr, now)
	if r == nil {
		return Entry{}, false
	}
	r.hits.Add(1)
	return r.entry(), true
}

// Peek is Lookup that counts nothing.
func (t *Table) Peek(addr netip.Addr, now time.Time) (Entry, bool) {
	r := t.find(addr, now)
	if r == nil {
		return Entry{}, false
	}
	return r.entry(), true
}

// Get returns what was added under that prefix and id, expired or not.
func (t *Table) Get(prefix netip.Prefix, id string) (Entry, bool) {
	prefix, k, ok := normal(prefix)
	if !ok {
		return Entry{}, false
	}
	if n := t.family(prefix.Addr()).find(t.hash(k), k); n != nil {
		for _, r := range n.records {
			if r.id == id {
				return r.entry(), true
			}
		}
	}
	return Entry{}, false
}

// Hits returns how many look-ups were answered by what was added under that prefix and id.
func (t *Table) Hits(prefix netip.Prefix, id string) uint64 {
	e, _ := t.Get(prefix, id)
	return e.Hits
}

// Sweep removes what has expired at that moment and returns how many entries that
// were. It looks at the whole table.
func (t *Table) Sweep(now time.Time) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	swept := 0
	for _, f := range []*family{&t.v4, &t.v6} {
		var stale []*node
		f.each(func(n *node) bool {
			if slices.ContainsFunc(n.records, func(r *record) bool { return !r.holds(now) }) {
				stale = append(stale, n)
			}
			return true
		})
		for _, n := range stale {
			left := slices.DeleteFunc(slices.Clone(n.records), func(r *record) bool { return !r.holds(now) })
			swept += len(n.records) - len(left)
			f.put(t.hash, n.key, left)
		}
	}
	t.size.Add(-int64(swept))
	return swept
}

// Len returns the number of entries, expired ones that were not swept included.
func (t *Table) Len() int { return int(t.size.Load()) }

// Max returns the number of entries that the table may hold.
func (t *Table) Max() int { return t.max }

// All yields every entry in no particular order, expired ones included. What changes
// meanwhile may or may not be seen.
func (t *Table) All() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		for _, f := range []*family{&t.v4, &t.v6} {
			more := true
			f.each(func(n *node) bool {
				for _, r := range n.records {
					if more = yield(r.entry()); !more {
						break
					}
				}
				return more
			})
			if !more {
				return
			}
		}
	}
}

func (t *Table) family(a netip.Addr) *family {
	if a.Is4() {
		return &t.v4
	}
	return &t.v6
}

func (t *Table) hash(k key) uint64 { return maphash.Comparable(t.seed, k) }

func (t *Table) find(addr netip.Addr, now time.Time) *record {
	if !addr.IsValid() {
		return nil
	}
	addr = addr.Unmap()
	f := t.family(addr)
	lengths := *f.lengths.Load()
	if len(lengths) == 0 {
		return nil
	}
	whole := keyOf(addr)
	is4 := addr.Is4()
	for _, bits := range lengths {
		k := whole.masked(bits, is4)
		// The first of the records holds longest: where it has expired, all have.
		if n := f.find(t.hash(k), k); n != nil && n.first.holds(now) {
			return n.first
		}
	}
	return nil
}

// record is one entry; only its hits change.
type record struct {
	until  time.Time
	hits   *atomic.Uint64 // own, or that of the record which this one replaced
	own    atomic.Uint64  // beside until: a hit touches one cache line
	prefix netip.Prefix
	id     string
}

func newRecord(prefix netip.Prefix, until time.Time, id string) *record {
	r := &record{prefix: prefix, id: id, until: until}
	r.hits = &r.own
	return r
}

func (r *record) holds(now time.Time) bool { return r.until.IsZero() || now.Before(r.until) }

func (r *record) entry() Entry {
	return Entry{Prefix: r.prefix, ID: r.id, Until: r.until, Hits: r.hits.Load()}
}

func compareRecords(a, b *record) int {
	switch {
	case a.until.IsZero() != b.until.IsZero():
		if a.until.IsZero() {
			return -1
		}
		return 1
	case !a.until.Equal(b.until):
		return b.until.Compare(a.until)
	}
	return strings.Compare(a.id, b.id)
}

// key is a masked address and its prefix length, without padding so that it hashes in
// one go. An IPv4 address stands in the low half of lo.
type key struct{ hi, lo, bits uint64 }

func keyOf(a netip.Addr) key {
	if a.Is4() {
		b := a.As4()
		return key{lo: uint64(binary.BigEndian.Uint32(b[:])), bits: 32}
	}
	b := a.As16()
	return key{hi: binary.BigEndian.Uint64(b[:8]), lo: binary.BigEndian.Uint64(b[8:]), bits: 128}
}

func (k key) masked(bits uint8, is4 bool) key {
	k.bits = uint64(bits)
	switch {
	case is4:
		k.lo &= uint64(^uint32(0) << (32 - bits))
	case bits <= 64:
		k.hi &= ^uint64(0) << (64 - bits)
		k.lo = 0
	default:
		k.lo &= ^uint64(0) << (128 - bits)
	}
	return k
}

func normal(p netip.Prefix) (netip.Prefix, key, bool) {
	if !p.IsValid() {
		return p, key{}, false
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	p = p.Masked()
	k := keyOf(p.Addr())
	k.bits = uint64(p.Bits())
	return p, k, true
}
