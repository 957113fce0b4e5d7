package history

import (
	"bytes"
	"fmt"

	"github.com/testudo-sec/testudo/internal/ignore"
)

const (
	maxTreeSize = 64 << 20
	// maxPath bounds paths, as Linux does, and maxNames all that are held: a tree may name a file by megabytes, below others that do.
	maxPath  = 4096
	maxNames = 256 << 20
)

var errLongPath = fmt.Errorf("its path is longer than %d bytes", maxPath)

// names is the room that is left for paths.
type names int

// take reports whether a path fits.
func (n *names) take(path string) bool {
	*n -= names(len(path))
	return *n >= 0
}

// treeEntry is one line of a tree.
type treeEntry struct {
	mode, name []byte
	object     []byte
	raw        []byte // all of it
}

// nextEntry cuts the first entry off a tree.
func nextEntry(tree []byte, hash int) (e treeEntry, rest []byte, ok bool) {
	end := bytes.IndexByte(tree, 0)
	if end < 0 || len(tree) < end+1+hash {
		return e, nil, false
	}
	space := bytes.IndexByte(tree[:min(end, 8)], ' ')
	if space < 5 || space > 6 || space+1 == end { // "40000" or "100644"
		return e, nil, false
	}
	e = treeEntry{mode: tree[:space], name: tree[space+1 : end], object: tree[end+1 : end+1+hash], raw: tree[:end+1+hash]}
	return e, tree[end+1+hash:], true
}

func (e *treeEntry) isTree() bool { return e.mode[0] == '4' }
func (e *treeEntry) isFile() bool { return len(e.mode) == 6 && e.mode[0] == '1' && e.mode[1] == '0' }

// compareNames orders entries as trees do: folders as if a slash stood behind their name.
func compareNames(a, b *treeEntry) int {
	n := min(len(a.name), len(b.name))
	if c := bytes.Compare(a.name[:n], b.name[:n]); c != 0 {
		return c
	}
	at := func(e *treeEntry) int {
		switch {
		case len(e.name) > n:
			return int(e.name[n])
		case e.isTree():
			return '/'
		}
		return 0
	}
	return at(a) - at(b)
}

// lists say which paths are left out: the caller's patterns first, then the .testudoignore files.
type lists struct{ exclude, own *ignore.List }

func (l *lists) leaveOut(path string, isDir bool) bool {
	if out, matched := l.exclude.Decide(path, isDir); matched {
		return out
	}
	out, _ := l.own.Decide(path, isDir)
	return out
}

func (l *lists) none() bool { return l.exclude == nil && l.own == nil }

// trees walks trees, each once, and gives the files in them.
type trees struct {
	rd       *reader
	lists    lists
	maxDepth int
	seen     bits
	every    bool // also trees that were seen: each path counts
	// file is called for every file of a tree that is not the same in the tree before it.
	file    func(o id, dir, name string)
	link    func(o id, at string) // of links; may be nil
	ignored func()
	special func()
	tooDeep func(path string)
	tell    func(path string, err error)
	stopped func() bool
}

// walk gives what is in a tree and not at the same place in the one before, which was walked.
func (w *trees) walk(t, before id, dir string, depth int) {
	if t == none || w.stopped() || !w.seen.add(t) && !w.every {
		return
	}
	data, err := w.read(t)
	if err != nil {
		w.tell(nonEmpty(dir), fmt.Errorf("tree %s: %w", w.rd.repo.name(t), err))
		return
	}
	var old []byte
	if before != none {
		old, _ = w.read(before) // said when it was walked
	}
	hash := w.rd.repo.hash
	was, oldRest, more := nextEntry(old, hash)
	for len(data) > 0 {
		e, rest, ok := nextEntry(data, hash)
		if !ok {
			w.tell(nonEmpty(dir), fmt.Errorf("tree %s: %w", w.rd.repo.name(t), errCorrupted))
			return
		}
		data = rest
		for more && compareNames(&was, &e) < 0 {
			was, oldRest, more = nextEntry(oldRest, hash)
		}
		below := none
		if more && bytes.Equal(was.name, e.name) {
			if bytes.Equal(was.raw, e.raw) {
				continue
			}
			if was.isTree() && e.isTree() {
				below = w.find(was.object)
			}
		}
		w.entry(&e, below, dir, depth)
	}
}

func (w *trees) entry(e *treeEntry, before id, dir string, depth int) {
	if !e.isTree() && !e.isFile() {
		if o := w.find(e.object); string(e.mode) == "120000" && w.link != nil && o != none && len(dir)+1+len(e.name) <= maxPath {
			w.link(o, join(dir, string(e.name)))
		}
		w.special()
		return
	}
	if len(dir)+1+len(e.name) > maxPath {
		w.tell(nonEmpty(dir), errLongPath)
		return
	}
	name := string(e.name)
	path := name
	if dir != "" && (e.isTree() || !w.lists.none()) {
		path = dir + "/" + name
	}
	if !w.lists.none() && w.lists.leaveOut(path, e.isTree()) {
		w.ignored()
		return
	}
	o := w.find(e.object)
	switch {
	case o == none:
		w.tell(join(dir, name), errMissing)
	case e.isFile():
		w.file(o, dir, name)
	case depth >= w.maxDepth:
		w.tooDeep(path)
	default:
		w.walk(o, before, path, depth+1)
	}
}

func (w *trees) find(name []byte) id {
	o, ok := w.rd.repo.findName(name)
	if !ok {
		return none
	}
	return o
}

func (w *trees) read(t id) ([]byte, error) {
	k, data, err := w.rd.read(t, maxTreeSize)
	if err == nil && k != treeObject {
		err = fmt.Errorf("%w: not a tree", errCorrupted)
	}
	return data, err
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

func nonEmpty(dir string) string {
	if dir == "" {
		return "."
	}
	return dir
}
