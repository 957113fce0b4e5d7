package image

import (
	"cmp"
	"io/fs"
	"path"
	"slices"
	"sort"
	"strings"
	"time"
)

// kind is what an entry of a layer is.
type kind uint8

const (
	regular kind = iota
	folder
	symlink
	hardlink
	device
	whiteout // takes the path away that layers below hold
	opaque   // a folder of which everything is taken away that layers below hold
)

// entry is a name in a layer. Paths are clean, relative to the root, without a leading slash.
type entry struct {
	path string
	link string // where a link leads: as written for symbolic ones, a clean path for hard ones
	size int64
	mode fs.FileMode
	kind kind
}

// index is the names of one layer, by path in byte order.
type index struct {
	entries []entry
	// keep are small files that parts ask for beside the one that they judge: which distribution it is, what packages say of themselves.
	keep map[string][]byte
	// unpacked is the size of the layer.
	unpacked int64
	// wanted are the kept files that only serve one run.
	wanted map[string][]byte
}

// sort brings the entries in order. The order of entries of one path stays: in a tar file the last one counts.
func (x *index) sort() {
	slices.SortStableFunc(x.entries, func(a, b entry) int { return cmp.Compare(a.path, b.path) })
}

// from returns the place of the first entry that is not before the path.
func (x *index) from(p string) int {
	return sort.Search(len(x.entries), func(i int) bool { return x.entries[i].path >= p })
}

// find returns the entry of a path, and the marks on it.
func (x *index) find(p string) (e *entry, gone, emptied bool) {
	for i := x.from(p); i < len(x.entries) && x.entries[i].path == p; i++ {
		switch x.entries[i].kind {
		case whiteout:
			gone = true
		case opaque:
			emptied = true
		default:
			e = &x.entries[i]
		}
	}
	return e, gone, emptied
}

// holds reports whether there is anything below a folder but what takes away.
func (x *index) holds(dir string) bool {
	if dir == "." {
		return len(x.entries) > 0
	}
	for i := x.from(dir + "/"); i < len(x.entries) && strings.HasPrefix(x.entries[i].path, dir+"/"); i++ {
		if x.entries[i].kind != whiteout {
			return true
		}
	}
	return false
}

// children calls add with the names directly in a folder, some twice, until it returns false.
func (x *index) children(dir string, add func(name string, gone bool) bool) {
	prefix := dir + "/"
	if dir == "." {
		prefix = ""
	}
	for i := x.from(prefix); i < len(x.entries) && strings.HasPrefix(x.entries[i].path, prefix); {
		e := &x.entries[i]
		if e.path == "." || e.path == prefix {
			i++
			continue
		}
		name, _, below := strings.Cut(e.path[len(prefix):], "/")
		if !below {
			if !add(name, e.kind == whiteout) {
				return
			}
			i++
			continue
		}
		if x.holds(prefix+name) && !add(name, false) {
			return
		}
		i = x.from(prefix + name + "0") // the byte after the slash
	}
}

// cuts reports whether the layer takes away what layers below hold at the path by what it does to a folder above it.
func (x *index) cuts(p string) bool {
	for dir := path.Dir(p); ; dir = path.Dir(dir) {
		e, gone, emptied := x.find(dir)
		if gone || emptied || e != nil && e.kind != folder && dir != "." {
			return true
		}
		if dir == "." {
			return false
		}
	}
}

// hiding is how a layer takes a path of a lower one away.
type hiding uint8

const (
	visible hiding = iota
	overwritten
	deleted
)

// hides tells what the layer does to a path that a layer below holds.
func (x *index) hides(p string) hiding {
	e, gone, emptied := x.find(p)
	switch {
	case e != nil || emptied:
		return overwritten
	case gone || x.cuts(p):
		return deleted
	case x.holds(p):
		return overwritten // by a folder that is not named itself
	}
	return visible
}

// info is an entry as extractors see it.
type info struct {
	name string
	*entry
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return i.mode }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return i.kind == folder }
func (i info) Sys() any           { return nil }

func (e *entry) info() fs.FileInfo { return info{name: path.Base(e.path), entry: e} }
