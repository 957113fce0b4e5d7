package history

import (
	"bytes"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/scan"
)

const (
	maxCommitSize = 4 << 20
	maxTags       = 10 // tags of tags
	maxParents    = 10_000
)

var errNotCommit = errors.New("not a commit")

// parsed is what a commit says.
type parsed struct {
	tree    oid
	parents []oid
	author  string
	when    int64 // of the author
	date    int64 // of the committer
}

// parseCommit reads a commit's header.
func parseCommit(b []byte, hash int) (c parsed, ok bool) {
	for len(b) > 0 {
		line, rest, _ := bytes.Cut(b, []byte("\n"))
		if b = rest; len(line) == 0 {
			break
		}
		key, value, _ := bytes.Cut(line, []byte(" "))
		var err error
		switch string(key) {
		case "tree":
			if c.tree, err = parseOID(value, hash); err != nil {
				return c, false
			}
			ok = true
		case "parent":
			p, err := parseOID(value, hash)
			if err != nil || len(c.parents) >= maxParents {
				return c, false
			}
			c.parents = append(c.parents, p)
		case "author":
			c.author, c.when = parsePerson(value)
		case "committer":
			_, c.date = parsePerson(value)
			return c, ok
		}
	}
	return c, ok
}

// parsePerson reads "Name <mail> 1700000000 +0100".
func parsePerson(b []byte) (name string, when int64) {
	if end := bytes.LastIndexByte(b, '>'); end >= 0 {
		word, _, _ := bytes.Cut(bytes.TrimSpace(b[end+1:]), []byte(" "))
		when, _ = strconv.ParseInt(string(word), 10, 64)
		b = b[:end]
	}
	before, _, _ := bytes.Cut(b, []byte("<"))
	return strings.TrimSpace(string(before[:min(len(before), 200)])), max(when, 0)
}

// commit reads a commit.
func (rd *reader) commit(o id) (parsed, error) {
	k, data, err := rd.read(o, maxCommitSize)
	if err != nil {
		return parsed{}, err
	}
	if k != commitObject {
		return parsed{}, errNotCommit
	}
	c, ok := parseCommit(data, rd.repo.hash)
	if !ok {
		return c, fmt.Errorf("%w: a commit without a tree", errCorrupted)
	}
	return c, nil
}

// peel follows tags to the commit.
func (rd *reader) peel(o id) (id, error) {
	for range maxTags {
		k, data, err := rd.read(o, maxCommitSize)
		switch {
		case err != nil:
			return none, err
		case k == commitObject:
			return o, nil
		case k != tagObject:
			return none, errNotCommit
		}
		line, _, _ := bytes.Cut(data, []byte("\n"))
		target, ok := bytes.CutPrefix(line, []byte("object "))
		name, err := parseOID(target, rd.repo.hash)
		if !ok || err != nil {
			return none, fmt.Errorf("%w: a tag of nothing", errCorrupted)
		}
		if o, ok = rd.repo.find(name); !ok {
			return none, errMissing
		}
	}
	return none, fmt.Errorf("%w: tags of tags", errCorrupted)
}

// commit is one in the graph.
type commit struct {
	id      id
	tree    id
	parents []int32 // in graph.commits
	author  int32   // in graph.authors
	when    int64
	date    int64
	hidden  bool // beyond the range: its files are known
}

// graph is the commits that tips lead to.
type graph struct {
	rd      *reader
	tell    func(path string, err error)
	since   int64
	max     int
	commits []commit
	index   map[id]int32
	authors []string
	people  map[string]int32
	full    bool
}

func newGraph(rd *reader, since time.Time, limit int, tell func(string, error)) *graph {
	g := &graph{rd: rd, tell: tell, max: limit, index: map[id]int32{}, people: map[string]int32{}}
	if !since.IsZero() {
		g.since = since.Unix()
	}
	return g
}

// load reads a commit into the graph, without its parents. It returns -1 if it cannot be read.
func (g *graph) load(o id) (int32, []oid) {
	c, err := g.rd.commit(o)
	if err != nil {
		g.tell("commit "+g.rd.repo.name(o), err)
		g.index[o] = -1
		return -1, nil
	}
	tree, ok := g.rd.repo.find(c.tree)
	if !ok {
		tree = none
		g.tell("tree "+c.tree.text(g.rd.repo.hash), errMissing)
	}
	author, ok := g.people[c.author]
	if !ok {
		author = int32(len(g.authors))
		g.authors = append(g.authors, c.author)
		g.people[c.author] = author
	}
	n := int32(len(g.commits))
	g.commits = append(g.commits, commit{id: o, tree: tree, author: author, when: c.when, date: c.date})
	g.index[o] = n
	return n, c.parents
}

// add brings in the commits that a tip leads to. Those of a hidden tip are hidden; what is older than the graph's date is
// hidden too, and not followed.
func (g *graph) add(ctx context.Context, tip id, hidden bool) error {
	todo := []id{tip}
	for len(todo) > 0 {
		if len(g.commits)&1023 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		o := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if _, known := g.index[o]; known {
			continue
		}
		if len(g.commits) >= g.max {
			g.full = true
			return nil
		}
		n, parents := g.load(o)
		if n < 0 {
			continue
		}
		c := &g.commits[n]
		c.hidden = hidden || g.since > 0 && c.date < g.since
		if !hidden && c.hidden {
			continue
		}
		if len(g.rd.repo.shallow) > 0 && g.rd.repo.shallow[g.nameOf(o)] {
			continue
		}
		for _, p := range parents {
			at, ok := g.rd.repo.find(p)
			if !ok {
				g.tell("commit "+p.text(g.rd.repo.hash), errMissing)
				continue
			}
			// The parent's number is not known yet: its id stands for it until all are there.
			c.parents = append(c.parents, int32(at)) //nolint:gosec // resolved by order, which looks it up as an id
			todo = append(todo, at)
		}
	}
	return nil
}

func (g *graph) nameOf(o id) (name oid) {
	if p := g.rd.repo.packOf(o); p != nil {
		copy(name[:], p.nameAt(uint32(o-p.base)))
		return name
	}
	return g.rd.repo.loose[o-g.rd.repo.base].name
}

// order returns the commits so that each comes after its parents, older ones first, and the number of those that
// have no such place because they are their own ancestors.
func (g *graph) order() (out []int32, circular int) {
	waits := make([]int32, len(g.commits))
	first := make([]int32, len(g.commits)+1) // children of n: list[first[n]:first[n+1]]
	for i := range g.commits {
		c := &g.commits[i]
		kept := c.parents[:0]
		for _, p := range c.parents {
			if n, ok := g.index[id(uint32(p))]; ok && n >= 0 {
				kept = append(kept, n)
				first[n+1]++
			}
		}
		c.parents = kept
		waits[i] = int32(len(kept))
	}
	for i := range g.commits {
		first[i+1] += first[i]
	}
	children := make([]int32, first[len(g.commits)])
	at := append([]int32(nil), first[:len(g.commits)]...)
	for i := range g.commits {
		for _, p := range g.commits[i].parents {
			children[at[p]] = int32(i)
			at[p]++
		}
	}
	ready := &byDate{g: g}
	for i := range g.commits {
		if waits[i] == 0 {
			ready.list = append(ready.list, int32(i))
		}
	}
	heap.Init(ready)
	out = make([]int32, 0, len(g.commits))
	for ready.Len() > 0 {
		n := heap.Pop(ready).(int32)
		out = append(out, n)
		for _, child := range children[first[n]:first[n+1]] {
			if waits[child]--; waits[child] == 0 {
				heap.Push(ready, child)
			}
		}
	}
	return out, len(g.commits) - len(out)
}

// byDate is a heap of commits, the oldest on top.
type byDate struct {
	g    *graph
	list []int32
}

func (h *byDate) Len() int { return len(h.list) }
func (h *byDate) Less(i, j int) bool {
	a, b := &h.g.commits[h.list[i]], &h.g.commits[h.list[j]]
	if a.date != b.date {
		return a.date < b.date
	}
	x, y := h.g.nameOf(a.id), h.g.nameOf(b.id)
	return bytes.Compare(x[:], y[:]) < 0
}
func (h *byDate) Swap(i, j int) { h.list[i], h.list[j] = h.list[j], h.list[i] }
func (h *byDate) Push(x any)    { h.list = append(h.list, x.(int32)) }
func (h *byDate) Pop() any {
	n := h.list[len(h.list)-1]
	h.list = h.list[:len(h.list)-1]
	return n
}

// signature says who made a commit, and when.
func (g *graph) signature(c *commit) string {
	return scan.Printable(g.authors[c.author]) + ", " + time.Unix(min(c.when, maxTime), 0).UTC().Format(time.DateOnly)
}

const maxTime = 253402300799 // the last second of the year 9999
