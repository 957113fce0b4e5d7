package owner

import (
	"sync"
	"sync/atomic"
)

// given remembers which subject was given which id, for a while: Bloom filters (Bloom, 1970) in blocks of one cache line
// (Putze, Sanders, Singler, 2007), one for each quarter of the time, the oldest of which is emptied in turn. Errors are in the direction
// of "was given". Its memory is fixed.
type given struct {
	mu      sync.RWMutex
	rounds  [generations][]uint64
	current int
	started int64 // when the current round began, in seconds
	length  int64 // of a round
	most    int64 // ids in a round, until errors come too often
	added   atomic.Int64
	early   atomic.Uint64
}

const (
	generations = 4
	blockWords  = 8
	bitsPerID   = 12 // with six bits set: one error in 200
)

func newGiven(bytes, seconds int64) *given {
	words := max(bytes/8/generations/blockWords, 16) * blockWords
	g := &given{length: max(seconds/(generations-1), 1), most: words * 64 / bitsPerID}
	for i := range g.rounds {
		g.rounds[i] = make([]uint64, words)
	}
	return g
}

// turn begins a new round when it is time, or when the current one is full.
func (g *given) turn(now int64) {
	full := g.added.Load() >= g.most
	g.mu.RLock()
	due := now-g.started >= g.length
	g.mu.RUnlock()
	if !full && !due {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	full, due = g.added.Load() >= g.most, now-g.started >= g.length
	if !full && !due {
		return
	}
	if !due {
		g.early.Add(1)
	}
	turns := 1
	if due && g.started != 0 {
		turns = int(min((now-g.started)/g.length, generations))
	}
	for range turns {
		g.current = (g.current + 1) % generations
		clear(g.rounds[g.current])
	}
	g.started = now
	g.added.Store(0)
}

// bits says which block and which six bits in it a key has.
func (g *given) bits(key uint64, round []uint64) ([]uint64, uint64) {
	block := (key >> 32) % uint64(len(round)/blockWords) * blockWords
	return round[block : block+blockWords], mix(key)
}

func (g *given) add(key uint64) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	g.put(key)
}

// put is add for who holds the lock for reading.
func (g *given) put(key uint64) {
	block, h := g.bits(key, g.rounds[g.current])
	fresh := false
	for range 6 {
		bit := uint64(1) << (h & 63)
		if w := &block[h>>6&7]; atomic.LoadUint64(w)&bit == 0 {
			atomic.OrUint64(w, bit)
			fresh = true
		}
		h >>= 9
	}
	if fresh {
		g.added.Add(1)
	}
}

func (g *given) has(key uint64) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
next:
	for i := range g.rounds {
		block, h := g.bits(key, g.rounds[i])
		for range 6 {
			if atomic.LoadUint64(&block[h>>6&7])&(1<<(h&63)) == 0 {
				continue next
			}
			h >>= 9
		}
		return true
	}
	return false
}

// owners remembers for objects the first two subjects that had them, and whether there were more. It is a table of fixed size, in which an
// object pushes out what stands in its place: who is pushed out is nobody's.
type owners struct {
	locks [64]sync.Mutex
	slots []slot
}

type slot struct {
	object uint32
	first  uint32
	second uint32 // 1 with first == 1: many
}

// holding says whose an object is.
type holding int

const (
	unknown holding = iota
	mine
	others
	shared // by three and more
)

const slotBytes = 12

func newOwners(bytes int64) *owners {
	return &owners{slots: make([]slot, max(bytes/slotBytes, 1024))}
}

func (o *owners) at(object uint64) (*slot, *sync.Mutex, uint32) {
	i := object % uint64(len(o.slots))
	return &o.slots[i], &o.locks[i%64], uint32(object>>32) | 1
}

// of says whose the object is, as the subject sees it.
func (o *owners) of(object, subject uint64) holding {
	s, mu, tag := o.at(object)
	mu.Lock()
	defer mu.Unlock()
	who := subjectTag(subject)
	switch {
	case s.object != tag:
		return unknown
	case s.first == who || s.second == who:
		return mine
	case s.first == 1:
		return shared
	}
	return others
}

// claim says that the subject has the object.
func (o *owners) claim(object, subject uint64) {
	s, mu, tag := o.at(object)
	mu.Lock()
	defer mu.Unlock()
	who := subjectTag(subject)
	switch {
	case s.object != tag:
		*s = slot{object: tag, first: who}
	case s.first == who || s.second == who || s.first == 1:
	case s.second == 0:
		s.second = who
	default:
		s.first, s.second = 1, 1
	}
}

// subjectTag is never 0 or 1.
func subjectTag(subject uint64) uint32 { return uint32(mix(subject)) | 2 }

// mix is the last step of SplitMix64.
func mix(h uint64) uint64 {
	h ^= h >> 30
	h *= 0xbf58476d1ce4e5b9
	h ^= h >> 27
	h *= 0x94d049bb133111eb
	return h ^ h>>31
}
