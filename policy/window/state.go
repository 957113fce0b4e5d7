package window

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/testudo-sec/testudo/signal"
)

// The state of a counter or window in bytes, numbers as unsigned varints unless it says otherwise:
//
//	version    1 byte, stateVersion
//	digest     8 bytes of the SHA-256 of what it was made with: the state of another one is refused
//	figures    evicted, dropped, late, skipped
//	groups     their number, and each, the one not added to for longest first:
//	  key      length, bytes
//	  holding  1 byte, 0 or 1; not of counters
//	  events   their number, and each, by time:
//	    time   signed varint, since the event before; of the first, since 1970
//	    value  8 bytes; not of counters
//	    id     16 bytes; not of counters
//	    behind number of ids, 16 bytes each; not of counters
const stateVersion = 1

var errState = errors.New("the state of a window is damaged")

// specDigest names what a window was made with.
func specDigest(v any) []byte {
	sum := sha256.Sum256(fmt.Append(nil, v))
	return sum[:8]
}

func (w *Counter) digest() []byte {
	return specDigest([]int64{int64(w.count), w.within, w.tolerance, int64(w.capacity)})
}

func (w *Window) digest() []byte {
	need := ""
	if w.spec.Need != nil {
		need = fmt.Sprintf("%+v", *w.spec.Need)
	}
	s := w.spec
	s.Need = nil
	return specDigest(fmt.Sprintf("%+v %s", s, need))
}

// AppendState appends what the counter holds: see [Counter.LoadState].
func (w *Counter) AppendState(b []byte) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	b = append(append(b, stateVersion), w.digest()...)
	b = appendUvarints(b, w.evicted, 0, w.late, 0, uint64(len(w.keys.byKey)))
	for g := w.keys.oldest; g != nil; g = g.newer {
		b = appendKey(b, g.key)
		b = binary.AppendUvarint(b, uint64(len(g.held)))
		before := int64(0)
		for _, t := range g.held {
			b = binary.AppendVarint(b, t-before)
			before = t
		}
	}
	return b
}

// LoadState replaces what the counter holds by what one of the same configuration appended. On an error the
// counter is as it was.
func (w *Counter) LoadState(b []byte) error {
	r := stateReader{b: b}
	r.header(w.digest())
	evicted, _, late, _ := r.uvarint(), r.uvarint(), r.uvarint(), r.uvarint()
	keys, times := newTable[[]int64](), 0
	for range r.count(w.capacity) {
		key := r.key()
		held := make([]int64, 0, 4)
		before := int64(0)
		for range r.count(2*w.count - 1) {
			t := r.time(before, len(held) == 0)
			held = append(held, t)
			before = t
		}
		if _, twice := keys.byKey[key]; twice || len(held) == 0 {
			r.fail()
		}
		if r.err != nil {
			return r.err
		}
		keys.add(key).held = held
		if times += len(held); times > w.most {
			return errState
		}
	}
	if err := r.end(); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keys, w.times, w.evicted, w.late = keys, times, evicted, late
	w.changes++
	return nil
}

// Changes is a number that rises whenever what the counter holds may have changed.
func (w *Counter) Changes() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changes
}

// AppendState appends what the window holds: see [Window.LoadState].
func (w *Window) AppendState(b []byte) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	b = append(append(b, stateVersion), w.digest()...)
	b = appendUvarints(b, w.evicted, w.dropped, w.late, w.skipped, uint64(len(w.groups.byKey)))
	for g := w.groups.oldest; g != nil; g = g.newer {
		b = appendKey(b, g.key)
		holding := byte(0)
		if g.held.holding {
			holding = 1
		}
		live := g.held.live()
		b = binary.AppendUvarint(append(b, holding), uint64(len(live)))
		before := int64(0)
		for i := range live {
			it := &live[i]
			b = binary.AppendVarint(b, it.time-before)
			before = it.time
			b = binary.LittleEndian.AppendUint64(b, it.value)
			b = append(b, it.id[:]...)
			b = binary.AppendUvarint(b, uint64(len(it.behind)))
			for _, id := range it.behind {
				b = append(b, id[:]...)
			}
		}
	}
	return b
}

// LoadState replaces what the window holds by what one of the same specification appended. On an error
// the window is as it was.
func (w *Window) LoadState(b []byte) error {
	r := stateReader{b: b}
	r.header(w.digest())
	evicted, dropped, late, skipped := r.uvarint(), r.uvarint(), r.uvarint(), r.uvarint()
	groups, held := newTable[events](), 0
	for range r.count(w.spec.Keys) {
		key := r.key()
		h := events{holding: r.flag()}
		before := int64(0)
		for range r.count(min(w.limit, MaxHeld-held)) {
			it := item{time: r.time(before, len(h.items) == 0), value: r.fixed(), id: r.id()}
			before = it.time
			for range r.count(MaxIDs) {
				it.behind = append(it.behind, r.id())
			}
			if !w.fits(it.value) {
				r.fail()
			}
			if r.err != nil {
				return r.err
			}
			h.items = append(h.items, it)
		}
		if _, twice := groups.byKey[key]; twice || len(h.items) == 0 || !w.apart(h.items) {
			r.fail()
		}
		if r.err != nil {
			return r.err
		}
		groups.add(key).held = h
		held += len(h.items)
	}
	if err := r.end(); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.groups, w.held = groups, held
	w.evicted, w.dropped, w.late, w.skipped = evicted, dropped, late, skipped
	w.changes++
	return nil
}

// fits reports whether an event's value is one that Add would have kept.
func (w *Window) fits(value uint64) bool {
	switch w.spec.Kind {
	case Sum, Average, Percentile:
		v := math.Float64frombits(value)
		return math.Abs(v) <= maxNumber // not of NaN
	case Temporal, Ordered:
		return value != 0 && value>>w.spec.Slots == 0
	case Count:
		return value == 0
	}
	return true
}

// apart reports whether no value stands twice where a value stands once.
func (w *Window) apart(items []item) bool {
	if w.spec.Kind != Distinct && w.spec.Kind != Temporal {
		return true
	}
	seen := make(map[uint64]bool, len(items))
	for i := range items {
		if seen[items[i].value] {
			return false
		}
		seen[items[i].value] = true
	}
	return true
}

// Changes is a number that rises whenever what the window holds may have changed.
func (w *Window) Changes() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changes
}

func appendUvarints(b []byte, all ...uint64) []byte {
	for _, v := range all {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

func appendKey(b []byte, key string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(key))), key...)
}

// stateReader reads a state; after the first fault it reads zeros.
type stateReader struct {
	b   []byte
	err error
}

func (r *stateReader) fail() {
	r.b = nil
	if r.err == nil {
		r.err = errState
	}
}

func (r *stateReader) header(digest []byte) {
	head := r.take(1 + len(digest))
	switch {
	case r.err != nil:
	case head[0] != stateVersion:
		r.fail()
		r.err = fmt.Errorf("the state of a window has version %d, not %d: another version of testudo wrote it", head[0], stateVersion)
	case string(head[1:]) != string(digest):
		r.fail()
		r.err = errors.New("the state is that of a window with another specification")
	}
}

// take returns the next n bytes, nil where there are fewer.
func (r *stateReader) take(n int) []byte {
	if r.err != nil || n < 0 || n > len(r.b) {
		r.fail()
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *stateReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads a number of things, of which there are at most limit, and each takes a byte at least.
func (r *stateReader) count(limit int) int {
	n := r.uvarint()
	if n > uint64(max(limit, 0)) || n > uint64(len(r.b)) {
		r.fail()
		return 0
	}
	return int(n)
}

func (r *stateReader) key() string { return string(r.take(r.count(len(past("")) + maxKey))) }

// time reads a time that is not before the last one.
func (r *stateReader) time(before int64, first bool) int64 {
	delta, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	t := before + delta // wraps around as it did when it was written
	if !first && t < before {
		r.fail()
	}
	return t
}

func (r *stateReader) fixed() uint64 {
	if b := r.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (r *stateReader) id() (id signal.ID) {
	copy(id[:], r.take(len(id)))
	return id
}

func (r *stateReader) flag() bool {
	b := r.take(1)
	if b != nil && b[0] > 1 {
		r.fail()
	}
	return b != nil && b[0] == 1
}

func (r *stateReader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.fail()
	}
	return r.err
}
