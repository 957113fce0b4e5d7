package token

import (
	"crypto/sha256"
	"sync"
	"time"
)

// verified is what is known of a token whose signature was verified.
type verified struct {
	result     Result
	from       *source
	keys       [sha256.Size]byte // the set that verified it: of another set nothing is known
	notBefore  time.Time
	expires    time.Time
	scopeTexts []string
}

// memory knows verified tokens by their hash, in two halves: when the newer is full the older is forgotten, so
// that it is bounded and keeps what is used. Only tokens that were found right are in it: who has none cannot fill it.
type memory struct {
	mu           sync.Mutex
	half         int
	newer, older map[[sha256.Size]byte]*verified
}

func newMemory(size int) *memory {
	return &memory{half: max(size/2, 1), newer: map[[sha256.Size]byte]*verified{}}
}

func (m *memory) get(sum [sha256.Size]byte) *verified {
	m.mu.Lock()
	defer m.mu.Unlock()
	if v := m.newer[sum]; v != nil {
		return v
	}
	v := m.older[sum]
	if v != nil {
		m.put(sum, v)
	}
	return v
}

func (m *memory) add(sum [sha256.Size]byte, v *verified) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(sum, v)
}

func (m *memory) put(sum [sha256.Size]byte, v *verified) {
	if len(m.newer) >= m.half {
		m.older, m.newer = m.newer, make(map[[sha256.Size]byte]*verified, m.half)
	}
	m.newer[sum] = v
}

func (m *memory) drop(sum [sha256.Size]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.newer, sum)
	delete(m.older, sum)
}
