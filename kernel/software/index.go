package software

import (
	"hash/maphash"
	"slices"
	"strings"
)

// Bounds of a package database.
const (
	maxPackages = 1 << 16
	maxFiles    = 2 << 20
	maxDatabase = 256 << 20 // bytes of all of its files
	maxFile     = 128 << 20
)

// pkg is a package.
type pkg struct {
	name string // "bash 5.2.15-2"
	sums string // where its digests stand
}

// index says which package owns a file. It keeps of each path a number of 8 bytes, keyed by chance, and one of 4: a wrong answer
// has a chance of one in 10^14.
type index struct {
	manager string
	seed    maphash.Seed
	merged  []string // folders that are links to the same below usr
	paths   []entry  // sorted when it is built
	pkgs    []pkg
	full    bool // the database has more than is kept
}

type entry struct {
	hash uint64
	pkg  uint32
}

func newIndex(manager string, merged []string) *index {
	return &index{manager: manager, merged: merged, seed: maphash.MakeSeed()}
}

// alias is the one name of a file, where /bin is a link to usr/bin. The path has no slash in front.
func (x *index) alias(path string) string {
	first, _, ok := strings.Cut(path, "/")
	if ok && slices.Contains(x.merged, first) {
		return "usr/" + path
	}
	return path
}

func (x *index) hash(path string) uint64 {
	first, rest, ok := strings.Cut(path, "/")
	var h maphash.Hash
	h.SetSeed(x.seed)
	if ok && slices.Contains(x.merged, first) {
		_, _ = h.WriteString("usr/")
	}
	if !ok {
		rest = ""
	}
	_, _ = h.WriteString(first)
	if ok {
		_ = h.WriteByte('/')
		_, _ = h.WriteString(rest)
	}
	return h.Sum64()
}

// begin adds a package, whose files are added next.
func (x *index) begin(p pkg) bool {
	if len(x.pkgs) >= maxPackages {
		x.full = true
		return false
	}
	x.pkgs = append(x.pkgs, p)
	return true
}

// file adds a file of the last package. The path has no slash in front.
func (x *index) file(path string) bool {
	if len(x.paths) >= maxFiles || len(x.pkgs) == 0 {
		x.full = true
		return false
	}
	x.paths = append(x.paths, entry{x.hash(path), uint32(len(x.pkgs) - 1)})
	return true
}

func (x *index) done() {
	slices.SortStableFunc(x.paths, func(a, b entry) int {
		switch {
		case a.hash < b.hash:
			return -1
		case a.hash > b.hash:
			return 1
		}
		return 0
	})
	x.paths = slices.Clip(x.paths)
}

// owner returns the package of a file.
func (x *index) owner(path string) (pkg, bool) {
	h := x.hash(path)
	i, ok := slices.BinarySearchFunc(x.paths, h, func(e entry, h uint64) int {
		switch {
		case e.hash < h:
			return -1
		case e.hash > h:
			return 1
		}
		return 0
	})
	if !ok {
		return pkg{}, false
	}
	return x.pkgs[x.paths[i].pkg], true
}
