package kernel

import (
	"slices"
	"strings"
)

// Empty reports whether no path is in the set.
func (p *Paths) Empty() bool {
	return !p.All && len(p.Exact) == 0 && len(p.Prefix) == 0 && len(p.Name) == 0 && len(p.Part) == 0
}

// Has reports whether a path is in the set. It does not allocate.
func (p *Paths) Has(path string) bool {
	if p.All || slices.Contains(p.Exact, path) {
		return true
	}
	for _, prefix := range p.Prefix {
		if strings.HasPrefix(path, prefix) {
			return true
		}
	}
	if len(p.Name) > 0 && slices.Contains(p.Name, path[strings.LastIndexByte(path, '/')+1:]) {
		return true
	}
	if len(p.Part) == 0 {
		return false
	}
	for rest, part := path, ""; rest != ""; {
		part, rest, _ = strings.Cut(rest, "/")
		if slices.Contains(p.Part, part) {
			return true
		}
	}
	return false
}
