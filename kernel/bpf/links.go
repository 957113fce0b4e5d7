//go:build linux

package bpf

import (
	"slices"
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

// history is what became of a name, in the order in which records tell of it.
type history struct {
	list []change
	cut  uint64 // when the latest of those that are forgotten happened, 0 for none
}

// drop forgets the first n changes.
func (h *history) drop(n int) {
	h.cut = max(h.cut, h.list[n-1].at)
	h.list = append([]change(nil), h.list[n:]...)
}

// Bounds of the account of changes.
const (
	maxPlaces  = 16 << 10
	maxChanges = 8    // of one name: the latest, and
	maxRecent  = 1024 // as many that are concurrent with records to come
	// concurrent is how near to each other two calls may end such that it is not known which of them the kernel did first: a thread may have to wait
	// between what its call does and the call's end, and so may a virtual machine.
	concurrent = uint64(time.Second)
)

// changes is the account of what names led to, as calls that made, moved and removed links and folders ended. Without it a link that is gone, or
// leads elsewhere, by the time that its use is looked at would have led nowhere. Links are kept until there are too many, the oldest
// first; the rest is kept while records are looked at that were waiting with it.
type changes struct {
	kept  map[placeKey]*history
	age   []placeKey // of kept, in the order in which they came; a ring once it is full
	next  int
	brief map[placeKey]*history
	grown []placeKey // of kept, which hold more than they may once the records are looked at
}

func newChanges() changes {
	return changes{kept: map[placeKey]*history{}, brief: map[placeKey]*history{}}
}

// forget ends the account of what is not kept, up to the time of the last record that was looked at.
func (c *changes) forget(upTo uint64) {
	for k, h := range c.brief {
		if h.list[len(h.list)-1].at <= upTo {
			delete(c.brief, k)
		}
	}
	c.grown = slices.DeleteFunc(c.grown, func(k placeKey) bool {
		h := c.kept[k]
		if h == nil {
			return true
		}
		old := 0
		for old < len(h.list)-maxChanges && h.list[old+1].at+concurrent <= upTo {
			old++
		}
		if old > 0 {
			h.drop(old)
		}
		return len(h.list) <= maxChanges
	})
}

func (c *changes) of(k placeKey) *history {
	if h, ok := c.kept[k]; ok {
		return h
	}
	return c.brief[k]
}

func (c *changes) add(k placeKey, one change) {
	h := c.kept[k]
	if h == nil {
		if h = c.brief[k]; h == nil {
			h = &history{}
		}
		k.path = strings.Clone(k.path)
		if one.is.kind != placeLink && one.was.kind != placeLink {
			c.brief[k] = h
		} else {
			delete(c.brief, k)
			c.keep(k, h)
		}
	}
	if len(h.list) >= maxChanges+maxRecent {
		h.drop(maxRecent / 2)
	}
	if h.list = append(h.list, one); len(h.list) == maxChanges+1 && c.kept[k] == h {
		c.grown = append(c.grown, k)
	}
}

func (c *changes) keep(k placeKey, h *history) {
	if len(c.age) < maxPlaces {
		c.age = append(c.age, k)
	} else {
		delete(c.kept, c.age[c.next])
		c.age[c.next] = k
		c.next = (c.next + 1) % maxPlaces
	}
	c.kept[k] = h
}

// latest returns what a name leads to since its last change, and whether there was one.
func (c *changes) latest(k placeKey) (place, bool) {
	h := c.of(k)
	if h == nil {
		return place{}, false
	}
	return h.list[len(h.list)-1].is, true
}

// at appends what a name led to when a call ended. There are several places where changes ended so near to it that any may have been first. known: the
// account says something of the name, else it leads where it does now. last: nothing is known to have changed since.
func (c *changes) at(to []place, k placeKey, at uint64) (all []place, known, last bool) {
	h := c.of(k)
	if h == nil {
		return to, false, true
	}
	list := h.list
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
	for _, one := range list {
		if d := int64(one.at - at); -int64(concurrent) < d && d < int64(concurrent) {
			add(one.is)
			add(one.was)
		}
	}
	forgotten := h.cut != 0 && at < h.cut+concurrent
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
		if c.of(placeKey{space, path[:i]}) != nil {
			return true
		}
	}
	return false
}
