package chain

// recent keeps what was used lately: two generations of at most limit entries each. When the younger one is full it becomes the elder,
// and the elder is forgotten.
type recent[K comparable, V any] struct {
	young, old map[K]V
	limit      int
	forgotten  *uint64 // counts; nil: nobody does
}

func newRecent[K comparable, V any](limit int, forgotten *uint64) recent[K, V] {
	return recent[K, V]{young: map[K]V{}, limit: limit / 2, forgotten: forgotten}
}

func (c *recent[K, V]) get(k K) (V, bool) {
	if v, ok := c.young[k]; ok {
		return v, true
	}
	v, ok := c.old[k]
	if ok {
		delete(c.old, k)
		c.put(k, v)
	}
	return v, ok
}

func (c *recent[K, V]) put(k K, v V) {
	delete(c.old, k)
	if _, ok := c.young[k]; !ok && len(c.young) >= c.limit {
		if c.forgotten != nil {
			*c.forgotten += uint64(len(c.old))
		}
		c.old, c.young = c.young, make(map[K]V, 64)
	}
	c.young[k] = v
}
