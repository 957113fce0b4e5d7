package window

import (
	"crypto/sha256"
	"math"
	"strings"
)

// table holds groups by key, in the order in which they were last added to.
type table[T any] struct {
	byKey          map[string]*group[T]
	oldest, newest *group[T]
}

type group[T any] struct {
	key          string
	older, newer *group[T]
	held         T
}

func newTable[T any]() table[T] { return table[T]{byKey: make(map[string]*group[T])} }

// touch makes a group the newest.
func (t *table[T]) touch(g *group[T]) {
	if g != t.newest {
		t.unlink(g)
		t.link(g)
	}
}

// add makes a group that is not there yet, the newest. The key may be a slice of a large
// request: the group keeps its bytes alone.
func (t *table[T]) add(key string) *group[T] {
	g := &group[T]{key: strings.Clone(key)}
	t.byKey[g.key] = g
	t.link(g)
	return g
}

func (t *table[T]) remove(g *group[T]) {
	t.unlink(g)
	delete(t.byKey, g.key)
}

func (t *table[T]) link(g *group[T]) {
	g.older, g.newer = t.newest, nil
	if t.newest != nil {
		t.newest.newer = g
	} else {
		t.oldest = g
	}
	t.newest = g
}

func (t *table[T]) unlink(g *group[T]) {
	if g.older != nil {
		g.older.newer = g.newer
	} else {
		t.oldest = g.newer
	}
	if g.newer != nil {
		g.newer.older = g.older
	} else {
		t.newest = g.older
	}
}

// maxKey bounds the bytes of a group's key.
const maxKey = 256

// bounded returns the key, or a digest of one that is too long: who sends events must not choose how
// much is kept of them.
func bounded(key string) string {
	if len(key) <= maxKey {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return string(sum[:])
}

// past returns the key under which a group's events of long before its newest one are held.
func past(key string) string { return "\xff" + key }

// longBefore reports whether an event at t can be in no window with the newest of a group or what is yet to come to it.
func longBefore(t, newest, within, tolerance int64) bool {
	return t < minus(minus(newest, tolerance), within)
}

// minus is a - b for b >= 0, which stops at the smallest number.
func minus(a, b int64) int64 {
	if a < math.MinInt64+b {
		return math.MinInt64
	}
	return a - b
}

// plus is a + b for b >= 0, which stops at the greatest number.
func plus(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
