//go:build linux

package bpf

import (
	"strings"

	"github.com/testudo-sec/testudo/kernel"
)

// wants are the sets of paths that the programs filter by, for the reader, which judges the names that they cannot.
type wants [setQuiet]pathSet

func newWants(i *kernel.Interest) *wants {
	return &wants{setRead: newPathSet(&i.Reads), setWrite: newPathSet(&i.Writes), setChange: newPathSet(&i.Changes)}
}

// pathSet is kernel.Paths for many questions. What it holds is compared in lower case where the set does not say otherwise.
type pathSet struct {
	all         bool
	exact       map[string]struct{}
	names       map[string]struct{}
	parts       map[string]struct{}
	prefix, end []string
}

func newPathSet(p *kernel.Paths) pathSet {
	s := pathSet{all: p.All, prefix: p.Prefix, end: p.End}
	for _, l := range []struct {
		to   *map[string]struct{}
		from []string
	}{{&s.exact, p.Exact}, {&s.names, p.Name}, {&s.parts, p.Part}} {
		*l.to = make(map[string]struct{}, len(l.from))
		for _, text := range l.from {
			(*l.to)[text] = struct{}{}
		}
	}
	return s
}

// has reports whether a path is in the set.
func (s *pathSet) has(path string) bool {
	if s.all {
		return true
	}
	if _, ok := s.exact[path]; ok {
		return true
	}
	for _, p := range s.prefix {
		if strings.HasPrefix(path, p) {
			return true
		}
	}
	if len(s.names)+len(s.parts)+len(s.end) == 0 {
		return false
	}
	folded := path
	for i := range len(path) {
		if c := path[i]; 'A' <= c && c <= 'Z' {
			b := []byte(path)
			for i := range b {
				b[i] = lower(b[i])
			}
			folded = string(b)
			break
		}
	}
	last := folded[strings.LastIndexByte(folded, '/')+1:]
	if _, ok := s.names[last]; ok {
		return true
	}
	for _, e := range s.end {
		if strings.HasSuffix(last, e) {
			return true
		}
	}
	if len(s.parts) == 0 {
		return false
	}
	for rest, part := folded, ""; rest != ""; {
		part, rest, _ = strings.Cut(rest, "/")
		if _, ok := s.parts[part]; ok {
			return true
		}
	}
	return false
}
