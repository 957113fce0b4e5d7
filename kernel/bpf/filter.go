//go:build linux

package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/testudo-sec/testudo/kernel"
)

// Sets of paths, and what is to be looked at for them; common.h has the same numbers.
const (
	setRead = iota
	setWrite
	setChange
	setQuiet
)

// quietPaths are files that nearly every program reads as it starts. They say nothing of the request that it was started for.
func quietPaths() kernel.Paths {
	return kernel.Paths{
		Exact:  []string{"/etc/ld.so.cache", "/etc/localtime", "/etc/nsswitch.conf", "/etc/locale.alias", "/dev/null", "/dev/tty", "/dev/urandom", "/proc"},
		Prefix: []string{"/lib/", "/lib64/", "/usr/lib/", "/usr/lib64/", "/usr/share/", "/sys/", "/proc/"},
	}
}

const (
	filterAll = 1 << iota
	filterPrefix
	filterEnd
	filterPart
	filterComm
)

// How much of a text the programs compare. A longer one stands for all that begin, or end, alike.
const (
	prefixBytes = 252
	endBytes    = 48
)

// Keys of the maps of filters, as in common.h.
type (
	prefixKey struct {
		Bits, Set uint32
		Text      [prefixBytes]byte
	}
	endKey struct {
		Bits, Set uint32
		Text      [64]byte
	}
	partKey struct {
		Set, Reserved uint32
		Hash          uint64
	}
	commKey struct {
		Set  uint32
		Comm [16]byte
	}
)

// fillFilters makes the filters of the generation of c, which nothing looks at yet, and says in c which there are.
func (l *Loader) fillFilters(c *config, want kernel.Interest) error {
	for _, clear := range []func(uint32) error{
		func(g uint32) error { return purge(l.maps["prefixes"], g, func(k *prefixKey) uint32 { return k.Set }) },
		func(g uint32) error {
			return purge(l.maps["ends_of_names"], g, func(k *endKey) uint32 { return k.Set })
		},
		func(g uint32) error { return purge(l.maps["parts"], g, func(k *partKey) uint32 { return k.Set }) },
		func(g uint32) error { return purge(l.maps["comms"], g, func(k *commKey) uint32 { return k.Set }) },
	} {
		if err := clear(c.Generation); err != nil {
			return err
		}
	}
	for _, s := range []struct {
		set   uint32
		to    *uint32
		paths kernel.Paths
		comms []string
	}{{setRead, &c.Read, want.Reads, want.Readers}, {setWrite, &c.Write, want.Writes, want.Writers}, {setChange, &c.Change, want.Changes, nil}, {setQuiet, &c.Quiet, kernel.Paths{}, nil}} {
		if s.set == setQuiet && len(want.Served) > 0 {
			s.paths = quietPaths()
		}
		bits, err := l.fillSet(c.Generation<<2|s.set, s.paths, s.comms)
		if err != nil {
			return err
		}
		*s.to = bits
		for _, part := range s.paths.Part {
			c.Lengths[s.set] |= 1 << min(len(part), 63)
		}
	}
	return nil
}

// fillSet adds a set to the filters. One that does not fit becomes the set of all paths.
func (l *Loader) fillSet(set uint32, p kernel.Paths, comms []string) (bits uint32, err error) {
	if p.All {
		return filterAll, nil
	}
	present := uint8(1)
	put := func(name string, key any, bit uint32) {
		if e := l.maps[name].Put(key, present); e != nil && err == nil {
			err = fmt.Errorf("the filter %s: %w", name, e)
		}
		bits |= bit
	}
	for _, text := range p.Exact {
		put("prefixes", newPrefix(set, text+"\x00"), filterPrefix)
	}
	for _, text := range p.Prefix {
		put("prefixes", newPrefix(set, text), filterPrefix)
	}
	for _, text := range p.Name {
		put("ends_of_names", newEnd(set, "/"+text), filterEnd)
	}
	for _, text := range p.End {
		put("ends_of_names", newEnd(set, text), filterEnd)
	}
	for _, text := range p.Part {
		put("parts", &partKey{Set: set, Hash: partHash(text)}, filterPart)
	}
	for _, name := range comms {
		k := commKey{Set: set}
		copy(k.Comm[:15], name)
		put("comms", &k, filterComm)
	}
	if err != nil {
		l.log.Warn("more paths to watch than fit into the kernel: all are watched", "error", err)
		return filterAll, nil
	}
	return bits, nil
}

func newPrefix(set uint32, text string) *prefixKey {
	k := prefixKey{Set: set}
	k.Bits = uint32(8 * (4 + copy(k.Text[:], text)))
	return &k
}

func newEnd(set uint32, text string) *endKey {
	k := endKey{Set: set}
	n := min(len(text), endBytes)
	for i := range n {
		k.Text[i] = lower(text[len(text)-1-i])
	}
	k.Bits = uint32(8 * (4 + n))
	return &k
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// partHash is FNV-1a (RFC 9923) of a part of a path in lower case.
func partHash(text string) uint64 {
	h := uint64(0xcbf29ce484222325)
	for i := range len(text) {
		h = (h ^ uint64(lower(text[i]))) * 0x100000001b3
	}
	return h
}

// purge deletes the keys of a generation.
func purge[K any](m *ebpf.Map, generation uint32, set func(*K) uint32) error {
	var old []K
	var k K
	for err := m.NextKey(nil, &k); ; err = m.NextKey(&k, &k) {
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			break
		}
		if err != nil {
			return fmt.Errorf("the filter %s: %w", m, err)
		}
		if set(&k)>>2 == generation {
			old = append(old, k)
		}
	}
	for i := range old {
		if err := m.Delete(&old[i]); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("the filter %s: %w", m, err)
		}
	}
	return nil
}
