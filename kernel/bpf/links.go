//go:build linux

package bpf

import (
	"strings"
	"time"
)

// kindOfPlace is what a name led to.
type kindOfPlace uint8

const (
	placeUnknown kindOfPlace = iota
	placeItself              // a folder, or a file: no link
	placeLink
	placeNone // nothing has the name
)

// place is what a name led to, and of a link its text.
type place struct {
	kind   kindOfPlace
	target string
}

// placeKey is a path without links, in a mount namespace.
type placeKey struct {
	space uint32
	path  string
}

// change is what became of a name when a call ended.
type change struct {
	at uint64 // nanoseconds since the boot
	is place
	// was is what it led to before, where the call says so: only a folder can be removed as one.
	was place
}

// Bounds of the account of changes.
const (
	maxPlaces  = 16 << 10
	maxChanges = 8  // of one name: the latest
	maxNear    = 32 // changes of one name that are looked at on either side of its use
	// concurrent is how near to each other two calls may end such that it is not known which of them the kernel did first: a thread may have to wait
	// between what its call does and the call's end, and so may a virtual machine.
	concurrent = uint64(time.Second)
)

// changes is the account of what names led to, as calls that made, moved and removed links and folders ended. Without it a link that is gone, or
// leads elsewhere, by the time that its use is looked at would have led nowhere. Links are kept until there are too many, the oldest
// first; the rest is kept while records are looked at that were waiting with it.
type changes struct {
	kept  map[placeKey][]change
	age   []placeKey // of kept, in the order in which they came; a ring once it is full
	next  int
	brief map[placeKey][]change
	grown []placeKey // of kept, which hold more than they may once the records are looked at
}

func newChanges() changes {
	return changes{kept: map[placeKey][]change{}, brief: map[placeKey][]change{}}
}

// forget ends the account of what is not kept, up to a time.
func (c *changes) forget(upTo uint64) {
	for k, l := range c.brief {
		if l[len(l)-1].at <= upTo {
			delete(c.brief, k)
		}
	}
	for _, k := range c.grown {
		if l := c.kept[k]; len(l) > maxChanges {
			c.kept[k] = append([]change(nil), l[len(l)-maxChanges:]...)
		}
	}
	c.grown = c.grown[:0]
}

func (c *changes) list(k placeKey) []change {
	if l, ok := c.kept[k]; ok {
		return l
	}
	return c.brief[k]
}

func (c *changes) add(k placeKey, one change) {
	list, known := c.kept[k]
	if !known {
		list = c.brief[k]
		if one.is.kind != placeLink && one.was.kind != placeLink {
			c.brief[k] = append(list, one)
			return
		}
		delete(c.brief, k)
		k.path = strings.Clone(k.path)
		if len(c.age) < maxPlaces {
			c.age = append(c.age, k)
		} else {
			delete(c.kept, c.age[c.next])
			c.age[c.next] = k
			c.next = (c.next + 1) % maxPlaces
		}
	}
	if len(list) == maxChanges {
		c.grown = append(c.grown, k)
	}
	c.kept[k] = append(list, one)
}

// latest returns what a name leads to since its last change, and whether there was one.
func (c *changes) latest(k placeKey) (place, bool) {
	list := c.list(k)
	if len(list) == 0 {
		return place{}, false
	}
	return list[len(list)-1].is, true
}

// at appends what a name led to when a call ended. There are several places where changes ended so near to it that any may have been first. known: the
// account says something of the name, else it leads where it does now. last: nothing is known to have changed since.
func (c *changes) at(to []place, k placeKey, at uint64) (all []place, known, last bool) {
	list := c.list(k)
	if len(list) == 0 {
		return to, false, true
	}
	from := len(to)
	add := func(p place) {
		if p.kind == placeNone || p.kind == placeUnknown { // of nothing the call would not have been told
			return
		}
		for _, have := range to[from:] {
			if have == p {
				return
			}
		}
		to = append(to, p)
	}
	after := 0
	for after < len(list) && list[after].at <= at {
		after++
	}
	if after > 0 {
		add(list[after-1].is)
	}
	if after < len(list) {
		add(list[after].was)
	}
	first, end := max(after-maxNear, 0), min(after+maxNear, len(list))
	linked := false
	for _, one := range list[first:end] {
		if d := int64(one.at - at); -int64(concurrent) < d && d < int64(concurrent) {
			add(one.is)
			add(one.was)
			linked = linked || one.is.kind == placeLink
		}
	}
	forgotten := linked && len(list) >= maxChanges && at-list[first].at < concurrent // there may have been more
	if len(to) == from || forgotten || (after == 0 && list[0].was.kind == placeUnknown) {
		to = append(to, place{kind: placeUnknown})
	}
	return to, true, after == len(list)
}

// touched reports whether the account knows of the path, or of a folder above it that is longer than from bytes.
func (c *changes) touched(space uint32, path string, from int) bool {
	if len(c.kept)+len(c.brief) == 0 {
		return false
	}
	for i := from + 1; i <= len(path); i++ {
		if i < len(path) && path[i] != '/' {
			continue
		}
		if len(c.list(placeKey{space, path[:i]})) > 0 {
			return true
		}
	}
	return false
}
