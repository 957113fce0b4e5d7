package history

// cache keeps the objects used last, up to a number of bytes: most versions rest on one that was just read.
type cache struct {
	room, used  int
	entries     map[place]*entry
	first, last *entry // most and least recently used

	recycle bool     // buffers are used again after release
	gone    []*entry // evicted, and perhaps still read
	free    [][]byte // buffers to use again
}

type entry struct {
	at         place
	kind       kind
	data       []byte
	prev, next *entry
}

func newCache(room int) cache { return cache{room: room, entries: map[place]*entry{}} }

func (c *cache) get(at place) *entry {
	e := c.entries[at]
	if e != nil && e != c.first {
		c.unlink(e)
		c.link(e)
	}
	return e
}

func (c *cache) link(e *entry) {
	e.prev, e.next = nil, c.first
	if c.first != nil {
		c.first.prev = e
	}
	if c.first = e; c.last == nil {
		c.last = e
	}
}

func (c *cache) unlink(e *entry) {
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		c.first = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	} else {
		c.last = e.prev
	}
}

// put keeps an object, in place of others; one that would fill a quarter of the room is not kept.
func (c *cache) put(at place, k kind, data []byte) {
	if cap(data) > c.room/4 || c.entries[at] != nil {
		return
	}
	e := &entry{at: at, kind: k, data: data}
	c.entries[at] = e
	c.link(e)
	for c.used += cap(data) + 100; c.used > c.room; {
		old := c.last
		c.unlink(old)
		delete(c.entries, old.at)
		c.used -= cap(old.data) + 100
		if c.recycle {
			c.gone = append(c.gone, old)
		}
	}
}

// release says that nothing that was returned is read any more.
func (c *cache) release() {
	for _, e := range c.gone {
		if len(c.free) < 64 {
			c.free = append(c.free, e.data)
		}
	}
	c.gone = c.gone[:0]
}

// buffer returns one for size bytes, used before if there is one that fits.
func (c *cache) buffer(size int) []byte {
	for i := len(c.free) - 1; i >= max(0, len(c.free)-8); i-- {
		if b := c.free[i]; cap(b) >= size && cap(b) <= 2*size+1024 {
			c.free[i] = c.free[len(c.free)-1]
			c.free = c.free[:len(c.free)-1]
			return b[:0]
		}
	}
	return make([]byte, 0, size)
}
