package people

import (
	"container/list"
	"sync"
	"time"
)

// lru is a bounded table; the least recently used gives way. Not safe for
// concurrent use.
type lru[V any] struct {
	max   int
	order *list.List // of *lruItem[V], newest in front
	items map[string]*list.Element
}

type lruItem[V any] struct {
	key   string
	value V
}

func newLRU[V any](max int) *lru[V] {
	return &lru[V]{max: max, order: list.New(), items: map[string]*list.Element{}}
}

func (l *lru[V]) get(key string) (v V, ok bool) {
	e := l.items[key]
	if e == nil {
		return v, false
	}
	l.order.MoveToFront(e)
	return e.Value.(*lruItem[V]).value, true
}

func (l *lru[V]) put(key string, v V) {
	if e := l.items[key]; e != nil {
		e.Value.(*lruItem[V]).value = v
		l.order.MoveToFront(e)
		return
	}
	if l.order.Len() >= l.max {
		oldest := l.order.Back()
		l.order.Remove(oldest)
		delete(l.items, oldest.Value.(*lruItem[V]).key)
	}
	l.items[key] = l.order.PushFront(&lruItem[V]{key, v})
}

func (l *lru[V]) drop(key string) {
	if e := l.items[key]; e != nil {
		l.order.Remove(e)
		delete(l.items, key)
	}
}

// cache believes what was read from the store for a moment. A drop also
// outdates reads that are under way: what they bring is not kept, so that a
// revoked session cannot come back through a slow read.
type cache[V any] struct {
	mu    sync.Mutex
	table *lru[cached[V]]
	drops uint64
}

type cached[V any] struct {
	value   V
	version int64
	read    time.Time
}

func (c *cache[V]) init(max int) { c.table = newLRU[cached[V]](max) }

// get returns what is cached, and a mark to give to put.
func (c *cache[V]) get(key string) (v cached[V], ok bool, mark uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok = c.table.get(key)
	return v, ok, c.drops
}

func (c *cache[V]) put(key string, v cached[V], mark uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.drops == mark {
		c.table.put(key, v)
	}
}

func (c *cache[V]) drop(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drops++
	c.table.drop(key)
}

// forget is a drop for what was found to be gone: nobody revoked it just now,
// so reads of other keys stay good.
func (c *cache[V]) forget(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.table.drop(key)
}
