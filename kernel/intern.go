package kernel

import (
	"strconv"
	"unicode/utf8"

	"github.com/testudo-sec/testudo/kernel/record"
)

// recent keeps what was made lately, so that the usual event makes nothing anew: two generations of at most limit entries each. When the
// younger one is full it becomes the elder, and the elder is forgotten. It is not safe for concurrent use.
type recent[K comparable, V any] struct {
	young, old map[K]V
	limit      int
}

func newRecent[K comparable, V any](limit int) recent[K, V] {
	return recent[K, V]{young: map[K]V{}, limit: limit}
}

func (c *recent[K, V]) get(k K) (V, bool) {
	if v, ok := c.young[k]; ok {
		return v, true
	}
	v, ok := c.old[k]
	if ok {
		c.put(k, v)
	}
	return v, ok
}

func (c *recent[K, V]) put(k K, v V) {
	if len(c.young) >= c.limit {
		c.old, c.young = c.young, make(map[K]V, c.limit/2)
	}
	c.young[k] = v
}

// text is a name as it is judged, and as it may be recorded.
type text struct{ seen, recorded string }

// texts turns bytes of the kernel into texts, one copy of each.
type texts struct {
	recent[string, text]
	record func(string) string // makes the recorded form; nil: it is the same
}

// maxShared bounds the texts that are kept; longer ones are made anew each time.
const maxShared = 512

func newTexts(limit int, record func(string) string) texts {
	return texts{recent: newRecent[string, text](limit), record: record}
}

func (t *texts) of(b []byte) text {
	if len(b) == 0 {
		return text{}
	}
	if v, ok := t.young[string(b)]; ok { // does not allocate
		return v
	}
	raw := string(b)
	v, ok := t.old[raw]
	if !ok {
		if v.seen = raw; !utf8.ValidString(raw) {
			v.seen = record.Text(b)
		}
		v.recorded = v.seen
		if t.record != nil {
			v.recorded = t.record(v.seen)
		}
	}
	if len(raw) <= maxShared {
		t.put(raw, v)
	}
	return v
}

// numbers writes numbers, one copy of each.
type numbers struct{ recent[int64, string] }

func (n *numbers) of(v int64) string {
	if 0 <= v && v < 100 {
		return strconv.Itoa(int(v)) // does not allocate
	}
	if s, ok := n.get(v); ok {
		return s
	}
	s := strconv.FormatInt(v, 10)
	n.put(v, s)
	return s
}
