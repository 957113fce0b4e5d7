package kernel

import (
	"slices"
	"strings"
)

// Empty reports whether no path is in the set.
func (p *Paths) Empty() bool {
	return !p.All && len(p.Exact)+len(p.Prefix)+len(p.Name)+len(p.Part)+len(p.End) == 0
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
	last := path[strings.LastIndexByte(path, '/')+1:]
	for _, name := range p.Name {
		if sameFolded(last, name) {
			return true
		}
	}
	for _, end := range p.End {
		if len(last) >= len(end) && sameFolded(last[len(last)-len(end):], end) {
			return true
		}
	}
	if len(p.Part) == 0 {
		return false
	}
	for rest, part := path, ""; rest != ""; {
		part, rest, _ = strings.Cut(rest, "/")
		for _, want := range p.Part {
			if sameFolded(part, want) {
				return true
			}
		}
	}
	return false
}

// sameFolded reports whether a text is one in lower case, but for the case of its ASCII letters.
func sameFolded(text, lower string) bool {
	if len(text) != len(lower) {
		return false
	}
	for i := range len(text) {
		c := text[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
