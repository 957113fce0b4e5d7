// Package vhost finds what serves a request by its host and path, and notices paths that
// servers read in more than one way.
//
// Servers disagree about what "%2f", "%5c", "\\", "..", "//" and ";x" in a path mean. A proxy that
// chooses by one reading and forwards to a server that has another lets a client reach what stands
// behind another entry. [Table.Find] looks every usual reading up, and calls the path ambiguous where
// two lead to different entries.
package vhost

import (
	"net/url"
	"path"
	"slices"
	"strings"
)

// Entry says what serves the hosts below a path.
type Entry[T any] struct {
	Hosts []string // in any case; "*.example.com" for all below; none for every host
	Path  string   // a prefix that ends at a segment's boundary
	Value T
}

// Table finds entries. It is immutable.
type Table[T any] struct {
	exact    map[string][]*entry[T]
	wildcard []wildcard[T] // longest suffix first
	any      []*entry[T]
}

type entry[T any] struct {
	prefix string // without a slash at its end
	value  T
}

type wildcard[T any] struct {
	suffix  string // ".example.com"
	entries []*entry[T]
}

// New makes a table. The most specific host wins: an exact one, then the longest wildcard, then
// none; among those the longest path, and the first of two that are the same.
func New[T any](all []Entry[T]) *Table[T] {
	t := &Table[T]{exact: make(map[string][]*entry[T])}
	for _, a := range all {
		e := &entry[T]{prefix: strings.TrimSuffix(a.Path, "/"), value: a.Value}
		if len(a.Hosts) == 0 {
			t.any = append(t.any, e)
		}
		for _, h := range a.Hosts {
			h = strings.ToLower(strings.TrimSuffix(h, "."))
			suffix, ok := strings.CutPrefix(h, "*")
			if !ok {
				t.exact[h] = append(t.exact[h], e)
				continue
			}
			i := slices.IndexFunc(t.wildcard, func(w wildcard[T]) bool { return w.suffix == suffix })
			if i < 0 {
				i = len(t.wildcard)
				t.wildcard = append(t.wildcard, wildcard[T]{suffix: suffix})
			}
			t.wildcard[i].entries = append(t.wildcard[i].entries, e)
		}
	}
	longest := func(entries []*entry[T]) {
		slices.SortStableFunc(entries, func(a, b *entry[T]) int { return len(b.prefix) - len(a.prefix) })
	}
	for _, entries := range t.exact {
		longest(entries)
	}
	slices.SortStableFunc(t.wildcard, func(a, b wildcard[T]) int { return len(b.suffix) - len(a.suffix) })
	for _, w := range t.wildcard {
		longest(w.entries)
	}
	longest(t.any)
	return t
}

// Find returns what serves a host, lower case and without port, and a path as received; the
// zero value where nothing does. Where the path can be read in two ways that lead to two
// entries, or to one and to none, it returns the zero value and ambiguous.
func (t *Table[T]) Find(host, raw string) (value T, ambiguous bool) {
	found := t.match(host, raw)
	if odd(raw) {
		for _, reading := range readings(raw) {
			if t.match(host, reading) != found {
				return value, true
			}
		}
	}
	if found == nil {
		return value, false
	}
	return found.value, false
}

// odd reports whether upstreams may read the path in more than one way.
func odd(raw string) bool {
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case '%', '\\', ';':
			return true
		case '/':
			if i+1 < len(raw) && (raw[i+1] == '/' || raw[i+1] == '.') {
				return true
			}
		}
	}
	return false
}

// readings lists what servers make of a path: dot segments removed before or after decoding,
// an encoded slash and a backslash as a slash, empty segments joined, path
// parameters dropped.
func readings(raw string) []string {
	cleaned := path.Clean(raw)
	decoded, err := url.PathUnescape(raw)
	if err != nil {
		return []string{cleaned}
	}
	slashed := strings.ReplaceAll(decoded, `\`, "/")
	out := []string{cleaned, decoded, path.Clean(decoded), path.Clean(slashed)}
	if strings.IndexByte(slashed, ';') >= 0 {
		segments := strings.Split(slashed, "/")
		for i, s := range segments {
			segments[i], _, _ = strings.Cut(s, ";")
		}
		out = append(out, path.Clean(strings.Join(segments, "/")))
	}
	return out
}

func (t *Table[T]) match(host, p string) *entry[T] {
	if e := longestPrefix(t.exact[host], p); e != nil {
		return e
	}
	for i := range t.wildcard {
		if w := &t.wildcard[i]; strings.HasSuffix(host, w.suffix) {
			if e := longestPrefix(w.entries, p); e != nil {
				return e
			}
		}
	}
	return longestPrefix(t.any, p)
}

func longestPrefix[T any](entries []*entry[T], p string) *entry[T] {
	for _, e := range entries {
		if rest, ok := strings.CutPrefix(p, e.prefix); ok && (rest == "" || rest[0] == '/' || e.prefix == "") {
			return e
		}
	}
	return nil
}
